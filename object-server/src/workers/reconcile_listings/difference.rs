//! Where two cuts of the same rows differ. Pure.
use std::collections::HashMap;

use virga_object_store::listing::NamedPart;
use virga_object_wire::listing::{PART_LEVEL, PartSum, RowRange};

/// How much finer the parts are in the next look: 16 for one.
const STEP: u8 = 4;

/// Level of the parts to begin with for so many rows: about 16 parts.
pub(super) fn first_level(rows: u64) -> u8 {
    let bits = u8::try_from(rows.max(1).ilog2()).unwrap_or(u8::MAX);
    bits.saturating_sub(STEP).max(PART_LEVEL)
}

/// Level of the next look; `None` when parts of this level are the finest.
pub(super) fn next_level(level: u8) -> Option<u8> {
    (level > PART_LEVEL).then(|| level.saturating_sub(STEP).max(PART_LEVEL))
}

/// The ranges between starts that both sides have in which the sums differ, in
/// order, neighbours in one.
pub(super) fn differing(range: &RowRange, ours: &[NamedPart], theirs: &[PartSum]) -> Vec<RowRange> {
    let their_starts: HashMap<u64, usize> = theirs
        .iter()
        .enumerate()
        .map(|(at, part)| (part.start, at))
        .collect();
    let mut found: Vec<RowRange> = Vec::new();
    let (mut our_first, mut their_first) = (0, 0);
    let mut close = |from: usize, to: usize, their_from: usize, their_to: usize| {
        let ours_sum = sum(ours[from..to].iter().map(|part| part.part));
        if ours_sum == sum(theirs[their_from..their_to].iter().copied()) {
            return;
        }
        let begin = ours[from].from.clone();
        let end = ours
            .get(to)
            .map(|part| part.from.clone())
            .or_else(|| range.to.clone());
        match found.last_mut().filter(|last| last.to.as_ref() == Some(&begin)) {
            Some(last) => last.to = end,
            None => found.push(RowRange { from: begin, to: end }),
        }
    };
    for (at, part) in ours.iter().enumerate().skip(1) {
        // Starts that go back would be two names with one hash: not a place to cut.
        if let Some(their_at) = their_starts.get(&part.part.start)
            && *their_at > their_first
        {
            close(our_first, at, their_first, *their_at);
            (our_first, their_first) = (at, *their_at);
        }
    }
    if !ours.is_empty() {
        close(our_first, ours.len(), their_first, theirs.len());
    }
    found
}

fn sum(parts: impl Iterator<Item = PartSum>) -> u128 {
    parts.map(|part| part.sum).fold(0, u128::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(parts: &[(&str, u64, u128)]) -> Vec<NamedPart> {
        let part = |(from, start, sum): &(&str, u64, u128)| NamedPart {
            from: (*from).to_owned(),
            part: PartSum {
                start: *start,
                sum: *sum,
            },
        };
        parts.iter().map(part).collect()
    }

    fn theirs(parts: &[(u64, u128)]) -> Vec<PartSum> {
        parts
            .iter()
            .map(|(start, sum)| PartSum {
                start: *start,
                sum: *sum,
            })
            .collect()
    }

    fn ranges(found: &[RowRange]) -> Vec<(&str, Option<&str>)> {
        found
            .iter()
            .map(|range| (range.from.as_str(), range.to.as_deref()))
            .collect()
    }

    #[test]
    fn only_what_lies_between_starts_of_both_sides_and_differs_is_looked_into() {
        let all = RowRange::default();
        let mine = ours(&[("", 0, 5), ("b", 20, 6), ("d", 40, 7), ("f", 60, 8)]);
        let same = theirs(&[(0, 5), (20, 6), (40, 7), (60, 8)]);
        assert_eq!(differing(&all, &mine, &same), []);
        let one = theirs(&[(0, 5), (20, 1), (40, 7), (60, 8)]);
        assert_eq!(ranges(&differing(&all, &mine, &one)), [("b", Some("d"))]);
        let two = theirs(&[(0, 5), (20, 1), (40, 1), (60, 8)]);
        assert_eq!(ranges(&differing(&all, &mine, &two)), [("b", Some("f"))]);
        let last = theirs(&[(0, 5), (20, 6), (40, 7), (60, 9)]);
        assert_eq!(ranges(&differing(&all, &mine, &last)), [("f", None)]);
        // They lack a start of ours and have one that we lack.
        let cut = theirs(&[(0, 5), (20, 6), (50, 1), (60, 8)]);
        assert_eq!(ranges(&differing(&all, &mine, &cut)), [("b", Some("f"))]);
        let two_parts_in_one = theirs(&[(0, 5), (20, 13), (60, 8)]);
        assert_eq!(differing(&all, &mine, &two_parts_in_one), []);
        let to_the_end = theirs(&[(0, 5), (20, 6), (60, 15)]);
        assert_eq!(ranges(&differing(&all, &mine, &to_the_end)), [("b", None)]);
        let none = theirs(&[(0, 0)]);
        assert_eq!(ranges(&differing(&all, &mine, &none)), [("", None)]);
        assert_eq!(ranges(&differing(&all, &mine, &[])), [("", None)]);
    }

    #[test]
    fn a_part_cut_in_two_is_not_a_difference() {
        let range = RowRange {
            from: "a".into(),
            to: Some("z".into()),
        };
        let mine = ours(&[("a", 0, 5), ("d", 40, 7)]);
        assert_eq!(differing(&range, &mine, &theirs(&[(0, 12)])), []);
        let odd = differing(&range, &mine, &theirs(&[(0, 13)]));
        assert_eq!(ranges(&odd), [("a", Some("z"))]);
    }

    #[test]
    fn levels_go_from_few_parts_down_to_the_finest() {
        assert_eq!(
            (first_level(0), first_level(3000), first_level(10_000_000)),
            (7, 7, 19)
        );
        let mut level = first_level(10_000_000);
        let mut looks = 1;
        while let Some(next) = next_level(level) {
            (level, looks) = (next, looks + 1);
        }
        assert_eq!((level, looks), (PART_LEVEL, 4));
    }
}
