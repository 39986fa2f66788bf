//! The standing duties of a device, on one thread of its own: measure the
//! room, flush the index, compact.
//!
//! Started by [`crate::device`]; it holds the device weakly and ends with it.
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use virga_node::clock::Micros;

use crate::device::Device;
use crate::space::{Health, Room};

/// How often the duties are looked at.
const TICK: Duration = Duration::from_secs(1);
/// While there is room, compaction rests this many times as long as it worked:
/// 20 % of the device.
const REST: u32 = 4;

#[derive(Default)]
struct Stop {
    stopped: Mutex<bool>,
    wake: Condvar,
}

/// The running thread; dropping it stops and joins it.
pub struct Upkeep {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread remembers between two rounds.
struct Duties {
    flushed_at: Micros,
    compact_after: Micros,
}

impl Upkeep {
    /// Starts the thread for `device`.
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
        };
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
                    duties.round(&device);
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
    fn round(&mut self, device: &Device) {
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
            self.compact(device);
        }
    }

    fn compact(&mut self, device: &Device) {
        let started = device.clock().now();
        match device.compact_blocking() {
            Ok(Some(_)) => {
                let ended = device.clock().now();
                let rest = if device.condition().room() == Room::Plenty {
                    REST
                } else {
                    0
                };
                self.compact_after = ended.plus(ended.since(started) * rest);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "compaction did not finish"),
        }
    }
}
