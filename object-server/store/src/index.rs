//! The index of a device: RocksDB without a log of its own, derived from the
//! segments and never ahead of them (invariant I2).
//!
//! Entries are changed under one lock per device ([`Index::lock`]), which also
//! guards what is derived in memory. Opened by [`crate::device`], written by
//! [`crate::apply`], compaction and quarantine.
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use virga_disk::kv::cursor::{Bounds, Cursor};
use virga_disk::kv::{Durability, FamilyOptions, Kv, KvBatch, KvCache, KvError, KvOptions, Wal};
use virga_disk::segment::{Position, Stream};
use virga_ring::Partition;

use crate::change::{Change, Written};
use crate::digest::{self, PartitionSums, Sum};
use crate::entry::Entry;
use crate::keys::{self, NameKey, WORK_LEN};
use crate::live::{Live, LiveMap};
use crate::sys::{self, Totals};

/// Settled debts that wait for the next write of a committer; with more, the
/// one who settles writes them.
const SETTLED_WAITING: usize = 1024;
/// Partitions whose sums are added up while writers wait: some 256 keys each.
const ADDED_AT_ONCE: usize = 16;
/// Memtable of one family in bytes; idle families take next to nothing.
const WRITE_BUFFER: usize = 8 << 20;

/// What is derived from entries and kept in memory, beside positions.
#[derive(Default)]
struct Memory {
    live: LiveMap,
    sums: PartitionSums,
    totals: Totals,
    applied: HashMap<Stream, Position>,
}

/// The index of one device.
pub struct Index {
    kv: Kv,
    memory: Mutex<Memory>,
    settled: Mutex<Vec<[u8; WORK_LEN]>>,
    /// Log bytes applied since the last flush.
    unflushed: AtomicU64,
    /// Whether lookups are likely to need the device.
    cold: AtomicBool,
}

/// Why an index cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenIndexError {
    /// A newer version of the software wrote it.
    #[error(
        "it is of format {0}, and {newest} is the newest that can be read; \
         with its folder deleted it is built anew",
        newest = sys::FORMAT
    )]
    Newer(u32),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] KvError),
}

/// The right to change entries.
pub struct IndexLock<'a> {
    index: &'a Index,
    memory: MutexGuard<'a, Memory>,
}

fn add_live(value: Option<&[u8]>, operands: &mut dyn Iterator<Item = &[u8]>) -> Option<Vec<u8>> {
    let mut sum = value.map_or(Some(Live::default()), Live::decode)?;
    for operand in operands {
        sum = sum.plus(Live::decode(operand)?);
    }
    Some(sum.encode().to_vec())
}

fn add_sum(value: Option<&[u8]>, operands: &mut dyn Iterator<Item = &[u8]>) -> Option<Vec<u8>> {
    let mut sum = value.map_or(Some(Sum::default()), Sum::decode)?;
    for operand in operands {
        sum = sum.plus(Sum::decode(operand)?);
    }
    Some(sum.encode().to_vec())
}

fn damaged(what: &str) -> KvError {
    KvError::Damaged(format!("{what} cannot be read"))
}

fn families() -> [FamilyOptions; 6] {
    [
        FamilyOptions::plain(keys::OBJ.0).often_missed(),
        FamilyOptions::plain(keys::DUE.0),
        FamilyOptions::plain(keys::WORK.0),
        FamilyOptions::merging(keys::DIG.0, "virga.sum.1", add_sum),
        FamilyOptions::merging(keys::SEG.0, "virga.live.1", add_live),
        FamilyOptions::merging(keys::SYS.0, "virga.live.1", add_live),
    ]
}

fn options(cache: &KvCache) -> KvOptions {
    KvOptions {
        write_buffer: WRITE_BUFFER,
        ..KvOptions::new(Wal::Off, cache.clone())
    }
}

/// Whether an index is of this format, finished or not. One that has nothing in
/// it yet is begun by this.
fn is_readable(kv: &Kv) -> Result<bool, OpenIndexError> {
    let whole = kv.get(keys::SYS, sys::WHOLE)?;
    let format = match whole {
        None => kv.get(keys::SYS, sys::BEGUN)?,
        whole => whole,
    };
    let Some(format) = format else {
        let mut cursor = kv.cursor(keys::SYS, Bounds::all())?;
        cursor.first();
        let fresh = cursor.current()?.is_none();
        if fresh {
            let mut batch = kv.batch();
            batch.put(keys::SYS, sys::BEGUN, &sys::encode_format(sys::FORMAT));
            kv.write(batch, Durability::Buffered)?;
        }
        return Ok(fresh);
    };
    match sys::decode_format(&format) {
        Some(newer) if newer > sys::FORMAT => Err(OpenIndexError::Newer(newer)),
        format => Ok(format == Some(sys::FORMAT)),
    }
}

impl Memory {
    /// What the index says.
    fn load(kv: &Kv) -> Result<Self, KvError> {
        let mut memory = Self::default();
        let mut rows = Vec::new();
        let mut cursor = kv.cursor(keys::SEG, Bounds::all())?;
        cursor.first();
        while let Some((key, value)) = cursor.current()? {
            rows.push((
                keys::be64(key),
                Live::decode(value).ok_or_else(|| damaged("live bytes"))?,
            ));
            cursor.step();
        }
        memory.live = LiveMap::load(rows.into_iter().filter(|(_, live)| *live != Live::default()));
        if let Some(bytes) = kv.get(keys::SYS, Totals::KEY)? {
            memory.totals = Totals::decode(&bytes).ok_or_else(|| damaged("totals"))?;
        }
        for stream in Stream::ALL {
            if let Some(bytes) = kv.get(keys::SYS, &sys::applied(stream))? {
                let position = sys::decode_position(&bytes).ok_or_else(|| damaged("a position"))?;
                memory.applied.insert(stream, position);
            }
        }
        Ok(memory)
    }
}

impl Index {
    /// Opens the index at `path`. One that is of an older format is started anew,
    /// and so is one whose files are damaged: the log brings everything back. One
    /// that was never finished is gone on with.
    ///
    /// # Errors
    /// A newer format, and what the database says, damage excepted.
    pub fn open(path: &Path, cache: &KvCache) -> Result<Self, OpenIndexError> {
        match Self::read(Kv::open(path, &options(cache), &families())) {
            Ok(Some(index)) => return Ok(index),
            Ok(None) => {
                tracing::warn!(path = %path.display(), "the index is of an older format, building it anew");
            }
            Err(OpenIndexError::Database(KvError::Damaged(why))) => {
                tracing::error!(path = %path.display(), why, "the index is damaged, building it anew");
            }
            Err(error) => return Err(error),
        }
        Self::anew(path, cache)
    }

    /// Throws away what is at `path` and begins with nothing.
    ///
    /// # Errors
    /// What the database says.
    pub fn anew(path: &Path, cache: &KvCache) -> Result<Self, OpenIndexError> {
        let kv = Kv::open_anew(path, &options(cache), &families());
        Ok(Self::read(kv)?.ok_or_else(|| damaged("a new index"))?)
    }

    /// A segment in which something lives and that is none of those `known`.
    pub fn lost_segment(&self, known: impl Fn(u64) -> bool) -> Option<u64> {
        self.memory()
            .live
            .segments()
            .copied()
            .find(|segment| !known(*segment))
    }

    /// `None` if what is there is to be built anew.
    fn read(opened: Result<Kv, KvError>) -> Result<Option<Self>, OpenIndexError> {
        let kv = opened?;
        // Before anything else is read: it may mean something else.
        if !is_readable(&kv)? {
            return Ok(None);
        }
        Ok(Some(Self {
            memory: Mutex::new(Memory::load(&kv)?),
            kv,
            settled: Mutex::default(),
            unflushed: AtomicU64::new(0),
            cold: AtomicBool::new(false),
        }))
    }

    /// Whether its files contradict themselves: it is built anew when it is opened
    /// the next time.
    pub fn is_damaged(&self) -> bool {
        self.kv.is_damaged()
    }

    /// Says that something in it makes no sense.
    pub fn condemn(&self) {
        self.kv.condemn();
    }

    /// Whether everything that was in the log when the index was made has been
    /// applied to it.
    ///
    /// # Errors
    /// What the database says.
    pub fn is_whole(&self) -> Result<bool, KvError> {
        Ok(self.kv.get(keys::SYS, sys::WHOLE)?.is_some())
    }

    /// Notes, durably, that the index is whole.
    ///
    /// # Errors
    /// What the database says.
    pub fn set_whole(&self) -> Result<(), KvError> {
        let mut batch = self.kv.batch();
        batch.put(keys::SYS, sys::WHOLE, &sys::encode_format(sys::FORMAT));
        batch.delete(keys::SYS, sys::BEGUN);
        self.kv.write(batch, Durability::Buffered)?;
        self.flush()
    }

    /// How far a stream is applied.
    pub fn applied(&self, stream: Stream) -> Option<Position> {
        self.memory().applied.get(&stream).copied()
    }

    /// The entry of a name.
    ///
    /// # Errors
    /// What the database says, or that the entry cannot be read.
    pub fn entry(&self, name: &NameKey) -> Result<Option<Entry>, KvError> {
        match self.kv.get_with(keys::OBJ, &name.0, Entry::decode)? {
            None => Ok(None),
            Some(Ok(entry)) => Ok(Some(entry)),
            Some(Err(bad)) => Err(KvError::Damaged(bad.to_string())),
        }
    }

    /// A cursor over a family.
    ///
    /// # Errors
    /// What the database says.
    pub fn cursor(&self, family: virga_disk::kv::Family, bounds: Bounds) -> Result<Cursor<'_>, KvError> {
        self.kv.cursor(family, bounds)
    }

    /// An empty write.
    pub fn batch(&self) -> KvBatch<'_> {
        self.kv.batch()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the right to change entries; others wait.
    pub fn lock(&self) -> IndexLock<'_> {
        IndexLock {
            index: self,
            memory: self.memory(),
        }
    }

    /// What lives in a segment.
    pub fn live(&self, segment: u64) -> Live {
        self.memory().live.of(segment)
    }

    /// Objects and their bytes.
    pub fn totals(&self) -> Totals {
        self.memory().totals
    }

    /// Digest sums of a partition's buckets that hold anything, by bucket.
    ///
    /// # Errors
    /// What the database says.
    pub fn digests(&self, policy: u32, partition: Partition) -> Result<Vec<(u8, Sum)>, KvError> {
        let mut found = Vec::new();
        let bounds = Bounds::prefix(keys::partition(policy, partition));
        let mut cursor = self.kv.cursor(keys::DIG, bounds)?;
        cursor.first();
        while let Some((key, value)) = cursor.current()? {
            let sum = Sum::decode(value).ok_or_else(|| damaged("a digest"))?;
            if sum != Sum::default() {
                found.push((key.last().copied().unwrap_or_default(), sum));
            }
            cursor.step();
        }
        Ok(found)
    }

    /// Adds up the sums of more partitions, [`ADDED_AT_ONCE`] at most, so that
    /// writers do not wait long; says whether all are done.
    fn add_up(&self) -> Result<bool, KvError> {
        let mut memory = self.memory();
        let Some(next) = memory.sums.upto.map_or(Some(0), |upto| upto.checked_add(1)) else {
            return Ok(true);
        };
        let mut cursor = self.kv.cursor(keys::DIG, Bounds::all())?;
        cursor.seek(&next.to_be_bytes());
        let mut sums: Vec<(u64, Sum)> = Vec::new();
        let mut done = true;
        while let Some((key, value)) = cursor.current()? {
            let place = keys::be64(key);
            let sum = Sum::decode(value).ok_or_else(|| damaged("a digest"))?;
            if sums.last().is_none_or(|(last, _)| *last != place) {
                if sums.len() == ADDED_AT_ONCE {
                    done = false;
                    break;
                }
                sums.push((place, Sum::default()));
            }
            if let Some((_, all)) = sums.last_mut() {
                *all = all.plus(sum);
            }
            cursor.step();
        }
        let upto = sums.last().map(|(place, _)| *place).filter(|_| !done);
        memory.sums.upto = Some(upto.unwrap_or(u64::MAX));
        for (place, sum) in sums {
            memory.sums.add(place, sum);
        }
        Ok(done)
    }

    /// Sums of partitions, zero for one without names. May take a while the
    /// first time.
    ///
    /// # Errors
    /// What the database says.
    pub fn sums(&self, policy: u32, partitions: &[Partition]) -> Result<Vec<Sum>, KvError> {
        while !self.add_up()? {}
        let memory = self.memory();
        let sum = |partition: &Partition| memory.sums.of(digest::place(policy, *partition));
        Ok(partitions
            .iter()
            .map(|partition| sum(partition).unwrap_or_default())
            .collect())
    }

    /// Partitions of a policy that hold anything, with their sums. May take a
    /// while the first time.
    ///
    /// # Errors
    /// What the database says.
    pub fn held(&self, policy: u32) -> Result<Vec<(Partition, Sum)>, KvError> {
        while !self.add_up()? {}
        Ok(self.memory().sums.held(policy).collect())
    }

    /// Whether a debt stands.
    ///
    /// # Errors
    /// What the database says.
    pub fn owes(&self, debt: &[u8; WORK_LEN]) -> Result<bool, KvError> {
        self.write_settled()?;
        Ok(self.kv.get(keys::WORK, debt)?.is_some())
    }

    /// A value of `sys`.
    ///
    /// # Errors
    /// What the database says.
    pub fn noted(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.kv.get(keys::SYS, key)
    }

    /// Takes note of debts that are paid: they go with the next write.
    ///
    /// # Errors
    /// What the database says, when so many wait that they are written here.
    pub fn settle(&self, debts: impl Iterator<Item = [u8; WORK_LEN]>) -> Result<(), KvError> {
        let waiting = {
            let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
            settled.extend(debts);
            settled.len()
        };
        if waiting >= SETTLED_WAITING {
            self.write_settled()
        } else {
            Ok(())
        }
    }

    fn take_settled(&self) -> Vec<[u8; WORK_LEN]> {
        std::mem::take(&mut *self.settled.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts the waiting settlements into a write.
    pub fn pay_settled(&self, change: &mut Change<'_>) {
        self.take_settled().iter().for_each(|key| change.forget(key));
    }

    /// Writes the waiting settlements.
    ///
    /// # Errors
    /// What the database says.
    pub fn write_settled(&self) -> Result<(), KvError> {
        let settled = self.take_settled();
        if settled.is_empty() {
            return Ok(());
        }
        let mut batch = self.kv.batch();
        settled.iter().for_each(|key| batch.delete(keys::WORK, key));
        self.kv.write(batch, Durability::Buffered)
    }

    /// Makes the index durable as it is now. Blocks on the device.
    ///
    /// # Errors
    /// What the database says.
    pub fn flush(&self) -> Result<(), KvError> {
        self.write_settled()?;
        let bytes = self.unflushed.load(Ordering::Relaxed);
        self.kv.flush()?;
        self.unflushed.fetch_sub(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Log bytes that replay would have to go through.
    pub fn unflushed(&self) -> u64 {
        self.unflushed.load(Ordering::Relaxed)
    }

    /// Whether lookups are likely to need the device: then they are not made
    /// on a thread of the runtime.
    pub fn is_cold(&self) -> bool {
        self.cold.load(Ordering::Relaxed)
    }

    /// Measures the index against the cache it has.
    ///
    /// # Errors
    /// What the database says.
    pub fn measure(&self, cache_bytes: u64) -> Result<(), KvError> {
        self.cold
            .store(self.kv.sizes()?.tables > cache_bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl IndexLock<'_> {
    /// Writes a finished change; `bytes` of log it comes from.
    ///
    /// # Errors
    /// What the database says; the memory is then as before.
    pub fn write(&mut self, written: Written<'_>, bytes: u64) -> Result<(), KvError> {
        self.index.kv.write(written.batch, Durability::Buffered)?;
        for (segment, change) in written.live {
            self.memory.live.add(segment, change);
        }
        for (place, change) in written.sums {
            self.memory.sums.add(place, change);
        }
        self.memory.totals.objects += written.totals.objects;
        self.memory.totals.bytes += written.totals.bytes;
        if let Some((stream, position)) = written.applied {
            self.memory.applied.insert(stream, position);
        }
        self.index.unflushed.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}
