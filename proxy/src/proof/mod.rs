//! Proofs that bytes are those of an object, checked against its BLAKE3 root.
//!
//! A proof is about one range of one object. It holds, from left to right, the
//! value of every largest subtree of the object's hash that lies wholly within
//! the range or wholly outside it, and the bytes of the few chunks of
//! 1 KiB that do not: those that an end of the range cuts, and the object's
//! last one, which proves its length. Put together they give the root; so each
//! part of the range is proven by itself, and a file that differs differs in
//! a part that can be named. At most [`MAX_LEN`] bytes, however large the object.
//!
//! Made by the core ([`crate::core::Core::prove`]), sent by the Swift dialect,
//! checked by `virga verify`. Byte by byte in `docs/formats/proof.md`. Knows no
//! nodes and no files: who makes a proof brings the values and bytes along.
mod codec;
mod shape;
pub mod tree;

use std::ops::Range;

pub use blake3::hazmat::ChainingValue;
pub use codec::{BadProof, MAX_LEN, VERSION};
pub use shape::{BadRange, Leaf, Shape};

/// Bytes of a leaf of the hash.
pub const CHUNK: u64 = 1024;

/// A proof about a range of an object: read from bytes, or made. What it says
/// is worth something once [`Proof::root`] is the root that is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    shape: Shape,
    /// Bytes of the chunks that are here, in order.
    chunks: Vec<Vec<u8>>,
    /// Values of the other leaves, in order.
    values: Vec<ChainingValue>,
}

/// What a proof says of a part of the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says<'a> {
    /// These are the bytes.
    Bytes(&'a [u8]),
    /// The bytes, whole chunks at their place in the object, have this value.
    Value(ChainingValue),
}

/// A part of the range with what the proof says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Which bytes of the object.
    pub bytes: Range<u64>,
    /// What they are.
    pub says: Says<'a>,
}

impl Proof {
    /// Puts a proof together: `chunk` gives the bytes of a chunk by number,
    /// `value` the value of a subtree by its chunks. `None` if either does not
    /// have what is needed.
    pub fn build(
        shape: Shape,
        mut chunk: impl FnMut(u64) -> Option<Vec<u8>>,
        mut value: impl FnMut(Range<u64>) -> Option<ChainingValue>,
    ) -> Option<Self> {
        let (mut chunks, mut values) = (Vec::new(), Vec::new());
        for leaf in shape.leaves() {
            match leaf {
                Leaf::Chunk(number) => {
                    let bytes = chunk(number)?;
                    if bytes.len() as u64 != shape.chunk_len(number) {
                        return None;
                    }
                    chunks.push(bytes);
                }
                Leaf::Subtree(range) => values.push(value(range)?),
            }
        }
        Some(Self {
            shape,
            chunks,
            values,
        })
    }

    /// The object's length and the range.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The root that all parts together give.
    pub fn root(&self) -> [u8; 32] {
        if self.shape.chunks() == 1 {
            let bytes = self.chunks.first().map(Vec::as_slice).unwrap_or_default();
            return tree::whole(bytes);
        }
        let (mut chunks, mut values) = (self.chunks.iter(), self.values.iter());
        let leaves = self.shape.leaves().into_iter().map(|leaf| match leaf {
            Leaf::Chunk(number) => {
                let bytes = chunks.next().map(Vec::as_slice).unwrap_or_default();
                (number..number + 1, tree::value(number * CHUNK, bytes))
            }
            Leaf::Subtree(range) => (range, values.next().copied().unwrap_or_default()),
        });
        tree::root(self.shape.chunks(), &mut leaves.peekable())
    }

    /// What the proof says of the range, part by part from left to right.
    pub fn parts(&self) -> Vec<Part<'_>> {
        let wanted = self.shape.range();
        let (mut chunks, mut values) = (self.chunks.iter(), self.values.iter());
        let mut parts = Vec::new();
        for leaf in self.shape.leaves() {
            let bytes = self.shape.bytes_of(&leaf);
            let says = match leaf {
                Leaf::Chunk(_) => {
                    let chunk = chunks.next().map(Vec::as_slice).unwrap_or_default();
                    let from = wanted.start.clamp(bytes.start, bytes.end);
                    let to = wanted.end.clamp(from, bytes.end);
                    let at = |offset: u64| usize::try_from(offset - bytes.start).unwrap_or(usize::MAX);
                    if from < to
                        && let Some(cut) = chunk.get(at(from)..at(to))
                    {
                        parts.push(Part {
                            bytes: from..to,
                            says: Says::Bytes(cut),
                        });
                    }
                    continue;
                }
                Leaf::Subtree(_) => Says::Value(values.next().copied().unwrap_or_default()),
            };
            if bytes.start >= wanted.start && bytes.end <= wanted.end {
                parts.push(Part { bytes, says });
            }
        }
        parts
    }
}
