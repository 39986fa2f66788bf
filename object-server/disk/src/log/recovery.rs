//! Finds the end of a stream at start and replays what the index lacks.
//!
//! Segments are read in the order in which they were taken. The hard part is a bad batch: it is a torn tail, and
//! may be dropped, only if nothing later proves that it was durable (I5); every batch carries `durable_upto` for
//! that. When a segment failed while running, its last batches were written again to the next segment under the
//! same sequences: a segment's batches count only below the first sequence of the next.

use std::io;
use std::sync::Arc;

use crate::batch::decode::{self, Bad};
use crate::batch::record::RecordView;
use crate::batch::{BatchHeader, HEADER_LEN, MAX_BATCH};
use crate::io::PAGE;
use crate::segment::table::{Segment, Segments, unless_read_only};
use crate::segment::{Locator, Position, Stream};

use super::pages::{Pages, Window};
use super::skim;
use super::writer::Tail;
use super::{Apply, ApplyError, Damaged, LogRecord, OpenLogError, Start};

/// Why a stream's end cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// A record kind of a newer version.
    #[error("segment {segment} holds a record of kind {kind}, which is newer than this version")]
    Newer {
        /// Segment id.
        segment: u64,
        /// The unknown number.
        kind: u8,
    },
}

/// What replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Sequence of the last batch of the stream.
    pub sequence: u64,
    /// Batches applied.
    pub batches: u64,
    /// Records applied.
    pub records: u64,
    /// Damaged pieces reported.
    pub damaged: u64,
    /// Batches known durable by later ones, of which no trace is left.
    pub missing: u64,
    /// True if a torn tail was dropped at the end.
    pub torn: bool,
}

/// A segment of the stream that holds at least one batch.
struct Link {
    segment: Arc<Segment>,
    /// Lowest sequence that may count from it: the lowest readable, or that of a later segment if it is lower.
    first: u64,
    /// Lowest sequence still readable, and where it stands.
    readable: u64,
    readable_at: u64,
    durable_upto: u64,
}

impl Link {
    fn pages(&self) -> Pages<'_> {
        Pages {
            segment: &self.segment,
            cached: false,
        }
    }
}

/// What is read of batches that are known to have been durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payloads {
    /// Everything.
    Verify,
    /// Heads and metadata.
    Skip,
}

pub(super) fn recover<A: Apply>(
    segments: &Arc<Segments>,
    stream: Stream,
    start: Start,
    payloads: Payloads,
    apply: &mut A,
) -> Result<(Tail, Recovered), OpenLogError> {
    let links = chain(segments, stream)?;
    let mut scan = Scan {
        apply,
        applied: match start {
            Start::Beginning => 0,
            Start::After(position) => position.sequence,
            Start::End => u64::MAX,
        },
        expected: None,
        done: Recovered::default(),
        window: Window::default(),
        open: None,
        outcomes: Vec::new(),
        payloads,
        proven: 0,
    };
    let first = first_link(&links, start);
    if let Start::After(position) = start {
        scan.expected = Some(position.sequence + 1);
        scan.done.sequence = position.sequence;
    }
    for (index, link) in links.iter().enumerate().skip(first) {
        // A killed process may have written what was never synced: the index must not run ahead of the medium.
        // Reading from the medium behind this also sees through a sync that had failed before.
        link.segment.file().sync()?;
        let offset = match start {
            Start::After(position) if position.segment == link.segment.id() => u64::from(position.offset),
            _ => PAGE as u64,
        };
        let later = links.iter().skip(index + 1).map(|later| later.durable_upto);
        scan.proven = later.max().unwrap_or(0);
        scan.segment(link, links.get(index + 1), offset)?;
    }
    let sequence = scan.done.sequence;
    let open = scan.open.take();
    for link in &links {
        if open
            .as_ref()
            .is_none_or(|(segment, _)| segment.id() != link.segment.id())
        {
            link.segment.file().end_writes();
        }
    }
    Ok((Tail { sequence, open }, scan.done))
}

/// The stream's segments with batches, oldest first. A segment without any that is the newest is free
/// again; an older one without any is left for the owner to release.
fn chain(segments: &Arc<Segments>, stream: Stream) -> Result<Vec<Link>, OpenLogError> {
    let mut links = Vec::new();
    let mut empty = Vec::new();
    // By id, so by time: what a failed segment holds of its last group was written again to the next one.
    for segment in segments.all().into_iter().filter(|s| s.stream() == stream) {
        let pages = Pages {
            segment: &segment,
            cached: false,
        };
        match pages.next_header(PAGE as u64, |_| true)? {
            Some((readable_at, header)) => {
                links.push(Link {
                    segment,
                    first: header.sequence,
                    readable: header.sequence,
                    readable_at,
                    durable_upto: header.durable_upto,
                });
            }
            None => empty.push(segment.id()),
        }
    }
    // The rewritten group may start before what is still readable in the failed segment.
    for index in (1..links.len()).rev() {
        links[index - 1].first = links[index - 1].first.min(links[index].first);
    }
    let newest = links.iter().map(|link| link.segment.id()).max().unwrap_or(0);
    for id in empty.into_iter().filter(|id| *id > newest) {
        unless_read_only(segments.release(id))?;
    }
    Ok(links)
}

/// The link in which the batch after the start lies, or would.
fn first_link(links: &[Link], start: Start) -> usize {
    match start {
        Start::Beginning => 0,
        Start::End => links.len().saturating_sub(1),
        Start::After(position) => links
            .partition_point(|link| link.first <= position.sequence + 1)
            .saturating_sub(1),
    }
}

struct Scan<'a, A: Apply> {
    apply: &'a mut A,
    /// Batches up to this sequence are applied already.
    applied: u64,
    /// Sequence that must come next, once one is known.
    expected: Option<u64>,
    done: Recovered,
    window: Window,
    open: Option<(Arc<Segment>, u64)>,
    outcomes: Vec<A::Outcome>,
    payloads: Payloads,
    /// Later segments prove that batches up to this sequence were durable.
    proven: u64,
}

/// What stands at an offset.
enum At {
    /// A good batch of this length.
    Good(u64),
    /// A damaged batch, its header too.
    Lost,
    /// A damaged batch whose header is good.
    Broken(BatchHeader),
    /// Batches from here on were written again elsewhere.
    Void,
}

impl<A: Apply> Scan<'_, A> {
    fn segment(&mut self, link: &Link, next: Option<&Link>, from: u64) -> Result<(), OpenLogError> {
        let mut at = from;
        if from == PAGE as u64 {
            self.enter(link);
            // What is unreadable before it was a second copy: the first is in an earlier segment.
            if link.readable <= self.done.sequence + 1 {
                at = link.readable_at;
            }
        }
        let limit = next.map_or(u64::MAX, |next| next.first);
        while at + PAGE as u64 <= link.segment.size() {
            match self.look(link, at, limit)? {
                At::Good(length) => at += length,
                At::Void => break,
                At::Lost => match self.damage(link, next, at, None)? {
                    Some(resume) => at = resume,
                    None => break,
                },
                At::Broken(header) => match self.damage(link, next, at, Some(header))? {
                    Some(resume) => at = resume,
                    None => break,
                },
            }
        }
        if next.is_none() {
            let foreign = Pages {
                segment: &link.segment,
                cached: true,
            }
            .rest_is_foreign(at)?;
            self.done.torn = !foreign;
            if foreign && at < link.segment.size() {
                self.open = Some((Arc::clone(&link.segment), at));
            }
        }
        Ok(())
    }

    /// Before a segment's first batch: notices sequences that no segment has.
    fn enter(&mut self, link: &Link) {
        let Some(expected) = self.expected.take() else {
            return;
        };
        // Replaying everything, gaps are segments whose records all died; behind an applied position none can be.
        let behind_position = self.applied > 0 && self.applied < u64::MAX;
        if behind_position && link.first > expected && link.durable_upto >= expected {
            let missing = link.first - expected;
            tracing::error!(
                segment = link.segment.id(),
                missing,
                "durable batches have no segment any more"
            );
            self.done.missing += missing;
        }
    }

    /// Reads, verifies and applies the batch at `at`.
    fn look(&mut self, link: &Link, at: u64, limit: u64) -> Result<At, OpenLogError> {
        let mut window = std::mem::take(&mut self.window);
        let verdict = self.judge(link, at, limit, &mut window);
        self.window = window;
        verdict
    }

    fn judge(&mut self, link: &Link, at: u64, limit: u64, window: &mut Window) -> Result<At, OpenLogError> {
        let segment = &link.segment;
        let page = match self.payloads {
            Payloads::Verify => window.read(link.pages(), at, PAGE)?,
            Payloads::Skip => window.seek(link.pages(), at, PAGE)?,
        };
        let Ok(header) = decode::header(page) else {
            return Ok(At::Lost);
        };
        let expect = segment.expect();
        if header.segment != expect.segment
            || header.salt != expect.salt
            || self.expected.is_some_and(|expected| header.sequence != expected)
        {
            return Ok(At::Lost);
        }
        if header.sequence >= limit {
            return Ok(At::Void);
        }
        let length = u64::from(header.length);
        if at + length > segment.size() {
            return Ok(At::Broken(header));
        }
        if self.payloads == Payloads::Skip
            && header.sequence <= self.proven
            && let Some(found) = skim::descriptions(window, link.pages(), at, &header)?
        {
            let described = found.iter().filter_map(|one| {
                let record = decode::descriptor(&one.bytes).ok()?;
                Some(log_record(segment, at, header.sequence, one.offset, &record))
            });
            let records: Vec<_> = described.collect();
            return self
                .apply(&header, &records, segment.id(), at)
                .map(|()| At::Good(length));
        }
        let bytes = usize::try_from(header.length).unwrap_or(usize::MAX);
        match decode::decode(window.read(link.pages(), at, bytes)?, expect) {
            Ok(batch) => {
                let records: Vec<_> = batch
                    .records()
                    .map(|f| log_record(segment, at, header.sequence, f.offset, &f.record))
                    .collect();
                self.apply(&header, &records, segment.id(), at)
                    .map(|()| At::Good(length))
            }
            Err(Bad::Newer(kind)) => Err(OpenLogError::Recover(RecoverError::Newer {
                segment: segment.id(),
                kind,
            })),
            Err(_) => Ok(At::Broken(header)),
        }
    }

    fn apply(
        &mut self,
        header: &BatchHeader,
        records: &[LogRecord<'_>],
        segment: u64,
        at: u64,
    ) -> Result<(), OpenLogError> {
        self.expected = Some(header.sequence + 1);
        self.done.sequence = header.sequence;
        if header.sequence <= self.applied {
            return Ok(());
        }
        let end = u32::try_from(at + u64::from(header.length)).unwrap_or(u32::MAX);
        let upto = Position {
            sequence: header.sequence,
            segment,
            offset: end,
        };
        self.outcomes.clear();
        self.apply.apply(records, upto, &mut self.outcomes)?;
        if self.outcomes.len() != records.len() {
            return Err(ApplyError("not one outcome per record".into()).into());
        }
        self.done.batches += 1;
        self.done.records += records.len() as u64;
        Ok(())
    }

    /// A bad batch at `at`: where to go on if it was durable, none if it is where this segment ends.
    fn damage(
        &mut self,
        link: &Link,
        next: Option<&Link>,
        at: u64,
        header: Option<BatchHeader>,
    ) -> Result<Option<u64>, OpenLogError> {
        let sequence = header.map_or_else(
            || self.expected.unwrap_or(link.readable.saturating_sub(1)),
            |h| h.sequence,
        );
        let proves = |later: &BatchHeader| later.sequence > sequence && later.durable_upto >= sequence;
        let here = link.pages().next_header(at + PAGE as u64, proves)?;
        let elsewhere = next.is_some_and(|next| next.first > sequence && next.durable_upto >= sequence);
        if here.is_none() && (!elsewhere || (header.is_none() && self.ended_at(link, next, at)?)) {
            return Ok(None);
        }
        let behind = match header {
            // The length is under the header's CRC, so the next batch starts right behind.
            Some(header) => Some((at + u64::from(header.length)).min(link.segment.size())),
            None => link
                .pages()
                .next_header(at + PAGE as u64, |later| later.sequence > sequence)?
                .map(|f| f.0),
        };
        let resume = behind.unwrap_or(link.segment.size());
        tracing::error!(
            segment = link.segment.id(),
            offset = at,
            sequence,
            "a durable batch is damaged"
        );
        match header {
            Some(header) => self.salvage(link, at, &header)?,
            None => {
                let end = resume.min(at + MAX_BATCH as u64);
                let buf = link.pages().whole(at, end)?;
                let piece = Damaged {
                    segment: link.segment.id(),
                    offset: at,
                    bytes: &buf,
                    head: None,
                };
                self.report(piece, sequence);
                self.expected = None;
            }
        }
        Ok(Some(resume))
    }

    /// Replaying everything, sequences may be missing between two segments because all records of the segments
    /// between them died: then the first ends where nothing of this life was ever written.
    fn ended_at(&self, link: &Link, next: Option<&Link>, at: u64) -> io::Result<bool> {
        let released = next.is_some_and(|next| next.segment.id() > link.segment.id() + 1);
        Ok(self.applied == 0 && released && !link.pages().has_traces(at)?)
    }

    /// Applies the readable records of a damaged batch and reports the others.
    fn salvage(&mut self, link: &Link, at: u64, header: &BatchHeader) -> Result<(), OpenLogError> {
        let segment = &link.segment;
        let end = (at + u64::from(header.length)).min(segment.size());
        let buf = link.pages().whole(at, end)?;
        let mut records = Vec::new();
        let mut rest = HEADER_LEN;
        let mut layout = false;
        for found in decode::salvage(header, &buf) {
            match found {
                Ok(found) => {
                    rest = found.offset + found.record.span();
                    records.push(log_record(
                        segment,
                        at,
                        header.sequence,
                        found.offset,
                        &found.record,
                    ));
                }
                Err(Bad::Newer(kind)) => {
                    return Err(RecoverError::Newer {
                        segment: segment.id(),
                        kind,
                    }
                    .into());
                }
                Err(Bad::Payload(offset)) => {
                    // The descriptor is good, so the walk went on behind it.
                    let view = decode::descriptor(&buf[offset..]).ok();
                    let end = view.map_or(buf.len(), |v| (offset + v.span()).min(buf.len()));
                    rest = end;
                    let piece = Damaged {
                        segment: segment.id(),
                        offset: at + offset as u64,
                        bytes: &buf[offset..end],
                        head: view.map(|v| v.head),
                    };
                    self.report(piece, header.sequence);
                }
                Err(_) => layout = true,
            }
        }
        if layout && rest < buf.len() {
            let piece = Damaged {
                segment: segment.id(),
                offset: at + rest as u64,
                bytes: &buf[rest..],
                head: None,
            };
            self.report(piece, header.sequence);
        }
        self.apply(header, &records, segment.id(), at)
    }

    fn report(&mut self, piece: Damaged<'_>, sequence: u64) {
        if sequence > self.applied {
            self.done.damaged += 1;
            self.apply.damaged(piece);
        }
    }
}

fn log_record<'a>(
    segment: &Segment,
    at: u64,
    sequence: u64,
    offset: usize,
    record: &RecordView<'a>,
) -> LogRecord<'a> {
    let offset = u32::try_from(at + offset as u64).unwrap_or(u32::MAX);
    let length = u32::try_from(record.span()).unwrap_or(u32::MAX);
    LogRecord {
        head: record.head,
        meta: record.meta,
        payload_len: record.payload_len,
        locator: Locator {
            segment: segment.id(),
            offset,
            length,
        },
        sequence,
    }
}
