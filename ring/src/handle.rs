//! The ring in use: swapped whole while requests go on.
//!
//! Readers take a snapshot and never wait; whoever watches the file calls
//! [`RingHandle::reload_if_changed`] now and then. A bad new file is reported
//! and the old ring stays; as long as the file is the same bytes, the same
//! report costs no second decoding. A handle that keeps history counts the rings before
//! a change as in use until somebody says that the change is over
//! ([`RingHandle::retire`]).
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;

use crate::file::map::{Maps, SourceDigest, WriteMapError};
use crate::file::{self, ReadRingError};
use crate::history::{Copies, HistoryError, KnownRing, RingEpoch, RingId, RingsInUse};
use crate::ring::Ring;

/// Most rings before the current one that a change may leave in use. Further
/// new rings wait until the devices have come along with an earlier one.
const MOST_PREVIOUS: usize = 16;

/// What a file looked like when it was read: enough to see that it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    size: u64,
    /// Tells files apart that were replaced within one tick of the clock.
    inode: u64,
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
    /// The file is still the one that was refused before.
    #[error(transparent)]
    Refused(Arc<ReloadError>),
}

/// A ring that follows one with a higher version: somebody put an older file
/// back. It is in use all the same, but an operator should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WentBack {
    /// Version of the ring before.
    pub from: u64,
    /// Version of the ring in use.
    pub to: u64,
}

/// What was last read, and what is still to be done about it.
#[derive(Debug, Default)]
struct Watched {
    stamp: Option<Stamp>,
    /// Of the bytes that the current ring was read from.
    digest: Option<SourceDigest>,
    /// The current ring has no copy yet.
    unkept: bool,
    /// Bytes that were no good, and why.
    refused: Option<(SourceDigest, Arc<ReloadError>)>,
    went_back: Option<WentBack>,
    /// Why the map of the current ring could not be written.
    map_fault: Option<Arc<WriteMapError>>,
}

/// A shared place that holds the current ring.
#[derive(Debug)]
pub struct RingHandle {
    in_use: ArcSwap<RingsInUse>,
    source: Option<PathBuf>,
    /// Whether rings before the current one stay in use.
    keeps: bool,
    copies: Option<Copies>,
    /// Where maps of rings are kept, for a quick start.
    maps: Option<Maps>,
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
            maps: None,
            watched: Mutex::default(),
        }
    }

    /// Reads `path` and remembers it for reloads. Only the newest ring counts:
    /// for those that bring data to where it belongs now.
    ///
    /// # Errors
    /// See [`ReadRingError`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ReadRingError> {
        Self::open_through(path.into(), None)
    }

    /// Like [`RingHandle::open`], with a folder in which large rings are kept
    /// in a form that opens in milliseconds. Nothing is lost with the folder.
    ///
    /// # Errors
    /// See [`ReadRingError`]; see [`RingHandle::map_fault`] for what goes wrong
    /// in the folder.
    pub fn open_cached(path: impl Into<PathBuf>, cache: impl Into<PathBuf>) -> Result<Self, ReadRingError> {
        Self::open_through(path.into(), Some(Maps::new(cache.into())))
    }

    fn open_through(path: PathBuf, maps: Option<Maps>) -> Result<Self, ReadRingError> {
        // The stamp first: a file replaced while it is read is read again.
        let stamp = stamp_of(&path);
        let (bytes, digest) = read(&path)?;
        let opened = decode(&path, &bytes, digest, maps.as_ref())?;
        let mut handle = Self::holding(opened.known, Some(path), false);
        handle.maps = maps;
        *handle.watch() = Watched {
            stamp,
            digest: Some(digest),
            map_fault: opened.fault,
            ..Watched::default()
        };
        Ok(handle)
    }

    /// Reads `path`; rings before the current one stay in use until they are
    /// retired, also those that an earlier process used and left a copy of in
    /// `history`, where the map of a large ring is kept too (see
    /// [`RingHandle::open_cached`]). The faults are copies that are no good, and a copy that
    /// could not be written (tried again at every reload).
    ///
    /// # Errors
    /// See [`ReloadError`]; a ring with another part power than those before.
    pub fn open_with_history(
        path: impl Into<PathBuf>,
        history: impl Into<PathBuf>,
    ) -> Result<(Self, Vec<HistoryError>), ReloadError> {
        let (path, history) = (path.into(), history.into());
        let stamp = stamp_of(&path);
        let (bytes, digest) = read(&path)?;
        let maps = Maps::new(history.clone());
        let Opened {
            known: current,
            fault: map_fault,
        } = decode(&path, &bytes, digest, Some(&maps))?;
        let copies = Copies::new(history);
        let (previous, mut faults) = copies.load(current.id);
        for known in &previous {
            same_power(&path, &known.ring, &current.ring)?;
        }
        let kept = copies.keep(&current, Some(&bytes));
        let mut handle = Self::holding(current.clone(), Some(path), true);
        let newest = previous.iter().map(|known| known.id.version).max();
        let went_back = newest.and_then(|from| step_back(from, current.id.version));
        handle.in_use.store(Arc::new(RingsInUse { current, previous }));
        handle.copies = Some(copies);
        handle.maps = Some(maps);
        *handle.watch() = Watched {
            stamp,
            digest: Some(digest),
            unkept: kept.is_err(),
            went_back,
            map_fault,
            ..Watched::default()
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

    /// What requests placed by these rings go by; see [`RingsInUse::epoch`].
    pub fn epoch(&self) -> RingEpoch {
        self.in_use.load().epoch()
    }

    /// Puts another ring in place; requests under way keep the one they have.
    pub fn swap(&self, ring: Ring) {
        let known = KnownRing::new(ring);
        let mut watched = self.watch();
        self.put(known, &mut watched);
    }

    /// Whether the current ring has a lower version than the one before it.
    pub fn went_back(&self) -> Option<WentBack> {
        self.watch().went_back
    }

    /// Why the next start will take longer than it could: the map of the
    /// current ring could not be written.
    pub fn map_fault(&self) -> Option<Arc<WriteMapError>> {
        self.watch().map_fault.clone()
    }

    fn put(&self, next: KnownRing, watched: &mut Watched) {
        let now = self.in_use.load_full();
        if now.current.id != next.id {
            watched.went_back = step_back(now.current.id.version, next.id.version);
        }
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
    /// A file that was no good is refused each time until it is another one,
    /// with the same words; it is not decoded again for that.
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
            watched.refused = None;
            return self.keep_current(&mut watched, None).map(|()| false);
        }
        let (bytes, digest) = read(path)?;
        if let Some((_, why)) = watched.refused.as_ref().filter(|(of, _)| *of == digest) {
            return Err(ReloadError::Refused(Arc::clone(why)));
        }
        if watched.digest == Some(digest) {
            // Touched, or written anew with the same content.
            watched.stamp = now;
            watched.refused = None;
            return self.keep_current(&mut watched, None).map(|()| false);
        }
        let in_use = self.in_use.load_full();
        let judged = decode(path, &bytes, digest, self.maps.as_ref())
            .map_err(ReloadError::from)
            .and_then(|opened| {
                same_power(path, &in_use.current.ring, &opened.known.ring)?;
                Ok(opened)
            });
        let opened = match judged {
            Ok(opened) => opened,
            Err(why) => {
                let why = Arc::new(why);
                watched.refused = Some((digest, Arc::clone(&why)));
                return Err(ReloadError::Refused(why));
            }
        };
        let is_new = opened.known.id != in_use.current.id;
        if self.keeps && is_new && in_use.previous.len() >= MOST_PREVIOUS {
            return Err(ReloadError::Behind { path: path.clone() });
        }
        // The current ring must be found by a later start before it becomes
        // one of those before.
        self.keep_current(&mut watched, None)?;
        self.put(opened.known, &mut watched);
        watched.stamp = now;
        watched.digest = Some(digest);
        watched.refused = None;
        watched.map_fault = opened.fault;
        watched.unkept = self.copies.is_some();
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

fn step_back(from: u64, to: u64) -> Option<WentBack> {
    (to < from).then_some(WentBack { from, to })
}

fn read(path: &Path) -> Result<(Vec<u8>, SourceDigest), ReadRingError> {
    let bytes = std::fs::read(path).map_err(|source| ReadRingError::Read {
        path: path.into(),
        source,
    })?;
    let digest = SourceDigest::of(&bytes);
    Ok((bytes, digest))
}

/// A ring of a file, and why it has no map.
struct Opened {
    known: KnownRing,
    fault: Option<Arc<WriteMapError>>,
}

/// Takes the ring from its map, or from the file's bytes and makes the map.
fn decode(
    path: &Path,
    bytes: &[u8],
    digest: SourceDigest,
    maps: Option<&Maps>,
) -> Result<Opened, ReadRingError> {
    if let Some(known) = maps.and_then(|maps| maps.load(path, digest)) {
        return Ok(Opened { known, fault: None });
    }
    let ring = file::decode(bytes).map_err(|source| ReadRingError::Decode {
        path: path.into(),
        source,
    })?;
    let known = KnownRing::new(ring);
    let kept = maps.map_or(Ok(()), |maps| maps.keep(path, &known, digest));
    Ok(Opened {
        known,
        fault: kept.err().map(Arc::new),
    })
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
        inode: meta.ino(),
    })
}

mod exchange;
#[cfg(test)]
mod swap_tests;
#[cfg(test)]
mod tests;

pub use exchange::InstallError;
