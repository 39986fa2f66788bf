//! Any bytes, and the same bytes with the header's CRC made right so that what lies behind it is reached.

use virga_disk::batch::decode::{Expect, decode, descriptor, header, salvage};
use virga_disk::batch::{HEADER_LEN, MAGIC, MAX_META, MAX_PAYLOAD};

/// Panics if the decoder does, or if it hands out more than its bounds.
pub fn chew(data: &[u8]) {
    let mut data = data.to_vec();
    for repaired in [false, true] {
        if repaired && data.len() >= HEADER_LEN {
            data[0..4].copy_from_slice(&MAGIC.to_le_bytes());
            let crc = crc32fast::hash(&data[8..HEADER_LEN]);
            data[4..8].copy_from_slice(&crc.to_le_bytes());
        }
        let _ = descriptor(&data);
        let Ok(header) = header(&data) else { continue };
        let expect = Expect {
            segment: header.segment,
            salt: header.salt,
        };
        for found in salvage(&header, &data).flatten() {
            assert!(found.payload.len() <= MAX_PAYLOAD && found.record.meta.len() <= MAX_META);
        }
        if let Ok(batch) = decode(&data, expect) {
            assert_eq!(batch.records().count(), batch.header.records as usize);
        }
    }
}
