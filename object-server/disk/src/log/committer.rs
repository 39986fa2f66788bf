//! The committer of a stream: one OS thread that turns the queue into batches, and the bounded queue before it.
//!
//! Tasks push and wait; the thread takes whatever is there, so batches grow with load by themselves.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};

use crate::batch::encode::BatchSize;
use crate::batch::record::NewRecord;

use super::writer::{Carries, WriteError, Writer, Written};
use super::{Apply, CommitError, Committed, LogRecord, QUEUE_BYTES, SyncPolicy};

/// Queue bytes a record costs beside its content: its fixed fields, its entry and its answer.
const RECORD_COST: usize = 256;

type Answer<O> = oneshot::Sender<Result<Committed<O>, CommitError>>;

/// A queued record.
pub(super) struct Pending<O> {
    record: NewRecord,
    cost: usize,
    answer: Answer<O>,
}

impl<O> Carries for Pending<O> {
    fn record(&self) -> &NewRecord {
        &self.record
    }
}

/// What can be queued.
#[allow(clippy::large_enum_variant)] // records are the rule; boxing them would cost an allocation each
pub(super) enum Item<O> {
    Record(Pending<O>),
    Flush(oneshot::Sender<Result<(), CommitError>>),
}

struct QueueState<O> {
    items: VecDeque<Item<O>>,
    closed: bool,
    /// The committer waits for a signal; without it, pushing costs no system call.
    waiting: bool,
}

/// The queue of a stream, bounded in bytes; a record holds its share until it is answered.
pub(super) struct Queue<O> {
    state: Mutex<QueueState<O>>,
    wake: Condvar,
    room: Semaphore,
    bytes: usize,
    running: AtomicBool,
    read_only: OnceLock<Arc<str>>,
}

impl<O> Queue<O> {
    pub fn new(bytes: usize) -> Queue<O> {
        let state = QueueState {
            items: VecDeque::new(),
            closed: false,
            waiting: false,
        };
        Queue {
            state: Mutex::new(state),
            wake: Condvar::new(),
            room: Semaphore::new(bytes),
            bytes,
            running: AtomicBool::new(false),
            read_only: OnceLock::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, QueueState<O>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    pub fn set_running(&self) {
        self.running.store(true, Ordering::Release);
    }

    pub fn read_only(&self) -> Option<Arc<str>> {
        self.read_only.get().cloned()
    }

    pub fn queued_bytes(&self) -> usize {
        self.bytes.saturating_sub(self.room.available_permits())
    }

    fn refusal(&self) -> CommitError {
        self.read_only()
            .map_or(CommitError::Closed, CommitError::ReadOnly)
    }

    /// Queues a record once there is room for it.
    pub async fn push_record(&self, record: NewRecord, answer: Answer<O>) -> Result<(), CommitError> {
        let cost = (record.span() + record.payload_len() + RECORD_COST).min(self.bytes);
        let cost = if record.head().kind.aligned() {
            cost
        } else {
            record.span() + RECORD_COST
        };
        let permits = u32::try_from(cost).unwrap_or(u32::MAX);
        let share = self
            .room
            .acquire_many(permits)
            .await
            .map_err(|_| self.refusal())?;
        self.push(Item::Record(Pending { record, cost, answer }))?;
        // Given back by the committer when it answers.
        share.forget();
        Ok(())
    }

    pub fn push(&self, item: Item<O>) -> Result<(), CommitError> {
        let waiting = {
            let mut state = self.state();
            if state.closed {
                drop(state);
                return Err(self.refusal());
            }
            state.items.push_back(item);
            std::mem::take(&mut state.waiting)
        };
        if waiting {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// No more records; what is queued is still written.
    pub fn close(&self) {
        self.state().closed = true;
        self.room.close();
        self.wake.notify_one();
    }

    /// No more records, and everyone waiting is told why.
    pub fn fail(&self, why: &Arc<str>) {
        // The first failure is the one to report.
        let _ = self.read_only.set(Arc::clone(why));
        self.close();
        let items = std::mem::take(&mut self.state().items);
        for item in items {
            let error = CommitError::ReadOnly(Arc::clone(why));
            // Whoever dropped its ticket does not want to know.
            match item {
                Item::Record(pending) => drop(pending.answer.send(Err(error))),
                Item::Flush(answer) => drop(answer.send(Err(error))),
            }
        }
    }

    fn answer(&self, pending: Pending<O>, result: Result<Committed<O>, CommitError>) {
        drop(pending.answer.send(result));
        self.room.add_permits(pending.cost);
    }
}

/// What the committer found in the queue.
struct Taken<O> {
    records: Vec<Pending<O>>,
    size: BatchSize,
    flush: Option<oneshot::Sender<Result<(), CommitError>>>,
    /// Nothing is left in the queue and nothing more will come.
    closed: bool,
}

impl<O> Queue<O> {
    /// Takes a batch worth of records: at most `room` bytes unless not even the first fits, then at most
    /// `segment_room`. Stops behind a flush. With nothing queued it waits, until `deadline` if there is one.
    fn take(&self, room: usize, segment_room: usize, deadline: Option<Instant>) -> Taken<O> {
        let mut state = self.state();
        while state.items.is_empty() && !state.closed {
            state.waiting = true;
            let Some(deadline) = deadline else {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self
                .wake
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.waiting = false;
        let mut taken = Taken {
            records: Vec::new(),
            size: BatchSize::default(),
            flush: None,
            closed: false,
        };
        let mut limit = room;
        while let Some(item) = state.items.front() {
            if let Item::Record(pending) = item {
                let size = taken.size.with(&pending.record);
                if taken.records.is_empty() && size.bytes() > room {
                    limit = segment_room;
                }
                if !size.fits() || size.bytes() > limit {
                    break;
                }
                taken.size = size;
            }
            match state.items.pop_front() {
                Some(Item::Record(pending)) => taken.records.push(pending),
                Some(Item::Flush(answer)) => {
                    taken.flush = Some(answer);
                    break;
                }
                None => break,
            }
        }
        taken.closed = state.closed && state.items.is_empty();
        taken
    }
}

/// The thread's state.
pub(super) struct Committer<A: Apply> {
    queue: Arc<Queue<A::Outcome>>,
    writer: Writer<Pending<A::Outcome>>,
    policy: SyncPolicy,
    apply: A,
    /// When the oldest unsynced batch must be synced.
    deadline: Option<Instant>,
}

/// Makes sure that nobody waits for a thread that is gone, however it went.
struct CloseAtEnd<O>(Arc<Queue<O>>);

impl<O> Drop for CloseAtEnd<O> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&"the committer panicked".into());
        } else {
            self.0.close();
        }
    }
}

impl<A: Apply> Committer<A> {
    pub fn new(
        queue: Arc<Queue<A::Outcome>>,
        writer: Writer<Pending<A::Outcome>>,
        policy: SyncPolicy,
        apply: A,
    ) -> Committer<A> {
        Committer {
            queue,
            writer,
            policy,
            apply,
            deadline: None,
        }
    }

    /// Commits until the queue is closed and empty, or the stream fails.
    pub fn run(mut self) {
        let _guard = CloseAtEnd(Arc::clone(&self.queue));
        loop {
            let mut taken = self
                .queue
                .take(self.writer.room(), self.writer.segment_room(), self.deadline);
            let flush = taken.flush.take();
            let closed = taken.closed;
            let idle = taken.records.is_empty();
            if let Err(why) = self.round(taken, flush.is_some()) {
                let why: Arc<str> = why.into();
                tracing::error!(reason = &*why, "the stream is read-only from now on");
                for pending in self.writer.abandon() {
                    self.queue
                        .answer(pending, Err(CommitError::ReadOnly(Arc::clone(&why))));
                }
                if let Some(flush) = flush {
                    drop(flush.send(Err(CommitError::ReadOnly(Arc::clone(&why)))));
                }
                self.queue.fail(&why);
                return;
            }
            if let Some(flush) = flush {
                drop(flush.send(Ok(())));
            }
            if closed {
                return;
            }
            if idle {
                self.writer.rest();
            }
        }
    }

    /// One turn: write what was taken, sync if it is time.
    fn round(&mut self, taken: Taken<A::Outcome>, flush: bool) -> Result<(), String> {
        if !taken.records.is_empty() {
            if taken.size.bytes() > self.writer.room() {
                self.finish()?;
            }
            match self.writer.make_room(taken.size.bytes()) {
                Ok(()) => self.writer.write(taken.records).map_err(|e| e.to_string())?,
                Err(WriteError::Full) => {
                    taken
                        .records
                        .into_iter()
                        .for_each(|p| self.queue.answer(p, Err(CommitError::Full)));
                }
                Err(WriteError::Failed(why)) => {
                    let why: Arc<str> = why.into();
                    for pending in taken.records {
                        self.queue
                            .answer(pending, Err(CommitError::ReadOnly(Arc::clone(&why))));
                    }
                    return Err(why.to_string());
                }
            }
        }
        let unsynced = self.writer.unsynced_bytes();
        let due = match self.policy {
            SyncPolicy::EachBatch => true,
            SyncPolicy::Grouped { bytes, .. } => {
                unsynced >= bytes.min(QUEUE_BYTES / 2) || self.deadline.is_some_and(|at| at <= Instant::now())
            }
        };
        if unsynced > 0 && (due || flush || taken.closed) {
            self.finish()?;
        } else if unsynced > 0 && self.deadline.is_none() {
            self.deadline = Some(Instant::now() + self.age());
        }
        Ok(())
    }

    fn age(&self) -> Duration {
        match self.policy {
            SyncPolicy::EachBatch => Duration::ZERO,
            SyncPolicy::Grouped { age, .. } => age,
        }
    }

    /// Syncs, applies and answers what was written.
    fn finish(&mut self) -> Result<(), String> {
        self.deadline = None;
        let mut durable = self.writer.sync().map_err(|e| e.to_string())?.into_iter();
        while let Some(batch) = durable.next() {
            if let Err(why) = self.settle(batch) {
                let error: Arc<str> = why.as_str().into();
                for pending in durable.flat_map(|later| later.items) {
                    self.queue
                        .answer(pending, Err(CommitError::ReadOnly(Arc::clone(&error))));
                }
                return Err(why);
            }
        }
        Ok(())
    }

    /// Applies one durable batch and answers its submitters.
    fn settle(&mut self, batch: Written<Pending<A::Outcome>>) -> Result<(), String> {
        let mut outcomes = Vec::with_capacity(batch.items.len());
        let applied = {
            let records: Vec<LogRecord<'_>> = batch
                .items
                .iter()
                .zip(batch.locators())
                .map(|(item, locator)| LogRecord {
                    head: *item.record.head(),
                    meta: item.record.meta(),
                    payload_len: item.record.payload_len(),
                    locator,
                    sequence: batch.sequence,
                })
                .collect();
            self.apply.apply(&records, batch.end(), &mut outcomes)
        };
        let refused = match applied {
            Err(e) => Some(e.to_string()),
            Ok(()) if outcomes.len() != batch.items.len() => Some(format!(
                "{} outcomes for {} records",
                outcomes.len(),
                batch.items.len()
            )),
            Ok(()) => None,
        };
        if let Some(why) = refused {
            let error: Arc<str> = why.as_str().into();
            for pending in batch.items {
                self.queue
                    .answer(pending, Err(CommitError::ReadOnly(Arc::clone(&error))));
            }
            return Err(why);
        }
        let locators: Vec<_> = batch.locators().collect();
        for ((pending, locator), outcome) in batch.items.into_iter().zip(locators).zip(outcomes) {
            self.queue.answer(
                pending,
                Ok(Committed {
                    locator,
                    sequence: batch.sequence,
                    outcome,
                }),
            );
        }
        Ok(())
    }
}
