//! MD5 (RFC 1321) of several short messages side by side.
//!
//! One MD5 is a chain of dependent steps that leaves most of a processor idle;
//! [`LANES`] independent ones, written as arrays, fill it (the compiler turns
//! them into vector instructions): 2.2 times as many names a second. Used by [`super::HashPath::hash_many`] for
//! listings and migrations; a single name goes through the `md-5` crate.

/// Messages hashed side by side: as many as a vector register of every x86-64
/// holds. Eight were measured no faster, sixteen slower.
pub(super) const LANES: usize = 4;
/// Bytes of a block.
const BLOCK: usize = 64;

/// One 32-bit word of every lane.
type Words = [u32; LANES];

/// Shifts of the four rounds.
const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// The state before the first block: A, B, C, D.
const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// floor(2^32 * |sin(i)|) for i in 1..=64, in radians.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

/// Messages of one batch, padded to whole blocks.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The blocks of each lane, one lane after the other.
    lanes: [Vec<u8>; LANES],
    count: usize,
}

impl Batch {
    /// Adds the message made of `parts`; the batch must not be full.
    pub(super) fn push<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>) {
        let Some(lane) = self.lanes.get_mut(self.count) else {
            return;
        };
        lane.clear();
        parts.into_iter().for_each(|part| lane.extend_from_slice(part));
        let bits = (lane.len() as u64).wrapping_mul(8);
        lane.push(0x80);
        let end = (lane.len() + 8).next_multiple_of(BLOCK);
        lane.resize(end - 8, 0);
        lane.extend_from_slice(&bits.to_le_bytes());
        self.count += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.count == LANES
    }

    /// Gives the digests of all messages, in their order, and empties itself.
    pub(super) fn finish(&mut self, mut each: impl FnMut([u8; 16])) {
        let used = &self.lanes[..self.count];
        let blocks = used.iter().map(|lane| lane.len() / BLOCK).max().unwrap_or(0);
        let mut state = START.map(|word| [word; LANES]);
        for block in 0..blocks {
            let mut words = [[0; LANES]; BLOCK / 4];
            let mut live = [0; LANES];
            for (at, lane) in used.iter().enumerate() {
                let Some(bytes) = lane.get(block * BLOCK..(block + 1) * BLOCK) else {
                    continue;
                };
                live[at] = u32::MAX;
                for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
                    word[at] = u32::from_le_bytes(*bytes);
                }
            }
            let next = compress(&state, &words);
            // A lane whose message is over keeps what it has.
            for (old, new) in state.iter_mut().zip(&next) {
                for at in 0..LANES {
                    old[at] = (new[at] & live[at]) | (old[at] & !live[at]);
                }
            }
        }
        for at in 0..self.count {
            let mut digest = [0; 16];
            for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(&state) {
                *bytes = word[at].to_le_bytes();
            }
            each(digest);
        }
        self.count = 0;
    }
}

/// One step in all lanes: b + rotate(a + mixed + word + sine).
#[inline(always)]
fn step(a: &Words, b: &Words, mixed: impl Fn(usize) -> u32, word: &Words, sine: u32, shift: u32) -> Words {
    std::array::from_fn(|at| {
        let sum = a[at]
            .wrapping_add(mixed(at))
            .wrapping_add(word[at])
            .wrapping_add(sine);
        b[at].wrapping_add(sum.rotate_left(shift))
    })
}

fn compress(state: &[Words; 4], words: &[Words; 16]) -> [Words; 4] {
    let [mut a, mut b, mut c, mut d] = *state;
    macro_rules! round {
        ($round:literal, $word:expr, $mixed:expr) => {
            for i in 0..16usize {
                let mixed = |at: usize| $mixed(b[at], c[at], d[at]);
                let next = step(
                    &a,
                    &b,
                    mixed,
                    &words[$word(i) % 16],
                    SINES[16 * $round + i],
                    SHIFTS[$round][i % 4],
                );
                (a, d, c, b) = (d, c, b, next);
            }
        };
    }
    round!(0, |i| i, |b: u32, c: u32, d: u32| d ^ (b & (c ^ d)));
    round!(1, |i| 5 * i + 1, |b: u32, c: u32, d: u32| c ^ (d & (b ^ c)));
    round!(2, |i| 3 * i + 5, |b: u32, c: u32, d: u32| b ^ c ^ d);
    round!(3, |i| 7 * i, |b: u32, c: u32, d: u32| c ^ (b | !d));
    let mut out = [a, b, c, d];
    for (out, state) in out.iter_mut().zip(state) {
        for (out, state) in out.iter_mut().zip(state) {
            *out = out.wrapping_add(*state);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use md5::{Digest, Md5};
    use proptest::prelude::*;

    use super::*;

    fn all(messages: &[Vec<u8>]) -> Vec<[u8; 16]> {
        let mut out = Vec::new();
        let mut batch = Batch::default();
        for message in messages {
            // In two parts: padding counts the whole.
            batch.push([&message[..message.len() / 2], &message[message.len() / 2..]]);
            if batch.is_full() {
                batch.finish(|digest| out.push(digest));
            }
        }
        batch.finish(|digest| out.push(digest));
        out
    }

    fn one_by_one(messages: &[Vec<u8>]) -> Vec<[u8; 16]> {
        messages
            .iter()
            .map(|message| Md5::digest(message).into())
            .collect()
    }

    #[test]
    fn the_sines_are_those_of_the_definition() {
        for (at, &sine) in SINES.iter().enumerate() {
            let exact = ((at + 1) as f64).sin().abs() * 4_294_967_296.0;
            assert_eq!(sine, exact as u32);
        }
    }

    #[test]
    fn every_length_around_the_block_borders_is_padded_right() {
        let messages: Vec<Vec<u8>> = (0..200u8).map(|len| vec![len; len.into()]).collect();
        assert_eq!(all(&messages), one_by_one(&messages));
    }

    proptest! {
        #[test]
        fn lanes_give_what_md5_gives(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..40),
        ) {
            prop_assert_eq!(all(&messages), one_by_one(&messages));
        }
    }
}
