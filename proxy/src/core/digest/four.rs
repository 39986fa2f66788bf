//! The block function of MD5 (RFC 1321) for four streams at once.
//!
//! MD5 cannot be split, and each of its steps waits for the one before: one
//! stream leaves most of a core idle. Four that have nothing to do with each
//! other fill it. Every step is written for an array of four words, one of each
//! stream, which compilers turn into vector instructions. Called by
//! [`super::lanes`]; one stream alone is the business of the `md-5` crate.

/// Streams side by side: the words of the vectors that every x86-64 and
/// AArch64 has. With eight, the state does not fit into the registers.
pub(super) const LANES: usize = 4;
/// Bytes of a block.
pub(super) const BLOCK: usize = 64;
/// State before the first block, RFC 1321 section 3.3.
pub(super) const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// A word of each stream.
type Words = [u32; LANES];

/// `floor(2^32 * abs(sin(i + 1)))`, RFC 1321 section 3.4.
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

/// One step of a round: `b + rotate(a + f(b, c, d) + message + sine, turn)`.
#[inline(always)]
fn step(
    f: impl Fn(u32, u32, u32) -> u32,
    [a, b, c, d]: [Words; 4],
    message: &Words,
    sine: u32,
    turn: u32,
) -> Words {
    let mut new = [0; LANES];
    for lane in 0..LANES {
        new[lane] = a[lane]
            .wrapping_add(f(b[lane], c[lane], d[lane]))
            .wrapping_add(message[lane])
            .wrapping_add(sine)
            .rotate_left(turn)
            .wrapping_add(b[lane]);
    }
    new
}

/// Sixteen steps: `word` says which word of the message each of them takes,
/// `turns` how far every fourth of them rotates.
#[inline(always)]
fn round(
    f: impl Fn(u32, u32, u32) -> u32 + Copy,
    [mut a, mut b, mut c, mut d]: [Words; 4],
    message: &[Words; 16],
    sines: &[u32],
    word: impl Fn(usize) -> usize,
    turns: [u32; 4],
) -> [Words; 4] {
    for i in (0..16).step_by(4) {
        a = step(f, [a, b, c, d], &message[word(i)], sines[i], turns[0]);
        d = step(f, [d, a, b, c], &message[word(i + 1)], sines[i + 1], turns[1]);
        c = step(f, [c, d, a, b], &message[word(i + 2)], sines[i + 2], turns[2]);
        b = step(f, [b, c, d, a], &message[word(i + 3)], sines[i + 3], turns[3]);
    }
    [a, b, c, d]
}

/// The words of a block of each stream, side by side.
#[inline(always)]
fn message(blocks: [&[u8; BLOCK]; LANES]) -> [Words; 16] {
    let mut words = [[0; LANES]; 16];
    for (lane, block) in blocks.into_iter().enumerate() {
        let (fours, _) = block.as_chunks::<4>();
        for (word, bytes) in words.iter_mut().zip(fours) {
            word[lane] = u32::from_le_bytes(*bytes);
        }
    }
    words
}

/// Adds as many blocks as the shortest of the four has to all of them.
pub(super) fn compress(states: &mut [[u32; 4]; LANES], blocks: [&[[u8; BLOCK]]; LANES]) {
    let mut now: [Words; 4] = std::array::from_fn(|word| std::array::from_fn(|lane| states[lane][word]));
    let [first, second, third, fourth] = blocks;
    for (((one, two), three), four) in first.iter().zip(second).zip(third).zip(fourth) {
        let message = message([one, two, three, four]);
        let before = now;
        now = round(
            |x, y, z| z ^ (x & (y ^ z)),
            now,
            &message,
            &SINES[..16],
            |i| i,
            [7, 12, 17, 22],
        );
        now = round(
            |x, y, z| y ^ (z & (x ^ y)),
            now,
            &message,
            &SINES[16..32],
            |i| (5 * i + 1) % 16,
            [5, 9, 14, 20],
        );
        now = round(
            |x, y, z| x ^ y ^ z,
            now,
            &message,
            &SINES[32..48],
            |i| (3 * i + 5) % 16,
            [4, 11, 16, 23],
        );
        now = round(
            |x, y, z| y ^ (x | !z),
            now,
            &message,
            &SINES[48..],
            |i| 7 * i % 16,
            [6, 10, 15, 21],
        );
        for (word, old) in now.iter_mut().zip(before) {
            for (lane, old) in word.iter_mut().zip(old) {
                *lane = lane.wrapping_add(old);
            }
        }
    }
    for (lane, state) in states.iter_mut().enumerate() {
        *state = now.map(|word| word[lane]);
    }
}
