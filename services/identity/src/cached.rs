//! Records that are read often and change seldom, kept in memory.
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use virga_node::clock::{Clock, Micros};
use virga_state::StateError;

/// How long a copy is believed: another node may have changed the records.
const LIFETIME: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Copy<T> {
    epoch: u64,
    read_at: Micros,
    value: Arc<T>,
}

/// One copy of something, read again after a change or after a while.
#[derive(Debug)]
pub(crate) struct Cached<T> {
    slot: ArcSwapOption<Copy<T>>,
    epoch: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl<T> Cached<T> {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            slot: ArcSwapOption::empty(),
            epoch: AtomicU64::new(0),
            clock,
        }
    }

    /// Says that the records changed. To be called after the commit.
    pub(crate) fn forget(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Grows whenever the records are said to have changed.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The copy, or what `read` brings.
    pub(crate) async fn get<F>(&self, read: impl FnOnce() -> F) -> Result<Arc<T>, StateError>
    where
        F: Future<Output = Result<T, StateError>>,
    {
        // Taken before reading: a change while reading makes the copy stale.
        let epoch = self.epoch.load(Ordering::Acquire);
        let now = self.clock.now();
        if let Some(copy) = self.slot.load_full()
            && copy.epoch == epoch
            && now.since(copy.read_at) < LIFETIME
        {
            return Ok(copy.value.clone());
        }
        let value = Arc::new(read().await?);
        self.slot.store(Some(Arc::new(Copy {
            epoch,
            read_at: now,
            value: value.clone(),
        })));
        Ok(value)
    }
}
