//! Headers that AWS reads more kindly than the protocol layer, or more
//! strictly: dates, and sources of copies. And those that hold secrets.
use http::header::{EXPIRES, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE};
use s3s::{S3Result, s3_error};

use super::header;
use super::verify::of_date;
use crate::detail::Detailed;
use crate::metadata::KEPT_EXPIRES;

/// Conditions on dates.
const CONDITIONS: [HeaderName; 4] = [
    IF_MODIFIED_SINCE,
    IF_UNMODIFIED_SINCE,
    HeaderName::from_static("x-amz-copy-source-if-modified-since"),
    HeaderName::from_static("x-amz-copy-source-if-unmodified-since"),
];

/// Headers that whoever reads a log could use.
const SECRETS: [HeaderName; 5] = [
    HeaderName::from_static("x-amz-server-side-encryption-customer-key"),
    HeaderName::from_static("x-amz-copy-source-server-side-encryption-customer-key"),
    HeaderName::from_static("x-amz-security-token"),
    HeaderName::from_static("x-auth-token"),
    HeaderName::from_static("x-storage-token"),
];

/// Marks secrets, so that the protocol layer, which logs whole requests when it
/// is asked to, leaves them out.
pub(super) fn conceal(headers: &mut HeaderMap) {
    for (name, value) in headers.iter_mut() {
        if SECRETS.contains(name) {
            value.set_sensitive(true);
        }
    }
}

/// Writes dates as HTTP does. A condition on what is no date is none, and an
/// object keeps whatever its client says of its end.
pub(super) fn dates(headers: &mut HeaderMap) {
    for name in CONDITIONS {
        let Some(text) = header(headers, name.as_str()) else {
            continue;
        };
        let at = of_date(text).map(|at| std::time::UNIX_EPOCH + std::time::Duration::from_secs(at));
        match at.and_then(|at| HeaderValue::from_str(&httpdate::fmt_http_date(at)).ok()) {
            Some(value) => headers.insert(name, value),
            None => headers.remove(name),
        };
    }
    headers.remove(KEPT_EXPIRES);
    let odd = header(headers, EXPIRES.as_str()).is_some_and(|text| crate::dates::parse(text).is_none());
    if odd && let Some(value) = headers.remove(EXPIRES) {
        headers.insert(KEPT_EXPIRES, value);
    }
}

/// Refuses a source that asks for anything but a version.
///
/// # Errors
/// `InvalidArgument`.
pub(super) fn copy_source(headers: &HeaderMap) -> S3Result<()> {
    let Some(source) = header(headers, "x-amz-copy-source") else {
        return Ok(());
    };
    let asked = source.split_once('?').map(|(_, asked)| asked);
    let is_version = |asked: &str| asked.starts_with("versionId=") && !asked.contains('&');
    match asked.is_none_or(is_version) {
        true => Ok(()),
        false => Err(s3_error!(InvalidArgument, "Unsupported copy source parameter.")
            .detail("ArgumentName", "x-amz-copy-source")
            .detail("ArgumentValue", source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown_with_the_headers_they_are_in() {
        let mut headers = HeaderMap::new();
        for name in SECRETS {
            headers.append(&name, HeaderValue::from_static("sesame"));
            headers.append(name, HeaderValue::from_static("sesame"));
        }
        headers.insert("x-amz-meta-a", HeaderValue::from_static("shown"));
        conceal(&mut headers);
        let shown = format!("{headers:?}");
        assert!(!shown.contains("sesame") && shown.contains("shown"), "{shown}");
    }

    #[test]
    fn dates_are_read_kindly_and_sources_of_copies_strictly() {
        let mut headers = HeaderMap::new();
        headers.insert(
            IF_MODIFIED_SINCE,
            HeaderValue::from_static("Mon, 23 Nov 2026 07:30:03 -0000"),
        );
        headers.insert(IF_UNMODIFIED_SINCE, HeaderValue::from_static("yesterday"));
        headers.insert(EXPIRES, HeaderValue::from_static("never"));
        dates(&mut headers);
        assert_eq!(
            header(&headers, "if-modified-since"),
            Some("Mon, 23 Nov 2026 07:30:03 GMT")
        );
        assert!(!headers.contains_key(IF_UNMODIFIED_SINCE) && !headers.contains_key(EXPIRES));
        assert_eq!(headers[KEPT_EXPIRES], "never");
        for (source, good) in [
            ("/b/k", true),
            ("b/k?versionId=null", true),
            ("b/k%3Fx", true),
            ("b/k?x", false),
            ("b/k?versionId=1&x", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-amz-copy-source", HeaderValue::from_static(source));
            assert_eq!(copy_source(&headers).is_ok(), good, "{source}");
        }
    }
}
