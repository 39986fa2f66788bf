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

#[derive(Debug)]
pub(super) struct Holders {
    /// Per leaf: partitions that something was done to.
    pub(super) touched: Vec<Vec<u32>>,
    listed: PartitionSet,
    /// Leaf -> its place in `untouched`; empty until asked for.
    starts: Vec<u32>,
    untouched: Vec<u32>,
}

impl Holders {
    pub(super) fn new(field: &Field<'_>) -> Self {
        let mut it = Self {
            touched: vec![Vec::new(); field.tree.leaves()],
            listed: PartitionSet::new(),
            starts: Vec::new(),
            untouched: Vec::new(),
        };
        for part in field.touched.iter() {
            it.list(field, part.0);
        }
        it
    }

    fn list(&mut self, field: &Field<'_>, part: u32) {
        self.listed.insert(Partition(part));
        for &leaf in field.rows.of(part as usize).iter().filter(|leaf| **leaf != NONE) {
            self.touched[leaf as usize].push(part);
        }
    }

    /// Something was done to `part`: `leaf` has it now.
    pub(super) fn note(&mut self, field: &Field<'_>, part: u32, leaf: u32) {
        if !self.listed.contains(Partition(part)) {
            self.list(field, part);
        } else if self.touched[leaf as usize].last() != Some(&part) {
            self.touched[leaf as usize].push(part);
        }
    }

    /// Makes the index of untouched partitions that may move.
    pub(super) fn index_untouched(&mut self, field: &Field<'_>) {
        if !self.starts.is_empty() {
            return;
        }
        let movable = |part: usize| field.allowed[part] > 0 && !self.listed.contains(Partition(part as u32));
        let mut starts = vec![0u32; field.tree.leaves() + 1];
        for part in (0..field.rows.parts()).filter(|&part| movable(part)) {
            for &leaf in field.rows.of(part) {
                starts[leaf as usize + 1] += 1;
            }
        }
        for leaf in 0..field.tree.leaves() {
            starts[leaf + 1] += starts[leaf];
        }
        let mut untouched = vec![0; starts[field.tree.leaves()] as usize];
        let mut ends = starts.clone();
        for part in (0..field.rows.parts()).filter(|&part| movable(part)) {
            for &leaf in field.rows.of(part) {
                let end = &mut ends[leaf as usize];
                untouched[*end as usize] = part as u32;
                *end += 1;
            }
        }
        (self.starts, self.untouched) = (starts, untouched);
    }

    /// Untouched partitions of a leaf; some may have been touched since.
    pub(super) fn untouched(&self, leaf: u32) -> &[u32] {
        match self.starts.get(leaf as usize..leaf as usize + 2) {
            Some(&[from, to]) => &self.untouched[from as usize..to as usize],
            _ => &[],
        }
    }

    /// Has nothing been done to `part`, and if only tiers above its device's
    /// `home` are of use (`leaving`): can a replica leave some tier at all?
    #[inline]
    pub(super) fn useful(&self, survey: &Survey, part: u32, leaving: bool) -> bool {
        let part = Partition(part);
        (!leaving || survey.loose.contains(part)) && !self.listed.contains(part)
    }
}
