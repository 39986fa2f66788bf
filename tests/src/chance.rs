//! Repeatable chance: a small generator whose seed is printed, and replayed
//! from `VIRGA_SEED`.

/// A xorshift generator; good enough to vary tests, not for secrets.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// Seeded from `VIRGA_SEED`, or from the process and the moment; prints
    /// which, so that a failure can be repeated.
    pub fn announced(test: &str) -> Self {
        let seed = match std::env::var("VIRGA_SEED").ok().and_then(|s| s.parse().ok()) {
            Some(seed) => seed,
            None => {
                let nanos = std::time::Instant::now().elapsed().as_nanos() as u64;
                let address = &raw const nanos as u64;
                (u64::from(std::process::id()) << 32) ^ address ^ nanos
            }
        };
        println!("{test}: VIRGA_SEED={seed}");
        Self(seed | 1)
    }

    /// From a seed that is already known.
    pub fn replay(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound` (which is not zero).
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }

    /// `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            out.extend_from_slice(&self.bits().to_le_bytes());
        }
        out.truncate(len);
        out
    }
}
