//! `report containers`: tells accounts the new totals of their containers.
//!
//! A container that changed a thousand times between two rounds is one row.
//! Every replica of a container reports; the account keeps the newest count.
//! A new device says nothing before its first complete round with the other
//! replicas: until then it lacks rows, and its count would stand for the newest.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use tokio::time::Instant;
use virga_object_store::listing::ContainerChange;
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::ListingKind;

use super::{Duty, Round, Workers};
use crate::local::OpenDevice;
use crate::rings::primaries;

/// Containers looked at in one round.
const CONTAINERS: usize = 500;
/// Accounts written at the same time.
const ACCOUNTS: usize = 8;

/// A new device whose first round does not end, as when another replica is away
/// from the start, reports all the same after this long.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) struct ReportContainers {
    all: Arc<Workers>,
    started: Instant,
}

impl ReportContainers {
    pub(super) fn new(all: Arc<Workers>) -> Self {
        Self {
            all,
            started: Instant::now(),
        }
    }

    /// Whether the device may have all rows of its containers.
    async fn is_in_step(&self, device: &OpenDevice) -> Result<bool, NodeError> {
        if self.started.elapsed() > PATIENCE {
            return Ok(true);
        }
        let round = device.listings.round(ListingKind::Container).await;
        Ok(round.map_err(NodeError::from)?.is_some())
    }
}

#[async_trait]
impl Duty for ReportContainers {
    fn name(&self) -> &'static str {
        "report containers"
    }

    fn rest(&self, _device: &OpenDevice) -> Duration {
        Duration::from_millis(self.all.settings.report_containers_ms)
    }

    async fn round(&self, device: &OpenDevice) -> Result<Round, NodeError> {
        if device.absence.is_any() {
            // What it holds may be long gone.
            return Ok(Round::default());
        }
        if !self.is_in_step(device).await? {
            return Ok(Round::default());
        }
        let changed = device.listings.changed(CONTAINERS).await?;
        let full = changed.len() == CONTAINERS;
        let mut by_account: BTreeMap<String, Vec<ContainerChange>> = BTreeMap::new();
        let mut round = Round::default();
        for change in changed {
            // Rows can come before the PUT that names the container; it is
            // marked again then.
            if change.account.is_empty() {
                round.left += 1;
            } else {
                by_account.entry(change.account.clone()).or_default().push(change);
            }
        }
        let told: Vec<_> = stream::iter(by_account)
            .map(|(account, changes)| async move {
                (changes.len() as u64, self.tell(device, &account, &changes).await)
            })
            .buffer_unordered(ACCOUNTS)
            .collect()
            .await;
        for (containers, result) in told {
            match result {
                Ok(()) => round.done += containers,
                Err(error) => {
                    round.left += containers;
                    round.error = Some(error);
                }
            }
        }
        round.more = full && round.done > 0;
        Ok(round)
    }
}

impl ReportContainers {
    async fn tell(
        &self,
        device: &OpenDevice,
        account: &str,
        changes: &[ContainerChange],
    ) -> Result<(), String> {
        let rings = &self.all.rings;
        let places = primaries(&rings.account, 0, rings.hash.hash(account, None, None));
        let rows: Vec<_> = changes.iter().map(|change| change.row.clone()).collect();
        self.all
            .on_quorum(&places, |node, at| {
                let rows = rows.clone();
                async move { node.put_container_rows(&at, rows).await }
            })
            .await?;
        device
            .listings
            .reported(changes)
            .await
            .map_err(|error| error.to_string())
    }
}
