//! A proof as bytes: `docs/formats/proof.md`.
use super::{CHUNK, ChainingValue, Leaf, Proof, Shape};

const MAGIC: [u8; 4] = *b"VRPF";
/// The version that is written, and the only one that is read.
pub const VERSION: u16 = 1;
/// Bytes before the parts.
const HEAD: usize = 32;
/// Bytes of the checksum after them.
const TAIL: usize = 4;
/// Longest path from the root to a chunk: an object of 2^64 bytes has 2^54.
const DEPTH: usize = 54;
/// Most bytes of a proof: three chunks, and a value beside each step of the
/// way to them.
pub const MAX_LEN: usize = HEAD + 3 * CHUNK as usize + 3 * DEPTH * 32 + TAIL;

/// Why bytes are no proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadProof {
    /// Too short or too long to be one.
    #[error("a proof has from {least} to {MAX_LEN} bytes, not {0}", least = HEAD + TAIL)]
    Length(usize),
    /// It begins otherwise.
    #[error("this is no proof: it begins with other bytes than \"VRPF\"")]
    Magic,
    /// Newer software made it.
    #[error("the proof is of version {0}, and {VERSION} is the only one that can be read")]
    Version(u16),
    /// Bytes were changed on the way.
    #[error("the proof is damaged: its checksum is another")]
    Checksum,
    /// It is about no range.
    #[error("the proof is broken: {0}")]
    Range(#[from] super::BadRange),
    /// It does not have the parts that its range asks for.
    #[error("the proof is broken: its range asks for {wanted} bytes, and it has {got}")]
    Parts {
        /// Bytes it should have.
        wanted: usize,
        /// Bytes it has.
        got: usize,
    },
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], BadProof> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
    found.copied().ok_or(BadProof::Length(bytes.len()))
}

impl Proof {
    /// The proof as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let range = self.shape.range();
        let mut out = Vec::with_capacity(MAX_LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        // At most 3 × DEPTH.
        let values = u16::try_from(self.values.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&values.to_le_bytes());
        for number in [self.shape.size(), range.start, range.end] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        self.chunks.iter().for_each(|chunk| out.extend_from_slice(chunk));
        self.values.iter().for_each(|value| out.extend_from_slice(value));
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a proof. What it says is not checked against any root.
    ///
    /// # Errors
    /// [`BadProof`] for anything that [`Proof::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadProof> {
        if !(HEAD + TAIL..=MAX_LEN).contains(&bytes.len()) {
            return Err(BadProof::Length(bytes.len()));
        }
        if bytes_at(bytes, 0)? != MAGIC {
            return Err(BadProof::Magic);
        }
        let version = u16::from_le_bytes(bytes_at(bytes, 4)?);
        if version != VERSION {
            return Err(BadProof::Version(version));
        }
        let (content, crc) = bytes.split_at(bytes.len() - TAIL);
        if crc32fast::hash(content).to_le_bytes() != crc {
            return Err(BadProof::Checksum);
        }
        let number = |at| bytes_at(content, at).map(u64::from_le_bytes);
        let shape = Shape::new(number(8)?, number(16)?..number(24)?)?;
        let counted = usize::from(u16::from_le_bytes(bytes_at(content, 6)?));
        Self::with_parts(shape, counted, &content[HEAD..])
    }

    fn with_parts(shape: Shape, counted: usize, mut parts: &[u8]) -> Result<Self, BadProof> {
        let leaves = shape.leaves();
        let lengths = leaves.iter().filter_map(|leaf| match leaf {
            Leaf::Chunk(number) => Some(usize::try_from(shape.chunk_len(*number)).unwrap_or(usize::MAX)),
            Leaf::Subtree(_) => None,
        });
        let lengths: Vec<usize> = lengths.collect();
        let values = leaves.len() - lengths.len();
        let wanted = lengths.iter().sum::<usize>() + values * size_of::<ChainingValue>();
        let got = parts.len();
        let wrong = || BadProof::Parts { wanted, got };
        if wanted != got || values != counted {
            return Err(wrong());
        }
        let mut chunks = Vec::with_capacity(lengths.len());
        for length in lengths {
            let (chunk, rest) = parts.split_at_checked(length).ok_or_else(wrong)?;
            chunks.push(chunk.to_vec());
            parts = rest;
        }
        let (values, rest) = parts.as_chunks();
        if !rest.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            shape,
            chunks,
            values: values.to_vec(),
        })
    }
}
