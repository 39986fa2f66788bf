//! The standing duties of an object server.
//!
//! Each worker looks at one device at a time, does a bounded amount, shows what
//! it did ([`Progress`]) and rests; after failures it rests longer. Everything
//! they do may be done twice, by replicas or after a crash, without harm.
mod exchange;
mod expire;
pub(crate) mod pace;
mod reclaim;
mod reconcile;
mod reconcile_listings;
mod report_containers;
mod rest;
mod update_listings;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use virga_node::clock::{Clock, Micros};
use virga_node::task::Tasks;
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::ListingKind;
use virga_object_wire::node::{Nodes, ObjectNode};
use virga_object_wire::object::At;
use virga_ring::Device;

use self::pace::Pace;
use crate::config::WorkerSettings;
use crate::local::{LocalNode, OpenDevice};
use crate::rings::{Rings, quorum};

/// Longest rest after failures in a row.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// Rest of a duty that waits for the clock to be compared.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The same, in rests as they are when all is well.
const TIMES_USUAL: u32 = 12;
/// Longest wait for one node that a worker calls.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one look at a device came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// Things done.
    pub(crate) done: u64,
    /// Things that could not be done and are tried again later.
    pub(crate) left: u64,
    /// Whether there is more to do at once.
    pub(crate) more: bool,
    /// Why something was left, if anything.
    pub(crate) error: Option<String>,
}

/// A duty.
#[async_trait]
pub(crate) trait Duty: Send + Sync + 'static {
    /// Name in logs and in [`Progress`].
    fn name(&self) -> &'static str;
    /// Rest between rounds of a device.
    fn rest(&self, device: &OpenDevice) -> Duration;
    /// Ends a rest early, when something has happened.
    async fn wake(&self, _device: &OpenDevice) {
        std::future::pending().await
    }
    /// Looks at one device.
    async fn round(&self, device: &OpenDevice) -> Result<Round, NodeError>;
}

/// What a worker has done on one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Name of the worker.
    pub worker: String,
    /// Device it works for.
    pub device: String,
    /// Looks since the start.
    pub rounds: u64,
    /// Things done since the start.
    pub done: u64,
    /// Things that were left for later in the last look.
    pub left: u64,
    /// Why, or why the last look failed.
    pub last_error: Option<String>,
    /// When it last looked.
    pub last_round: Micros,
}

/// By name of the worker and of the device.
type ByWorker = BTreeMap<(&'static str, Arc<str>), WorkerStatus>;

/// What all workers show. Clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<ByWorker>>);

impl Progress {
    /// Every worker on every device, by name.
    pub fn snapshot(&self) -> Vec<WorkerStatus> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    fn note(&self, worker: &'static str, device: &Arc<str>, at: Micros, result: &Result<Round, NodeError>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let status = all
            .entry((worker, Arc::clone(device)))
            .or_insert_with(|| WorkerStatus {
                worker: worker.to_owned(),
                device: device.to_string(),
                ..WorkerStatus::default()
            });
        status.rounds += 1;
        status.last_round = at;
        match result {
            Ok(round) => {
                status.done += round.done;
                status.left = round.left;
                status.last_error.clone_from(&round.error);
            }
            Err(error) => status.last_error = Some(error.to_string()),
        }
    }
}

/// What the workers work with.
#[derive(Clone)]
pub(crate) struct Workers {
    pub(crate) node: Arc<LocalNode>,
    pub(crate) nodes: Arc<dyn Nodes>,
    pub(crate) rings: Rings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: WorkerSettings,
    pub(crate) progress: Progress,
    /// What may be moved from each device, by all duties together.
    pub(crate) pace: Arc<Pace>,
}

impl Workers {
    /// Starts one task for each duty on each device.
    pub(crate) fn start(self, tasks: &Tasks) {
        let all = Arc::new(self);
        let (node, nodes, stopping) = (Arc::clone(&all.node), Arc::clone(&all.nodes), tasks.stopping());
        tasks.supervise("ring exchange", move || {
            let (node, nodes, stopping) = (Arc::clone(&node), Arc::clone(&nodes), stopping.clone());
            async move {
                tokio::select! {
                    biased;
                    () = exchange::keep(node, nodes) => {}
                    () = stopping.cancelled() => {}
                }
            }
        });
        let duties: [Arc<dyn Duty>; 7] = [
            Arc::new(update_listings::UpdateListings(Arc::clone(&all))),
            Arc::new(report_containers::ReportContainers::new(Arc::clone(&all))),
            Arc::new(expire::Expire(Arc::clone(&all))),
            Arc::new(reclaim::Reclaim(Arc::clone(&all))),
            Arc::new(reconcile::Reconcile::new(Arc::clone(&all))),
            Arc::new(reconcile_listings::ReconcileListings::new(
                Arc::clone(&all),
                ListingKind::Container,
            )),
            Arc::new(reconcile_listings::ReconcileListings::new(
                Arc::clone(&all),
                ListingKind::Account,
            )),
        ];
        for duty in duties {
            for device in all.node.open_devices() {
                let (all, duty, device) = (Arc::clone(&all), Arc::clone(&duty), device.clone());
                let stopping = tasks.stopping();
                tasks.supervise(duty.name(), move || {
                    let (all, duty, device) = (Arc::clone(&all), Arc::clone(&duty), device.clone());
                    let stopping = stopping.clone();
                    async move {
                        tokio::select! {
                            biased;
                            () = all.keep(&*duty, &device) => {}
                            () = stopping.cancelled() => {}
                        }
                    }
                });
            }
        }
    }

    /// What is wrong with this node's clock: until it is set, nothing expires and
    /// no deletion is forgotten.
    pub(crate) fn clock_trouble(&self) -> Option<String> {
        self.node.movements().known()?.clocks.trouble()
    }

    /// Whether it may turn out in a moment that this node's clock is wrong: nothing
    /// expires and no deletion is forgotten before it was compared with another's.
    pub(crate) fn clock_is_unsure(&self) -> bool {
        let known = self.node.movements().known();
        known.is_some_and(|known| !known.clock_was_compared())
    }

    /// Looks at a device again and again.
    async fn keep(&self, duty: &dyn Duty, device: &OpenDevice) {
        let mut failures: u32 = 0;
        loop {
            let result = duty.round(device).await;
            self.progress
                .note(duty.name(), &device.name, self.clock.now(), &result);
            let more = result.as_ref().is_ok_and(|round| round.more);
            let error = match &result {
                Ok(round) => round.error.clone().filter(|_| round.done == 0),
                Err(error) => Some(error.to_string()),
            };
            failures = match error {
                Some(error) => {
                    if failures == 0 {
                        tracing::warn!(
                            worker = duty.name(),
                            device = &*device.name,
                            error,
                            "cannot go on"
                        );
                    }
                    failures.saturating_add(1)
                }
                None => {
                    if failures > 0 {
                        tracing::info!(worker = duty.name(), device = &*device.name, failures, "goes on");
                    }
                    0
                }
            };
            if more {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(rest(duty.rest(device), failures)) => {}
                () = duty.wake(device) => {}
                () = self.node.movements().nudged(&device.name) => {}
            }
        }
    }

    /// Calls every one of `places` at the same time; whether a quorum said yes,
    /// and otherwise why the first did not.
    pub(crate) async fn on_quorum<F, C>(&self, places: &[(Device, At)], call: C) -> Result<(), String>
    where
        C: Fn(Arc<dyn ObjectNode>, At) -> F,
        F: Future<Output = Result<(), NodeError>>,
    {
        let calls = places.iter().map(|(device, at)| {
            let call = call(self.nodes.node(device), at.clone());
            async move {
                let late = || Err(NodeError::Unreachable("no answer in time".into()));
                tokio::time::timeout(PATIENCE, call)
                    .await
                    .unwrap_or_else(|_| late())
            }
        });
        let answers = join_all(calls).await;
        if answers.iter().filter(|answer| answer.is_ok()).count() >= quorum(places.len()) {
            return Ok(());
        }
        let why = answers.into_iter().find_map(Result::err);
        Err(why.map_or_else(|| "no primaries".to_owned(), |error| error.to_string()))
    }
}

/// How long to rest: doubled with every failure in a row. What is usually done
/// often is also tried often: the end of a trouble is noticed that late.
fn rest(usual: Duration, failures: u32) -> Duration {
    let longest = LONGEST_REST.min(usual.saturating_mul(TIMES_USUAL)).max(usual);
    usual.saturating_mul(1 << failures.min(10)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_lengthen_the_rest_up_to_a_bound() {
        let usual = Duration::from_millis(500);
        assert_eq!(rest(usual, 0), usual);
        assert_eq!(rest(usual, 2), 4 * usual);
        assert_eq!(rest(usual, 1000), TIMES_USUAL * usual);
        assert_eq!(rest(LONGEST_REST / 2, 1000), LONGEST_REST);
        assert_eq!(rest(2 * LONGEST_REST, 3), 2 * LONGEST_REST);
    }
}
