//! Brings a replica what it missed, from one that has it, under its own
//! version: when a write cannot go on without, and in passing when a read has
//! seen that one is behind ([`Healing`]). Later metadata updates (POST) and large
//! objects are left to the nodes, which find every difference by themselves: only
//! they can tell an object's own metadata from what was posted later. They are told
//! that there is one, so that they need not wait for their next round.
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use virga_node::clock::Version;
use virga_object_wire::admin::AdminRequest;
use virga_object_wire::checked::EXTENT;
use virga_object_wire::error::NodeError;
use virga_object_wire::movement::Push;
use virga_object_wire::node::{ObjectNode, ObjectRead, Read};
use virga_object_wire::object::{At, Found, ObjectStat, PutObject, Source};
use virga_ring::NameHash;

use super::found::{DataId, data_of};
use super::names::ObjectName;
use super::peer::Peer;
use super::place::{Place, node_of};
use super::shared::Shared;

/// Replicas brought up at the same time because reads saw that they are behind.
const SIDE_BY_SIDE: usize = 16;

/// A node is told this long after a read: what was just written is still on its
/// way, and nodes leave it alone until then.
const TOLD_AFTER: Duration = Duration::from_secs(3);
/// A device is told to look at most this often.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Takes "there is something as new here" for done.
fn or_newer<T>(result: Result<T, NodeError>) -> Result<(), NodeError> {
    match result {
        Ok(_) | Err(NodeError::Newer(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A replica that has the data, read from its start.
async fn read(
    shared: &Shared,
    place: &Place,
    data: DataId,
    from: &[Arc<Peer>],
) -> Result<ObjectRead, NodeError> {
    let mut last = NodeError::NotFound;
    for peer in from {
        let (node, at) = (node_of(&*shared.nodes, peer), place.at(peer));
        let asked = timeout(shared.settings.node_timeout, node.get(&at, None)).await;
        match asked {
            Ok(Ok(Read::Object(read))) if data_of(&read.stat) == data => return Ok(read),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => last = error,
            Err(_) => {
                peer.silent(Instant::now());
                last = NodeError::Unreachable("no answer in time".into());
            }
        }
    }
    Err(last)
}

/// Sends an object's data as it is.
async fn send(shared: &Shared, node: &dyn ObjectNode, at: &At, read: ObjectRead) -> Result<(), NodeError> {
    let ObjectRead { stat, mut body, .. } = read;
    let put = PutObject {
        version: stat.version,
        size: stat.size,
        blake3: stat.blake3,
        meta: stat.meta,
        handoff_for: None,
        // Whoever has it still owes the row, if anybody does.
        source: Source::Replica { row_owed: false },
    };
    let patience = shared.settings.node_timeout;
    let late = |_| NodeError::Unreachable("no answer in time".into());
    let first = timeout(patience, body.next()).await.map_err(late)?;
    let first = first.transpose()?.unwrap_or_default();
    if first.len() as u64 == put.size && first.len() <= EXTENT {
        return timeout(patience, node.put(at, put, first)).await.map_err(late)?;
    }
    let mut stream = timeout(patience, node.begin_put(at)).await.map_err(late)??;
    let mut piece = Some(first);
    while let Some(next) = piece {
        timeout(patience, stream.send(next)).await.map_err(late)??;
        let next = timeout(patience, body.next()).await.map_err(late)?;
        piece = next.transpose()?;
    }
    timeout(patience, stream.commit(put)).await.map_err(late)?
}

/// Brings the data of an object to `to` from one of `from`.
///
/// # Errors
/// What the last replica asked said.
pub(super) async fn bring(
    shared: &Shared,
    place: &Place,
    stat: &ObjectStat,
    from: &[Arc<Peer>],
    to: &Arc<Peer>,
) -> Result<(), NodeError> {
    let (node, at) = (node_of(&*shared.nodes, to), place.at(to));
    let read = read(shared, place, data_of(stat), from).await?;
    let sent = or_newer(send(shared, &*node, &at, read).await);
    to.note(&sent, Instant::now());
    sent
}

/// By address and name: when a device was told something.
type Told = HashMap<(String, u16, Arc<str>), Instant>;

/// Replicas being brought up because a read saw that they are behind.
pub(super) struct Healing {
    room: Arc<Semaphore>,
    under_way: Mutex<HashSet<(NameHash, Arc<str>, Version)>>,
    /// When devices were told last that they have something that others lack.
    told: Mutex<Told>,
}

impl Default for Healing {
    fn default() -> Self {
        Self {
            room: Arc::new(Semaphore::new(SIDE_BY_SIDE)),
            under_way: Mutex::default(),
            told: Mutex::default(),
        }
    }
}

impl Healing {
    /// Whether a device is to be told now; then it is not again for a while.
    fn may_tell(&self, peer: &Peer, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of rings long gone are forgotten with the rest.
        told.retain(|_, at| now.duration_since(*at) < TOLD_EVERY);
        let device = peer.device();
        let key = (device.ip.clone(), device.port, Arc::clone(&peer.name));
        match told.entry(key) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(now);
                true
            }
        }
    }
}

/// Has those who have something that others lack compare themselves with them soon.
fn tell(shared: &Arc<Shared>, from: &[Arc<Peer>]) {
    for peer in from {
        if !shared.healing.may_tell(peer, Instant::now()) {
            continue;
        }
        let (node, name) = (node_of(&*shared.nodes, peer), Arc::clone(&peer.name));
        let patience = shared.settings.node_timeout;
        shared.tasks.clone().spawn(async move {
            tokio::time::sleep(TOLD_AFTER).await;
            // Its next round finds the difference all the same.
            let _ = timeout(patience, node.admin(&name, AdminRequest::Reconcile)).await;
        });
    }
}

/// Brings `behind` what a read found to be the newest, without anybody waiting
/// for it: the next read need not look further. Only small objects and
/// deletions; and only as many as there is room for, as the nodes find every
/// difference themselves. Not what has been posted to: a head has the posted
/// metadata in it, which is not to become the data's own elsewhere.
pub(super) fn in_passing(
    shared: &Arc<Shared>,
    name: &ObjectName,
    place: &Place,
    newest: &Found,
    from: &[Arc<Peer>],
    behind: Vec<Arc<Peer>>,
) {
    let left_to_nodes = matches!(
        newest,
        Found::Object(stat) if stat.size > EXTENT as u64 || stat.meta_version > stat.version
    );
    if behind.is_empty() || tokio::runtime::Handle::try_current().is_err() {
        return;
    }
    if left_to_nodes {
        return tell(shared, from);
    }
    for peer in behind {
        let Ok(permit) = Arc::clone(&shared.healing.room).try_acquire_owned() else {
            return;
        };
        let key = (place.hash, Arc::clone(&peer.name), newest.version());
        let under_way = || {
            shared
                .healing
                .under_way
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if !under_way().insert(key.clone()) {
            continue;
        }
        let path: Arc<str> = name.path().into();
        let (shared, place, newest, from) =
            (Arc::clone(shared), place.clone(), newest.clone(), from.to_vec());
        let tasks = shared.tasks.clone();
        tasks.spawn(async move {
            let healed = match &newest {
                Found::Object(stat) => bring(&shared, &place, stat, &from, &peer).await,
                Found::Deleted(version) => {
                    let (node, at) = (node_of(&*shared.nodes, &peer), place.at(&peer));
                    let push = Push::Deletion {
                        version: *version,
                        path: path.to_string(),
                        row_owed: false,
                    };
                    or_newer(node.push(&at, push).await)
                }
                Found::Absent => Ok(()),
            };
            if let Err(error) = healed {
                tracing::debug!(device = %peer.name, %error, "a replica that is behind could not be brought up");
            }
            let mut under_way = shared.healing.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            under_way.remove(&key);
            drop(permit);
        });
    }
}
