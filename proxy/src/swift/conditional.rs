//! Conditional requests: `If-Match`, `If-None-Match` and the two dates.
use http::{HeaderMap, StatusCode};

/// Takes the quotes off an ETag.
pub fn unquote_etag(tag: &str) -> &str {
    tag.strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(tag)
}

/// Whether a list of ETags holds `etag` or a star.
fn list_holds(list: &str, etag: &str) -> bool {
    list.split(',')
        .map(str::trim)
        .filter(|tag| !tag.is_empty())
        .any(|tag| tag == "*" || unquote_etag(tag) == etag)
}

/// Whether a header with a list of ETags holds a star.
pub fn holds_star(headers: &HeaderMap, name: &str) -> bool {
    super::headers::text(headers, name).is_some_and(|list| list.split(',').any(|tag| tag.trim() == "*"))
}

/// A date of HTTP in any of its three forms, in seconds since the epoch.
fn date(headers: &HeaderMap, name: &str) -> Option<u64> {
    let text = super::headers::text(headers, name)?;
    let time = httpdate::parse_http_date(text.trim()).ok()?;
    Some(
        time.duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    )
}

/// The date of HTTP for seconds since the epoch.
pub fn format_date(seconds: u64) -> String {
    let seconds = seconds.min(253_402_300_799);
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}

/// What conditions make of a success: 304, 412, or nothing. `last_modified`
/// is in whole seconds since the epoch.
pub fn judge(headers: &HeaderMap, etag: &str, last_modified: u64) -> Option<StatusCode> {
    let text = |name| super::headers::text(headers, name);
    if text("if-none-match").is_some_and(|list| list_holds(list, etag)) {
        return Some(StatusCode::NOT_MODIFIED);
    }
    if text("if-match").is_some_and(|list| !list_holds(list, etag)) {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    if date(headers, "if-modified-since").is_some_and(|since| last_modified <= since) {
        return Some(StatusCode::NOT_MODIFIED);
    }
    if date(headers, "if-unmodified-since").is_some_and(|since| last_modified > since) {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(name: &'static str, value: &str) -> Option<u16> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        judge(&headers, "abc", 784_111_777).map(|status| status.as_u16())
    }

    #[test]
    fn each_condition_has_its_answer() {
        for (name, value, expected) in [
            ("if-match", "abc", None),
            ("if-match", "\"x\", \"abc\"", None),
            ("if-match", "*", None),
            ("if-match", "\"x\"", Some(412)),
            ("if-match", "", Some(412)),
            ("if-none-match", "", None),
            ("if-none-match", "\"x\", \"abc\"", Some(304)),
            ("if-none-match", "*", Some(304)),
            ("if-none-match", "x", None),
            ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT", Some(304)),
            ("if-modified-since", "Sunday, 06-Nov-94 08:49:36 GMT", None),
            ("if-modified-since", "yesterday", None),
            ("if-unmodified-since", "Sun Nov  6 08:49:37 1994", None),
            ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT", Some(412)),
        ] {
            assert_eq!(judged(name, value), expected, "{name}: {value}");
        }
    }

    #[test]
    fn dates_are_written_as_http_writes_them() {
        assert_eq!(format_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(format_date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
