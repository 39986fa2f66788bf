//! The read threads of a device: started when needed, at most sixteen, with a bounded queue before them.
//!
//! A thread each for sixteen reads in flight saturates the devices we know; tokio's own blocking pool costs
//! several times more per read and is shared with everything else.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{Semaphore, oneshot};

use crate::threads::Threads;

/// Most threads per device.
pub const THREADS: usize = 16;
/// Reads waiting for a thread before callers wait for room.
const QUEUE: usize = 1024;

/// The pool was closed before the work was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device is closing")]
pub struct PoolClosed;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    idle: usize,
    threads: Vec<JoinHandle<()>>,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // A job that panics answers its caller by dropping the answer; the thread goes on.
                drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)));
                state = self.state();
            } else if state.closed {
                return;
            } else {
                state.idle += 1;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}

/// Threads for blocking work on one device.
pub struct ReadPool {
    shared: Arc<Shared>,
    room: Semaphore,
    limit: usize,
    threads: Threads,
}

impl ReadPool {
    /// A pool of at most `limit` threads; none runs yet. With [`Threads::Tasks`] none ever will.
    #[must_use]
    pub fn new(limit: usize, threads: Threads) -> ReadPool {
        let shared = Shared {
            state: Mutex::new(State::default()),
            wake: Condvar::new(),
        };
        ReadPool {
            shared: Arc::new(shared),
            room: Semaphore::new(QUEUE),
            limit: limit.max(1),
            threads,
        }
    }

    /// Runs `work` on one of the threads. If the caller goes away, work that has begun is finished.
    ///
    /// # Errors
    /// [`PoolClosed`] if the pool was dropped, no thread could be started, or `work` panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolClosed> {
        let _room = self.room.acquire().await.map_err(|_| PoolClosed)?;
        if let Threads::Tasks(_) = &self.threads {
            return self.threads.run(work).await.map_err(|_| PoolClosed);
        }
        let (answer, result) = oneshot::channel();
        // A caller that went away does not want the result.
        self.push(Box::new(move || drop(answer.send(work()))))?;
        result.await.map_err(|_| PoolClosed)
    }

    /// Threads running now.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.shared.state().threads.len()
    }

    fn push(&self, job: Job) -> Result<(), PoolClosed> {
        let mut state = self.shared.state();
        if state.closed {
            return Err(PoolClosed);
        }
        state.jobs.push_back(job);
        if state.idle < state.jobs.len() && state.threads.len() < self.limit {
            let shared = Arc::clone(&self.shared);
            match std::thread::Builder::new()
                .name("disk-read".into())
                .spawn(move || shared.work())
            {
                Ok(thread) => state.threads.push(thread),
                Err(_) if state.threads.is_empty() => {
                    state.jobs.clear();
                    return Err(PoolClosed);
                }
                // The threads that are there will get to it.
                Err(_) => {}
            }
        }
        drop(state);
        self.shared.wake.notify_one();
        Ok(())
    }
}

impl Drop for ReadPool {
    fn drop(&mut self) {
        let threads = {
            let mut state = self.shared.state();
            state.closed = true;
            state.jobs.clear();
            std::mem::take(&mut state.threads)
        };
        self.shared.wake.notify_all();
        for thread in threads {
            if thread.thread().id() != std::thread::current().id() {
                // Panics were caught; there is nothing to learn from the result.
                drop(thread.join());
            }
        }
    }
}
