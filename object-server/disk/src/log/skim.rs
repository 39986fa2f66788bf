//! Reads what describes the records of a batch and seeks over what they carry, for [`super::recovery`].
//!
//! An index that is made anew needs heads and metadata only, and on a device of large objects that is one page in
//! hundreds. Only for batches that a later one proves durable: a torn tail is told by its payloads too. Payloads that
//! have rotted meanwhile are found by whoever reads them, and by the scrub.

use std::io;

use crate::batch::decode;
use crate::batch::record::DESCRIPTOR_LEN;
use crate::batch::{BatchHeader, HEADER_LEN};

use super::pages::{Pages, Window};

/// The descriptor of a record, good by its CRC.
pub(super) struct Description {
    /// Offset from the batch start, in bytes.
    pub offset: usize,
    /// Its bytes, metadata included.
    pub bytes: Vec<u8>,
}

/// The descriptors of the batch at `at`, whose header is good. None if something about them is not as it should be:
/// the batch is then to be read as a whole, which says what.
pub(super) fn descriptions(
    window: &mut Window,
    pages: Pages<'_>,
    at: u64,
    header: &BatchHeader,
) -> io::Result<Option<Vec<Description>>> {
    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    let mut next = HEADER_LEN;
    for _ in 0..header.records {
        let offset = next.next_multiple_of(8);
        let Some(bytes) = description(window, pages, at, offset, length)? else {
            return Ok(None);
        };
        let Ok(view) = decode::descriptor(&bytes) else {
            return Ok(None);
        };
        // Payloads on page boundaries stand apart from their descriptors: of block volumes, rewritten often.
        if view.head.kind.aligned() || view.payload_offset as usize != offset + bytes.len() {
            return Ok(None);
        }
        next = offset + view.span();
        found.push(Description { offset, bytes });
    }
    Ok((next <= length).then_some(found))
}

/// The bytes of one descriptor; none if they cannot be inside the batch.
fn description(
    window: &mut Window,
    pages: Pages<'_>,
    at: u64,
    offset: usize,
    length: usize,
) -> io::Result<Option<Vec<u8>>> {
    if offset.saturating_add(DESCRIPTOR_LEN) > length {
        return Ok(None);
    }
    let start = at + offset as u64;
    let bytes = window.seek(pages, start, DESCRIPTOR_LEN)?;
    let wanted = match decode::descriptor_len(bytes) {
        Some(wanted) if offset + wanted <= length => wanted,
        _ => return Ok(None),
    };
    let bytes = window.seek(pages, start, wanted)?;
    Ok(bytes.get(..wanted).map(<[u8]>::to_vec))
}
