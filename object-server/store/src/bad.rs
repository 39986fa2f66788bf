//! Bytes that failed their checksum: counted, and a copy kept as evidence.
//!
//! Written by quarantine ([`crate::quarantine`]), the scrub and replay
//! ([`crate::apply`]); the folder and its bound are the disk's. A segment with
//! several damaged places is worn: compaction moves what lives out of it.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use virga_disk::device::Device as Folder;
use virga_node::clock::Micros;

/// So many bad records within [`WINDOW`], and the device is not trusted with
/// new data any more.
pub const TOO_MANY: usize = 10;
/// So many damaged places in one segment, and what still lives there is moved.
pub const WORN: usize = 3;
/// See [`TOO_MANY`].
const WINDOW: Duration = Duration::from_secs(3600);

/// What was set aside since the device was opened.
pub struct BadRecords {
    folder: Option<Arc<Folder>>,
    count: AtomicU64,
    recent: Mutex<VecDeque<Micros>>,
    /// By segment: offsets of damaged places, [`WORN`] at most. Lost with the
    /// process: what is still damaged then is found again.
    places: Mutex<BTreeMap<u64, BTreeSet<u64>>>,
}

impl BadRecords {
    /// Copies go to `folder`'s `bad/`; without one they are only counted.
    pub fn new(folder: Option<Arc<Folder>>) -> Self {
        Self {
            folder,
            count: AtomicU64::new(0),
            recent: Mutex::default(),
            places: Mutex::default(),
        }
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<u64, BTreeSet<u64>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a damaged place; whether the segment is worn by it.
    pub fn note(&self, segment: u64, offset: u64) -> bool {
        let mut places = self.places();
        let known = places.entry(segment).or_default();
        known.len() < WORN && known.insert(offset) && known.len() == WORN
    }

    /// Whether what lives in a segment is to leave it.
    pub fn is_worn(&self, segment: u64) -> bool {
        self.places()
            .get(&segment)
            .is_some_and(|known| known.len() >= WORN)
    }

    /// Segments that are worn.
    pub fn worn(&self) -> Vec<u64> {
        let places = self.places();
        let worn = places.iter().filter(|(_, known)| known.len() >= WORN);
        worn.map(|(segment, _)| *segment).collect()
    }

    /// The segment is no more.
    pub fn gone(&self, segment: u64) {
        self.places().remove(&segment);
    }

    /// Counts a piece and keeps a copy. Blocks on the device.
    pub fn keep(&self, segment: u64, offset: u64, bytes: &[u8]) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.note(segment, offset);
        // Of what a cut file lacks there is nothing to keep.
        let Some(folder) = self.folder.as_ref().filter(|_| !bytes.is_empty()) else {
            return;
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_worn_by_three_different_places_and_only_until_it_is_gone() {
        let bad = BadRecords::new(None);
        for _ in 0..5 {
            assert!(!bad.note(1, 4096), "the same place again");
        }
        assert!(!bad.note(2, 8192), "another segment");
        assert!(!bad.note(1, 8192) && !bad.is_worn(1));
        assert!(bad.note(1, 12288), "the third place");
        assert!(!bad.note(1, 16384), "it was worn already");
        assert!(bad.is_worn(1) && !bad.is_worn(2));
        assert_eq!(bad.worn(), [1]);
        bad.gone(1);
        assert!(bad.worn().is_empty());
    }

    #[test]
    fn what_replay_sets_aside_counts_too() {
        let bad = BadRecords::new(None);
        for offset in [4096, 8192, 12288] {
            bad.keep(7, offset, b"rotten");
        }
        assert!(bad.is_worn(7));
        assert_eq!(bad.count(), 3);
    }

    #[test]
    fn ten_damaged_records_within_an_hour_are_too_many_and_over_a_longer_time_they_are_not() {
        let bad = BadRecords::new(None);
        let at = |secs: u64| Micros(1_766_400_000_000_000 + secs * 1_000_000);
        for (tenth, too_many) in [(3600, true), (3601, false)] {
            for _ in 0..9 {
                assert!(!bad.too_many(at(0)));
            }
            assert_eq!(bad.too_many(at(tenth)), too_many, "after {tenth} s");
            bad.forgive();
        }
        for (every, too_many) in [(400, true), (401, false)] {
            for n in 0..50 {
                let found = bad.too_many(at(n * every));
                assert_eq!(found, too_many && n >= 9, "{n} of one in {every} s");
            }
            bad.forgive();
        }
    }

    #[test]
    fn of_what_a_cut_file_lacks_nothing_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let fresh =
            virga_disk::device::Description::new(uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2), [3; 8]);
        let folder = Arc::new(Folder::open(dir.path(), fresh).unwrap());
        let bad = BadRecords::new(Some(folder));
        bad.keep(1, 4096, b"");
        assert!(!dir.path().join("bad").exists());
        bad.keep(1, 4096, b"rotten");
        let kept = std::fs::read(dir.path().join("bad/0000000000000001-00001000")).unwrap();
        assert_eq!((kept.as_slice(), bad.count()), (&b"rotten"[..], 2));
    }
}
