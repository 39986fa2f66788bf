//! Writes the rows of objects into their containers.
//!
//! Rows of one container that are due at the same time travel together: while
//! one batch is on its way the next one gathers. There is no waiting for more.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::time::timeout;
use virga_object_wire::listing::ObjectRow;
use virga_object_wire::object::Settled;

use super::fanout::{self, Call, Rest};
use super::names::{ContainerName, ObjectName};
use super::place::{Peer, Place};
use super::settle::settle;
use super::shared::Shared;

/// Most rows in one batch: a message of about 100 KiB.
const BATCH: usize = 512;
/// Most rows waiting for one container. Beyond that the object node pays.
const QUEUE: usize = 8192;

/// A row and who wants to hear whether a quorum of the container has it.
type Waiting = (ObjectRow, oneshot::Sender<bool>);

/// Containers with a batch on its way, and the rows that wait behind it.
#[derive(Default)]
pub(super) struct Rows {
    lanes: Mutex<HashMap<ContainerName, Vec<Waiting>>>,
}

impl Rows {
    /// Queues a row; `Some(true)` means that nobody drives the lane yet.
    fn push(&self, container: &ContainerName, waiting: Waiting) -> Option<bool> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get_mut(container) {
            if lane.len() >= QUEUE {
                return None;
            }
            lane.push(waiting);
            return Some(false);
        }
        lanes.insert(container.clone(), vec![waiting]);
        Some(true)
    }

    /// The next batch; closes the lane when there is none.
    fn next(&self, container: &ContainerName) -> Vec<Waiting> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lane) = lanes.get_mut(container) else {
            return Vec::new();
        };
        if lane.is_empty() {
            lanes.remove(container);
            return Vec::new();
        }
        let rest = lane.split_off(lane.len().min(BATCH));
        std::mem::replace(lane, rest)
    }
}

/// Writes a row; whether a quorum of the container's primaries has it.
async fn write(shared: &Arc<Shared>, container: ContainerName, row: ObjectRow) -> bool {
    let (told, hears) = oneshot::channel();
    match shared.rows.push(&container, (row, told)) {
        None => return false,
        Some(false) => {}
        Some(true) => {
            let shared = Arc::clone(shared);
            shared
                .tasks
                .clone()
                .spawn(async move { drive(&shared, &container).await });
        }
    }
    hears.await.unwrap_or(false)
}

/// Closes a lane whatever happens to its driver: a lane without one would
/// take rows for ever and send none.
struct Lane<'a> {
    rows: &'a Rows,
    container: &'a ContainerName,
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut lanes = self.rows.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.remove(self.container);
        }
    }
}

/// Sends batch after batch until no row waits.
async fn drive(shared: &Arc<Shared>, container: &ContainerName) {
    let _lane = Lane {
        rows: &shared.rows,
        container,
    };
    let place = shared.container_place(container);
    loop {
        let batch = shared.rows.next(container);
        if batch.is_empty() {
            return;
        }
        let (rows, waiting): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let call: Call<()> = Box::new(move |node, at, _| {
            let rows = rows.clone();
            Box::pin(async move { node.put_object_rows(&at, rows).await })
        });
        let (tally, _rest) = fanout::write(shared, &place, call).await;
        for waiting in waiting {
            // An error means that the waiting one has gone: nothing to tell.
            let _ = waiting.send(tally.by_primaries);
        }
    }
}

/// What remains after a quorum of object replicas has a write: the container's
/// row, waited for at most [`super::Settings::row_wait`], and in the background
/// the late replicas and the notes that rows are owed no longer.
pub(super) async fn conclude<T: Send + 'static>(
    shared: &Arc<Shared>,
    name: &ObjectName,
    place: &Place,
    row: ObjectRow,
    stored: Vec<Arc<Peer>>,
    late: Option<Rest<T>>,
) {
    let version = row.version.max(row.meta_version);
    let note = Settled {
        partition: place.partition,
        hash: place.hash,
        version,
    };
    let owed = Arc::new(Mutex::new(Owed {
        settled: false,
        by: stored,
    }));
    if let Some(late) = late {
        let (shared, owed, note) = (Arc::clone(shared), Arc::clone(&owed), note.clone());
        late.finish(move |peer| {
            let mut owed = owed.lock().unwrap_or_else(PoisonError::into_inner);
            if owed.settled {
                settle(&shared, peer, note.clone());
            } else {
                owed.by.push(Arc::clone(peer));
            }
        });
    }
    let written = write(shared, name.container_name(), row);
    if timeout(shared.settings.row_wait, written).await == Ok(true) {
        let mut owed = owed.lock().unwrap_or_else(PoisonError::into_inner);
        owed.settled = true;
        owed.by
            .drain(..)
            .for_each(|peer| settle(shared, &peer, note.clone()));
    }
}

/// Who owes a row, as long as it is not settled.
struct Owed {
    settled: bool,
    by: Vec<Arc<Peer>>,
}
