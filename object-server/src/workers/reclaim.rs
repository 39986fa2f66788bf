//! `reclaim`: forgets rows, containers and accounts deleted long ago.
//!
//! Deletions of objects are dropped by the engine's own compaction.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use virga_object_wire::error::NodeError;

use super::{Duty, LOOK_AGAIN, Round, Workers};
use crate::local::OpenDevice;

/// Deletions forgotten in one round.
const ROWS: usize = 1000;

pub(super) struct Reclaim(pub(super) Arc<Workers>);

#[async_trait]
impl Duty for Reclaim {
    fn name(&self) -> &'static str {
        "reclaim"
    }

    fn rest(&self, _device: &OpenDevice) -> Duration {
        let usual = Duration::from_millis(self.0.settings.reclaim_ms);
        if self.0.clock_is_unsure() {
            usual.min(LOOK_AGAIN)
        } else {
            usual
        }
    }

    async fn round(&self, device: &OpenDevice) -> Result<Round, NodeError> {
        if let Some(error) = self.0.clock_trouble() {
            return Ok(Round {
                error: Some(error),
                ..Round::default()
            });
        }
        if self.0.clock_is_unsure() {
            return Ok(Round::default());
        }
        let more = device.listings.reclaim(ROWS).await?;
        Ok(Round {
            more,
            ..Round::default()
        })
    }
}
