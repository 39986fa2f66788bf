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
use virga_object_wire::listing::ListingState;
use virga_ring::hash::NameHash;

use super::cache::Heads;
use super::db::{Db, Writes};
use super::fault::{ChangeError, ReadError};
use super::head::{Head, Kind, Report};
use super::keys;
use super::meta::Meta;
use super::op::{Op, Put, Rows, Target};
use super::parts::{PartCache, RowChange};
use super::row::{Value, digest};
use super::state::{State, refuse_delete};
use super::sys::{self, Horizons};

/// Room for a typical row, so that encoding allocates once.
const TYPICAL_ROW: usize = 96;

/// A row as of this batch.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) value: Option<Vec<u8>>,
    changed: bool,
    /// What it added to the digest before this batch, and adds now; only of
    /// a row that has changed.
    was: Option<u128>,
    now: Option<u128>,
}

impl Slot {
    /// What the row adds to the digest of its shard.
    pub(super) fn digest(&self, name: &[u8]) -> Option<u128> {
        if self.changed {
            self.now
        } else {
            self.value.as_deref().map(|value| digest(name, value))
        }
    }

    /// Replaces the row; `old` and `new` are what it added and adds.
    pub(super) fn replace(&mut self, value: Option<Vec<u8>>, old: Option<u128>, new: Option<u128>) {
        if !self.changed {
            self.was = old;
        }
        (self.value, self.changed, self.now) = (value, true, new);
    }
}

/// A shard as of this batch.
pub(super) struct Touched {
    pub(super) head: Head,
    pub(super) head_changed: bool,
    /// Whether it stands in [`keys::HIDDEN`].
    hidden: bool,
    /// What replicas tell each other has changed.
    pub(super) sum_changed: bool,
    pub(super) meta: Option<Meta>,
    pub(super) meta_changed: bool,
    /// Everything about it was forgotten.
    pub(super) gone: bool,
}

/// Changes on their way into one write.
pub struct Stage<'a> {
    pub(super) db: &'a Db,
    heads: &'a Heads,
    pub(super) now: Version,
    pub(super) horizons: Horizons,
    before: Horizons,
    index: HashMap<Vec<u8>, usize>,
    pub(super) slots: Vec<Slot>,
    pub(super) shards: HashMap<NameHash, Touched>,
    pub(super) writes: Writes,
    pub(super) set_aside: u64,
}

/// Heads as of the write; `None` for what is gone.
pub type NewHeads = Vec<(NameHash, Option<Head>)>;

/// What a stage comes to.
pub struct Staged {
    /// The one write.
    pub writes: Writes,
    /// Heads to keep in memory once it is durable.
    pub heads: NewHeads,
    /// How far deletions are forgotten then.
    pub horizons: Horizons,
    /// Rows, items and heads set aside.
    pub set_aside: u64,
}

impl<'a> Stage<'a> {
    /// A stage over what is committed, at the time `now`. What died up to the
    /// horizon is not taken in any more.
    pub fn new(db: &'a Db, heads: &'a Heads, now: Version, horizons: Horizons) -> Self {
        Self {
            db,
            heads,
            now,
            horizons,
            before: horizons,
            set_aside: 0,
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
                        ..Slot::default()
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
                self.on_state(*target, |state| state.post(*version, items))?;
                Ok(false)
            }
            Op::Delete(target, version) => self.delete(*target, *version),
            Op::Rows(target, new) => self.rows(*target, new, rows),
            Op::Reported(marks) => self.reported(marks),
            Op::Merge(target, told) => self.merge(*target, told),
            Op::Forget(forget) => self.forget(forget, rows),
            Op::Drop(target, sum) => self.drop_shard(*target, *sum),
            Op::SetAside(target, aside) => self.set_aside(*target, aside, rows),
            Op::Horizon(kind, version) => {
                self.horizons.forgot(*kind, *version);
                Ok(false)
            }
            Op::Round(kind, round) => {
                sys::set_round(*kind, round, &mut self.writes);
                Ok(false)
            }
        }
    }

    /// The one write, and the heads to keep in memory once it is durable.
    pub fn finish(mut self, parts: &mut PartCache) -> Result<Staged, ChangeError> {
        self.update_parts(parts)?;
        for (key, slot) in self.index {
            let slot = &mut self.slots[slot];
            if slot.changed {
                self.writes.set(keys::SHARD, key, slot.value.take());
            }
        }
        let mut heads = NewHeads::with_capacity(self.shards.len());
        for (shard, touched) in self.shards {
            let kind = touched.head.kind;
            let hides = touched.head.hides_rows() && !touched.gone;
            if hides != touched.hidden {
                let mark = hides.then(Vec::new);
                self.writes.set(keys::HIDDEN, shard.0.to_vec(), mark);
            }
            if touched.gone || touched.head_changed && touched.head.is_empty() {
                self.writes.set(keys::SHARD, keys::head(shard), None);
                self.writes.set(keys::SHARD, keys::meta(shard), None);
                self.writes.set(keys::INDEX, keys::index(kind, shard), None);
                parts.remove(&shard);
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
                if touched.sum_changed {
                    let sum = touched.head.sum(shard).map(|sum| sum.to_le_bytes().to_vec());
                    self.writes.set(keys::INDEX, keys::index(kind, shard), sum);
                }
                heads.push((shard, Some(touched.head)));
            }
        }
        self.horizons.write(&self.before, &mut self.writes);
        Ok(Staged {
            writes: self.writes,
            heads,
            horizons: self.horizons,
            set_aside: self.set_aside,
        })
    }

    /// Brings the sums over parts of shards up to date.
    fn update_parts(&mut self, parts: &mut PartCache) -> Result<(), ChangeError> {
        let mut by_shard: HashMap<NameHash, Vec<RowChange<'_>>> = HashMap::new();
        for (key, slot) in &self.index {
            let slot = &self.slots[*slot];
            let (Some(shard), Some(name), true) = (keys::shard(key), keys::name(key), slot.changed) else {
                continue;
            };
            let (was, now) = (slot.was, slot.now);
            by_shard
                .entry(shard)
                .or_default()
                .push(RowChange { name, was, now });
        }
        for (shard, mut changes) in by_shard {
            let Some(touched) = self.shards.get_mut(&shard) else {
                continue;
            };
            if touched.head.parts == 0 && !changes.iter().any(RowChange::cuts) {
                continue;
            }
            changes.sort_unstable_by_key(|change| change.name);
            let count = &mut touched.head.parts;
            parts.update(self.db, shard, &changes, count, &mut self.writes)?;
        }
        Ok(())
    }

    fn put(&mut self, target: Target, put: &Put) -> Result<bool, ChangeError> {
        self.on_state(target, |state| {
            state.head.partition = target.partition;
            if state.meta.account.is_empty() {
                state.meta.account.clone_from(&put.account);
                state.meta.container.clone_from(&put.container);
            }
            if state.head.kind == Kind::Container && put.deleted < put.version {
                state.catch_up(put.deleted);
            }
            Ok(state.put(put.version, put.policy, &put.meta))
        })?
    }

    fn delete(&mut self, target: Target, version: Version) -> Result<bool, ChangeError> {
        refuse_delete(&self.touch(target)?.head, version)?;
        let live = self.buried_by(target, version)?;
        let result = self.on_state(target, |state| Ok(state.delete(version)))?;
        self.recount(target, &live);
        result.map(|()| false)
    }

    fn merge(&mut self, target: Target, told: &ListingState) -> Result<bool, ChangeError> {
        let live = self.buried_by(target, told.life.deleted)?;
        self.on_state(target, |state| {
            state.head.partition = target.partition;
            state.merge(told);
            Ok(())
        })?;
        self.recount(target, &live);
        Ok(false)
    }

    /// Changes head and metadata, and leaves reminders of what died. An error
    /// of the change itself, told by `Err`, leaves everything as it was.
    fn on_state<T>(
        &mut self,
        target: Target,
        change: impl FnOnce(&mut State<'_>) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        let (horizon, now) = (self.horizons.of(target.kind), self.now);
        let touched = self.touch_whole(target)?;
        let (before, deleted) = (touched.head.report(), touched.head.deleted);
        let (head, meta) = touched.whole();
        let mut state = State {
            head,
            meta,
            horizon,
            removed: Vec::new(),
        };
        let result = change(&mut state)?;
        let removed = std::mem::take(&mut state.removed);
        touched.changed();
        let newest = touched.head.deleted;
        if newest > deleted {
            self.remind(target.kind, newest, &target.shard.0, now);
        }
        for version in removed {
            self.remind(target.kind, version, &keys::meta(target.shard), now);
        }
        self.note_report(target.shard, before);
        Ok(result)
    }

    /// Leaves a reminder that something was heard to be dead. It counts from
    /// now, not from the deletion: whoever hears of it late holds on to it for
    /// as long as anybody.
    pub(super) fn remind(&mut self, kind: Kind, version: Version, what: &[u8], now: Version) {
        let key = keys::grave(kind, version.max(now), what);
        let value = version.0.to_le_bytes().to_vec();
        self.writes.set(keys::GRAVE, key, Some(value));
    }

    /// The rows that a deletion may end: those of an account that is deleted
    /// with live rows in it.
    fn buried_by(&mut self, target: Target, version: Version) -> Result<Vec<Vec<u8>>, ChangeError> {
        let head = &self.touch(target)?.head;
        if head.kind == Kind::Account && head.live > 0 && version > head.deleted {
            return Ok(self.values(target.shard)?);
        }
        Ok(Vec::new())
    }

    /// Counts live rows anew among these, which are all; none means that none
    /// can have died.
    fn recount(&mut self, target: Target, rows: &[Vec<u8>]) {
        let Some(touched) = self.shards.get_mut(&target.shard).filter(|_| !rows.is_empty()) else {
            return;
        };
        let head = &mut touched.head;
        head.uncount();
        for value in rows {
            let weight = Value::decode(value).and_then(|value| value.weight(head.deleted));
            weight.into_iter().for_each(|weight| head.recount(weight));
        }
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
        let horizon = self.horizons.of(target.kind);
        for (at, number) in numbers.iter().enumerate() {
            let (slot, name) = (&mut self.slots[*number], new.name(at));
            let bytes = slot.value.as_deref();
            let old = bytes.and_then(|bytes| Some((bytes, Value::decode(bytes)?)));
            let merged = match old {
                Some((_, old)) => old.merge(new.value(at)).unwrap_or(old),
                None => new.value(at),
            };
            let forgotten = merged
                .death(touched.head.deleted)
                .is_some_and(|when| when <= horizon);
            if old.is_none() && forgotten || old.is_some_and(|(_, old)| old == merged) {
                continue;
            }
            let mut encoded = Vec::with_capacity(TYPICAL_ROW);
            merged.encode(&mut encoded);
            let was = old.and_then(|(_, value)| Some((slot.digest(name.as_bytes())?, value)));
            let now = digest(name.as_bytes(), &encoded);
            touched.head.replace(was, Some((now, merged)));
            (touched.head_changed, touched.sum_changed) = (true, true);
            let before = old.and_then(|(_, old)| old.death(touched.head.deleted));
            let death = merged.death(touched.head.deleted);
            if let Some(when) = death.filter(|when| Some(*when) != before) {
                let key = keys::grave(target.kind, when.max(self.now), &keys::row(target.shard, name));
                let value = when.0.to_le_bytes().to_vec();
                self.writes.set(keys::GRAVE, key, Some(value));
            }
            let was = was.map(|(digest, _)| digest);
            slot.replace(Some(encoded), was, Some(now));
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

    /// All rows of a shard as of this batch.
    pub(super) fn values(&self, shard: NameHash) -> Result<Vec<Vec<u8>>, ReadError> {
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
    pub(super) fn note_report(&mut self, shard: NameHash, before: Report) {
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
    pub(super) fn touch(&mut self, target: Target) -> Result<&mut Touched, ChangeError> {
        self.known(target.shard)?;
        let touched = self.shards.entry(target.shard).or_insert_with(|| Touched {
            head: Head::new(target.kind, target.partition),
            head_changed: false,
            hidden: false,
            sum_changed: false,
            meta: None,
            meta_changed: false,
            gone: false,
        });
        if touched.gone {
            // Forgotten earlier in this batch: it starts anew, but for the
            // parts, whose rows go with this batch.
            let parts = touched.head.parts;
            touched.head = Head::new(target.kind, target.partition);
            touched.head.parts = parts;
            (touched.meta, touched.gone) = (Some(Meta::default()), false);
            touched.changed();
        }
        if touched.head.kind != target.kind {
            return Err(ChangeError::Invalid("the hash names something of the other kind"));
        }
        Ok(touched)
    }

    /// Head and metadata of a shard as of this batch.
    pub(super) fn touch_whole(&mut self, target: Target) -> Result<&mut Touched, ChangeError> {
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
    pub(super) fn known(&mut self, shard: NameHash) -> Result<Option<&mut Touched>, ChangeError> {
        if !self.shards.contains_key(&shard) {
            let head = match self.heads.get(&shard) {
                Some(head) => head.clone(),
                None => match self.db.get(&keys::head(shard))? {
                    Some(bytes) => Head::decode(&bytes).ok_or(ChangeError::Damaged("a head"))?,
                    None => return Ok(None),
                },
            };
            let touched = Touched {
                hidden: head.hides_rows(),
                head,
                head_changed: false,
                sum_changed: false,
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
    pub(super) fn whole(&mut self) -> (&mut Head, &mut Meta) {
        (&mut self.head, self.meta.get_or_insert_default())
    }

    pub(super) fn changed(&mut self) {
        (self.head_changed, self.sum_changed, self.meta_changed) = (true, true, true);
    }
}
