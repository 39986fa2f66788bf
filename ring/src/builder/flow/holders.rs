//! Which partitions a device holds, for the search.
//!
//! Partitions that something was done to are in short lists; they have more
//! ways to pass load on. The rest is one flat index, made only when a search
//! gets as far as moving them. Entries may be stale: the table decides.
use super::super::field::Field;
use super::super::partition_set::PartitionSet;
use super::super::survey::Survey;
use crate::device::Partition;
use crate::table::NONE;

/// Partitions per leaf, end to end.
#[derive(Debug, Default)]
struct Index {
    starts: Vec<u32>,
    parts: Vec<u32>,
}

impl Index {
    /// Of the partitions that `keep` says.
    fn new(field: &Field<'_>, keep: impl Fn(u32) -> bool) -> Self {
        let leaves = field.tree.leaves();
        let kept = || (0..field.rows.parts() as u32).filter(|&part| keep(part));
        let held = |part: u32| field.rows.of(part as usize).iter().filter(|leaf| **leaf != NONE);
        let mut starts = vec![0u32; leaves + 1];
        for leaf in kept().flat_map(held) {
            starts[*leaf as usize + 1] += 1;
        }
        for leaf in 0..leaves {
            starts[leaf + 1] += starts[leaf];
        }
        let mut parts = vec![0; starts[leaves] as usize];
        let mut ends = starts.clone();
        for part in kept() {
            for &leaf in held(part) {
                let end = &mut ends[leaf as usize];
                parts[*end as usize] = part;
                *end += 1;
            }
        }
        Self { starts, parts }
    }

    fn of(&self, leaf: u32) -> &[u32] {
        match self.starts.get(leaf as usize..leaf as usize + 2) {
            Some(&[from, to]) => &self.parts[from as usize..to as usize],
            _ => &[],
        }
    }
}

#[derive(Debug)]
pub(super) struct Holders {
    /// Partitions that something was done to, and which they are.
    touched: Index,
    /// Those that something was done to later on.
    later: Vec<Vec<u32>>,
    listed: PartitionSet,
    untouched: Option<Index>,
}

impl Holders {
    pub(super) fn new(field: &Field<'_>) -> Self {
        Self {
            touched: Index::new(field, |part| field.touched.contains(Partition(part))),
            later: vec![Vec::new(); field.tree.leaves()],
            listed: field.touched.clone(),
            untouched: None,
        }
    }

    /// Takes notice of what was done without the search.
    pub(super) fn catch_up(&mut self, field: &Field<'_>) {
        for part in field.touched.iter() {
            if !self.listed.contains(part) {
                self.list(field, part.0);
            }
        }
    }

    fn list(&mut self, field: &Field<'_>, part: u32) {
        self.listed.insert(Partition(part));
        for &leaf in field.rows.of(part as usize).iter().filter(|leaf| **leaf != NONE) {
            self.later[leaf as usize].push(part);
        }
    }

    /// Something was done to `part`: `leaf` has it now.
    pub(super) fn note(&mut self, field: &Field<'_>, part: u32, leaf: u32) {
        if !self.listed.contains(Partition(part)) {
            self.list(field, part);
        } else if self.later[leaf as usize].last() != Some(&part) {
            self.later[leaf as usize].push(part);
        }
    }

    /// Makes the index of untouched partitions that may move.
    pub(super) fn index_untouched(&mut self, field: &Field<'_>) {
        let listed = &self.listed;
        let movable = |part: u32| field.allowed[part as usize] > 0 && !listed.contains(Partition(part));
        self.untouched = Some(Index::new(field, movable));
    }

    /// Partitions of a leaf that something was done to, one by one.
    pub(super) fn touched(&self, leaf: u32, at: usize) -> Option<u32> {
        let first = self.touched.of(leaf);
        match first.get(at) {
            Some(&part) => Some(part),
            None => self.later[leaf as usize].get(at - first.len()).copied(),
        }
    }

    /// Untouched partitions of a leaf; some may have been touched since.
    pub(super) fn untouched(&self, leaf: u32) -> &[u32] {
        self.untouched.as_ref().map_or(&[], |index| index.of(leaf))
    }

    /// Has nothing been done to `part`, and if only tiers above its device's
    /// `home` are of use (`leaving`): can a replica leave some tier at all?
    #[inline]
    pub(super) fn useful(&self, survey: &Survey, part: u32, leaving: bool) -> bool {
        let part = Partition(part);
        (!leaving || survey.loose.contains(part)) && !self.listed.contains(part)
    }
}
