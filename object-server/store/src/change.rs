//! One write of the index in the making.
//!
//! Whoever changes entries (the committers in [`crate::apply`], compaction,
//! quarantine) says old and new through [`Change`]; everything derived from
//! entries (expiry queue, digests, live bytes, totals) follows in the same
//! write, so none can drift from the entries.
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use virga_disk::kv::{KvBatch, KvError};
use virga_disk::segment::{Position, Stream};
use virga_node::clock::Version;

use crate::digest::{self, Sum};
use crate::entry::Entry;
use crate::index::Index;
use crate::keys::{self, NameKey};
use crate::live::{Live, LiveDelta};
use crate::sys::{self, Totals};

/// Name hashes are uniform already: eight of their bytes are the hash.
#[derive(Default)]
pub struct NameHasher(u64);

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes
            .iter()
            .rev()
            .take(8)
            .fold(self.0, |sum, byte| sum.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_usize(&mut self, _length_prefix: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Entries changed but not yet written, so that a second record of the same
/// name in one batch sees the first.
type Pending = HashMap<NameKey, Option<Entry>, BuildHasherDefault<NameHasher>>;

/// One write of the index in the making; hold the apply lock while it lives.
pub struct Change<'a> {
    index: &'a Index,
    batch: KvBatch<'a>,
    pending: Pending,
    live: LiveDelta,
    sums: Vec<(u64, Sum)>,
    totals: Totals,
    applied: Option<(Stream, Position)>,
    scratch: Vec<u8>,
}

/// What a finished [`Change`] hands over to be written.
pub struct Written<'a> {
    /// The write.
    pub batch: KvBatch<'a>,
    /// Changes of live bytes, for the copy in memory.
    pub live: Vec<(u64, Live)>,
    /// Changes of partitions' sums, for the copy in memory.
    pub sums: Vec<(u64, Sum)>,
    /// Change of the totals, for the copy in memory.
    pub totals: Totals,
    /// The position it brings a stream to.
    pub applied: Option<(Stream, Position)>,
}

impl<'a> Change<'a> {
    /// Nothing changed yet.
    pub fn new(index: &'a Index) -> Self {
        Self {
            index,
            batch: index.batch(),
            pending: Pending::default(),
            live: LiveDelta::default(),
            sums: Vec::new(),
            totals: Totals::default(),
            applied: None,
            scratch: Vec::with_capacity(160),
        }
    }

    /// The entry of a name as this change leaves it.
    ///
    /// # Errors
    /// What the index says, or that the stored entry cannot be read.
    pub fn entry(&self, name: &NameKey) -> Result<Option<Entry>, KvError> {
        match self.pending.get(name) {
            Some(entry) => Ok(entry.clone()),
            None => self.index.entry(name),
        }
    }

    /// Replaces the entry of a name (`None` removes it); `old` is what
    /// [`Change::entry`] said.
    pub fn replace(&mut self, name: NameKey, old: Option<&Entry>, new: Option<Entry>) {
        let due_before = due_of(old);
        let due_after = due_of(new.as_ref());
        if due_before != due_after {
            if let Some(at) = due_before {
                self.batch.delete(keys::DUE, &keys::due(at, &name));
            }
            if let Some(at) = due_after {
                self.batch.put(keys::DUE, &keys::due(at, &name), &[]);
            }
        }
        let mut sum = Sum::default();
        let before = Totals::of(old);
        let after = Totals::of(new.as_ref());
        self.totals.objects += after.objects - before.objects;
        self.totals.bytes += after.bytes - before.bytes;
        if let Some(old) = old {
            sum = sum.minus(digest::of(&name, old));
            self.live.count(old.keeps(), -1);
        }
        if let Some(new) = &new {
            sum = sum.plus(digest::of(&name, new));
            self.live.count(new.keeps(), 1);
            self.scratch.clear();
            new.encode(&mut self.scratch);
            self.batch.put(keys::OBJ, &name.0, &self.scratch);
        } else {
            self.batch.delete(keys::OBJ, &name.0);
        }
        if sum != Sum::default() {
            self.batch.merge(keys::DIG, &keys::digest(&name), &sum.encode());
            self.sums
                .push((digest::place(name.policy(), name.partition()), sum));
        }
        self.pending.insert(name, new);
    }

    /// Notes that the container of a name is owed the row of `version`.
    pub fn owe_row(&mut self, name: &NameKey, version: Version) {
        self.batch.put(keys::WORK, &keys::work(name, version), &[]);
    }

    /// Writes a value of `sys`.
    pub fn note(&mut self, key: &[u8], value: &[u8]) {
        self.batch.put(keys::SYS, key, value);
    }

    /// Forgets a debt.
    pub fn forget(&mut self, key: &[u8]) {
        self.batch.delete(keys::WORK, key);
    }

    /// Notes how far a stream is applied.
    pub fn applied(&mut self, stream: Stream, position: Position) {
        self.batch
            .put(keys::SYS, &sys::applied(stream), &sys::encode_position(position));
        self.applied = Some((stream, position));
    }

    /// Adds the derived sums and hands the write over.
    pub fn finish(mut self) -> Written<'a> {
        let live: Vec<_> = self
            .live
            .drain()
            .filter(|(_, change)| *change != Live::default())
            .collect();
        for (segment, change) in &live {
            self.batch
                .merge(keys::SEG, &segment.to_be_bytes(), &change.encode());
        }
        if self.totals != Totals::default() {
            self.batch.merge(keys::SYS, Totals::KEY, &self.totals.encode());
        }
        Written {
            batch: self.batch,
            live,
            sums: self.sums,
            totals: self.totals,
            applied: self.applied,
        }
    }
}

/// The second an entry waits for in `due`.
fn due_of(entry: Option<&Entry>) -> Option<u64> {
    entry
        .filter(|entry| entry.object().is_some())
        .and_then(|entry| entry.delete_at)
}
