//! Tells object nodes which container rows they owe no longer, in batches.
//!
//! A node that stores an object notes that it owes the container a row; once
//! the container has it, the note can go. Losing one here costs a repeated,
//! idempotent row later, so nothing waits for this and the queue may overflow.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use virga_object_wire::object::Settled;

use super::peer::Peer;
use super::place::node_of;
use super::shared::Shared;

/// How long notes are gathered: long enough to make batches under load, short
/// against the time after which a node pays by itself.
const GATHER: Duration = Duration::from_millis(20);
/// Most notes waiting for one device; beyond that they are dropped.
const MOST: usize = 16 * 1024;

#[derive(Default)]
pub(super) struct Settler {
    queues: Mutex<HashMap<usize, Vec<Settled>>>,
}

impl Settler {
    fn take(&self, key: usize) -> Vec<Settled> {
        self.queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&key)
            .unwrap_or_default()
    }

    /// Queues a note; returns whether it is the first of a batch.
    fn push(&self, key: usize, row: Settled) -> bool {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(key).or_default();
        if queue.len() < MOST {
            queue.push(row);
        }
        queue.len() == 1
    }
}

/// Notes that `peer` owes the row no longer.
pub(super) fn settle(shared: &Arc<Shared>, peer: &Arc<Peer>, row: Settled) {
    let key = Arc::as_ptr(peer) as usize;
    if !shared.settler.push(key, row) {
        return;
    }
    let (shared, peer) = (Arc::clone(shared), Arc::clone(peer));
    shared.tasks.clone().spawn(async move {
        let stopping = shared.tasks.stopping();
        tokio::select! {
            biased;
            () = tokio::time::sleep(GATHER) => {}
            () = stopping.cancelled() => {}
        }
        let rows = shared.settler.take(key);
        let node = node_of(&*shared.nodes, &peer);
        if let Err(error) = node.settle(&peer.name, rows).await {
            tracing::debug!(device = %peer.name, %error, "could not settle rows; the node will pay them itself");
        }
    });
}
