//! Brings newer rings to this node and tells other nodes of them, so that a ring
//! that an operator copied to one host is on all of them soon.
//!
//! The node hears of a newer ring by requests that go by it, by nodes that tell
//! it, and when it compares replicas with a node that uses it. It then reads its
//! own file again, and if that is still the old one takes the ring from whoever
//! has it ([`RingExchange`]). Nodes that turn out to use an older one are told.
use std::sync::Arc;
use std::time::Duration;

use virga_object_wire::exchange::RingExchange;
use virga_object_wire::movement::{NewerRing, RingName};
use virga_object_wire::node::{Nodes, ObjectNode};
use virga_ring::Device;

use crate::local::LocalNode;
use crate::movement::Known;

/// Between two attempts at a ring that cannot be had.
const REST: Duration = Duration::from_secs(5);
/// Longest wait for a node that is told something.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes newer rings into use as they are heard of, for ever.
pub(super) async fn keep(node: Arc<LocalNode>, nodes: Arc<dyn Nodes>) {
    let Some(known) = node.movements().known() else {
        return;
    };
    let exchange = RingExchange::new(nodes, known.rings.by_name());
    loop {
        for (ring, version, from) in known.fence.heard().await {
            let result = match &from {
                Some(from) => exchange.follow(from).await,
                None => exchange.catch_up(ring, version, &[]).await,
            };
            if let Err(error) = result {
                tracing::warn!(%ring, version, %error, "others use a newer ring");
                tokio::time::sleep(REST).await;
            }
            known.fence.forget(ring);
        }
    }
}

/// Settles with another node which of both is to get a newer ring; `versions`:
/// this node's and the other's.
pub(super) async fn tell(
    known: &Known,
    device: &Device,
    node: &Arc<dyn ObjectNode>,
    ring: RingName,
    (ours, theirs): (u64, u64),
) {
    if theirs > ours {
        known.fence.hear(NewerRing {
            ring,
            version: theirs,
            ip: device.ip.clone(),
            port: device.port,
        });
    } else if theirs < ours {
        let newer = NewerRing {
            ring,
            version: ours,
            ip: known.ip.clone(),
            port: known.port,
        };
        // It hears of it from others too; the next round tells it again.
        let _ = tokio::time::timeout(PATIENCE, node.hear_of_ring(newer)).await;
    }
}
