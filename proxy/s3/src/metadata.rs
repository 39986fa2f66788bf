//! Metadata of objects: `x-amz-meta-*` here is `X-Object-Meta-*` there, and
//! both dialects see the other content headers under the same names.
use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::{S3Result, s3_error};
use virga_object_wire::object::{Header, ObjectStat, PostMeta};
use virga_proxy::core::ObjectName;
use virga_proxy::swift::headers::{delete_at as swift_delete_at, put, to_text, to_value};

use super::Backend;
use super::fault::OrFault;

/// Bytes of all names and values of user metadata, as AWS allows.
const MOST: usize = 2048;
const OURS: &str = "x-amz-meta-";
const STORED: &str = "x-object-meta-";
/// What else is kept, under the same name.
const CONTENT: [&str; 6] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
    "x-robots-tag",
];
/// Where the door puts an `Expires` that is no date: the protocol layer would
/// refuse it.
pub(crate) const KEPT_EXPIRES: &str = "x-virga-expires";
/// MIME type of objects whose client says none.
pub(crate) const UNTYPED: &str = "binary/octet-stream";

/// What a request stores of its headers.
///
/// # Errors
/// `MetadataTooLarge`.
pub(crate) fn of_request(headers: &HeaderMap) -> S3Result<Vec<Header>> {
    let mut all = Vec::new();
    let mut size = 0;
    for name in headers.keys() {
        let Some(key) = name.as_str().strip_prefix(OURS) else {
            continue;
        };
        let values: Vec<String> = headers.get_all(name).iter().map(to_text).collect();
        let value = values.join(",");
        size += key.len() + value.len();
        if !key.is_empty() {
            all.push((format!("{STORED}{key}"), value));
        }
    }
    if size > MOST {
        return Err(s3_error!(MetadataTooLarge));
    }
    for name in CONTENT {
        let kept = headers.get(KEPT_EXPIRES).filter(|_| name == "expires");
        let Some(value) = headers.get(name).or(kept) else {
            continue;
        };
        let value = to_text(value);
        if !value.is_empty() {
            all.push((name.to_owned(), value));
        }
    }
    Ok(all)
}

/// The type that a request gives its object.
pub(crate) fn type_of(headers: &HeaderMap) -> String {
    let given = headers.get(http::header::CONTENT_TYPE);
    let given = given.filter(|value| !value.is_empty()).map(to_text);
    given.unwrap_or_else(|| UNTYPED.to_owned())
}

/// When an object is to go by the headers of the other dialect (`X-Delete-At`,
/// `X-Delete-After`), which Swift's own S3 takes too: seconds since the epoch.
///
/// # Errors
/// `InvalidArgument` in Swift's words.
pub(crate) fn delete_at(headers: &HeaderMap, now: u64) -> S3Result<Option<u64>> {
    swift_delete_at(headers, now).map_err(|fault| s3_error!(InvalidArgument, "{}", fault.text()))
}

/// A value of user metadata as AWS shows it: what is not ASCII as an encoded
/// word (RFC 2047). The other dialect shows it as it is.
fn word(value: &str) -> Cow<'_, str> {
    // What came as other bytes than UTF-8 leaves as it came.
    let is_text = std::str::from_utf8(to_value(value).as_bytes()) == Ok(value);
    match value.is_ascii() || !is_text {
        true => value.into(),
        false => format!("=?UTF-8?B?{}?=", STANDARD.encode(value)).into(),
    }
}

/// Shows what is stored.
pub(crate) fn show(stat: &ObjectStat, into: &mut HeaderMap) {
    put(into, "content-type", &stat.meta.content_type);
    for (name, value) in &stat.meta.headers {
        match name.strip_prefix(STORED) {
            Some(key) => put(into, &format!("{OURS}{key}"), &word(value)),
            None if CONTENT.contains(&name.as_str()) => put(into, name, value),
            None => {}
        }
    }
}

/// Adds a header with a name and value of ours.
pub(crate) fn set(into: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        into.insert(HeaderName::from_static(name), value);
    }
}

impl Backend {
    /// Puts a header that is stored with an object in the place of the old one,
    /// and changes nothing else of it.
    pub(crate) async fn replace_header(
        &self,
        at: &ObjectName,
        stat: ObjectStat,
        is_old: impl Fn(&str) -> bool,
        new: Option<Header>,
    ) -> S3Result<()> {
        let mut headers: Vec<Header> = stat.meta.headers;
        headers.retain(|(name, _)| !is_old(name));
        headers.extend(new);
        let meta = PostMeta {
            content_type: None,
            delete_at: stat.meta.delete_at,
            headers,
        };
        self.core().post_object(at, meta, None).await.or_fault()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ascii_is_shown_as_an_encoded_word() {
        for (stored, shown) in [
            ("plain =?", "plain =?"),
            ("\u{4f60}\u{597d}", "=?UTF-8?B?5L2g5aW9?="),
            ("", ""),
        ] {
            assert_eq!(word(stored), shown);
        }
        let latin = to_text(&HeaderValue::from_bytes(b"caf\xe9").unwrap());
        assert_eq!(word(&latin), latin, "no text, and left alone");
    }

    #[test]
    fn metadata_is_mapped() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-meta-color", HeaderValue::from_static("red"));
        headers.append("x-amz-meta-color", HeaderValue::from_static("blue"));
        headers.insert("content-encoding", HeaderValue::from_static("gzip"));
        headers.insert("x-amz-acl", HeaderValue::from_static("private"));
        headers.insert("x-delete-at", HeaderValue::from_static("101"));
        assert_eq!(delete_at(&headers, 100).unwrap(), Some(101));
        let past = delete_at(&headers, 101).unwrap_err();
        assert_eq!(past.message(), Some("X-Delete-At in past"));
        let stored = of_request(&headers).unwrap();
        let expected = [("x-object-meta-color", "red,blue"), ("content-encoding", "gzip")];
        assert_eq!(stored, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert_eq!(type_of(&headers), UNTYPED);
        let large = HeaderValue::from_str(&"x".repeat(MOST)).unwrap();
        headers.insert("x-amz-meta-a", large);
        assert!(of_request(&headers).is_err());
    }
}
