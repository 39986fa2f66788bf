//! All segments of a device: found at start, handed to streams, taken back, prepared ahead of need.
//!
//! A file keeps its name for ever; its header says which segment it is now. Streams take segments here, readers
//! look them up, compaction gives dead ones back. Spares are prepared in the background, written with zeros where
//! that pays ([`super::appends`]), so that appends to them change no extent; when none is ready a file with reserved
//! blocks is made on the spot, which costs slower syncs in that one segment instead of a stall.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;

use crate::batch::decode::{self, Expect};
use crate::io::aligned::AlignedBuf;
use crate::io::{Disk, Fill, PAGE, Seg, Space};
use crate::threads::{Threads, Work};

use super::Stream;
use super::appends::Appends;
use super::header::{BadHeader, Identity, SegmentHeader};

/// Gives the hybrid logical clock; time comes in from outside so that tests own it.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How a device lays out its segments.
#[derive(Clone)]
pub struct SegmentOptions {
    /// Size of new segments in bytes; a multiple of the page. 64 MiB, tests use 1 to 4 MiB.
    pub size: u64,
    /// Free segments kept ready once streams fill theirs.
    pub spares: usize,
    /// Whether spares are prepared by a thread of their own. Without it every new segment is made when needed,
    /// which makes runs with a faulty disk repeatable.
    pub background: bool,
    /// Where the loops and the blocking work of the device run.
    pub threads: Threads,
    /// The clock for `created` of segments and `hlc` of batches.
    pub clock: Clock,
}

impl SegmentOptions {
    /// 64 MiB segments, two spares, prepared in the background.
    #[must_use]
    pub fn new(clock: Clock) -> SegmentOptions {
        SegmentOptions {
            size: 64 << 20,
            spares: 2,
            background: true,
            threads: Threads::Os,
            clock,
        }
    }
}

/// Why the segments of a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenSegmentsError {
    /// The file system failed.
    #[error("segment files cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A segment belongs to another device.
    #[error("segment file {0} belongs to another device")]
    Stranger(String),
    /// A segment was written by a newer version.
    #[error("segment file {0} was written by a newer version")]
    Newer(String),
}

/// Why no segment can be had.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// No free segment and no room for another.
    #[error("the device is full")]
    Full,
    /// The device failed.
    #[error("a segment cannot be prepared: {0}")]
    Io(#[from] io::Error),
}

/// One life of a segment file. While somebody holds it, the file is not recycled.
pub struct Segment {
    id: u64,
    stream: Stream,
    salt: u64,
    size: u64,
    created: u64,
    name: String,
    file: Arc<dyn Seg>,
    open: AtomicBool,
    left: AtomicBool,
}

impl Segment {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its stream.
    #[must_use]
    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// Size in bytes, header page included.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Hybrid logical clock when it was taken.
    #[must_use]
    pub fn created(&self) -> u64 {
        self.created
    }

    /// Name of its file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True while its stream appends to it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Has its stream go on in another segment from its next batch on: this one is not to be trusted with more.
    pub fn leave(&self) {
        self.left.store(true, Ordering::Release);
    }

    pub(crate) fn is_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    pub(crate) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Release);
    }

    /// What its batches must say of themselves.
    #[must_use]
    pub fn expect(&self) -> Expect {
        Expect {
            segment: self.id,
            salt: self.salt,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn file(&self) -> &dyn Seg {
        &*self.file
    }
}

/// Room on a device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Size of the file system.
    pub total: u64,
    /// Free on the file system.
    pub free: u64,
    /// In segments that are ready to be used again.
    pub reusable: u64,
}

struct Spare {
    name: String,
    file: Arc<dyn Seg>,
}

#[derive(Default)]
struct Pool {
    /// Ready to be given an id.
    free: Vec<Spare>,
    /// Given back, perhaps still being read.
    draining: Vec<Arc<Segment>>,
    /// Names of files whose preparation was cut short.
    blank: Vec<String>,
    /// Takes up to now: a device that is never written prepares nothing.
    thread: Option<JoinHandle<()>>,
}

/// The segments of one device.
pub struct Segments {
    disk: Arc<dyn Disk>,
    identity: Identity,
    options: SegmentOptions,
    live: RwLock<BTreeMap<u64, Arc<Segment>>>,
    pool: Mutex<Pool>,
    next_id: AtomicU64,
    next_name: AtomicU64,
    preparing: AtomicBool,
    appends: Appends,
}

impl Segments {
    /// Reads the header of every segment file of the device.
    ///
    /// # Errors
    /// See [`OpenSegmentsError`]. A damaged header is no error: if any batch in the file proves which segment it
    /// is, it is used; otherwise the file is left alone.
    pub fn open(
        disk: Arc<dyn Disk>,
        identity: Identity,
        options: SegmentOptions,
    ) -> Result<Arc<Segments>, OpenSegmentsError> {
        let mut pool = Pool::default();
        let mut live = BTreeMap::new();
        let (mut top_id, mut top_name) = (0, 0);
        for name in disk.list()? {
            let Ok(number) = u64::from_str_radix(&name, 16) else {
                continue;
            };
            top_name = top_name.max(number);
            let file = disk.open(&name)?;
            let mut page = vec![0; PAGE];
            let header = if file.len() < PAGE as u64 {
                Err(BadHeader::Blank)
            } else {
                file.pread(&mut page, 0)?;
                SegmentHeader::decode(&page, &identity)
            };
            let header = match header {
                Ok(header) => header,
                Err(BadHeader::Blank) => {
                    pool.blank.push(name);
                    continue;
                }
                Err(BadHeader::Stranger) => return Err(OpenSegmentsError::Stranger(name)),
                Err(BadHeader::Newer) => return Err(OpenSegmentsError::Newer(name)),
                Err(BadHeader::Damaged) => match identify(&*file, &identity)? {
                    Some(header) => header,
                    None => {
                        tracing::warn!(
                            file = name,
                            "segment header is damaged and no batch tells what it was"
                        );
                        continue;
                    }
                },
            };
            top_id = top_id.max(header.id);
            match header.stream {
                Some(stream) => {
                    let segment = Segment {
                        id: header.id,
                        stream,
                        salt: identity.salt(header.id),
                        size: header.size.min(file.len()),
                        created: header.created,
                        name,
                        file,
                        open: AtomicBool::new(false),
                        left: AtomicBool::new(false),
                    };
                    live.insert(header.id, Arc::new(segment));
                }
                None if file.len() == options.size => pool.free.push(Spare { name, file }),
                // The segment size was changed: a free file of the old size is of no use.
                None => unless_read_only(disk.remove(&name))?,
            }
        }
        Ok(Arc::new(Segments {
            disk,
            identity,
            options,
            live: RwLock::new(live),
            pool: Mutex::new(pool),
            next_id: AtomicU64::new(top_id + 1),
            next_name: AtomicU64::new(top_name + 1),
            preparing: AtomicBool::new(false),
            appends: Appends::default(),
        }))
    }

    /// The segment with this id, or none if it was released (or never was).
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Arc<Segment>> {
        self.live
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned()
    }

    /// All segments in use, by id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Segment>> {
        self.live
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Size of a new segment in bytes.
    #[must_use]
    pub fn segment_size(&self) -> u64 {
        self.options.size
    }

    /// Where the work of the device runs.
    #[must_use]
    pub fn threads(&self) -> &Threads {
        &self.options.threads
    }

    /// The hybrid logical clock, as given in the options.
    #[must_use]
    pub fn now(&self) -> u64 {
        (self.options.clock)()
    }

    /// Room left.
    ///
    /// # Errors
    /// What the file system says.
    pub fn room(&self) -> io::Result<Room> {
        let Space { total, free } = self.disk.space()?;
        let pool = self.pool();
        let reusable = (pool.free.len() + pool.draining.len()) as u64 * self.options.size;
        Ok(Room {
            total,
            free,
            reusable,
        })
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a segment to a stream under a new id, its header durable. `reserve` bytes of the file system are
    /// left alone. Blocks on the device.
    pub(crate) fn take(&self, stream: Stream, reserve: u64) -> Result<Arc<Segment>, TakeError> {
        let spare = match self.reusable() {
            Some(spare) => spare,
            None => self.make(Fill::Reserve, reserve)?,
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let header = SegmentHeader {
            stream: Some(stream),
            device: self.identity.device,
            id,
            size: spare.file.len(),
            created: self.now(),
        };
        // On failure the file is not returned to the pool: a device that cannot write a header should not be
        // asked again in the same place. It is found again at the next start.
        spare.file.pwrite(&header.encode(), 0)?;
        spare.file.sync()?;
        let segment = Arc::new(Segment {
            id,
            stream,
            salt: self.identity.salt(id),
            size: spare.file.len(),
            created: header.created,
            name: spare.name,
            file: spare.file,
            open: AtomicBool::new(false),
            left: AtomicBool::new(false),
        });
        self.live
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, Arc::clone(&segment));
        Ok(segment)
    }

    fn reusable(&self) -> Option<Spare> {
        let mut pool = self.pool();
        // Nobody can get a new hold on a draining segment: it left the table before it came here.
        if let Some(index) = pool.draining.iter().position(|s| Arc::strong_count(s) == 1) {
            let segment = pool.draining.swap_remove(index);
            return Some(Spare {
                name: segment.name.clone(),
                file: Arc::clone(&segment.file),
            });
        }
        pool.free.pop()
    }

    fn make(&self, fill: Fill, reserve: u64) -> Result<Spare, TakeError> {
        let free = self.disk.space()?.free;
        let blank = self.pool().blank.pop();
        if blank.is_none() && free < self.options.size.saturating_add(reserve) {
            return Err(TakeError::Full);
        }
        let name =
            blank.unwrap_or_else(|| format!("{:016x}", self.next_name.fetch_add(1, Ordering::Relaxed)));
        match self.disk.create(&name, self.options.size, fill) {
            Ok(file) => Ok(Spare { name, file }),
            Err(e) if e.kind() == io::ErrorKind::StorageFull => Err(TakeError::Full),
            Err(e) => Err(TakeError::Io(e)),
        }
    }

    /// Gives a segment back. The caller has made sure that no durable index names it any more. It is marked free
    /// on the device at once and used again when the last reader lets go; the file of one that its stream was made
    /// to leave is deleted instead. Blocks on the device.
    ///
    /// # Errors
    /// `ResourceBusy` for a segment that its stream still appends to. If the mark cannot be written, the segment
    /// stays out of use until the next start. An unknown id is no error: releasing twice is releasing once.
    pub fn release(&self, id: u64) -> io::Result<()> {
        let segment = {
            let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
            if live.get(&id).is_some_and(|segment| segment.is_open()) {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "the segment is being written",
                ));
            }
            live.remove(&id)
        };
        let Some(segment) = segment else { return Ok(()) };
        let header = SegmentHeader {
            stream: None,
            device: self.identity.device,
            id,
            size: segment.size,
            created: segment.created,
        };
        segment.file.pwrite(&header.encode(), 0)?;
        segment.file.sync()?;
        segment.file.end_writes();
        if segment.size == self.options.size && !segment.is_left() {
            self.pool().draining.push(segment);
        } else {
            self.disk.remove(&segment.name)?;
        }
        Ok(())
    }

    /// Prepares spares in the background if fewer than wished are ready. Called when a stream's open segment is
    /// half full.
    pub(crate) fn want_spare(self: &Arc<Self>) {
        if !self.options.background || self.ready() >= self.options.spares {
            return;
        }
        if self.preparing.swap(true, Ordering::AcqRel) {
            return;
        }
        let weak = Arc::downgrade(self);
        if let Threads::Tasks(driver) = &self.options.threads {
            let pace = Arc::clone(driver);
            driver.spawn(Box::pin(async move {
                loop {
                    tokio::time::sleep(pace.takes(Work::Block)).await;
                    let Some(segments) = weak.upgrade() else { return };
                    if !segments.prepare_one() {
                        segments.preparing.store(false, Ordering::Release);
                        return;
                    }
                }
            }));
            return;
        }
        let spawned = std::thread::Builder::new()
            .name("segment-prepare".into())
            .spawn(move || {
                while let Some(segments) = weak.upgrade() {
                    if !segments.prepare_one() {
                        segments.preparing.store(false, Ordering::Release);
                        return;
                    }
                }
            });
        match spawned {
            Ok(handle) => self.pool().thread = Some(handle),
            Err(e) => {
                tracing::warn!(error = %e, "no thread to prepare segments: appends will be slower");
                self.preparing.store(false, Ordering::Release);
            }
        }
    }

    /// Tells of an append of so many bytes to one of the segments.
    pub(crate) fn note_append(&self, bytes: u64) {
        self.appends.note(bytes);
    }

    fn ready(&self) -> usize {
        let pool = self.pool();
        pool.free.len() + pool.draining.iter().filter(|s| Arc::strong_count(s) == 1).count()
    }

    /// Makes one spare if one is wanted and the device has room to spare; says whether it did.
    pub(super) fn prepare_one(&self) -> bool {
        if self.ready() >= self.options.spares {
            return false;
        }
        // Spares are a luxury: they never take the last tenth of the device.
        let Ok(Space { total, .. }) = self.disk.space() else {
            return false;
        };
        let made = self.make(self.appends.fill(), total / 10).and_then(|spare| {
            // With a header it is known as a spare after a restart too, and not prepared again.
            let header = SegmentHeader {
                stream: None,
                device: self.identity.device,
                id: 0,
                size: spare.file.len(),
                created: 0,
            };
            spare.file.pwrite(&header.encode(), 0)?;
            spare.file.sync()?;
            Ok(spare)
        });
        match made {
            Ok(spare) => {
                self.pool().free.push(spare);
                true
            }
            Err(TakeError::Full) => false,
            Err(TakeError::Io(e)) => {
                tracing::warn!(error = %e, "a spare segment cannot be prepared");
                false
            }
        }
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        let thread = self
            .pool
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .thread
            .take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            // At most one segment's worth of zeros away; the folder must be quiet when the device is closed.
            drop(thread.join());
        }
    }
}

/// A device that takes no writes is left as it is.
pub(crate) fn unless_read_only(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        done => done,
    }
}

/// Finds out from its batches which segment a file with a damaged header was.
fn identify(file: &dyn Seg, identity: &Identity) -> io::Result<Option<SegmentHeader>> {
    let mut piece = AlignedBuf::zeroed(1 << 20);
    let mut at = PAGE as u64;
    while at < file.len() {
        let len = usize::try_from(file.len() - at).map_or(piece.capacity(), |n| n.min(piece.capacity()));
        let bytes = &mut piece[..len];
        file.pread(bytes, at)?;
        for page in bytes.chunks_exact(PAGE) {
            let Ok(found) = decode::header(page) else { continue };
            if found.salt == identity.salt(found.segment)
                && let Some(stream) = Stream::from_number(found.stream)
            {
                tracing::warn!(
                    segment = found.segment,
                    "segment header is damaged; its batches tell what it is"
                );
                return Ok(Some(SegmentHeader {
                    stream: Some(stream),
                    device: identity.device,
                    id: found.segment,
                    size: file.len(),
                    created: found.hlc,
                }));
            }
        }
        at += len as u64;
    }
    Ok(None)
}
