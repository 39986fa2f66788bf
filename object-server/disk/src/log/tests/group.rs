//! How much a group gathers, and for how long, before it is synced.
use super::*;

/// A log whose groups are synced after `age` or when an upload's end asks, in
/// segments that hold many of them.
fn grouping(age: Duration) -> SegLog<Index> {
    let options = SegmentOptions {
        size: 32 << 20,
        spares: 0,
        background: false,
        clock: Arc::new(|| 5),
        threads: crate::threads::Threads::Os,
    };
    let disk = Arc::new(FaultDisk::new(64 << 20, 1));
    let segments = Segments::open(disk, IDENTITY, options).unwrap();
    let sync = SyncPolicy::Grouped {
        bytes: usize::MAX,
        age,
    };
    open(&segments, LogOptions { sync, ..HOT }).0
}

fn run_timed(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(work);
}

#[test]
fn a_group_is_synced_before_it_could_fill_the_queue() {
    let log = grouping(Duration::from_secs(3600));
    run_timed(async {
        let first = log.enqueue(record(0, 1_000_000)).await.unwrap();
        let mut others = Vec::new();
        for number in 1..10 {
            others.push(log.enqueue(record(number, 1_000_000)).await.unwrap());
        }
        let synced = tokio::time::timeout(Duration::from_secs(60), first).await;
        synced.expect("more than half a queue gathered").unwrap();
    });
}

#[test]
fn a_record_waits_no_longer_because_others_follow_it() {
    let log = grouping(Duration::from_millis(300));
    run_timed(async {
        let mut first = log.enqueue(record(0, 100)).await.unwrap();
        let mut others = Vec::new();
        // Fewer than half a queue: each takes a page of its own.
        for number in 1..1500 {
            let moment = tokio::time::timeout(Duration::from_millis(10), &mut first);
            if let Ok(synced) = moment.await {
                synced.unwrap();
                return;
            }
            others.push(log.enqueue(record(number, 100)).await.unwrap());
        }
        panic!("the oldest record of a group is never synced");
    });
}
