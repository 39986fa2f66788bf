//! How fast bytes go, lately.
//!
//! Kept for each device and ring by [`crate::movement`]: whoever asks how long
//! it still takes wants the rate of the last seconds, not that since the start.
use std::time::Duration;

use tokio::time::Instant;

/// Length of a bucket: a rate is over this time at least, twice at most.
const BUCKET: Duration = Duration::from_secs(10);

/// Bytes of the bucket under way and of the one before it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    began: Option<Instant>,
    now: u64,
    before: u64,
}

impl Meter {
    /// Counts bytes that went at `now`.
    pub(crate) fn count(&mut self, bytes: u64, now: Instant) {
        self.turn(now);
        self.now += bytes;
    }

    /// Bytes a second.
    pub(crate) fn rate(mut self, now: Instant) -> u64 {
        self.turn(now);
        let Some(began) = self.began else { return 0 };
        let full = if self.before > 0 { BUCKET } else { Duration::ZERO };
        let time = (full + now.duration_since(began)).max(Duration::from_secs(1));
        ((self.now + self.before) as f64 / time.as_secs_f64()) as u64
    }

    fn turn(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let passed = now.duration_since(began);
        if passed >= 2 * BUCKET {
            *self = Self {
                began: Some(now),
                ..Self::default()
            };
        } else if passed >= BUCKET {
            (self.before, self.now) = (self.now, 0);
            self.began = Some(began + BUCKET);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_that_of_the_last_seconds_and_is_forgotten() {
        let mut meter = Meter::default();
        assert_eq!(meter.rate(Instant::now()), 0);
        for _ in 0..25 {
            meter.count(1000, Instant::now());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let rate = meter.rate(Instant::now());
        assert!((990..=1010).contains(&rate), "{rate}");
        tokio::time::advance(3 * BUCKET).await;
        assert_eq!(meter.rate(Instant::now()), 0);
    }
}
