//! A device on a file system that takes no writes, or has no room: what is on it
//! is served.
//!
//! Mounts small file systems in memory, which needs root; without, it says so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a panic is how a test fails"
)]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use support::{at, body, get, open_folder, put, request};
use tempfile::TempDir;
use virga_disk::device::OpenDeviceError;
use virga_disk::kv::KvCache;
use virga_disk::threads::Threads;
use virga_node::clock::{Clock, Hlc, SystemClock, Version};
use virga_object_store::device::{Device, DeviceOptions, OpenError};
use virga_object_store::listing::Listings;
use virga_object_wire::checked::EXTENT;
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::PutContainer;
use virga_object_wire::status::{Cause, DeviceState};

/// A file system of its own.
struct Mounted {
    dir: TempDir,
}

fn mount(arguments: &[&str], dir: &Path) -> bool {
    let done = Command::new("mount").args(arguments).arg(dir).output();
    done.is_ok_and(|done| done.status.success())
}

impl Mounted {
    /// `None` where mounting is not allowed.
    fn of(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        if !mount(&["-t", "tmpfs", "-o", size, "virga-test"], dir.path()) {
            eprintln!("NOT TESTED: read-only file systems, as mounting needs root");
            return None;
        }
        Some(Self { dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn remount(&self, how: &str) {
        assert!(
            mount(&["-o", &format!("remount,{how}")], self.dir.path()),
            "{how}"
        );
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(self.dir.path()).status();
        assert!(done.unwrap().success() || std::thread::panicking());
    }
}

fn open(path: &Path) -> Result<Device, OpenError> {
    let options = DeviceOptions {
        segment_size: 4 << 20,
        upkeep: false,
        ..DeviceOptions::default()
    };
    open_folder(path, (1, 2), options)
}

fn listings(device: &Path) -> Listings {
    let age = Duration::from_secs(7 * 86_400);
    let (cache, clock) = (KvCache::new(8 << 20), Arc::new(SystemClock));
    Listings::open(&device.join("list"), cache, clock, age, Threads::Os).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap().is_dir() {
            true => copy(&from, &to),
            false => drop(fs::copy(from, to).unwrap()),
        }
    }
}

/// Folders that databases are open through.
fn shadows() -> usize {
    let ours = format!("virga-read-only-{}-", std::process::id());
    let all = fs::read_dir(std::env::temp_dir()).unwrap();
    all.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with(&ours)
    })
    .count()
}

async fn check(device: &Device, all: &[(&str, Bytes)]) {
    for (name, bytes) in all {
        assert_eq!(get(device, name).await.unwrap().as_ref(), Some(bytes), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_mounted_read_only_is_served_from_and_takes_writes_when_it_is_writable_again() {
    let Some(mounted) = Mounted::of("size=128m") else {
        return;
    };
    let (live, killed, bare) = (mounted.path("live"), mounted.path("killed"), mounted.path("bare"));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let hlc = Hlc::new(clock);
    let all = [
        ("early", body(5000, 1)),
        ("large", body(2 * EXTENT + 3, 2)),
        ("late", body(7000, 3)),
    ];
    let device = open(&live).unwrap();
    let rows = listings(&live);
    for (nth, (name, bytes)) in all.iter().enumerate() {
        put(&device, request(name, hlc.next(), bytes), bytes)
            .await
            .unwrap();
        if nth == 1 {
            device.flush_index().await.unwrap();
        }
    }
    device
        .delete(&at("early"), hlc.next(), "a/c/early")
        .await
        .unwrap();
    let container = PutContainer {
        account: "a".into(),
        container: "c".into(),
        version: hlc.next(),
        deleted: Version(0),
        policy: 0,
        meta: Vec::new(),
    };
    rows.put_container(&at("c"), container).await.unwrap();
    // As a killed process leaves it: the index lacks the last records.
    copy(&live, &killed);
    drop((device, rows));
    copy(&killed, &bare);
    fs::remove_dir_all(bare.join("index")).unwrap();
    mounted.remount("ro");
    for path in [&killed, &bare] {
        let device = open(path).unwrap();
        let status = device.status();
        assert_eq!(
            (status.state, status.reasons[0].cause),
            (DeviceState::ReadOnly, Cause::ReadOnlyFilesystem)
        );
        check(&device, &all[1..]).await;
        assert_eq!(get(&device, "early").await.unwrap(), None);
        let refused = put(&device, request("late", hlc.next(), &all[0].1), &all[0].1).await;
        assert!(matches!(refused, Err(NodeError::Device(_))), "{refused:?}");
        assert!(device.delete(&at("late"), hlc.next(), "a/c/late").await.is_err());
        assert!(device.admit_rows().is_err());
        while !device.scrub().await.unwrap().unwrap().pass_done {}
        let rows = listings(path);
        assert_eq!(rows.head_container(&at("c")).await.unwrap().policy, 0);
        let twice = open(path).err();
        assert!(
            matches!(twice, Some(OpenError::Folder(OpenDeviceError::InUse(_)))),
            "{twice:?}"
        );
        device.close().await.unwrap();
    }
    assert_eq!(shadows(), 0);
    let refused = open(&mounted.path("new")).err().unwrap().to_string();
    assert!(refused.contains("Read-only file system"), "{refused}");
    mounted.remount("rw");
    for path in [&killed, &bare] {
        let device = open(path).unwrap();
        assert_eq!(device.status().state, DeviceState::Active);
        check(&device, &all[1..]).await;
        let bytes = body(9000, 4);
        put(&device, request("new", hlc.next(), &bytes), &bytes)
            .await
            .unwrap();
        device.close().await.unwrap();
    }
}

/// Takes all the room there is, to the last byte.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    let mut piece = 1 << 20;
    while piece > 0 {
        if file.write_all(&vec![7; piece]).is_err() {
            piece /= 2;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_somebody_else_filled_is_opened_and_served_from() {
    let Some(mounted) = Mounted::of("size=256m") else {
        return;
    };
    let (live, killed) = (mounted.path("live"), mounted.path("killed"));
    let hlc = Hlc::new(Arc::new(SystemClock));
    let (device, rows) = (open(&live).unwrap(), listings(&live));
    let bytes = body(5000, 1);
    put(&device, request("o", hlc.next(), &bytes), &bytes)
        .await
        .unwrap();
    let container = PutContainer {
        account: "a".into(),
        container: "c".into(),
        version: hlc.next(),
        deleted: Version(0),
        policy: 0,
        meta: Vec::new(),
    };
    rows.put_container(&at("c"), container).await.unwrap();
    copy(&live, &killed);
    drop((device, rows));
    fs::remove_dir_all(&live).unwrap();
    fill(&mounted.path("foreign"));
    {
        let (device, rows) = (open(&killed).unwrap(), listings(&killed));
        check(&device, &[("o", bytes.clone())]).await;
        assert_eq!(rows.head_container(&at("c")).await.unwrap().policy, 0);
        let status = device.status();
        assert_eq!(
            (status.state, status.reasons[0].cause),
            (DeviceState::ReadOnly, Cause::Full)
        );
        let refused = put(&device, request("p", hlc.next(), &bytes), &bytes).await;
        assert!(matches!(refused, Err(NodeError::Full)), "{refused:?}");
        assert!(!killed.join("ballast").exists(), "it is what made room");
    }
    fs::remove_file(mounted.path("foreign")).unwrap();
    let (device, _rows) = (open(&killed).unwrap(), listings(&killed));
    assert_eq!(device.status().state, DeviceState::Active);
    put(&device, request("p", hlc.next(), &bytes), &bytes)
        .await
        .unwrap();
    assert!(killed.join("ballast").exists(), "there is room to keep again");
}
