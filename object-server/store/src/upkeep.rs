//! The standing duties of a device, on one thread of its own (or a task):
//! measure the room, flush the index, compact, scrub.
//!
//! Started by [`crate::device`]; it holds the device weakly and ends with it.
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use virga_disk::threads::{Threads, block_on};
use virga_node::clock::Micros;

use crate::device::Device;
use crate::foreground::{compaction_rest, may_scrub};
use crate::space::Health;

/// How often the duties are looked at.
const TICK: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Stop {
    stopped: Mutex<bool>,
    wake: Condvar,
}

/// The running loop; dropping it stops it, and joins it if it is a thread.
pub struct Upkeep {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

/// What the loop remembers between two rounds.
struct Duties {
    flushed_at: Micros,
    compact_after: Micros,
    scrub_after: Micros,
}

impl Upkeep {
    /// Starts the loop for `device`.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(device: &Device) -> std::io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let (weak, watched) = (device.downgrade(), stop.clone());
        let now = device.clock().now();
        let mut duties = Duties {
            flushed_at: now,
            compact_after: now,
            scrub_after: now.plus(device.scrub_rest()),
        };
        if let Threads::Tasks(driver) = device.threads() {
            driver.spawn(Box::pin(async move {
                loop {
                    tokio::time::sleep(TICK).await;
                    if *watched.stopped.lock().unwrap_or_else(PoisonError::into_inner) {
                        return;
                    }
                    let Some(device) = Device::upgrade(&weak) else {
                        return;
                    };
                    duties.round(&device).await;
                }
            }));
            return Ok(Self { stop, thread: None });
        }
        let thread = std::thread::Builder::new()
            .name("device-upkeep".into())
            .spawn(move || {
                loop {
                    let stopped = watched.stopped.lock().unwrap_or_else(PoisonError::into_inner);
                    let wait = watched
                        .wake
                        .wait_timeout_while(stopped, TICK, |stopped| !*stopped);
                    if *wait.unwrap_or_else(PoisonError::into_inner).0 {
                        return;
                    }
                    let Some(device) = Device::upgrade(&weak) else {
                        return;
                    };
                    if let Err(error) = block_on(duties.round(&device)) {
                        tracing::warn!(%error, "no runtime for the upkeep of a device");
                    }
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        *self.stop.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.wake.notify_all();
        // The last handle of a device may go on this very thread.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the upkeep of a device panicked");
        }
    }
}

impl Duties {
    async fn round(&mut self, device: &Device) {
        if let Err(error) = device.measure() {
            tracing::warn!(%error, "the room on the device cannot be measured");
        }
        let now = device.clock().now();
        let options = device.options();
        let unflushed = device.index().unflushed();
        let old = now.since(self.flushed_at) >= options.flush_age;
        if unflushed >= options.flush_bytes || (unflushed > 0 && old) {
            // A failure has made the device read-only and was logged there.
            let _ = device.flush_index_blocking();
            self.flushed_at = now;
        }
        if device.condition().health() == Health::Good && now >= self.compact_after {
            self.compact(device).await;
        }
        let quiet = || may_scrub(now.since(self.scrub_after), device.scrub_rest(), device.waiting());
        if device.condition().health() != Health::Closed
            && (device.is_scrub_hurried() || (now >= self.scrub_after && quiet()))
        {
            self.scrub(device).await;
        }
    }

    async fn scrub(&mut self, device: &Device) {
        if let Err(error) = device.scrub_here().await {
            tracing::warn!(%error, "a segment cannot be scrubbed");
        }
        self.scrub_after = device.clock().now().plus(device.scrub_rest());
    }

    async fn compact(&mut self, device: &Device) {
        let started = device.clock().now();
        match device.compact_here().await {
            Ok(Some(_)) => {
                let ended = device.clock().now();
                let rest = compaction_rest(device.condition().room(), device.waiting());
                self.compact_after = ended.plus(ended.since(started) * rest);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "compaction did not finish"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use virga_disk::io::fault::FaultDisk;
    use virga_disk::kv::KvCache;
    use virga_disk::segment::Stream;
    use virga_disk::segment::header::Identity;
    use virga_node::clock::{Clock, ManualClock, Version};
    use virga_object_wire::checked::Checked;
    use virga_object_wire::object::{At, ObjectMeta, PutObject, Source};
    use virga_ring::Partition;
    use virga_ring::hash::NameHash;

    use super::*;
    use crate::device::{DeviceConfig, DeviceOptions, Storage};

    const START: Micros = Micros(1_766_400_000_000_000);
    /// Looks at the clock after which waiting is given up: twenty rounds at most.
    const LOOKS: u64 = 20;

    /// A clock that stands still unless moved, and wakes who waits whenever somebody
    /// looks at it: the upkeep does in every round.
    #[derive(Debug)]
    struct Watched {
        time: ManualClock,
        looks: Mutex<u64>,
        looked: Condvar,
    }

    impl Clock for Watched {
        fn now(&self) -> Micros {
            *self.looks.lock().unwrap() += 1;
            self.looked.notify_all();
            self.time.now()
        }
    }

    impl Watched {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                time: ManualClock::new(START),
                looks: Mutex::default(),
                looked: Condvar::new(),
            })
        }

        /// Waits until `met`, which must not look at the clock itself.
        fn wait_until(&self, met: impl Fn() -> bool) {
            let first = *self.looks.lock().unwrap();
            loop {
                let seen = *self.looks.lock().unwrap();
                if met() {
                    return;
                }
                let looks = self.looks.lock().unwrap();
                let waited = self
                    .looked
                    .wait_timeout_while(looks, Duration::from_secs(60), |looks| *looks == seen);
                assert!(!waited.unwrap().1.timed_out(), "the upkeep does nothing");
                assert!(
                    seen - first < LOOKS,
                    "the upkeep does not do what it is waited for"
                );
            }
        }
    }

    fn open(clock: &Arc<Watched>, options: DeviceOptions) -> (Device, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let config = DeviceConfig {
            name: "d1".into(),
            storage: Storage::Disk {
                disk: Arc::new(FaultDisk::new(256 << 20, 1)),
                identity: Identity {
                    device: [7; 16],
                    secret: 77,
                },
                index: dir.path().join("index"),
            },
            cache: KvCache::new(8 << 20),
            options: DeviceOptions {
                segment_size: 4 << 20,
                ..options
            },
        };
        let clock: Arc<dyn Clock> = clock.clone();
        (Device::open(config, clock).unwrap(), dir)
    }

    async fn put(device: &Device, nth: u64, len: usize) {
        let at = At {
            device: "d1".into(),
            policy: 0,
            partition: Partition(1),
            hash: NameHash([1; 16]),
            ring: virga_ring::RingEpoch::NONE,
        };
        let body = Checked::seal(vec![nth as u8; len].into());
        let request = PutObject {
            version: Version(Version::at(START).0 + nth),
            size: len as u64,
            blake3: *blake3::hash(body.data()).as_bytes(),
            meta: ObjectMeta::default(),
            handoff_for: None,
            source: Source::Client,
        };
        device.put(&at, request, body).await.unwrap();
    }

    fn hot_segments(device: &Device) -> usize {
        let all = device.segments().all();
        all.iter()
            .filter(|segment| segment.stream() == Stream::Hot)
            .count()
    }

    #[tokio::test]
    async fn the_index_is_flushed_when_much_was_written_or_long_ago() {
        let clock = Watched::new();
        let options = DeviceOptions {
            upkeep: false,
            flush_bytes: 100_000,
            ..DeviceOptions::default()
        };
        let (device, _dir) = open(&clock, options);
        let mut duties = Duties {
            flushed_at: START,
            compact_after: Micros(u64::MAX),
            scrub_after: Micros(u64::MAX),
        };
        put(&device, 1, 1000).await;
        duties.round(&device).await;
        assert!(device.index().unflushed() > 1000, "neither much nor long ago");
        clock.time.advance(device.options().flush_age);
        duties.round(&device).await;
        assert_eq!(device.index().unflushed(), 0, "long ago");
        put(&device, 2, 1000).await;
        duties.round(&device).await;
        assert!(
            device.index().unflushed() > 1000,
            "the age counts from the last flush"
        );
        put(&device, 3, 100_000).await;
        duties.round(&device).await;
        assert_eq!(device.index().unflushed(), 0, "much");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_device_flushes_and_compacts_by_itself() {
        let clock = Watched::new();
        let options = DeviceOptions {
            flush_bytes: 1,
            ..DeviceOptions::default()
        };
        let (device, _dir) = open(&clock, options);
        put(&device, 1, 1000).await;
        clock.wait_until(|| device.index().unflushed() == 0);
        let mut most = 0;
        for nth in 2..14 {
            put(&device, nth, 900_000).await;
            most = most.max(hot_segments(&device));
        }
        assert!(most >= 2, "the rewritten object never left its first segment");
        // All but the segment that is being written hold nothing but what was
        // overwritten.
        clock.wait_until(|| hot_segments(&device) == 1);
        device.close().await.unwrap();
        assert_eq!(device.stats().objects, 1);
    }

    #[tokio::test]
    async fn the_upkeep_ends_with_the_last_handle_of_its_device() {
        let clock = Watched::new();
        let (device, _dir) = open(&clock, DeviceOptions::default());
        let weak = device.downgrade();
        drop(device);
        // A round that is going on at this very moment still ends.
        let gone = (0..10_000_000).any(|_| {
            std::thread::yield_now();
            weak.upgrade().is_none()
        });
        assert!(gone, "the upkeep holds the device");
    }
}
