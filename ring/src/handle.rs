//! The ring in use: swapped whole while requests go on.
//!
//! Readers take a snapshot and never wait; whoever watches the file calls
//! [`RingHandle::reload_if_changed`] now and then (Swift looks every 15 s). A bad new file is
//! reported and the old ring stays.
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;

use crate::file::{self, ReadRingError};
use crate::ring::Ring;

/// What a file looked like when it was read: enough to see that it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    size: u64,
}

/// A shared place that holds the current ring.
#[derive(Debug)]
pub struct RingHandle {
    ring: ArcSwap<Ring>,
    source: Option<PathBuf>,
    stamp: Mutex<Option<Stamp>>,
}

impl RingHandle {
    /// Holds a ring that came from no file.
    pub fn new(ring: Ring) -> Self {
        Self {
            ring: ArcSwap::from_pointee(ring),
            source: None,
            stamp: Mutex::new(None),
        }
    }

    /// Reads `path` and remembers it for reloads.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ReadRingError> {
        let path = path.into();
        // The stamp first: a file replaced while it is read is read again.
        let stamp = stamp_of(&path);
        let ring = file::load(&path)?;
        Ok(Self {
            ring: ArcSwap::from_pointee(ring),
            source: Some(path),
            stamp: Mutex::new(stamp),
        })
    }

    /// The current ring. Keep the snapshot for one request, not longer.
    pub fn current(&self) -> Arc<Ring> {
        self.ring.load_full()
    }

    /// Puts another ring in place; requests under way keep the one they have.
    pub fn swap(&self, ring: Ring) {
        self.ring.store(Arc::new(ring));
    }

    /// Reads the file again if it is not the one last read. True if a new ring
    /// is in use; on an error the old one stays.
    pub fn reload_if_changed(&self) -> Result<bool, ReadRingError> {
        let Some(path) = &self.source else {
            return Ok(false);
        };
        let mut last = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp_of(path);
        if now.is_some() && now == *last {
            return Ok(false);
        }
        let ring = file::load(path)?;
        self.swap(ring);
        *last = now;
        Ok(true)
    }
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some(Stamp {
        modified: meta.modified().ok(),
        size: meta.len(),
    })
}
