//! How fast bytes may be moved: one limit for all devices of the node.
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A limit in bytes per second.
pub(in crate::workers) struct Pace {
    per_second: u64,
    /// When the next bytes may go.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// `per_second` bytes, or no limit if it is zero.
    pub(in crate::workers) fn new(per_second: u64) -> Self {
        Self {
            per_second,
            next: Mutex::default(),
        }
    }

    /// Waits until `bytes` may go.
    pub(in crate::workers) async fn admit(&self, bytes: usize) {
        if self.per_second == 0 || bytes == 0 {
            return;
        }
        let takes = Duration::from_secs_f64(bytes as f64 / self.per_second as f64);
        let start = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let start = next.map_or_else(Instant::now, |next| next.max(Instant::now()));
            *next = Some(start + takes);
            start
        };
        tokio::time::sleep_until(start).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_go_no_faster_than_the_limit() {
        let started = Instant::now();
        let pace = Pace::new(1000);
        for _ in 0..11 {
            pace.admit(500).await;
        }
        assert_eq!(
            started.elapsed().as_millis(),
            5000,
            "the last of them waits for ten"
        );
        let free = Pace::new(0);
        free.admit(usize::MAX).await;
        assert_eq!(started.elapsed().as_millis(), 5000);
    }
}
