//! Finding what has been dead for so long that it may be forgotten.
//!
//! Every deletion leaves a reminder under its time; a pass reads the oldest
//! ones, so nothing is searched for. The committer decides about each row
//! again ([`super::apply`]), as it may have come back to life meanwhile.
use virga_disk::kv::cursor::prefix_end;
use virga_node::clock::Version;
use virga_ring::hash::NameHash;

use super::db::Db;
use super::fault::ReadError;
use super::keys;
use super::op::Forget;
use super::read;
use super::row::Value;

/// Candidates among what died before `cutoff`, at most about `limit`.
pub fn find(db: &Db, cutoff: Version, limit: usize) -> Result<Forget, ReadError> {
    let mut cursor = db.cursor(keys::TOMB, Vec::new(), Some(cutoff.0.to_be_bytes().to_vec()))?;
    let mut found = Forget::default();
    cursor.first();
    while let Some((key, _)) = cursor.current()? {
        if found.rows.len() + found.tombs.len() >= limit {
            break;
        }
        let (_, row) = keys::parse_tomb(key).ok_or(ReadError::Damaged("the key of a reminder"))?;
        if row.len() > keys::ID {
            found.rows.push(row.to_vec());
            found.tombs.push(key.to_vec());
        } else if let Some(shard) = keys::shard(row) {
            let room = limit.saturating_sub(found.rows.len());
            let buried = buried(db, shard, cutoff, room)?;
            // With more rows than room the reminder stays for the next pass.
            if buried.len() < room {
                found.tombs.push(key.to_vec());
            }
            found.rows.extend(buried);
        }
        cursor.step();
    }
    Ok(found)
}

/// Keys of rows that died with what they stood in, at most `room`.
fn buried(db: &Db, shard: NameHash, cutoff: Version, room: usize) -> Result<Vec<Vec<u8>>, ReadError> {
    let mut cursor = db.cursor(keys::SHARD, keys::head(shard), prefix_end(&shard.0))?;
    let Some(head) = read::head(&mut cursor, shard)? else {
        return Ok(Vec::new());
    };
    let mut rows = Vec::new();
    cursor.seek(&keys::row(shard, ""));
    while let Some((key, value)) = cursor.current()? {
        if rows.len() == room {
            break;
        }
        let value = Value::decode(value).ok_or(ReadError::Damaged("a row"))?;
        if value.death(head.deleted).is_some_and(|when| when < cutoff) {
            rows.push(key.to_vec());
        }
        cursor.step();
    }
    Ok(rows)
}
