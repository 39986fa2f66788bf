//! Versions as Swift's headers and listings show them.
use http::HeaderValue;
use virga_node::clock::Version;

/// Whole seconds since the epoch, rounded up: what `Last-Modified` says.
pub fn last_modified(version: Version) -> u64 {
    version.time().0.div_ceil(1_000_000)
}

/// Value of `X-Timestamp`.
pub fn header(version: Version) -> HeaderValue {
    super::headers::to_value(&version.to_timestamp())
}

/// "2026-11-22T15:00:00.123450", as listings say it.
pub fn iso(version: Version) -> String {
    let micros = version.time().0;
    let (days, rest) = (micros / 86_400_000_000, micros % 86_400_000_000);
    let (year, month, day) = civil(days);
    let seconds = rest / 1_000_000;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        rest % 1_000_000
    )
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    // Counted from 0000-03-01, so that leap days end a year; eras of 400 years repeat.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use virga_node::clock::Micros;

    #[test]
    fn a_listing_shows_microseconds_and_last_modified_rounds_up() {
        let version = Version::from_timestamp("1763823600.12345").unwrap();
        assert_eq!(iso(version), "2025-11-22T15:00:00.123450");
        assert_eq!(last_modified(version), 1_763_823_601);
        assert_eq!(
            last_modified(Version::from_timestamp("1763823600").unwrap()),
            1_763_823_600
        );
        assert_eq!(
            iso(Version::from_timestamp("951782400").unwrap()),
            "2000-02-29T00:00:00.000000"
        );
    }

    proptest! {
        #[test]
        fn dates_agree_with_a_calendar_library(secs in 0i64..4_000_000_000) {
            let expected = jiff::Timestamp::from_second(secs).unwrap().strftime("%Y-%m-%dT%H:%M:%S.000000").to_string();
            prop_assert_eq!(iso(Version::at(Micros(secs as u64 * 1_000_000))), expected);
        }
    }
}
