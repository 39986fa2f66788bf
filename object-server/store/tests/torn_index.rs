//! A machine that dies while the index is written, and an index whose files came
//! out of it torn: recovered or built anew, never wrong, never refused for good.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use support::{at, body, get, open_folder, put, request};
use virga_disk::kv::KvCache;
use virga_disk::threads::Threads;
use virga_node::clock::{Clock, Hlc, SystemClock, Version};
use virga_object_store::device::{Device, DeviceOptions, OpenError};
use virga_object_store::listing::{Listings, ReadError};
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::PutContainer;
use virga_object_wire::status::DeviceState;

fn open(path: &Path) -> Result<Device, OpenError> {
    let options = DeviceOptions {
        segment_size: 1 << 20,
        upkeep: false,
        ..DeviceOptions::default()
    };
    open_folder(path, (1, 2), options)
}

/// What is to be found under a name.
type Stored = Vec<(String, Option<Bytes>)>;

/// Writes, overwrites and deletes, and flushes the index now and then, so that it has
/// several tables and a manifest with history.
async fn write(device: &Device, hlc: &Hlc, round: u64) -> Stored {
    let mut stored = Vec::new();
    for n in 0..60 {
        let (name, bytes) = (format!("o{n}"), body(300 + 7 * n as usize, round * 1000 + n));
        put(device, request(&name, hlc.next(), &bytes), &bytes)
            .await
            .unwrap();
        let deleted = n % 10 == 9;
        if deleted {
            let path = format!("a/c/{name}");
            device.delete(&at(&name), hlc.next(), &path).await.unwrap();
        }
        stored.push((name, (!deleted).then_some(bytes)));
        if n % 20 == 19 {
            device.flush_index().await.unwrap();
        }
    }
    stored
}

/// The index first: what a crash leaves of it is never ahead of the log.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let mut names: Vec<_> = fs::read_dir(from)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    for name in names {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy(&from, &to);
        } else if let Err(error) = fs::copy(&from, &to) {
            // Deleted meanwhile.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", from.display());
        }
    }
}

/// The newest file of the index whose name looks like this.
fn newest(index: &Path, like: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let names = fs::read_dir(index)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    names.filter(|name| like(name)).max().map(|name| index.join(name))
}

/// Ways in which a file may come out of it.
type Tear = (&'static str, fn(&Path));

const TEARS: [Tear; 6] = [
    ("cut in the middle", |path| cut(path, |len| len / 2)),
    ("cut a little", |path| cut(path, |len| len.saturating_sub(7))),
    ("emptied", |path| cut(path, |_| 0)),
    ("zeros in its second half", |path| zero(path, |len| len / 2)),
    ("zeros all over", |path| zero(path, |_| 0)),
    ("gone", |path| fs::remove_file(path).unwrap()),
];

fn cut(path: &Path, to: impl Fn(u64) -> u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(to(file.metadata().unwrap().len())).unwrap();
}

fn zero(path: &Path, from: impl Fn(usize) -> usize) {
    let mut bytes = fs::read(path).unwrap();
    let from = from(bytes.len());
    bytes[from..].fill(0);
    fs::write(path, bytes).unwrap();
}

/// Reads all; whether everything was answered. What is answered must be right.
async fn census(device: &Device, stored: &Stored, what: &str) -> bool {
    let mut all = true;
    for (name, bytes) in stored {
        match get(device, name).await {
            Ok(found) => assert!(found == *bytes, "{what}: {name} is answered wrong"),
            Err(NodeError::Device(_)) => all = false,
            Err(error) => panic!("{what}: {name}: {error}"),
        }
    }
    all
}

/// Opens what is there, twice at most: damage may show when it is read.
async fn recovers(path: &Path, stored: &Stored, what: &str) {
    for _ in 0..2 {
        let device = open(path).unwrap_or_else(|error| panic!("{what}: {error}"));
        let all = census(&device, stored, what).await;
        let counted = stored.iter().filter(|(_, bytes)| bytes.is_some()).count() as u64;
        if all && device.held(0).await.is_ok() {
            assert_eq!(device.stats().objects, counted, "{what}");
            return;
        }
    }
    panic!("{what}: it fails again at the same place");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_with_torn_files_is_recovered_or_built_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (live, torn) = (dir.path().join("live"), dir.path().join("torn"));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let hlc = Hlc::new(clock);
    let device = open(&live).unwrap();
    write(&device, &hlc, 1).await;
    let stored = write(&device, &hlc, 2).await;
    type Like = fn(&str) -> bool;
    let files: [(&str, Like); 5] = [
        ("the newest table", |name| name.ends_with(".sst")),
        ("the oldest table", |name| name.ends_with(".sst")),
        ("the manifest", |name| name.starts_with("MANIFEST")),
        ("CURRENT", |name| name == "CURRENT"),
        ("the options", |name| name.starts_with("OPTIONS")),
    ];
    for (file, like) in files {
        for (tear, how) in TEARS {
            copy(&live, &torn);
            let index = torn.join("index");
            let oldest = || {
                let tables = fs::read_dir(&index).unwrap().map(|entry| entry.unwrap().path());
                tables
                    .filter(|path| path.extension().is_some_and(|end| end == "sst"))
                    .min()
            };
            let path = match file {
                "the oldest table" => oldest(),
                _ => newest(&index, like),
            };
            how(&path.unwrap_or_else(|| panic!("there is no such file: {file}")));
            recovers(&torn, &stored, &format!("{file}, {tear}")).await;
            fs::remove_dir_all(&torn).unwrap();
        }
    }
    device.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_middle_of_a_table_is_met_once() {
    let dir = tempfile::tempdir().unwrap();
    let (live, torn) = (dir.path().join("live"), dir.path().join("torn"));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let hlc = Hlc::new(clock);
    let device = open(&live).unwrap();
    let stored = write(&device, &hlc, 1).await;
    device.close().await.unwrap();
    drop(device);
    let tables = fs::read_dir(live.join("index")).unwrap();
    let tables = tables.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut met_late = 0;
    for table in tables.filter(|name| name.ends_with(".sst")) {
        copy(&live, &torn);
        let path = torn.join("index").join(&table);
        // The first rows; where they are and how many stands behind them.
        let mut bytes = fs::read(&path).unwrap();
        bytes[..32].fill(0);
        fs::write(&path, bytes).unwrap();
        let device = open(&torn).unwrap();
        met_late += u32::from(!census(&device, &stored, &table).await);
        drop(device);
        recovers(&torn, &stored, &table).await;
        let device = open(&torn).unwrap();
        assert_eq!(device.status().state, DeviceState::Active, "{table}");
        drop(device);
        fs::remove_dir_all(&torn).unwrap();
    }
    assert!(met_late > 0, "nothing was found only when it was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_made_while_it_is_written_has_what_was_acknowledged_before() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let hlc = Hlc::new(clock);
    let device = open(&live).unwrap();
    let stored = write(&device, &hlc, 1).await;
    let stop = AtomicBool::new(false);
    let writing = async {
        let mut n = 0;
        while !stop.load(Ordering::Relaxed) {
            let bytes = body(2000, n);
            let name = format!("other{}", n % 50);
            put(&device, request(&name, hlc.next(), &bytes), &bytes)
                .await
                .unwrap();
            n += 1;
            if n % 25 == 0 {
                device.flush_index().await.unwrap();
            }
        }
    };
    let copying = async {
        for nth in 0..4 {
            let (live, copied) = (live.clone(), dir.path().join(format!("copy{nth}")));
            let here = copied.clone();
            tokio::task::spawn_blocking(move || copy(&live, &here))
                .await
                .unwrap();
            let what = format!("copy {nth}");
            let opened = open(&copied).unwrap_or_else(|error| panic!("{what}: {error}"));
            let all = census(&opened, &stored, &what).await;
            drop(opened);
            if !all {
                let opened = open(&copied).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(census(&opened, &stored, &what).await, "{what}");
            }
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(writing, copying);
    device.close().await.unwrap();
}

fn listings(device: &Path) -> Listings {
    let age = std::time::Duration::from_secs(7 * 86_400);
    let (cache, clock) = (KvCache::new(1 << 20), Arc::new(SystemClock));
    Listings::open(&device.join("list"), cache, clock, age, Threads::Os).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_containers_with_torn_files_are_recovered_or_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (live, torn) = (dir.path().join("live"), dir.path().join("torn"));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let hlc = Hlc::new(clock);
    fs::create_dir_all(&live).unwrap();
    for n in 0..3 {
        // Each opening begins a manifest and a log, and writes out the log before.
        let rows = listings(&live);
        let put = PutContainer {
            account: "a".into(),
            container: format!("c{n}"),
            version: hlc.next(),
            deleted: Version(0),
            policy: n,
            meta: Vec::new(),
        };
        rows.put_container(&at(&format!("c{n}")), put).await.unwrap();
    }
    for (file, end) in [("MANIFEST", ""), ("CURRENT", ""), ("", ".sst"), ("", ".log")] {
        for (tear, how) in TEARS {
            copy(&live, &torn);
            let like = |name: &str| name.starts_with(file) && name.ends_with(end);
            how(&newest(&torn.join("list"), like).unwrap());
            let what = format!("{file}{end}, {tear}");
            let rows = listings(&torn);
            let mut found = 0;
            for n in 0..3 {
                match rows.head_container(&at(&format!("c{n}"))).await {
                    Ok(info) if info.put == Version(0) => {}
                    Ok(info) => {
                        assert_eq!(info.policy, n, "{what}");
                        found += 1;
                    }
                    Err(ReadError::Device(_)) => {}
                    Err(error) => panic!("{what}: {error}"),
                }
            }
            let aside = torn.join("list.damaged").exists();
            assert!(!aside || found == 0, "{what}");
            // The log of the last opening may be torn: what came before is there.
            assert!(end != ".log" || found >= 2, "{what}: {found}");
            drop(rows);
            drop(listings(&torn));
            fs::remove_dir_all(&torn).unwrap();
        }
    }
}
