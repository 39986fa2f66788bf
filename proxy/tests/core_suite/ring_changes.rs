//! Rings that change while clients read and write: through proxies that know
//! the old ring, both, or the new one alone; with nodes that move data, forget
//! it, are slow and go away.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use virga_node::clock::Version;
use virga_object_wire::checked::EXTENT;
use virga_object_wire::object::{Found, PostMeta};
use virga_proxy::core::{
    DeleteObjectError, GetOptions, NewObject, ObjectName, PostObjectError, PutObjectError, ReadObjectError,
    Unavailable,
};

use crate::cluster::{bytes, container, object, whole};
use crate::fleet::{Chance, Fleet, settings};

/// What clients were promised of a name.
#[derive(Clone, Copy, Debug, Default)]
struct Promise {
    /// The newest data or deletion that was acknowledged.
    data: Version,
    /// The newest metadata update, and the data it was made to: it ends with
    /// them, also by a deletion that is older than the update.
    post: (Version, Version),
}

impl Promise {
    /// Whether a read that found this data (or deletion) and metadata keeps it.
    fn is_kept(&self, data: Version, meta: Version) -> bool {
        data >= self.data && (data != self.post.0 || meta >= self.post.1)
    }
}

#[derive(Default)]
struct Promises(Mutex<BTreeMap<ObjectName, Promise>>);

impl Promises {
    fn of(&self, name: &ObjectName) -> Promise {
        self.0.lock().unwrap().get(name).copied().unwrap_or_default()
    }

    fn made(&self, name: &ObjectName, version: Version) {
        let mut all = self.0.lock().unwrap();
        let promise = all.entry(name.clone()).or_default();
        promise.data = promise.data.max(version);
    }

    fn posted(&self, name: &ObjectName, data: Version, meta: Version) {
        let mut all = self.0.lock().unwrap();
        let promise = all.entry(name.clone()).or_default();
        promise.post = promise.post.max((data, meta));
    }
}

/// What one seed did.
struct Run {
    seed: u64,
    fleet: Fleet,
    names: Vec<ObjectName>,
    chance: Arc<Chance>,
    promises: Promises,
    over: AtomicBool,
    /// No node may go away.
    calm: AtomicBool,
    /// What happened lately.
    log: Mutex<Vec<String>>,
    started: tokio::time::Instant,
    reads: AtomicU64,
    writes: AtomicU64,
    refused: AtomicU64,
}

impl Run {
    fn new(seed: u64) -> Arc<Self> {
        let fleet = Fleet::new(6, &[0, 4, -4], true, &settings());
        Arc::new(Self {
            seed,
            fleet,
            names: (0..5).map(|n| object(&format!("o{n}"))).collect(),
            chance: Arc::new(Chance::new(seed)),
            promises: Promises::default(),
            over: AtomicBool::new(false),
            calm: AtomicBool::new(false),
            log: Mutex::default(),
            started: tokio::time::Instant::now(),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    fn door(&self) -> &crate::fleet::Door {
        self.chance.pick(&self.fleet.doors)
    }

    /// Nothing is refused while the same nodes are up all along.
    fn excuse(&self, failures: u64, error: &Unavailable, what: &str) {
        self.refused.fetch_add(1, Ordering::SeqCst);
        let now = self.fleet.failures.load(Ordering::SeqCst);
        assert_ne!(now, failures, "seed {}: {what} was refused: {error}", self.seed);
    }

    async fn read(&self, name: &ObjectName) {
        let promised = self.promises.of(name);
        let failures = self.fleet.failures.load(Ordering::SeqCst);
        let core = &self.door().core;
        let read = match self.chance.below(3) {
            0 => core
                .head_object(name, self.chance.below(4) == 0)
                .await
                .map(|stat| (stat.version, stat.meta_version)),
            _ => match core.get_object(name, GetOptions::default()).await {
                Ok(got) => {
                    let version = (got.stat.version, got.stat.meta_version);
                    let body = got.body.collect(usize::MAX).await;
                    if let Err(error) = &body {
                        let now = self.fleet.failures.load(Ordering::SeqCst);
                        assert_ne!(now, failures, "seed {}: a body ended early: {error}", self.seed);
                    }
                    Ok(version)
                }
                Err(error) => Err(error),
            },
        };
        let seen = match read {
            Ok(version) => version,
            Err(ReadObjectError::NotFound { deleted }) => {
                let deleted = deleted.unwrap_or(Version(0));
                (deleted, deleted)
            }
            Err(ReadObjectError::Unavailable(error)) => {
                if self.fleet.failures.load(Ordering::SeqCst) == failures {
                    self.explain(name, core).await;
                }
                return self.excuse(failures, &error, "a read");
            }
            Err(error) => panic!("seed {}: {error}", self.seed),
        };
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.note(name, format!("read {seen:?}, promised {promised:?}"));
        let (seed, path) = (self.seed, name.path());
        if !promised.is_kept(seen.0, seen.1) {
            self.explain(name, core).await;
            panic!("seed {seed}: {path} reads as {seen:?}, {promised:?} was promised");
        }
    }

    /// Prints who knows what, for a read that went wrong.
    async fn explain(&self, name: &ObjectName, core: &virga_proxy::core::Core) {
        for door in &self.fleet.doors {
            let in_use = door.ring.in_use();
            let all = std::iter::once(&in_use.current).chain(&in_use.previous);
            let rings: Vec<_> = all
                .map(|known| (known.id.version, self.fleet.primaries(&known.ring, name)))
                .collect();
            let mine = std::ptr::eq(&door.core, core);
            println!("door {} {rings:?}", if mine { "of the read" } else { "" });
        }
        for id in 0..self.fleet.devices {
            self.fleet.twin(id).set(|s| (s.answer, s.latency) = (None, None));
            let found = self
                .fleet
                .knows(id, &self.fleet.doors[0].ring.current(), name)
                .await
                .unwrap();
            println!(
                "device {id}: {:?} {}",
                found.version(),
                matches!(found, Found::Object(_))
            );
        }
        for line in self
            .log
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.contains(name.object()))
        {
            println!("{line}");
        }
    }

    fn note(&self, name: &ObjectName, what: String) {
        let mut log = self.log.lock().unwrap();
        let at = self.started.elapsed();
        log.push(format!("{at:?} {}: {what}", name.object()));
        let len = log.len();
        log.drain(..len.saturating_sub(400));
    }

    async fn put(&self, name: &ObjectName) {
        let failures = self.fleet.failures.load(Ordering::SeqCst);
        let core = &self.door().core;
        let put = match self.chance.below(24) {
            0 => {
                // A large one from a client that takes its time.
                let pieces: Vec<Bytes> = (0..2).map(|_| bytes(EXTENT / 2 + 1000)).collect();
                let chance = Arc::clone(&self.chance);
                let body = stream::unfold((pieces, chance), |(mut pieces, chance)| async move {
                    let piece = pieces.pop()?;
                    chance.sleep(Duration::from_secs(40)).await;
                    Some((Ok(piece), (pieces, chance)))
                });
                core.put_object(name, NewObject::new("x/large"), Box::pin(body))
                    .await
            }
            _ => {
                core.put_object(name, NewObject::new("x/y"), whole("a few bytes"))
                    .await
            }
        };
        match put {
            Ok(stored) => {
                self.writes.fetch_add(1, Ordering::SeqCst);
                self.note(name, format!("PUT {:?}", stored.version));
                self.promises.made(name, stored.version);
            }
            Err(PutObjectError::Unavailable(error)) => self.excuse(failures, &error, "a PUT"),
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
    }

    async fn post(&self, name: &ObjectName) {
        let promised = self.promises.of(name);
        let failures = self.fleet.failures.load(Ordering::SeqCst);
        let meta = PostMeta {
            headers: vec![("x-object-meta-a".into(), "b".into())],
            ..PostMeta::default()
        };
        match self.door().core.post_object(name, meta, None).await {
            Ok(stat) => {
                self.writes.fetch_add(1, Ordering::SeqCst);
                self.note(
                    name,
                    format!("POST {:?} of {:?}", stat.meta_version, stat.version),
                );
                self.promises.posted(name, stat.version, stat.meta_version);
            }
            // Deleted, or never there: what a read says of it must be as new.
            Err(PostObjectError::NotFound) => {
                let found = self.door().core.head_object(name, false).await;
                if let Err(ReadObjectError::NotFound { deleted }) = found {
                    assert!(
                        deleted.unwrap_or(Version(0)) >= promised.data,
                        "seed {}",
                        self.seed
                    );
                }
            }
            Err(PostObjectError::Unavailable(error)) => self.excuse(failures, &error, "a POST"),
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
    }

    async fn delete(&self, name: &ObjectName) {
        let failures = self.fleet.failures.load(Ordering::SeqCst);
        match self.door().core.delete_object(name, None).await {
            Ok(deleted) => {
                self.writes.fetch_add(1, Ordering::SeqCst);
                self.note(name, format!("DELETE {:?}", deleted.version));
                self.promises.made(name, deleted.version);
            }
            Err(DeleteObjectError::Unavailable(error)) => self.excuse(failures, &error, "a DELETE"),
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
    }

    async fn client(self: Arc<Self>) {
        while !self.over.load(Ordering::SeqCst) {
            let name = self.chance.pick(&self.names).clone();
            match self.chance.below(20) {
                0..10 => self.read(&name).await,
                10..16 => self.put(&name).await,
                16..18 => self.post(&name).await,
                _ => self.delete(&name).await,
            }
            self.chance.sleep(Duration::from_millis(400)).await;
        }
    }

    /// One node at a time goes away for a while.
    async fn misfortune(self: Arc<Self>) {
        while !self.over.load(Ordering::SeqCst) {
            self.chance.sleep(Duration::from_secs(8)).await;
            if self.calm.load(Ordering::SeqCst) {
                self.fleet.fail(None);
                continue;
            }
            let devices = u64::from(self.fleet.devices);
            let who = (self.chance.below(3) > 0).then(|| self.chance.below(devices) as u32);
            self.fleet.fail(who);
        }
        self.fleet.fail(None);
    }

    /// Nodes move what they have to where their ring says, over and over.
    async fn movement(self: Arc<Self>) {
        while !self.over.load(Ordering::SeqCst) {
            let ring = self.fleet.plan.lock().unwrap().ring();
            self.fleet.round(&ring, &self.names).await;
            self.chance.sleep(Duration::from_secs(3)).await;
        }
    }

    /// A ring change from its first proxy or node to its end.
    async fn change(&self) {
        let next = self.fleet.plan.lock().unwrap().next(&self.chance);
        let nodes_first = self.chance.below(2) == 0;
        if nodes_first {
            *self.fleet.plan.lock().unwrap() = next.clone();
            self.chance.sleep(Duration::from_secs(5)).await;
        }
        for door in &self.fleet.doors {
            self.chance.sleep(Duration::from_secs(6)).await;
            door.ring.swap(next.ring());
        }
        *self.fleet.plan.lock().unwrap() = next.clone();
        // Requests that know the old ring alone end, and nobody is away for a round.
        self.calm.store(true, Ordering::SeqCst);
        self.fleet.fail(None);
        tokio::time::sleep(Duration::from_secs(20)).await;
        while !self.fleet.round(&next.ring(), &self.names).await {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        self.calm.store(false, Ordering::SeqCst);
        for door in &self.fleet.doors {
            self.chance.sleep(Duration::from_secs(6)).await;
            assert!(door.ring.retire(door.ring.id()).unwrap());
        }
        self.chance.sleep(Duration::from_secs(10)).await;
    }
}

async fn run(seed: u64, changes: usize) {
    let run = Run::new(seed);
    let core = &run.fleet.doors[0].core;
    core.put_container(&container("c"), None, Vec::new())
        .await
        .unwrap();
    let (usual, sometimes) = (Duration::from_millis(30), Duration::from_millis(400));
    run.fleet.slow_down(&run.chance, usual, sometimes);
    let mut tasks = Vec::new();
    for _ in 0..4 {
        tasks.push(run.fleet.tasks.spawn(Arc::clone(&run).client()));
    }
    tasks.push(run.fleet.tasks.spawn(Arc::clone(&run).misfortune()));
    tasks.push(run.fleet.tasks.spawn(Arc::clone(&run).movement()));
    for _ in 0..changes {
        run.change().await;
    }
    run.over.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    let count = |of: &AtomicU64| of.load(Ordering::SeqCst);
    let (reads, writes, refused) = (count(&run.reads), count(&run.writes), count(&run.refused));
    println!("seed {seed}: {reads} reads, {writes} writes, {refused} refused");
    assert!(
        reads > 100 && writes > 100,
        "seed {seed}: {reads} reads, {writes} writes"
    );
    // In the end everything is where the last ring wants it, and nowhere else.
    let ring = run.fleet.plan.lock().unwrap().ring();
    for twin in run.fleet.twins.all() {
        twin.set(|s| s.latency = None);
    }
    for _ in 0..2 {
        assert!(run.fleet.round(&ring, &run.names).await);
    }
    for name in &run.names {
        let primaries = run.fleet.primaries(&ring, name);
        let first = run.fleet.knows(primaries[0], &ring, name).await.unwrap();
        for id in 0..run.fleet.devices {
            let knows = run.fleet.knows(id, &ring, name).await.unwrap();
            match primaries.contains(&id) {
                true => assert_eq!(knows.version(), first.version(), "seed {seed}: {}", name.path()),
                false => assert_eq!(knows, Found::Absent, "seed {seed}: {}", name.path()),
            }
        }
    }
}

/// Seeds to run: the one asked for, or a few; many with VIRGA_SOAK.
fn seeds(few: u64) -> Vec<u64> {
    match std::env::var("VIRGA_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        Some(seed) => vec![seed],
        None if std::env::var_os("VIRGA_SOAK").is_some() => (0..few * 100).collect(),
        None => (0..few).collect(),
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_was_acknowledged_is_read_through_any_proxy_at_any_moment_of_a_change() {
    for seed in seeds(3) {
        run(seed, 2).await;
    }
}
