//! Sums over parts of a large shard's rows, so that two replicas find the few
//! rows that differ among millions without reading the others.
//!
//! A part begins with a name whose hash ends in enough zero bits (one in 128)
//! and reaches to the next such name; what lies before the first is summed up
//! nowhere. Which parts there are follows from the names alone, so replicas cut
//! alike, whatever happened before, and a shard of fewer rows has none and
//! costs nothing. Kept by the committer in the write that changes the rows; a
//! name that begins a new part costs a look at the rows of that part.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use virga_disk::kv::cursor::prefix_end;
use virga_object_wire::listing::{PART_LEVEL, begins_part, row_hash};
use virga_ring::hash::NameHash;

use super::db::{Db, Writes};
use super::fault::ReadError;
use super::keys;
use super::row::digest;

/// A row before and after a write, by what it adds to the digest.
pub struct RowChange<'a> {
    /// Its name.
    pub name: &'a str,
    /// Before.
    pub was: Option<u128>,
    /// After.
    pub now: Option<u128>,
}

impl RowChange<'_> {
    fn begins(&self) -> bool {
        begins_part(row_hash(self.name), PART_LEVEL)
    }

    /// Whether parts come or go with the row.
    pub fn cuts(&self) -> bool {
        self.was.is_some() != self.now.is_some() && self.begins()
    }

    fn delta(&self) -> u128 {
        self.now.unwrap_or(0).wrapping_sub(self.was.unwrap_or(0))
    }
}

/// The parts of shards that are being written, in memory: first name and sum.
/// Owned by the committer, which alone writes them. Two generations as in
/// [`super::cache`], so that what is written all the time stays.
#[derive(Default)]
pub struct PartCache {
    young: HashMap<NameHash, Parts>,
    young_size: usize,
    old: HashMap<NameHash, Parts>,
}

/// Parts in one generation, about 100 bytes each: 6 MiB. A single shard may
/// have more, one for 128 rows.
const GENERATION: usize = 64 * 1024;

impl PartCache {
    /// The parts of a shard, read if need be. `any`: there are some.
    fn of(&mut self, db: &Db, shard: NameHash, any: bool) -> Result<&mut Parts, ReadError> {
        if !self.young.contains_key(&shard) {
            let parts = match self.old.remove(&shard) {
                Some(parts) => parts,
                None if any => Parts::read(db, shard)?,
                None => Parts::default(),
            };
            self.young_size += parts.0.len();
            if self.young_size > GENERATION {
                self.old = std::mem::take(&mut self.young);
                self.young_size = parts.0.len();
            }
            self.young.insert(shard, parts);
        }
        Ok(self.young.entry(shard).or_default())
    }

    /// Drops a shard.
    pub fn remove(&mut self, shard: &NameHash) {
        self.young.remove(shard);
        self.old.remove(shard);
    }

    /// Drops everything: after a failed commit the database decides.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Brings the parts of a shard up to date with changed rows, which are in
    /// the order of their names and not yet written. `count` is the number of
    /// parts. What this holds then is true once `writes` is; if that fails it
    /// must be cleared.
    pub fn update(
        &mut self,
        db: &Db,
        shard: NameHash,
        changes: &[RowChange<'_>],
        count: &mut u64,
        writes: &mut Writes,
    ) -> Result<(), ReadError> {
        let parts = self.of(db, shard, *count > 0)?;
        let mut touched: BTreeSet<String> = BTreeSet::new();
        for change in changes {
            if let Some((start, sum)) = parts.floor(change.name) {
                *sum = sum.wrapping_add(change.delta());
                note(&mut touched, start);
            }
            if change.was.is_some() && change.now.is_none() && change.begins() {
                let gone = parts.0.remove(change.name).unwrap_or_default();
                note(&mut touched, change.name);
                if let Some((start, sum)) = parts.floor(change.name) {
                    *sum = sum.wrapping_add(gone);
                    note(&mut touched, start);
                }
            }
        }
        // From the last on, so that each new part ends where the next one begins.
        for change in changes.iter().rev() {
            if change.was.is_none() && change.now.is_some() && change.begins() {
                let sum = parts.sum_from(db, shard, change.name, changes)?;
                if let Some((start, before)) = parts.floor(change.name) {
                    *before = before.wrapping_sub(sum);
                    note(&mut touched, start);
                }
                parts.0.insert(change.name.to_owned(), sum);
                note(&mut touched, change.name);
            }
        }
        for name in touched {
            let sum = parts.0.get(&name).map(|sum| sum.to_le_bytes().to_vec());
            writes.set(keys::PART, keys::part(shard, &name), sum);
        }
        *count = parts.0.len() as u64;
        Ok(())
    }
}

fn note(touched: &mut BTreeSet<String>, name: &str) {
    if !touched.contains(name) {
        touched.insert(name.to_owned());
    }
}

/// The parts of one shard.
#[derive(Default)]
struct Parts(BTreeMap<String, u128>);

impl Parts {
    fn read(db: &Db, shard: NameHash) -> Result<Self, ReadError> {
        let mut cursor = db.cursor(keys::PART, shard.0.to_vec(), prefix_end(&shard.0))?;
        let mut parts = BTreeMap::new();
        cursor.first();
        while let Some((key, value)) = cursor.current()? {
            let part = keys::part_name(key).zip(parse(value));
            let (name, sum) = part.ok_or(ReadError::Damaged("the sum of a part"))?;
            parts.insert(name.to_owned(), sum);
            cursor.step();
        }
        Ok(Self(parts))
    }

    /// The part that holds `name`; `None` before the first part.
    fn floor(&mut self, name: &str) -> Option<(&str, &mut u128)> {
        let upto = (Bound::Unbounded, Bound::Included(name));
        let (start, sum) = self.0.range_mut::<str, _>(upto).next_back()?;
        Some((start, sum))
    }

    /// Sum over the rows from `name` to the next part, as they will be.
    fn sum_from(
        &self,
        db: &Db,
        shard: NameHash,
        name: &str,
        changes: &[RowChange<'_>],
    ) -> Result<u128, ReadError> {
        let behind = (Bound::Excluded(name), Bound::Unbounded);
        let end = self.0.range::<str, _>(behind).next().map(|(end, _)| end.as_str());
        let first = changes.partition_point(|change| change.name < name);
        let changed = changes[first..]
            .iter()
            .take_while(|change| end.is_none_or(|end| change.name < end))
            .filter_map(|change| change.now)
            .fold(0, u128::wrapping_add);
        let unchanged = |name: &str| changes.binary_search_by(|change| change.name.cmp(name)).is_err();
        Ok(changed.wrapping_add(walk(db, shard, name, end, unchanged)?))
    }
}

/// Reads a stored sum.
pub fn parse(value: &[u8]) -> Option<u128> {
    value.try_into().ok().map(u128::from_le_bytes)
}

/// Sum over stored rows from one name, included, to another, left out, that
/// `counts` lets through.
pub fn walk(
    db: &Db,
    shard: NameHash,
    from: &str,
    to: Option<&str>,
    counts: impl Fn(&str) -> bool,
) -> Result<u128, ReadError> {
    let high = to.map_or_else(
        || prefix_end(&keys::row(shard, "")),
        |to| Some(keys::row(shard, to)),
    );
    let mut cursor = db.cursor(keys::SHARD, keys::row(shard, from), high)?;
    let mut sum = 0u128;
    cursor.first();
    while let Some((key, value)) = cursor.current()? {
        let name = keys::name(key).ok_or(ReadError::Damaged("the key of a row"))?;
        if counts(name) {
            sum = sum.wrapping_add(digest(name.as_bytes(), value));
        }
        cursor.step();
    }
    Ok(sum)
}
