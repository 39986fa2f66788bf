//! CPU time and memory of a server's processes, from /proc, and what its
//! folders take on the disk.
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// What the processes have used up to now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time of the processes and those of their children that ended, seconds.
    pub cpu_seconds: f64,
    /// Resident memory now, MiB.
    pub rss_mib: f64,
}

/// Kernel ticks in a second; Linux has shown 100 to user space for decades.
const TICKS: f64 = 100.0;

/// Sums over `roots` and everything that descends from them.
pub fn usage(roots: &[u32]) -> Usage {
    let mut all: Vec<u32> = roots.to_vec();
    let mut at = 0;
    while at < all.len() {
        all.extend(children(all[at]));
        at += 1;
    }
    all.iter().fold(Usage::default(), |sum, pid| {
        let one = one(*pid).unwrap_or_default();
        Usage {
            cpu_seconds: sum.cpu_seconds + one.cpu_seconds,
            rss_mib: sum.rss_mib + one.rss_mib,
        }
    })
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let texts = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    texts
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(|p| p.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

fn one(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command, in parentheses, may hold spaces; fields are counted after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields
        .get(11..15)?
        .iter()
        .filter_map(|f| f.parse::<f64>().ok())
        .sum();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = status.lines().find_map(|l| {
        l.strip_prefix("VmRSS:")?
            .trim()
            .trim_end_matches(" kB")
            .parse::<f64>()
            .ok()
    });
    Some(Usage {
        cpu_seconds: ticks / TICKS,
        rss_mib: kib.unwrap_or(0.0) / 1024.0,
    })
}

/// Bytes allocated to everything in the folders, a file with several names once.
pub fn disk_bytes(folders: &[PathBuf]) -> u64 {
    let (mut open, mut seen, mut bytes) = (folders.to_vec(), HashSet::new(), 0);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            // What goes away meanwhile takes nothing.
            let Ok(about) = entry.metadata() else { continue };
            if about.is_dir() {
                open.push(entry.path());
            }
            if seen.insert(about.ino()) {
                bytes += about.blocks() * 512;
            }
        }
    }
    bytes
}
