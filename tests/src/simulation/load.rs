//! Clients of a simulated cluster, and what they saw: every call of every key,
//! for the search of an order that explains them.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use virga_node::clock::Version;
use virga_object_server::Rings;
use virga_object_wire::listing::{Entry, ListRequest};
use virga_object_wire::object::PostMeta;
use virga_proxy::core::{
    ContainerName, Core, DeleteContainerError, DeleteObjectError, GetOptions, ListError, NewObject,
    ObjectName, PostObjectError, ReadObjectError,
};

use super::network::Network;
use super::world::World;
use crate::linear::{Call, Held, RegisterOp};
use crate::workload::body;

/// Header that carries the number of a write.
const MARK: &str = "x-object-meta-write";
/// Calls of one key before another takes its place: the search for an order
/// grows faster than they do.
const CALLS: usize = 40;
/// Longest a client waits.
const PATIENCE: Duration = Duration::from_secs(90);

/// A name, with everything that clients did to it.
pub struct Key {
    /// Container, "c0".
    pub container: String,
    /// Object.
    pub object: String,
    /// What was called and answered.
    pub calls: Mutex<Vec<Call<RegisterOp>>>,
    /// Size and ETag of every write of data.
    pub writes: Mutex<BTreeMap<u64, (u64, String)>>,
    /// When a write was first acknowledged by stand-ins because too few of the
    /// name's own devices could be reached: readers that reach those again may
    /// miss it until it has been brought to them.
    weak_from: Mutex<Option<u64>>,
}

impl Key {
    /// Its name as the core knows it.
    pub fn name(&self) -> ObjectName {
        ObjectName::new("AUTH_sim", &self.container, &self.object).expect("a good name")
    }

    /// Its calls as far as they are promised to have an order. While writes are
    /// held by stand-ins, reads may miss them; nothing may be lost all the same,
    /// which what is seen from `healthy` on must show.
    pub fn promised(&self, healthy: u64) -> Vec<Call<RegisterOp>> {
        let mut calls = self.calls.lock().expect("nobody panics here").clone();
        let Some(weak) = *self.weak_from.lock().expect("nobody panics here") else {
            return calls;
        };
        calls.retain_mut(|call| {
            if call.begun >= healthy || call.ended.is_some_and(|ended| ended < weak) {
                return true;
            }
            match &mut call.op {
                RegisterOp::Get(_) => return false,
                RegisterOp::Post { found, .. } => {
                    if found.take() == Some(false) {
                        call.ended = None;
                    }
                }
                RegisterOp::Put(_) | RegisterOp::Delete { .. } => {}
            }
            true
        });
        calls
    }

    fn path(&self) -> String {
        format!("{}/{}", self.container, self.object)
    }
}

/// A container of its own, which one client at a time makes and deletes.
#[derive(Default)]
struct Passing {
    /// What the last acknowledged change left; none when that is not known.
    exists: Option<bool>,
    busy: bool,
}

/// What clients do.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Clients.
    pub clients: usize,
    /// Names in use at the same time.
    pub keys: usize,
    /// Longest rest between two calls of a client, milliseconds.
    pub rest: u64,
    /// Usual bytes of an object.
    pub size: u64,
    /// Writes in a thousand that are larger than an extent.
    pub large: u64,
}

impl Mix {
    /// A few clients on a few small objects.
    pub const USUAL: Self = Self {
        clients: 3,
        keys: 5,
        rest: 900,
        size: 3000,
        large: 15,
    };
}

/// A proxy that clients sit at.
#[derive(Clone)]
pub struct Seat {
    /// It.
    pub core: Core,
    /// Its rings.
    pub rings: Rings,
}

/// All clients together.
pub struct Load {
    world: Arc<World>,
    proxies: Vec<Seat>,
    network: Arc<Network>,
    mix: Mix,
    /// Every name that ever was in use.
    keys: Mutex<Vec<Arc<Key>>>,
    boxes: Mutex<Vec<Passing>>,
    next_write: AtomicU64,
    stopped: AtomicBool,
    findings: Mutex<Vec<String>>,
    /// Calls made, and those without an answer that says what happened.
    pub counts: [AtomicU64; 2],
}

/// Name of a container that clients keep objects in.
pub fn container(number: usize) -> ContainerName {
    ContainerName::new("AUTH_sim", &format!("c{number}")).expect("a good name")
}

/// Containers that clients keep objects in.
pub const CONTAINERS: usize = 2;
/// Containers that are made and deleted.
const BOXES: usize = 2;

impl Load {
    /// Clients of these proxies; none runs yet.
    pub fn new(world: &Arc<World>, network: &Arc<Network>, proxies: Vec<Seat>, mix: Mix) -> Arc<Self> {
        let load = Arc::new(Self {
            world: Arc::clone(world),
            proxies,
            network: Arc::clone(network),
            mix,
            keys: Mutex::default(),
            boxes: Mutex::new((0..BOXES).map(|_| Passing::default()).collect()),
            next_write: AtomicU64::new(1),
            stopped: AtomicBool::new(false),
            findings: Mutex::default(),
            counts: [AtomicU64::new(0), AtomicU64::new(0)],
        });
        (0..mix.keys).for_each(|_| load.fresh());
        load
    }

    fn fresh(&self) {
        let mut keys = self.keys.lock().expect("nobody panics here");
        let number = keys.len();
        keys.push(Arc::new(Key {
            container: format!("c{}", number % CONTAINERS),
            object: format!("o{number}"),
            calls: Mutex::default(),
            writes: Mutex::default(),
            weak_from: Mutex::default(),
        }));
    }

    /// Every name that ever was in use.
    pub fn keys(&self) -> Vec<Arc<Key>> {
        self.keys.lock().expect("nobody panics here").clone()
    }

    /// Answers that should not have been.
    pub fn findings(&self) -> Vec<String> {
        self.findings.lock().expect("nobody panics here").clone()
    }

    fn found(&self, finding: String) {
        self.world.note(format_args!("FINDING {finding}"));
        self.findings.lock().expect("nobody panics here").push(finding);
    }

    /// Makes the containers; `false` if that cannot be done now.
    pub async fn prepare(&self) -> bool {
        for number in 0..CONTAINERS {
            let made = self.proxies[0]
                .core
                .put_container(&container(number), None, Vec::new())
                .await;
            if made.is_err() {
                return false;
            }
        }
        true
    }

    /// Tells the clients to end after the call they are at.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// One client, until it is told to stop.
    pub async fn client(self: Arc<Self>, number: usize) {
        let seat = self.proxies[number % self.proxies.len()].clone();
        let core = &seat.core;
        while !self.stopped.load(Ordering::Relaxed) {
            tokio::time::sleep(self.world.millis(0, self.mix.rest)).await;
            let key = self.key();
            match self.world.below(20) {
                0..=6 => self.put(&seat, &key, number).await,
                7..=8 => self.post(&seat, &key, number).await,
                9..=10 => self.delete(&seat, &key, number).await,
                11..=16 => self.get(core, &key, number).await,
                17 => self.head(core, &key, number).await,
                18 => self.list(core, &key.container).await,
                _ => self.change_box(core).await,
            }
        }
    }

    fn key(&self) -> Arc<Key> {
        let place = usize::try_from(self.world.below(self.mix.keys as u64)).expect("few");
        let current = |keys: &[Arc<Key>]| Arc::clone(&keys[keys.len() - self.mix.keys + place]);
        let key = current(&self.keys());
        if key.calls.lock().expect("nobody panics here").len() >= CALLS {
            self.fresh();
        }
        key
    }

    /// Virtual time in microseconds, as calls note it.
    pub fn now(&self) -> u64 {
        u64::try_from(self.world.elapsed().as_micros()).expect("a short run")
    }

    fn record(&self, key: &Key, op: RegisterOp, begun: u64, answered: bool) {
        self.counts[0].fetch_add(1, Ordering::Relaxed);
        if !answered {
            self.counts[1].fetch_add(1, Ordering::Relaxed);
        }
        let ended = answered.then(|| self.now());
        let mut calls = key.calls.lock().expect("nobody panics here");
        calls.push(Call { op, begun, ended });
    }

    /// Notes whether a write that was acknowledged is on a quorum of the name's own
    /// devices.
    fn acknowledged(&self, seat: &Seat, key: &Key, version: Version) {
        let hash = seat
            .rings
            .hash
            .hash("AUTH_sim", Some(&key.container), Some(&key.object));
        let witnesses = self.network.witnesses(hash, version);
        let in_use = seat.rings.object[0].1.in_use();
        let firm = std::iter::once(&in_use.current)
            .chain(&in_use.previous)
            .any(|known| {
                let partition = known.ring.partition(&hash);
                let primaries = known.ring.primaries(partition);
                let has = |device: &str| witnesses.iter().any(|number| device == format!("d{number}"));
                primaries.filter(|(_, device)| has(&device.device)).count() >= 2
            });
        if !firm {
            self.world
                .note(format_args!("{} is held by stand-ins: {witnesses:?}", key.object));
            let now = self.now();
            key.weak_from
                .lock()
                .expect("nobody panics here")
                .get_or_insert(now);
        }
    }

    fn number(&self) -> u64 {
        self.next_write.fetch_add(1, Ordering::Relaxed)
    }

    async fn put(&self, seat: &Seat, key: &Key, client: usize) {
        let write = self.number();
        let size = match self.world.strikes(self.mix.large) {
            true => 1_100_000 + self.world.below(1_200_000),
            false => self.world.below(self.mix.size),
        };
        let bytes = body::of(&key.path(), write, usize::try_from(size).expect("not large"));
        let new = NewObject {
            headers: vec![(MARK.into(), write.to_string())],
            expected_size: Some(bytes.len() as u64),
            ..NewObject::new("text/plain")
        };
        key.writes
            .lock()
            .expect("nobody panics here")
            .insert(write, (bytes.len() as u64, md5_of(&bytes)));
        let begun = self.now();
        self.world
            .note(format_args!("c{client} PUT {} {write}", key.object));
        let pieces: Vec<_> = bytes
            .chunks(512 << 10)
            .map(Bytes::copy_from_slice)
            .map(Ok)
            .collect();
        let name = key.name();
        let put = seat.core.put_object(&name, new, stream::iter(pieces));
        let answer = tokio::time::timeout(PATIENCE, put).await;
        let fine = matches!(answer, Ok(Ok(_)));
        if let Ok(Ok(stored)) = answer {
            self.acknowledged(seat, key, stored.version);
        }
        self.world
            .note(format_args!("c{client} PUT {} {write}: {fine}", key.object));
        self.record(key, RegisterOp::Put(write), begun, fine);
    }

    async fn post(&self, seat: &Seat, key: &Key, client: usize) {
        let write = self.number();
        let meta = PostMeta {
            content_type: None,
            delete_at: None,
            headers: vec![(MARK.into(), write.to_string())],
        };
        let begun = self.now();
        let name = key.name();
        let answer = tokio::time::timeout(PATIENCE, seat.core.post_object(&name, meta, None)).await;
        let found = match answer {
            Ok(Ok(stat)) => {
                self.acknowledged(seat, key, stat.meta_version);
                Some(true)
            }
            Ok(Err(PostObjectError::NotFound)) => Some(false),
            _ => None,
        };
        self.world
            .note(format_args!("c{client} POST {} {write}: {found:?}", key.object));
        self.record(key, RegisterOp::Post { write, found }, begun, found.is_some());
    }

    async fn delete(&self, seat: &Seat, key: &Key, client: usize) {
        let begun = self.now();
        let name = key.name();
        self.world.note(format_args!("c{client} DELETE {}", key.object));
        let answer = tokio::time::timeout(PATIENCE, seat.core.delete_object(&name, None)).await;
        let fine = match &answer {
            Ok(Ok(deleted)) => {
                self.acknowledged(seat, key, deleted.version);
                true
            }
            Ok(Err(DeleteObjectError::NoContainer)) => {
                self.found(format!("DELETE {}: no container", key.path()));
                false
            }
            _ => false,
        };
        self.world
            .note(format_args!("c{client} DELETE {}: {fine}", key.object));
        // What a DELETE says it found is nothing that Swift promises.
        self.record(key, RegisterOp::Delete { found: None }, begun, fine);
    }

    async fn get(&self, core: &Core, key: &Key, client: usize) {
        let begun = self.now();
        if let Some(held) = self.look(core, key).await {
            self.world
                .note(format_args!("c{client} GET {}: {held:?}", key.object));
            self.record(key, RegisterOp::Get(held), begun, true);
        }
    }

    /// Reads an object and checks every byte; `None` for no answer.
    async fn look(&self, core: &Core, key: &Key) -> Option<Held> {
        let name = key.name();
        let read = async {
            let got = core.get_object(&name, GetOptions::default()).await?;
            let (size, stat) = (got.stat.size, got.stat.clone());
            let limit = usize::try_from(size).expect("it fits memory");
            Ok((stat, got.body.collect(limit).await))
        };
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok((stat, Ok(bytes)))) => {
                let mark = stat.meta.headers.iter().find(|(name, _)| name == MARK);
                let mark = mark.and_then(|(_, value)| value.parse().ok());
                match (body::number(&key.path(), &bytes), mark) {
                    (Ok(write), Some(mark)) => Some(Some((write, mark))),
                    (Err(why), _) => {
                        self.found(format!("GET {}: {why}", key.path()));
                        None
                    }
                    (_, None) => {
                        self.found(format!("GET {}: without metadata", key.path()));
                        None
                    }
                }
            }
            Ok(Err(ReadObjectError::NotFound { .. })) => Some(None),
            _ => {
                self.counts[0].fetch_add(1, Ordering::Relaxed);
                self.counts[1].fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    async fn head(&self, core: &Core, key: &Key, client: usize) {
        let begun = self.now();
        let name = key.name();
        let held = match tokio::time::timeout(PATIENCE, core.head_object(&name, false)).await {
            Ok(Ok(stat)) => {
                let mark = stat.meta.headers.iter().find(|(name, _)| name == MARK);
                let mark = mark.and_then(|(_, value)| value.parse().ok());
                let writes = key.writes.lock().expect("nobody panics here");
                let data = writes
                    .iter()
                    .find(|(_, (size, etag))| *size == stat.size && *etag == stat.meta.etag);
                match (data, mark) {
                    (Some((data, _)), Some(mark)) => Some((*data, mark)),
                    _ => {
                        drop(writes);
                        self.found(format!("HEAD {}: an ETag that nobody wrote", key.path()));
                        return;
                    }
                }
            }
            Ok(Err(ReadObjectError::NotFound { .. })) => None,
            _ => return,
        };
        self.world
            .note(format_args!("c{client} HEAD {}: {held:?}", key.object));
        self.record(key, RegisterOp::Get(held), begun, true);
    }

    async fn list(&self, core: &Core, container: &str) {
        let name = ContainerName::new("AUTH_sim", container).expect("a good name");
        let answer = tokio::time::timeout(PATIENCE, core.list_container(&name, everything())).await;
        match answer {
            Ok(Err(ListError::NotFound)) => self.found(format!("LIST {container}: no such container")),
            Ok(Ok(page)) => self
                .world
                .note(format_args!("LIST {container}: {}", page.entries.len())),
            _ => self.world.note(format_args!("LIST {container}: no answer")),
        }
    }

    /// Makes or deletes a container that nobody else changes now.
    async fn change_box(&self, core: &Core) {
        let place = usize::try_from(self.world.below(BOXES as u64)).expect("few");
        let before = {
            let mut boxes = self.boxes.lock().expect("nobody panics here");
            if std::mem::replace(&mut boxes[place].busy, true) {
                return;
            }
            boxes[place].exists
        };
        let name = ContainerName::new("AUTH_sim", &format!("b{place}")).expect("a good name");
        let seen = tokio::time::timeout(PATIENCE, core.head_container(&name)).await;
        let seen = match seen {
            Ok(Ok(_)) => Some(true),
            Ok(Err(ListError::NotFound)) => Some(false),
            _ => None,
        };
        if let (Some(before), Some(seen)) = (before, seen)
            && before != seen
        {
            self.found(format!("HEAD b{place}: exists: {seen}, it should be {before}"));
        }
        let make = self.world.strikes(500);
        let after = if make {
            let made = tokio::time::timeout(PATIENCE, core.put_container(&name, None, Vec::new())).await;
            matches!(made, Ok(Ok(_))).then_some(true)
        } else {
            match tokio::time::timeout(PATIENCE, core.delete_container(&name)).await {
                Ok(Ok(()) | Err(DeleteContainerError::NotFound)) => Some(false),
                _ => None,
            }
        };
        self.world
            .note(format_args!("b{place} make {make}: seen {seen:?} then {after:?}"));
        let mut boxes = self.boxes.lock().expect("nobody panics here");
        boxes[place] = Passing {
            exists: after,
            busy: false,
        };
    }

    /// What every name holds in the end, read through the first proxy and added
    /// to what was seen.
    ///
    /// # Errors
    /// The first name without an answer.
    pub async fn last_look(&self) -> Result<Vec<(Arc<Key>, Held)>, String> {
        let mut all = Vec::new();
        for key in self.keys() {
            let begun = self.now();
            let held = self.look(&self.proxies[0].core, &key).await;
            let held = held.ok_or_else(|| format!("no answer for {}", key.path()))?;
            self.record(&key, RegisterOp::Get(held), begun, true);
            all.push((key, held));
        }
        Ok(all)
    }

    /// Name, ETag and size of everything a container lists.
    ///
    /// # Errors
    /// No answer.
    pub async fn listed(&self, number: usize) -> Result<BTreeMap<String, (u64, String)>, String> {
        let core = &self.proxies[self.proxies.len() - 1].core;
        let page = core.list_container(&container(number), everything()).await;
        let page = page.map_err(|error| error.to_string())?;
        let rows = page.entries.into_iter().filter_map(|entry| match entry {
            Entry::Row(row) => Some((row.name, (row.size, row.etag))),
            Entry::Subdir(_) => None,
        });
        Ok(rows.collect())
    }
}

fn everything() -> ListRequest {
    ListRequest {
        limit: 10_000,
        ..ListRequest::default()
    }
}

fn md5_of(bytes: &[u8]) -> String {
    use md5::Digest as _;
    hex::encode(md5::Md5::digest(bytes))
}
