//! An MD5 that can be put down and taken up again, alone or beside others.
//!
//! The `md-5` crate keeps its state to itself, and hashing streams side by side
//! ([`super::four`]) needs it: here are the state, the padding, and the choice
//! of who adds the blocks. Used by [`super`] and [`super::lanes`].
use bytes::Bytes;
use md5::block_api::compress;

use super::four::{self, BLOCK, LANES, START};

/// From how many streams on they are hashed side by side: below it three idle
/// lanes cost more than they save.
const TOGETHER: usize = 2;

/// The MD5 of a stream so far.
#[derive(Clone, Debug)]
pub(super) struct Md5 {
    state: [u32; 4],
    /// Bytes so far.
    length: u64,
    /// The last of them, `length % BLOCK`, which make no block yet.
    rest: [u8; BLOCK],
}

impl Default for Md5 {
    fn default() -> Self {
        Self {
            state: START,
            length: 0,
            rest: [0; BLOCK],
        }
    }
}

impl Md5 {
    /// Adds bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let (blocks, tail) = self.begin(bytes).as_chunks::<BLOCK>();
        compress(&mut self.state, blocks);
        self.keep(blocks, tail);
    }

    /// Fills up the block that the last bytes began; what of the new bytes is left.
    fn begin<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let held = self.held();
        if held == 0 {
            return bytes;
        }
        let (here, left) = bytes.split_at(bytes.len().min(BLOCK - held));
        self.rest[held..held + here.len()].copy_from_slice(here);
        self.length += here.len() as u64;
        if self.held() == 0 && !here.is_empty() {
            compress(&mut self.state, &[self.rest]);
        }
        left
    }

    /// Counts blocks that were added, and keeps what follows them.
    fn keep(&mut self, blocks: &[[u8; BLOCK]], tail: &[u8]) {
        self.length += (blocks.len() * BLOCK) as u64;
        if !tail.is_empty() {
            self.rest[..tail.len()].copy_from_slice(tail);
            self.length += tail.len() as u64;
        }
    }

    fn held(&self) -> usize {
        (self.length % BLOCK as u64) as usize
    }

    /// The digest, as 32 hex digits.
    pub(super) fn hex(mut self) -> String {
        let bits = self.length.wrapping_mul(8);
        // A one, zeros up to the last eight bytes of a block, the length.
        let mut padding = [0; BLOCK + 8];
        padding[0] = 0x80;
        let zeros = (2 * BLOCK - 9 - self.held()) % BLOCK;
        self.update(&padding[..=zeros]);
        self.update(&bits.to_le_bytes());
        hex::encode(self.state.map(u32::to_le_bytes).as_flattened())
    }
}

/// Adds to each hash its own bytes, side by side while there are enough of them.
pub(super) fn update_together(streams: &mut [(Md5, Bytes)]) {
    let mut open: Vec<_> = streams
        .iter_mut()
        .map(|(md5, bytes)| {
            let (blocks, tail) = md5.begin(bytes).as_chunks::<BLOCK>();
            md5.keep(blocks, tail);
            (&mut md5.state, blocks)
        })
        .collect();
    loop {
        open.retain(|(_, blocks)| !blocks.is_empty());
        if open.len() < TOGETHER {
            break;
        }
        for group in open.chunks_mut(LANES) {
            side_by_side(group);
        }
    }
    for (state, blocks) in open {
        compress(state, blocks);
    }
}

/// Adds as many blocks to all of at most [`LANES`] streams as the shortest has.
fn side_by_side(streams: &mut [(&mut [u32; 4], &[[u8; BLOCK]])]) {
    let shortest = streams.iter().map(|(_, blocks)| blocks.len()).min().unwrap_or(0);
    let mut states = [START; LANES];
    let mut lanes: [&[[u8; BLOCK]]; LANES] = [&[]; LANES];
    for lane in 0..LANES {
        // Lanes without a stream repeat one, and nobody looks at what comes out.
        let (state, blocks) = &streams[lane % streams.len()];
        (states[lane], lanes[lane]) = (**state, &blocks[..shortest]);
    }
    four::compress(&mut states, lanes);
    for ((state, blocks), new) in streams.iter_mut().zip(states) {
        **state = new;
        *blocks = &blocks[shortest..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(len: usize, seed: u8) -> Bytes {
        (0..len).map(|i| (i * 31 % 251) as u8 ^ seed).collect()
    }

    /// What the `md-5` crate says.
    fn known(all: &[u8]) -> String {
        use md5::Digest as _;
        hex::encode(md5::Md5::digest(all))
    }

    #[test]
    fn the_test_suite_of_the_rfc() {
        for (text, digest) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
        ] {
            let mut md5 = Md5::default();
            md5.update(text.as_bytes());
            assert_eq!(md5.hex(), digest, "{text}");
        }
    }

    #[test]
    fn every_length_around_blocks_is_padded_as_it_should() {
        for len in 0..=4 * BLOCK {
            let mut md5 = Md5::default();
            md5.update(&bytes(len, 0));
            assert_eq!(md5.hex(), known(&bytes(len, 0)), "{len}");
        }
    }

    proptest! {
        #[test]
        fn streams_hashed_together_are_hashed_as_alone(
            pieces in prop::collection::vec(prop::collection::vec(0_usize..700, 1..6), 1..10)
        ) {
            let mut streams: Vec<_> = pieces.iter().map(|_| (Md5::default(), Bytes::new())).collect();
            let mut whole = vec![Vec::new(); pieces.len()];
            for turn in 0..6 {
                for (at, (stream, lens)) in streams.iter_mut().zip(&pieces).enumerate() {
                    stream.1 = bytes(lens.get(turn).copied().unwrap_or(0), at as u8);
                    whole[at].extend_from_slice(&stream.1);
                }
                update_together(&mut streams);
            }
            for ((md5, _), whole) in streams.into_iter().zip(whole) {
                prop_assert_eq!(md5.hex(), known(&whole));
            }
        }
    }
}
