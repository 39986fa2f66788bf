//! Finding what has been dead for so long that it may be forgotten.
//!
//! Everything that is heard to be dead leaves a reminder under the time when
//! it was heard; a pass reads the oldest ones, so nothing is searched for. The
//! committer decides about each again ([`super::forget`]), as it may have come
//! back to life meanwhile.
use virga_disk::kv::cursor::prefix_end;
use virga_node::clock::Version;
use virga_ring::hash::NameHash;

use super::codec::Reader;
use super::db::Db;
use super::fault::ReadError;
use super::head::Kind;
use super::keys::{self, Dead};
use super::op::Forget;
use super::read;
use super::row::Value;

/// Adds candidates of one kind among what was heard to be dead before `cutoff`
/// to `found`, until there are about `limit`.
pub fn find(db: &Db, kind: Kind, cutoff: Version, limit: usize, found: &mut Forget) -> Result<(), ReadError> {
    let (low, high) = (keys::grave(kind, Version(0), &[]), keys::grave(kind, cutoff, &[]));
    let mut cursor = db.cursor(keys::GRAVE, low, Some(high))?;
    cursor.first();
    while let Some((key, value)) = cursor.current()? {
        if found.len() >= limit {
            break;
        }
        let version = Reader(value).u64().map(Version);
        let version = version.ok_or(ReadError::Damaged("a reminder"))?;
        match keys::parse_grave(key).ok_or(ReadError::Damaged("the key of a reminder"))? {
            Dead::Row(row) => {
                found.rows.push((row.to_vec(), version));
                found.graves.push(key.to_vec());
            }
            Dead::Item(shard) => {
                found.items.push((shard, version));
                found.graves.push(key.to_vec());
            }
            Dead::Shard(shard) => {
                let room = limit.saturating_sub(found.len());
                let rows = buried(db, shard, version, room)?;
                // With more rows than room the reminder stays for the next pass.
                if rows.len() < room {
                    found.shards.push((shard, version, key.to_vec()));
                }
                found.rows.extend(rows);
            }
        }
        cursor.step();
    }
    Ok(())
}

/// Keys of rows that died with what they stood in, at most `room`.
fn buried(
    db: &Db,
    shard: NameHash,
    upto: Version,
    room: usize,
) -> Result<Vec<(Vec<u8>, Version)>, ReadError> {
    let mut cursor = db.cursor(keys::SHARD, keys::head(shard), prefix_end(&shard.0))?;
    let Some(head) = read::head(&mut cursor, shard)?.filter(|head| head.kind == Kind::Account) else {
        return Ok(Vec::new());
    };
    let mut rows = Vec::new();
    cursor.seek(&keys::row(shard, ""));
    while let Some((key, value)) = cursor.current()? {
        if rows.len() == room {
            break;
        }
        let value = Value::decode(value).ok_or(ReadError::Damaged("a row"))?;
        if value.tombstone().is_none() && value.death(head.deleted).is_some_and(|when| when <= upto) {
            rows.push((key.to_vec(), upto));
        }
        cursor.step();
    }
    Ok(rows)
}
