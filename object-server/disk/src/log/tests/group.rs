//! How much a group gathers before it is synced.
use super::*;

#[test]
fn a_group_is_synced_before_it_could_fill_the_queue() {
    let options = SegmentOptions {
        size: 32 << 20,
        spares: 0,
        background: false,
        clock: Arc::new(|| 5),
        threads: crate::threads::Threads::Os,
    };
    let disk = Arc::new(FaultDisk::new(64 << 20, 1));
    let segments = Segments::open(disk, IDENTITY, options).unwrap();
    // Neither bytes nor age would ever do it.
    let sync = SyncPolicy::Grouped {
        bytes: usize::MAX,
        age: Duration::from_secs(3600),
    };
    let (log, _, _) = open(&segments, LogOptions { sync, ..HOT });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let first = log.enqueue(record(0, 1_000_000)).await.unwrap();
        let mut others = Vec::new();
        for number in 1..10 {
            others.push(log.enqueue(record(number, 1_000_000)).await.unwrap());
        }
        let synced = tokio::time::timeout(Duration::from_secs(60), first).await;
        synced.expect("more than half a queue gathered").unwrap();
    });
}
