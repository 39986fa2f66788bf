//! One device: its logs, its index, and what every operation shares.
//!
//! Opened by the object server, one per disk. Operations stand in modules of
//! their own ([`crate::mutate`], [`crate::put_stream`], [`crate::read`],
//! [`crate::owed`], [`crate::compact`]); this one opens, closes and reports.
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use virga_disk::batch::record::NewRecord;
use virga_disk::device::{Description, Device as Folder, OpenDeviceError};
use virga_disk::io::Disk;
use virga_disk::kv::{KvCache, KvError};
use virga_disk::log::{CommitError, OpenLogError, SegLog, Ticket};
use virga_disk::reader::{ReadError, Reader};
use virga_disk::segment::Stream;
use virga_disk::segment::header::Identity;
use virga_disk::segment::table::{OpenSegmentsError, SegmentOptions, Segments};
use virga_disk::threads::Threads;
use virga_node::clock::{Clock, Hlc, Version};
use virga_object_wire::error::NodeError;
use virga_object_wire::status::Cause;

use crate::apply::{Applier, Outcome};
use crate::bad::BadRecords;
use crate::compact::Compaction;
use crate::entry::Entry;
use crate::foreground::{Foreground, Serving};
use crate::index::{Index, OpenIndexError};
use crate::kept::Kept;
use crate::keys::{DUE_LEN, NameKey, WORK_LEN};
use crate::logs::{Logs, LogsError};
use crate::pins::Pins;
use crate::scrub::ScrubHurry;
use crate::space::{Condition, Health, cause_of};
use crate::upkeep::Upkeep;

/// How far ahead of this device's clock a version may lie.
const AHEAD: Duration = Duration::from_secs(60);

/// Where a device keeps its bytes.
pub enum Storage {
    /// A folder on a real disk; an empty one becomes a device as described.
    Folder {
        /// The folder.
        path: PathBuf,
        /// Who the device is if it is new; the cluster it must belong to.
        fresh: Description,
    },
    /// Any disk, and a folder for the index: for tests with faulty disks.
    Disk {
        /// The segments.
        disk: Arc<dyn Disk>,
        /// Who the device is.
        identity: Identity,
        /// Folder of the index.
        index: PathBuf,
    },
}

/// What a device can be told; the defaults are right for a real one.
#[derive(Clone, Debug)]
pub struct DeviceOptions {
    /// Size of new segments in bytes.
    pub segment_size: u64,
    /// Whether threads of the device do what is due: spare segments, index
    /// flushes, compaction, the look at free space. Tests do it by hand.
    pub upkeep: bool,
    /// Log bytes after which the index is flushed.
    pub flush_bytes: u64,
    /// Time after which the index is flushed.
    pub flush_age: Duration,
    /// Age at which a tombstone may be dropped, once every replica has seen it.
    pub reclaim_age: Duration,
    /// Time in which every record is read from the medium once.
    pub scrub_pass: Duration,
    /// Bytes of index tables that the shared cache is expected to hold.
    pub index_cache: u64,
    /// Where loops and blocking work run.
    pub threads: Threads,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        Self {
            segment_size: 64 << 20,
            upkeep: true,
            flush_bytes: 1 << 30,
            flush_age: Duration::from_secs(30),
            reclaim_age: Duration::from_secs(7 * 24 * 3600),
            scrub_pass: Duration::from_secs(7 * 24 * 3600),
            index_cache: 256 << 20,
            threads: Threads::Os,
        }
    }
}

/// What a device is opened with.
pub struct DeviceConfig {
    /// Name in the ring ("d1").
    pub name: Arc<str>,
    /// Where its bytes are.
    pub storage: Storage,
    /// Block cache, shared by all devices of the process.
    pub cache: KvCache,
    /// The rest.
    pub options: DeviceOptions,
}

/// Why a device cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder is not (or must not be) ours.
    #[error(transparent)]
    Folder(#[from] OpenDeviceError),
    /// The segments cannot be read.
    #[error(transparent)]
    Segments(#[from] OpenSegmentsError),
    /// A log cannot be replayed.
    #[error(transparent)]
    Log(#[from] OpenLogError),
    /// The index cannot be opened.
    #[error("the index cannot be opened: {0}")]
    Index(#[from] OpenIndexError),
    /// The index cannot be finished.
    #[error("the index cannot be built: {0}")]
    Build(#[from] KvError),
    /// The device failed.
    #[error("the device cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// What an open device holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceStats {
    /// Objects, expired ones that are not deleted yet included.
    pub objects: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Records set aside as damaged since the device was opened.
    pub quarantined: u64,
    /// Bytes queued for the logs and not yet answered.
    pub queued: u64,
}

pub(crate) struct Inner {
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    options: DeviceOptions,
    // The logs stop their threads when dropped, before what they write to.
    hot: SegLog<Applier>,
    bulk: SegLog<Applier>,
    gc: SegLog<Applier>,
    index: Arc<Index>,
    segments: Arc<Segments>,
    reader: Reader,
    condition: Condition,
    kept: Kept,
    scrub_hurry: ScrubHurry,
    pins: Arc<Pins>,
    bad: Arc<BadRecords>,
    compaction: Compaction,
    foreground: Arc<Foreground>,
    owed_cursor: Mutex<Option<[u8; WORK_LEN]>>,
    due_cursor: Mutex<Option<[u8; DUE_LEN]>>,
    folder: Option<Arc<Folder>>,
    identity: [u8; 16],
    upkeep: Mutex<Option<Upkeep>>,
}

/// An open device. Clones are handles to the same one.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

impl Device {
    /// Opens the device: finds its segments, opens the index (or starts it
    /// anew), replays what the index lacks. Blocks on the device; call it off
    /// the runtime's workers.
    ///
    /// # Errors
    /// See [`OpenError`]. Damaged records are no error: they are set aside.
    pub fn open(config: DeviceConfig, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let DeviceConfig {
            name,
            storage,
            cache,
            options,
        } = config;
        let (disk, identity, index_path, folder) = open_storage(storage)?;
        let hlc = Hlc::new(clock.clone());
        let segments = Segments::open(
            disk,
            identity,
            SegmentOptions {
                size: options.segment_size,
                background: options.upkeep,
                threads: options.threads.clone(),
                ..SegmentOptions::new(Arc::new(move || hlc.next().0))
            },
        )?;
        let replay = |index: Index| {
            let bad = Arc::new(BadRecords::new(folder.clone()));
            let logs = Logs::open(&name, index, &bad, &segments);
            logs.map(|logs| (logs, bad))
        };
        let opened = open_index(&name, &index_path, &cache, &segments)?;
        let (logs, bad) = match replay(opened) {
            // Damage in the middle of its files shows when that is read.
            Err(LogsError { error, damaged: true }) => {
                tracing::error!(device = &*name, %error, "the index is damaged, building it anew");
                replay(Index::anew(&index_path, &cache)?)
            }
            logs => logs,
        }?;
        let Logs { hot, bulk, gc, index } = logs;
        let newest = segments
            .all()
            .iter()
            .filter(|s| s.stream() == Stream::Bulk)
            .map(|s| s.id())
            .max();
        let device = Self(Arc::new(Inner {
            name,
            clock,
            hot,
            bulk,
            gc,
            reader: Reader::new(segments.clone()),
            segments,
            index,
            condition: Condition::default(),
            kept: Kept::default(),
            scrub_hurry: ScrubHurry::default(),
            pins: Arc::new(Pins::new(newest.unwrap_or(0))),
            bad,
            compaction: Compaction::default(),
            foreground: Arc::default(),
            owed_cursor: Mutex::default(),
            due_cursor: Mutex::default(),
            folder,
            identity: identity.device,
            upkeep: Mutex::default(),
            options,
        }));
        device.measure()?;
        device.obey_stored();
        // What replay found damaged.
        for segment in device.0.bad.worn() {
            device.leave_worn(segment);
        }
        if device.0.options.upkeep {
            let upkeep = Upkeep::start(&device)?;
            *device.0.upkeep.lock().unwrap_or_else(PoisonError::into_inner) = Some(upkeep);
        }
        Ok(device)
    }

    /// Stops taking new work, waits for what is queued, and flushes the index,
    /// so that the next start replays nothing. The files are let go when the
    /// last handle goes.
    ///
    /// # Errors
    /// If the log or the index fails; what was acknowledged is safe all the same.
    pub async fn close(&self) -> Result<(), NodeError> {
        self.0.condition.lower(Health::Closed);
        let upkeep = self
            .0
            .upkeep
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(upkeep) = upkeep {
            let stopped = self.threads().run(move || drop(upkeep)).await;
            stopped.map_err(device_failed)?;
        }
        for log in [&self.0.hot, &self.0.bulk, &self.0.gc] {
            log.flush().await.map_err(device_failed)?;
        }
        self.flush_index().await
    }

    /// Makes the index durable, which bounds the next replay.
    ///
    /// # Errors
    /// `Device` if the index fails; the device is then read-only.
    pub async fn flush_index(&self) -> Result<(), NodeError> {
        let device = self.clone();
        let flushed = self
            .0
            .reader
            .pool()
            .run(move || device.flush_index_blocking())
            .await;
        flushed.map_err(device_failed)?
    }

    pub(crate) fn flush_index_blocking(&self) -> Result<(), NodeError> {
        self.0.index.flush().map_err(|error| self.index_failed(&error))
    }

    /// Looks how much room there is; the upkeep does it once a second.
    ///
    /// # Errors
    /// What the file system says.
    pub fn measure(&self) -> std::io::Result<()> {
        let room = self.0.segments.room()?;
        let size = self.0.segments.segment_size();
        self.0.condition.measure(
            room.total,
            room.free.saturating_add(room.reusable),
            size,
            self.0.clock.now(),
        );
        if let Some(folder) = &self.0.folder {
            let now = self.0.clock.now();
            let detail = || {
                "it is mounted read-only, or has become so; writable again, it takes writes when its process is started again".to_owned()
            };
            if folder.is_read_only()? && self.0.condition.fail(Cause::ReadOnlyFilesystem, now, detail()) {
                tracing::error!(
                    device = &*self.0.name,
                    "the file system is read-only, the device takes no new data"
                );
            }
            self.0.kept.count(folder)?;
        }
        if let Err(error) = self.0.index.measure(self.0.options.index_cache) {
            self.index_failed(&error);
        }
        Ok(())
    }

    /// Folder for another database on this device, if the device is a folder.
    pub fn database_path(&self, name: &str) -> Option<PathBuf> {
        self.0.folder.as_ref().map(|folder| folder.database_path(name))
    }

    /// What the device holds.
    pub fn stats(&self) -> DeviceStats {
        let totals = self.0.index.totals();
        let queued = [&self.0.hot, &self.0.bulk, &self.0.gc].map(SegLog::queued_bytes);
        DeviceStats {
            objects: u64::try_from(totals.objects).unwrap_or(0),
            bytes: u64::try_from(totals.bytes).unwrap_or(0),
            quarantined: self.0.bad.count(),
            queued: queued.into_iter().sum::<usize>() as u64,
        }
    }

    /// A call for a client begins; what the device does for itself gives way to it.
    pub fn serve(&self) -> Serving {
        self.0.foreground.serve()
    }

    /// How much is being asked of the device by clients.
    pub fn waiting(&self) -> usize {
        let queued = self.0.hot.queued_bytes() + self.0.bulk.queued_bytes();
        self.0.foreground.waiting(queued as u64)
    }

    /// Age from which on the device may drop deletions.
    pub fn reclaim_age(&self) -> Duration {
        self.0.options.reclaim_age
    }

    /// What the device was given when it was made, and no other has.
    pub fn identity(&self) -> [u8; 16] {
        self.0.identity
    }

    pub(crate) fn folder(&self) -> Option<&Arc<Folder>> {
        self.0.folder.as_ref()
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    pub(crate) fn options(&self) -> &DeviceOptions {
        &self.0.options
    }

    pub(crate) fn threads(&self) -> &Threads {
        &self.0.options.threads
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    pub(crate) fn now_secs(&self) -> u64 {
        self.0.clock.now().as_secs()
    }

    pub(crate) fn index(&self) -> &Arc<Index> {
        &self.0.index
    }

    pub(crate) fn segments(&self) -> &Arc<Segments> {
        &self.0.segments
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.0.reader
    }

    pub(crate) fn condition(&self) -> &Condition {
        &self.0.condition
    }

    pub(crate) fn kept(&self) -> &Kept {
        &self.0.kept
    }

    pub(crate) fn scrub_hurry(&self) -> &ScrubHurry {
        &self.0.scrub_hurry
    }

    pub(crate) fn pins(&self) -> &Arc<Pins> {
        &self.0.pins
    }

    pub(crate) fn bad(&self) -> &Arc<BadRecords> {
        &self.0.bad
    }

    pub(crate) fn compaction(&self) -> &Compaction {
        &self.0.compaction
    }

    pub(crate) fn owed_cursor(&self) -> &Mutex<Option<[u8; WORK_LEN]>> {
        &self.0.owed_cursor
    }

    pub(crate) fn due_cursor(&self) -> &Mutex<Option<[u8; DUE_LEN]>> {
        &self.0.due_cursor
    }

    pub(crate) fn downgrade(&self) -> std::sync::Weak<Inner> {
        Arc::downgrade(&self.0)
    }

    pub(crate) fn upgrade(weak: &std::sync::Weak<Inner>) -> Option<Self> {
        weak.upgrade().map(Self)
    }

    /// The index's entry of a name, looked up where that may wait if it may.
    pub(crate) async fn entry(&self, name: &NameKey) -> Result<Option<Entry>, NodeError> {
        let found = if self.0.index.is_cold() {
            let (index, name) = (self.0.index.clone(), *name);
            self.0
                .reader
                .pool()
                .run(move || index.entry(&name))
                .await
                .map_err(device_failed)?
        } else {
            self.0.index.entry(name)
        };
        found.map_err(|error| self.index_failed(&error))
    }

    /// Refuses versions too far ahead of the clock.
    pub(crate) fn check_clock(&self, version: Version) -> Result<(), NodeError> {
        let now = self.0.clock.now();
        if version.time() > now.plus(AHEAD) {
            return Err(NodeError::Ahead(version.time().since(now).as_secs()));
        }
        Ok(())
    }

    /// Writes a record to `hot` and waits until it is durable and applied.
    pub(crate) async fn write_hot(&self, record: NewRecord) -> Result<Outcome, NodeError> {
        self.answered(self.0.hot.submit(record).await)
            .map(|committed| committed.outcome)
    }

    /// Queues an extent for `bulk`.
    pub(crate) async fn enqueue_bulk(&self, record: NewRecord) -> Result<Ticket<Outcome>, NodeError> {
        self.answered(self.0.bulk.enqueue(record).await)
    }

    /// Waits until every extent queued before is durable.
    pub(crate) async fn flush_bulk(&self) -> Result<(), NodeError> {
        self.answered(self.0.bulk.flush().await)
    }

    /// Queues a record for `gc`.
    pub(crate) async fn enqueue_gc(&self, record: NewRecord) -> Result<Ticket<Outcome>, NodeError> {
        self.answered(self.0.gc.enqueue(record).await)
    }

    /// From a log's answer to the caller's; a log that failed takes the device
    /// out of service for writes.
    pub(crate) fn answered<T>(&self, answer: Result<T, CommitError>) -> Result<T, NodeError> {
        answer.map_err(|error| match error {
            CommitError::Full => NodeError::Full,
            CommitError::TooLarge(_) => NodeError::Invalid(error.to_string()),
            CommitError::Closed => device_failed(error),
            CommitError::ReadOnly(_) => {
                let (why, now) = (error.to_string(), self.0.clock.now());
                if self.0.condition.fail(cause_of(&why), now, why) {
                    tracing::error!(device = &*self.0.name, %error, "the device takes no new data");
                }
                device_failed(error)
            }
        })
    }

    pub(crate) fn read_failed(&self, error: &ReadError) -> NodeError {
        let now = self.0.clock.now();
        if let ReadError::Io { .. } = error
            && self.0.condition.fail(Cause::IoErrors, now, error.to_string())
        {
            tracing::error!(device = &*self.0.name, %error, "a read failed, the device takes no new data");
        }
        device_failed(error)
    }

    pub(crate) fn index_failed(&self, error: &KvError) -> NodeError {
        if let KvError::Damaged(_) = error {
            self.0.index.condemn();
        }
        let (why, now) = (error.to_string(), self.0.clock.now());
        let cause = match cause_of(&why) {
            Cause::IoErrors => Cause::IndexFailed,
            other => other,
        };
        if self.0.condition.fail(cause, now, why) {
            tracing::error!(device = &*self.0.name, %error, "the index failed, the device takes no new data");
        }
        device_failed(error)
    }
}

/// Opens the index. One that names records in segments that are not there is
/// built anew from those that are: what it says of the others would be believed
/// by everybody and could be read by nobody.
fn open_index(
    name: &str,
    path: &Path,
    cache: &KvCache,
    segments: &Segments,
) -> Result<Index, OpenIndexError> {
    let index = Index::open(path, cache)?;
    let Some(segment) = index.lost_segment(|id| segments.get(id).is_some()) else {
        return Ok(index);
    };
    tracing::error!(
        device = name,
        segment,
        "a segment with live records is gone or unreadable, building the index anew from the others"
    );
    drop(index);
    Index::anew(path, cache)
}

/// The caller's answer when the device itself fails.
pub(crate) fn device_failed(error: impl ToString) -> NodeError {
    NodeError::Device(error.to_string())
}

/// What [`Storage`] comes down to.
type Opened = (Arc<dyn Disk>, Identity, PathBuf, Option<Arc<Folder>>);

fn open_storage(storage: Storage) -> Result<Opened, OpenError> {
    match storage {
        Storage::Folder { path, fresh } => {
            let folder = Arc::new(Folder::open(&path, fresh)?);
            Ok((
                folder.disk(),
                folder.identity(),
                folder.index_path(),
                Some(folder),
            ))
        }
        Storage::Disk {
            disk,
            identity,
            index,
        } => Ok((disk, identity, index, None)),
    }
}
