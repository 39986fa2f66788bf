//! How many container rows a second one device takes, beside what its disk
//! syncs: `cargo run --release --example listing_bench -- [folder] [seconds]`.
//!
//! Every row is a call of its own, as the proxy makes them; 1, 64 and 256
//! callers, into one container and into 256.
//!
//! `... -- scale [folder] [rows]` grows one container tenfold a step up to
//! that many names (ten million) and times its pages, from anywhere in it.
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use virga_disk::kv::KvCache;
use virga_disk::threads::Threads;
use virga_node::clock::{Clock, Hlc, SystemClock, Version};
use virga_object_store::listing::{Listings, RECLAIM_AGE};
use virga_object_wire::listing::{ListRequest, ObjectRow, PutContainer};
use virga_object_wire::object::At;
use virga_ring::Partition;
use virga_ring::hash::NameHash;

type Failed = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let mut args = std::env::args().skip(1).peekable();
    let scale = args.next_if_eq("scale").is_some();
    let folder = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let number = args.next().map(|text| text.parse()).transpose()?;
    let folder = folder.join(format!("listing-bench-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let result = if scale {
        grow(&folder, number.unwrap_or(10_000_000))
    } else {
        run(&folder, Duration::from_secs(number.unwrap_or(3)))
    };
    std::fs::remove_dir_all(&folder)?;
    result
}

fn run(folder: &Path, time: Duration) -> Result<(), Failed> {
    println!("fdatasync of a growing file   {:>9.0} /s", syncs(folder, time)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let hlc = Arc::new(Hlc::new(clock.clone()));
    for (callers, containers) in [(1, 1), (64, 1), (64, 256), (256, 1), (256, 256)] {
        let path = folder.join(format!("{callers}-{containers}"));
        let listings = Arc::new(Listings::open(
            &path,
            KvCache::new(256 << 20),
            clock.clone(),
            RECLAIM_AGE,
            Threads::Os,
        )?);
        let places: Arc<Vec<At>> = Arc::new((0..containers).map(at).collect());
        runtime.block_on(make(&listings, &places, &hlc))?;
        let (cpu, start) = (cpu_micros()?, Instant::now());
        let rows = runtime.block_on(write(&listings, &places, &hlc, callers, time))?;
        let (took, cpu) = (start.elapsed().as_secs_f64(), cpu_micros()? - cpu);
        let rate = rows as f64 / took;
        println!(
            "{callers:>4} callers, {containers:>4} containers {rate:>9.0} rows/s, {:.1} us of CPU each",
            cpu / rows as f64
        );
        let start = Instant::now();
        let list = ListRequest {
            limit: 10_000,
            ..ListRequest::default()
        };
        let page = runtime.block_on(listings.list_container(&places[0], list))?;
        println!(
            "     a page of {} rows: {:.1} ms",
            page.entries.len(),
            start.elapsed().as_secs_f64() * 1e3
        );
    }
    Ok(())
}

/// Rows that one call of a growing container brings.
const BATCH: u64 = 1000;
/// Pages of each kind that are timed at each size.
const PAGES: u64 = 200;

/// Pages of a container of 10,000 names, 100,000, ... up to `rows`.
fn grow(folder: &Path, rows: u64) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let hlc = Arc::new(Hlc::new(clock.clone()));
    let cache = KvCache::new(256 << 20);
    let listings = Listings::open(folder, cache, clock, RECLAIM_AGE, Threads::Os)?;
    runtime.block_on(async {
        let place = at(0);
        make(&listings, std::slice::from_ref(&place), &hlc).await?;
        let (mut held, mut step) = (0, 10_000.min(rows));
        while held < rows {
            let start = Instant::now();
            while held < step {
                let batch = (held..(held + BATCH).min(step)).map(|n| row(n, hlc.next()));
                let batch: Vec<ObjectRow> = batch.collect();
                held += batch.len() as u64;
                listings.put_object_rows(&place, batch).await?;
            }
            println!(
                "{held} names, the last of them in {:.1} s",
                start.elapsed().as_secs_f64()
            );
            time_pages(&listings, &place, held).await?;
            step = (step * 10).min(rows);
        }
        Ok(())
    })
}

/// Times pages from markers all over the container: of 1,000 names, the same
/// backwards, and of 100 folders, whose names are skipped.
async fn time_pages(listings: &Listings, place: &At, held: u64) -> Result<(), Failed> {
    let names = |limit, reverse| ListRequest {
        limit,
        reverse,
        ..ListRequest::default()
    };
    let folders = ListRequest {
        prefix: "photos/2026/".into(),
        delimiter: "/".into(),
        ..names(100, false)
    };
    for (what, request) in [
        ("1,000 names", names(1000, false)),
        ("1,000 names, backwards", names(1000, true)),
        ("100 folders", folders),
    ] {
        let (mut took, mut entries) = (Vec::new(), 0);
        for page in 0..PAGES {
            // Anywhere, the same places in every run.
            let from = page.wrapping_mul(0x9e37_79b9_7f4a_7c15) % held;
            let marker = row(from, Version(1)).name;
            let list = ListRequest {
                marker,
                ..request.clone()
            };
            let start = Instant::now();
            entries += listings.list_container(place, list).await?.entries.len();
            took.push(start.elapsed());
        }
        took.sort_unstable();
        let at = |share: usize| took[took.len() * share / 100].as_secs_f64() * 1e3;
        println!(
            "     {what:<24} p50 {:>7.3} ms, p99 {:>7.3} ms, {} entries a page",
            at(50),
            at(99),
            entries as u64 / PAGES
        );
    }
    Ok(())
}

/// What the disk does at best, one 4 KiB append and one sync at a time.
fn syncs(folder: &Path, time: Duration) -> Result<f64, Failed> {
    let mut file = std::fs::File::create(folder.join("syncs"))?;
    let (start, mut count) = (Instant::now(), 0u32);
    while start.elapsed() < time {
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

fn at(n: u32) -> At {
    let mut hash = [0; 16];
    hash[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
    At {
        device: "d1".into(),
        policy: 0,
        partition: Partition(n),
        hash: NameHash(hash),
        ring: virga_ring::RingEpoch::NONE,
    }
}

async fn make(listings: &Listings, places: &[At], hlc: &Hlc) -> Result<(), Failed> {
    for (n, at) in places.iter().enumerate() {
        let put = PutContainer {
            account: "AUTH_bench".into(),
            container: format!("c{n}"),
            version: hlc.next(),
            deleted: Version(0),
            policy: 0,
            meta: vec![],
        };
        listings.put_container(at, put).await?;
    }
    Ok(())
}

async fn write(
    listings: &Arc<Listings>,
    places: &Arc<Vec<At>>,
    hlc: &Arc<Hlc>,
    callers: u64,
    time: Duration,
) -> Result<u64, Failed> {
    let (done, end) = (Arc::new(AtomicU64::new(0)), Instant::now() + time);
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let (listings, places, hlc, done) = (listings.clone(), places.clone(), hlc.clone(), done.clone());
        tasks.spawn(async move {
            let mut n = caller;
            while Instant::now() < end {
                let row = row(n, hlc.next());
                listings
                    .put_object_rows(&places[(n % places.len() as u64) as usize], vec![row])
                    .await?;
                n += callers;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, Failed>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(done.load(Ordering::Relaxed))
}

/// The row of the `n`th object, in one of 65,536 folders.
fn row(n: u64, version: Version) -> ObjectRow {
    ObjectRow {
        name: format!("photos/2026/{:04x}/{n:012}.jpg", n.wrapping_mul(40_503) & 0xffff),
        version,
        meta_version: version,
        size: 4096,
        etag: format!("{n:032x}"),
        content_type: "image/jpeg".into(),
        deleted: false,
    }
}

/// CPU time of this process so far, in microseconds.
fn cpu_micros() -> Result<f64, Failed> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after = stat.rsplit_once(')').ok_or("no command in /proc/self/stat")?.1;
    let ticks = |at: usize| after.split_whitespace().nth(at).map_or(Ok(0), str::parse::<u64>);
    Ok((ticks(11)? + ticks(12)?) as f64 * 10_000.0)
}
