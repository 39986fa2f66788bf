//! Changes as they wait for the committer.
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use virga_node::clock::Version;
use virga_object_wire::listing::{ContainerRow, ListingState, MetaItem, ObjectRow};
use virga_ring::hash::NameHash;

use super::fault::ChangeError;
use super::head::Kind;
use super::keys;
use super::row::Value;
use super::sys::Round;

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
    /// Merge in what another replica knows beside the rows.
    Merge(Target, Box<ListingState>),
    /// Forget what has been dead for long enough. Answers whether anything
    /// was forgotten.
    Forget(Forget),
    /// Drop all of a shard if its sum is still this. Answers whether it is
    /// gone. Comes last in a batch.
    Drop(Target, u128),
    /// Take out of sight what may have been deleted long ago.
    SetAside(Target, SetAside),
    /// Note how far others have forgotten deletions.
    Horizon(Kind, Version),
    /// Note a complete round of reconciliation.
    Round(Kind, Round),
}

/// Candidates for being forgotten; the committer looks at each again.
#[derive(Debug, Default)]
pub struct Forget {
    /// Keys of rows that died up to that version.
    pub rows: Vec<(Vec<u8>, Version)>,
    /// Shards with metadata that was removed up to that version.
    pub items: Vec<(NameHash, Version)>,
    /// Shards deleted at that version, and the keys of their reminders.
    pub shards: Vec<(NameHash, Version, Vec<u8>)>,
    /// Keys of [`super::keys::GRAVE`] that are done with.
    pub graves: Vec<Vec<u8>>,
}

impl Forget {
    /// Candidates in all.
    pub fn len(&self) -> usize {
        self.rows.len() + self.items.len() + self.shards.len()
    }
}

/// What no other replica knows of, and may have been deleted so long ago that
/// nobody remembers. Each part only if it is still as named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetAside {
    /// Newest PUT and DELETE of the head, if the head is to go with all
    /// metadata.
    pub head: Option<(Version, Version)>,
    /// Metadata items.
    pub items: Vec<MetaItem>,
    /// Names of rows, and the low half of what each adds to the digest.
    pub rows: Vec<(String, u64)>,
}

impl Op {
    /// Appends the keys of the rows that must be read before.
    pub fn row_keys(&self, keys: &mut Vec<Vec<u8>>) {
        match self {
            Self::Rows(target, rows) => {
                keys.extend((0..rows.len()).map(|at| keys::row(target.shard, rows.name(at))));
            }
            Self::Forget(forget) => keys.extend(forget.rows.iter().map(|(key, _)| key.clone())),
            Self::SetAside(target, aside) => {
                keys.extend(aside.rows.iter().map(|(name, _)| keys::row(target.shard, name)));
            }
            _ => {}
        }
    }

    /// How much room in the queue it takes, in rows.
    pub fn size(&self) -> usize {
        match self {
            Self::Rows(_, rows) => rows.len(),
            Self::Reported(marks) => marks.len(),
            Self::Forget(forget) => forget.len(),
            Self::SetAside(_, aside) => aside.rows.len(),
            _ => 1,
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
