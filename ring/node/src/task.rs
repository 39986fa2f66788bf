//! Supervised tasks: named, counted, told to stop, waited for.
//!
//! Every background task of a daemon starts here, so that a drain knows what
//! is still running and a panic in one is logged instead of lost.
use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs work that may block for a moment, such as reading a file, where it holds
/// up no other task. In a runtime of one thread it runs in place: there nobody
/// else is served meanwhile anyway, and a simulated cluster, which is one such
/// runtime, repeats its run only if no thread of the system takes part. Must be
/// called in a runtime.
///
/// # Errors
/// The work panicked on its thread.
pub async fn offload<T, W>(work: W) -> Result<T, JoinError>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => Ok(work()),
        _ => tokio::task::spawn_blocking(work).await,
    }
}

/// The tasks of one daemon: a cheap handle that spawns, stops and drains.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// First and longest wait before a failed supervised task is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts `work`; it ends by itself or when it sees [`Tasks::stopping`].
    #[allow(clippy::disallowed_methods, reason = "the one place where tasks start")]
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.tracker.track_future(work))
    }

    /// Keeps a standing duty alive: when `make`'s future ends or panics before
    /// the stop, it is logged under `name` and made anew after a growing wait.
    pub fn supervise<F, M>(&self, name: &'static str, mut make: M)
    where
        M: FnMut() -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = self.clone();
        self.spawn(async move {
            let mut wait = BACKOFF.0;
            while !tasks.stop.is_cancelled() {
                let ended = tasks.spawn(make()).await;
                if tasks.stop.is_cancelled() {
                    break;
                }
                match ended {
                    Ok(()) => tracing::warn!(task = name, "ended early, starting it again"),
                    Err(panic) => tracing::error!(task = name, %panic, "panicked, starting it again"),
                }
                tokio::select! {
                    // The same order every time, so that a simulated run repeats.
                    biased;
                    () = tokio::time::sleep(wait) => wait = (wait * 2).min(BACKOFF.1),
                    () = tasks.stop.cancelled() => break,
                }
            }
        });
    }

    /// The signal that tasks watch: cancelled when the daemon stops.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Says stop and waits for every task, at most `limit`. Returns whether
    /// all of them ended.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn here() -> thread::ThreadId {
        thread::current().id()
    }

    #[tokio::test]
    async fn in_a_runtime_of_one_thread_blocking_work_takes_no_other() {
        assert_eq!(offload(here).await.unwrap(), here());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn in_a_runtime_of_several_it_holds_up_none_of_them() {
        let worker = Tasks::new().spawn(async { (here(), offload(here).await.unwrap()) });
        let (worker, elsewhere) = worker.await.unwrap();
        assert_ne!(worker, elsewhere);
    }
}
