//! Where the blocking work of a device runs: on threads of the system, or on the runtime that calls.
//!
//! A device has loops of its own (committers, upkeep, preparing segments) and blocking pieces of work (reads that
//! miss the page cache, hashing, opening). In production both are threads. In a simulation the same loops and the
//! same work run as tasks of the one runtime, each piece after a wait that a [`Driver`] draws: then the order of
//! everything is the order of the runtime's clock, and a seed repeats it. Chosen once, when a device is opened
//! ([`crate::segment::table::SegmentOptions`]); what is done on a hot path does not ask.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

/// A loop or a piece of work as a task.
pub type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a device spends time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Writing a batch.
    Write,
    /// Making what was written durable.
    Sync,
    /// Committing rows of listings to their database.
    Rows,
    /// Anything else that blocks: a read, a lookup, a hash.
    Block,
}

/// Runs the work of a device on a runtime: the clock, the chance and the life of a simulated machine.
pub trait Driver: Send + Sync + 'static {
    /// How long the next piece of work of this kind takes.
    fn takes(&self, work: Work) -> Duration;

    /// Starts a task that lives until it ends or the machine does.
    fn spawn(&self, job: Job);
}

/// The work ended without a result: it panicked, or its machine is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work ended without a result")]
pub struct Gone;

/// Where blocking work runs.
#[derive(Clone, Default)]
pub enum Threads {
    /// On threads of the operating system.
    #[default]
    Os,
    /// As tasks, one after the other.
    Tasks(Arc<dyn Driver>),
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Threads::Os => "Os",
            Threads::Tasks(_) => "Tasks",
        })
    }
}

impl Threads {
    /// Runs `work`, which may block, where it holds up no task. Work that has begun is finished even when nobody
    /// waits for it any more. Must be called in a runtime.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Gone> {
        match self {
            Threads::Os => tokio::task::spawn_blocking(work).await.map_err(|_| Gone),
            Threads::Tasks(driver) => drive(driver, async move { work() }).await,
        }
    }

    /// As [`Threads::run`], for work that blocks and waits by turns.
    ///
    /// # Errors
    /// [`Gone`], also if the system has no runtime left for it.
    pub async fn complete<F>(&self, work: F) -> Result<F::Output, Gone>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match self {
            Threads::Os => {
                let done = tokio::task::spawn_blocking(move || block_on(work)).await;
                done.map_err(|_| Gone)?.map_err(|_| Gone)
            }
            Threads::Tasks(driver) => drive(driver, work).await,
        }
    }
}

async fn drive<F>(driver: &Arc<dyn Driver>, work: F) -> Result<F::Output, Gone>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (answer, result) = oneshot::channel();
    let wait = driver.takes(Work::Block);
    driver.spawn(Box::pin(async move {
        tokio::time::sleep(wait).await;
        // Whoever went away does not want to know.
        drop(answer.send(work.await));
    }));
    result.await.map_err(|_| Gone)
}

/// Waits for `work` on the calling thread, which must not be one of a runtime's workers.
///
/// # Errors
/// If the system has no runtime left.
pub fn block_on<F: Future>(work: F) -> std::io::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(runtime.block_on(work))
}
