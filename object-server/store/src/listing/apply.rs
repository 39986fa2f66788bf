//! Turns a batch of changes into one write: reads what is there, merges,
//! keeps the totals.
//!
//! Changes of one batch see each other through the stage; nothing leaves it
//! before the batch is durable. A change reads all it needs before it alters
//! anything, so that an error leaves no half of it behind. Called by
//! [`super::commit`] alone.
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use virga_disk::kv::cursor::prefix_end;
use virga_node::clock::Version;
use virga_ring::hash::NameHash;

use super::cache::Heads;
use super::db::{Db, Writes};
use super::fault::{ChangeError, ReadError};
use super::head::{Head, Kind, Report};
use super::keys;
use super::meta::Meta;
use super::op::{Forget, Op, Put, Rows, Target};
use super::row::Value;
use super::state;

/// Room for a typical row, so that encoding allocates once.
const TYPICAL_ROW: usize = 96;

/// A row as of this batch.
#[derive(Default)]
struct Slot {
    value: Option<Vec<u8>>,
    changed: bool,
}

/// A shard as of this batch.
struct Touched {
    head: Head,
    head_changed: bool,
    meta: Option<Meta>,
    meta_changed: bool,
    /// Everything about it was forgotten.
    gone: bool,
}

/// Changes on their way into one write.
pub struct Stage<'a> {
    db: &'a Db,
    heads: &'a Heads,
    cutoff: Version,
    index: HashMap<Vec<u8>, usize>,
    slots: Vec<Slot>,
    shards: HashMap<NameHash, Touched>,
    writes: Writes,
}

/// Heads as of the write; `None` for what is gone.
pub type NewHeads = Vec<(NameHash, Option<Head>)>;

impl<'a> Stage<'a> {
    /// A stage over what is committed. What died before `cutoff` is not taken
    /// in any more.
    pub fn new(db: &'a Db, heads: &'a Heads, cutoff: Version) -> Self {
        Self {
            db,
            heads,
            cutoff,
            index: HashMap::new(),
            slots: Vec::new(),
            shards: HashMap::new(),
            writes: Writes::default(),
        }
    }

    /// Reads the rows under `keys` together; returns their numbers.
    pub fn fetch(&mut self, keys: Vec<Vec<u8>>) -> Result<Vec<usize>, ReadError> {
        let values = self.db.get_many(&keys)?;
        let mut numbers = Vec::with_capacity(keys.len());
        self.index.reserve(keys.len());
        for (key, value) in keys.into_iter().zip(values) {
            let number = match self.index.entry(key) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    self.slots.push(Slot {
                        value,
                        changed: false,
                    });
                    *new.insert(self.slots.len() - 1)
                }
            };
            numbers.push(number);
        }
        Ok(numbers)
    }

    /// Makes one change. `rows` are the numbers of its rows, in their order.
    pub fn apply(&mut self, op: &Op, rows: &[usize]) -> Result<bool, ChangeError> {
        match op {
            Op::Put(target, put) => self.put(*target, put),
            Op::Post(target, version, items) => {
                let cutoff = self.cutoff;
                let touched = self.touch_whole(*target)?;
                let (head, meta) = touched.whole();
                state::post(head, meta, *version, items, cutoff)?;
                touched.changed();
                Ok(false)
            }
            Op::Delete(target, version) => self.delete(*target, *version),
            Op::Rows(target, new) => self.rows(*target, new, rows),
            Op::Reported(marks) => self.reported(marks),
            Op::Forget(forget) => self.forget(forget, rows),
        }
    }

    /// The one write, and the heads to keep in memory once it is durable.
    pub fn finish(mut self) -> Result<(Writes, NewHeads), ChangeError> {
        for (key, slot) in self.index {
            let slot = &mut self.slots[slot];
            if slot.changed {
                self.writes.set(keys::SHARD, key, slot.value.take());
            }
        }
        let mut heads = NewHeads::with_capacity(self.shards.len());
        for (shard, touched) in self.shards {
            if touched.gone {
                self.writes.set(keys::SHARD, keys::head(shard), None);
                self.writes.set(keys::SHARD, keys::meta(shard), None);
                heads.push((shard, None));
                continue;
            }
            if let Some(meta) = touched.meta.filter(|_| touched.meta_changed) {
                let bytes = meta
                    .encode()
                    .map_err(|_| ChangeError::Invalid("metadata cannot be stored"))?;
                self.writes.set(keys::SHARD, keys::meta(shard), Some(bytes));
            }
            if touched.head_changed {
                let bytes = touched
                    .head
                    .encode()
                    .map_err(|_| ChangeError::Invalid("head cannot be stored"))?;
                self.writes.set(keys::SHARD, keys::head(shard), Some(bytes));
                heads.push((shard, Some(touched.head)));
            }
        }
        Ok((self.writes, heads))
    }

    fn put(&mut self, target: Target, put: &Put) -> Result<bool, ChangeError> {
        let cutoff = self.cutoff;
        let touched = self.touch_whole(target)?;
        let before = touched.head.report();
        let (head, meta) = touched.whole();
        head.partition = target.partition;
        if meta.account.is_empty() {
            (meta.account, meta.container) = (put.account.clone(), put.container.clone());
        }
        if head.kind == Kind::Container && put.deleted < put.version {
            state::catch_up(head, meta, put.deleted, cutoff);
        }
        let result = state::put(head, meta, put.version, put.policy, &put.meta, cutoff);
        touched.changed();
        self.note_report(target.shard, before);
        result
    }

    fn delete(&mut self, target: Target, version: Version) -> Result<bool, ChangeError> {
        let cutoff = self.cutoff;
        let head = &self.touch(target)?.head;
        let (before, deleted) = (head.report(), head.deleted);
        state::refuse_delete(head, version)?;
        // Only an account is deleted with live rows in it, which it ends.
        let recount = head.live > 0 && version > deleted;
        let live = if recount {
            self.values(target.shard)?
        } else {
            Vec::new()
        };
        let touched = self.touch_whole(target)?;
        let (head, meta) = touched.whole();
        let result = state::delete(head, meta, version, cutoff);
        if !live.is_empty() {
            head.uncount();
            for value in &live {
                let weight = Value::decode(value).and_then(|value| value.weight(head.deleted));
                weight.into_iter().for_each(|weight| head.recount(weight));
            }
        }
        let now = head.deleted;
        touched.changed();
        if now > deleted {
            self.writes
                .set(keys::TOMB, keys::tomb(now, &target.shard.0), Some(Vec::new()));
        }
        self.note_report(target.shard, before);
        result.map(|()| false)
    }

    fn rows(&mut self, target: Target, new: &Rows, numbers: &[usize]) -> Result<bool, ChangeError> {
        self.touch(target)?;
        for (at, number) in numbers.iter().enumerate() {
            if let Some(bytes) = &self.slots[*number].value {
                let old = Value::decode(bytes).and_then(|old| old.merge(new.value(at)));
                old.ok_or(ChangeError::Damaged("a row"))?;
            }
        }
        let Some(touched) = self.shards.get_mut(&target.shard) else {
            return Ok(false);
        };
        let before = touched.head.report();
        for (at, number) in numbers.iter().enumerate() {
            let (slot, name) = (&mut self.slots[*number], new.name(at));
            let bytes = slot.value.as_deref();
            let old = bytes.and_then(|bytes| Some((bytes, Value::decode(bytes)?)));
            let merged = match old {
                Some((_, old)) => old.merge(new.value(at)).unwrap_or(old),
                None => new.value(at),
            };
            let stale = merged
                .death(touched.head.deleted)
                .is_some_and(|when| when < self.cutoff);
            if old.is_none() && stale || old.is_some_and(|(_, old)| old == merged) {
                continue;
            }
            let mut encoded = Vec::with_capacity(TYPICAL_ROW);
            merged.encode(&mut encoded);
            touched
                .head
                .replace(name.as_bytes(), old, Some((&encoded, merged)));
            touched.head_changed = true;
            let buried = old.and_then(|(_, old)| old.tombstone());
            if let Some(when) = merged.tombstone().filter(|when| Some(*when) != buried) {
                let key = keys::tomb(when, &keys::row(target.shard, name));
                self.writes.set(keys::TOMB, key, Some(Vec::new()));
            }
            (slot.value, slot.changed) = (Some(encoded), true);
        }
        self.note_report(target.shard, before);
        Ok(false)
    }

    fn reported(&mut self, marks: &[(NameHash, u64)]) -> Result<bool, ChangeError> {
        for (shard, changes) in marks {
            let Some(touched) = self.known(*shard)? else {
                self.writes.set(keys::DIRTY, shard.0.to_vec(), None);
                continue;
            };
            if touched.head.changes == *changes && touched.head.reported != *changes {
                touched.head.reported = *changes;
                touched.head_changed = true;
                self.writes.set(keys::DIRTY, shard.0.to_vec(), None);
            }
        }
        Ok(false)
    }

    fn forget(&mut self, forget: &Forget, numbers: &[usize]) -> Result<bool, ChangeError> {
        let mut any = false;
        for (key, number) in forget.rows.iter().zip(numbers) {
            let (Some(shard), cutoff) = (keys::shard(key), self.cutoff) else {
                continue;
            };
            if self.known(shard)?.is_none() {
                continue;
            }
            let (slot, touched) = (&mut self.slots[*number], self.shards.get_mut(&shard));
            let (Some(bytes), Some(touched)) = (slot.value.as_deref(), touched) else {
                continue;
            };
            let value = Value::decode(bytes).ok_or(ChangeError::Damaged("a row"))?;
            if value
                .death(touched.head.deleted)
                .is_some_and(|when| when < cutoff)
            {
                touched
                    .head
                    .replace(&key[keys::NAME..], Some((bytes, value)), None);
                touched.head_changed = true;
                *slot = Slot {
                    value: None,
                    changed: true,
                };
                any = true;
            }
        }
        for key in &forget.tombs {
            let Some((when, row)) = keys::parse_tomb(key) else {
                continue;
            };
            if row.len() > keys::ID || self.bury(NameHash(row.try_into().unwrap_or_default()), when)? {
                self.writes.set(keys::TOMB, key.clone(), None);
                any = true;
            }
        }
        Ok(any)
    }

    /// Forgets a deleted shard once nothing hangs on it. Returns whether the
    /// reminder of the deletion at `when` has done its duty.
    fn bury(&mut self, shard: NameHash, when: Version) -> Result<bool, ChangeError> {
        let cutoff = self.cutoff;
        let Some(touched) = self.known(shard)? else {
            return Ok(true);
        };
        let head = &touched.head;
        if head.exists() || head.deleted != when {
            return Ok(true);
        }
        if head.live > 0 {
            // The deletion never knew of these rows. Whoever deletes the
            // container again leaves a new reminder; until then waiting here
            // would only stand in the way of others.
            return Ok(true);
        }
        let done = head.deleted < cutoff && head.rows == 0 && head.changes == head.reported;
        touched.gone |= done;
        Ok(done)
    }

    /// All rows of a shard as of this batch.
    fn values(&self, shard: NameHash) -> Result<Vec<Vec<u8>>, ReadError> {
        let mut values = Vec::new();
        let rows = keys::row(shard, "");
        let mut cursor = self.db.cursor(keys::SHARD, rows.clone(), prefix_end(&rows))?;
        cursor.first();
        while let Some((key, value)) = cursor.current().map_err(ReadError::from)? {
            if !self.index.contains_key(key) {
                values.push(value.to_vec());
            }
            cursor.step();
        }
        let staged = self.index.iter().filter(|(key, _)| key.starts_with(&rows));
        values.extend(staged.filter_map(|(_, slot)| self.slots[*slot].value.clone()));
        Ok(values)
    }

    /// Marks a container for its account if what the account knows changed.
    fn note_report(&mut self, shard: NameHash, before: Report) {
        let Some(touched) = self.shards.get_mut(&shard) else {
            return;
        };
        let head = &mut touched.head;
        // Without a PUT its names are unknown, and its account cannot be told.
        if head.kind == Kind::Account || head.put == Version(0) || head.report() == before {
            return;
        }
        if head.changes == head.reported {
            self.writes.set(keys::DIRTY, shard.0.to_vec(), Some(Vec::new()));
        }
        head.changes += 1;
        touched.head_changed = true;
    }

    /// The head of a shard as of this batch, new if there is none.
    fn touch(&mut self, target: Target) -> Result<&mut Touched, ChangeError> {
        self.known(target.shard)?;
        let touched = self.shards.entry(target.shard).or_insert_with(|| Touched {
            head: Head::new(target.kind, target.partition),
            head_changed: false,
            meta: None,
            meta_changed: false,
            gone: false,
        });
        if touched.gone {
            // Forgotten earlier in this batch: it starts anew.
            touched.head = Head::new(target.kind, target.partition);
            (touched.meta, touched.gone) = (Some(Meta::default()), false);
            touched.changed();
        }
        if touched.head.kind != target.kind {
            return Err(ChangeError::Invalid("the hash names something of the other kind"));
        }
        Ok(touched)
    }

    /// Head and metadata of a shard as of this batch.
    fn touch_whole(&mut self, target: Target) -> Result<&mut Touched, ChangeError> {
        let db = self.db;
        let touched = self.touch(target)?;
        if touched.meta.is_none() {
            let stored = db.get(&keys::meta(target.shard))?;
            let meta = stored.map(|bytes| Meta::decode(&bytes).ok_or(ChangeError::Damaged("metadata")));
            touched.meta = Some(meta.transpose()?.unwrap_or_default());
        }
        Ok(touched)
    }

    /// The head of a shard as of this batch, if there is one.
    fn known(&mut self, shard: NameHash) -> Result<Option<&mut Touched>, ChangeError> {
        if !self.shards.contains_key(&shard) {
            let head = match self.heads.get(&shard) {
                Some(head) => head.clone(),
                None => match self.db.get(&keys::head(shard))? {
                    Some(bytes) => Head::decode(&bytes).ok_or(ChangeError::Damaged("a head"))?,
                    None => return Ok(None),
                },
            };
            let touched = Touched {
                head,
                head_changed: false,
                meta: None,
                meta_changed: false,
                gone: false,
            };
            self.shards.insert(shard, touched);
        }
        Ok(self.shards.get_mut(&shard).filter(|touched| !touched.gone))
    }
}

impl Touched {
    fn whole(&mut self) -> (&mut Head, &mut Meta) {
        (&mut self.head, self.meta.get_or_insert_default())
    }

    fn changed(&mut self) {
        (self.head_changed, self.meta_changed) = (true, true);
    }
}
