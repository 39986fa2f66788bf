//! Health of a node or device: a circuit breaker and a count of what is under
//! way, so that a dead node is not waited for on every request.
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Rest after the first failure; doubled by each further one.
const FIRST_REST: Duration = Duration::from_millis(100);
/// Longest rest: how late a node that came back may be noticed.
const LONGEST_REST: Duration = Duration::from_secs(2);

/// How a node or device has been doing lately.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Failures since the last success; the hot path looks only at this.
    failures: AtomicU32,
    rests_until: Mutex<Option<Instant>>,
    outstanding: AtomicUsize,
}

impl Health {
    /// Whether the last answer was a good one.
    fn is_well(&self) -> bool {
        self.failures.load(Ordering::Relaxed) == 0
    }

    /// Whether a request may be sent: always when well, else one each time a
    /// rest is over.
    pub(super) fn admit(&self, now: Instant) -> bool {
        let failures = self.failures.load(Ordering::Relaxed);
        if failures == 0 {
            return true;
        }
        let mut until = self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_some_and(|until| now < until) {
            return false;
        }
        // Taken as failed until it answers, so that others keep away.
        self.failures.store(failures.saturating_add(1), Ordering::Relaxed);
        *until = Some(now + rest(failures.saturating_add(1)));
        true
    }

    /// Whether a rest after failures is not over.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        if self.is_well() {
            return false;
        }
        let until = self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| now < until)
    }

    /// The last request went well.
    pub(super) fn worked(&self) {
        if !self.is_well() {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// The last request failed. Failures of requests that were sent side by
    /// side count once: the rest grows only when a trial fails.
    pub(super) fn failed(&self, now: Instant) {
        let mut until = self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = self.failures.load(Ordering::Relaxed);
        if failures == 0 || until.is_none_or(|until| now >= until) {
            self.failures.store(failures.saturating_add(1), Ordering::Relaxed);
            *until = Some(now + rest(failures.saturating_add(1)));
        }
    }

    /// Requests under way.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }
}

fn rest(failures: u32) -> Duration {
    FIRST_REST
        .saturating_mul(1 << failures.saturating_sub(1).min(10))
        .min(LONGEST_REST)
}

/// Counts one request as under way while it lives.
#[derive(Debug)]
pub(super) struct Outstanding(Arc<Health>);

impl Outstanding {
    pub(super) fn of(health: &Arc<Health>) -> Self {
        health.outstanding.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(health))
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_node_gets_one_trial_after_each_rest_and_all_traffic_after_a_success() {
        let (health, start) = (Health::default(), Instant::now());
        assert!(health.admit(start));
        health.failed(start);
        assert!(!health.admit(start + FIRST_REST / 2));
        let trial = start + FIRST_REST;
        assert!(health.admit(trial), "the rest is over");
        assert!(!health.admit(trial), "only one trial at a time");
        health.worked();
        assert!(health.admit(trial) && health.admit(trial));
    }

    #[test]
    fn rests_grow_with_failed_trials_up_to_a_bound() {
        let (health, mut now) = (Health::default(), Instant::now());
        for _ in 0..20 {
            health.failed(now);
            health.failed(now);
            now += LONGEST_REST;
            assert!(health.admit(now), "no rest is longer than the bound");
            now += LONGEST_REST;
        }
        health.failed(now);
        assert!(!health.admit(now + LONGEST_REST - Duration::from_millis(1)));
    }
}
