//! Whether a signature is good: made with the key's secret, in time, over this
//! request. And those of chunks, each of which goes on from the one before.
use http::request::Parts;
use s3s::{S3Error, S3Result, s3_error};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::claimed::{Claimed, New, Old};
use super::{Place, Signed, canonical, header};
use crate::Backend;
use crate::detail::Detailed;
use crate::signatures::{self, mac};

/// How far a client's clock may be off, in seconds.
const SKEW: u64 = 900;
/// The last second that links of version 2 can end in.
const LAST: u64 = 0x7fff_ffff;
/// Headers that change what a request does: nobody may add them to one that
/// another signed.
const MUST_BE_SIGNED: [&str; 6] = [
    "x-amz-acl",
    "x-amz-copy",
    "x-amz-expected-bucket-owner",
    "x-amz-grant",
    "x-amz-meta",
    "x-amz-source-expected-bucket-owner",
];

/// The SHA-256 of bytes, in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

fn bytes_of(text: &str) -> String {
    let bytes: Vec<String> = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(" ")
}

/// What a client needs to see where its signing went wrong.
fn mismatch(access: &str, text: &str, given: &str, canonical: Option<&str>) -> S3Error {
    let error = s3_error!(SignatureDoesNotMatch)
        .detail("AWSAccessKeyId", access)
        .detail("StringToSign", text)
        .detail("SignatureProvided", given)
        .detail("StringToSignBytes", &bytes_of(text));
    match canonical {
        Some(canonical) => error
            .detail("CanonicalRequest", canonical)
            .detail("CanonicalRequestBytes", &bytes_of(canonical)),
        None => error,
    }
}

/// A good signature of version 4: what those of chunks go on from.
struct Seed {
    access: String,
    key: Zeroizing<[u8; 32]>,
    /// Date and scope, each on its line.
    scope: String,
    canonical: String,
}

/// The chain of signatures over the chunks of a body.
#[derive(Clone)]
pub(crate) struct Chain {
    seed: Arc<Seed>,
    before: String,
}

impl Chain {
    fn link(&mut self, text: &str, given: &str) -> S3Result<()> {
        let own = hex::encode(mac(&*self.seed.key, text.as_bytes()));
        match same(&own, given) {
            true => {
                self.before = own;
                Ok(())
            }
            false => Err(mismatch(
                &self.seed.access,
                text,
                given,
                Some(&self.seed.canonical),
            )),
        }
    }

    /// A chunk with this digest (hex).
    ///
    /// # Errors
    /// `SignatureDoesNotMatch`.
    pub(crate) fn chunk(&mut self, digest: &str, given: &str) -> S3Result<()> {
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{digest}",
            self.seed.scope,
            self.before,
            sha256(b"")
        );
        self.link(&text, given)
    }

    /// What comes behind the chunks, as lines of `name:value`.
    ///
    /// # Errors
    /// `SignatureDoesNotMatch`.
    pub(crate) fn trailer(&mut self, lines: &str, given: &str) -> S3Result<()> {
        let lines = if lines.is_empty() { "\n" } else { lines };
        let text = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}",
            self.seed.scope,
            self.before,
            sha256(lines.as_bytes())
        );
        self.link(&text, given)
    }
}

/// "20261123T064000Z" in seconds since the epoch.
fn of_stamp(text: &str) -> Option<u64> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    u64::try_from(time.timestamp().as_second()).ok()
}

/// A date as clients of version 2 write it.
pub(super) fn of_date(text: &str) -> Option<u64> {
    let mail = || {
        jiff::fmt::rfc2822::parse(text)
            .ok()
            .map(|time| time.timestamp().as_second())
    };
    let mail = || mail().and_then(|second| u64::try_from(second).ok());
    of_stamp(text).or_else(mail).or_else(|| crate::dates::parse(text))
}

fn no_date() -> S3Error {
    s3_error!(
        AccessDenied,
        "AWS authentication requires a valid Date or x-amz-date header"
    )
}

fn within(now: u64, signed: u64) -> S3Result<()> {
    match now.abs_diff(signed) > SKEW {
        true => Err(s3_error!(RequestTimeTooSkewed)),
        false => Ok(()),
    }
}

/// Checks when a signature was made; the stamp that it was made with.
fn in_time(parts: &Parts, new: &New, now: u64) -> S3Result<String> {
    let expired = || s3_error!(AccessDenied, "Request has expired");
    let (stamp, at) = match &new.link {
        Some((stamp, seconds)) => {
            let at = of_stamp(stamp).ok_or_else(|| {
                S3Error::with_message(
                    s3s::S3ErrorCode::AuthorizationQueryParametersError,
                    "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"",
                )
            })?;
            if at > now + SKEW {
                return Err(s3_error!(RequestTimeTooSkewed));
            }
            if now > at.saturating_add(*seconds) {
                return Err(expired());
            }
            (stamp.clone(), at)
        }
        None => {
            let text = header(&parts.headers, "x-amz-date").or_else(|| header(&parts.headers, "date"));
            let at = text.and_then(of_date).ok_or_else(no_date)?;
            within(now, at)?;
            let stamp = i64::try_from(at)
                .ok()
                .and_then(|at| jiff::Timestamp::from_second(at).ok());
            let stamp = stamp.ok_or_else(no_date)?.strftime("%Y%m%dT%H%M%SZ").to_string();
            (stamp, at)
        }
    };
    let day = stamp.get(..8).unwrap_or_default();
    if day != new.date {
        let why = format!(
            "Invalid credential date \"{}\". This date is not the same as X-Amz-Date: \"{day}\".",
            new.date
        );
        return Err(New::malformed(new.in_query(), &why));
    }
    tracing::trace!(at, "a signature of version 4 is in time");
    Ok(stamp)
}

/// Refuses headers that matter and are not signed.
fn all_signed(parts: &Parts, signed: &[String]) -> S3Result<()> {
    let matters = |name: &str| MUST_BE_SIGNED.iter().any(|start| name.starts_with(start));
    let mut names = parts.headers.keys().map(http::HeaderName::as_str);
    match names.find(|name| matters(name) && !signed.iter().any(|known| known == name)) {
        Some(name) => Err(s3_error!(
            AccessDenied,
            "There were headers present in the request which were not signed"
        )
        .detail("HeadersNotSigned", name)),
        None => Ok(()),
    }
}

/// What the client may have said that the body is: its digest, or nothing,
/// which a link may leave open.
fn payloads<'a>(parts: &'a Parts, new: &New) -> Vec<&'a str> {
    const OPEN: &str = "UNSIGNED-PAYLOAD";
    match header(&parts.headers, "x-amz-content-sha256") {
        Some(given) if new.in_query() && given != OPEN => vec![given, OPEN],
        Some(given) => vec![given],
        None => vec![OPEN],
    }
}

fn check_new(parts: &Parts, new: &New, stamp: &str, secret: &str) -> S3Result<Chain> {
    all_signed(parts, &new.headers)?;
    let key = signatures::key_of(secret, [&new.date, &new.region, &new.service]);
    let scope = format!(
        "{stamp}\n{}/{}/{}/aws4_request",
        new.date, new.region, new.service
    );
    let mut first = None;
    for payload in payloads(parts, new) {
        for path in canonical::paths(parts.uri.path()) {
            let canonical = canonical::request(parts, &path, &new.headers, payload);
            let text = format!("AWS4-HMAC-SHA256\n{scope}\n{}", sha256(canonical.as_bytes()));
            let own = hex::encode(mac(&*key, text.as_bytes()));
            if same(&own, &new.signature) {
                let access = new.access.clone();
                let seed = Arc::new(Seed {
                    access,
                    key,
                    scope,
                    canonical,
                });
                return Ok(Chain { seed, before: own });
            }
            first.get_or_insert((text, canonical));
        }
    }
    let (text, canonical) = first.unwrap_or_default();
    Err(mismatch(&new.access, &text, &new.signature, Some(&canonical)))
}

fn check_old(parts: &Parts, old: &Old, now: u64, bucket: Option<&str>, secret: &str) -> S3Result<()> {
    let date = match &old.expires {
        Some(expires) => {
            let until: Option<u64> = expires.parse().ok().filter(|until| *until <= LAST);
            let until = until.ok_or_else(|| {
                s3_error!(
                    AccessDenied,
                    "Invalid date (should be seconds since epoch): {expires}"
                )
            })?;
            if now > until {
                return Err(s3_error!(AccessDenied, "Request has expired"));
            }
            expires.as_str()
        }
        None => {
            let (own, plain) = (
                header(&parts.headers, "x-amz-date"),
                header(&parts.headers, "date"),
            );
            let at = own.or(plain).and_then(of_date).ok_or_else(no_date)?;
            within(now, at)?;
            if own.is_some() {
                ""
            } else {
                plain.unwrap_or_default()
            }
        }
    };
    let path = parts.uri.path();
    let text = canonical::old(parts, path, date, bucket);
    // botocore signs a bucket with a slash behind its name, and sends it without.
    let slashed = || canonical::old(parts, &format!("{path}/"), date, bucket);
    let good = signatures::is_v2(secret, &text, &old.signature)
        || !path.ends_with('/') && signatures::is_v2(secret, &slashed(), &old.signature);
    match good {
        true => Ok(()),
        false => Err(mismatch(&old.access, &text, &old.signature, None)),
    }
}

fn place(in_query: bool) -> Place {
    match in_query {
        true => Place::Query,
        false => Place::Header,
    }
}

/// Checks a signature; whose it is, and for one of version 4 in a header what
/// those of chunks go on from.
///
/// # Errors
/// What is wrong with it, in AWS's words.
pub(super) async fn verify(
    backend: &Backend,
    parts: &Parts,
    claimed: Claimed,
    bucket_in_host: Option<&str>,
) -> S3Result<(Signed, Option<Chain>)> {
    let now = backend.0.clock.now().as_secs();
    match claimed {
        Claimed::New(new) => {
            let stamp = in_time(parts, &new, now)?;
            let key = backend.0.keys.get(&new.access).await?;
            let chain = check_new(parts, &new, &stamp, &key.secret)?;
            let place = place(new.in_query());
            let signed = Signed {
                access: new.access,
                place,
                version: Some("AWS4-HMAC-SHA256"),
                region: Some(new.region),
            };
            Ok((signed, (place == Place::Header).then_some(chain)))
        }
        Claimed::Old(old) => {
            let key = backend.0.keys.get(&old.access).await?;
            check_old(parts, &old, now, bucket_in_host, &key.secret)?;
            let signed = Signed {
                place: place(old.expires.is_some()),
                access: old.access,
                version: Some("AWS"),
                region: None,
            };
            Ok((signed, None))
        }
    }
}

/// A chain to try chunks on.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod example {
    use super::*;

    /// A chain as a client with this secret begins it.
    pub(crate) fn chain() -> Chain {
        let seed = Seed {
            access: "a".into(),
            key: Zeroizing::new([7; 32]),
            scope: "20130524T000000Z\n20130524/us-east-1/s3/aws4_request".into(),
            canonical: "GET".into(),
        };
        Chain {
            seed: Arc::new(seed),
            before: "0".repeat(64),
        }
    }

    /// The signature that the next chunk must have.
    pub(crate) fn sign(chain: &Chain, chunk: &[u8]) -> String {
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{}",
            chain.seed.scope,
            chain.before,
            sha256(b""),
            sha256(chunk)
        );
        hex::encode(mac(&*chain.seed.key, text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// AWS's published secret.
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn new(parts: &Parts) -> New {
        match Claimed::of(parts) {
            Ok(Some(Claimed::New(new))) => new,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn version_4_is_that_of_the_published_examples() {
        let empty = sha256(b"");
        let scope = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";
        let get = parts(
            "GET",
            "/test.txt",
            &[
                ("host", "examplebucket.s3.amazonaws.com"),
                ("range", "bytes=0-9"),
                ("x-amz-content-sha256", &empty),
                ("x-amz-date", "20130524T000000Z"),
                (
                    "authorization",
                    &format!(
                        "AWS4-HMAC-SHA256 Credential={scope},SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
                    ),
                ),
            ],
        );
        let at = of_stamp("20130524T000000Z").unwrap();
        let claim = new(&get);
        let stamp = in_time(&get, &claim, at + SKEW).unwrap();
        assert!(check_new(&get, &claim, &stamp, SECRET).is_ok());
        let error = check_new(&get, &claim, &stamp, "other").err().unwrap();
        assert_eq!(error.code().as_str(), "SignatureDoesNotMatch");
        let shown = crate::detail::take(&mut error.headers().cloned().unwrap());
        assert!(
            shown.contains("<StringToSign>AWS4-HMAC-SHA256\n20130524T000000Z\n"),
            "{shown}"
        );
        assert!(shown.contains("<CanonicalRequest>GET\n/test.txt\n"), "{shown}");
        assert!(
            in_time(&get, &claim, at + SKEW + 1).is_err() && in_time(&get, &claim, at - SKEW - 1).is_err()
        );
        let link = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        let host = [("host", "examplebucket.s3.amazonaws.com")];
        let link_parts = parts("GET", link, &host);
        let claim = new(&link_parts);
        let stamp = in_time(&link_parts, &claim, at + 86_400).unwrap();
        assert!(check_new(&link_parts, &claim, &stamp, SECRET).is_ok());
        assert!(in_time(&link_parts, &claim, at + 86_401).is_err());
        let other = parts("PUT", link, &host);
        assert!(check_new(&other, &claim, &stamp, SECRET).is_err());
        let added = parts("GET", link, &[host[0], ("x-amz-acl", "public-read")]);
        let error = check_new(&added, &claim, &stamp, SECRET).err().unwrap();
        assert_eq!(error.code().as_str(), "AccessDenied");
    }

    #[test]
    fn version_2_is_that_of_the_published_examples() {
        let date = "Tue, 27 Mar 2007 19:36:42 +0000";
        let get = parts("GET", "/photos/puppy.jpg", &[("date", date)]);
        let mut old = Old {
            access: "AKIAIOSFODNN7EXAMPLE".into(),
            signature: "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=".into(),
            expires: None,
        };
        let now = of_date(date).unwrap();
        assert_eq!(of_date("Tue, 27 Mar 2007 19:36:42 GMT"), Some(now));
        let check = |old: &Old, now| check_old(&get, old, now, Some("awsexamplebucket1"), SECRET);
        assert!(check(&old, now).is_ok() && check(&old, now + SKEW + 1).is_err());
        old.signature.replace_range(..1, "r");
        assert!(check(&old, now).is_err());
        old.expires = Some("x".into());
        assert!(check(&old, now).is_err());
    }
}
