//! The committer of a stream: one loop that turns the queue into batches, and the bounded queue before it.
//!
//! Tasks push and wait; the loop takes whatever is there, so batches grow with load by themselves. It runs on a
//! thread ([`Committer::run`]) or, in a simulation, as a task ([`Committer::drive`]); only the waiting differs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;

use crate::batch::encode::BatchSize;
use crate::batch::record::NewRecord;
use crate::threads::{Driver, Threads, Work};

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

/// What the committer waits on.
enum Wake {
    Thread(Condvar),
    Task(Notify),
}

/// The queue of a stream, bounded in bytes; a record holds its share until it is answered.
pub(super) struct Queue<O> {
    state: Mutex<QueueState<O>>,
    wake: Wake,
    room: Semaphore,
    bytes: usize,
    running: AtomicBool,
    read_only: OnceLock<Arc<str>>,
}

impl<O> Queue<O> {
    pub fn new(bytes: usize, threads: &Threads) -> Queue<O> {
        let state = QueueState {
            items: VecDeque::new(),
            closed: false,
            waiting: false,
        };
        Queue {
            state: Mutex::new(state),
            wake: match threads {
                Threads::Os => Wake::Thread(Condvar::new()),
                Threads::Tasks(_) => Wake::Task(Notify::new()),
            },
            room: Semaphore::new(bytes),
            bytes,
            running: AtomicBool::new(false),
            read_only: OnceLock::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, QueueState<O>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        match &self.wake {
            Wake::Thread(signal) => signal.notify_one(),
            Wake::Task(signal) => signal.notify_one(),
        }
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
            self.wake();
        }
        Ok(())
    }

    /// No more records; what is queued is still written.
    pub fn close(&self) {
        self.state().closed = true;
        self.room.close();
        self.wake();
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
    /// There were no records.
    idle: bool,
    /// Nothing is left in the queue and nothing more will come.
    closed: bool,
}

impl<O> Queue<O> {
    /// Takes a batch worth of records: at most `room` bytes unless not even the first fits, then at most
    /// `segment_room`. Stops behind a flush. With nothing queued it waits, until `deadline` if there is one.
    fn take(&self, room: usize, segment_room: usize, deadline: Option<Instant>) -> Taken<O> {
        let mut state = self.state();
        // The queue of a task is never taken from by a thread.
        if let Wake::Thread(wake) = &self.wake {
            while state.items.is_empty() && !state.closed {
                state.waiting = true;
                let Some(deadline) = deadline else {
                    state = wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                    continue;
                };
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state = wake
                    .wait_timeout(state, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
        }
        gather(&mut state, room, segment_room)
    }

    /// As [`Queue::take`], for a committer that is a task: waits for something to take.
    async fn ready(&self, deadline: Option<Instant>) {
        let Wake::Task(wake) = &self.wake else { return };
        loop {
            {
                let mut state = self.state();
                if !state.items.is_empty() || state.closed {
                    return;
                }
                state.waiting = true;
            }
            match deadline {
                None => wake.notified().await,
                Some(deadline) => {
                    if tokio::time::timeout_at(deadline, wake.notified()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// A batch worth of what is queued.
fn gather<O>(state: &mut QueueState<O>, room: usize, segment_room: usize) -> Taken<O> {
    state.waiting = false;
    let mut taken = Taken {
        records: Vec::new(),
        size: BatchSize::default(),
        flush: None,
        idle: true,
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

/// The loop's state.
pub(super) struct Committer<A: Apply> {
    queue: Arc<Queue<A::Outcome>>,
    writer: Writer<Pending<A::Outcome>>,
    policy: SyncPolicy,
    apply: A,
    /// When the oldest unsynced batch must be synced.
    deadline: Option<Instant>,
}

/// Makes sure that nobody waits for a loop that is gone, however it went.
struct CloseAtEnd<O> {
    queue: Arc<Queue<O>>,
    /// It ended by itself: everything queued was answered.
    ended: bool,
}

impl<O> Drop for CloseAtEnd<O> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.queue.fail(&"the committer panicked".into());
        } else if self.ended {
            self.queue.close();
        } else {
            self.queue.fail(&"the committer was stopped".into());
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
        let mut guard = self.guard();
        loop {
            let mut taken = self
                .queue
                .take(self.writer.room(), self.writer.segment_room(), self.deadline);
            let mut result = self.write(&mut taken);
            if let Ok(true) = result {
                result = self.finish().map(|()| true);
            }
            if !self.conclude(taken, result) {
                guard.ended = true;
                return;
            }
        }
    }

    /// As [`Committer::run`] as a task: writing and syncing take the time that `driver` says, and it may be stopped
    /// before either.
    pub async fn drive(mut self, driver: Arc<dyn Driver>) {
        let mut guard = self.guard();
        loop {
            self.queue.ready(self.deadline).await;
            tokio::time::sleep(driver.takes(Work::Write)).await;
            let mut taken = gather(
                &mut self.queue.state(),
                self.writer.room(),
                self.writer.segment_room(),
            );
            let mut result = self.write(&mut taken);
            if let Ok(true) = result {
                tokio::time::sleep(driver.takes(Work::Sync)).await;
                result = self.finish().map(|()| true);
            }
            if !self.conclude(taken, result) {
                guard.ended = true;
                return;
            }
        }
    }

    fn guard(&self) -> CloseAtEnd<A::Outcome> {
        CloseAtEnd {
            queue: Arc::clone(&self.queue),
            ended: false,
        }
    }

    /// Ends a turn; whether there is another one.
    fn conclude(&mut self, taken: Taken<A::Outcome>, result: Result<bool, String>) -> bool {
        if let Err(why) = result {
            let why: Arc<str> = why.into();
            tracing::error!(reason = &*why, "the stream is read-only from now on");
            for pending in self.writer.abandon() {
                self.queue
                    .answer(pending, Err(CommitError::ReadOnly(Arc::clone(&why))));
            }
            if let Some(flush) = taken.flush {
                drop(flush.send(Err(CommitError::ReadOnly(Arc::clone(&why)))));
            }
            self.queue.fail(&why);
            return false;
        }
        if let Some(flush) = taken.flush {
            drop(flush.send(Ok(())));
        }
        if taken.idle && !taken.closed {
            self.writer.rest();
        }
        !taken.closed
    }

    /// First half of a turn: writes what was taken, and says whether it is time to sync.
    fn write(&mut self, taken: &mut Taken<A::Outcome>) -> Result<bool, String> {
        let records = std::mem::take(&mut taken.records);
        taken.idle = records.is_empty();
        if !records.is_empty() {
            if taken.size.bytes() > self.writer.room() {
                self.finish()?;
            }
            match self.writer.make_room(taken.size.bytes()) {
                Ok(()) => self.writer.write(records).map_err(|e| e.to_string())?,
                Err(WriteError::Full) => {
                    records
                        .into_iter()
                        .for_each(|p| self.queue.answer(p, Err(CommitError::Full)));
                }
                Err(WriteError::Failed(why)) => {
                    let why: Arc<str> = why.into();
                    for pending in records {
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
        if unsynced > 0 && (due || taken.flush.is_some() || taken.closed) {
            return Ok(true);
        }
        if unsynced > 0 && self.deadline.is_none() {
            self.deadline = Some(Instant::now() + self.age());
        }
        Ok(false)
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
