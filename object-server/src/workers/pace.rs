//! How fast bytes may be moved from a device: one limit for all duties together,
//! whatever they move.
//!
//! A duty that moves something asks before each piece. The pieces of all of them
//! go one after the other, so no duty gets more than its turn.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A limit in bytes per second and device.
pub(crate) struct Pace {
    per_second: u64,
    /// When the next bytes may go, by device.
    next: Mutex<BTreeMap<Arc<str>, Instant>>,
}

impl Pace {
    /// `per_second` bytes from each device, or no limit if it is zero.
    pub(crate) fn new(per_second: u64) -> Self {
        Self {
            per_second,
            next: Mutex::default(),
        }
    }

    /// Waits until `bytes` may leave a device.
    pub(in crate::workers) async fn admit(&self, device: &Arc<str>, bytes: usize) {
        if self.per_second == 0 || bytes == 0 {
            return;
        }
        let takes = Duration::from_secs_f64(bytes as f64 / self.per_second as f64);
        let start = {
            let now = Instant::now();
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let next = next.entry(Arc::clone(device)).or_insert(now);
            let start = (*next).max(now);
            *next = start + takes;
            start
        };
        tokio::time::sleep_until(start).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_duties_of_a_device_together_go_no_faster_than_the_limit() {
        let started = Instant::now();
        let pace = Pace::new(1000);
        let (one, other): (Arc<str>, Arc<str>) = ("d1".into(), "d2".into());
        let duty = || async {
            for _ in 0..11 {
                pace.admit(&one, 250).await;
            }
        };
        tokio::join!(duty(), duty());
        assert_eq!(
            started.elapsed().as_millis(),
            5250,
            "the last of them waits for all the others"
        );
        pace.admit(&other, usize::MAX >> 32).await;
        assert_eq!(
            started.elapsed().as_millis(),
            5250,
            "another device has a limit of its own"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_waits() {
        let started = Instant::now();
        let free = Pace::new(0);
        free.admit(&"d1".into(), usize::MAX).await;
        assert_eq!(started.elapsed().as_millis(), 0);
    }
}
