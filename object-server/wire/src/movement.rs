//! What nodes say to each other so that replicas become equal: digests, names
//! and versions, records pushed verbatim, and how far a device has come.
//!
//! Replicas compare sums (a partition, then its 256 buckets, then the names of
//! the buckets that differ); the one that knows more pushes, nobody pulls. Asked
//! and answered by the object server's `reconcile` duty; [`Movement`] is for
//! whoever waits for a ring change to end. The engine keeps the sums.
use std::fmt;

use serde::{Deserialize, Serialize};
use virga_node::clock::{Micros, Version};
use virga_ring::{NameHash, Partition, RingId};

use crate::listing::ListingKind;
use crate::object::PutObject;
use crate::posted::{PostRank, Posted};

/// One of the rings of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RingName {
    /// Where accounts lie.
    Account,
    /// Where containers lie.
    Container,
    /// Where the objects of a storage policy lie.
    Object(u32),
}

/// The ring that a kind of listing lies in.
pub fn ring_of(kind: ListingKind) -> RingName {
    match kind {
        ListingKind::Account => RingName::Account,
        ListingKind::Container => RingName::Container,
    }
}

/// As the ring's file is called: "account", "object", "object-1".
impl fmt::Display for RingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account => f.write_str("account"),
            Self::Container => f.write_str("container"),
            Self::Object(0) => f.write_str("object"),
            Self::Object(policy) => write!(f, "object-{policy}"),
        }
    }
}

/// A ring that whoever is told of it does not have yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewerRing {
    /// Which ring.
    pub ring: RingName,
    /// Its version.
    pub version: u64,
    /// Address of a node that uses it.
    pub ip: String,
    /// Port of that node.
    pub port: u16,
}

/// How far a device has come with one ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Movement {
    /// Name of the device, as in the ring.
    pub device: String,
    /// Which ring.
    pub ring: RingName,
    /// The ring that its node has loaded.
    pub using: RingId,
    /// The ring under which the device last completed a round: every name it
    /// held when that began is on all primaries of that ring, and it keeps none
    /// that is not its own.
    pub reconciled: Option<RingId>,
    /// When the last complete round began; zero if there was none.
    pub round_started: Version,
    /// Highest version of a deletion that this device, or one it spoke with,
    /// has forgotten; zero if none.
    pub horizon: Version,
    /// Partitions with names on the device that the loaded ring puts there.
    pub partitions_own: u64,
    /// Partitions with names on the device that belong elsewhere.
    pub partitions_foreign: u64,
    /// Partitions that the round under way has still to look at; after a round,
    /// those it could not finish.
    pub partitions_left: u64,
    /// Names set aside because their deletion may have been forgotten; an
    /// operator finds them in the folder `stale` of the device.
    pub set_aside: u64,
    /// What was pushed since the node started, by target.
    pub pushed: Vec<Pushed>,
    /// Why the last round was not complete, in words.
    pub last_error: Option<String>,
}

/// What one device pushed to another since its node started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// Name of the target, as in the ring.
    pub device: String,
    /// Its address, "ip:port": names repeat across hosts.
    pub address: String,
    /// Partitions of which it got something, counted once a round.
    pub partitions: u64,
    /// Names: objects, deletions, metadata updates; rows for listings.
    pub names: u64,
    /// Bytes of objects; of encoded rows for listings.
    pub bytes: u64,
}

/// Sum over what is known in a partition or bucket. Equal sums, equal knowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sum {
    /// Wrapping sum of the entries' hashes.
    pub sum: u128,
    /// Number of entries.
    pub count: u64,
}

impl Sum {
    /// Length in bytes as devices store it.
    pub const LEN: usize = 24;

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            sum: self.sum.wrapping_add(other.sum),
            count: self.count.wrapping_add(other.count),
        }
    }

    /// This without the other.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            sum: self.sum.wrapping_sub(other.sum),
            count: self.count.wrapping_sub(other.count),
        }
    }

    /// Bytes as stored.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..16].copy_from_slice(&self.sum.to_le_bytes());
        out[16..].copy_from_slice(&self.count.to_le_bytes());
        out
    }

    /// Reads stored bytes; `None` if they have another length.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (sum, count) = bytes.split_at_checked(16)?;
        Some(Self {
            sum: u128::from_le_bytes(sum.try_into().ok()?),
            count: u64::from_le_bytes(count.try_into().ok()?),
        })
    }
}

/// First eight bytes of a BLAKE3, big-endian: what [`Rank`] keeps of it.
pub fn tie(blake3: &[u8; 32]) -> u64 {
    blake3
        .iter()
        .take(8)
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Who answers, and what it goes by: with every answer about a whole device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answering {
    /// Identity of the device, drawn when it was made: a device that asks
    /// itself under another name finds out.
    pub identity: [u8; 16],
    /// The ring its node has loaded; `None` if it knows none of that name.
    pub using: Option<RingId>,
    /// As [`Movement::horizon`].
    pub horizon: Version,
    /// What time it is there.
    pub now: Micros,
}

/// Sums of partitions, in the order they were asked for. One without names has
/// the sum zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Who answers.
    pub answering: Answering,
    /// One for each partition asked for.
    pub sums: Vec<Sum>,
}

/// Which of the 256 buckets of a partition are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Buckets([u64; 4]);

impl Buckets {
    /// All of them.
    pub const ALL: Self = Self([u64::MAX; 4]);

    /// Adds one.
    pub fn insert(&mut self, bucket: u8) {
        self.0[usize::from(bucket >> 6)] |= 1 << (bucket & 63);
    }

    /// Whether one is meant.
    pub fn contains(&self, bucket: u8) -> bool {
        self.0[usize::from(bucket >> 6)] & (1 << (bucket & 63)) != 0
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }
}

/// Which names of a partition are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesRequest {
    /// Storage policy.
    pub policy: u32,
    /// The partition.
    pub partition: Partition,
    /// Names in these buckets only.
    pub buckets: Buckets,
    /// Names behind this one only.
    pub after: Option<NameHash>,
    /// At most so many; the node may return fewer.
    pub limit: u32,
}

/// Names in order of their hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct NamesPage {
    /// What is known of each.
    pub names: Vec<NameState>,
    /// The page goes up to this hash: whatever lies before it and is not in the
    /// page is unknown here. `None`: up to the end of the partition.
    pub upto: Option<NameHash>,
}

/// What a device knows of a name, without the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameState {
    /// Hash of the name.
    pub hash: NameHash,
    /// The object or its deletion, if either is known.
    pub data: Option<DataState>,
    /// A metadata update (POST) over that data or later data, if one is known.
    pub post: Option<PostRank>,
}

/// Key of the hash that sums are made of: a name for the purpose, so that they
/// never collide with other uses of BLAKE3.
const SUM_KEY: [u8; 32] = *b"virga object digest sum, v3\0\0\0\0\0";

impl NameState {
    /// What the name adds to the sum of its bucket: first 16 bytes, little-endian,
    /// of the keyed BLAKE3 over everything that is known.
    pub fn sum(&self) -> Sum {
        let mut text = [0; 65];
        text[..16].copy_from_slice(&self.hash.0);
        if let Some(data) = &self.data {
            text[16] = if data.deleted { 2 } else { 1 };
            text[17..25].copy_from_slice(&data.rank.version.0.to_le_bytes());
            text[25..33].copy_from_slice(&data.rank.tie.to_le_bytes());
        }
        if let Some(post) = &self.post {
            text[33..41].copy_from_slice(&post.over.0.to_le_bytes());
            text[41..49].copy_from_slice(&post.version.0.to_le_bytes());
            text[49..57].copy_from_slice(&post.typed.0.to_le_bytes());
            text[57..].copy_from_slice(&post.tie.to_le_bytes());
        }
        let hash = blake3::keyed_hash(&SUM_KEY, &text);
        let mut first = [0; 16];
        first.copy_from_slice(&hash.as_bytes()[..16]);
        Sum {
            sum: u128::from_le_bytes(first),
            count: 1,
        }
    }

    /// Bucket of the name: the last byte of its hash, which no partition ever
    /// covers, so that buckets stay what they are when the part power grows.
    pub fn bucket(&self) -> u8 {
        self.hash.0[15]
    }

    /// Newest version of the name: of the data, the deletion or the update.
    pub fn version(&self) -> Version {
        let data = self.data.map_or(Version(0), |data| data.rank.version);
        self.post.map_or(data, |post| post.version.max(data))
    }
}

/// An object or its deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataState {
    /// Which of two is newer.
    pub rank: Rank,
    /// Whether it is a deletion.
    pub deleted: bool,
    /// Bytes of the object, zero for a deletion.
    pub size: u64,
}

/// What decides between two records of a name: the version, then the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rank {
    /// The version.
    pub version: Version,
    /// First eight bytes of the BLAKE3 of the content, big-endian; zero for a
    /// deletion.
    pub tie: u64,
}

/// A record without a body, as another replica holds it. Objects travel as
/// [`crate::object::PutObject`] with [`crate::object::Source::Replica`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Push {
    /// A deletion.
    Deletion {
        /// Its version.
        version: Version,
        /// "account/container/object".
        path: String,
        /// Whether the sender still owes the container the row; then so does
        /// the receiver.
        row_owed: bool,
    },
    /// A metadata update.
    Post {
        /// It.
        update: Posted,
        /// As for a deletion.
        row_owed: bool,
    },
}

/// The records that a node keeps of a name, each as it was written: what was
/// posted later is not mixed into the data's own metadata, as a reader's head has
/// it. For whoever brings another replica what it lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Records {
    /// The object without its bytes, which a read of the same version gives.
    pub object: Option<PutObject>,
    /// The deletion, if that is what is known.
    pub deletion: Option<Push>,
    /// The newest metadata update.
    pub post: Option<Push>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_forgets_what_is_taken_out_and_survives_storage() {
        let a = Sum {
            sum: u128::MAX - 5,
            count: 1,
        };
        let b = Sum { sum: 77, count: 1 };
        assert_eq!(a.plus(b).minus(a), b);
        assert_eq!(Sum::decode(&a.plus(b).encode()), Some(a.plus(b)));
        assert_eq!(Sum::decode(&[0; 23]), None);
    }

    #[test]
    fn everything_known_of_a_name_changes_its_sum() {
        let rank = |version, tie| Rank {
            version: Version(version),
            tie,
        };
        let state = |data: Option<(u64, u64, bool)>, post: Option<(u64, u64)>| NameState {
            hash: NameHash([3; 16]),
            data: data.map(|(version, tie, deleted)| DataState {
                rank: rank(version, tie),
                deleted,
                size: 9,
            }),
            post: post.map(|(version, tie)| PostRank {
                over: Version(1),
                version: Version(version),
                typed: Version(0),
                tie,
            }),
        };
        let with = |change: fn(&mut PostRank)| {
            let mut state = state(None, Some((2, 1)));
            state.post.iter_mut().for_each(change);
            state
        };
        let all = [
            state(None, None),
            state(Some((1, 0, true)), None),
            state(Some((1, 0, false)), None),
            state(Some((1, 1, false)), None),
            state(Some((2, 1, false)), None),
            state(Some((1, 1, false)), Some((2, 0))),
            state(Some((1, 1, false)), Some((2, 1))),
            state(None, Some((2, 1))),
            with(|post| post.over = Version(2)),
            with(|post| post.typed = Version(2)),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(all[..n].iter().all(|other| other.sum() != one.sum()), "{one:?}");
        }
    }

    #[test]
    fn buckets_are_told_apart() {
        let mut some = Buckets::default();
        assert!(some.is_empty());
        for bucket in [0, 63, 64, 200, 255] {
            assert!(!some.contains(bucket));
            some.insert(bucket);
            assert!(some.contains(bucket));
        }
        let in_it = (0..=u8::MAX).filter(|bucket| some.contains(*bucket)).count();
        assert_eq!(in_it, 5);
        assert!((0..=u8::MAX).all(|bucket| Buckets::ALL.contains(bucket)));
    }

    #[test]
    fn rings_are_called_as_their_files() {
        let names = [
            RingName::Account,
            RingName::Container,
            RingName::Object(0),
            RingName::Object(3),
        ];
        let names = names.map(|name| name.to_string());
        assert_eq!(names, ["account", "container", "object", "object-3"]);
    }
}
