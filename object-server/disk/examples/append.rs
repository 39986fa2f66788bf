//! Appends per second of one stream, beside the device's own fdatasync, in one run.
//!
//! `cargo run --release -p virga-disk --example append -- <folder> [seconds]`. For each number of tasks: 4 KiB
//! records, each awaited by its task before the next. The index is a no-op, so this is the log alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use virga_disk::batch::record::{Head, Kind, NewRecord};
use virga_disk::io::aligned::AlignedBuf;
use virga_disk::io::file::FileDisk;
use virga_disk::io::{Disk, Fill};
use virga_disk::log::{Apply, ApplyError, Damaged, LogOptions, LogRecord, SegLog, Start, SyncPolicy};
use virga_disk::segment::header::Identity;
use virga_disk::segment::table::{SegmentOptions, Segments};
use virga_disk::segment::{Position, Stream};

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Count(Arc<AtomicU64>);

impl Apply for Count {
    type Outcome = ();

    fn apply(
        &mut self,
        records: &[LogRecord<'_>],
        _upto: Position,
        outcomes: &mut Vec<()>,
    ) -> Result<(), ApplyError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        outcomes.resize(records.len(), ());
        Ok(())
    }

    fn damaged(&mut self, _piece: Damaged<'_>) {}
}

/// Syncs of a single 4 KiB append, one after the other.
fn syncs(disk: &FileDisk, time: Duration) -> Result<f64, Failure> {
    let seg = disk.create("fdatasync", 64 << 20, Fill::Zero)?;
    let page = AlignedBuf::zeroed(4096);
    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < time {
        seg.pwrite(&page, u64::from(count % 16_000) * 4096)?;
        seg.sync()?;
        count += 1;
    }
    let rate = f64::from(count) / start.elapsed().as_secs_f64();
    disk.remove("fdatasync")?;
    Ok(rate)
}

/// CPU seconds of this process, all threads, in steps of 10 ms.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // Fields 14 and 15 of the line, user and system time; the split starts at field 3.
    fields
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

fn appends(segments: &Arc<Segments>, tasks: u64, time: Duration) -> Result<(), Failure> {
    let batches = Arc::new(AtomicU64::new(0));
    let options = LogOptions {
        sync: SyncPolicy::EachBatch,
        start: Start::End,
        reserve: 1 << 30,
    };
    let (log, _) = SegLog::open(segments, Stream::Hot, options, Count(Arc::clone(&batches)))?;
    let log = Arc::new(log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()?;
    let stop = Arc::new(AtomicBool::new(false));
    let payload = Bytes::from(vec![7; 4096]);
    let (start, used) = (Instant::now(), cpu());
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let (log, stop, payload) = (Arc::clone(&log), Arc::clone(&stop), payload.clone());
            runtime.spawn(async move {
                let mut count = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let head = Head {
                        kind: Kind::Object,
                        policy: 0,
                        partition: 1,
                        key: [7; 16],
                        version: task << 32 | count,
                        size: 4096,
                        blake3: [0; 32],
                        settled: false,
                    };
                    let meta = Bytes::from_static(&[0; 200]);
                    log.submit(NewRecord::new(head, meta, payload.clone())?).await?;
                    count += 1;
                }
                Ok::<u64, Failure>(count)
            })
        })
        .collect();
    std::thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    let mut total = 0;
    for task in running {
        total += runtime.block_on(task)??;
    }
    let seconds = start.elapsed().as_secs_f64();
    let batches = batches.load(Ordering::Relaxed).max(1);
    println!(
        "{tasks:5} tasks: {:8.0} appends/s, {:6.0} batches/s, {:5.1} records a batch, {:4.1} us of CPU each",
        total as f64 / seconds,
        batches as f64 / seconds,
        total as f64 / batches as f64,
        (cpu() - used) * 1e6 / total as f64,
    );
    // Everything is dead now: the next round recycles these segments.
    drop(log);
    for segment in segments.all() {
        segments.release(segment.id())?;
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().ok_or("which folder?")?).join("append-bench");
    let time = Duration::from_secs(args.next().map_or(Ok(3), |s| s.parse())?);
    let disk = Arc::new(FileDisk::open(&dir)?);
    println!("fdatasync of a 4 KiB append: {:.0}/s", syncs(&disk, time)?);
    let identity = Identity {
        device: [1; 16],
        secret: 2,
    };
    let segments = Segments::open(disk, identity, SegmentOptions::new(Arc::new(|| 0)))?;
    for tasks in [1, 16, 64, 64, 1024, 64] {
        appends(&segments, tasks, time)?;
    }
    drop(segments);
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
