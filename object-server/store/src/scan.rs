//! Walks the records of one segment in the order they were written.
//!
//! Called by compaction and by the scrub; reads the device itself, not what the page cache
//! remembers, and believes only what passes its checksum.
use std::io;

use virga_disk::batch::decode::{self, Bad};
use virga_disk::batch::record::Head;
use virga_disk::io::PAGE;
use virga_disk::io::aligned::AlignedBuf;
use virga_disk::segment::Locator;
use virga_disk::segment::table::Segment;

/// Shows every record whose descriptor is good to `each`, and whether its payload
/// is good too. Says whether the walk was complete: false if something between
/// two good batches cannot be read.
///
/// # Errors
/// What the device says.
pub fn records(segment: &Segment, mut each: impl FnMut(Head, Locator, bool)) -> io::Result<bool> {
    let expect = segment.expect();
    let (mut at, mut complete, mut unsure) = (PAGE as u64, true, false);
    let mut page = AlignedBuf::zeroed(PAGE);
    let mut buf = AlignedBuf::with_capacity(1 << 20);
    while at + PAGE as u64 <= segment.size() {
        segment.file().pread_direct(&mut page, at)?;
        let header = decode::header(&page).ok();
        let header = header.filter(|h| (h.segment, h.salt) == (expect.segment, expect.salt));
        let Some(header) = header.filter(|h| at + u64::from(h.length) <= segment.size()) else {
            // Space never written, or a damaged batch: only a good one behind
            // it tells.
            unsure = true;
            at += PAGE as u64;
            continue;
        };
        complete &= !unsure;
        let length = header.length as usize;
        if buf.capacity() < length {
            buf = AlignedBuf::with_capacity(length);
        }
        buf.set_len(length);
        segment.file().pread_direct(&mut buf, at)?;
        let locator = |offset: usize, span: usize| Locator {
            segment: segment.id(),
            offset: u32::try_from(at + offset as u64).unwrap_or(u32::MAX),
            length: u32::try_from(span).unwrap_or(u32::MAX),
        };
        for found in decode::salvage(&header, &buf) {
            match found {
                Ok(found) => each(
                    found.record.head,
                    locator(found.offset, found.record.span()),
                    true,
                ),
                // A bad payload hides nothing of what follows it.
                Err(Bad::Payload(offset)) => match decode::descriptor(&buf[offset..]) {
                    Ok(view) => each(view.head, locator(offset, view.span()), false),
                    Err(_) => complete = false,
                },
                Err(_) => complete = false,
            }
        }
        at += u64::from(header.length);
    }
    Ok(complete)
}
