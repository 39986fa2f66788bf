//! Measures what a daemon does with a ring: opening, lookups, handoffs, hashing.
//!
//! ```text
//! lookup_speed [--json] [--cache FOLDER] FILE.ring.gz...
//! ```
//!
//! CPU time of the one thread beside the wall clock: on a busy machine only
//! the first says something. Every figure is the mean of about a second of
//! repetitions; one repetition goes before and is not counted.
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use virga_ring::file::{self, Format};
use virga_ring::{HashPath, Partition, Ring, RingHandle};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Lookups in one repetition.
const LOOKUPS: usize = 1 << 20;
/// Names in one repetition.
const NAMES: usize = 1 << 16;

struct Report {
    json: bool,
    file: String,
}

impl Report {
    /// Repeats `work`, which does `count` of `unit`, and prints what one takes.
    fn measure(&self, what: &str, count: usize, mut work: impl FnMut()) {
        work();
        let (cpu, wall) = (cpu_seconds(), Instant::now());
        let mut rounds = 0;
        while rounds < 3 || wall.elapsed().as_secs_f64() < 1.0 {
            work();
            rounds += 1;
        }
        let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let each = |seconds: f64| seconds / f64::from(rounds) / count as f64;
        let (cpu, wall) = (each(cpu), each(wall));
        if self.json {
            let (file, seconds) = (&self.file, wall);
            let line =
                serde_json::json!({"file": file, "what": what, "seconds": seconds, "cpu_seconds": cpu});
            println!("{line}");
        } else if count > 1 {
            println!(
                "{what:<34}{:>10.2} M/s of CPU time{:>10.2} M/s",
                1e-6 / cpu,
                1e-6 / wall
            );
        } else {
            println!(
                "{what:<34}{:>10.3} ms of CPU time{:>10.3} ms",
                cpu * 1e3,
                wall * 1e3
            );
        }
    }
}

/// Partitions in no order, so that the processor cannot guess the next.
fn partitions(ring: &Ring, count: usize) -> Vec<Partition> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Partition(((state >> 33) % ring.partition_count()) as u32)
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn lookups(report: &Report, ring: &Ring) -> Outcome {
    let parts = partitions(ring, LOOKUPS);
    report.measure("partition to device numbers", LOOKUPS, || {
        let sum = parts
            .iter()
            .map(|&part| ring.primary_ids(part).map(|id| u64::from(id.0)).sum::<u64>());
        black_box(sum.sum::<u64>());
    });
    report.measure("partition to devices", LOOKUPS, || {
        let sum = parts.iter().map(|&part| {
            ring.primaries(part)
                .map(|(_, device)| u64::from(device.port))
                .sum::<u64>()
        });
        black_box(sum.sum::<u64>());
    });
    let hash = HashPath::new("", "changeme")?;
    // One block of MD5 and two: with the suffix, up to 54 bytes of path are one.
    for (what, account, container) in [
        ("short path", "AUTH_test", "photos"),
        (
            "long path",
            "AUTH_0123456789abcdef0123456789abcdef",
            "photos-of-2026",
        ),
    ] {
        let names: Vec<String> = (0..NAMES).map(|n| format!("{n:08}.jpg")).collect();
        let paths = || {
            names
                .iter()
                .map(|name| (account, Some(container), Some(name.as_str())))
        };
        report.measure(&format!("{what} to devices"), NAMES, || {
            for (account, container, object) in paths() {
                let part = ring.partition(&hash.hash(account, container, object));
                black_box(ring.primaries(part).map(|(at, _)| at).sum::<usize>());
            }
        });
        report.measure(&format!("{what} to devices, many at once"), NAMES, || {
            hash.hash_many(paths(), |name| {
                let part = ring.partition(&name);
                black_box(ring.primaries(part).map(|(at, _)| at).sum::<usize>());
            });
        });
    }
    let few = &parts[..1 << 12];
    for count in [1, 3, 8] {
        report.measure(&format!("first {count} handoffs"), few.len(), || {
            for &part in few {
                black_box(ring.handoffs(part).take(count).last());
            }
        });
    }
    report.measure("all handoffs of a partition", 1, || {
        black_box(ring.handoffs(few[0]).count());
    });
    Ok(())
}

fn files(report: &Report, path: &Path, cache: &Path) -> Outcome {
    let bytes = std::fs::read(path)?;
    let ring = file::decode(&bytes)?;
    report.measure("read and decode the file", 1, || {
        black_box(std::fs::read(path).is_ok_and(|bytes| file::decode(&bytes).is_ok()));
    });
    report.measure("open a handle", 1, || {
        black_box(RingHandle::open(path).is_ok());
    });
    report.measure("open a handle through its map", 1, || {
        black_box(RingHandle::open_cached(path, cache).is_ok());
    });
    let handle = RingHandle::open(path)?;
    report.measure("see that the file is unchanged", 1, || {
        black_box(handle.reload_if_changed().is_ok());
    });
    for (what, format) in [("encode format 1", Format::V1), ("encode format 2", Format::V2)] {
        let mut size = 0;
        report.measure(what, 1, || {
            size = file::encode(&ring, format, "object.ring.gz", None).map_or(0, |bytes| bytes.len());
        });
        if report.json {
            println!(
                "{}",
                serde_json::json!({"file": report.file, "what": format!("{what}, bytes"), "bytes": size})
            );
        } else {
            println!("{what}: {size} bytes (the file has {})", bytes.len());
        }
    }
    lookups(report, &ring)
}

fn main() -> Outcome {
    let (mut json, mut cache, mut paths) = (false, std::env::temp_dir(), Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => json = true,
            "--cache" => cache = PathBuf::from(words.next().ok_or("--cache takes a folder")?),
            _ => paths.push(PathBuf::from(word)),
        }
    }
    for path in paths {
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !json {
            println!("{file}");
        }
        files(&Report { json, file }, &path, &cache)?;
    }
    Ok(())
}

/// CPU time of this thread, from Linux's scheduler; 0 elsewhere.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse::<f64>().ok());
    first.unwrap_or(0.0) / 1e9
}
