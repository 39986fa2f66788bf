//! A device under test: a faulty disk in memory, an index in a temporary
//! folder, a clock that stands still unless moved.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]
#![allow(dead_code, reason = "every test file uses its own part")]
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tempfile::TempDir;
use uuid::Uuid;
use virga_disk::device::Description;
use virga_disk::io::Disk;
use virga_disk::io::fault::FaultDisk;
use virga_disk::kv::KvCache;
use virga_disk::segment::header::Identity;
use virga_node::clock::{Clock, ManualClock, Micros, SystemClock, Version};
use virga_object_store::device::{Device, DeviceConfig, DeviceOptions, OpenError, Storage};
use virga_object_wire::checked::{Checked, EXTENT};
use virga_object_wire::error::NodeError;
use virga_object_wire::node::{Read, Span};
use virga_object_wire::object::{At, ObjectMeta, PutObject, Source};
use virga_ring::Partition;
use virga_ring::hash::NameHash;

/// When tests begin, in seconds.
pub const START: u64 = 1_766_400_000;

/// A device and everything around it that outlives a restart.
pub struct Bench {
    pub disk: FaultDisk,
    pub clock: Arc<ManualClock>,
    pub options: DeviceOptions,
    dir: TempDir,
    lives: u32,
    device: Option<Device>,
    stamps: AtomicU64,
}

impl Bench {
    /// A fresh device of `capacity` bytes with segments of `segment` bytes.
    pub fn new(capacity: u64, segment: u64, seed: u64) -> Self {
        let options = DeviceOptions {
            segment_size: segment,
            upkeep: false,
            ..DeviceOptions::default()
        };
        let mut bench = Self {
            disk: FaultDisk::new(capacity, seed),
            clock: Arc::new(ManualClock::new(Micros(START * 1_000_000))),
            options,
            dir: scratch(),
            lives: 0,
            device: None,
            stamps: AtomicU64::new(0),
        };
        bench.open().unwrap();
        bench
    }

    /// A roomy device with small segments.
    pub fn small() -> Self {
        Self::new(256 << 20, 4 << 20, 1)
    }

    pub fn device(&self) -> &Device {
        self.device.as_ref().unwrap()
    }

    pub fn index_path(&self) -> PathBuf {
        self.dir.path().join(format!("index-{}", self.lives))
    }

    /// Opens the device on what is there.
    pub fn open(&mut self) -> Result<(), OpenError> {
        let config = DeviceConfig {
            name: "d1".into(),
            storage: Storage::Disk {
                disk: Arc::new(self.disk.clone()),
                identity: Identity {
                    device: [7; 16],
                    secret: 77,
                },
                index: self.index_path(),
            },
            cache: KvCache::new(8 << 20),
            options: self.options.clone(),
        };
        let clock: Arc<dyn Clock> = self.clock.clone();
        self.device = Some(Device::open(config, clock)?);
        Ok(())
    }

    /// The process dies. RocksDB writes memtables out when it is closed in
    /// peace, so what a crash leaves is a copy of its folder from before.
    fn leave(&mut self) {
        let old = self.index_path();
        self.lives += 1;
        copy(&old, &self.index_path());
        self.device = None;
        std::fs::remove_dir_all(old).unwrap();
    }

    /// Power is lost and comes back.
    pub fn crash(&mut self, seed: u64) {
        self.disk.crash(seed);
        self.leave();
        self.open().unwrap();
    }

    /// The process is killed and started again.
    pub fn kill(&mut self) {
        self.disk.kill();
        self.leave();
        self.open().unwrap();
    }

    /// Power is lost, and the index with it.
    pub fn lose_index(&mut self, seed: u64) {
        self.disk.crash(seed);
        self.leave();
        std::fs::remove_dir_all(self.index_path()).unwrap();
        self.open().unwrap();
    }

    /// Stopped in peace and started again.
    pub async fn restart(&mut self) {
        self.device().close().await.unwrap();
        self.device = None;
        self.open().unwrap();
    }

    /// As [`Bench::restart`], with something done to the folder of the index while
    /// the device is closed.
    pub async fn restart_after(&mut self, meddle: impl FnOnce(&Path)) -> Result<(), OpenError> {
        self.close().await;
        meddle(&self.index_path());
        self.open()
    }

    /// Stopped in peace, if it is open, and not started again.
    pub async fn close(&mut self) {
        if let Some(device) = self.device.take() {
            device.close().await.unwrap();
        }
    }

    /// A version newer than all before.
    pub fn next_version(&self) -> Version {
        let stamp = self.stamps.fetch_add(1, Ordering::Relaxed) + 1;
        Version(Version::at(self.clock.now()).0 + stamp)
    }

    /// Writes an object, newer than all before.
    pub async fn store(&self, name: &str, bytes: &Bytes) {
        let request = request(name, self.next_version(), bytes);
        put(self.device(), request, bytes).await.unwrap();
    }

    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Rots a bit of the bytes in a segment file that read like `pattern`; says how
    /// many places that was.
    pub fn rot(&self, pattern: &[u8]) -> usize {
        let mut hits = 0;
        for name in self.disk.list().unwrap() {
            let file = self.disk.open(&name).unwrap();
            let mut bytes = vec![0; usize::try_from(file.len()).unwrap()];
            file.pread(&mut bytes, 0).unwrap();
            for at in find(&bytes, pattern) {
                self.disk.flip_bit(&name, (at + pattern.len() / 2) as u64, 3);
                hits += 1;
            }
        }
        hits
    }
}

/// Opens a device in a folder of a real disk, with these names of its cloud and its own.
pub fn open_folder(
    path: &Path,
    (cloud, device): (u128, u128),
    options: DeviceOptions,
) -> Result<Device, OpenError> {
    let config = DeviceConfig {
        name: "d1".into(),
        storage: Storage::Folder {
            path: path.to_owned(),
            fresh: Description::new(Uuid::from_u128(cloud), Uuid::from_u128(device), [3; 8]),
        },
        cache: KvCache::new(8 << 20),
        options,
    };
    Device::open(config, Arc::new(SystemClock))
}

/// A folder for the index; in memory if the machine has such, as its syncs prove
/// nothing here (a crash is a copy) and cost most of the time.
fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn find(bytes: &[u8], pattern: &[u8]) -> Vec<usize> {
    bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == pattern[0])
        .map(|(at, _)| at)
        .filter(|at| bytes[*at..].starts_with(pattern))
        .collect()
}

/// Files of a folder with their sizes.
fn listing(dir: &Path) -> BTreeMap<OsString, u64> {
    let sized = |file: std::io::Result<std::fs::DirEntry>| {
        let file = file.unwrap();
        // A file that goes away meanwhile shows as one that changed.
        (file.file_name(), file.metadata().map_or(0, |meta| meta.len()))
    };
    std::fs::read_dir(dir).unwrap().map(sized).collect()
}

/// Copies a folder as of one moment: anew until nothing changed meanwhile, as
/// RocksDB compacts in the background.
fn copy(from: &Path, to: &Path) {
    loop {
        std::fs::create_dir_all(to).unwrap();
        let before = listing(from);
        let copied = before
            .keys()
            .all(|name| std::fs::copy(from.join(name), to.join(name)).is_ok());
        if copied && listing(from) == before {
            return;
        }
        std::fs::remove_dir_all(to).unwrap();
    }
}

/// The place of a name; partitions are few, so that names share them.
pub fn at(name: &str) -> At {
    let hash = blake3::hash(name.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    At {
        device: "d1".into(),
        policy: 0,
        partition: Partition(u32::from(bytes[0] >> 6)),
        hash: NameHash(bytes),
        ring: virga_ring::RingEpoch::NONE,
    }
}

/// A body of `len` bytes that says who it is.
pub fn body(len: usize, seed: u64) -> Bytes {
    let mut out = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out.into()
}

pub fn meta(name: &str) -> ObjectMeta {
    ObjectMeta {
        path: format!("a/c/{name}"),
        content_type: "text/plain".into(),
        etag: "etag".into(),
        ..ObjectMeta::default()
    }
}

pub fn request(name: &str, version: Version, body: &Bytes) -> PutObject {
    PutObject {
        version,
        size: body.len() as u64,
        blake3: *blake3::hash(body).as_bytes(),
        meta: meta(name),
        handoff_for: None,
        source: Source::Client,
    }
}

/// Stores an object, in one piece or in extents as its size asks for.
pub async fn put(device: &Device, request: PutObject, body: &Bytes) -> Result<(), NodeError> {
    let name = request.meta.path.strip_prefix("a/c/").unwrap().to_owned();
    if body.len() <= EXTENT {
        return device.put(&at(&name), request, Checked::seal(body.clone())).await;
    }
    let mut stream = device.begin_put(&at(&name)).await?;
    for start in (0..body.len()).step_by(256 << 10) {
        let piece = body.slice(start..body.len().min(start + (256 << 10)));
        stream.send(Checked::seal(piece)).await?;
    }
    stream.commit(request).await
}

/// Reads a span and checks every piece; `None` if there is no object.
pub async fn get_span(device: &Device, name: &str, span: Option<Span>) -> Result<Option<Bytes>, NodeError> {
    let read = match device.get(&at(name), span).await? {
        Read::Gone(_) => return Ok(None),
        Read::Object(read) => read,
    };
    let mut bytes = Vec::new();
    let mut pieces = read.body;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        assert!(piece.len() <= EXTENT);
        assert_eq!(
            piece.verify(),
            Ok(()),
            "unverified bytes of {name} left the device"
        );
        bytes.extend_from_slice(piece.data());
    }
    let Some(span) = span else {
        return Ok(Some(bytes.into()));
    };
    let from = usize::try_from(span.start - read.body_start)
        .unwrap()
        .min(bytes.len());
    let to = usize::try_from(span.end.max(span.start) - read.body_start)
        .unwrap()
        .min(bytes.len());
    Ok(Some(Bytes::from(bytes).slice(from..to)))
}

pub async fn get(device: &Device, name: &str) -> Result<Option<Bytes>, NodeError> {
    get_span(device, name, None).await
}
