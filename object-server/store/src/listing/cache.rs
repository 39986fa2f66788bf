//! Heads of hot shards in memory, so that a row costs no read of its totals.
//!
//! Owned by the committer, which alone writes; no lock. Two generations: what
//! is used moves to the young one, and when that is full the old one is
//! dropped, so memory is bounded and recency costs nothing to keep.
use std::collections::HashMap;

use virga_ring::hash::NameHash;

use super::head::Head;

/// Heads in one generation: about 250 bytes each, 8 MiB in all at most.
const GENERATION: usize = 16 * 1024;

/// A bounded cache of heads.
#[derive(Default)]
pub struct Heads {
    young: HashMap<NameHash, Head>,
    old: HashMap<NameHash, Head>,
}

impl Heads {
    /// The head of a shard as last committed, if it is here.
    pub fn get(&self, shard: &NameHash) -> Option<&Head> {
        self.young.get(shard).or_else(|| self.old.get(shard))
    }

    /// Keeps the head that was committed.
    pub fn put(&mut self, shard: NameHash, head: Head) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(shard, head);
    }

    /// Drops a shard.
    pub fn remove(&mut self, shard: &NameHash) {
        self.young.remove(shard);
        self.old.remove(shard);
    }

    /// Drops everything: after a failed commit the database decides.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::head::Kind;

    #[test]
    fn a_head_in_use_stays_and_memory_is_bounded() {
        let mut heads = Heads::default();
        let id = |n: usize| NameHash((n as u128).to_be_bytes());
        for n in 0..GENERATION * 5 {
            heads.put(id(n + 1), Head::new(Kind::Container, 0));
            if n % 100 == 0 {
                heads.put(id(0), Head::new(Kind::Container, 0));
            }
        }
        assert!(heads.get(&id(0)).is_some());
        assert!(heads.get(&id(1)).is_none());
        assert!(heads.young.len() + heads.old.len() <= 2 * GENERATION);
        heads.put(id(1), Head::new(Kind::Account, 0));
        heads.remove(&id(1));
        assert!(heads.get(&id(1)).is_none());
    }
}
