//! Writes the rows of objects into their containers.
//!
//! Rows of one container that are due at the same time travel together: while
//! one batch is on its way the next one gathers. There is no waiting for more.
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::time::timeout;
use virga_object_wire::listing::ObjectRow;
use virga_object_wire::object::Settled;

use super::fanout::{self, Call, Rest};
use super::names::{ContainerName, ObjectName};
use super::peer::Peer;
use super::place::Place;
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
    let mut late = None;
    loop {
        let batch = shared.rows.next(container);
        if batch.is_empty() {
            break;
        }
        // Looked up for every batch: a lane may outlive many rings.
        let mut place = shared.container_place(container);
        let (rows, waiting): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let call: Call<()> = Box::new(move |node, at, _| {
            let rows = rows.clone();
            Box::pin(async move { node.put_object_rows(&at, rows).await })
        });
        let (tally, rest) = fanout::write(shared, &mut place, call).await;
        for waiting in waiting {
            // An error means that the waiting one has gone: nothing to tell.
            let _ = waiting.send(tally.by_members);
        }
        late = Some(rest);
    }
    // The lane is closed: this task is free for the replicas that are late.
    if let Some(late) = late {
        late.finish_here().await;
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
        policy: place.policy,
        partition: place.partition,
        hash: place.hash,
        version,
    };
    let mut stored = stored;
    let mut late = late;
    let written = async {
        let mut writing = pin!(write(shared, name.container_name(), row));
        loop {
            // The late replicas mostly answer while the row is written; they
            // are heard here and need no task of their own.
            tokio::select! {
                biased;
                Some(heard) = hear(&mut late) => stored.extend(heard),
                written = &mut writing => break written,
            }
        }
    };
    if timeout(shared.settings.row_wait, written).await != Ok(true) {
        return;
    }
    for peer in &stored {
        settle(shared, peer, note.clone());
    }
    if let Some(late) = late {
        let shared = Arc::clone(shared);
        late.finish(move |peer| settle(&shared, peer, note.clone()));
    }
}

/// The next late replica, as [`Rest::hear`].
async fn hear<T: Send + 'static>(late: &mut Option<Rest<T>>) -> Option<Option<Arc<Peer>>> {
    match late {
        Some(late) => late.hear().await,
        None => None,
    }
}
