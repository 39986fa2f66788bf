//! Who must have a write before it is acknowledged, and who must be heard
//! before a read is believed.
//!
//! Every decision of the core about quorums is made here. Mostly there is one
//! set of replicas, the primaries of a partition. While a ring change is under
//! way there is one for each ring that still counts, and a quorum is one of
//! every set (joint consensus): whoever uses one of these rings alone, or
//! another choice of them, still meets every quorum.
//!
//! Why it works: for each ring that two requests have in common, the replicas
//! that have the write and those that are heard are more than there are.
use std::ops::{BitOr, BitOrAssign};

/// Members of a place, by their numbers: those from [`Members::MOST`] on cannot
/// be named and count as never heard of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Members(u128);

impl Members {
    /// Numbers that can be told apart.
    pub(super) const MOST: usize = 128;

    /// Nobody.
    pub(super) const NONE: Self = Self(0);

    /// One member.
    pub(super) fn one(number: usize) -> Self {
        Self(
            u32::try_from(number)
                .ok()
                .and_then(|n| 1u128.checked_shl(n))
                .unwrap_or(0),
        )
    }

    /// The members `0..count`.
    pub(super) fn first(count: usize) -> Self {
        (0..count).fold(Self::NONE, |all, number| all | Self::one(number))
    }

    pub(super) fn has(self, number: usize) -> bool {
        self.0 & Self::one(number).0 != 0
    }

    pub(super) fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn both(self, others: Self) -> usize {
        (self.0 & others.0).count_ones() as usize
    }

    /// How many of `others` are among these.
    pub(super) fn covers(self, others: Self) -> bool {
        others.0 & !self.0 == 0
    }
}

impl BitOr for Members {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Members {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// The replicas that one ring wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Set {
    members: Members,
    /// How many there are, also those that have no number.
    size: usize,
}

impl Set {
    /// The set of these numbers.
    pub(super) fn of(numbers: impl IntoIterator<Item = usize>) -> Self {
        let (mut members, mut size) = (Members::NONE, 0);
        for number in numbers {
            members |= Members::one(number);
            size += 1;
        }
        Self { members, size }
    }

    fn write_quorum(&self) -> usize {
        self.size / 2 + 1
    }

    /// As many as meet every write quorum.
    fn read_quorum(&self) -> usize {
        (self.size + 1).saturating_sub(self.write_quorum()).max(1)
    }
}

/// The sets that count for one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quorums {
    first: Set,
    /// Of further rings; empty unless a change is under way.
    others: Vec<Set>,
}

impl Quorums {
    /// A quorum of `first`, and of every one of `others`. Sets that say the
    /// same twice are counted once.
    pub(super) fn new(first: Set, others: impl IntoIterator<Item = Set>) -> Self {
        let mut all = Self {
            first,
            others: Vec::new(),
        };
        for set in others {
            // A ring may have no replica of a partition: it asks for nothing.
            if set.size > 0 && !all.sets().any(|known| *known == set) {
                all.others.push(set);
            }
        }
        all
    }

    fn sets(&self) -> impl Iterator<Item = &Set> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Whether a write that `have` it may be acknowledged.
    pub(super) fn write(&self, have: Members) -> bool {
        self.sets()
            .all(|set| have.both(set.members) >= set.write_quorum())
    }

    /// Whether `heard` know of every acknowledged write.
    pub(super) fn read(&self, heard: Members) -> bool {
        self.sets()
            .all(|set| heard.both(set.members) >= set.read_quorum())
    }

    /// Whether `vouched` may say together that an object does not exist: each
    /// answered itself, or was stood in for by a device that knows something
    /// of the name.
    ///
    /// A write is acknowledged when a write quorum of members has it; devices
    /// that stand in make one up only where fewer members can be reached. So a
    /// read quorum of members has heard of every write that members took, and
    /// that nobody there knows of the name is news. That one which stands in
    /// knows nothing is none: while two of three members are away, they may be
    /// the two that have the write, and nobody had to stand in for them. One
    /// that does know (of a deletion) stood in when it was written, and counts
    /// for the member as it did then: the deletion it names was acknowledged
    /// with its help while the same members were away.
    ///
    /// What was found needs no such care: it is served as the newest of what
    /// can be reached, as an old answer is better there than none. "There is
    /// nothing" makes clients act on a loss that did not happen.
    pub(super) fn denies(&self, vouched: Members) -> bool {
        self.read(vouched)
    }

    /// In how many sets a member does not count: those that count in all are
    /// the best to ask.
    pub(super) fn misses(&self, number: usize) -> usize {
        self.sets().filter(|set| !set.members.has(number)).count()
    }

    /// For people: replicas that did a write and replicas needed, of the set
    /// that lacks the most.
    pub(super) fn write_shortfall(&self, have: Members) -> (usize, usize) {
        worst(
            self.sets()
                .map(|set| (have.both(set.members), set.write_quorum())),
        )
    }

    /// As [`Quorums::write_shortfall`], of a read.
    pub(super) fn read_shortfall(&self, heard: Members) -> (usize, usize) {
        worst(
            self.sets()
                .map(|set| (heard.both(set.members), set.read_quorum())),
        )
    }
}

fn worst(counted: impl Iterator<Item = (usize, usize)>) -> (usize, usize) {
    counted
        .max_by_key(|(reached, needed)| needed.saturating_sub(*reached))
        .unwrap_or((0, 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(numbers: &[usize]) -> Members {
        numbers
            .iter()
            .fold(Members::NONE, |all, n| all | Members::one(*n))
    }

    /// Every choice of members below `count`.
    fn choices(count: usize) -> impl Iterator<Item = Members> {
        (0..1u128 << count).map(Members)
    }

    #[test]
    fn one_set_needs_a_majority_to_write_and_whatever_meets_it_to_read() {
        for (size, write, read) in [(1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 3, 2), (5, 3, 3), (0, 1, 1)] {
            let quorums = Quorums::new(Set::of(0..size), []);
            for have in choices(5) {
                let count = have.both(Members::first(size));
                assert_eq!(quorums.write(have), count >= write, "{size} {have:?}");
                assert_eq!(quorums.read(have), count >= read, "{size} {have:?}");
            }
        }
    }

    #[test]
    fn any_write_meets_any_read_of_whoever_has_a_ring_in_common() {
        // 0..3 the first ring, 3 takes the place of 0 in the second, 4 that of 1 in the third.
        let rings = [Set::of([0, 1, 2]), Set::of([3, 1, 2]), Set::of([3, 4, 2])];
        let choice = |bits: usize| {
            let sets: Vec<Set> = (0..3).filter(|n| bits >> n & 1 == 1).map(|n| rings[n]).collect();
            Quorums::new(sets[0], sets[1..].to_vec())
        };
        for (writer, reader) in (1..8)
            .flat_map(|w| (1..8).map(move |r| (w, r)))
            .filter(|(w, r)| w & r != 0)
        {
            let (writes, reads) = (choice(writer), choice(reader));
            for have in choices(5).filter(|have| writes.write(*have)) {
                for heard in choices(5).filter(|heard| reads.read(*heard)) {
                    assert!(have.both(heard) > 0, "{writer} {reader}: {have:?} {heard:?}");
                }
            }
        }
    }

    #[test]
    fn with_one_replica_moved_the_two_that_stay_are_quorums_of_both_rings() {
        let quorums = Quorums::new(Set::of([0, 1, 2]), [Set::of([3, 1, 2])]);
        assert!(quorums.write(members(&[1, 2])) && quorums.read(members(&[1, 2])));
        for one_of_them_away in [[0, 1], [3, 1]] {
            assert!(!quorums.write(members(&one_of_them_away)));
            assert!(!quorums.read(members(&one_of_them_away)));
        }
        assert!(quorums.write(members(&[0, 1, 3])) && quorums.read(members(&[0, 3, 2])));
        assert_eq!(quorums.write_shortfall(members(&[0, 1])), (1, 2));
        assert_eq!(
            (quorums.misses(1), quorums.misses(0), quorums.misses(3)),
            (0, 1, 1)
        );
    }

    #[test]
    fn members_without_a_number_never_count() {
        let quorums = Quorums::new(Set::of(0..300), []);
        assert!(!quorums.write(Members::first(300)));
        assert_eq!(Members::one(Members::MOST), Members::NONE);
    }

    proptest! {
        #[test]
        fn random_sets_in_common_always_meet(
            common in prop::collection::btree_set(0usize..10, 1..6),
            mine in prop::collection::vec(prop::collection::btree_set(0usize..10, 1..6), 0..3),
            yours in prop::collection::vec(prop::collection::btree_set(0usize..10, 1..6), 0..3),
            have in 0u128..1 << 10,
            heard in 0u128..1 << 10,
        ) {
            let set = |of: &std::collections::BTreeSet<usize>| Set::of(of.iter().copied());
            let writes = Quorums::new(set(&common), mine.iter().map(set));
            let reads = Quorums::new(set(&common), yours.iter().map(set));
            let (have, heard) = (Members(have), Members(heard));
            if writes.write(have) && reads.read(heard) {
                prop_assert!(have.both(heard) > 0);
            }
        }
    }
}
