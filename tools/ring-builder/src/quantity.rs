//! Amounts as people write them: bytes (3TiB), shares (2%), durations.
use std::str::FromStr;

/// A number of bytes from the command line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bytes(pub(crate) f64);

/// Text that is no amount.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum QuantityError {
    #[error("{0:?} is not an amount of bytes: write 500GB, 3TiB or a plain number")]
    Bytes(String),
    #[error("{0:?} is not a share: write 2% or 0.02, between 0 and 100%")]
    Share(String),
}

/// Powers of 1000 and of 1024.
const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];

impl FromStr for Bytes {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let wrong = || QuantityError::Bytes(text.to_owned());
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        let number: f64 = digits.parse().map_err(|_| wrong())?;
        let unit = unit.trim().to_ascii_uppercase();
        let unit = unit.strip_suffix("/S").unwrap_or(&unit);
        let (letter, step) = match unit.strip_suffix("IB") {
            Some(letter) => (letter, 1024f64),
            None => (unit.strip_suffix('B').unwrap_or(unit), 1000f64),
        };
        let power = UNITS
            .iter()
            .position(|known| *known == letter)
            .ok_or_else(wrong)?;
        let bytes = number * step.powi(power as i32);
        if (0.0..=1e24).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(wrong())
        }
    }
}

/// A share from `2%` or `0.02`.
pub(crate) fn share(text: &str) -> Result<f64, QuantityError> {
    let (digits, scale) = match text.strip_suffix('%') {
        Some(digits) => (digits, 0.01),
        None => (text, 1.0),
    };
    match digits.trim().parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&(number * scale)) => Ok(number * scale),
        _ => Err(QuantityError::Share(text.to_owned())),
    }
}

/// `3.0 TiB`.
pub(crate) fn show_bytes(bytes: f64) -> String {
    let mut size = bytes;
    let mut power = 0;
    while size >= 1024.0 && power + 1 < UNITS.len() {
        size /= 1024.0;
        power += 1;
    }
    match UNITS[power] {
        "" => format!("{size:.0} bytes"),
        unit => format!("{size:.1} {unit}iB"),
    }
}

/// `2 days 3 hours`: the two largest units.
pub(crate) fn show_seconds(seconds: f64) -> String {
    let whole = seconds.ceil().min(1e15) as u64;
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let mut rest = whole;
    let mut words = Vec::new();
    for (length, name) in units {
        let count = rest / length;
        rest %= length;
        if count > 0 && words.len() < 2 {
            words.push(format!("{count} {name}{}", if count == 1 { "" } else { "s" }));
        } else if !words.is_empty() {
            break;
        }
    }
    if words.is_empty() {
        "no time".to_owned()
    } else {
        words.join(" ")
    }
}

/// A chance in percent, with the digits that say something: `0.0031 %`.
pub(crate) fn show_chance(chance: f64) -> String {
    let percent = chance * 100.0;
    if percent == 0.0 {
        "0 %".to_owned()
    } else if percent < 1e-4 {
        format!("{percent:.1e} %")
    } else if percent < 1.0 {
        format!("{percent:.4} %")
    } else {
        format!("{percent:.2} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("3TiB", 3.0 * 1024f64.powi(4)),
            ("500GB", 5e11),
            ("1.5 k", 1500.0),
            ("50MB/s", 5e7),
            ("12", 12.0),
            ("0b", 0.0),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for bad in ["", "TiB", "-1", "3 apples", "1e3", "nan", "3ii"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
        assert_eq!((share("2%"), share("0.5")), (Ok(0.02), Ok(0.5)));
        assert!(share("200%").is_err() && share("-1").is_err() && share("x").is_err());
    }

    #[test]
    fn amounts_are_shown_with_the_digits_that_matter() {
        assert_eq!(show_bytes(3.5 * 1024f64.powi(4)), "3.5 TiB");
        assert_eq!(show_bytes(100.0), "100 bytes");
        assert_eq!(show_seconds(90_061.0), "1 day 1 hour");
        assert_eq!(show_seconds(59.2), "1 minute");
        assert_eq!(show_seconds(0.0), "no time");
        assert_eq!(show_chance(0.012345), "1.23 %");
        assert_eq!(show_chance(1e-9), "1.0e-7 %");
    }
}
