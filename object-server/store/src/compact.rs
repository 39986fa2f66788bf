//! Compaction: live records leave a mostly dead segment, and its file is used
//! again.
//!
//! Live records are copied verbatim to the `gc` log; once they are durable the
//! index is changed, only where it still names the old place. The old segment
//! goes when nothing names it and that is durable: a crash at any moment finds
//! either the old place or both. An extent list cannot be copied verbatim when
//! its extents move, so its COMMIT record is written anew with the new list.
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use virga_disk::batch::record::{Kind as RecordKind, NewRecord};
use virga_disk::reader::{ReadError, Record};
use virga_disk::segment::table::Segment;
use virga_disk::segment::{Locator, Stream};
use virga_node::clock::Version;
use virga_object_wire::error::NodeError;

use crate::apply::name_of;
use crate::change::Change;
use crate::device::{Device, device_failed};
use crate::entry::{Entry, Kind};
use crate::keys::NameKey;
use crate::record::{self, CommitHead, Run, by_segment, pack};
use crate::rounds::horizon;
use crate::{scan, sys};

/// Segments fuller than this, in percent, are left alone while there is room.
const FULL_ENOUGH: i64 = 80;
/// Below this much free space, in percent, any segment with dead bytes will do.
const PRESSED: u64 = 10;
/// Bytes copied before their places are written to the index.
const STEP: usize = 4 << 20;

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The segment.
    pub segment: u64,
    /// Records copied.
    pub moved: u64,
    /// Tombstones dropped because everybody knows them and they are old.
    pub reclaimed: u64,
    /// Whether the segment was given back.
    pub released: bool,
}

/// What a device remembers between compactions.
#[derive(Debug, Default)]
pub struct Compaction {
    /// Segments that something unreadable still lives in.
    stuck: Mutex<HashSet<u64>>,
    /// Held while compacting: one segment at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Compaction {
    fn stuck(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record that the index names (or a part of an object that it names).
pub(crate) struct Found {
    pub(crate) name: NameKey,
    pub(crate) place: Locator,
}

/// A name's record that has a new place.
struct Move {
    name: NameKey,
    from: Locator,
    to: Locator,
}

impl Device {
    /// Compacts the segment that is worth it most; `None` if none is.
    ///
    /// # Errors
    /// `Full` if there is no room for the copies, `Device` if the device fails.
    pub async fn compact(&self) -> Result<Option<Compacted>, NodeError> {
        let device = self.clone();
        let work = async move { device.compact_here().await };
        self.threads().complete(work).await.map_err(device_failed)?
    }

    /// As [`Device::compact`], on the calling thread, which blocks on the device.
    pub(crate) async fn compact_here(&self) -> Result<Option<Compacted>, NodeError> {
        let _turn = self.compaction().turn.lock().await;
        let Some(segment) = self.victim(&self.compaction().stuck()) else {
            return Ok(None);
        };
        let id = segment.id();
        let mut done = Compacted {
            segment: id,
            moved: 0,
            reclaimed: 0,
            released: false,
        };
        if self.index().live(id).refs > 0 {
            self.empty(&segment, &mut done).await?;
        }
        if self.index().live(id).refs > 0 {
            tracing::error!(segment = id, "something in the segment cannot be moved, it stays");
            self.compaction().stuck().insert(id);
            return Ok(Some(done));
        }
        // Nothing names the segment any more; that must be durable before its
        // bytes may go. An upload that held it may have committed meanwhile, so
        // its pin is looked at first and what is named after that.
        self.flush_index_blocking()?;
        if !self.pinned(&segment) && self.index().live(id).refs == 0 {
            if self.bad().is_worn(id) {
                tracing::warn!(
                    device = &**self.name(),
                    segment = id,
                    "everything has left a segment with damaged records, its file is deleted"
                );
            }
            drop(segment);
            self.segments().release(id).map_err(device_failed)?;
            self.bad().gone(id);
            done.released = true;
        }
        tracing::debug!(
            segment = id,
            moved = done.moved,
            released = done.released,
            "segment compacted"
        );
        Ok(Some(done))
    }

    /// Whether an upload or a reader needs the segment although the index may
    /// not name it.
    fn pinned(&self, segment: &Segment) -> bool {
        self.pins().holds(segment.id(), segment.stream())
    }

    /// The sealed segment whose compaction gains most for what it costs.
    fn victim(&self, stuck: &HashSet<u64>) -> Option<Arc<Segment>> {
        let all = self.segments().all();
        let newest = |stream| all.iter().filter(|s| s.stream() == stream).map(|s| s.id()).max();
        // A stream writes to its newest segment; the index of `hot` and `bulk`
        // must also be done with a segment before it can go.
        let sealed_below = |stream| {
            let newest = newest(stream).unwrap_or(0);
            match stream {
                Stream::Gc => newest,
                _ => self
                    .index()
                    .applied(stream)
                    .map_or(0, |position| position.segment.min(newest)),
            }
        };
        let bounds: BTreeMap<Stream, u64> = Stream::ALL.map(|stream| (stream, sealed_below(stream))).into();
        let (total, free) = self.condition().space();
        let pressed = free < total / 100 * PRESSED;
        let now = Version(self.segments().now()).time();
        all.iter()
            .filter(|segment| {
                let sealed = bounds
                    .get(&segment.stream())
                    .is_some_and(|bound| segment.id() < *bound);
                sealed && !stuck.contains(&segment.id()) && !self.pinned(segment)
            })
            .filter_map(|segment| {
                let size = i64::try_from(segment.size()).unwrap_or(i64::MAX);
                let live = self.index().live(segment.id());
                let used = (live.bytes.max(0) * 100 / size.max(1)).min(100);
                let worn = self.bad().is_worn(segment.id());
                let worth = worn || live.refs == 0 || used < FULL_ENOUGH || (pressed && used < 100);
                let age = now.since(Version(segment.created()).time()).as_secs() + 1;
                // (1 - u) * age / (1 + u), in integers.
                let score = i128::from(100 - used) * i128::from(age) * 1000 / i128::from(100 + used);
                worth.then_some(((worn, live.refs == 0, score), segment))
            })
            .max_by_key(|(urgency, _)| *urgency)
            .map(|(_, segment)| segment.clone())
    }

    /// Moves everything alive out of `segment`.
    async fn empty(&self, segment: &Arc<Segment>, done: &mut Compacted) -> Result<(), NodeError> {
        let sealed = self.sealed_before(segment);
        let mut found = Vec::new();
        let complete = scan::records(segment, |head, place, _| {
            let name = name_of(&head);
            found.push((head.kind, Found { name, place }));
        });
        if !complete.map_err(device_failed)? {
            tracing::warn!(segment = segment.id(), "a part of the segment cannot be read");
        }
        let mut extents: BTreeMap<NameKey, Vec<Found>> = BTreeMap::new();
        let mut pending: Vec<Found> = Vec::new();
        let mut bytes = 0;
        for (kind, found) in found {
            let Some(entry) = self.entry(&found.name).await? else {
                continue;
            };
            if kind == RecordKind::Extent {
                let here =
                    |winner: &crate::entry::Winner| winner.extents.iter().any(|(id, _)| *id == segment.id());
                if entry.winner.as_ref().is_some_and(here) {
                    extents.entry(found.name).or_default().push(found);
                }
                continue;
            }
            if !names(&entry, found.place) {
                continue;
            }
            if self.may_drop(&found.name, &entry, sealed)? {
                done.reclaimed += u64::from(self.drop_tombstone(&found, sealed)?);
                continue;
            }
            bytes += found.place.length as usize;
            pending.push(found);
            if bytes >= STEP {
                done.moved += self.copy(std::mem::take(&mut pending)).await?;
                bytes = 0;
            }
        }
        done.moved += self.copy(pending).await?;
        for (name, found) in extents {
            done.moved += self.move_extents(&name, &found).await?;
        }
        Ok(())
    }

    /// Copies records to `gc` and lets the index name the copies.
    pub(crate) async fn copy(&self, found: Vec<Found>) -> Result<u64, NodeError> {
        let mut tickets = Vec::new();
        for found in found {
            let Some(record) = self.verified(&found.name, found.place, found.place)? else {
                continue;
            };
            let record = record.rewrite().map_err(device_failed)?;
            tickets.push((found.name, found.place, self.enqueue_gc(record).await?));
        }
        let mut moves = Vec::new();
        for (name, from, ticket) in tickets {
            let to = self.answered(ticket.await)?.locator;
            moves.push(Move { name, from, to });
        }
        self.rename(&moves)
    }

    /// Lets entries name new places, where they still name the old ones.
    fn rename(&self, moves: &[Move]) -> Result<u64, NodeError> {
        let failed = |error| self.index_failed(&error);
        let mut lock = self.index().lock();
        let mut change = Change::new(self.index());
        let mut moved = 0;
        for Move { name, from, to } in moves {
            let Some(old) = change.entry(name).map_err(failed)? else {
                continue;
            };
            let mut new = old.clone();
            match (&mut new.winner, &mut new.post) {
                (Some(winner), _) if winner.place == *from => winner.place = *to,
                (_, Some(post)) if post.place == *from => post.place = *to,
                _ => continue,
            }
            change.replace(*name, Some(&old), Some(new));
            moved += 1;
        }
        lock.write(change.finish(), 0).map_err(failed)?;
        Ok(moved)
    }

    /// Reads a record that is to be copied; a damaged one is set aside and
    /// `None`. `named` is the place by which the entry names it.
    fn verified(&self, name: &NameKey, named: Locator, place: Locator) -> Result<Option<Record>, NodeError> {
        match self.reader().record_blocking(place) {
            Ok(record) => Ok(Some(record)),
            Err(ReadError::Damaged { bytes, .. }) => {
                self.set_aside_blocking(name, named, place, &bytes)?;
                Ok(None)
            }
            Err(error) => Err(self.read_failed(&error)),
        }
    }

    /// Copies the extents of one object and writes its COMMIT record anew.
    pub(crate) async fn move_extents(&self, name: &NameKey, found: &[Found]) -> Result<u64, NodeError> {
        let Some(entry) = self.entry(name).await? else {
            return Ok(0);
        };
        let Some(winner) = entry.winner.filter(|winner| winner.kind == Kind::Commit) else {
            return Ok(0);
        };
        let Some(commit) = self.verified(name, winner.place, winner.place)? else {
            return Ok(0);
        };
        let facts = record::facts(commit.meta()).map_err(device_failed)?;
        let mut list: CommitHead = record::decode(commit.meta()).map_err(device_failed)?;
        let mut places: Vec<Locator> = list.runs.iter().flat_map(|run: &Run| run.places()).collect();
        let mut tickets = Vec::new();
        for extent in found {
            // The same upload may have been written twice; only one is named.
            let Some(slot) = places.iter().position(|place| *place == extent.place) else {
                continue;
            };
            let Some(record) = self.verified(name, winner.place, extent.place)? else {
                return Ok(0);
            };
            let record = record.rewrite().map_err(device_failed)?;
            tickets.push((slot, self.enqueue_gc(record).await?));
        }
        if tickets.is_empty() {
            return Ok(0);
        }
        let moved = tickets.len() as u64;
        for (slot, ticket) in tickets {
            let to = self.answered(ticket.await)?.locator;
            if let Some(place) = places.get_mut(slot) {
                *place = to;
            }
        }
        list.moves += 1;
        list.runs = pack(&places);
        let meta = record::encode(facts, &list).map_err(device_failed)?;
        let record = NewRecord::new(*commit.head(), meta.into(), Bytes::new()).map_err(device_failed)?;
        let to = self.answered(self.enqueue_gc(record).await?.await)?.locator;
        self.rename_commit(name, winner.place, to, &list)?;
        Ok(moved)
    }

    fn rename_commit(
        &self,
        name: &NameKey,
        from: Locator,
        to: Locator,
        list: &CommitHead,
    ) -> Result<(), NodeError> {
        let failed = |error| self.index_failed(&error);
        let mut lock = self.index().lock();
        let mut change = Change::new(self.index());
        let Some(old) = change.entry(name).map_err(failed)? else {
            return Ok(());
        };
        let mut new = old.clone();
        match &mut new.winner {
            Some(winner) if winner.place == from => {
                winner.place = to;
                winner.moves = list.moves;
                winner.extents = by_segment(&list.runs);
            }
            _ => return Ok(()),
        }
        change.replace(*name, Some(&old), Some(new));
        lock.write(change.finish(), 0).map_err(failed)
    }

    /// A version later than anything in a sealed segment was written.
    fn sealed_before(&self, segment: &Segment) -> Version {
        let all = self.segments().all();
        let later = all
            .iter()
            .filter(|other| other.stream() == segment.stream() && other.id() > segment.id());
        Version(later.map(|other| other.created()).min().unwrap_or(u64::MAX))
    }

    /// Whether an entry is a tombstone that nobody needs any more (I7): it is old,
    /// and a round of reconciliation that began when it was here (its segment was
    /// sealed before `sealed`) was complete, so that every replica has it.
    fn may_drop(&self, name: &NameKey, entry: &Entry, sealed: Version) -> Result<bool, NodeError> {
        let deleted = entry
            .winner
            .as_ref()
            .is_some_and(|winner| winner.kind == Kind::Tombstone);
        let age = self.clock().now().since(entry.version().time());
        if !deleted || age <= self.options().reclaim_age {
            return Ok(false);
        }
        let round = self.last_round(name.policy())?.unwrap_or_default();
        Ok(round.started > entry.version().max(sealed))
    }

    fn drop_tombstone(&self, found: &Found, sealed: Version) -> Result<bool, NodeError> {
        let failed = |error| self.index_failed(&error);
        let mut lock = self.index().lock();
        let mut change = Change::new(self.index());
        let entry = change.entry(&found.name).map_err(failed)?;
        let Some(old) = entry.filter(|entry| names(entry, found.place)) else {
            return Ok(false);
        };
        if !self.may_drop(&found.name, &old, sealed)? {
            return Ok(false);
        }
        let policy = found.name.policy();
        let horizon = horizon(self.index(), policy).map_err(failed)?;
        if old.version() > horizon {
            change.note(&sys::horizon(policy), &sys::encode_version(old.version()));
        }
        change.replace(found.name, Some(&old), None);
        lock.write(change.finish(), 0).map_err(failed)?;
        Ok(true)
    }
}

/// Whether an entry names the record at `place`.
pub(crate) fn names(entry: &Entry, place: Locator) -> bool {
    entry.winner.as_ref().is_some_and(|winner| winner.place == place)
        || entry.post.as_ref().is_some_and(|post| post.place == place)
}
