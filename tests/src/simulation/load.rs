//! Clients of a simulated cluster, and what they saw: every call of every key,
//! for the search of an order that explains them.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use virga_object_server::Rings;
use virga_object_wire::listing::{Entry, ListRequest};
use virga_object_wire::object::PostMeta;
use virga_proxy::core::{
    ContainerName, Core, DeleteContainerError, DeleteObjectError, GetOptions, ListError, NewObject,
    PostObjectError, ReadObjectError,
};
use virga_ring::{NameHash, Ring};

use super::key::{Key, Weak};
use super::network::{Network, Witnessed};
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

/// A write that was acknowledged and not yet at home then.
struct WeakWrite {
    from: u64,
    hash: NameHash,
    written: Witnessed,
}

/// All clients together.
pub struct Load {
    world: Arc<World>,
    proxies: Vec<Seat>,
    network: Arc<Network>,
    mix: Mix,
    /// Every name that ever was in use.
    keys: Mutex<Vec<Arc<Key>>>,
    /// By object, which name one key each.
    weak: Mutex<Vec<(String, WeakWrite)>>,
    boxes: Mutex<Vec<Passing>>,
    next_write: AtomicU64,
    stopped: AtomicBool,
    findings: Mutex<Vec<String>>,
    /// Calls made, those without an answer that says what happened, and reads that the
    /// proxy counted as uncertain.
    pub counts: [AtomicU64; 3],
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
            weak: Mutex::default(),
            boxes: Mutex::new((0..BOXES).map(|_| Passing::default()).collect()),
            next_write: AtomicU64::new(1),
            stopped: AtomicBool::new(false),
            findings: Mutex::default(),
            counts: Default::default(),
        });
        (0..mix.keys).for_each(|_| load.fresh());
        load
    }

    fn fresh(&self) {
        let mut keys = self.keys.lock().expect("nobody panics here");
        let number = keys.len();
        keys.push(Arc::new(Key::new(number, CONTAINERS)));
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
        micros(self.world.elapsed())
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
    fn acknowledged(&self, seat: &Seat, key: &Key, written: Witnessed) {
        let hash = seat
            .rings
            .hash
            .hash("AUTH_sim", Some(&key.container), Some(&key.object));
        let in_use = seat.rings.object[0].1.in_use();
        let rings = std::iter::once(&in_use.current).chain(&in_use.previous);
        let firm = rings
            .map(|known| self.network.at_home(&known.ring, hash, written))
            .any(|at_home| at_home.is_some());
        if !firm {
            self.world
                .note(format_args!("{} is held by stand-ins", key.object));
            let weak = WeakWrite {
                from: self.now(),
                hash,
                written,
            };
            let mut all = self.weak.lock().expect("nobody panics here");
            all.push((key.object.clone(), weak));
        }
    }

    /// Says of every write that stand-ins held how long they did: by what is known
    /// in the end, with the ring as it is then.
    pub fn conclude(&self, ring: &Ring) {
        let weak = std::mem::take(&mut *self.weak.lock().expect("nobody panics here"));
        let keys = self.keys();
        for (object, write) in weak {
            let until = self.network.at_home(ring, write.hash, write.written);
            let weak = Weak {
                from: write.from,
                until: until.map(micros),
            };
            self.world
                .note(format_args!("{object} was held by stand-ins: {weak:?}"));
            for key in keys.iter().filter(|key| key.object == object) {
                key.weak.lock().expect("nobody panics here").push(weak);
            }
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
            self.acknowledged(seat, key, Witnessed::Data(stored.version));
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
        let uncertain = seat.core.uncertain_reads();
        let answer = tokio::time::timeout(PATIENCE, seat.core.post_object(&name, meta, None)).await;
        let found = match answer {
            Ok(Ok(stat)) => {
                self.acknowledged(seat, key, Witnessed::Update(stat.meta_version));
                Some(true)
            }
            // What it found nothing by may have been an uncertain read.
            Ok(Err(PostObjectError::NotFound)) if seat.core.uncertain_reads() == uncertain => Some(false),
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
                self.acknowledged(seat, key, Witnessed::Data(deleted.version));
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
        let (begun, uncertain) = (self.now(), core.uncertain_reads());
        if let Some(held) = self.look(core, key).await {
            self.world
                .note(format_args!("c{client} GET {}: {held:?}", key.object));
            self.seen(core, key, held, begun, uncertain);
        }
    }

    /// Notes what a read showed, unless the proxy counted one as uncertain meanwhile
    /// (maybe another client's).
    fn seen(&self, core: &Core, key: &Key, held: Held, begun: u64, uncertain: u64) {
        if core.uncertain_reads() == uncertain {
            self.record(key, RegisterOp::Get(held), begun, true);
            return;
        }
        self.world.note(format_args!("{} is uncertain", key.object));
        self.counts[0].fetch_add(1, Ordering::Relaxed);
        self.counts[2].fetch_add(1, Ordering::Relaxed);
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
        let (begun, uncertain) = (self.now(), core.uncertain_reads());
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
        self.seen(core, key, held, begun, uncertain);
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

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).expect("a short run")
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
