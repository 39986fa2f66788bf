//! Differences that were looked at already, so that what cannot be settled from
//! here costs a comparison of sums in later rounds and no walk.
//!
//! Only as long as both sums are the same as then, and the clock goes on from
//! there: what was judged by a clock that was wrong is judged again when it is
//! put right. Lost with the process.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use virga_node::clock::{Clock, Micros};
use virga_object_wire::movement::Sum;
use virga_ring::{DeviceId, Partition, RingId};

/// Most differences remembered: some 100 bytes each.
const MOST: usize = 1 << 18;

/// A partition as one device sees another one's.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) device: Arc<str>,
    pub(super) policy: u32,
    pub(super) partition: Partition,
    pub(super) peer: DeviceId,
}

/// Two sums that differ, under a ring.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) ring: RingId,
    pub(super) ours: Sum,
    pub(super) theirs: Sum,
}

/// What became of a difference.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// There was nothing to push.
    Theirs,
    /// It was left to another replica that knows the same as this one.
    Deferred,
}

/// See the module.
pub(super) struct Memory {
    known: Mutex<HashMap<Pair, Known>>,
    clock: Arc<dyn Clock>,
}

/// How long another replica may do nothing about what was left to it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long what is remembered holds: names that come and go meanwhile could
/// give the same sums again.
const HOLDS: Duration = Duration::from_secs(600);

/// What is remembered of a pair.
#[derive(Clone, Copy)]
struct Known {
    difference: Difference,
    verdict: Verdict,
    since: Instant,
    /// The clock then.
    at: Micros,
}

impl Known {
    fn says(&self, difference: Difference, verdict: Verdict, now: Micros) -> bool {
        let fresh = self.since.elapsed() < HOLDS && now >= self.at && now.since(self.at) < HOLDS;
        (self.difference, self.verdict) == (difference, verdict) && fresh
    }
}

impl Memory {
    /// Remembers nothing yet; `clock` is what verdicts go by.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            known: Mutex::default(),
            clock,
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Pair, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, pair: Pair, difference: Difference, verdict: Verdict) {
        let mut all = self.all();
        if all.len() >= MOST {
            // Rare, and forgetting costs walks only.
            all.clear();
        }
        let since = Instant::now();
        all.insert(
            pair,
            Known {
                difference,
                verdict,
                since,
                at: self.clock.now(),
            },
        );
    }

    /// Notes that there was nothing to push.
    pub(super) fn nothing(&self, pair: Pair, difference: Difference) {
        self.put(pair, difference, Verdict::Theirs);
    }

    /// Whether it is known that there is nothing to push.
    pub(super) fn is_nothing(&self, pair: &Pair, difference: Difference) -> bool {
        let all = self.all();
        all.get(pair)
            .is_some_and(|known| known.says(difference, Verdict::Theirs, self.clock.now()))
    }

    /// Whether the difference may be left to another replica: for a while, and
    /// then again only if something came of it.
    pub(super) fn defer(&self, pair: Pair, difference: Difference) -> bool {
        let before = self.all().get(&pair).copied();
        match before.filter(|known| known.says(difference, Verdict::Deferred, self.clock.now())) {
            Some(known) => known.since.elapsed() < PATIENCE,
            None => {
                self.put(pair, difference, Verdict::Deferred);
                true
            }
        }
    }

    /// Forgets a pair that is equal by now.
    pub(super) fn equal(&self, pair: &Pair) {
        self.all().remove(pair);
    }
}

#[cfg(test)]
mod tests {
    use virga_node::clock::ManualClock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_difference_is_left_to_others_only_while_something_comes_of_it() {
        let clock = Arc::new(ManualClock::new(Micros(1_766_400_000_000_000)));
        let memory = Memory::new(clock.clone());
        let pair = Pair {
            device: "d1".into(),
            policy: 0,
            partition: Partition(1),
            peer: DeviceId(2),
        };
        let difference = |count| Difference {
            ring: RingId::default(),
            ours: Sum::default(),
            theirs: Sum { sum: 1, count },
        };
        assert!(memory.defer(pair.clone(), difference(1)));
        assert!(memory.defer(pair.clone(), difference(2)), "it goes on");
        assert!(memory.defer(pair.clone(), difference(2)), "it may take a while");
        tokio::time::advance(PATIENCE).await;
        assert!(!memory.defer(pair.clone(), difference(2)), "nothing came of it");
        assert!(memory.defer(pair.clone(), difference(3)), "now something did");
        assert!(!memory.is_nothing(&pair, difference(2)));
        memory.nothing(pair.clone(), difference(2));
        assert!(memory.is_nothing(&pair, difference(2)));
        assert!(!memory.is_nothing(&pair, difference(3)));
        tokio::time::advance(HOLDS).await;
        assert!(
            !memory.is_nothing(&pair, difference(2)),
            "looked at again now and then"
        );
        memory.nothing(pair.clone(), difference(2));
        clock.advance(Duration::from_secs(365 * 24 * 3600));
        assert!(
            !memory.is_nothing(&pair, difference(2)),
            "judged by another clock"
        );
        memory.nothing(pair.clone(), difference(2));
        clock.set(Micros(1_766_400_000_000_000));
        assert!(!memory.is_nothing(&pair, difference(2)), "the clock was put back");
        memory.nothing(pair.clone(), difference(2));
        memory.equal(&pair);
        assert!(!memory.is_nothing(&pair, difference(2)));
    }
}
