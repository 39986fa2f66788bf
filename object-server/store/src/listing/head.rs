//! The head of a shard: its versions and totals, rewritten with every commit
//! that touches the shard and kept in memory while the shard is hot.
//!
//! Names and metadata are not here ([`super::meta`]): they may be kilobytes and
//! a row does not change them.
use serde::{Deserialize, Serialize};
use virga_node::clock::Version;
pub use virga_object_wire::listing::ListingKind as Kind;
use virga_object_wire::listing::{Life, PolicyTotals};
use virga_ring::hash::NameHash;

use super::row::{Value, Weight};

/// First byte of a stored head, format 2.
const FORMAT: u8 = 2;
/// First byte of a head of format 1, which ends before `put_policy`.
const OLD_FORMAT: u8 = 1;
/// Key of the hash in [`Head::sum`]: a name for the purpose.
const SUM_KEY: [u8; 32] = *b"virga listing shard sum, v1\0\0\0\0\0";

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
    /// Policy index given by the newest PUT.
    pub put_policy: u32,
    /// Wrapping sum of the hashes of the metadata items.
    pub meta: u128,
    /// Sums kept over parts of the rows ([`super::parts`]).
    pub parts: u64,
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
            put_policy: 0,
            meta: 0,
            parts: 0,
        }
    }

    /// When it came and went.
    pub fn life(&self) -> Life {
        Life {
            created: self.created,
            policy: self.policy,
            put: self.put,
            put_policy: self.put_policy,
            deleted: self.deleted,
            newest: self.newest,
        }
    }

    /// Changes when it came and went.
    pub fn alter<T>(&mut self, change: impl FnOnce(&mut Life) -> T) -> T {
        let mut life = self.life();
        let done = change(&mut life);
        self.created = life.created;
        self.policy = life.policy;
        self.put = life.put;
        self.put_policy = life.put_policy;
        self.deleted = life.deleted;
        self.newest = life.newest;
        done
    }

    /// Whether this is a container that was deleted by someone who did not
    /// know of its live rows.
    pub fn hides_rows(&self) -> bool {
        self.kind == Kind::Container && self.put > Version(0) && !self.exists() && self.live > 0
    }

    /// Whether nothing is known: as good as no head at all.
    pub fn is_empty(&self) -> bool {
        self.life().is_unknown() && self.rows == 0 && self.meta == 0
    }

    /// A hash over everything that replicas tell each other, and nothing that
    /// follows from it (totals) or is this device's own business (reports).
    /// `None` if nothing is known.
    pub fn sum(&self, shard: NameHash) -> Option<u128> {
        if self.is_empty() {
            return None;
        }
        let mut hasher = blake3::Hasher::new_keyed(&SUM_KEY);
        hasher.update(&shard.0);
        for version in [self.created, self.put, self.deleted, self.newest] {
            hasher.update(&version.0.to_le_bytes());
        }
        hasher.update(&self.policy.to_le_bytes());
        hasher.update(&self.put_policy.to_le_bytes());
        hasher.update(&self.meta.to_le_bytes());
        hasher.update(&self.digest.to_le_bytes());
        let mut first = [0; 16];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Some(u128::from_le_bytes(first))
    }

    /// Whether the container or account exists.
    pub fn exists(&self) -> bool {
        self.put > self.deleted
    }

    /// What the container's row in its account depends on.
    pub fn report(&self) -> Report {
        (self.put, self.deleted, self.policy, self.live, self.bytes)
    }

    /// Under what version a container's totals go to its account, which keeps
    /// the largest. It grows with every change here, whatever the order in which
    /// rows arrive. So the largest of all replicas' is one's last, and that one
    /// knew all that the others do once they are equal: the account ends with the
    /// right totals. It lies hardly after the newest row: 4096 changes are 10 us.
    pub fn counted(&self) -> Version {
        Version(self.newest.max(self.put).0.saturating_add(self.changes))
    }

    /// Notes that this version was seen here.
    pub fn saw(&mut self, version: Version) {
        self.newest = self.newest.max(version);
    }

    /// Takes one row for another. Each comes with what it adds to the digest.
    pub fn replace(&mut self, old: Option<(u128, Value<'_>)>, new: Option<(u128, Value<'_>)>) {
        if let Some((digest, value)) = old {
            self.rows -= 1;
            self.digest = self.digest.wrapping_sub(digest);
            if let Some(weight) = value.weight(self.deleted) {
                self.count(weight, u64::wrapping_sub);
            }
        }
        if let Some((digest, value)) = new {
            self.rows += 1;
            self.digest = self.digest.wrapping_add(digest);
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

    /// Reads a head of format 1. What it lacks is for the caller to find out.
    pub fn decode_old(bytes: &[u8]) -> Option<Self> {
        let (format, rest) = bytes.split_first()?;
        // Three numbers follow in format 2, each zero in one byte.
        (*format == OLD_FORMAT).then(|| postcard::from_bytes(&[rest, &[0; 3]].concat()).ok())?
    }
}
