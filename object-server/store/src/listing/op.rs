//! Changes as they wait for the committer.
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use virga_node::clock::Version;
use virga_object_wire::listing::{ContainerRow, MetaItem, ObjectRow};
use virga_ring::hash::NameHash;

use super::fault::ChangeError;
use super::head::Kind;
use super::keys;
use super::row::Value;

/// The shard a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Container or account.
    pub kind: Kind,
    /// Its id.
    pub shard: NameHash,
    /// Its partition.
    pub partition: u32,
}

/// Rows of either kind.
#[derive(Debug)]
pub enum Rows {
    /// Of a container.
    Objects(Vec<ObjectRow>),
    /// Of an account.
    Containers(Vec<ContainerRow>),
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Objects(rows) => rows.len(),
            Self::Containers(rows) => rows.len(),
        }
    }

    /// Name of one row.
    pub fn name(&self, at: usize) -> &str {
        match self {
            Self::Objects(rows) => &rows[at].name,
            Self::Containers(rows) => &rows[at].name,
        }
    }

    /// What one row says.
    pub fn value(&self, at: usize) -> Value<'_> {
        match self {
            Self::Objects(rows) => Value::from(&rows[at]),
            Self::Containers(rows) => Value::from(&rows[at]),
        }
    }
}

/// A PUT of a container or account.
#[derive(Debug)]
pub struct Put {
    /// Name of the account.
    pub account: String,
    /// Name of the container; empty for an account.
    pub container: String,
    /// Version of the PUT.
    pub version: Version,
    /// Newest deletion that the caller knows of.
    pub deleted: Version,
    /// Policy for a new container.
    pub policy: u32,
    /// Metadata to merge in.
    pub meta: Vec<MetaItem>,
}

/// One change.
#[derive(Debug)]
pub enum Op {
    /// Make it, or update its metadata. Answers whether it is new.
    Put(Target, Put),
    /// Update the metadata of what exists.
    Post(Target, Version, Vec<MetaItem>),
    /// Delete it.
    Delete(Target, Version),
    /// Merge rows in.
    Rows(Target, Rows),
    /// Accounts have heard of these containers as of that count of changes.
    Reported(Vec<(NameHash, u64)>),
    /// Forget what has been dead for long enough. Answers whether anything
    /// was forgotten.
    Forget(Forget),
}

/// Candidates for being forgotten; the committer looks at each again.
#[derive(Debug, Default)]
pub struct Forget {
    /// Keys of rows.
    pub rows: Vec<Vec<u8>>,
    /// Keys of [`super::keys::TOMB`] that are done with.
    pub tombs: Vec<Vec<u8>>,
}

impl Op {
    /// Appends the keys of the rows that must be read before.
    pub fn row_keys(&self, keys: &mut Vec<Vec<u8>>) {
        match self {
            Self::Rows(target, rows) => {
                keys.extend((0..rows.len()).map(|at| keys::row(target.shard, rows.name(at))));
            }
            Self::Forget(forget) => keys.extend(forget.rows.iter().cloned()),
            Self::Put(..) | Self::Post(..) | Self::Delete(..) | Self::Reported(_) => {}
        }
    }

    /// How much room in the queue it takes, in rows.
    pub fn size(&self) -> usize {
        match self {
            Self::Rows(_, rows) => rows.len(),
            Self::Reported(marks) => marks.len(),
            Self::Forget(forget) => forget.rows.len() + forget.tombs.len(),
            Self::Put(..) | Self::Post(..) | Self::Delete(..) => 1,
        }
        .max(1)
    }
}

/// A change with the one who waits for it.
pub struct Job {
    /// The change.
    pub op: Op,
    /// Told once the change is durable, or failed.
    pub done: oneshot::Sender<Result<bool, ChangeError>>,
    /// Its room in the queue, given back when done.
    pub room: OwnedSemaphorePermit,
}
