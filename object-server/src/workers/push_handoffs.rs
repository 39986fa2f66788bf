//! `push handoffs`: brings records to the device they were kept for.
//!
//! While a primary is away, another device takes its writes and notes whom they
//! are for. Once the primary is back it gets them; a copy it has already, or a
//! newer one, is as good.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use virga_object_store::owed::OwedPush;
use virga_object_wire::checked::EXTENT;
use virga_object_wire::error::NodeError;
use virga_object_wire::node::{Body, ObjectNode, Read};
use virga_object_wire::object::{At, ObjectStat, PostMeta, PutObject};
use virga_ring::{Device, DeviceId};

use super::{Duty, Round, Workers};
use crate::local::OpenDevice;

/// Records pushed in one round.
const RECORDS: usize = 100;
/// Longest wait for one record to arrive.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) struct PushHandoffs(pub(super) Arc<Workers>);

#[async_trait]
impl Duty for PushHandoffs {
    fn name(&self) -> &'static str {
        "push handoffs"
    }

    fn rest(&self) -> Duration {
        Duration::from_millis(self.0.settings.push_handoffs_ms)
    }

    async fn round(&self, device: &OpenDevice) -> Result<Round, NodeError> {
        let pushes = device.objects.owed_pushes(RECORDS)?;
        let full = pushes.len() == RECORDS;
        let mut round = Round::default();
        let mut arrived = Vec::new();
        for push in pushes {
            let pushed = tokio::time::timeout(PATIENCE, self.push(device, &push)).await;
            match pushed.unwrap_or_else(|_| Err(NodeError::Unreachable("no answer in time".into()))) {
                Ok(()) => arrived.push(push),
                Err(error) => {
                    round.left += 1;
                    let away = matches!(error, NodeError::Unreachable(_) | NodeError::NoDevice(_));
                    round.error = Some(error.to_string());
                    if away {
                        break;
                    }
                }
            }
        }
        round.done = arrived.len() as u64;
        device.objects.pushed(&arrived)?;
        round.more = full && round.left == 0;
        Ok(round)
    }
}

impl PushHandoffs {
    /// The device a push is for, by the ring that knows the number for this
    /// partition; `None` if it has left the rings.
    fn target(&self, push: &OwedPush) -> Option<Device> {
        let rings = self.0.rings.object.iter().map(|(_, ring)| ring.current());
        rings
            .filter(|ring| ring.partition(&push.at.hash) == push.at.partition)
            .find_map(|ring| ring.device(DeviceId(push.device)).cloned())
    }

    async fn push(&self, device: &OpenDevice, push: &OwedPush) -> Result<(), NodeError> {
        // Gone from the rings, or from here: nothing to bring. (A record that
        // was replaced here owes a push of its own.)
        let Some(target) = self.target(push) else {
            return Ok(());
        };
        let Read::Object(read) = device.objects.get(&push.at, None).await? else {
            return Ok(());
        };
        let node = self.0.nodes.node(&target);
        let at = At {
            device: Arc::from(target.device.as_str()),
            ..push.at.clone()
        };
        match send(&*node, &at, read.stat, read.body).await {
            Ok(()) | Err(NodeError::Newer(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Sends an object under its own versions: the data, then a later POST if one
/// changed its metadata.
async fn send(node: &dyn ObjectNode, at: &At, stat: ObjectStat, body: Body) -> Result<(), NodeError> {
    let post = (stat.meta_version > stat.version).then(|| {
        let meta = PostMeta {
            content_type: Some(stat.meta.content_type.clone()),
            delete_at: stat.meta.delete_at,
            headers: stat.meta.headers.clone(),
        };
        (stat.meta_version, meta)
    });
    send_data(node, at, stat, body).await?;
    if let Some((version, meta)) = post {
        node.post(at, version, meta).await?;
    }
    Ok(())
}

async fn send_data(
    node: &dyn ObjectNode,
    at: &At,
    stat: ObjectStat,
    mut body: Body,
) -> Result<(), NodeError> {
    let ObjectStat {
        version,
        size,
        blake3,
        meta,
        ..
    } = stat;
    let put = PutObject {
        version,
        size,
        blake3,
        meta,
        handoff_for: None,
    };
    let first = body.next().await.transpose()?.unwrap_or_default();
    if first.len() as u64 == size && first.len() <= EXTENT {
        return node.put(at, put, first).await;
    }
    let mut stream = node.begin_put(at).await?;
    stream.send(first).await?;
    while let Some(piece) = body.next().await {
        stream.send(piece?).await?;
    }
    stream.commit(put).await
}
