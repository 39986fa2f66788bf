//! Puts and gets per second on one device: `device_bench [FOLDER] [SECONDS] [TASKS]`.
//!
//! Prints what this machine does, beside the CPU it took; the numbers to reach
//! stand in the design of the storage engine.
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use uuid::Uuid;
use virga_disk::device::Description;
use virga_disk::kv::KvCache;
use virga_node::clock::{Clock, Hlc, SystemClock};
use virga_node::task::Tasks;
use virga_object_store::device::{Device, DeviceConfig, DeviceOptions, Storage};
use virga_object_wire::checked::{Checked, EXTENT};
use virga_object_wire::node::Read;
use virga_object_wire::object::{At, ObjectMeta, PutObject, Settled, Source};
use virga_ring::Partition;
use virga_ring::hash::NameHash;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where object number `n` lies.
fn at(n: u64) -> At {
    let hash = blake3::hash(&n.to_le_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    let partition = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) >> 18;
    At {
        device: "d1".into(),
        policy: 0,
        partition: Partition(partition),
        hash: NameHash(bytes),
        ring: virga_ring::RingEpoch::NONE,
    }
}

fn request(n: u64, hlc: &Hlc, size: u64, blake3: [u8; 32]) -> PutObject {
    let meta = ObjectMeta {
        path: format!("AUTH_test/container/object-{n:012}"),
        content_type: "application/octet-stream".into(),
        etag: "d41d8cd98f00b204e9800998ecf8427e".into(),
        headers: vec![("x-object-meta-mtime".into(), "1766400000.000000".into())],
        ..ObjectMeta::default()
    };
    PutObject {
        version: hlc.next(),
        size,
        blake3,
        meta,
        handoff_for: None,
        source: Source::Client,
    }
}

/// CPU seconds of this process up to now.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / 100.0
}

/// Resident memory in KiB.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap_or_default()
        .to_owned()
}

struct Bench {
    device: Device,
    hlc: Arc<Hlc>,
    tasks: Tasks,
    next: Arc<AtomicU64>,
}

impl Bench {
    /// Runs `work` in `tasks` tasks for `time` and prints the rate.
    async fn run<F>(&self, what: &str, tasks: usize, time: Duration, work: impl Fn(u64) -> F)
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (started, cpu_before) = (Instant::now(), cpu());
        let mut flights = Vec::new();
        // Each task makes one future after the other, so `work` is called here.
        for _ in 0..tasks {
            flights.push(async {
                while !stop.load(Ordering::Relaxed) && started.elapsed() < time {
                    let n = self.next.fetch_add(1, Ordering::Relaxed);
                    match self.tasks.spawn(work(n)).await {
                        Ok(Ok(())) => done.fetch_add(1, Ordering::Relaxed),
                        Ok(Err(error)) => return eprintln!("{what}: {error}"),
                        Err(error) => return eprintln!("{what}: {error}"),
                    };
                }
            });
        }
        join_all(flights).await;
        let (ops, secs) = (
            done.load(Ordering::Relaxed) as f64,
            started.elapsed().as_secs_f64(),
        );
        println!(
            "{what:<24} {tasks:>5} tasks  {:>9.0}/s  {:>7.1} us CPU each",
            ops / secs,
            (cpu() - cpu_before) * 1e6 / ops.max(1.0)
        );
    }

    async fn puts(&self, size: usize, tasks: usize, time: Duration) -> u64 {
        let first = self.next.load(Ordering::Relaxed);
        let body = Bytes::from(vec![7; size]);
        let blake3 = *blake3::hash(&body).as_bytes();
        self.run(&format!("put {size}"), tasks, time, |n| {
            let (device, hlc, body) = (self.device.clone(), self.hlc.clone(), body.clone());
            async move {
                let (at, put) = (at(n), request(n, &hlc, body.len() as u64, blake3));
                let settled = Settled {
                    policy: 0,
                    partition: at.partition,
                    hash: at.hash,
                    version: put.version,
                };
                if body.len() <= EXTENT {
                    device.put(&at, put, Checked::seal(body)).await?;
                } else {
                    let mut stream = device.begin_put(&at).await?;
                    for chunk in body.chunks(EXTENT) {
                        stream.send(Checked::seal(body.slice_ref(chunk))).await?;
                    }
                    stream.commit(put).await?;
                }
                Ok(device.settle(vec![settled]).await?)
            }
        })
        .await;
        first
    }

    async fn gets(&self, size: usize, tasks: usize, time: Duration, objects: std::ops::Range<u64>) {
        let count = objects.end - objects.start;
        self.run(&format!("get {size}"), tasks, time, |n| {
            let device = self.device.clone();
            // A stride that is no divisor of anything: not the order they were written in.
            let at = at(objects.start + n.wrapping_mul(7_919) % count.max(1));
            async move {
                if let Read::Object(mut read) = device.get(&at, None).await? {
                    while let Some(piece) = read.body.next().await {
                        piece?;
                    }
                }
                Ok(())
            }
        })
        .await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let folder = args
        .next()
        .map_or_else(|| std::env::temp_dir().join("device_bench"), PathBuf::from);
    let time = Duration::from_secs(args.next().and_then(|text| text.parse().ok()).unwrap_or(5));
    let tasks: usize = args.next().and_then(|text| text.parse().ok()).unwrap_or(64);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let config = DeviceConfig {
        name: "d1".into(),
        storage: Storage::Folder {
            path: folder.clone(),
            fresh: Description::new(Uuid::from_u128(1), Uuid::new_v4(), [5; 8]),
        },
        cache: KvCache::new(64 << 20),
        options: DeviceOptions::default(),
    };
    let device = Device::open(config, clock.clone())?;
    println!("idle: {}", resident());
    let bench = Bench {
        device: device.clone(),
        hlc: Arc::new(Hlc::new(clock.clone())),
        tasks: Tasks::new(),
        next: Arc::new(AtomicU64::new(clock.now().0)),
    };
    for tasks in [1, tasks, tasks * 16] {
        let first = bench.puts(4096, tasks, time).await;
        let last = bench.next.load(Ordering::Relaxed);
        bench.gets(4096, tasks, time, first..last).await;
    }
    let large = 16 << 20;
    let first = bench.puts(large, 4, time).await;
    let last = bench.next.load(Ordering::Relaxed);
    bench.gets(large, 4, time, first..last).await;
    println!("{:?}  {}", device.stats(), resident());
    device.close().await?;
    println!("the folder {} is left for another run", folder.display());
    Ok(())
}
