//! A set of partitions: one bit each.
//!
//! Says which partitions a rebalance must leave alone and which it moved, so
//! that several builders (the components of a composite ring) can take turns.
use crate::device::Partition;

/// Partitions of one ring; those never inserted are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionSet {
    words: Vec<u64>,
}

impl PartitionSet {
    /// An empty set. Grows with what is put in.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a partition in.
    pub fn insert(&mut self, part: Partition) {
        let (word, bit) = place(part);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
    }

    /// Is the partition in?
    #[inline]
    pub fn contains(&self, part: Partition) -> bool {
        let (word, bit) = place(part);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Takes in everything that `other` holds.
    pub fn extend_from(&mut self, other: &Self) {
        if other.words.len() > self.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine |= theirs;
        }
    }

    /// Number of partitions in the set.
    pub fn len(&self) -> u64 {
        self.words.iter().map(|bits| u64::from(bits.count_ones())).sum()
    }

    /// Nothing in it?
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&bits| bits == 0)
    }

    /// The partitions, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Partition> + '_ {
        self.words.iter().enumerate().flat_map(|(word, &bits)| {
            let set = (0..64u32).filter(move |bit| bits & (1 << bit) != 0);
            set.map(move |bit| Partition(word as u32 * 64 + bit))
        })
    }
}

impl FromIterator<Partition> for PartitionSet {
    fn from_iter<I: IntoIterator<Item = Partition>>(parts: I) -> Self {
        let mut set = Self::new();
        parts.into_iter().for_each(|part| set.insert(part));
        set
    }
}

fn place(part: Partition) -> (usize, u64) {
    ((part.0 / 64) as usize, 1 << (part.0 % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_knows_what_was_put_in_and_nothing_else() {
        let mut set: PartitionSet = [3, 64, 3].map(Partition).into_iter().collect();
        let other: PartitionSet = [7, 1000].map(Partition).into_iter().collect();
        assert_eq!(set.len(), 2);
        assert!(!set.contains(Partition(u32::MAX)));
        set.extend_from(&other);
        let all: Vec<u32> = set.iter().map(|part| part.0).collect();
        assert_eq!(all, [3, 7, 64, 1000]);
        assert!(PartitionSet::new().is_empty() && !set.is_empty());
    }
}
