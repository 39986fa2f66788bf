//! The head of a shard: its versions and totals, rewritten with every commit
//! that touches the shard and kept in memory while the shard is hot.
//!
//! Names and metadata are not here ([`super::meta`]): they may be kilobytes and
//! a row does not change them.
use serde::{Deserialize, Serialize};
use virga_node::clock::Version;
use virga_object_wire::listing::PolicyTotals;

use super::row::{Value, Weight, digest};

/// First byte of a stored head, format 1.
const FORMAT: u8 = 1;

/// Whether a shard lists objects or containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A container, which lists objects.
    Container,
    /// An account, which lists containers.
    Account,
}

/// Versions and totals of one container or account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Container or account.
    pub kind: Kind,
    /// Partition of the name in the ring of its kind.
    pub partition: u32,
    /// First PUT after the newest deletion; zero if there was none.
    pub created: Version,
    /// Newest PUT.
    pub put: Version,
    /// Newest DELETE.
    pub deleted: Version,
    /// Policy index given by the PUT that `created` names.
    pub policy: u32,
    /// Newest version ever seen here.
    pub newest: Version,
    /// Rows stored, dead ones too.
    pub rows: u64,
    /// Live rows.
    pub live: u64,
    /// Sum of the bytes of live rows, wrapping.
    pub bytes: u64,
    /// Wrapping sum of [`digest`] over all rows.
    pub digest: u128,
    /// Counts the changes that the account should hear of.
    pub changes: u64,
    /// The value of `changes` that the account has heard of.
    pub reported: u64,
    /// Totals by policy; accounts only.
    pub policies: Vec<PolicyTotals>,
}

/// What a container's row in its account depends on.
pub type Report = (Version, Version, u32, u64, u64);

impl Head {
    /// A shard that nothing is known of.
    pub fn new(kind: Kind, partition: u32) -> Self {
        let none = Version(0);
        Self {
            kind,
            partition,
            created: none,
            put: none,
            deleted: none,
            policy: 0,
            newest: none,
            rows: 0,
            live: 0,
            bytes: 0,
            digest: 0,
            changes: 0,
            reported: 0,
            policies: Vec::new(),
        }
    }

    /// Whether the container or account exists.
    pub fn exists(&self) -> bool {
        self.put > self.deleted
    }

    /// What the container's row in its account depends on.
    pub fn report(&self) -> Report {
        (self.put, self.deleted, self.policy, self.live, self.bytes)
    }

    /// Notes that this version was seen here.
    pub fn saw(&mut self, version: Version) {
        self.newest = self.newest.max(version);
    }

    /// Replaces a row's stored bytes in the totals; `None` stands for no row.
    pub fn replace(&mut self, name: &[u8], old: Option<(&[u8], Value<'_>)>, new: Option<(&[u8], Value<'_>)>) {
        if let Some((bytes, value)) = old {
            self.rows -= 1;
            self.digest = self.digest.wrapping_sub(digest(name, bytes));
            if let Some(weight) = value.weight(self.deleted) {
                self.count(weight, u64::wrapping_sub);
            }
        }
        if let Some((bytes, value)) = new {
            self.rows += 1;
            self.digest = self.digest.wrapping_add(digest(name, bytes));
            self.saw(value.newest());
            if let Some(weight) = value.weight(self.deleted) {
                self.count(weight, u64::wrapping_add);
            }
        }
    }

    /// Forgets what live rows add up to, before they are counted anew.
    pub fn uncount(&mut self) {
        (self.live, self.bytes) = (0, 0);
        self.policies.clear();
    }

    /// Counts a live row; the digest stays.
    pub fn recount(&mut self, weight: Weight) {
        self.count(weight, u64::wrapping_add);
    }

    // Sums wrap, so that taking a row out is always the exact opposite of
    // adding it, whatever sizes were claimed.
    fn count(&mut self, weight: Weight, op: fn(u64, u64) -> u64) {
        self.live = op(self.live, 1);
        self.bytes = op(self.bytes, weight.bytes);
        if self.kind == Kind::Container {
            return;
        }
        let at = self
            .policies
            .partition_point(|totals| totals.policy < weight.policy);
        if self
            .policies
            .get(at)
            .is_none_or(|totals| totals.policy != weight.policy)
        {
            self.policies.insert(
                at,
                PolicyTotals {
                    policy: weight.policy,
                    ..PolicyTotals::default()
                },
            );
        }
        let totals = &mut self.policies[at];
        totals.containers = op(totals.containers, 1);
        totals.objects = op(totals.objects, weight.objects);
        totals.bytes = op(totals.bytes, weight.bytes);
        if totals.containers == 0 {
            self.policies.remove(at);
        }
    }

    /// Bytes as stored.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_extend(self, vec![FORMAT])
    }

    /// Reads stored bytes; `None` if they are not a head.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (format, rest) = bytes.split_first()?;
        (*format == FORMAT).then(|| postcard::from_bytes(rest).ok())?
    }
}
