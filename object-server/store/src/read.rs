//! Reads: index, record, checks, bytes. Nothing leaves unverified (I3).
//!
//! A record that is damaged is set aside ([`crate::quarantine`]) and the reader
//! is told at once, so that it goes to another replica. Compaction may move a
//! record between the index lookup and the read: the lookup is then repeated.
use futures_util::{StreamExt, stream};
use virga_disk::batch::record::Kind as RecordKind;
use virga_disk::reader::{ReadError, Record};
use virga_disk::segment::Locator;
use virga_node::clock::Version;
use virga_object_wire::checked::{BLOCK, Checked, EXTENT};
use virga_object_wire::error::NodeError;
use virga_object_wire::node::{Body, ObjectRead, Read, Span};
use virga_object_wire::object::{At, Found, ObjectMeta, ObjectStat};
use virga_object_wire::posted::Posted;

use crate::device::Device;
use crate::entry::{Entry, Kind, Post, Winner};
use crate::keys::NameKey;
use crate::mutate::visible;
use crate::pins::Pinned;
use crate::record::{self, CommitHead, Run};

/// How often a read follows a record that compaction moved away.
pub(crate) const FOLLOW: usize = 4;
/// Extents of a large object read at the same time by one reader (I10).
const READ_AHEAD: usize = 2;

/// A time, in Unix seconds, at which nothing had expired.
pub(crate) const BEFORE_ALL: u64 = 0;

/// An object as the device knows it, for those who change it.
pub(crate) struct Seen {
    pub stat: ObjectStat,
    /// The metadata update that is in force.
    pub posted: Option<Posted>,
}

/// Why one attempt did not give a record.
pub(crate) enum Miss {
    /// Its segment is gone: the index knows a newer place.
    Moved,
    /// The caller's answer.
    Failed(NodeError),
}

impl From<NodeError> for Miss {
    fn from(error: NodeError) -> Self {
        Self::Failed(error)
    }
}

/// What stands in the winner's record, decoded.
struct Opened {
    stat: ObjectStat,
    posted: Option<Posted>,
    record: Record,
    runs: Vec<Run>,
}

impl Device {
    /// What the device knows of the name.
    ///
    /// # Errors
    /// `Damaged` if the record is (it is set aside), `Device` if the device fails.
    pub async fn head(&self, at: &At) -> Result<Found, NodeError> {
        let name = NameKey::of(at);
        for _ in 0..FOLLOW {
            let Some(entry) = self.entry(&name).await? else {
                return Ok(Found::Absent);
            };
            let Some(winner) = live_winner(&entry, self.now_secs()) else {
                return Ok(gone(&entry).map_or(Found::Absent, Found::Deleted));
            };
            match self.open_winner(&name, &entry, winner, Some((0, 0))).await {
                Ok(opened) => return Ok(Found::Object(opened.stat)),
                Err(Miss::Moved) => {}
                Err(Miss::Failed(error)) => return Err(error),
            }
        }
        Err(NodeError::Busy)
    }

    /// Reads an object; `None` means all of it. A span past the end is cut.
    ///
    /// # Errors
    /// As [`Device::head`]; damage found later ends the body with `Damaged`.
    pub async fn get(&self, at: &At, span: Option<Span>) -> Result<Read, NodeError> {
        self.get_as_of(at, span, self.now_secs()).await
    }

    /// The same of an object that has expired too.
    ///
    /// # Errors
    /// As [`Device::get`].
    pub async fn get_expired_too(&self, at: &At, span: Option<Span>) -> Result<Read, NodeError> {
        self.get_as_of(at, span, BEFORE_ALL).await
    }

    async fn get_as_of(&self, at: &At, span: Option<Span>, now_secs: u64) -> Result<Read, NodeError> {
        let name = NameKey::of(at);
        for _ in 0..FOLLOW {
            let Some(entry) = self.entry(&name).await? else {
                return Ok(Read::Gone(None));
            };
            let Some(winner) = live_winner(&entry, now_secs) else {
                return Ok(Read::Gone(gone(&entry)));
            };
            let attempt = match winner.kind {
                Kind::Commit => self.read_extents(&name, &entry, winner, span).await,
                _ => self.read_whole(&name, &entry, winner, span).await,
            };
            match attempt {
                Ok(read) => return Ok(Read::Object(read)),
                Err(Miss::Moved) => {}
                Err(Miss::Failed(error)) => return Err(error),
            }
        }
        Err(NodeError::Busy)
    }

    /// The head of an object, whether or not it has expired.
    pub(crate) async fn stat_expired_too(&self, name: &NameKey) -> Result<Option<ObjectStat>, NodeError> {
        Ok(self.seen(name, BEFORE_ALL).await?.map(|seen| seen.stat))
    }

    /// The object with its newest metadata, if there is one to be seen at a time.
    pub(crate) async fn seen(&self, name: &NameKey, now_secs: u64) -> Result<Option<Seen>, NodeError> {
        for _ in 0..FOLLOW {
            let Some(entry) = self.entry(name).await? else {
                return Ok(None);
            };
            let Some(winner) = live_winner(&entry, now_secs) else {
                return Ok(None);
            };
            match self.open_winner(name, &entry, winner, Some((0, 0))).await {
                Ok(opened) => {
                    return Ok(Some(Seen {
                        stat: opened.stat,
                        posted: opened.posted,
                    }));
                }
                Err(Miss::Moved) => {}
                Err(Miss::Failed(error)) => return Err(error),
            }
        }
        Err(NodeError::Busy)
    }

    /// The head that a winner's record and the update of `entry` make.
    pub(crate) async fn stat_of(
        &self,
        name: &NameKey,
        entry: &Entry,
        winner: &Winner,
    ) -> Result<ObjectStat, Miss> {
        Ok(self.open_winner(name, entry, winner, Some((0, 0))).await?.stat)
    }

    pub(crate) async fn read_whole(
        &self,
        name: &NameKey,
        entry: &Entry,
        winner: &Winner,
        span: Option<Span>,
    ) -> Result<ObjectRead, Miss> {
        let (start, end) = covering(span, winner.size);
        let whole = (start, end) == (0, winner.size);
        let wanted = (!whole).then_some((start, end));
        let opened = self.open_winner(name, entry, winner, wanted).await?;
        let piece = checked(&opened.record);
        let body: Body = if piece.is_empty() {
            Box::pin(stream::empty())
        } else {
            Box::pin(stream::once(std::future::ready(Ok(piece))))
        };
        Ok(ObjectRead {
            stat: opened.stat,
            body_start: start,
            body,
        })
    }

    pub(crate) async fn read_extents(
        &self,
        name: &NameKey,
        entry: &Entry,
        winner: &Winner,
        span: Option<Span>,
    ) -> Result<ObjectRead, Miss> {
        let opened = self.open_winner(name, entry, winner, Some((0, 0))).await?;
        let mut pinned = Pinned::none(self.pins());
        winner
            .extents
            .iter()
            .for_each(|(segment, _)| pinned.add(*segment));
        // Compaction looks for pins after it changed the index: an entry that
        // is still the same now keeps its extents until the pins go.
        if self.entry(name).await?.and_then(|entry| entry.winner).as_ref() != Some(winner) {
            return Err(Miss::Moved);
        }
        let (start, end) = covering(span, winner.size);
        let wanted: Vec<(u64, Locator)> = opened
            .runs
            .iter()
            .flat_map(|run| run.places())
            .enumerate()
            .map(|(index, place)| (index as u64 * EXTENT as u64, place))
            .filter(|(at, _)| *at < end && at + EXTENT as u64 > start)
            .collect();
        let (device, name, commit) = (self.clone(), *name, winner.place);
        let size = winner.size;
        let body = stream::iter(wanted)
            .map(move |(at, place)| {
                let device = device.clone();
                async move {
                    let from = start.saturating_sub(at).min(EXTENT as u64);
                    let to = (end - at).min(EXTENT as u64).min(size - at);
                    device
                        .extent(&name, commit, at, place, from as usize..to as usize)
                        .await
                }
            })
            .buffered(READ_AHEAD)
            .inspect(move |_| {
                // The segments stay until the body is dropped.
                let _ = &pinned;
            });
        Ok(ObjectRead {
            stat: opened.stat,
            body_start: start,
            body: Box::pin(body),
        })
    }

    async fn extent(
        &self,
        name: &NameKey,
        commit: Locator,
        at: u64,
        place: Locator,
        wanted: std::ops::Range<usize>,
    ) -> Result<Checked, NodeError> {
        match self.reader().range(place, wanted).await {
            Ok(record)
                if record.head().kind == RecordKind::Extent
                    && record.head().key == name.hash().0
                    && record.head().size == at =>
            {
                Ok(checked(&record))
            }
            Ok(record) => Err(self.set_aside(name, commit, place, record.payload()).await),
            Err(ReadError::Damaged { bytes, .. }) => Err(self.set_aside(name, commit, place, bytes).await),
            Err(error) => Err(self.read_failed(&error)),
        }
    }

    /// Reads the winner's record (`wanted`: which bytes of the payload, `None`
    /// all) and the newest POST, and puts the head together.
    async fn open_winner(
        &self,
        name: &NameKey,
        entry: &Entry,
        winner: &Winner,
        wanted: Option<(u64, u64)>,
    ) -> Result<Opened, Miss> {
        let kind = match winner.kind {
            Kind::Object => RecordKind::Object,
            Kind::Commit => RecordKind::Commit,
            Kind::Tombstone => RecordKind::Tombstone,
        };
        let record = self
            .record(name, winner.place, kind, winner.version, wanted)
            .await?;
        let (mut meta, runs) = if winner.kind == Kind::Commit {
            let commit: CommitHead = record::decode(record.meta()).map_err(unreadable)?;
            (commit.meta, commit.runs)
        } else {
            let meta: ObjectMeta = record::decode(record.meta()).map_err(unreadable)?;
            (meta, Vec::new())
        };
        let (mut meta_version, mut type_version) = (winner.version, winner.version);
        let mut posted = None;
        if let Some(post) = &entry.post {
            let update = self.update(name, post).await?;
            if post.rank.shows_with(winner.version) {
                record::merge_post(&mut meta, update.meta.clone());
                meta_version = update.version;
                type_version = update.typed.max(type_version);
            }
            posted = Some(update);
        }
        let stat = ObjectStat {
            version: winner.version,
            meta_version,
            type_version,
            size: winner.size,
            blake3: winner.blake3,
            meta,
        };
        Ok(Opened {
            stat,
            posted,
            record,
            runs,
        })
    }

    /// Reads a metadata update.
    pub(crate) async fn update(&self, name: &NameKey, post: &Post) -> Result<Posted, Miss> {
        let version = post.rank.version;
        let record = self
            .record(name, post.place, RecordKind::Meta, version, Some((0, 0)))
            .await?;
        record::decode_update(record.meta(), version, record.head().blake3).map_err(unreadable)
    }

    /// Reads one record and makes sure that it is the one the index means.
    pub(crate) async fn record(
        &self,
        name: &NameKey,
        place: Locator,
        kind: RecordKind,
        version: Version,
        wanted: Option<(u64, u64)>,
    ) -> Result<Record, Miss> {
        let read = match wanted {
            None => self.reader().record(place).await,
            Some((start, end)) => self.reader().range(place, start as usize..end as usize).await,
        };
        let bytes = match read {
            Ok(record) => {
                let head = record.head();
                if head.kind == kind && head.key == name.hash().0 && head.version == version.0 {
                    return Ok(record);
                }
                record.payload()
            }
            Err(ReadError::Damaged { bytes, .. }) => bytes,
            Err(ReadError::Gone(_)) => return Err(Miss::Moved),
            Err(error) => return Err(Miss::Failed(self.read_failed(&error))),
        };
        Err(Miss::Failed(self.set_aside(name, place, place, bytes).await))
    }
}

/// The object that a reader may see at `now_secs`.
fn live_winner(entry: &Entry, now_secs: u64) -> Option<&Winner> {
    entry.object().filter(|_| visible(entry, now_secs))
}

/// The version a name was deleted or expired at, if it ever was anything.
fn gone(entry: &Entry) -> Option<Version> {
    match &entry.winner {
        None => None,
        Some(winner) if winner.kind == Kind::Tombstone => Some(winner.version),
        Some(_) => Some(entry.version()),
    }
}

/// Whole blocks that cover the wanted bytes of an object of `size` bytes.
pub(crate) fn covering(span: Option<Span>, size: u64) -> (u64, u64) {
    let Some(span) = span else { return (0, size) };
    let block = BLOCK as u64;
    let end = span.end.min(size);
    let start = span.start.min(end) / block * block;
    if span.start >= end {
        return (start, start);
    }
    (start, end.next_multiple_of(block).min(size))
}

/// The verified blocks of a record with the checksums they were stored with.
fn checked(record: &Record) -> Checked {
    Checked::unverified(record.payload(), record.blocks().map(|(_, crc)| crc).collect())
}

pub(crate) fn unreadable(error: record::BadHead) -> Miss {
    Miss::Failed(NodeError::Device(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_widened_to_blocks_and_cut_at_the_end() {
        let span = |start, end| Some(Span { start, end });
        let block = BLOCK as u64;
        assert_eq!(covering(None, 10), (0, 10));
        assert_eq!(covering(span(0, 1), 10), (0, 10));
        assert_eq!(
            covering(span(block + 1, block + 2), 3 * block),
            (block, 2 * block)
        );
        assert_eq!(
            covering(span(block, 9 * block), 2 * block + 5),
            (block, 2 * block + 5)
        );
        assert_eq!(covering(span(5, 5), 10), (0, 0));
        assert_eq!(covering(span(3 * block, 4 * block), 10), (0, 0));
        assert_eq!(covering(span(7, u64::MAX), 0), (0, 0));
    }
}
