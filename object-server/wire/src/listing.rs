//! Messages about containers and accounts: their metadata and their rows.
//!
//! A container's rows are its objects, an account's rows are its containers.
//! Every field carries the version it was written with, and merging takes the
//! larger one, so that replicas agree in whatever order they hear of changes.
use serde::{Deserialize, Serialize};
use virga_node::clock::Version;
use virga_ring::{NameHash, Partition};

use crate::movement::Answering;
use crate::object::ObjectStat;

/// One metadata item of a container or account. An empty value is a removed
/// item, kept so that an older value does not come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaItem {
    /// Header name in lower case (`x-container-meta-color`, `x-container-read`).
    pub name: String,
    /// Value; empty means removed.
    pub value: String,
    /// When it was written.
    pub version: Version,
}

impl MetaItem {
    /// Whether this marks the removal of an item.
    pub fn is_removed(&self) -> bool {
        self.value.is_empty()
    }
}

/// What a replica knows of a container beside its rows. One that never heard
/// of the container says so with versions that are all zero: what two replicas
/// say can always be merged, and what existed is told from what was deleted by
/// the larger version alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ContainerInfo {
    /// Name of the account.
    pub account: String,
    /// Name of the container.
    pub container: String,
    /// First PUT of this incarnation (`X-Timestamp`); zero if none is known.
    pub created: Version,
    /// Newest PUT (`X-PUT-Timestamp`).
    pub put: Version,
    /// Newest DELETE; the container exists while `put > deleted`.
    pub deleted: Version,
    /// Index of the storage policy, fixed at creation.
    pub policy: u32,
    /// Metadata by name. Nodes tell removed items too, so that no older value
    /// of another replica comes back.
    pub meta: Vec<MetaItem>,
    /// Live rows.
    pub objects: u64,
    /// Sum of their sizes in bytes.
    pub bytes: u64,
    /// Newest version among info and rows: the better informed replica has the larger.
    pub newest: Version,
    /// Wrapping sum over all rows of a hash of everything in the row: two
    /// replicas with the same digest hold the same rows.
    pub digest: u128,
}

impl ContainerInfo {
    /// Whether the container exists.
    pub fn exists(&self) -> bool {
        self.put > self.deleted
    }
}

/// What a replica knows of an account beside its rows; all versions are zero
/// if it never heard of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct AccountInfo {
    /// Name of the account ("AUTH_...").
    pub account: String,
    /// First PUT of this incarnation.
    pub created: Version,
    /// Newest PUT.
    pub put: Version,
    /// Newest DELETE; the account exists while `put > deleted`.
    pub deleted: Version,
    /// Metadata by name; removed items as in [`ContainerInfo::meta`].
    pub meta: Vec<MetaItem>,
    /// Live containers.
    pub containers: u64,
    /// Sum over them.
    pub objects: u64,
    /// Sum over them, bytes.
    pub bytes: u64,
    /// Containers, objects and bytes by policy index.
    pub policies: Vec<PolicyTotals>,
    /// Newest version among info and rows.
    pub newest: Version,
    /// Wrapping sum over rows, as in [`ContainerInfo::digest`].
    pub digest: u128,
}

impl AccountInfo {
    /// Whether the account exists.
    pub fn exists(&self) -> bool {
        self.put > self.deleted
    }
}

/// Totals of an account for one storage policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct PolicyTotals {
    /// Policy index.
    pub policy: u32,
    /// Live containers.
    pub containers: u64,
    /// Objects in them.
    pub objects: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// An object as its container lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRow {
    /// Name of the object.
    pub name: String,
    /// Version of the object's data, or of its deletion. Larger wins.
    pub version: Version,
    /// Version of the newest metadata (a POST changes the content type).
    pub meta_version: Version,
    /// Bytes, zero when deleted.
    pub size: u64,
    /// ETag as listed.
    pub etag: String,
    /// MIME type (with parameters such as `swift_bytes` already taken off).
    pub content_type: String,
    /// Whether this row marks a deletion.
    pub deleted: bool,
}

impl ObjectRow {
    /// The row that an object with this head is listed by; `None` if its path
    /// is not "account/container/object".
    pub fn of(stat: &ObjectStat) -> Option<Self> {
        let (_, _, name) = split_path(&stat.meta.path)?;
        let listed = stat.meta.listed.as_ref();
        Some(Self {
            name: name.to_owned(),
            version: stat.version,
            meta_version: stat.meta_version,
            size: listed.map_or(stat.size, |listed| listed.size),
            etag: listed.map_or(&stat.meta.etag, |listed| &listed.etag).clone(),
            content_type: stat.meta.content_type.clone(),
            deleted: false,
        })
    }

    /// What decides between two rows of one name: the data, then the metadata. An
    /// update of the metadata belongs to the data it was made over, and goes with it.
    /// Of data and a deletion that two proxies gave one version the data win, as they
    /// do where the object is.
    pub fn rank(&self) -> (Version, bool, u64, &str, Version, &str) {
        let (data, meta) = (self.version, self.meta_version);
        (
            data,
            !self.deleted,
            self.size,
            &self.etag,
            meta,
            &self.content_type,
        )
    }

    /// The row that marks the deletion of `name`.
    pub fn deletion(name: &str, version: Version) -> Self {
        Self {
            name: name.to_owned(),
            version,
            meta_version: version,
            size: 0,
            etag: String::new(),
            content_type: String::new(),
            deleted: true,
        }
    }
}

/// Cuts "account/container/object" (only the object may hold further
/// slashes); `None` if a part is missing or empty.
pub fn split_path(path: &str) -> Option<(&str, &str, &str)> {
    let (account, rest) = path.split_once('/')?;
    let (container, object) = rest.split_once('/')?;
    let full = !account.is_empty() && !container.is_empty() && !object.is_empty();
    full.then_some((account, container, object))
}

/// A container as its account lists it. Live while `put > deleted`, unless the
/// account was deleted after that PUT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRow {
    /// Name of the container.
    pub name: String,
    /// Newest PUT.
    pub put: Version,
    /// Newest DELETE.
    pub deleted: Version,
    /// Policy index.
    pub policy: u32,
    /// Says which count of `objects` and `bytes` is newer: larger wins. A little
    /// after the newest version that the replica knew when it counted.
    pub counted: Version,
    /// Objects.
    pub objects: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Which part of a listing is asked for. Bounds are exclusive, as in Swift.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ListRequest {
    /// Only names that start with this.
    pub prefix: String,
    /// Roll names up after the first occurrence of this past the prefix (may
    /// be several characters; empty means none).
    pub delimiter: String,
    /// Start after this name (before it when reversed); empty means none.
    pub marker: String,
    /// Stop before this name (after it when reversed); empty means none.
    pub end_marker: String,
    /// Last name first.
    pub reverse: bool,
    /// Most live entries to return.
    pub limit: u32,
}

/// One entry of a page, in the order asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry<R> {
    /// A row. Deleted rows are returned too (they do not count towards the
    /// limit), so that the reader of two replicas can tell "deleted" from
    /// "never heard of".
    Row(R),
    /// A common prefix up to and including the delimiter, under which at
    /// least one live row exists.
    Subdir(String),
}

/// A page of a listing with the info it was read with, from one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<I, R> {
    /// What is known of the container or account.
    pub info: I,
    /// Entries in order.
    pub entries: Vec<Entry<R>>,
    /// `None` when everything asked for is here. Otherwise the page says
    /// everything up to and including this name, and nothing beyond (the
    /// limit, or the bound on returned deletions, was reached).
    pub complete_to: Option<String>,
}

/// A new or changed container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutContainer {
    /// Name of the account.
    pub account: String,
    /// Name of the container.
    pub container: String,
    /// Version of this PUT.
    pub version: Version,
    /// Newest deletion that the caller knows of; zero if none. A replica that
    /// missed it makes up for it, so that policy and metadata of a life before
    /// do not pass for those of this one.
    pub deleted: Version,
    /// Policy for a new container.
    pub policy: u32,
    /// Metadata to set; an empty value removes.
    pub meta: Vec<MetaItem>,
}

/// A new or changed account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutAccount {
    /// Name of the account.
    pub account: String,
    /// Version of this PUT.
    pub version: Version,
    /// Metadata to set; an empty value removes.
    pub meta: Vec<MetaItem>,
}

/// Whether a PUT made something new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// True when it did not exist (or was deleted) before.
    pub created: bool,
}

/// Which kind of listing a call of reconciliation is about. Accounts and
/// containers lie in rings of their own, and their hashes never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ListingKind {
    /// Containers, which list objects.
    Container,
    /// Accounts, which list containers.
    Account,
}

/// When a container or account came and went, as far as one replica knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Life {
    /// First PUT after `deleted`; zero if there was none.
    pub created: Version,
    /// Policy index that the PUT at `created` gave; zero without one.
    pub policy: u32,
    /// Newest PUT.
    pub put: Version,
    /// Policy index that the newest PUT gave.
    pub put_policy: u32,
    /// Newest DELETE.
    pub deleted: Version,
    /// Newest version ever seen, of rows too.
    pub newest: Version,
}

impl Life {
    /// Whether neither a PUT nor a DELETE is known.
    pub fn is_unknown(&self) -> bool {
        self.put == Version(0) && self.deleted == Version(0)
    }

    /// Takes in what another replica knows. Of PUTs at one version the smaller
    /// policy counts. Replicas that go on telling each other end up alike.
    pub fn merge(&mut self, other: &Self) {
        let puts = [
            (self.created, self.policy),
            (self.put, self.put_policy),
            (other.created, other.policy),
            (other.put, other.put_policy),
        ];
        self.deleted = self.deleted.max(other.deleted);
        self.newest = self.newest.max(other.newest);
        puts.into_iter()
            .for_each(|(version, policy)| self.note_put(version, policy));
        self.settle();
    }

    /// Takes in a PUT.
    pub fn put(&mut self, version: Version, policy: u32) {
        self.newest = self.newest.max(version);
        self.note_put(version, policy);
    }

    /// Takes in a DELETE.
    pub fn delete(&mut self, version: Version) {
        self.deleted = self.deleted.max(version);
        self.newest = self.newest.max(version);
        self.settle();
    }

    fn note_put(&mut self, version: Version, policy: u32) {
        if version > self.put || (version == self.put && policy < self.put_policy) {
            (self.put, self.put_policy) = (version, policy);
        }
        let first = self.created <= self.deleted || (version, policy) < (self.created, self.policy);
        if version > self.deleted && first {
            (self.created, self.policy) = (version, policy);
        }
    }

    /// Sets right what a deletion has outdated: of a life after it that is
    /// known by its newest PUT alone, that is the first.
    fn settle(&mut self) {
        if self.created > self.deleted {
            return;
        }
        (self.created, self.policy) = if self.put > self.deleted {
            (self.put, self.put_policy)
        } else {
            (Version(0), 0)
        };
    }
}

/// What a replica knows of a container or account beside its rows, verbatim:
/// merged into any other replica, in any order and however often, it leaves
/// the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ListingState {
    /// Name of the account; empty while no PUT has come by.
    pub account: String,
    /// Name of the container; empty for an account.
    pub container: String,
    /// When it came and went.
    pub life: Life,
    /// Metadata by name, removed items too.
    pub meta: Vec<MetaItem>,
    /// Rows, deleted ones too. Told, not merged.
    pub rows: u64,
    /// Wrapping sum over the rows, as in [`ContainerInfo::digest`]. Told, not
    /// merged.
    pub digest: u128,
}

/// Sums of what a device knows in some partitions of one ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingSums {
    /// Who answers.
    pub answering: Answering,
    /// One for each partition asked about, in that order; zero for nothing.
    pub sums: Vec<u128>,
}

/// A container or account with a sum of all that is known of it, rows
/// included. Equal sums mean equal knowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingSum {
    /// Hash of its name.
    pub hash: NameHash,
    /// The sum.
    pub sum: u128,
}

/// Which accounts or containers of a partition are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardsRequest {
    /// The ring has 2^`power` partitions.
    pub power: u8,
    /// Which of them.
    pub partition: Partition,
    /// Only those behind this hash.
    pub after: Option<NameHash>,
    /// At most so many.
    pub limit: u32,
}

/// Names of rows from one, included, to another, left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct RowRange {
    /// First name; empty for the start.
    pub from: String,
    /// First name no longer meant; `None` is the end.
    pub to: Option<String>,
}

/// The rows from one name to the next that begins a part, summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartSum {
    /// [`row_hash`] of the name that begins the part; zero for the part that
    /// begins with the range.
    pub start: u64,
    /// Wrapping sum over the rows in it.
    pub sum: u128,
}

/// A range of rows in parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct PartSums {
    /// Level of the parts: the one asked for, or a higher one where that would
    /// have been too many.
    pub level: u8,
    /// In the order of their names; the first begins with the range.
    pub parts: Vec<PartSum>,
}

/// One row in few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSum {
    /// [`row_hash`] of its name.
    pub name: u64,
    /// Low half of what the row adds to the digest.
    pub value: u64,
}

/// Rows of a range in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct RowSums {
    /// The rows.
    pub rows: Vec<RowSum>,
    /// Name that the next call begins with; `None` when the range is told.
    pub next: Option<String>,
}

/// Zero bits that a name's hash ends in if it begins a part of the finest
/// kind, so of about 128 rows.
pub const PART_LEVEL: u8 = 7;
/// Key of [`row_hash`]: a name for the purpose.
const NAME_KEY: [u8; 32] = *b"virga listing row name, v1\0\0\0\0\0\0";

/// Hash of a row's name. Names whose hash ends in `level` zero bits begin the
/// parts of that level: replicas that hold the same names cut them alike,
/// whatever happened before.
pub fn row_hash(name: &str) -> u64 {
    let hash = blake3::keyed_hash(&NAME_KEY, name.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    // zero stands for the start of a range
    u64::from_le_bytes(first).max(1)
}

/// Whether a name with this hash begins a part of `level`.
pub fn begins_part(hash: u64, level: u8) -> bool {
    hash.trailing_zeros() >= u32::from(level)
}
