//! Numbers and tables for people.
use std::time::Duration;

use comfy_table::{Table, presets};

/// A table without lines.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

/// Bytes for people: "1.5 GiB".
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (n as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{n} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// A time for people: "3 s", "12 min", "5 h".
pub(crate) fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..100 => format!("{seconds} s"),
        seconds @ ..6000 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_binary_units() {
        assert_eq!(
            (bytes(5), bytes(1536), bytes(1 << 40)),
            ("5 B".into(), "1.5 KiB".into(), "1.0 TiB".into())
        );
    }

    #[test]
    fn times_are_shown_in_the_unit_that_fits() {
        let shown = [5, 99, 100, 6000, 200_000].map(|s| span(Duration::from_secs(s)));
        assert_eq!(shown, ["5 s", "99 s", "1 min", "1 h", "2 days"]);
    }
}
