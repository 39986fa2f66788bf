//! Rate limits: so many a minute for each of many keys (an address, an
//! account), within a bounded memory.
//!
//! A bucket holds at most `burst` tokens and gains `per_minute` each minute;
//! who finds it empty is told how long to wait. Of a bucket only the moment at
//! which it is full again is kept. The table forgets the buckets that were
//! touched the longest ago once there are too many; a forgotten bucket is full
//! again, so an attacker needs very many addresses to win by that.
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use virga_node::clock::Micros;

/// Buckets of one generation; a table holds two.
const GENERATION: usize = 32 * 1024;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// In a minute, on average; 0 for no limit.
    pub per_minute: u32,
    /// At once, after a quiet time; at least 1.
    pub burst: u32,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self {
        per_minute: 0,
        burst: 0,
    };

    /// Microseconds for one token; `None` without a limit.
    fn interval(self) -> Option<u64> {
        (self.per_minute > 0).then(|| 60_000_000 / u64::from(self.per_minute))
    }
}

/// Moments at which buckets are full again, by the hash of their key. What was
/// touched lately is in `young`; when that is full, it becomes `old`.
#[derive(Debug, Default)]
struct Table {
    young: HashMap<u64, u64>,
    old: HashMap<u64, u64>,
}

impl Table {
    fn slot(&mut self, key: u64) -> &mut u64 {
        if !self.young.contains_key(&key) {
            if self.young.len() >= GENERATION {
                self.old = std::mem::take(&mut self.young);
            }
            let full_at = self.old.remove(&key).unwrap_or(0);
            self.young.insert(key, full_at);
        }
        self.young.entry(key).or_default()
    }
}

/// A bucket for every key.
#[derive(Debug)]
pub struct Buckets {
    rate: Rate,
    hasher: RandomState,
    table: Mutex<Table>,
}

impl Buckets {
    /// Full buckets.
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            hasher: RandomState::new(),
            table: Mutex::default(),
        }
    }

    /// Takes a token of the bucket of `key`.
    ///
    /// # Errors
    /// How long until there is one again.
    pub fn take(&self, key: &impl Hash, now: Micros) -> Result<(), Duration> {
        self.ask(key, now, true)
    }

    /// Whether there is a token in the bucket of `key`; it stays there.
    ///
    /// # Errors
    /// How long until there is one again.
    pub fn look(&self, key: &impl Hash, now: Micros) -> Result<(), Duration> {
        self.ask(key, now, false)
    }

    fn ask(&self, key: &impl Hash, now: Micros, taking: bool) -> Result<(), Duration> {
        let Some(interval) = self.rate.interval() else {
            return Ok(());
        };
        let room = interval * u64::from(self.rate.burst.max(1));
        let key = self.hasher.hash_one(key);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = table.slot(key);
        let after = (*full_at).max(now.0) + interval;
        if after - now.0 > room {
            return Err(Duration::from_micros(after - now.0 - room));
        }
        if taking {
            *full_at = after;
        }
        Ok(())
    }
}

/// Seconds for the header `Retry-After`, rounded up.
pub fn retry_after(wait: Duration) -> u64 {
    wait.as_micros()
        .div_ceil(1_000_000)
        .max(1)
        .try_into()
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_minute: 60,
        burst: 3,
    };
    const START: Micros = Micros(1_000_000_000);

    #[test]
    fn a_burst_passes_and_then_one_a_second() {
        let buckets = Buckets::new(RATE);
        for _ in 0..3 {
            buckets.take(&"a", START).unwrap();
        }
        let wait = buckets.take(&"a", START).unwrap_err();
        assert_eq!((wait, retry_after(wait)), (Duration::from_secs(1), 1));
        buckets.take(&"b", START).unwrap();
        let later = START.plus(wait);
        buckets.take(&"a", later).unwrap();
        assert!(buckets.take(&"a", later).is_err());
        let quiet = START.plus(Duration::from_secs(3600));
        assert_eq!((0..9).filter(|_| buckets.take(&"a", quiet).is_ok()).count(), 3);
    }

    #[test]
    fn looking_takes_nothing_and_says_the_same() {
        let buckets = Buckets::new(RATE);
        for _ in 0..100 {
            buckets.look(&"a", START).unwrap();
        }
        for _ in 0..3 {
            buckets.take(&"a", START).unwrap();
        }
        assert_eq!(buckets.look(&"a", START), buckets.take(&"a", START));
        assert!(buckets.look(&"a", START).is_err());
    }

    #[test]
    fn the_table_stays_small_and_keeps_what_is_in_use() {
        let buckets = Buckets::new(RATE);
        for _ in 0..3 {
            buckets.take(&"busy", START).unwrap();
        }
        for n in 0..10 * GENERATION {
            buckets.take(&n, START).unwrap();
            if n % 1000 == 0 {
                assert!(buckets.take(&"busy", START).is_err(), "forgotten after {n}");
            }
        }
        let table = buckets.table.lock().unwrap();
        assert!(table.young.len() + table.old.len() <= 2 * GENERATION);
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let buckets = Buckets::new(Rate::UNLIMITED);
        assert!((0..1000).all(|_| buckets.take(&"a", START).is_ok()));
        assert!(buckets.table.lock().unwrap().young.is_empty());
    }
}
