//! When to ask a second replica for the same bytes, and how often at most.
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// One hedge is earned by so many reads: 5 % of them.
const READS_A_HEDGE: i64 = 20;
/// Hedges that may be saved up for a bad moment.
const SAVED: i64 = 10;
/// The estimate of the 95th percentile moves up by 19 parts when a read was
/// slower, down by one when it was faster: it rests where 1 in 20 is slower.
const UP: u64 = 19;

/// Watches reads and says when one is late.
#[derive(Debug)]
pub(super) struct Hedge {
    least: Duration,
    /// Estimated 95th percentile of the time to the first bytes, nanoseconds.
    p95: AtomicU64,
    /// In twentieths of a hedge.
    budget: AtomicI64,
}

impl Hedge {
    pub(super) fn new(least: Duration) -> Self {
        Self {
            least,
            p95: AtomicU64::new(0),
            budget: AtomicI64::new(SAVED * READS_A_HEDGE),
        }
    }

    /// How long to wait for the first bytes before a second replica is asked.
    pub(super) fn delay(&self) -> Duration {
        self.least
            .max(Duration::from_nanos(self.p95.load(Ordering::Relaxed)))
    }

    /// Takes note of how long a read took to its first bytes.
    pub(super) fn observe(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let p95 = self.p95.load(Ordering::Relaxed);
        // Steps of a 256th: quick enough to follow a change within seconds.
        let step = (p95 / 256).max(1000);
        let new = if took > p95 {
            p95.saturating_add(step * UP)
        } else {
            p95.saturating_sub(step)
        };
        // Lost updates between threads do not matter to an estimate.
        self.p95.store(new, Ordering::Relaxed);
        if self.budget.load(Ordering::Relaxed) < SAVED * READS_A_HEDGE {
            self.budget.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Asks for a hedge; `false` when too many have been made.
    pub(super) fn may(&self) -> bool {
        let spend = |left: i64| (left >= READS_A_HEDGE).then_some(left - READS_A_HEDGE);
        self.budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hedges_are_at_most_a_twentieth_of_reads_after_the_savings() {
        let hedge = Hedge::new(Duration::from_millis(10));
        let mut hedges = 0;
        for _ in 0..10_000 {
            hedge.observe(Duration::from_micros(100));
            hedges += i64::from(hedge.may());
        }
        assert!((500 - 1..=500 + SAVED).contains(&hedges), "{hedges} hedges");
    }

    #[test]
    fn the_delay_follows_the_slowest_twentieth_but_is_never_below_the_least() {
        let hedge = Hedge::new(Duration::from_millis(1));
        assert_eq!(hedge.delay(), Duration::from_millis(1));
        for i in 0..20_000 {
            hedge.observe(Duration::from_micros(if i % 10 == 0 { 5000 } else { 100 }));
        }
        let delay = hedge.delay();
        assert!(
            delay > Duration::from_millis(3) && delay < Duration::from_millis(8),
            "{delay:?}"
        );
    }
}
