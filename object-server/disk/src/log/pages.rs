//! Looks for batch headers in the pages of a segment, for [`super::recovery`].

use std::io;

use crate::batch::decode;
use crate::batch::{BatchHeader, MAGIC};
use crate::io::PAGE;
use crate::io::aligned::AlignedBuf;
use crate::segment::table::Segment;

/// Pages are searched in pieces of this many bytes.
const PIECE: usize = 1 << 20;
/// What lies between two reads costs no more to be read too, up to so many bytes.
const GAP: u64 = 64 << 10;

/// The pages of a segment.
#[derive(Clone, Copy)]
pub(super) struct Pages<'a> {
    /// The segment.
    pub segment: &'a Segment,
    /// Read what the page cache shows instead of what the medium holds. After a failed sync the two differ.
    pub cached: bool,
}

/// A piece of a segment in memory, so that small batches do not cost a read each.
#[derive(Default)]
pub(super) struct Window {
    buf: Option<AlignedBuf>,
    segment: u64,
    start: u64,
    /// Bytes that the last [`Window::seek`] read: more from one to the next while they follow each other closely.
    stride: usize,
}

impl Window {
    /// The bytes of the segment from `at` (a multiple of the page) on, at least `len` of them if it has so many.
    pub fn read(&mut self, pages: Pages<'_>, at: u64, len: usize) -> io::Result<&[u8]> {
        let left =
            usize::try_from(pages.segment.size().saturating_sub(at)).unwrap_or(usize::MAX) / PAGE * PAGE;
        let wanted = len.min(left);
        let have = self.buf.as_ref().map_or(0, |buf| buf.len());
        let inside = usize::try_from(at.wrapping_sub(self.start)).unwrap_or(usize::MAX);
        if self.segment != pages.segment.id() || inside.saturating_add(wanted) > have || wanted == 0 {
            self.fill(pages, at, wanted.max(PIECE.min(left)))?;
            return Ok(self.buf.as_deref().unwrap_or_default());
        }
        Ok(self.buf.as_deref().map_or(&[][..], |buf| &buf[inside..]))
    }

    /// The bytes of the segment from `at` on, wherever that is, at least `len` of them if it has so many. Reads little
    /// where what is wanted lies far apart.
    pub fn seek(&mut self, pages: Pages<'_>, at: u64, len: usize) -> io::Result<&[u8]> {
        let page = at / PAGE as u64 * PAGE as u64;
        let inside = usize::try_from(at - page).unwrap_or(PAGE);
        let have = self.buf.as_ref().map_or(0, |buf| buf.len()) as u64;
        let end = self.start + have;
        let held = self.segment == pages.segment.id() && page >= self.start && at + len as u64 <= end;
        if !held {
            let near = self.segment == pages.segment.id() && page >= self.start && page <= end + GAP;
            self.stride = if near {
                (2 * self.stride).clamp(PAGE, PIECE)
            } else {
                PAGE
            };
            let wanted = (inside + len).next_multiple_of(PAGE).max(self.stride);
            self.fill(pages, page, wanted)?;
        }
        let inside = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        Ok(self
            .buf
            .as_deref()
            .and_then(|buf| buf.get(inside..))
            .unwrap_or_default())
    }

    /// Reads `wanted` bytes from `at` on, both multiples of the page, or as many as there are.
    fn fill(&mut self, pages: Pages<'_>, at: u64, wanted: usize) -> io::Result<()> {
        let left =
            usize::try_from(pages.segment.size().saturating_sub(at)).unwrap_or(usize::MAX) / PAGE * PAGE;
        let piece = wanted.min(left);
        let mut buf = self
            .buf
            .take()
            .filter(|buf| buf.capacity() >= piece)
            .unwrap_or_else(|| AlignedBuf::with_capacity(piece.max(PIECE)));
        buf.set_len(piece);
        pages.read(&mut buf, at)?;
        (self.segment, self.start) = (pages.segment.id(), at);
        self.buf = Some(buf);
        Ok(())
    }
}

impl Pages<'_> {
    /// Fills `buf` from `at`, a multiple of the page.
    pub fn read(&self, buf: &mut AlignedBuf, at: u64) -> io::Result<()> {
        if self.cached {
            self.segment.file().pread(buf, at)
        } else {
            self.segment.file().pread_direct(buf, at)
        }
    }

    /// The whole pages between `at`, a multiple of the page, and `end`: a file that was cut short ends within one.
    pub fn whole(&self, at: u64, end: u64) -> io::Result<AlignedBuf> {
        let len = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX) / PAGE * PAGE;
        let mut buf = AlignedBuf::with_capacity(len.max(PAGE));
        buf.set_len(len);
        if len > 0 {
            self.read(&mut buf, at)?;
        }
        Ok(buf)
    }

    /// First page from `from` on that is a batch header of this segment and pleases `wanted`.
    pub fn next_header(
        &self,
        from: u64,
        wanted: impl Fn(&BatchHeader) -> bool,
    ) -> io::Result<Option<(u64, BatchHeader)>> {
        let expect = self.segment.expect();
        self.find(from, |page| {
            let header = decode::header(page).ok()?;
            (header.segment == expect.segment && header.salt == expect.salt && wanted(&header))
                .then_some(header)
        })
    }

    /// True if no page from `from` on could ever be taken for a batch of this segment, not even with bits
    /// rotten: only then may the stream go on in it.
    pub fn rest_is_foreign(&self, from: u64) -> io::Result<bool> {
        let ours = self.traces();
        Ok(self.find(from, |page| ours(page).then_some(()))?.is_none())
    }

    /// True if the page at `at` looks as if a batch of this segment had begun there.
    pub fn has_traces(&self, at: u64) -> io::Result<bool> {
        let mut page = AlignedBuf::zeroed(PAGE);
        self.read(&mut page, at)?;
        Ok(self.traces()(&page))
    }

    /// Tells pages that begin a batch of this segment, whichever one of the things that say so is rotten. The
    /// salt alone will do, as nobody else can know it; segment ids are numbers that any payload may hold.
    fn traces(&self) -> impl Fn(&[u8]) -> bool + use<> {
        let (id, salt) = (
            self.segment.id().to_le_bytes(),
            self.segment.expect().salt.to_le_bytes(),
        );
        move |page| page[56..64] == salt || (page[0..4] == MAGIC.to_le_bytes() && page[8..16] == id)
    }

    fn find<T>(&self, from: u64, look: impl Fn(&[u8]) -> Option<T>) -> io::Result<Option<(u64, T)>> {
        // The first page alone is nearly always enough; only then read on in large pieces.
        let mut piece = AlignedBuf::zeroed(PAGE);
        let mut at = from;
        while at + PAGE as u64 <= self.segment.size() {
            let left = usize::try_from(self.segment.size() - at).unwrap_or(usize::MAX);
            piece.set_len(piece.len().min(left / PAGE * PAGE));
            self.read(&mut piece, at)?;
            for (index, page) in piece.chunks_exact(PAGE).enumerate() {
                if let Some(found) = look(page) {
                    return Ok(Some((at + (index * PAGE) as u64, found)));
                }
            }
            at += piece.len() as u64;
            if piece.capacity() < PIECE {
                piece = AlignedBuf::zeroed(PIECE);
            }
        }
        Ok(None)
    }
}
