//! Versions as S3 shows them: whole seconds, in headers and in listings alike.
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;
use s3s::dto::Timestamp;
use virga_node::clock::Version;

/// Whole seconds since the epoch, rounded up as `Last-Modified` of the other
/// dialect is.
pub(crate) fn seconds(version: Version) -> u64 {
    version.time().0.div_ceil(1_000_000)
}

/// For documents.
pub(crate) fn timestamp(version: Version) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_secs(seconds(version)))
}

/// For `Last-Modified`.
pub(crate) fn header(version: Version) -> HeaderValue {
    let at = UNIX_EPOCH + Duration::from_secs(seconds(version).min(253_402_300_799));
    HeaderValue::from_str(&httpdate::fmt_http_date(at)).unwrap_or(HeaderValue::from_static(""))
}

/// A date of HTTP in seconds since the epoch; `None` for what is no date.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let at = httpdate::parse_http_date(text.trim()).ok()?;
    Some(at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
