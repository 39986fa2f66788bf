//! Conditions of reads and of writes.
//!
//! A conditional write looks before the first byte of the body, and again when
//! all bytes are here, holding the name until the object is stored: of several
//! at the same time, in whatever proxies, one wins. Writes without a condition are
//! not held up by it.
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode};
use s3s::dto::{ETag, ETagCondition};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use tokio::sync::{Mutex, OwnedMutexGuard};
use virga_proxy::core::{HeldName, ObjectName};

use super::Backend;
use super::dates;
use super::fault::OrFault;
use super::object::find::Asked;
use super::object::view::{Tags, etag_of};

/// Locks that names share; two names on one lock only wait for each other.
const STRIPES: usize = 256;

/// Locks of names that are being written under a condition.
pub(crate) struct Stripes(Vec<Arc<Mutex<()>>>);

impl Default for Stripes {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| Arc::default()).collect())
    }
}

impl Stripes {
    /// Holds a name until the guard is dropped.
    pub(crate) async fn lock(&self, name: &ObjectName) -> Option<OwnedMutexGuard<()>> {
        let spread = |sum: usize, byte: u8| sum.wrapping_mul(31).wrapping_add(usize::from(byte));
        let at = name.path().bytes().fold(0, spread) % STRIPES;
        Some(self.0.get(at)?.clone().lock_owned().await)
    }
}

/// A name that nobody else holds meanwhile, in this proxy or another.
pub(crate) struct Hold {
    _everywhere: Option<HeldName>,
    _here: Option<OwnedMutexGuard<()>>,
}

/// Names of the four conditional headers.
pub(crate) struct Names {
    if_match: &'static str,
    if_none_match: &'static str,
    if_modified_since: &'static str,
    if_unmodified_since: &'static str,
}

/// Those about the object that is named.
pub(crate) const OWN: Names = Names {
    if_match: "if-match",
    if_none_match: "if-none-match",
    if_modified_since: "if-modified-since",
    if_unmodified_since: "if-unmodified-since",
};

/// Those about the source of a copy.
pub(crate) const SOURCE: Names = Names {
    if_match: "x-amz-copy-source-if-match",
    if_none_match: "x-amz-copy-source-if-none-match",
    if_modified_since: "x-amz-copy-source-if-modified-since",
    if_unmodified_since: "x-amz-copy-source-if-unmodified-since",
};

/// What of an object conditions look at.
#[derive(Clone, Copy)]
pub(crate) struct Held<'a> {
    /// ETag without quotes.
    pub(crate) etag: &'a str,
    /// Seconds since the epoch.
    pub(crate) modified: u64,
}

/// Why a read does not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmet {
    /// It is what the client has already.
    NotModified,
    /// A precondition failed: this one.
    Failed(&'static str),
}

fn bare(tag: &str) -> &str {
    let tag = tag.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    tag.strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(tag)
}

fn holds(list: &str, etag: &str) -> bool {
    list.split(',').any(|tag| tag.trim() == "*" || bare(tag) == etag)
}

/// Judges a read. A tag decides over the date beside it.
pub(crate) fn judge(headers: &HeaderMap, names: &Names, held: Held<'_>) -> Result<(), Unmet> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let date = |name| text(name).and_then(dates::parse);
    match text(names.if_match) {
        Some(list) if !holds(list, held.etag) => return Err(Unmet::Failed("If-Match")),
        Some(_) => {}
        None if date(names.if_unmodified_since).is_some_and(|since| held.modified > since) => {
            return Err(Unmet::Failed("If-Unmodified-Since"));
        }
        None => {}
    }
    match text(names.if_none_match) {
        Some(list) if holds(list, held.etag) => Err(Unmet::NotModified),
        Some(_) => Ok(()),
        None if date(names.if_modified_since).is_some_and(|since| held.modified <= since) => {
            Err(Unmet::NotModified)
        }
        None => Ok(()),
    }
}

/// `PreconditionFailed`, with the condition that failed.
pub(crate) fn failed(_condition: &'static str) -> S3Error {
    s3_error!(PreconditionFailed)
}

/// 304, with the headers that go with it.
pub(crate) fn not_modified(headers: HeaderMap) -> S3Error {
    let mut error = S3Error::new(S3ErrorCode::NotModified);
    error.set_status_code(StatusCode::NOT_MODIFIED);
    error.set_headers(headers);
    error
}

/// A condition of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// There must be nothing.
    Absent,
    /// There must be this, or anything for `None`.
    Present(Option<String>),
}

impl Expect {
    /// Reads the two headers of a write.
    ///
    /// # Errors
    /// `NotImplemented` for `If-None-Match` with a tag, as AWS says.
    pub(crate) fn of(
        if_match: Option<&ETagCondition>,
        if_none_match: Option<&ETagCondition>,
    ) -> S3Result<Option<Self>> {
        match (if_match, if_none_match) {
            (None, None) => Ok(None),
            (None, Some(ETagCondition::Any)) => Ok(Some(Self::Absent)),
            (Some(ETagCondition::Any), None) => Ok(Some(Self::Present(None))),
            (Some(ETagCondition::ETag(tag)), None) => Ok(Some(Self::Present(Some(tag.value().to_owned())))),
            _ => Err(s3_error!(NotImplemented)),
        }
    }

    /// Reads the two headers where the protocol layer does not: those of a copy.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(crate) fn of_headers(headers: &HeaderMap) -> S3Result<Option<Self>> {
        let condition = |name| {
            let text = headers.get(name)?.to_str().unwrap_or_default().trim();
            Some(match text {
                "*" => ETagCondition::Any,
                tag => ETagCondition::ETag(ETag::Strong(bare(tag).to_owned())),
            })
        };
        Self::of(
            condition(OWN.if_match).as_ref(),
            condition(OWN.if_none_match).as_ref(),
        )
    }

    fn judge(&self, etag: Option<&str>) -> S3Result<()> {
        match (self, etag) {
            (Self::Absent, None) | (Self::Present(None), Some(_)) => Ok(()),
            (Self::Absent, Some(_)) => Err(failed("If-None-Match")),
            (Self::Present(_), None) => Err(s3_error!(NoSuchKey)),
            (Self::Present(Some(wanted)), Some(etag)) if wanted == etag => Ok(()),
            (Self::Present(Some(_)), Some(_)) => Err(failed("If-Match")),
        }
    }
}

impl Backend {
    /// Whether the object is as the write expects it.
    ///
    /// # Errors
    /// `PreconditionFailed`, or `NoSuchKey` for `If-Match` without an object.
    pub(crate) async fn expect(&self, name: &ObjectName, expect: &Expect) -> S3Result<()> {
        match self.find(name, Asked::Current, None).await {
            Ok(found) => {
                let Tags { etag, .. } = etag_of(&found.stat);
                expect.judge(Some(&etag))
            }
            Err(error) if *error.code() == S3ErrorCode::NoSuchKey => expect.judge(None),
            Err(error) => Err(error),
        }
    }

    /// Holds a name until the guard is dropped, for a write of what depends on what
    /// is read first.
    pub(crate) async fn hold(&self, name: &ObjectName) -> S3Result<Hold> {
        // The lock first: of many in this proxy one asks the nodes.
        let here = self.0.stripes.lock(name).await;
        let everywhere = self.core().hold_object(name).await.or_fault()?;
        Ok(Hold {
            _everywhere: everywhere,
            _here: here,
        })
    }

    /// [`Self::hold`], and [`Self::expect`] with the name held.
    pub(crate) async fn expect_and_hold(&self, name: &ObjectName, expect: &Expect) -> S3Result<Hold> {
        let held = self.hold(name).await?;
        self.expect(name, expect).await?;
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 784_111_777;

    fn judged(pairs: &[(&'static str, &'static str)]) -> Result<(), Unmet> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        let held = Held {
            etag: "abc",
            modified: AT,
        };
        judge(&headers, &OWN, held)
    }

    #[test]
    fn a_tag_decides_over_the_date_beside_it() {
        let (then, before) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:36 GMT");
        for (pairs, expected) in [
            (vec![], Ok(())),
            (vec![("if-match", "\"abc\"")], Ok(())),
            (vec![("if-match", "x")], Err(Unmet::Failed("If-Match"))),
            (vec![("if-match", "abc"), ("if-unmodified-since", before)], Ok(())),
            (
                vec![("if-unmodified-since", before)],
                Err(Unmet::Failed("If-Unmodified-Since")),
            ),
            (vec![("if-unmodified-since", then)], Ok(())),
            (vec![("if-none-match", "\"abc\"")], Err(Unmet::NotModified)),
            (vec![("if-none-match", "*")], Err(Unmet::NotModified)),
            (vec![("if-none-match", "x"), ("if-modified-since", then)], Ok(())),
            (vec![("if-modified-since", then)], Err(Unmet::NotModified)),
            (vec![("if-modified-since", before)], Ok(())),
            (vec![("if-modified-since", "yesterday")], Ok(())),
        ] {
            assert_eq!(judged(&pairs), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_write_can_expect_nothing_anything_or_this() {
        let this = Expect::Present(Some("abc".into()));
        for (expect, etag, good) in [
            (&Expect::Absent, None, true),
            (&Expect::Absent, Some("abc"), false),
            (&Expect::Present(None), Some("x"), true),
            (&Expect::Present(None), None, false),
            (&this, Some("abc"), true),
            (&this, Some("abd"), false),
        ] {
            assert_eq!(expect.judge(etag).is_ok(), good, "{expect:?} {etag:?}");
        }
        let tag = ETagCondition::ETag(ETag::Strong("abc".into()));
        assert_eq!(Expect::of(Some(&tag), None).unwrap(), Some(this.clone()));
        assert!(Expect::of(None, Some(&tag)).is_err());
        let mut headers = HeaderMap::new();
        assert_eq!(Expect::of_headers(&headers).unwrap(), None);
        headers.insert("if-match", HeaderValue::from_static("\"abc\""));
        assert_eq!(Expect::of_headers(&headers).unwrap(), Some(this));
        headers.insert("if-none-match", HeaderValue::from_static("*"));
        assert!(Expect::of_headers(&headers).is_err());
        headers.remove("if-match");
        assert_eq!(Expect::of_headers(&headers).unwrap(), Some(Expect::Absent));
    }
}
