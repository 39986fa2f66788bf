//! What happens when a node refuses a request as placed by a ring that has been
//! given up: this proxy missed a ring change. It takes the newer ring, from its
//! own file or from a node that has it, and the request is placed anew, once.
//!
//! Called by whoever asks replicas ([`super::fanout`], [`super::gather`],
//! [`super::get`], [`super::upload`]) when there was no quorum; when there was
//! one all the same, the ring is renewed in the background.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use virga_object_wire::error::NodeError;
use virga_object_wire::exchange::RingExchange;
use virga_ring::Device;

use super::place::Place;
use super::shared::Shared;

/// Gets newer rings.
pub(super) struct Renewal {
    exchange: RingExchange,
    /// Whether one is being got in the background.
    under_way: AtomicBool,
}

impl Renewal {
    pub(super) fn new(exchange: RingExchange) -> Self {
        Self {
            exchange,
            under_way: AtomicBool::new(false),
        }
    }
}

/// Keeps the last failure heard; that a ring has been given up says more than
/// any later one.
pub(super) fn remember(last: &mut Option<NodeError>, error: NodeError) {
    if !matches!(last, Some(NodeError::RingGivenUp { .. })) {
        *last = Some(error);
    }
}

fn devices(place: &Place) -> Vec<Device> {
    let members = place.members().iter();
    members.map(|peer| peer.device().clone()).collect()
}

impl Shared {
    /// The same name by a newer ring, if `last` says that there is one and it
    /// can be had.
    pub(super) async fn renewed(&self, place: &Place, last: Option<&NodeError>) -> Option<Place> {
        let Some(NodeError::RingGivenUp { ring, version }) = last else {
            return None;
        };
        let placement = self.placement(place.ring)?;
        match self
            .renewal
            .exchange
            .catch_up(*ring, *version, &devices(place))
            .await
        {
            Ok(()) => Some(placement.place(&self.health, place.hash)),
            Err(error) => {
                tracing::warn!(%error, "requests go by a ring that nodes have given up");
                None
            }
        }
    }

    /// Gets the newer ring in the background if `last` says that there is one.
    pub(super) fn renew_later(self: &Arc<Self>, place: &Place, last: Option<&NodeError>) {
        let Some(NodeError::RingGivenUp { ring, version }) = last else {
            return;
        };
        if self.renewal.under_way.swap(true, Ordering::AcqRel) {
            return;
        }
        let (shared, ring, version, from) = (Arc::clone(self), *ring, *version, devices(place));
        self.tasks.spawn(async move {
            if let Err(error) = shared.renewal.exchange.catch_up(ring, version, &from).await {
                tracing::warn!(%error, "requests go by a ring that nodes have given up");
            }
            shared.renewal.under_way.store(false, Ordering::Release);
        });
    }
}
