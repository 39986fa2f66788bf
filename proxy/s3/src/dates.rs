//! Versions as S3 shows them: whole seconds, in headers and in listings alike.
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;
use s3s::dto::{Timestamp, TimestampFormat};
use virga_node::clock::Version;

/// The last second of the year 9999: later ones cannot be written.
const LAST: u64 = 253_402_300_799;

/// Whole seconds since the epoch, rounded up as `Last-Modified` of the other
/// dialect is.
pub(crate) fn seconds(version: Version) -> u64 {
    version.time().0.div_ceil(1_000_000)
}

/// For documents.
pub(crate) fn timestamp(version: Version) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_secs(seconds(version)))
}

/// Seconds since the epoch, for documents.
pub(crate) fn of_seconds(seconds: u64) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_secs(seconds.min(LAST)))
}

/// Seconds since the epoch, as ISO 8601 has them.
pub(crate) fn iso(seconds: u64) -> String {
    let mut text = String::new();
    write_iso(seconds, &mut text);
    text
}

/// The same behind other text. Listings write a thousand of them, hence digit by digit.
pub(crate) fn write_iso(seconds: u64, into: &mut String) {
    const EPOCH: jiff::civil::DateTime = jiff::civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    let since = jiff::SignedDuration::from_secs(i64::try_from(seconds.min(LAST)).unwrap_or_default());
    let at = EPOCH.saturating_add(since);
    let mut two = |number: i16, behind: &str| {
        for digit in [number / 10 % 10, number % 10] {
            into.push(char::from_digit(u32::from(digit.unsigned_abs()), 10).unwrap_or('0'));
        }
        into.push_str(behind);
    };
    two(at.year() / 100, "");
    two(at.year(), "-");
    two(at.month().into(), "-");
    two(at.day().into(), "T");
    two(at.hour().into(), ":");
    two(at.minute().into(), ":");
    two(at.second().into(), ".000Z");
}

/// Whole seconds since the epoch of a date in a document or header, rounded
/// up; `None` before the epoch.
pub(crate) fn seconds_of(timestamp: &Timestamp) -> Option<u64> {
    let mut text = Vec::new();
    timestamp.format(TimestampFormat::EpochSeconds, &mut text).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let whole: u64 = whole.parse().ok()?;
    Some(whole + u64::from(part.bytes().any(|digit| digit != b'0')))
}

/// For `Last-Modified`.
pub(crate) fn header(version: Version) -> HeaderValue {
    let at = UNIX_EPOCH + Duration::from_secs(seconds(version).min(LAST));
    HeaderValue::from_str(&httpdate::fmt_http_date(at)).unwrap_or(HeaderValue::from_static(""))
}

/// A date of HTTP in seconds since the epoch; `None` for what is no date.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let at = httpdate::parse_http_date(text.trim()).ok()?;
    Some(at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_documents_are_whole_seconds_rounded_up() {
        let read = |text| Timestamp::parse(TimestampFormat::DateTime, text).unwrap();
        for (text, seconds) in [
            ("2027-01-01T00:00:00Z", Some(1_798_761_600)),
            ("2027-01-01T00:00:00.000Z", Some(1_798_761_600)),
            ("2027-01-01T00:00:00.5Z", Some(1_798_761_601)),
            ("2027-01-01T01:00:00+01:00", Some(1_798_761_600)),
            ("1969-01-01T00:00:00Z", None),
        ] {
            assert_eq!(seconds_of(&read(text)), seconds, "{text}");
        }
        assert_eq!(iso(1_798_761_600), "2027-01-01T00:00:00.000Z");
        assert_eq!(iso(u64::MAX), "9999-12-31T23:59:59.000Z");
    }

    proptest::proptest! {
        #[test]
        fn dates_are_those_of_the_protocol_layer(seconds in 0..=LAST) {
            let mut text = Vec::new();
            of_seconds(seconds).format(TimestampFormat::DateTime, &mut text).unwrap();
            proptest::prop_assert_eq!(iso(seconds).into_bytes(), text);
        }
    }
}
