//! From format 1, which knew no sums over shards and parts and forgot by
//! versions alone, to format 2. Run when a database is opened.
//!
//! Every step may be done twice: a crash in between leaves a mixture that the
//! next opening brings to its end. The format is noted last.
use virga_disk::kv::Family;
use virga_disk::kv::cursor::prefix_end;
use virga_node::clock::Version;
use virga_object_wire::listing::{PART_LEVEL, begins_part, row_hash};
use virga_ring::hash::NameHash;

use super::db::{Db, Writes};
use super::fault::{OpenError, ReadError};
use super::head::Head;
use super::keys;
use super::meta::Meta;
use super::row::digest;
use super::sys;

/// Changes in one write.
const BATCH: usize = 10_000;

/// Brings a database to the current format.
pub fn migrate(db: &Db) -> Result<(), OpenError> {
    match sys::format(db).map_err(unreadable)? {
        Some(sys::FORMAT) => return Ok(()),
        Some(other) => return Err(OpenError::Format(other)),
        None => {}
    }
    let mut writes = Writes::default();
    shards(db, &mut writes)?;
    reminders(db, &mut writes)?;
    sys::set_format(&mut writes);
    commit(db, &mut writes)
}

fn unreadable(error: ReadError) -> OpenError {
    OpenError::Migrate(error.to_string())
}

fn commit(db: &Db, writes: &mut Writes) -> Result<(), OpenError> {
    let full = std::mem::take(writes);
    db.commit(&full)
        .map_err(|error| OpenError::Migrate(error.to_string()))
}

/// Gives every shard its sums.
fn shards(db: &Db, writes: &mut Writes) -> Result<(), OpenError> {
    let mut from = Vec::new();
    while let Some(shard) = next_shard(db, from)? {
        match rebuilt(db, shard, writes)? {
            Some(head) => {
                let bytes = head
                    .encode()
                    .map_err(|error| OpenError::Migrate(error.to_string()))?;
                writes.set(keys::SHARD, keys::head(shard), Some(bytes));
                if head.hides_rows() {
                    writes.set(keys::HIDDEN, shard.0.to_vec(), Some(Vec::new()));
                }
                let sum = head.sum(shard).map(|sum| sum.to_le_bytes().to_vec());
                writes.set(keys::INDEX, keys::index(head.kind, shard), sum);
            }
            None => return Err(OpenError::Migrate(format!("the head of {shard} is damaged"))),
        }
        if writes.len() >= BATCH {
            commit(db, writes)?;
        }
        let Some(next) = prefix_end(&shard.0) else { break };
        from = next;
    }
    Ok(())
}

/// The shard at or behind a key.
fn next_shard(db: &Db, from: Vec<u8>) -> Result<Option<NameHash>, OpenError> {
    let mut cursor = db.cursor(keys::SHARD, from, None).map_err(unreadable)?;
    cursor.first();
    let found = cursor.current().map_err(|error| unreadable(error.into()))?;
    Ok(found.and_then(|(key, _)| keys::shard(key)))
}

/// The head of a shard with what follows from rows and metadata; `None` if it
/// does not decode. Adds its parts to `writes`.
fn rebuilt(db: &Db, shard: NameHash, writes: &mut Writes) -> Result<Option<Head>, OpenError> {
    let failed = |error: virga_disk::kv::KvError| unreadable(error.into());
    let mut cursor = db
        .cursor(keys::SHARD, keys::head(shard), prefix_end(&shard.0))
        .map_err(unreadable)?;
    cursor.first();
    let mut head: Option<Head> = None;
    let mut part: Option<(String, u128)> = None;
    while let Some((key, value)) = cursor.current().map_err(failed)? {
        if key == keys::head(shard) {
            head = Head::decode(value).or_else(|| Head::decode_old(value));
            if let Some(head) = &mut head {
                let (put, policy) = (head.put, head.policy);
                if head.created == put {
                    head.put_policy = policy;
                }
                head.alter(|life| life.merge(&life.clone()));
                (head.parts, head.meta) = (0, 0);
            }
        } else if key == keys::meta(shard) {
            let meta = Meta::decode(value);
            let items = meta.ok_or_else(|| OpenError::Migrate(format!("metadata of {shard} is damaged")))?;
            if let Some(head) = &mut head {
                head.meta = items.digest();
                for item in items.items().iter().filter(|item| item.is_removed()) {
                    let what = keys::meta(shard);
                    remind(writes, keys::grave(head.kind, item.version, &what), item.version);
                }
            }
        } else if let Some(head) = &mut head {
            let name =
                keys::name(key).ok_or_else(|| OpenError::Migrate(format!("a row of {shard} has no name")))?;
            if begins_part(row_hash(name), PART_LEVEL) {
                end_part(writes, shard, part.take());
                part = Some((name.to_owned(), 0));
                head.parts += 1;
            }
            if let Some((_, sum)) = &mut part {
                *sum = sum.wrapping_add(digest(name.as_bytes(), value));
            }
        }
        cursor.step();
    }
    end_part(writes, shard, part);
    Ok(head)
}

fn end_part(writes: &mut Writes, shard: NameHash, part: Option<(String, u128)>) {
    if let Some((name, sum)) = part {
        let sum = sum.to_le_bytes().to_vec();
        writes.set(keys::PART, keys::part(shard, &name), Some(sum));
    }
}

fn remind(writes: &mut Writes, key: Vec<u8>, version: Version) {
    let value = version.0.to_le_bytes().to_vec();
    writes.set(keys::GRAVE, key, Some(value));
}

/// Moves reminders to where they lie now, under the kind of their shard.
fn reminders(db: &Db, writes: &mut Writes) -> Result<(), OpenError> {
    let mut from = Vec::new();
    loop {
        let page = page(db, keys::TOMB, from)?;
        let Some(last) = page.last() else { return Ok(()) };
        from = [&last[..], &[0]].concat();
        for key in page {
            if let Some((when, what)) = keys::parse_tomb(&key)
                && let Some(shard) = keys::shard(what)
                && let Some(bytes) = db.get(&keys::head(shard)).map_err(unreadable)?
                && let Some(head) = Head::decode(&bytes).or_else(|| Head::decode_old(&bytes))
            {
                remind(writes, keys::grave(head.kind, when, what), when);
            }
            writes.set(keys::TOMB, key, None);
        }
        commit(db, writes)?;
    }
}

/// Some keys of a family from one on.
fn page(db: &Db, family: Family, from: Vec<u8>) -> Result<Vec<Vec<u8>>, OpenError> {
    let mut cursor = db.cursor(family, from, None).map_err(unreadable)?;
    cursor.first();
    let mut keys = Vec::new();
    while let Some((key, _)) = cursor.current().map_err(|error| unreadable(error.into()))? {
        if keys.len() == BATCH {
            break;
        }
        keys.push(key.to_vec());
        cursor.step();
    }
    Ok(keys)
}
