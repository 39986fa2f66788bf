//! Accounts and containers of one device: what they are, and the rows they
//! list.
//!
//! Called by the device's engine, which maps names of devices to [`Listings`];
//! the methods are those of `ObjectNode` for one device. One `RocksDB` in
//! `<dev>/list/` is primary here, with its own log, and one committer thread
//! writes it: a call that changes something returns when the change is on
//! stable storage (invariant I1). All changes merge (invariant I6): replicas
//! that heard the same agree, in whatever order and however often they heard.
//!
//! Left out: shards of one container, and who compares replicas with whom
//! ([`replicas`] answers; nothing here knows another node).
mod apply;
mod cache;
mod changed;
mod codec;
mod commit;
mod compare;
mod db;
mod fault;
mod forget;
mod head;
mod keys;
mod meta;
mod migrate;
mod op;
mod page;
mod parts;
mod read;
mod reclaim;
mod replicas;
mod row;
mod state;
mod sys;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use virga_disk::kv::KvCache;
use virga_disk::threads::Threads;
use virga_node::clock::{Clock, Micros, Version};
use virga_object_wire::listing::{
    AccountInfo, ContainerInfo, ContainerRow, Created, ListRequest, MetaItem, ObjectRow, Page, PutAccount,
    PutContainer,
};
use virga_object_wire::object::At;
use virga_ring::hash::NameHash;

pub use changed::ContainerChange;
pub use compare::{NamedPart, NamedRows};
pub use fault::{ChangeError, OpenError, ReadError};
pub use op::SetAside;
pub use replicas::{FullRows, MAX_COMPARED};
pub use sys::Round;

use commit::Committer;
use db::Db;
use head::Kind;
use op::{Forget, Job, Op, Put, Rows, Target};
use read::Info;
use row::Listed;
use sys::{Horizons, KINDS};

/// Rows that may wait for the committer, in all calls together; more wait
/// outside. At about 300 bytes a row 5 MiB a device.
const QUEUE: usize = 16 * 1024;
/// Most rows in one call.
pub const MAX_ROWS: usize = 10_000;
/// Longest name, ETag or content type in bytes: four times Swift's longest
/// name, which the API enforces.
pub const MAX_TEXT: usize = 4096;
/// Most metadata items in one call, and the longest value: what fits into the
/// headers of a request, with room to spare.
const MAX_ITEMS: usize = 256;
const MAX_VALUE: usize = 64 * 1024;
/// Longest wait for room in the queue.
const PATIENCE: Duration = Duration::from_secs(10);
/// How far a version may lie ahead of the clock.
const MAX_AHEAD: Duration = Duration::from_secs(60);
/// Rows that a listing may look at on the caller's thread: about 100 us.
const INLINE: usize = 128;
/// Longer listings at the same time, each on a thread of its own.
const READERS: usize = 8;

/// How long deletions are remembered unless told otherwise (`reclaim_age`).
pub const RECLAIM_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The accounts and containers of one device. Dropping it waits for what is
/// queued and closes the database.
pub struct Listings {
    db: Arc<Db>,
    clock: Arc<dyn Clock>,
    reclaim_age: Duration,
    queue: Option<mpsc::Sender<Job>>,
    room: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    /// Where the search for marked containers goes on.
    turn: Mutex<NameHash>,
    /// Rows, items and heads set aside.
    set_aside: Arc<AtomicU64>,
    committer: Option<JoinHandle<()>>,
    threads: Threads,
}

impl Listings {
    /// Opens the database in `folder`, which is made if it is missing, and
    /// brings one of an older format up to date. Deletions are remembered for
    /// `reclaim_age`, and until a round of reconciliation has told all
    /// primaries. Loops and blocking work run where `threads` says.
    pub fn open(
        folder: &Path,
        cache: KvCache,
        clock: Arc<dyn Clock>,
        reclaim_age: Duration,
        threads: Threads,
    ) -> Result<Self, OpenError> {
        let db = Arc::new(Db::open(folder, cache)?);
        migrate::migrate(&db)?;
        let unreadable = |error: ReadError| OpenError::Migrate(error.to_string());
        let set_aside = Arc::new(AtomicU64::new(db.count(keys::STALE).map_err(unreadable)?));
        let (queue, jobs) = mpsc::channel(QUEUE);
        let work = Committer {
            horizons: Horizons::read(&db).map_err(unreadable)?,
            db: db.clone(),
            clock: clock.clone(),
            set_aside: set_aside.clone(),
        };
        let committer = match &threads {
            Threads::Os => {
                let thread = std::thread::Builder::new().name("list-commit".to_owned());
                Some(thread.spawn(move || work.run(jobs)).map_err(OpenError::Thread)?)
            }
            Threads::Tasks(driver) => {
                driver.spawn(Box::pin(work.drive(jobs, driver.clone())));
                None
            }
        };
        Ok(Self {
            db,
            clock,
            reclaim_age,
            queue: Some(queue),
            room: Arc::new(Semaphore::new(QUEUE)),
            readers: Arc::new(Semaphore::new(READERS)),
            turn: Mutex::new(NameHash([0; 16])),
            set_aside,
            committer,
            threads,
        })
    }

    /// Makes a container, or updates its metadata.
    pub async fn put_container(&self, at: &At, put: PutContainer) -> Result<Created, ChangeError> {
        let PutContainer {
            account,
            container,
            version,
            deleted,
            policy,
            meta,
        } = put;
        check(!container.is_empty(), "a container has a name")?;
        self.put(
            Kind::Container,
            at,
            Put {
                account,
                container,
                version,
                deleted,
                policy,
                meta,
            },
        )
        .await
    }

    /// Updates the metadata of a container that exists.
    pub async fn post_container(
        &self,
        at: &At,
        version: Version,
        meta: Vec<MetaItem>,
    ) -> Result<(), ChangeError> {
        self.check_meta(version, &meta)?;
        self.submit(Op::Post(target(Kind::Container, at), version, meta))
            .await
            .map(drop)
    }

    /// Deletes a container that has no live rows.
    pub async fn delete_container(&self, at: &At, version: Version) -> Result<(), ChangeError> {
        self.delete(Kind::Container, at, version).await
    }

    /// What is known of a container, whether or not it exists.
    pub async fn head_container(&self, at: &At) -> Result<ContainerInfo, ReadError> {
        read::info(&self.db, at.hash)
    }

    /// A page of a container's objects.
    pub async fn list_container(
        &self,
        at: &At,
        list: ListRequest,
    ) -> Result<Page<ContainerInfo, ObjectRow>, ReadError> {
        self.list(at, list).await
    }

    /// Merges object rows in, whether or not the container is known here.
    pub async fn put_object_rows(&self, at: &At, rows: Vec<ObjectRow>) -> Result<(), ChangeError> {
        for row in &rows {
            check_text(&row.name, true)?;
            check_text(&row.etag, false)?;
            check_text(&row.content_type, false)?;
        }
        self.check_versions(rows.iter().map(|row| row.version.max(row.meta_version)))?;
        self.put_rows(target(Kind::Container, at), Rows::Objects(rows))
            .await
    }

    /// Makes an account, or updates its metadata.
    pub async fn put_account(&self, at: &At, put: PutAccount) -> Result<Created, ChangeError> {
        let PutAccount {
            account,
            version,
            meta,
        } = put;
        self.put(
            Kind::Account,
            at,
            Put {
                account,
                container: String::new(),
                version,
                deleted: Version(0),
                policy: 0,
                meta,
            },
        )
        .await
    }

    /// Deletes an account; rows written before no longer count.
    pub async fn delete_account(&self, at: &At, version: Version) -> Result<(), ChangeError> {
        self.delete(Kind::Account, at, version).await
    }

    /// What is known of an account, whether or not it exists.
    pub async fn head_account(&self, at: &At) -> Result<AccountInfo, ReadError> {
        read::info(&self.db, at.hash)
    }

    /// A page of an account's containers.
    pub async fn list_account(
        &self,
        at: &At,
        list: ListRequest,
    ) -> Result<Page<AccountInfo, ContainerRow>, ReadError> {
        self.list(at, list).await
    }

    /// Merges container rows in, field by field.
    pub async fn put_container_rows(&self, at: &At, rows: Vec<ContainerRow>) -> Result<(), ChangeError> {
        rows.iter().try_for_each(|row| check_text(&row.name, true))?;
        self.check_versions(rows.iter().map(|row| row.put.max(row.deleted).max(row.counted)))?;
        self.put_rows(target(Kind::Account, at), Rows::Containers(rows))
            .await
    }

    /// At most `limit` containers whose account should hear of a change. A
    /// container stays marked until [`Listings::reported`]; calls go round, so
    /// that one account out of reach holds up no other.
    pub async fn changed(&self, limit: usize) -> Result<Vec<ContainerChange>, ReadError> {
        let from = *self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let db = self.db.clone();
        let (changes, gone) = self.on_reader(move || changed::after(&db, from, limit)).await?;
        let last = changes
            .iter()
            .map(|change| change.hash)
            .chain(gone.iter().copied())
            .max();
        let turn = last
            .filter(|_| changes.len() + gone.len() == limit)
            .unwrap_or(NameHash([0; 16]));
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = turn;
        if !gone.is_empty() {
            let marks = gone.into_iter().map(|hash| (hash, 0)).collect();
            // Only tidying; the next round meets them again.
            if let Err(error) = self.submit(Op::Reported(marks)).await {
                tracing::debug!(%error, "marks of forgotten containers stay");
            }
        }
        Ok(changes)
    }

    /// The accounts have these rows. A container that changed meanwhile stays
    /// marked.
    pub async fn reported(&self, changes: &[ContainerChange]) -> Result<(), ChangeError> {
        for chunk in changes.chunks(MAX_ROWS) {
            let marks = chunk.iter().map(|change| (change.hash, change.changes)).collect();
            self.submit(Op::Reported(marks)).await?;
        }
        Ok(())
    }

    /// Forgets about `limit` of what was deleted longer than `reclaim_age` ago
    /// and before the last complete round of reconciliation began. Returns
    /// whether there may be more. For a background worker.
    pub async fn reclaim(&self, limit: usize) -> Result<bool, ChangeError> {
        let limit = limit.min(MAX_ROWS / 2);
        let age = u64::try_from(self.reclaim_age.as_micros()).unwrap_or(u64::MAX);
        let old = Micros(self.clock.now().0.saturating_sub(age));
        let db = self.db.clone();
        let found = self
            .on_reader(move || {
                let mut found = Forget::default();
                for kind in KINDS {
                    if let Some(round) = sys::round(&db, kind)? {
                        let cutoff = Version::at(round.started.min(old));
                        reclaim::find(&db, kind, cutoff, limit, &mut found)?;
                    }
                }
                Ok(found)
            })
            .await?;
        let full = found.len() >= limit;
        Ok(self.submit(Op::Forget(found)).await? && full)
    }

    async fn put(&self, kind: Kind, at: &At, put: Put) -> Result<Created, ChangeError> {
        check_text(&put.account, true)?;
        check_text(&put.container, false)?;
        self.check_meta(put.version, &put.meta)?;
        let created = self.submit(Op::Put(target(kind, at), put)).await?;
        Ok(Created { created })
    }

    async fn delete(&self, kind: Kind, at: &At, version: Version) -> Result<(), ChangeError> {
        self.check_versions(std::iter::once(version))?;
        self.submit(Op::Delete(target(kind, at), version)).await.map(drop)
    }

    async fn put_rows(&self, target: Target, rows: Rows) -> Result<(), ChangeError> {
        if rows.len() == 0 {
            return Ok(());
        }
        check(rows.len() <= MAX_ROWS, "too many rows in one call")?;
        self.submit(Op::Rows(target, rows)).await.map(drop)
    }

    async fn list<I: Info, R: Listed + Send + 'static>(
        &self,
        at: &At,
        list: ListRequest,
    ) -> Result<Page<I, R>, ReadError> {
        let bounded = [&list.prefix, &list.delimiter, &list.marker, &list.end_marker];
        if bounded.iter().any(|text| text.len() > MAX_TEXT) {
            return Err(ReadError::Invalid("a bound of the listing is too long"));
        }
        if list.limit as usize <= INLINE
            && let Some(page) = read::list(&self.db, at.hash, &list, INLINE)?
        {
            return Ok(page);
        }
        let (db, shard) = (self.db.clone(), at.hash);
        let page = self
            .on_reader(move || read::list(&db, shard, &list, page::MAX_VISITS))
            .await?;
        page.ok_or(ReadError::Damaged("a listing without an end"))
    }

    /// Runs a long read where it holds up no other task.
    async fn on_reader<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let turn = self
            .readers
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| ReadError::Closed)?;
        let reading = self.threads.run(move || {
            let result = read();
            drop(turn);
            result
        });
        reading
            .await
            .map_err(|error| ReadError::Device(error.to_string().into()))?
    }

    /// Queues a change and waits until it is durable.
    async fn submit(&self, op: Op) -> Result<bool, ChangeError> {
        let size = u32::try_from(op.size()).map_err(|_| ChangeError::Invalid("too many rows in one call"))?;
        let room = match self.room.clone().try_acquire_many_owned(size) {
            Ok(room) => room,
            Err(_) => {
                let wait = tokio::time::timeout(PATIENCE, self.room.clone().acquire_many_owned(size));
                wait.await
                    .map_err(|_| ChangeError::Busy)?
                    .map_err(|_| ChangeError::Closed)?
            }
        };
        let (done, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(ChangeError::Closed)?;
        // A job has at least one unit of room, so the queue is never full.
        queue
            .try_send(Job { op, done, room })
            .map_err(|_| ChangeError::Closed)?;
        answer.await.map_err(|_| ChangeError::Closed)?
    }

    fn check_meta(&self, version: Version, meta: &[MetaItem]) -> Result<(), ChangeError> {
        check(meta.len() <= MAX_ITEMS, "too many metadata items")?;
        self.check_items(meta)?;
        self.check_versions(std::iter::once(version).chain(meta.iter().map(|item| item.version)))
    }

    fn check_items(&self, meta: &[MetaItem]) -> Result<(), ChangeError> {
        for item in meta {
            check_text(&item.name, true)?;
            check(item.value.len() <= MAX_VALUE, "a metadata value is too long")?;
        }
        Ok(())
    }

    fn check_versions(&self, versions: impl Iterator<Item = Version>) -> Result<(), ChangeError> {
        let newest = versions.max().unwrap_or_default();
        let ahead = newest.time().since(self.clock.now());
        if ahead > MAX_AHEAD {
            Err(ChangeError::Ahead(ahead.as_secs()))
        } else {
            Ok(())
        }
    }
}

impl Drop for Listings {
    fn drop(&mut self) {
        self.queue = None;
        if self.committer.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the listing committer had panicked");
        }
    }
}

fn target(kind: Kind, at: &At) -> Target {
    Target {
        kind,
        shard: at.hash,
        partition: at.partition.0,
    }
}

fn check(holds: bool, rule: &'static str) -> Result<(), ChangeError> {
    if holds {
        Ok(())
    } else {
        Err(ChangeError::Invalid(rule))
    }
}

fn check_text(text: &str, needed: bool) -> Result<(), ChangeError> {
    check(!needed || !text.is_empty(), "a name is empty")?;
    check(text.len() <= MAX_TEXT, "a name is too long")
}
