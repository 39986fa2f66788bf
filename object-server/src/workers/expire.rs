//! `expire`: deletes objects whose time has come.
//!
//! Readers do not see them any more, unless they ask for expired ones too, for
//! whose sake deletion may be put off; this frees their space and takes them out
//! of the listing (the deletion owes its row like any other). Every replica
//! deletes its own copy, at the version right behind what expired, so that all
//! write the same deletion and none overtakes a later change. The other
//! replicas are asked first: this one may have missed a POST that put the
//! expiry off.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use virga_node::clock::Version;
use virga_object_store::owed::Expired;
use virga_object_wire::error::NodeError;
use virga_object_wire::object::{At, Found};

use super::{Duty, LOOK_AGAIN, PATIENCE, Round, Workers};
use crate::local::OpenDevice;
use crate::rings::{primaries, quorum};

/// Objects looked at in one round.
const OBJECTS: usize = 200;
/// Objects asked about at the same time.
const AT_ONCE: usize = 8;

pub(super) struct Expire(pub(super) Arc<Workers>);

#[async_trait]
impl Duty for Expire {
    fn name(&self) -> &'static str {
        "expire"
    }

    fn rest(&self, _device: &OpenDevice) -> Duration {
        let usual = Duration::from_millis(self.0.settings.expire_ms);
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
        if device.absence.is_any() {
            // What it holds may be long gone.
            return Ok(Round::default());
        }
        let secs = self.0.settings.delay_reaping_ms / 1000;
        let expired = device.objects.expired(OBJECTS, secs).await?;
        let full = expired.len() == OBJECTS;
        let results: Vec<_> = stream::iter(expired)
            .map(|expired| self.delete(device, expired))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut round = Round::default();
        for result in results {
            match result {
                Ok(()) => round.done += 1,
                Err(error) => {
                    round.left += 1;
                    round.error = Some(error);
                }
            }
        }
        round.more = full && round.done > 0;
        Ok(round)
    }
}

impl Expire {
    async fn delete(&self, device: &OpenDevice, expired: Expired) -> Result<(), String> {
        if self.put_off(device, &expired).await? {
            return Err("a replica knows of a later expiry".to_owned());
        }
        let version = Version(expired.stat.meta_version.0.saturating_add(1));
        match device.objects.delete(&expired.at, version, &expired.path).await {
            // a newer change has come meanwhile: it decides
            Ok(_) | Err(NodeError::Newer(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether another replica shows the object as it is after a later change.
    async fn put_off(&self, device: &OpenDevice, expired: &Expired) -> Result<bool, String> {
        let At { policy, hash, .. } = expired.at;
        let places = match self.0.rings.object(policy) {
            Some(ring) => primaries(ring, policy, hash),
            None => return Err(format!("no ring for storage policy {policy}")),
        };
        if !places.iter().any(|(place, _)| *place.device == *device.name) {
            // A handoff's copy: the primaries decide, and it is pushed to them.
            return Ok(false);
        }
        let asked = join_all(places.iter().map(|(place, at)| {
            let node = self.0.nodes.node(place);
            async move { tokio::time::timeout(PATIENCE, node.head(at)).await.ok()?.ok() }
        }))
        .await;
        let answers: Vec<Found> = asked.into_iter().flatten().collect();
        if answers.len() < quorum(places.len()) {
            return Err("too few replicas answer".to_owned());
        }
        let later = |found: &Found| matches!(found, Found::Object(stat) if stat.meta_version > expired.stat.meta_version);
        Ok(answers.iter().any(later))
    }
}
