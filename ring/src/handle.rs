//! The ring in use: swapped whole while requests go on.
//!
//! Readers take a snapshot and never wait; whoever watches the file calls
//! [`RingHandle::reload_if_changed`] now and then. A bad new file is reported
//! and the old ring stays. A handle that keeps history counts the rings before
//! a change as in use until somebody says that the change is over
//! ([`RingHandle::retire`]).
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;

use crate::file::{self, ReadRingError};
use crate::history::{Copies, HistoryError, KnownRing, RingId, RingsInUse};
use crate::ring::Ring;

/// Most rings before the current one that a change may leave in use. Further
/// new rings wait until the devices have come along with an earlier one.
const MOST_PREVIOUS: usize = 16;

/// What a file looked like when it was read: enough to see that it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    size: u64,
}

/// Why the ring in a file was not taken into use, or not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file is no good.
    #[error(transparent)]
    Read(#[from] ReadRingError),
    /// Another number of partitions: everything stored would be looked for elsewhere.
    #[error(
        "{path}: part power {new}, but what is stored lies under {old}; go back to a ring of part power {old}"
    )]
    PartPower {
        /// The file.
        path: PathBuf,
        /// Of the ring in use.
        old: u8,
        /// Of the new one.
        new: u8,
    },
    /// Devices are too many changes behind.
    #[error(
        "{path}: the ring waits, devices have not come along with {MOST_PREVIOUS} earlier ones yet; see that all answer"
    )]
    Behind {
        /// The file.
        path: PathBuf,
    },
    /// The copy of the ring in use, for a later start, could not be written.
    #[error("a copy of the ring in use cannot be kept, and no further ring is taken without one: {0}")]
    Keep(#[from] HistoryError),
}

/// What was last read, and what is still to be done about it.
#[derive(Debug, Default)]
struct Watched {
    stamp: Option<Stamp>,
    /// The current ring has no copy yet.
    unkept: bool,
}

/// A shared place that holds the current ring.
#[derive(Debug)]
pub struct RingHandle {
    in_use: ArcSwap<RingsInUse>,
    source: Option<PathBuf>,
    /// Whether rings before the current one stay in use.
    keeps: bool,
    copies: Option<Copies>,
    /// Held by whoever puts another ring in place.
    watched: Mutex<Watched>,
}

impl RingHandle {
    /// Holds a ring that came from no file. Rings before the current one stay
    /// in use until they are retired.
    pub fn new(ring: Ring) -> Self {
        Self::holding(KnownRing::new(ring), None, true)
    }

    fn holding(current: KnownRing, source: Option<PathBuf>, keeps: bool) -> Self {
        Self {
            in_use: ArcSwap::from_pointee(RingsInUse {
                current,
                previous: Vec::new(),
            }),
            source,
            keeps,
            copies: None,
            watched: Mutex::default(),
        }
    }

    /// Reads `path` and remembers it for reloads. Only the newest ring counts:
    /// for those that bring data to where it belongs now.
    ///
    /// # Errors
    /// See [`ReadRingError`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ReadRingError> {
        let path = path.into();
        // The stamp first: a file replaced while it is read is read again.
        let stamp = stamp_of(&path);
        let current = KnownRing::new(file::load(&path)?);
        let handle = Self::holding(current, Some(path), false);
        handle.watch().stamp = stamp;
        Ok(handle)
    }

    /// Reads `path`; rings before the current one stay in use until they are
    /// retired, also those that an earlier process used and left a copy of in
    /// `history`. The faults are copies that are no good, and a copy that
    /// could not be written (tried again at every reload).
    ///
    /// # Errors
    /// See [`ReloadError`]; a ring with another part power than those before.
    pub fn open_with_history(
        path: impl Into<PathBuf>,
        history: impl Into<PathBuf>,
    ) -> Result<(Self, Vec<HistoryError>), ReloadError> {
        let path = path.into();
        let stamp = stamp_of(&path);
        let bytes = read(&path)?;
        let current = decode(&path, &bytes)?;
        let copies = Copies::new(history.into());
        let (previous, mut faults) = copies.load(current.id);
        for known in &previous {
            same_power(&path, &known.ring, &current.ring)?;
        }
        let kept = copies.keep(&current, Some(&bytes));
        let mut handle = Self::holding(current.clone(), Some(path), true);
        handle.in_use.store(Arc::new(RingsInUse { current, previous }));
        handle.copies = Some(copies);
        *handle.watch() = Watched {
            stamp,
            unkept: kept.is_err(),
        };
        faults.extend(kept.err());
        Ok((handle, faults))
    }

    fn watch(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current ring. Keep the snapshot for one request, not longer.
    pub fn current(&self) -> Arc<Ring> {
        Arc::clone(&self.in_use.load().current.ring)
    }

    /// Identity of the current ring.
    pub fn id(&self) -> RingId {
        self.in_use.load().current.id
    }

    /// The current ring and those before it that still count. Keep the
    /// snapshot for one request, not longer.
    pub fn in_use(&self) -> Arc<RingsInUse> {
        self.in_use.load_full()
    }

    /// Puts another ring in place; requests under way keep the one they have.
    pub fn swap(&self, ring: Ring) {
        let _watched = self.watch();
        self.put(KnownRing::new(ring));
    }

    /// Called with the lock held.
    fn put(&self, next: KnownRing) {
        let now = self.in_use.load_full();
        let next = if self.keeps && now.current.id != next.id {
            now.followed_by(next)
        } else {
            RingsInUse {
                current: next,
                previous: now.previous.clone(),
            }
        };
        self.in_use.store(Arc::new(next));
    }

    /// Says that the change to `current` is over: the rings before it count no
    /// longer. Nothing happens if another ring has come into use meanwhile.
    ///
    /// # Errors
    /// When copies cannot be removed: then a later start counts them again.
    pub fn retire(&self, current: RingId) -> Result<bool, HistoryError> {
        let _watched = self.watch();
        let now = self.in_use.load_full();
        if now.current.id != current || now.previous.is_empty() {
            return Ok(false);
        }
        self.in_use.store(Arc::new(RingsInUse {
            current: now.current.clone(),
            previous: Vec::new(),
        }));
        match &self.copies {
            Some(copies) => copies.forget_all_but(current).map(|()| true),
            None => Ok(true),
        }
    }

    /// When the current ring came into use, also by an earlier process;
    /// `None` for a handle without copies.
    pub fn in_use_since(&self) -> Option<SystemTime> {
        self.copies.as_ref()?.kept_since(self.id())
    }

    /// Reads the file again if it is not the one last read. True if a new ring
    /// is in use; on an error the old one stays, but see [`ReloadError::Keep`].
    ///
    /// # Errors
    /// See [`ReloadError`].
    pub fn reload_if_changed(&self) -> Result<bool, ReloadError> {
        let Some(path) = &self.source else {
            return Ok(false);
        };
        let mut watched = self.watch();
        let now = stamp_of(path);
        if now.is_some() && now == watched.stamp {
            return self.keep_current(&mut watched, None).map(|()| false);
        }
        let bytes = read(path)?;
        let next = decode(path, &bytes)?;
        let in_use = self.in_use.load_full();
        same_power(path, &in_use.current.ring, &next.ring)?;
        let is_new = next.id != in_use.current.id;
        if self.keeps && is_new && in_use.previous.len() >= MOST_PREVIOUS {
            return Err(ReloadError::Behind { path: path.clone() });
        }
        // The current ring must be found by a later start before it becomes
        // one of those before.
        self.keep_current(&mut watched, None)?;
        self.put(next);
        *watched = Watched {
            stamp: now,
            unkept: self.copies.is_some(),
        };
        self.keep_current(&mut watched, Some(&bytes))?;
        Ok(is_new)
    }

    /// Writes the copy of the current ring if it is missing.
    fn keep_current(&self, watched: &mut Watched, bytes: Option<&[u8]>) -> Result<(), ReloadError> {
        if let Some(copies) = self.copies.as_ref().filter(|_| watched.unkept) {
            copies.keep(&self.in_use.load().current, bytes)?;
            watched.unkept = false;
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ReadRingError> {
    std::fs::read(path).map_err(|source| ReadRingError::Read {
        path: path.into(),
        source,
    })
}

fn decode(path: &Path, bytes: &[u8]) -> Result<KnownRing, ReadRingError> {
    let ring = file::decode(bytes).map_err(|source| ReadRingError::Decode {
        path: path.into(),
        source,
    })?;
    Ok(KnownRing::new(ring))
}

fn same_power(path: &Path, old: &Ring, new: &Ring) -> Result<(), ReloadError> {
    if old.part_power() == new.part_power() {
        return Ok(());
    }
    Err(ReloadError::PartPower {
        path: path.to_owned(),
        old: old.part_power(),
        new: new.part_power(),
    })
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some(Stamp {
        modified: meta.modified().ok(),
        size: meta.len(),
    })
}

#[cfg(test)]
mod tests;
