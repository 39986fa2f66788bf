//! A segment whose pages are what the bytes say: each 64-byte piece becomes the start of a page, given a batch
//! header's magic, segment, salt and CRC if its first byte is odd. Recovery must end, whatever it thinks of it.

use std::sync::Arc;

use virga_disk::batch::{HEADER_LEN, MAGIC};
use virga_disk::io::aligned::AlignedBuf;
use virga_disk::io::mem::MemDisk;
use virga_disk::io::{Disk, Fill, PAGE};
use virga_disk::log::{Apply, ApplyError, Damaged, LogOptions, LogRecord, SegLog, Start, SyncPolicy};
use virga_disk::segment::header::{Identity, SegmentHeader};
use virga_disk::segment::table::{SegmentOptions, Segments};
use virga_disk::segment::{Position, Stream};

const PAGES: usize = 33;

struct Nothing;

impl Apply for Nothing {
    type Outcome = ();

    fn apply(
        &mut self,
        records: &[LogRecord<'_>],
        _: Position,
        outcomes: &mut Vec<()>,
    ) -> Result<(), ApplyError> {
        outcomes.resize(records.len(), ());
        Ok(())
    }

    fn damaged(&mut self, _: Damaged<'_>) {}
}

/// Panics if recovery does.
pub fn chew(data: &[u8]) {
    let identity = Identity {
        device: [1; 16],
        secret: 1,
    };
    let disk = Arc::new(MemDisk::new(1 << 20));
    let Ok(file) = disk.create("0000000000000001", (PAGES * PAGE) as u64, Fill::Zero) else {
        return;
    };
    let size = (PAGES * PAGE) as u64;
    let header = SegmentHeader {
        stream: Some(Stream::Hot),
        device: [1; 16],
        id: 1,
        size,
        created: 1,
    };
    let mut bytes = AlignedBuf::zeroed(PAGES * PAGE);
    bytes[..PAGE].copy_from_slice(&header.encode());
    for (page, piece) in bytes.chunks_exact_mut(PAGE).skip(1).zip(data.chunks(HEADER_LEN)) {
        page[..piece.len()].copy_from_slice(piece);
        if piece[0] % 2 == 1 {
            page[0..4].copy_from_slice(&MAGIC.to_le_bytes());
            page[8..16].copy_from_slice(&1_u64.to_le_bytes());
            // Small numbers, so that sequences and lengths often fit together.
            page[17..24].fill(0);
            page[25..32].fill(0);
            page[32..36].copy_from_slice(&(u32::from(piece[0] >> 1) % 4 * 4096).to_le_bytes());
            page[52..56].fill(0);
            page[56..64].copy_from_slice(&identity.salt(1).to_le_bytes());
            let crc = crc32fast::hash(&page[8..HEADER_LEN]);
            page[4..8].copy_from_slice(&crc.to_le_bytes());
        }
    }
    if file.pwrite(&bytes, 0).is_err() {
        return;
    }
    let options = SegmentOptions {
        size,
        spares: 0,
        background: false,
        clock: Arc::new(|| 1),
        threads: virga_disk::threads::Threads::Os,
    };
    let Ok(segments) = Segments::open(disk, identity, options) else {
        return;
    };
    for start in [
        Start::Beginning,
        Start::End,
        Start::After(Position {
            sequence: 3,
            segment: 1,
            offset: 8192,
        }),
    ] {
        let options = LogOptions {
            sync: SyncPolicy::EachBatch,
            start,
            reserve: 0,
        };
        let _ = SegLog::open(&segments, Stream::Hot, options, Nothing);
    }
}
