//! Writes sign-ins to the change feed, many in one transaction.
//!
//! A sign-in changes no record, so nothing of it would be written but this. One
//! flush to the disk for each would bound how many there can be; so they queue
//! for one task, which writes all that wait at once. Who signs in hears of it
//! only after that: a token whose sign-in is not in the feed is given to nobody.
//!
//! Attempts that were turned away before anything was looked at are counted, and
//! the count is written now and then: whoever asks too often must not fill the
//! feed by it.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use virga_node::task::Tasks;
use virga_state::{Change, State, StateError, transact};

/// Sign-ins that wait at most; more wait to be queued.
const QUEUE: usize = 1024;
/// Sign-ins in one transaction at most.
const BATCH: usize = 256;
/// Between two counts of those that were turned away.
const TALLY: Duration = Duration::from_secs(60);
/// Addresses that are counted one by one; further ones together.
const ADDRESSES: usize = 64;

/// A sign-in, as the feed keeps it.
#[derive(Clone, Debug)]
pub(crate) struct SignIn {
    /// Id of the user, if there is one.
    pub(crate) user_id: Option<String>,
    /// "succeeded", "failed", "asked for more" or "turned away".
    pub(crate) action: &'static str,
    /// See [`Change::detail`].
    pub(crate) detail: String,
}

/// Why somebody was turned away before anything was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TurnedAway {
    /// Too many failures of the address or the account (429).
    TooMany,
    /// Too many hashes wait already (503).
    Busy,
}

impl TurnedAway {
    fn reason(self) -> &'static str {
        match self {
            Self::TooMany => "too many failed attempts",
            Self::Busy => "too many attempts at once",
        }
    }
}

enum Queued {
    SignIn(Waiting),
    TurnedAway(Option<IpAddr>, TurnedAway),
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
    queue: mpsc::Sender<Queued>,
}

impl Journal {
    /// Starts the task. Must be called in a runtime.
    pub(crate) fn start(state: State) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        // Nobody has to stop it: it ends when the service does, and whoever
        // waits for an answer waits for it.
        Tasks::new().spawn(write(state.aside(), waiting));
        Self { queue }
    }

    /// Writes a sign-in; returns when it is on the disk.
    pub(crate) async fn write(&self, entry: SignIn) -> Result<(), JournalError> {
        let (written, answer) = oneshot::channel();
        let waiting = Queued::SignIn(Waiting { entry, written });
        self.queue.send(waiting).await.map_err(|_| JournalError::Closed)?;
        match answer.await {
            Ok(outcome) => outcome.map_err(JournalError::State),
            Err(_) => Err(JournalError::Closed),
        }
    }

    /// Counts somebody who was turned away. Does not wait: with a full queue
    /// there is more to do than counting.
    pub(crate) fn turned_away(&self, from: Option<IpAddr>, why: TurnedAway) {
        if self.queue.try_send(Queued::TurnedAway(from, why)).is_err() {
            tracing::debug!(?from, ?why, "turned away, and not counted");
        }
    }
}

/// Who was turned away since it was last written.
#[derive(Debug, Default)]
struct Tally {
    counts: BTreeMap<(Option<IpAddr>, TurnedAway), u64>,
    written: Option<Instant>,
}

impl Tally {
    fn add(&mut self, from: Option<IpAddr>, why: TurnedAway) {
        let known = self.counts.contains_key(&(from, why));
        let from = from.filter(|_| known || self.counts.len() < ADDRESSES);
        *self.counts.entry((from, why)).or_default() += 1;
    }

    /// When it is to be written, if there is anything: the first at once.
    fn due(&self) -> Option<Instant> {
        let begun = self.written.map_or_else(Instant::now, |at| at + TALLY);
        (!self.counts.is_empty()).then_some(begun)
    }

    fn take(&mut self) -> Vec<SignIn> {
        self.written = Some(Instant::now());
        let counts = std::mem::take(&mut self.counts).into_iter();
        let shown = counts.map(|((from, why), count)| SignIn {
            user_id: None,
            action: "turned away",
            detail: json!({
                "reason": why.reason(), "count": count,
                "from": {"address": from.map(|ip| ip.to_string())},
            })
            .to_string(),
        });
        shown.collect()
    }
}

/// The next that wait; none when everybody has gone. Ends early when `due`.
async fn next(queue: &mut mpsc::Receiver<Queued>, due: Option<Instant>) -> Option<Vec<Queued>> {
    let mut batch = Vec::with_capacity(BATCH);
    let more = queue.recv_many(&mut batch, BATCH);
    let received = match due {
        Some(due) => match tokio::time::timeout_at(due, more).await {
            Ok(received) => received,
            Err(_) => return Some(batch),
        },
        None => more.await,
    };
    (received > 0).then_some(batch)
}

async fn write(state: State, mut queue: mpsc::Receiver<Queued>) {
    let mut tally = Tally::default();
    while let Some(batch) = next(&mut queue, tally.due()).await {
        let (mut entries, mut waiting) = (Vec::new(), Vec::new());
        for queued in batch {
            match queued {
                Queued::SignIn(one) => {
                    entries.push(one.entry);
                    waiting.push(one.written);
                }
                Queued::TurnedAway(from, why) => tally.add(from, why),
            }
        }
        if tally.due().is_some_and(|due| due <= Instant::now()) {
            entries.extend(tally.take());
        }
        let outcome = append(&state, &entries).await.map_err(Arc::new);
        for waiting in waiting {
            // Who no longer waits has gone away, which is no trouble here.
            let _ = waiting.send(outcome.clone());
        }
    }
    if let Err(error) = append(&state, &tally.take()).await {
        tracing::warn!(%error, "who was turned away last is not in the change feed");
    }
}

async fn append(state: &State, entries: &[SignIn]) -> Result<(), StateError> {
    if entries.is_empty() {
        return Ok(());
    }
    let changes = entries.iter().map(|entry| Change {
        service: "identity",
        kind: "sign-in",
        id: entry.user_id.as_deref().unwrap_or_default(),
        action: entry.action,
        actor: entry.user_id.as_deref(),
        detail: &entry.detail,
    });
    let changes: Vec<Change> = changes.collect();
    transact!(state, |tx| -> Result<(), StateError> {
        tx.record_all(&changes).await
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_counted_one_by_one_up_to_a_bound() {
        let mut tally = Tally::default();
        assert!(tally.due().is_none());
        for n in 0..200_u8 {
            tally.add(Some(IpAddr::from([10, 0, 0, n])), TurnedAway::TooMany);
            tally.add(Some(IpAddr::from([10, 0, 0, 0])), TurnedAway::TooMany);
        }
        assert!(tally.due().is_some_and(|due| due <= Instant::now()));
        let told = tally.take();
        assert_eq!(told.len(), ADDRESSES + 1);
        assert!(told.iter().any(|t| t.detail.contains("\"count\":201")));
        assert!(tally.due().is_none(), "there is nothing left to write");
        tally.add(None, TurnedAway::Busy);
        assert!(tally.due().is_some_and(|due| due > Instant::now()));
    }
}
