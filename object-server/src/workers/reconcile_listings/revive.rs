//! Containers that were deleted by someone who did not know of their live rows.
//!
//! A container is deleted when it is empty. If the row of an acknowledged
//! object comes later (its PUT raced the deletion, or the row was owed), the
//! object would be there and nobody could list it. Once all primaries know the
//! same, and that includes live rows, nobody can know of a deletion of those
//! rows: the container is made again, right behind its deletion. Every primary
//! may do it; they all write the same.
//!
//! That a row is live is asked of the same moment as what the others are compared
//! with: between finding such containers and looking at one, its rows may have
//! been heard to be deleted too, and then all know the same of a container that is
//! rightly gone.
use std::sync::Arc;

use virga_node::clock::Version;
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::{ListingKind, ListingState, PutContainer};
use virga_object_wire::object::At;
use virga_ring::NameHash;

use super::Looking;

/// Containers looked at together.
const PAGE: usize = 100;

impl Looking<'_> {
    /// Makes hidden containers again where that is certain. The number of them.
    pub(super) async fn revive(&self) -> Result<u64, NodeError> {
        let mut revived = 0;
        let mut after = None;
        if self.duty.kind != ListingKind::Container {
            return Ok(0);
        }
        loop {
            let page = self.device.listings.hidden(after, PAGE).await;
            let page = page.map_err(NodeError::from)?;
            for hash in &page {
                revived += u64::from(self.revive_one(*hash).await?);
            }
            match page.last().filter(|_| page.len() == PAGE) {
                Some(last) => after = Some(*last),
                None => return Ok(revived),
            }
        }
    }

    async fn revive_one(&self, hash: NameHash) -> Result<bool, NodeError> {
        let partition = self.ring.partition(&hash);
        let place = |device: &str| At {
            device: Arc::from(device),
            policy: 0,
            partition,
            hash,
            ring: self.id.epoch(),
        };
        let here = place(&self.device.name);
        let (listings, kind) = (&self.device.listings, self.duty.kind);
        let ours = listings.hidden_state(&here).await.map_err(NodeError::from)?;
        let Some(ours) = ours else { return Ok(false) };
        let mut own = false;
        let mut others = Vec::new();
        for (_, device) in self.ring.primaries(partition) {
            if Some(device.id) == self.own {
                own = true;
                continue;
            }
            let (node, at) = (self.duty.all.nodes.node(device), place(&device.device));
            match self.patient(node.listing_state(kind, &at)).await {
                Ok(Some(theirs)) if theirs == ours => others.push((node, at)),
                // Whoever is away or knows something else may know better.
                _ => return Ok(false),
            }
        }
        let ListingState {
            account,
            container,
            life,
            ..
        } = ours;
        if !own || account.is_empty() || container.is_empty() {
            return Ok(false);
        }
        let put = PutContainer {
            account,
            container,
            version: Version(life.deleted.0.saturating_add(1)),
            deleted: life.deleted,
            policy: life.put_policy,
            meta: Vec::new(),
        };
        for (node, at) in others {
            // Who misses it is told by the next comparison.
            let _ = self.patient(node.put_container(&at, put.clone())).await;
        }
        match listings.put_container(&here, put).await.map_err(NodeError::from) {
            Ok(created) => Ok(created.created),
            // Deleted again meanwhile.
            Err(NodeError::Newer(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
