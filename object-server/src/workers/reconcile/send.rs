//! Sends one name to another device: the records it lacks, verbatim, under
//! their own versions.
//!
//! Bytes leave this device verified, travel with the checksums they are stored
//! with, and are verified again, with the hash of the whole, where they arrive.
use std::time::Duration;

use futures_util::StreamExt;
use virga_object_store::keys::NameKey;
use virga_object_wire::checked::EXTENT;
use virga_object_wire::error::NodeError;
use virga_object_wire::movement::{NameState, Push};
use virga_object_wire::node::Body;
use virga_object_wire::object::{At, PutObject};

use super::OneRing;
use super::judge::Lack;
use super::peers::Peer;

/// Longest wait for one call, or for one piece of a large object to be taken.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait until a large object is durable.
const COMMIT: Duration = Duration::from_secs(120);

/// Why a name could not be sent.
pub(super) enum SendError {
    /// It cannot be read here.
    Here(NodeError),
    /// The other device did not take it.
    There(NodeError),
}

/// Sends what `lack` says of a name that is known here as `state`. Gives the bytes
/// of the object sent; `None` if the name has changed meanwhile.
pub(super) async fn name(
    one: &OneRing<'_>,
    peer: &Peer,
    at: &At,
    state: &NameState,
    lack: Lack,
) -> Result<Option<u64>, SendError> {
    let objects = &one.device.objects;
    let key = NameKey::of(at);
    let copy = objects.copy_for_replica(&key, state, lack.data, lack.post);
    let copy = match copy.await {
        Ok(Some(copy)) => copy,
        // Set aside just now: it is not what it was any more.
        Ok(None) | Err(NodeError::Damaged) => return Ok(None),
        Err(error) => return Err(SendError::Here(error)),
    };
    let mut bytes = 0;
    if let Some((put, body)) = copy.object {
        bytes = put.size;
        object(one, peer, at, put, body).await?;
    }
    for small in copy.deletion.into_iter().chain(copy.post) {
        record(peer, at, small).await?;
    }
    Ok(Some(bytes))
}

async fn record(peer: &Peer, at: &At, push: Push) -> Result<(), SendError> {
    peer.in_time(PATIENCE, peer.node.push(at, push))
        .await
        .map_err(SendError::There)
}

async fn object(
    one: &OneRing<'_>,
    peer: &Peer,
    at: &At,
    put: PutObject,
    mut body: Body,
) -> Result<(), SendError> {
    let (pace, from) = (&one.duty.all.pace, one.device);
    let first = body.next().await.transpose().map_err(SendError::Here)?;
    let first = first.unwrap_or_default();
    pace.admit(from, first.len()).await;
    if first.len() as u64 == put.size && first.len() <= EXTENT {
        return peer
            .in_time(PATIENCE, peer.node.put(at, put, first))
            .await
            .map_err(SendError::There);
    }
    let stream = peer.in_time(PATIENCE, peer.node.begin_put(at)).await;
    let mut stream = stream.map_err(SendError::There)?;
    let mut piece = Some(first);
    while let Some(bytes) = piece {
        peer.in_time(PATIENCE, stream.send(bytes))
            .await
            .map_err(SendError::There)?;
        piece = body.next().await.transpose().map_err(SendError::Here)?;
        pace.admit(from, piece.as_ref().map_or(0, |piece| piece.len()))
            .await;
    }
    peer.in_time(COMMIT, stream.commit(put))
        .await
        .map_err(SendError::There)
}
