//! Bytes that failed their checksum: counted, and a copy kept as evidence.
//!
//! Written by quarantine ([`crate::quarantine`]) and replay ([`crate::apply`]);
//! the folder and its bound are the disk's.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use virga_disk::device::Device as Folder;
use virga_node::clock::Micros;

/// So many bad records within [`WINDOW`], and the device is not trusted with
/// new data any more.
pub const TOO_MANY: usize = 10;
/// See [`TOO_MANY`].
const WINDOW: Duration = Duration::from_secs(3600);

/// What was set aside since the device was opened.
pub struct BadRecords {
    folder: Option<Arc<Folder>>,
    count: AtomicU64,
    recent: Mutex<VecDeque<Micros>>,
}

impl BadRecords {
    /// Copies go to `folder`'s `bad/`; without one they are only counted.
    pub fn new(folder: Option<Arc<Folder>>) -> Self {
        Self {
            folder,
            count: AtomicU64::new(0),
            recent: Mutex::default(),
        }
    }

    /// Counts a piece and keeps a copy. Blocks on the device.
    pub fn keep(&self, segment: u64, offset: u64, bytes: &[u8]) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let Some(folder) = &self.folder else { return };
        match folder.quarantine(segment, offset, bytes) {
            Ok(true) => {}
            Ok(false) => tracing::warn!(segment, offset, "no room for a copy of damaged bytes"),
            Err(error) => tracing::warn!(segment, offset, %error, "a copy of damaged bytes cannot be kept"),
        }
    }

    /// Notes that a read met damage at `now`; true if that was once too often.
    pub fn too_many(&self, now: Micros) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back(now);
        while recent.front().is_some_and(|first| now.since(*first) > WINDOW) || recent.len() > TOO_MANY {
            recent.pop_front();
        }
        recent.len() >= TOO_MANY
    }

    /// Forgets what reads met so far.
    pub fn forgive(&self) {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Pieces set aside since the device was opened.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
