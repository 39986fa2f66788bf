//! Records that are read often and change seldom, put together and kept in
//! memory: what [`State::recalling`] does for single answers.
use std::future::Future;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use virga_node::clock::Micros;
use virga_state::{State, StateError};

#[derive(Debug)]
struct Copy<T> {
    /// [`State::changed`] before it was read.
    stamp: u64,
    read_at: Micros,
    value: Arc<T>,
}

/// One copy of something, read again after any change, and when nobody can say
/// any more that there was none.
#[derive(Debug)]
pub(crate) struct Cached<T> {
    slot: ArcSwapOption<Copy<T>>,
    state: State,
}

impl<T> Cached<T> {
    pub(crate) fn new(state: State) -> Self {
        Self {
            slot: ArcSwapOption::empty(),
            state,
        }
    }

    /// The copy, or what `read` brings, and as of when that holds.
    pub(crate) async fn get<F>(&self, read: impl FnOnce() -> F) -> Result<(Arc<T>, Micros), StateError>
    where
        F: Future<Output = Result<T, StateError>>,
    {
        // Taken before reading: a change while reading makes the copy stale.
        let stamp = self.state.changed();
        if let Some(copy) = self.slot.load_full()
            && let Some(at) = self.state.still_holds(copy.stamp, copy.read_at)
        {
            return Ok((copy.value.clone(), at));
        }
        let read_at = self.state.settled();
        let value = Arc::new(read().await?);
        self.slot.store(Some(Arc::new(Copy {
            stamp,
            read_at,
            value: value.clone(),
        })));
        Ok((value, read_at))
    }
}
