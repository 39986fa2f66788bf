//! How fast bytes may be moved from a device: one limit for all duties together,
//! whatever they move.
//!
//! A duty that moves something asks before each piece. The pieces of all of them
//! go one after the other, so no duty gets more than its turn. While clients wait
//! for the device the limit is lower, and there is one even if none is set.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::local::OpenDevice;

/// Bytes a second, before they are shared with the clients that wait, where no
/// limit is set.
const SHARED: u64 = 128 << 20;
/// More clients than this slow nothing down further: what is to be repaired is
/// repaired under any load.
const MOST: u64 = 15;

/// Bytes that may be moved in a second while so many calls of clients are being
/// carried out, of at most `limit` (zero for none); `None`: as fast as it goes.
fn budget(limit: u64, waiting: usize) -> Option<u64> {
    let waiting = u64::try_from(waiting).unwrap_or(MOST).min(MOST);
    let shared = (waiting > 0).then_some(SHARED / (1 + waiting));
    let limit = (limit > 0).then_some(limit);
    shared.into_iter().chain(limit).min()
}

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
    pub(in crate::workers) async fn admit(&self, device: &OpenDevice, bytes: usize) {
        self.admit_beside(&device.name, bytes, device.objects.waiting())
            .await;
    }

    async fn admit_beside(&self, device: &Arc<str>, bytes: usize, waiting: usize) {
        let Some(budget) = budget(self.per_second, waiting).filter(|_| bytes > 0) else {
            return;
        };
        let takes = Duration::from_secs_f64(bytes as f64 / budget as f64);
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
                pace.admit_beside(&one, 250, 0).await;
            }
        };
        tokio::join!(duty(), duty());
        assert_eq!(
            started.elapsed().as_millis(),
            5250,
            "the last of them waits for all the others"
        );
        pace.admit_beside(&other, usize::MAX >> 32, 0).await;
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
        free.admit_beside(&"d1".into(), usize::MAX, 0).await;
        assert_eq!(started.elapsed().as_millis(), 0);
    }

    #[test]
    fn the_more_clients_wait_the_less_is_moved_but_never_nothing() {
        const MIB: u64 = 1 << 20;
        let free = [0, 1, 3, 7, 15, 1000].map(|waiting| budget(0, waiting));
        let mib = |mib: u64| Some(mib * MIB);
        assert_eq!(free, [None, mib(64), mib(32), mib(16), mib(8), mib(8)]);
        let limited = [0, 3, 15].map(|waiting| budget(20 * MIB, waiting));
        assert_eq!(limited, [mib(20), mib(20), mib(8)], "a limit that is set is kept");
        assert_eq!(budget(1000, 1000), Some(1000));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_moved_beside_clients_waits_for_its_share() {
        let started = Instant::now();
        let (pace, device): (_, Arc<str>) = (Pace::new(0), "d1".into());
        for _ in 0..9 {
            pace.admit_beside(&device, 1 << 20, 15).await;
        }
        assert_eq!(started.elapsed().as_secs(), 1);
        pace.admit_beside(&device, 1 << 20, 0).await;
        assert_eq!(started.elapsed().as_secs(), 1, "nobody waits any more");
    }
}
