//! The faulty twin of a disk: loses power, fails syncs, writes short, fills up and flips bits, from a seed.
//!
//! Per page it keeps every version written since the last sync. [`FaultDisk::crash`] picks, for each page alone,
//! any prefix of them (a device may persist in any order), and tears one of those writes at a 512 B sector.
//! Creating and removing files is durable at once: the real disk syncs the folder before it returns. Used by
//! the crash tests here and of the layers above.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::aligned::AlignedBuf;
use super::{Disk, Fill, PAGE, Seg, Space};

/// What devices promise to write whole, in bytes.
const SECTOR: usize = 512;

/// Something that goes wrong with a coming operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// fdatasync reports an error; the pages count as clean afterwards, on the medium old or new.
    SyncFails,
    /// pwrite reports an error after writing a part of the buffer.
    ShortWrite,
    /// pwrite reports that the device is full, nothing written.
    WriteFull,
    /// One bit of what pread returns is wrong, once; the medium is right.
    ReadFlips,
}

/// A small deterministic generator (splitmix64), so that a seed replays a run.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// A sequence that depends on nothing but `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait)] // an endless sequence is no iterator worth adapting
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (which must not be zero).
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }
}

type Page = Box<[u8; PAGE]>;

#[derive(Default)]
struct File {
    /// What reads see: the page cache and the device's own cache.
    seen: Vec<u8>,
    /// What survives a power loss for certain.
    medium: Vec<u8>,
    /// Versions of a page written since the last sync, oldest first.
    unsynced: BTreeMap<usize, Vec<Page>>,
    /// A write or a sync failed: until its first page is written anew nobody should write or sync it (I4).
    failed: bool,
}

struct State {
    files: BTreeMap<String, File>,
    capacity: u64,
    /// Faults to come: operations of the kind still to pass, and the fault.
    plan: Vec<(u64, Fault)>,
    chance: Chance,
    /// Counts crashes: handles from before one are dead.
    life: u64,
    syncs: u64,
    violations: u64,
}

impl State {
    /// Counts an operation against the planned faults and says whether one of `kinds` strikes it.
    fn strikes(&mut self, kinds: &[Fault]) -> Option<Fault> {
        let mut hit = None;
        for (index, (left, fault)) in self.plan.iter_mut().enumerate() {
            if !kinds.contains(fault) {
                continue;
            }
            if *left == 0 {
                hit = hit.or(Some(index));
            } else {
                *left -= 1;
            }
        }
        hit.map(|index| self.plan.remove(index).1)
    }
}

/// A disk in memory that misbehaves on request. Clones are the same disk.
#[derive(Clone)]
pub struct FaultDisk {
    state: Arc<Mutex<State>>,
}

impl FaultDisk {
    /// An empty disk of `capacity` bytes whose choices all come from `seed`.
    #[must_use]
    pub fn new(capacity: u64, seed: u64) -> FaultDisk {
        let state = State {
            files: BTreeMap::new(),
            capacity,
            plan: Vec::new(),
            chance: Chance::new(seed),
            life: 0,
            syncs: 0,
            violations: 0,
        };
        FaultDisk {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plans `fault` for the operation of its kind that comes after `after` more of them.
    pub fn inject(&self, fault: Fault, after: u64) {
        self.state().plan.push((after, fault));
    }

    /// Forgets all planned faults.
    pub fn heal(&self) {
        self.state().plan.clear();
    }

    /// Changes the capacity; less than what is in use makes the next creation fail.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// How many syncs have succeeded.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// How often a file was written or synced after it had failed, against I4. A crash or kill forgives: the new
    /// process cannot know.
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.state().violations
    }

    /// Loses power: every page keeps some prefix of its unsynced writes, one of them torn. Handles opened before
    /// fail from now on; planned faults are forgotten.
    pub fn crash(&self, seed: u64) {
        let mut chance = Chance::new(seed);
        let mut state = self.state();
        state.life += 1;
        state.plan.clear();
        let pages: usize = state.files.values().map(|f| f.unsynced.len()).sum();
        let torn = if pages == 0 {
            usize::MAX
        } else {
            chance.below(pages)
        };
        let mut index = 0;
        for file in state.files.values_mut() {
            for (page, versions) in std::mem::take(&mut file.unsynced) {
                let medium = &mut file.medium[page * PAGE..][..PAGE];
                let kept = chance.below(versions.len() + 1);
                if kept > 0 {
                    medium.copy_from_slice(&versions[kept - 1][..]);
                }
                if index == torn && kept < versions.len() {
                    let sectors = 1 + chance.below(PAGE / SECTOR - 1);
                    medium[..sectors * SECTOR].copy_from_slice(&versions[kept][..sectors * SECTOR]);
                }
                index += 1;
            }
            file.seen.clone_from(&file.medium);
            file.failed = false;
        }
    }

    /// Stops the process without losing power: everything written is kept, handles from before are dead.
    pub fn kill(&self) {
        let mut state = self.state();
        state.life += 1;
        state.plan.clear();
        state.files.values_mut().for_each(|file| file.failed = false);
    }

    /// Rots one bit of a file on the medium and in the caches.
    ///
    /// # Panics
    /// If there is no such file or byte: the test is wrong.
    #[allow(clippy::expect_used)] // only tests call it
    pub fn flip_bit(&self, name: &str, byte: u64, bit: u8) {
        let byte = usize::try_from(byte).expect("an offset in memory");
        let mut state = self.state();
        let file = state.files.get_mut(name).expect("a file to rot");
        file.seen[byte] ^= 1 << bit;
        file.medium[byte] ^= 1 << bit;
    }

    fn seg(&self, name: &str, len: u64, life: u64) -> Arc<dyn Seg> {
        Arc::new(FaultSeg {
            disk: self.clone(),
            name: name.to_owned(),
            len,
            life,
        })
    }
}

impl Disk for FaultDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn Seg>> {
        let state = self.state();
        let file = state.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.seg(name, file.seen.len() as u64, state.life))
    }

    fn create(&self, name: &str, len: u64, _fill: Fill) -> io::Result<Arc<dyn Seg>> {
        let mut state = self.state();
        let others = state.files.iter().filter(|(other, _)| *other != name);
        let used: u64 = others.map(|(_, f)| f.seen.len() as u64).sum();
        if used + len > state.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let size = usize::try_from(len).map_err(io::Error::other)?;
        let file = File {
            seen: vec![0; size],
            medium: vec![0; size],
            ..File::default()
        };
        state.files.insert(name.to_owned(), file);
        Ok(self.seg(name, len, state.life))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().files.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.state()
            .files
            .remove(name)
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.state();
        let used: u64 = state.files.values().map(|f| f.seen.len() as u64).sum();
        Ok(Space {
            total: state.capacity,
            free: state.capacity.saturating_sub(used),
        })
    }
}

struct FaultSeg {
    disk: FaultDisk,
    name: String,
    len: u64,
    life: u64,
}

impl FaultSeg {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        if state.life != self.life {
            return Err(io::Error::other(
                "the machine lost power since this file was opened",
            ));
        }
        work(&mut state)
    }
}

fn file<'a>(state: &'a mut State, name: &str) -> io::Result<&'a mut File> {
    state
        .files
        .get_mut(name)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn write_pages(file: &mut File, buf: &[u8], start: usize) -> io::Result<()> {
    file.seen
        .get_mut(start..start.saturating_add(buf.len()))
        .ok_or(io::ErrorKind::InvalidInput)?
        .copy_from_slice(buf);
    for (index, bytes) in buf.chunks(PAGE).enumerate() {
        let mut page: Page = Box::new([0; PAGE]);
        let at = start + index * PAGE;
        page.copy_from_slice(&file.seen[at - at % PAGE..][..PAGE]);
        debug_assert_eq!(bytes.len(), PAGE);
        file.unsynced.entry(at / PAGE).or_default().push(page);
    }
    Ok(())
}

impl Seg for FaultSeg {
    fn len(&self) -> u64 {
        self.len
    }

    fn pwrite(&self, buf: &AlignedBuf, off: u64) -> io::Result<()> {
        let start = usize::try_from(off).map_err(io::Error::other)?;
        self.with(|state| {
            let fault = state.strikes(&[Fault::ShortWrite, Fault::WriteFull]);
            let part = state.chance.below(buf.len() / PAGE) * PAGE;
            let file = file(state, &self.name)?;
            file.failed &= start > 0;
            let violation = file.failed;
            file.failed |= fault.is_some();
            let written = match fault {
                Some(Fault::ShortWrite) => write_pages(file, &buf[..part], start)
                    .and_then(|()| Err(io::Error::other("injected: the write stopped half way"))),
                Some(_) => Err(io::ErrorKind::StorageFull.into()),
                None => write_pages(file, buf, start),
            };
            state.violations += u64::from(violation);
            written
        })
    }

    fn pread(&self, buf: &mut [u8], off: u64) -> io::Result<()> {
        let start = usize::try_from(off).map_err(io::Error::other)?;
        self.with(|state| {
            let flips = state.strikes(&[Fault::ReadFlips]).is_some();
            let at = if flips {
                state.chance.below(buf.len().max(1))
            } else {
                0
            };
            let bit = state.chance.below(8);
            let seen = &file(state, &self.name)?.seen;
            let range = start..start.saturating_add(buf.len());
            buf.copy_from_slice(seen.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
            if flips && !buf.is_empty() {
                buf[at] ^= 1 << bit;
            }
            Ok(())
        })
    }

    fn pread_nowait(&self, buf: &mut [u8], off: u64) -> io::Result<bool> {
        self.pread(buf, off).map(|()| true)
    }

    fn pread_direct(&self, buf: &mut AlignedBuf, off: u64) -> io::Result<()> {
        self.pread(buf, off)?;
        // The device knows nothing of pages that a failed sync left clean in the cache only.
        let start = usize::try_from(off).map_err(io::Error::other)?;
        self.with(|state| {
            let file = file(state, &self.name)?;
            for (index, page) in buf.chunks_mut(PAGE).enumerate() {
                let at = start + index * PAGE;
                match file
                    .unsynced
                    .get(&(at / PAGE))
                    .and_then(|versions| versions.last())
                {
                    Some(newest) => page.copy_from_slice(&newest[..]),
                    None => page.copy_from_slice(&file.medium[at..at + PAGE]),
                }
            }
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state| {
            let fails = state.strikes(&[Fault::SyncFails]).is_some();
            let mut chance = state.chance.clone();
            let file = file(state, &self.name)?;
            for (page, versions) in std::mem::take(&mut file.unsynced) {
                // A failed sync leaves pages marked clean, on the medium any of the versions or none.
                let kept = if fails {
                    chance.below(versions.len() + 1)
                } else {
                    versions.len()
                };
                if kept > 0 {
                    file.medium[page * PAGE..][..PAGE].copy_from_slice(&versions[kept - 1][..]);
                }
            }
            let violation = file.failed;
            file.failed |= fails;
            state.violations += u64::from(violation);
            state.chance = chance;
            if fails {
                return Err(io::Error::other("injected: the sync failed"));
            }
            state.syncs += 1;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(byte: u8) -> AlignedBuf {
        let mut buf = AlignedBuf::zeroed(PAGE);
        buf.fill(byte);
        buf
    }

    fn read(disk: &FaultDisk, off: u64) -> Vec<u8> {
        let mut back = vec![0; PAGE];
        disk.open("a").unwrap().pread(&mut back, off).unwrap();
        back
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_any_prefix_of_the_rest() {
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let disk = FaultDisk::new(1 << 20, seed);
            let seg = disk.create("a", 4 * PAGE as u64, Fill::Zero).unwrap();
            seg.pwrite(&page(1), 0).unwrap();
            seg.sync().unwrap();
            seg.pwrite(&page(2), 4096).unwrap();
            seg.pwrite(&page(3), 4096).unwrap();
            // A third page, so that the torn write is sometimes another one.
            seg.pwrite(&page(4), 8192).unwrap();
            disk.crash(seed);
            assert!(seg.sync().is_err(), "a handle from before the crash is dead");
            assert_eq!(read(&disk, 0), vec![1; PAGE], "seed {seed}");
            let after = read(&disk, 4096);
            outcomes.insert((after[0], after[PAGE - 1]));
        }
        let all = [(0, 0), (2, 0), (2, 2), (3, 2), (3, 3)];
        assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), all);
    }

    #[test]
    fn a_failed_sync_leaves_old_or_new_on_the_medium_and_a_later_sync_does_not_help() {
        let mut kept = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let disk = FaultDisk::new(1 << 20, seed);
            let seg = disk.create("a", PAGE as u64, Fill::Zero).unwrap();
            seg.pwrite(&page(1), 0).unwrap();
            disk.inject(Fault::SyncFails, 0);
            assert!(seg.sync().is_err());
            seg.sync().unwrap();
            assert_eq!(read(&disk, 0)[0], 1, "the cache still shows the new content");
            disk.crash(seed);
            kept.insert(read(&disk, 0)[0]);
        }
        assert_eq!(kept.into_iter().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn the_same_seed_crashes_the_same_way() {
        let run = |seed| {
            let disk = FaultDisk::new(1 << 20, 5);
            let seg = disk.create("a", 16 * PAGE as u64, Fill::Zero).unwrap();
            for i in 0..16_u8 {
                seg.pwrite(&page(i + 1), u64::from(i) * 4096).unwrap();
            }
            disk.crash(seed);
            (0..16).map(|i| read(&disk, i * 4096)).collect::<Vec<_>>()
        };
        assert_eq!(run(9), run(9));
        assert_ne!(run(9), run(10));
    }
}
