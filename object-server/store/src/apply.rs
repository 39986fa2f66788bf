//! Durable records become index entries: the committers call this, and replay.
//!
//! One batch of the log is one atomic write of the index together with the
//! position it brings the stream to, so whatever the index holds after a crash
//! is exactly the log up to that position (invariant I2).
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use virga_disk::batch::record::{Head, Kind as RecordKind};
use virga_disk::log::{Apply, ApplyError, Damaged, LogRecord};
use virga_disk::segment::table::Segments;
use virga_disk::segment::{Position, Stream};
use virga_node::clock::Version;
use virga_object_wire::movement::tie;
use virga_object_wire::posted::PostRank;
use virga_ring::Partition;
use virga_ring::hash::NameHash;

use crate::bad::BadRecords;
use crate::change::Change;
use crate::entry::{Entry, Kind, Post, Winner};
use crate::index::Index;
use crate::keys::NameKey;
use crate::record::{self, BadHead, Basis, CommitHead};

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Fate {
    /// It is what the index now names.
    #[default]
    Adopted,
    /// The index named this very content already.
    Same,
    /// Something newer was there.
    Overtaken,
}

/// What applying a record tells its submitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Outcome {
    /// What became of it.
    pub fate: Fate,
    /// Newest version of the name afterwards.
    pub newest: Version,
    /// Whether the name was an object before.
    pub existed: bool,
    /// Version of the data or deletion before; zero if there was none.
    pub before: Version,
    /// Second of expiry the name had before.
    pub expiry: Option<u64>,
    /// Something else of the very same version was here, and lost by a rule that containers cannot know.
    pub tied: bool,
}

/// Applies the records of one stream.
pub struct Applier {
    index: Arc<Index>,
    bad: Arc<BadRecords>,
    segments: Arc<Segments>,
    stream: Stream,
    replaying: Arc<AtomicBool>,
}

impl Applier {
    /// An applier for `stream`; `replaying` is true until all logs are open.
    pub fn new(
        index: &Arc<Index>,
        bad: &Arc<BadRecords>,
        segments: &Arc<Segments>,
        stream: Stream,
        replaying: &Arc<AtomicBool>,
    ) -> Self {
        Self {
            index: index.clone(),
            bad: bad.clone(),
            segments: segments.clone(),
            stream,
            replaying: replaying.clone(),
        }
    }

    fn record(&self, change: &mut Change<'_>, record: &LogRecord<'_>) -> Result<Outcome, ApplyError> {
        let name = name_of(&record.head);
        match record.head.kind {
            RecordKind::Extent => Ok(Outcome::default()),
            RecordKind::Object | RecordKind::Commit | RecordKind::Tombstone => {
                self.data(change, name, record)
            }
            RecordKind::Meta => post(change, name, record),
            // Kinds of block volumes and erasure coding have no meaning in this
            // index: a device that carries them belongs to a newer version.
            kind => Err(ApplyError(format!(
                "a record of kind {kind:?} from a newer version"
            ))),
        }
    }

    fn data(
        &self,
        change: &mut Change<'_>,
        name: NameKey,
        record: &LogRecord<'_>,
    ) -> Result<Outcome, ApplyError> {
        let facts = record::facts(record.meta).map_err(unreadable)?;
        let version = Version(record.head.version);
        let winner = winner_of(record)?;
        let lost = |segment: u64| self.segments.get(segment).is_none();
        // An extent list that compaction has rewritten names segments that may
        // be gone; the rewritten one is in the log too.
        if self.replaying.load(Ordering::Relaxed) && winner.extents.iter().any(|(id, _)| lost(*id)) {
            return Ok(Outcome {
                fate: Fate::Overtaken,
                newest: version,
                ..Outcome::default()
            });
        }
        let old = change.entry(&name).map_err(refused)?;
        let held = old.as_ref().and_then(|entry| entry.winner.as_ref());
        let equal = held.filter(|old| old.version == version);
        let same = equal.is_some_and(|old| old.blake3 == winner.blake3);
        let tied = equal.is_some() && !same;
        let (existed, expiry) = (
            old.as_ref().is_some_and(|e| e.object().is_some()),
            old.as_ref().and_then(|e| e.delete_at),
        );
        let before = data_version(old.as_ref());
        let Some(new) = Entry::with_winner(old.as_ref(), winner, facts.delete_at) else {
            let newest = old.as_ref().map_or(version, Entry::version);
            let fate = if same { Fate::Same } else { Fate::Overtaken };
            return Ok(Outcome {
                fate,
                newest,
                existed,
                before,
                expiry,
                tied,
            });
        };
        let newest = new.version();
        change.replace(name, old.as_ref(), Some(new));
        if !record.head.settled {
            change.owe_row(&name, version);
        }
        Ok(Outcome {
            fate: Fate::Adopted,
            newest,
            existed,
            before,
            expiry,
            tied,
        })
    }
}

/// Version of a name's data or deletion; zero if there is none.
fn data_version(entry: Option<&Entry>) -> Version {
    entry.map_or(Version(0), Entry::data_version)
}

/// The key of the name that a record is of.
pub(crate) fn name_of(head: &Head) -> NameKey {
    NameKey::new(head.policy, Partition(head.partition), NameHash(head.key))
}

fn post(change: &mut Change<'_>, name: NameKey, record: &LogRecord<'_>) -> Result<Outcome, ApplyError> {
    let version = Version(record.head.version);
    let (facts, Basis { over, typed }) = record::update_facts(record.meta, version).map_err(unreadable)?;
    let rank = PostRank {
        over,
        version,
        typed,
        tie: tie(&record.head.blake3),
    };
    let new = Post {
        rank,
        place: record.locator,
    };
    let old = change.entry(&name).map_err(refused)?;
    let existed = old.as_ref().is_some_and(|entry| entry.object().is_some());
    let before = data_version(old.as_ref());
    let held = old.as_ref().and_then(|entry| entry.post.as_ref());
    let equal = held.filter(|post| post.rank.version == version);
    let same = equal.is_some_and(|post| post.rank == rank);
    let tied = equal.is_some_and(|post| post.rank.tie != rank.tie);
    let Some(entry) = Entry::with_post(old.as_ref(), new, facts.delete_at) else {
        let newest = old.as_ref().map_or(version, Entry::version);
        let fate = if same { Fate::Same } else { Fate::Overtaken };
        return Ok(Outcome {
            fate,
            newest,
            existed,
            before,
            expiry: None,
            tied,
        });
    };
    change.replace(name, old.as_ref(), Some(entry));
    if existed && !record.head.settled {
        change.owe_row(&name, version);
    }
    Ok(Outcome {
        fate: Fate::Adopted,
        newest: version,
        existed,
        before,
        expiry: None,
        tied,
    })
}

fn winner_of(record: &LogRecord<'_>) -> Result<Winner, ApplyError> {
    let head = record.head;
    let (kind, moves, extents) = match head.kind {
        RecordKind::Object => (Kind::Object, 0, Vec::new()),
        RecordKind::Commit => {
            let commit: CommitHead = record::decode(record.meta).map_err(unreadable)?;
            (Kind::Commit, commit.moves, record::by_segment(&commit.runs))
        }
        _ => (Kind::Tombstone, 0, Vec::new()),
    };
    let (blake3, size) = if kind == Kind::Tombstone {
        ([0; 32], 0)
    } else {
        (head.blake3, head.size)
    };
    let place = record.locator;
    Ok(Winner {
        kind,
        version: Version(head.version),
        blake3,
        size,
        moves,
        place,
        extents,
    })
}

fn unreadable(error: BadHead) -> ApplyError {
    ApplyError(error.to_string())
}

fn refused(error: impl ToString) -> ApplyError {
    ApplyError(error.to_string())
}

impl Apply for Applier {
    type Outcome = Outcome;

    fn apply(
        &mut self,
        records: &[LogRecord<'_>],
        upto: Position,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<(), ApplyError> {
        // A moved record means nothing by itself: compaction changes the index
        // once it is durable. Only a lost index is rebuilt from moved records.
        if self.stream == Stream::Gc && !self.replaying.load(Ordering::Relaxed) {
            outcomes.extend(records.iter().map(|_| Outcome::default()));
            return Ok(());
        }
        let mut lock = self.index.lock();
        let mut change = Change::new(&self.index);
        self.index.pay_settled(&mut change);
        for record in records {
            outcomes.push(self.record(&mut change, record)?);
        }
        change.applied(self.stream, upto);
        let bytes = records
            .iter()
            .map(|record| u64::from(record.locator.length))
            .sum();
        lock.write(change.finish(), bytes).map_err(refused)
    }

    fn damaged(&mut self, piece: Damaged<'_>) {
        tracing::error!(
            stream = self.stream.name(),
            segment = piece.segment,
            offset = piece.offset,
            "durable bytes can no longer be read; a copy is set aside"
        );
        self.bad.keep(piece.segment, piece.offset, piece.bytes);
    }
}
