//! `update listings`: pays the container rows that a device still owes.
//!
//! The proxy writes the row of every object itself and settles it; what it
//! could not is found here once it is a few seconds old, and given to the
//! container's primaries until a quorum has it.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use virga_node::clock::{Micros, Version};
use virga_object_store::owed::OwedRow;
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::split_path;

use super::{Duty, Round, Workers};
use crate::local::OpenDevice;
use crate::rings::primaries;

/// Rows looked at in one round.
const ROWS: usize = 500;
/// Containers written at the same time.
const CONTAINERS: usize = 8;

pub(super) struct UpdateListings(pub(super) Arc<Workers>);

#[async_trait]
impl Duty for UpdateListings {
    fn name(&self) -> &'static str {
        "update listings"
    }

    fn rest(&self, _device: &OpenDevice) -> Duration {
        Duration::from_millis(self.0.settings.update_listings_ms)
    }

    async fn round(&self, device: &OpenDevice) -> Result<Round, NodeError> {
        if device.absence.is_any() {
            // What it holds may be long gone.
            return Ok(Round::default());
        }
        let age = u64::try_from(self.0.settings.owed_age().as_micros()).unwrap_or(u64::MAX);
        let older = Version::at(Micros(self.0.clock.now().0.saturating_sub(age)));
        let owed = device.objects.owed(ROWS, older).await?;
        let full = owed.len() == ROWS;
        let mut by_container: BTreeMap<(String, String), Vec<OwedRow>> = BTreeMap::new();
        for row in owed {
            let Some((account, container, _)) = split_path(&row.path) else {
                continue;
            };
            by_container
                .entry((account.to_owned(), container.to_owned()))
                .or_default()
                .push(row);
        }
        let paid: Vec<_> = stream::iter(by_container)
            .map(|((account, container), rows)| async move {
                let count = rows.len() as u64;
                (count, self.pay(device, &account, &container, rows).await)
            })
            .buffer_unordered(CONTAINERS)
            .collect()
            .await;
        let mut round = Round::default();
        for (rows, result) in paid {
            match result {
                Ok(()) => round.done += rows,
                Err(error) => {
                    round.left += rows;
                    round.error = Some(error);
                }
            }
        }
        round.more = full && round.done > 0;
        Ok(round)
    }
}

impl UpdateListings {
    async fn pay(
        &self,
        device: &OpenDevice,
        account: &str,
        container: &str,
        owed: Vec<OwedRow>,
    ) -> Result<(), String> {
        let rings = &self.0.rings;
        let hash = rings.hash.hash(account, Some(container), None);
        let places = primaries(&rings.container, 0, hash);
        let rows: Vec<_> = owed.iter().map(|owed| owed.row.clone()).collect();
        self.0
            .on_quorum(&places, |node, at| {
                let rows = rows.clone();
                async move { node.put_object_rows(&at, rows).await }
            })
            .await?;
        let settled = owed.into_iter().map(|owed| owed.settled).collect();
        device
            .objects
            .settle(settled)
            .await
            .map_err(|error| error.to_string())
    }
}
