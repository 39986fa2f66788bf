//! Where a stream goes on after a restart.

use super::{HOT, open, record, run, segments, submit_each};
use crate::io::fault::FaultDisk;

#[test]
fn a_stream_does_not_go_on_over_a_last_batch_whose_header_is_rotten() {
    // A bit of the magic, and of the id and the salt of its segment.
    for rotten in [0, 8, 56] {
        let disk = FaultDisk::new(64 << 20, 1);
        let table = segments(&disk);
        let (log, index, _) = open(&table, HOT);
        submit_each(&log, 0..3, 3000);
        let last = index.0.lock().unwrap().records[2].1;
        drop((log, table));
        disk.flip_bit("0000000000000001", u64::from(last.offset) - 64 + rotten, 1);
        let table = segments(&disk);
        let (log, index, recovered) = open(&table, HOT);
        assert_eq!(index.versions(), [0, 1], "{rotten}");
        assert!(recovered.torn, "{rotten}");
        let next = run(log.submit(record(3, 3000))).unwrap();
        assert_ne!(next.locator.segment, last.segment, "{rotten}");
    }
}
