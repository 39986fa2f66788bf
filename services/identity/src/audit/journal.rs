//! Writes sign-ins to the change feed, many in one transaction.
//!
//! A sign-in changes no record, so nothing of it would be written but this. One
//! flush to the disk for each would bound how many there can be; so they queue
//! for one task, which writes all that wait at once. Who signs in hears of it
//! only after that: a token whose sign-in is not in the feed is given to nobody.
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use virga_node::task::Tasks;
use virga_state::{Change, State, StateError, transact};

/// Sign-ins that wait at most; more wait to be queued.
const QUEUE: usize = 1024;
/// Sign-ins in one transaction at most.
const BATCH: usize = 256;

/// A sign-in, as the feed keeps it.
#[derive(Clone, Debug)]
pub(crate) struct SignIn {
    /// Id of the user, if there is one.
    pub(crate) user_id: Option<String>,
    /// "succeeded", "failed" or "asked for more".
    pub(crate) action: &'static str,
    /// See [`Change::detail`].
    pub(crate) detail: String,
}

struct Waiting {
    entry: SignIn,
    written: oneshot::Sender<Result<(), Arc<StateError>>>,
}

/// Why a sign-in could not be written.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// The records failed.
    #[error("a sign-in cannot be written to the change feed: {0}")]
    State(Arc<StateError>),
    /// The task has ended.
    #[error("the change feed takes no sign-ins any more")]
    Closed,
}

/// Takes sign-ins; a cheap handle. The task ends with the last one.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    queue: mpsc::Sender<Waiting>,
}

impl Journal {
    /// Starts the task. Must be called in a runtime.
    pub(crate) fn start(state: State) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        // Nobody has to stop it: it ends when the service does, and whoever
        // waits for an answer waits for it.
        Tasks::new().spawn(write(state, waiting));
        Self { queue }
    }

    /// Writes a sign-in; returns when it is on the disk.
    pub(crate) async fn write(&self, entry: SignIn) -> Result<(), JournalError> {
        let (written, answer) = oneshot::channel();
        let waiting = Waiting { entry, written };
        self.queue.send(waiting).await.map_err(|_| JournalError::Closed)?;
        match answer.await {
            Ok(outcome) => outcome.map_err(JournalError::State),
            Err(_) => Err(JournalError::Closed),
        }
    }
}

async fn write(state: State, mut queue: mpsc::Receiver<Waiting>) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let entries: Vec<SignIn> = batch.iter().map(|w: &Waiting| w.entry.clone()).collect();
        let outcome = transact!(state, |tx| -> Result<(), StateError> {
            for entry in &entries {
                tx.record(Change {
                    service: "identity",
                    kind: "sign-in",
                    id: entry.user_id.as_deref().unwrap_or_default(),
                    action: entry.action,
                    actor: entry.user_id.as_deref(),
                    detail: &entry.detail,
                })
                .await?;
            }
            Ok(())
        });
        let outcome = outcome.map_err(Arc::new);
        for waiting in batch.drain(..) {
            // Who no longer waits has gone away, which is no trouble here.
            let _ = waiting.written.send(outcome.clone());
        }
    }
}
