//! Finds the end of a stream at start and replays what the index lacks.
//!
//! Segments are read in the order of their first sequence. The hard part is a bad batch: it is a torn tail, and
//! may be dropped, only if nothing later proves that it was durable (I5); every batch carries `durable_upto` for
//! that. When a segment failed while running, its last batches were written again to the next segment under the
//! same sequences: a segment's batches count only below the first sequence of the next.

use std::io;
use std::sync::Arc;

use crate::batch::decode::{self, Bad};
use crate::batch::{BatchHeader, MAGIC};
use crate::io::PAGE;
use crate::io::aligned::AlignedBuf;
use crate::segment::table::{Segment, Segments};
use crate::segment::{Locator, Position, Stream};

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
    /// Lowest sequence in it; of a damaged first batch, the lowest still readable.
    first: u64,
    durable_upto: u64,
}

pub(super) fn recover<A: Apply>(
    segments: &Arc<Segments>,
    stream: Stream,
    start: Start,
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
        buf: AlignedBuf::with_capacity(1 << 20),
        open: None,
        outcomes: Vec::new(),
    };
    let first = first_link(&links, start);
    if let Start::After(position) = start {
        scan.expected = Some(position.sequence + 1);
        scan.done.sequence = position.sequence;
    }
    if let Some(link) = links.last() {
        // A killed process may have written what was never synced: the index must not run ahead of the medium.
        link.segment.file().sync()?;
    }
    for (index, link) in links.iter().enumerate().skip(first) {
        let offset = match start {
            Start::After(position) if position.segment == link.segment.id() => u64::from(position.offset),
            _ => PAGE as u64,
        };
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

/// The stream's segments with batches, in sequence order. A segment without any that is the newest is free
/// again; an older one without any is left for the owner to release.
fn chain(segments: &Arc<Segments>, stream: Stream) -> Result<Vec<Link>, OpenLogError> {
    let mut links = Vec::new();
    let mut empty = Vec::new();
    for segment in segments.all().into_iter().filter(|s| s.stream() == stream) {
        match next_header(&segment, PAGE as u64, |_| true)? {
            Some((_, header)) => {
                links.push(Link {
                    segment,
                    first: header.sequence,
                    durable_upto: header.durable_upto,
                });
            }
            None => empty.push(segment.id()),
        }
    }
    links.sort_by_key(|link| (link.first, link.segment.id()));
    let newest = links.iter().map(|link| link.segment.id()).max().unwrap_or(0);
    for id in empty.into_iter().filter(|id| *id > newest) {
        segments.release(id)?;
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

/// First page from `from` on that is a batch header of this segment and pleases `wanted`.
fn next_header(
    segment: &Segment,
    from: u64,
    wanted: impl Fn(&BatchHeader) -> bool,
) -> io::Result<Option<(u64, BatchHeader)>> {
    let expect = segment.expect();
    // The first page alone is nearly always enough; only then read on in large pieces.
    let mut piece = vec![0; PAGE];
    let mut at = from;
    while at + PAGE as u64 <= segment.size() {
        let left = usize::try_from(segment.size() - at).unwrap_or(usize::MAX);
        piece.truncate(left / PAGE * PAGE);
        segment.file().pread(&mut piece, at)?;
        for (index, page) in piece.chunks_exact(PAGE).enumerate() {
            if let Ok(header) = decode::header(page)
                && header.segment == expect.segment
                && header.salt == expect.salt
                && wanted(&header)
            {
                return Ok(Some((at + (index * PAGE) as u64, header)));
            }
        }
        at += piece.len() as u64;
        piece.resize(1 << 20, 0);
    }
    Ok(None)
}

/// True if no page from `from` on could ever be taken for a batch of this segment, not even with bits rotten:
/// only then may the stream go on in it.
fn rest_is_foreign(segment: &Segment, from: u64) -> io::Result<bool> {
    let mut piece = vec![0; 1 << 20];
    let mut at = from;
    while at + PAGE as u64 <= segment.size() {
        let left = usize::try_from(segment.size() - at).unwrap_or(usize::MAX);
        piece.truncate(left / PAGE * PAGE);
        segment.file().pread(&mut piece, at)?;
        let ours = |page: &[u8]| {
            page[0..4] == MAGIC.to_le_bytes()
                && (page[8..16] == segment.id().to_le_bytes()
                    || page[56..64] == segment.expect().salt.to_le_bytes())
        };
        if piece.chunks_exact(PAGE).any(ours) {
            return Ok(false);
        }
        at += piece.len() as u64;
    }
    Ok(true)
}

struct Scan<'a, A: Apply> {
    apply: &'a mut A,
    /// Batches up to this sequence are applied already.
    applied: u64,
    /// Sequence that must come next, once one is known.
    expected: Option<u64>,
    done: Recovered,
    buf: AlignedBuf,
    open: Option<(Arc<Segment>, u64)>,
    outcomes: Vec<A::Outcome>,
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
            let foreign = rest_is_foreign(&link.segment, at)?;
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
        let segment = &link.segment;
        self.buf.set_len(PAGE);
        segment.file().pread(&mut self.buf, at)?;
        let Ok(header) = decode::header(&self.buf) else {
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
        let bytes = usize::try_from(header.length).unwrap_or(usize::MAX);
        if self.buf.capacity() < bytes {
            self.buf = AlignedBuf::with_capacity(bytes);
        }
        self.buf.set_len(bytes);
        segment.file().pread(&mut self.buf, at)?;
        let buf = std::mem::replace(&mut self.buf, AlignedBuf::with_capacity(0));
        let verdict = match decode::decode(&buf, expect) {
            Ok(batch) => {
                let records: Vec<_> = batch
                    .records()
                    .map(|f| log_record(segment, at, header.sequence, &f))
                    .collect();
                self.apply(&header, &records, segment.id(), at)
                    .map(|()| At::Good(length))
            }
            Err(Bad::Newer(kind)) => Err(OpenLogError::Recover(RecoverError::Newer {
                segment: segment.id(),
                kind,
            })),
            Err(_) => Ok(At::Broken(header)),
        };
        self.buf = buf;
        verdict
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
            || self.expected.unwrap_or(link.first.saturating_sub(1)),
            |h| h.sequence,
        );
        let proves = |later: &BatchHeader| later.sequence > sequence && later.durable_upto >= sequence;
        let here = next_header(&link.segment, at + PAGE as u64, proves)?;
        let elsewhere = next.is_some_and(|next| next.first > sequence && next.durable_upto >= sequence);
        if here.is_none() && !elsewhere {
            return Ok(None);
        }
        let behind = match header {
            // The length is under the header's CRC, so the next batch starts right behind.
            Some(header) => Some((at + u64::from(header.length)).min(link.segment.size())),
            None => {
                next_header(&link.segment, at + PAGE as u64, |later| later.sequence > sequence)?.map(|f| f.0)
            }
        };
        let resume = behind.unwrap_or(link.segment.size());
        tracing::error!(
            segment = link.segment.id(),
            offset = at,
            sequence,
            "a durable batch is damaged"
        );
        match header {
            Some(header) => self.salvage(&link.segment, at, &header)?,
            None => {
                let head = self.read(&link.segment, at, resume.min(at + crate::batch::MAX_BATCH as u64))?;
                self.report(
                    Damaged {
                        segment: link.segment.id(),
                        offset: at,
                        bytes: &head,
                        head: None,
                    },
                    sequence,
                );
                self.buf = head;
                self.expected = None;
            }
        }
        Ok(Some(resume))
    }

    fn read(&mut self, segment: &Segment, from: u64, to: u64) -> io::Result<AlignedBuf> {
        let len = usize::try_from(to.min(segment.size()) - from).unwrap_or(0);
        let mut buf = std::mem::replace(&mut self.buf, AlignedBuf::with_capacity(0));
        if buf.capacity() < len {
            buf = AlignedBuf::with_capacity(len);
        }
        buf.set_len(len);
        segment.file().pread(&mut buf, from)?;
        Ok(buf)
    }

    /// Applies the readable records of a damaged batch and reports the others.
    fn salvage(&mut self, segment: &Segment, at: u64, header: &BatchHeader) -> Result<(), OpenLogError> {
        let buf = self.read(segment, at, at + u64::from(header.length))?;
        let mut records = Vec::new();
        let mut rest = crate::batch::HEADER_LEN;
        let mut layout = false;
        for found in decode::salvage(header, &buf) {
            match found {
                Ok(found) => {
                    rest = found.offset + found.record.span();
                    records.push(log_record(segment, at, header.sequence, &found));
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
        let applied = self.apply(header, &records, segment.id(), at);
        self.buf = buf;
        applied
    }

    fn report(&mut self, piece: Damaged<'_>, sequence: u64) {
        if sequence > self.applied {
            self.done.damaged += 1;
            self.apply.damaged(piece);
        }
    }
}

fn log_record<'a>(segment: &Segment, at: u64, sequence: u64, found: &decode::Found<'a>) -> LogRecord<'a> {
    let offset = u32::try_from(at + found.offset as u64).unwrap_or(u32::MAX);
    let length = u32::try_from(found.record.span()).unwrap_or(u32::MAX);
    LogRecord {
        head: found.record.head,
        meta: found.record.meta,
        payload_len: found.record.payload_len,
        locator: Locator {
            segment: segment.id(),
            offset,
            length,
        },
        sequence,
    }
}
