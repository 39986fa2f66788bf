//! What callers rely on, against a real database in a folder of its own.
mod behaviour;
mod bytes;
mod crash;
mod forgetting;
mod merge;
mod migration;
mod model;
mod pages;
mod reminders;
mod replicas;
mod rows;
mod sequences;

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::runtime::Runtime;
use virga_disk::kv::KvCache;
use virga_disk::threads::Threads;
use virga_node::clock::{Clock, ManualClock, Micros, Version};
use virga_object_wire::listing::{ContainerRow, ListRequest, MetaItem, ObjectRow, PutAccount, PutContainer};
use virga_object_wire::object::At;
use virga_ring::hash::NameHash;
use virga_ring::{Partition, RingId};

use super::{Listings, RECLAIM_AGE, Round};

/// Where the tests' clock starts.
const START: Micros = Micros(1_766_400_000_000_000);

/// A device whose clock is the test's.
struct Device {
    folder: TempDir,
    clock: Arc<ManualClock>,
    runtime: Runtime,
    listings: Option<Listings>,
}

impl Device {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(START));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let listings = Some(open(folder.path(), &clock));
        Self {
            folder,
            clock,
            runtime,
            listings,
        }
    }

    fn listings(&self) -> &Listings {
        self.listings.as_ref().unwrap()
    }

    /// Runs one call to its end.
    fn run<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(call)
    }

    /// Goes on with the files as a crash at this moment would leave them.
    fn crash(&mut self) {
        let left = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(self.folder.path()).unwrap() {
            let file = file.unwrap();
            if file.file_name() != "LOCK" {
                std::fs::copy(file.path(), left.path().join(file.file_name())).unwrap();
            }
        }
        drop(self.listings.take());
        self.folder = left;
        self.listings = Some(open(self.folder.path(), &self.clock));
    }

    /// Notes complete rounds of reconciliation that began now.
    fn note_rounds(&self) {
        for kind in super::sys::KINDS {
            let round = Round {
                ring: RingId::default(),
                started: self.clock.now(),
            };
            self.run(self.listings().note_round(kind, round)).unwrap();
        }
    }

    fn put_rows(&self, at: &At, rows: &[ObjectRow]) {
        self.run(self.listings().put_object_rows(at, rows.to_vec()))
            .unwrap();
    }

    fn put_container(&self, name: &str, version: u64) -> At {
        let at = at(name);
        self.run(self.listings().put_container(&at, container(name, version)))
            .unwrap();
        at
    }
}

fn open(folder: &Path, clock: &Arc<ManualClock>) -> Listings {
    Listings::open(
        folder,
        KvCache::new(8 << 20),
        clock.clone(),
        RECLAIM_AGE,
        Threads::Os,
    )
    .unwrap()
}

/// Cases of a random test: `short`, or many in a soak.
fn cases(short: u32) -> u32 {
    if std::env::var_os("VIRGA_SOAK").is_some() {
        short * 50
    } else {
        short
    }
}

/// The n-th version of a test, at the start of its clock.
fn v(n: u64) -> Version {
    Version(Version::at(START).0 + n)
}

fn at(name: &str) -> At {
    let mut hash = [0; 16];
    hash.copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..16]);
    At {
        device: "d1".into(),
        policy: 0,
        partition: Partition(u32::from(hash[0])),
        hash: NameHash(hash),
        ring: virga_ring::RingEpoch::NONE,
    }
}

fn container(name: &str, version: u64) -> PutContainer {
    PutContainer {
        account: "AUTH_a".into(),
        container: name.into(),
        version: v(version),
        deleted: Version(0),
        policy: 0,
        meta: vec![],
    }
}

fn account(version: u64) -> PutAccount {
    PutAccount {
        account: "AUTH_a".into(),
        version: v(version),
        meta: vec![],
    }
}

fn object(name: &str, version: u64, size: u64) -> ObjectRow {
    ObjectRow {
        name: name.into(),
        version: v(version),
        meta_version: v(version),
        size,
        etag: "d41d8cd98f00b204e9800998ecf8427e".into(),
        content_type: "text/plain".into(),
        deleted: false,
    }
}

fn deleted(name: &str, version: u64) -> ObjectRow {
    ObjectRow {
        size: 0,
        etag: String::new(),
        deleted: true,
        ..object(name, version, 0)
    }
}

fn container_row(name: &str, put: u64, counted: u64, objects: u64, bytes: u64) -> ContainerRow {
    ContainerRow {
        name: name.into(),
        put: v(put),
        deleted: Version(0),
        policy: 0,
        counted: v(counted),
        objects,
        bytes,
    }
}

fn item(name: &str, value: &str, version: u64) -> MetaItem {
    MetaItem {
        name: name.into(),
        value: value.into(),
        version: v(version),
    }
}

/// Everything, in order.
fn all() -> ListRequest {
    ListRequest {
        limit: 10_000,
        ..ListRequest::default()
    }
}
