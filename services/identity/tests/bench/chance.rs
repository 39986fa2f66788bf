//! Chance with a seed, for tests that try random clouds.
use std::hash::{BuildHasher, RandomState};

/// A small generator: the seed is all there is to a run.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }

    /// Whether one of `n` equal chances came.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of `all`, which is not empty.
    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Seeds for `usual` runs, for `soak` with `VIRGA_SOAK`; the one of `VIRGA_SEED`
/// if that is set. Prints them.
pub fn seeds(test: &str, usual: u64, soak: u64) -> Vec<u64> {
    let asked = std::env::var("VIRGA_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let runs = match std::env::var_os("VIRGA_SOAK") {
        Some(_) => soak,
        None => usual,
    };
    let first = RandomState::new().hash_one(test) >> 16;
    let seeds: Vec<u64> = match asked {
        Some(seed) => vec![seed],
        None => (first..first + runs).collect(),
    };
    println!("{test}: one run each with VIRGA_SEED={seeds:?}");
    seeds
}
