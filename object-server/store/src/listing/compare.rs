//! What a device tells others, and finds out about itself, so that replicas
//! can be compared: sums of partitions, of shards, of parts of a shard, and
//! single rows in few bytes. Called by [`super::replicas`].
//!
//! Every answer is of one moment, but several are not: what changes between
//! them is found by the next comparison.
use virga_disk::kv::cursor::prefix_end;
use virga_object_wire::listing::{
    ContainerRow, ListingState, ListingSum, ObjectRow, PART_LEVEL, PartSum, PartSums, RowRange, RowSum,
    begins_part, row_hash,
};
use virga_ring::Partition;
use virga_ring::hash::NameHash;

use super::db::Db;
use super::fault::ReadError;
use super::head::{Head, Kind};
use super::keys;
use super::op::Rows;
use super::parts::{parse, walk};
use super::read;
use super::row::{Listed, Value, digest};

/// Most parts told in one answer; more are told as fewer, larger ones.
const MAX_PARTS: usize = 4096;

/// Sum over the shards of each partition of a ring with 2^`power` of them.
pub fn sums(db: &Db, kind: Kind, power: u8, partitions: &[Partition]) -> Result<Vec<u128>, ReadError> {
    let mut cursor = db.cursor(
        keys::INDEX,
        vec![keys::kind_byte(kind)],
        Some(keys::index_end(kind)),
    )?;
    let mut sums = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let (low, high) = bounds(kind, power, *partition)?;
        cursor.seek(&low);
        let mut sum = 0u128;
        while let Some((_, value)) = cursor.current()?.filter(|(key, _)| *key < &high[..]) {
            sum = sum.wrapping_add(parse(value).ok_or(ReadError::Damaged("the sum of a shard"))?);
            cursor.step();
        }
        sums.push(sum);
    }
    Ok(sums)
}

/// At most `limit` shards of a partition behind `after`, in the order of their
/// hash.
pub fn shards(
    db: &Db,
    kind: Kind,
    (power, partition): (u8, Partition),
    after: Option<NameHash>,
    limit: usize,
) -> Result<Vec<ListingSum>, ReadError> {
    let (low, high) = bounds(kind, power, partition)?;
    let low = after.map_or(low, |after| [&keys::index(kind, after)[..], &[0]].concat());
    let mut cursor = db.cursor(keys::INDEX, low, Some(high))?;
    let mut found = Vec::new();
    cursor.first();
    while let Some((key, value)) = cursor.current()?.filter(|_| found.len() < limit) {
        let sum = keys::indexed(key).zip(parse(value));
        let (hash, sum) = sum.ok_or(ReadError::Damaged("the sum of a shard"))?;
        found.push(ListingSum { hash, sum });
        cursor.step();
    }
    Ok(found)
}

/// The sum of what is known of a shard; `None` for nothing.
pub fn sum(db: &Db, kind: Kind, shard: NameHash) -> Result<Option<u128>, ReadError> {
    let stored = db.get_from(keys::INDEX, &keys::index(kind, shard))?;
    let sum = stored.map(|value| parse(&value).ok_or(ReadError::Damaged("the sum of a shard")));
    sum.transpose()
}

/// At most `limit` deleted containers with live rows behind `after`.
pub fn hidden(db: &Db, after: Option<NameHash>, limit: usize) -> Result<Vec<NameHash>, ReadError> {
    let low = after.map_or_else(Vec::new, |after| [&after.0[..], &[0]].concat());
    let mut cursor = db.cursor(keys::HIDDEN, low, None)?;
    let mut found = Vec::new();
    cursor.first();
    while let Some((key, _)) = cursor.current()?.filter(|_| found.len() < limit) {
        found.push(keys::shard(key).ok_or(ReadError::Damaged("the mark of a hidden container"))?);
        cursor.step();
    }
    Ok(found)
}

/// At most `limit` partitions from `first` on that this device has shards of,
/// with their sums.
pub fn occupied(
    db: &Db,
    kind: Kind,
    power: u8,
    first: u64,
    limit: usize,
) -> Result<Vec<(Partition, u128)>, ReadError> {
    let Some(low) = keys::partition(kind, power, first) else {
        return Ok(Vec::new());
    };
    let mut cursor = db.cursor(keys::INDEX, low, Some(keys::index_end(kind)))?;
    let mut found: Vec<(Partition, u128)> = Vec::new();
    cursor.first();
    while let Some((key, value)) = cursor.current()? {
        let sum = keys::indexed(key).zip(parse(value));
        let (hash, sum) = sum.ok_or(ReadError::Damaged("the sum of a shard"))?;
        let partition = partition_of(hash, power);
        if let Some((_, total)) = found.last_mut().filter(|(last, _)| *last == partition) {
            *total = total.wrapping_add(sum);
        } else if found.len() == limit {
            break;
        } else {
            found.push((partition, sum));
        }
        cursor.step();
    }
    Ok(found)
}

/// The partition of a hash in a ring with 2^`power` of them.
fn partition_of(hash: NameHash, power: u8) -> Partition {
    let mut first = [0; 4];
    first.copy_from_slice(&hash.0[..4]);
    let bits = u64::from(u32::from_be_bytes(first));
    // The shift leaves at most 32 bits.
    Partition((bits >> (32 - u32::from(power.min(32)))) as u32)
}

fn bounds(kind: Kind, power: u8, partition: Partition) -> Result<(Vec<u8>, Vec<u8>), ReadError> {
    let first = u64::from(partition.0);
    let low = keys::partition(kind, power, first);
    let low = low.ok_or(ReadError::Invalid("no such partition"))?;
    let high = keys::partition(kind, power, first + 1);
    Ok((low, high.unwrap_or_else(|| keys::index_end(kind))))
}

/// What is known of a shard beside its rows; `None` if nothing.
pub fn state(db: &Db, kind: Kind, shard: NameHash) -> Result<Option<ListingState>, ReadError> {
    state_if(db, shard, |head| head.kind == kind)
}

/// The same of a deleted container with live rows; `None` if it is none now.
pub fn hidden_state(db: &Db, shard: NameHash) -> Result<Option<ListingState>, ReadError> {
    state_if(db, shard, Head::hides_rows)
}

fn state_if(
    db: &Db,
    shard: NameHash,
    wanted: impl FnOnce(&Head) -> bool,
) -> Result<Option<ListingState>, ReadError> {
    let mut cursor = db.cursor(keys::SHARD, keys::head(shard), Some(keys::row(shard, "")))?;
    let Some(head) = read::head(&mut cursor, shard)?.filter(wanted) else {
        return Ok(None);
    };
    let meta = read::meta(&mut cursor, shard)?;
    let items = meta.items();
    Ok(Some(ListingState {
        life: head.life(),
        meta: items,
        rows: head.rows,
        digest: head.digest,
        account: meta.account,
        container: meta.container,
    }))
}

/// A part with the name it begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPart {
    /// First name: that of the range for its first part.
    pub from: String,
    /// [`row_hash`] of it, zero for the first part, and the sum.
    pub part: PartSum,
}

/// A range of rows cut into the parts of `level`, which grows as far as the
/// bound on their number needs it to.
pub fn parts(
    db: &Db,
    shard: NameHash,
    range: &RowRange,
    level: u8,
) -> Result<(u8, Vec<NamedPart>), ReadError> {
    let mut level = level.max(PART_LEVEL);
    let mut parts = Cut::new(db, shard, range)?.run(level)?;
    while parts.len() > MAX_PARTS {
        level += 1;
        let mut coarse: Vec<NamedPart> = Vec::with_capacity(parts.len() / 2 + 1);
        for part in parts {
            match coarse.last_mut() {
                Some(last) if !begins_part(part.part.start, level) => {
                    last.part.sum = last.part.sum.wrapping_add(part.part.sum);
                }
                _ => coarse.push(part),
            }
        }
        parts = coarse;
    }
    Ok((level, parts))
}

/// What [`parts`] of this device looks like to others.
pub fn told((level, parts): (u8, Vec<NamedPart>)) -> PartSums {
    PartSums {
        level,
        parts: parts.into_iter().map(|part| part.part).collect(),
    }
}

/// Cuts a range by the stored parts, walking rows where it begins or ends
/// within one.
struct Cut<'a> {
    db: &'a Db,
    shard: NameHash,
    range: &'a RowRange,
    /// Start and sum of the stored part that is being read.
    open: Option<(String, u128)>,
}

impl<'a> Cut<'a> {
    fn new(db: &'a Db, shard: NameHash, range: &'a RowRange) -> Result<Self, ReadError> {
        if range.to.as_ref().is_some_and(|to| *to <= range.from) {
            return Err(ReadError::Invalid("a range of rows ends before it begins"));
        }
        Ok(Self {
            db,
            shard,
            range,
            open: None,
        })
    }

    fn run(mut self, level: u8) -> Result<Vec<NamedPart>, ReadError> {
        let (range, shard) = (self.range, self.shard);
        let mut cursor = self
            .db
            .cursor(keys::PART, keys::part(shard, &range.from), prefix_end(&shard.0))?;
        let mut parts = vec![NamedPart {
            from: range.from.clone(),
            part: PartSum { start: 0, sum: 0 },
        }];
        let mut end = None;
        cursor.first();
        while let Some((key, value)) = cursor.current()? {
            let part = keys::part_name(key).zip(parse(value));
            let (name, sum) = part.ok_or(ReadError::Damaged("the sum of a part"))?;
            if range.to.as_deref().is_some_and(|to| name >= to) {
                end = Some(name.to_owned());
                break;
            }
            let closed = self.close(Some(name), &range.from)?;
            add(&mut parts, closed);
            let start = row_hash(name);
            if begins_part(start, level) && name != range.from {
                let from = name.to_owned();
                let part = PartSum { start, sum: 0 };
                parts.push(NamedPart { from, part });
            }
            self.open = Some((name.to_owned(), sum));
            cursor.step();
        }
        let last = if end == range.to {
            self.close(end.as_deref(), &range.from)?
        } else {
            // The last part goes on behind the range.
            let from = self.open.as_ref().map_or(&range.from, |(from, _)| from);
            walk(self.db, shard, from, range.to.as_deref(), |_| true)?
        };
        add(&mut parts, last);
        Ok(parts)
    }

    /// Sum of what has been read up to `next`, which begins a stored part or
    /// is the end.
    fn close(&mut self, next: Option<&str>, from: &str) -> Result<u128, ReadError> {
        match self.open.take() {
            Some((_, sum)) => Ok(sum),
            None if next == Some(from) => Ok(0),
            None => walk(self.db, self.shard, from, next, |_| true),
        }
    }
}

fn add(parts: &mut [NamedPart], sum: u128) {
    if let Some(last) = parts.last_mut() {
        last.part.sum = last.part.sum.wrapping_add(sum);
    }
}

/// Rows with their names, and the name to go on with.
pub type NamedRows = (Vec<(String, RowSum)>, Option<String>);

/// At most `limit` rows of a range by name, and the name to go on with.
pub fn rows(db: &Db, shard: NameHash, range: &RowRange, limit: usize) -> Result<NamedRows, ReadError> {
    let high = match &range.to {
        Some(to) => Some(keys::row(shard, to)),
        None => prefix_end(&keys::row(shard, "")),
    };
    let mut cursor = db.cursor(keys::SHARD, keys::row(shard, &range.from), high)?;
    let mut found = Vec::new();
    cursor.first();
    while let Some((key, value)) = cursor.current()? {
        let name = keys::name(key).ok_or(ReadError::Damaged("the key of a row"))?;
        if found.len() == limit {
            return Ok((found, Some(name.to_owned())));
        }
        let sum = RowSum {
            name: row_hash(name),
            // The low half, as told.
            value: digest(name.as_bytes(), value) as u64,
        };
        found.push((name.to_owned(), sum));
        cursor.step();
    }
    Ok((found, None))
}

/// The rows of these names, those that are here.
pub fn full(db: &Db, kind: Kind, shard: NameHash, names: &[String]) -> Result<Rows, ReadError> {
    let row_keys: Vec<_> = names.iter().map(|name| keys::row(shard, name)).collect();
    let values = db.get_many(&row_keys)?;
    let found = names.iter().zip(&values);
    let found = found.filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)));
    match kind {
        Kind::Container => collect::<ObjectRow>(found).map(Rows::Objects),
        Kind::Account => collect::<ContainerRow>(found).map(Rows::Containers),
    }
}

fn collect<'a, R: Listed>(found: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<Vec<R>, ReadError> {
    found
        .map(|(name, value)| {
            let row = Value::decode(value).and_then(|value| R::listed(name, value));
            row.ok_or(ReadError::Damaged("a row"))
        })
        .collect()
}
