//! `Range` headers, single and multiple.

/// Ranges asked for, not yet held against a length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges(Vec<(Option<u64>, Option<u64>)>);

/// More ranges than this are refused.
const MOST: usize = 50;
/// More pairs of overlapping ranges than this are refused.
const MOST_OVERLAPS: usize = 2;
/// From so many on, ranges must ascend.
const MOST_UNORDERED: usize = 8;

/// What ranges mean for a body of known length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// Nothing that exists, or an unreasonable number (416).
    None,
    /// These parts, ends exclusive, in the order asked for (206).
    Parts(Vec<(u64, u64)>),
}

impl Ranges {
    /// Reads a header. `None` for what is not a valid range of bytes: such a
    /// header counts as absent.
    pub fn parse(header: &str) -> Option<Self> {
        let text: String = header.chars().filter(|c| *c != ' ' && *c != '\t').collect();
        let unit = text.get(..6)?;
        if !unit.eq_ignore_ascii_case("bytes=") {
            return None;
        }
        text[6..]
            .split(',')
            .map(Self::parse_one)
            .collect::<Option<Vec<_>>>()
            .map(Self)
    }

    fn parse_one(text: &str) -> Option<(Option<u64>, Option<u64>)> {
        let (start, end) = text.split_once('-')?;
        match (number(start)?, number(end)?) {
            (None, None) => None,
            (Some(start), Some(end)) if end < start => None,
            range => Some(range),
        }
    }

    /// Whether more than one range is asked for.
    pub fn several(&self) -> bool {
        self.0.len() > 1
    }

    /// The first range as the core reads it.
    pub fn first(&self) -> crate::core::Wanted {
        use crate::core::Wanted;
        match self.0.first() {
            Some((Some(start), Some(end))) => Wanted::Span(*start, end.saturating_add(1)),
            Some((Some(start), None)) => Wanted::From(*start),
            Some((None, Some(last))) => Wanted::Last(*last),
            Some((None, None)) | None => Wanted::All,
        }
    }

    /// Holds the ranges against a length.
    pub fn select(&self, length: u64) -> Selected {
        let parts: Vec<(u64, u64)> = self
            .0
            .iter()
            .filter_map(|range| match *range {
                (None, Some(0)) | (None, None) => None,
                (None, Some(last)) => Some((length.saturating_sub(last), length)),
                (Some(start), _) if start >= length => None,
                (Some(start), None) => Some((start, length)),
                (Some(start), Some(end)) => Some((start, end.saturating_add(1).min(length))),
            })
            .collect();
        match parts.is_empty() || parts.len() > MOST || unreasonable(&parts) {
            true => Selected::None,
            false => Selected::Parts(parts),
        }
    }
}

fn unreasonable(parts: &[(u64, u64)]) -> bool {
    let mut overlaps = 0;
    for (at, a) in parts.iter().enumerate() {
        for b in &parts[at + 1..] {
            overlaps += usize::from(
                (a.0 < b.0 && b.0 < a.1)
                    || (a.0 < b.1 && b.1 < a.1)
                    || (b.0 < a.0 && a.0 < b.1)
                    || (b.0 < a.1 && a.1 < b.1),
            );
        }
    }
    let ascending = parts.windows(2).all(|pair| pair[0].0 <= pair[1].0);
    overlaps > MOST_OVERLAPS || (!ascending && parts.len() >= MOST_UNORDERED)
}

/// Digits as a number (the largest if there are too many), nothing as none;
/// `None` for anything else.
fn number(text: &str) -> Option<Option<u64>> {
    match text {
        "" => Some(None),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(Some(digits.parse().unwrap_or(u64::MAX)))
        }
        _ => None,
    }
}

/// Value of `Content-Range` for `start..end` of `size` bytes.
pub fn content_range(start: u64, end: u64, size: u64) -> String {
    format!("bytes {start}-{}/{size}", end.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn select(header: &str, length: u64) -> Option<Selected> {
        Ranges::parse(header).map(|ranges| ranges.select(length))
    }

    #[test]
    fn ranges_are_cut_to_what_exists() {
        let parts = |parts: &[(u64, u64)]| Some(Selected::Parts(parts.to_vec()));
        for (header, expected) in [
            ("bytes=0-4", parts(&[(0, 5)])),
            ("BYTES = 2 - 3", parts(&[(2, 4)])),
            ("bytes=5-", parts(&[(5, 10)])),
            ("bytes=-3", parts(&[(7, 10)])),
            ("bytes=-30", parts(&[(0, 10)])),
            ("bytes=8-99999999999999999999999", parts(&[(8, 10)])),
            ("bytes=0-1,4-5,10-11", parts(&[(0, 2), (4, 6)])),
            ("bytes=10-", Some(Selected::None)),
            ("bytes=-0", Some(Selected::None)),
            ("bytes=10-12,20-30", Some(Selected::None)),
            ("bytes=3-2", None),
            ("bytes=-", None),
            ("bytes=4", None),
            ("bytes=a-b", None),
            ("bytes=--1", None),
            ("bytes=0-1,x", None),
            ("parsecs=8-12", None),
            ("0-4", None),
            ("", None),
            ("\u{e9}\u{e9}\u{e9}\u{e9}", None),
        ] {
            assert_eq!(select(header, 10), expected, "{header}");
        }
    }

    #[test]
    fn greedy_ranges_are_refused() {
        let many = |n: u64| {
            format!(
                "bytes={}",
                (0..n).map(|i| format!("{i}-{i}")).collect::<Vec<_>>().join(",")
            )
        };
        assert!(matches!(select(&many(50), 100), Some(Selected::Parts(_))));
        assert_eq!(select(&many(51), 100), Some(Selected::None));
        assert_eq!(select("bytes=0-9,1-8,2-7", 100), Some(Selected::None));
        let falling: Vec<String> = (0..8).map(|i| format!("{0}-{0}", 80 - i * 10)).collect();
        assert_eq!(
            select(&format!("bytes={}", falling.join(",")), 100),
            Some(Selected::None)
        );
    }

    proptest! {
        #[test]
        fn every_selected_part_lies_within_the_body(header in "bytes=[0-9,-]{0,20}", length in 0u64..50) {
            if let Some(Selected::Parts(parts)) = select(&header, length) {
                for (start, end) in parts {
                    prop_assert!(start <= end && end <= length);
                }
            }
        }
    }
}
