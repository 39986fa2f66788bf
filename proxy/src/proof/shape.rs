//! Which parts a proof consists of: they follow from the object's length and
//! the range alone, so that a proof has one form only.
use std::ops::Range;

use super::{CHUNK, tree};

/// An object's length, and the range of it that a proof is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    size: u64,
    range: Range<u64>,
}

/// The range is empty, or ends past the object's end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bytes {start} to {end} (not included) are no range of an object of {size} bytes")]
pub struct BadRange {
    /// First byte asked for.
    pub start: u64,
    /// One past the last byte asked for.
    pub end: u64,
    /// Bytes of the object.
    pub size: u64,
}

/// A part of a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// The bytes of the chunk of this number.
    Chunk(u64),
    /// The value of the subtree over these chunks.
    Subtree(Range<u64>),
}

impl Shape {
    /// The shape for bytes `range` (end exclusive) of an object of `size`
    /// bytes. Only an empty object has an empty range.
    ///
    /// # Errors
    /// [`BadRange`].
    pub fn new(size: u64, range: Range<u64>) -> Result<Self, BadRange> {
        let empty = range.start >= range.end && !(size == 0 && range == (0..0));
        if empty || range.end > size {
            return Err(BadRange {
                start: range.start,
                end: range.end,
                size,
            });
        }
        Ok(Self { size, range })
    }

    /// Bytes of the object.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The range.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Chunks of the object; an empty one has one.
    pub fn chunks(&self) -> u64 {
        self.size.div_ceil(CHUNK).max(1)
    }

    /// Bytes of a chunk.
    pub fn chunk_len(&self, number: u64) -> u64 {
        CHUNK.min(self.size.saturating_sub(number.saturating_mul(CHUNK)))
    }

    /// Which bytes of the object a leaf stands for.
    pub fn bytes_of(&self, leaf: &Leaf) -> Range<u64> {
        let (from, to) = match leaf {
            Leaf::Chunk(number) => (*number, number.saturating_add(1)),
            Leaf::Subtree(chunks) => (chunks.start, chunks.end),
        };
        let offset = |chunk: u64| chunk.saturating_mul(CHUNK).min(self.size);
        offset(from)..offset(to)
    }

    /// The chunks that are in the proof as bytes, ascending.
    fn open(&self) -> Vec<u64> {
        let mut open = Vec::with_capacity(3);
        for end in [self.range.start, self.range.end] {
            if !end.is_multiple_of(CHUNK) {
                open.push(end / CHUNK);
            }
        }
        open.push(self.chunks() - 1);
        open.dedup();
        open
    }

    /// The parts of the proof, from left to right.
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        self.descend(0..self.chunks(), &self.open(), &mut leaves);
        leaves
    }

    fn descend(&self, over: Range<u64>, open: &[u64], leaves: &mut Vec<Leaf>) {
        if open.iter().any(|chunk| over.contains(chunk)) {
            if over.end - over.start == 1 {
                leaves.push(Leaf::Chunk(over.start));
                return;
            }
        } else {
            let bytes = self.bytes_of(&Leaf::Subtree(over.clone()));
            let inside = bytes.start >= self.range.start && bytes.end <= self.range.end;
            let outside = bytes.end <= self.range.start || bytes.start >= self.range.end;
            if inside || outside {
                leaves.push(Leaf::Subtree(over));
                return;
            }
        }
        let middle = over.start + tree::left(over.end - over.start);
        self.descend(over.start..middle, open, leaves);
        self.descend(middle..over.end, open, leaves);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_are_none_are_refused() {
        for (size, range) in [(10, 3..3), (10, 0..11), (0, 0..1), (0, 1..1), (10, 11..12)] {
            let error = Shape::new(size, range.clone()).unwrap_err();
            assert_eq!(
                (error.start, error.end, error.size),
                (range.start, range.end, size)
            );
        }
        for (size, range) in [(0, 0..0), (1, 0..1), (u64::MAX, 0..u64::MAX)] {
            assert!(Shape::new(size, range).is_ok());
        }
    }

    #[test]
    fn a_range_is_cut_into_the_largest_subtrees_and_the_cut_chunks() {
        use Leaf::{Chunk, Subtree};
        for (size, range, expected) in [
            (0, 0..0, vec![Chunk(0)]),
            (1024, 5..6, vec![Chunk(0)]),
            (1025, 0..1024, vec![Subtree(0..1), Chunk(1)]),
            (
                8192,
                2048..4096,
                vec![
                    Subtree(0..2),
                    Subtree(2..4),
                    Subtree(4..6),
                    Subtree(6..7),
                    Chunk(7),
                ],
            ),
            (
                5000,
                100..3000,
                vec![Chunk(0), Subtree(1..2), Chunk(2), Subtree(3..4), Chunk(4)],
            ),
            (
                8192,
                0..8192,
                vec![Subtree(0..4), Subtree(4..6), Subtree(6..7), Chunk(7)],
            ),
        ] {
            let shape = Shape::new(size, range.clone()).unwrap();
            assert_eq!(shape.leaves(), expected, "{range:?} of {size}");
        }
    }

    #[test]
    fn the_largest_object_has_few_leaves() {
        let most = u64::MAX;
        let shape = Shape::new(most, most / 3..most / 3 * 2 + 77).unwrap();
        let leaves = shape.leaves();
        assert!(leaves.len() <= 3 + 3 * 54, "{}", leaves.len());
    }
}
