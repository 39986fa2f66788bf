//! Containers whose account has not heard of their newest totals.
//!
//! A worker of the object server asks, tells the accounts, and comes back with
//! what it told; how often is its business. The marks survive a restart. No clock
//! is asked: what a node whose clock is a year ahead reported would stand for a
//! year ([`super::head::Head::counted`]).
use virga_object_wire::listing::ContainerRow;
use virga_ring::Partition;
use virga_ring::hash::NameHash;

use super::db::Db;
use super::fault::ReadError;
use super::keys;
use super::read;

/// A container as its account should list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerChange {
    /// Partition of the container.
    pub partition: Partition,
    /// Hash of the container's name.
    pub hash: NameHash,
    /// Name of the account.
    pub account: String,
    /// The row for the account.
    pub row: ContainerRow,
    /// Changes that `row` knows of; a later one keeps the container marked.
    pub changes: u64,
}

/// At most `limit` marked containers after `from`, in the order of their hash,
/// and marks of containers that are gone.
pub fn after(
    db: &Db,
    from: NameHash,
    limit: usize,
) -> Result<(Vec<ContainerChange>, Vec<NameHash>), ReadError> {
    let mut cursor = db.cursor(keys::DIRTY, [&from.0[..], &[0]].concat(), None)?;
    // Made second, so it knows every shard that is marked.
    let mut shards = db.cursor(keys::SHARD, Vec::new(), None)?;
    let (mut changes, mut gone) = (Vec::new(), Vec::new());
    cursor.first();
    while let Some((key, _)) = cursor.current()? {
        if changes.len() + gone.len() == limit {
            break;
        }
        let hash = keys::shard(key).ok_or(ReadError::Damaged("the key of a mark"))?;
        match read::head(&mut shards, hash)? {
            None => gone.push(hash),
            Some(head) => {
                let meta = read::meta(&mut shards, hash)?;
                let row = ContainerRow {
                    name: meta.container,
                    put: head.put,
                    deleted: head.deleted,
                    policy: head.policy,
                    counted: head.counted(),
                    objects: head.live,
                    bytes: head.bytes,
                };
                let partition = Partition(head.partition);
                let account = meta.account;
                changes.push(ContainerChange {
                    partition,
                    hash,
                    account,
                    row,
                    changes: head.changes,
                });
            }
        }
        cursor.step();
    }
    Ok((changes, gone))
}
