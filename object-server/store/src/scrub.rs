//! Scrub: every record is read from the medium now and then, so that rot is
//! found while other replicas can still mend it.
//!
//! One segment at a time, oldest first, behind a cursor in `sys`. A record that
//! does not read well is moved as compaction would move it: what the page cache
//! or a second read still has gets a new place, what is gone is set aside, and
//! reconciliation fetches it back. Called by [`crate::upkeep`].
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use virga_disk::kv::cursor::Bounds;
use virga_disk::segment::Locator;
use virga_disk::segment::table::Segment;
use virga_node::clock::Micros;
use virga_object_wire::error::NodeError;
use virga_object_wire::status::ScrubStatus;

use crate::apply::name_of;
use crate::change::Change;
use crate::compact::{Found, names};
use crate::device::{Device, device_failed};
use crate::entry::{Entry, Kind};
use crate::keys::{NameKey, OBJ};
use crate::record::{self, CommitHead};
use crate::scan;
use crate::sys;

/// Rests between two segments: long ones would leave a small device to rot,
/// short ones would take the device from its clients.
const RESTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(6 * 3600));

/// Whether a pass is to go as fast as the upkeep looks, a segment a second,
/// because an operator wants to know now.
#[derive(Debug, Default)]
pub struct ScrubHurry(AtomicBool);

/// What the scrub of a segment found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// The segment.
    pub segment: u64,
    /// Records in it, dead ones too.
    pub records: u64,
    /// Live records that did not read well; some of them may have been saved.
    pub damaged: u64,
    /// Whether it was the last segment: the next one begins a new pass.
    pub pass_done: bool,
}

/// How far the scrub is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ScrubCursor {
    /// The segment read last; the next one has a larger number.
    pub segment: u64,
    /// When the last whole pass ended, if one has.
    pub pass_ended: Option<Micros>,
    /// When the pass under way began, if one is.
    pub began: Option<Micros>,
    /// Records that it has read.
    pub records: u64,
    /// Live records that it has found damaged.
    pub damaged: u64,
    /// Live records that the last whole pass found damaged.
    pub last_damaged: u64,
}

impl Device {
    /// Reads the next segment of the pass from the medium; `None` if there is
    /// nothing to read.
    ///
    /// # Errors
    /// `Device` if the device or its index fails.
    pub async fn scrub(&self) -> Result<Option<Scrubbed>, NodeError> {
        let device = self.clone();
        let done = self.threads().complete(async move { device.scrub_here().await });
        done.await.map_err(device_failed)?
    }

    /// How far the scrub is.
    ///
    /// # Errors
    /// `Device` if the index fails.
    pub fn scrub_cursor(&self) -> Result<ScrubCursor, NodeError> {
        let stored = self.index().noted(sys::SCRUB);
        let stored = stored.map_err(|error| self.index_failed(&error))?;
        Ok(stored.as_deref().and_then(sys::decode_scrub).unwrap_or_default())
    }

    /// Begins a new pass at once and hurries it: a segment a second.
    ///
    /// # Errors
    /// `Device` if the index fails.
    pub async fn scrub_now(&self) -> Result<(), NodeError> {
        let device = self.clone();
        let begun = self
            .reader()
            .pool()
            .run(move || {
                let before = device.scrub_cursor()?;
                device.write_cursor(ScrubCursor {
                    pass_ended: before.pass_ended,
                    last_damaged: before.last_damaged,
                    began: Some(device.clock().now()),
                    ..ScrubCursor::default()
                })
            })
            .await;
        begun.map_err(device_failed)??;
        self.scrub_hurry().0.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether a segment is to be read at once.
    pub(crate) fn is_scrub_hurried(&self) -> bool {
        self.scrub_hurry().0.load(Ordering::Relaxed)
    }

    /// How far the scrub is, for people.
    ///
    /// # Errors
    /// `Device` if the index fails.
    pub fn scrub_status(&self) -> Result<ScrubStatus, NodeError> {
        let cursor = self.scrub_cursor()?;
        let all = self.segments().all();
        let left = all.iter().filter(|segment| segment.id() > cursor.segment).count() as u64;
        let hurried = self.is_scrub_hurried();
        let rest = if hurried { RESTS.0 } else { self.scrub_rest() };
        Ok(ScrubStatus {
            segments: all.len() as u64,
            left,
            records: cursor.records,
            damaged: cursor.damaged,
            began: cursor.began,
            pass_ended: cursor.pass_ended,
            last_damaged: cursor.last_damaged,
            seconds_left: left.saturating_mul(rest.as_secs()),
            hurried,
        })
    }

    /// How long to rest after a segment so that a pass takes about the time it
    /// is allowed to.
    pub(crate) fn scrub_rest(&self) -> Duration {
        let segments = u32::try_from(self.segments().all().len()).unwrap_or(u32::MAX);
        (self.options().scrub_pass / segments.max(1)).clamp(RESTS.0, RESTS.1)
    }

    /// As [`Device::scrub`], on the calling thread: it blocks it.
    pub(crate) async fn scrub_here(&self) -> Result<Option<Scrubbed>, NodeError> {
        let cursor = self.scrub_cursor()?;
        let mut all = self.segments().all();
        all.sort_by_key(|segment| segment.id());
        let Some(last) = all.last().map(|segment| segment.id()) else {
            // Nothing to read is a whole pass too, for whoever asked for one.
            if self.scrub_hurry().0.swap(false, Ordering::Relaxed) {
                self.write_cursor(ScrubCursor {
                    pass_ended: Some(self.clock().now()),
                    ..ScrubCursor::default()
                })?;
            }
            return Ok(None);
        };
        let behind = all.iter().find(|segment| segment.id() > cursor.segment);
        let Some(segment) = behind.or(all.first()).cloned() else {
            return Ok(None);
        };
        drop(all);
        let (records, suspects) = self.suspects(&segment)?;
        let damaged = suspects.len() as u64;
        if damaged > 0 {
            tracing::warn!(
                device = &**self.name(),
                segment = segment.id(),
                damaged,
                "records do not read well from the medium"
            );
            // A device that takes no new data can save nothing; the next pass
            // tries again, and the rest of this one must not wait for it.
            if let Err(error) = self.save(&segment, suspects).await {
                tracing::warn!(segment = segment.id(), %error, "damaged records stay where they are");
            }
        }
        let done = Scrubbed {
            segment: segment.id(),
            records,
            damaged,
            pass_done: segment.id() >= last,
        };
        self.note_scrubbed(cursor, done)?;
        Ok(Some(done))
    }

    /// Reads the segment; the number of its records, and the live ones that are
    /// not good on the medium.
    fn suspects(&self, segment: &Arc<Segment>) -> Result<(u64, Vec<Found>), NodeError> {
        let (mut good, mut bad) = (HashSet::new(), Vec::new());
        let mut records = 0;
        // Bytes still on their way to the medium look damaged too: the index
        // names none of them, or a second look finds them well.
        let complete = scan::records(segment, |head, place, intact| {
            records += 1;
            if intact {
                good.insert(place.offset);
            } else {
                bad.push((name_of(&head), place));
            }
        });
        let complete = complete.map_err(device_failed)?;
        if !complete && !segment.is_open() {
            bad = self.named_in(segment, &good)?;
        }
        let mut suspects = Vec::new();
        for (name, place) in bad {
            let entry = self
                .index()
                .entry(&name)
                .map_err(|error| self.index_failed(&error))?;
            if entry.is_some_and(|entry| needs(&entry, place)) && !self.reads_well(place) {
                // What the page cache still has is saved, and the medium has rotted all the same.
                self.note_damage(place);
                suspects.push(Found { name, place });
            }
        }
        Ok((records, suspects))
    }

    fn reads_well(&self, place: Locator) -> bool {
        self.reader().record_from_medium(place).is_ok()
    }

    /// Everything the index names in the segment, except at offsets known to
    /// be good. A walk over the whole index: only for a segment whose own
    /// descriptors are damaged, so that it cannot say what was in it.
    fn named_in(&self, segment: &Segment, good: &HashSet<u32>) -> Result<Vec<(NameKey, Locator)>, NodeError> {
        let failed = |error| self.index_failed(&error);
        let mut cursor = self.index().cursor(OBJ, Bounds::all()).map_err(failed)?;
        cursor.first();
        let mut named = Vec::new();
        while let Some((key, value)) = cursor.current().map_err(failed)? {
            let entry = NameKey::parse(key).zip(Entry::decode(value).ok());
            if let Some((name, entry)) = entry {
                let places = self.places_of(&entry, segment.id());
                let unsure = places.into_iter().filter(|place| !good.contains(&place.offset));
                named.extend(unsure.map(|place| (name, place)));
            }
            cursor.step();
        }
        Ok(named)
    }

    /// The places in a segment that an entry needs.
    fn places_of(&self, entry: &Entry, segment: u64) -> Vec<Locator> {
        let winner = entry.winner.as_ref();
        let own = winner.map(|winner| winner.place).into_iter();
        let own = own.chain(entry.post.as_ref().map(|post| post.place));
        let mut places: Vec<Locator> = own.filter(|place| place.segment == segment).collect();
        let spread = winner.filter(|winner| {
            winner.kind == Kind::Commit && winner.extents.iter().any(|(id, _)| *id == segment)
        });
        // A commit record that cannot be read is found out in its own segment.
        let list = spread.and_then(|winner| self.reader().record_blocking(winner.place).ok());
        if let Some(list) = list.and_then(|commit| record::decode::<CommitHead>(commit.meta()).ok()) {
            let extents = list.runs.iter().flat_map(|run| run.places());
            places.extend(extents.filter(|place| place.segment == segment));
        }
        places
    }

    /// Gives what can still be read a new place and sets the rest aside.
    async fn save(&self, segment: &Segment, suspects: Vec<Found>) -> Result<(), NodeError> {
        let mut extents: BTreeMap<NameKey, Vec<Found>> = BTreeMap::new();
        let mut records = Vec::new();
        for found in suspects {
            let entry = self.entry(&found.name).await?;
            match entry.is_some_and(|entry| names(&entry, found.place)) {
                true => records.push(found),
                false => extents.entry(found.name).or_default().push(found),
            }
        }
        let mut saved = self.copy(records).await?;
        for (name, found) in extents {
            saved += self.move_extents(&name, &found).await?;
        }
        tracing::info!(segment = segment.id(), saved, "damaged records dealt with");
        Ok(())
    }

    fn note_scrubbed(&self, before: ScrubCursor, done: Scrubbed) -> Result<(), NodeError> {
        let now = self.clock().now();
        let so_far = match before.segment {
            // A pass begins, unless `scrub_now` began it.
            0 => ScrubCursor {
                began: before.began.or(Some(now)),
                records: 0,
                damaged: 0,
                ..before
            },
            _ => before,
        };
        let (records, damaged) = (so_far.records + done.records, so_far.damaged + done.damaged);
        let after = match done.pass_done {
            false => ScrubCursor {
                segment: done.segment,
                records,
                damaged,
                ..so_far
            },
            true => {
                self.scrub_hurry().0.store(false, Ordering::Relaxed);
                ScrubCursor {
                    pass_ended: Some(now),
                    last_damaged: damaged,
                    ..ScrubCursor::default()
                }
            }
        };
        self.write_cursor(after)
    }

    fn write_cursor(&self, cursor: ScrubCursor) -> Result<(), NodeError> {
        let mut lock = self.index().lock();
        let mut change = Change::new(self.index());
        change.note(sys::SCRUB, &sys::encode_scrub(cursor));
        lock.write(change.finish(), 0)
            .map_err(|error| self.index_failed(&error))
    }
}

/// Whether an entry needs the record at `place`.
fn needs(entry: &Entry, place: Locator) -> bool {
    let extent = |winner: &crate::entry::Winner| winner.extents.iter().any(|(id, _)| *id == place.segment);
    names(entry, place) || entry.winner.as_ref().is_some_and(extent)
}
