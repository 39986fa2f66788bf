//! Brings a replica what it missed, from one that has it, under its own
//! version: when a write cannot go on without ([`bring`]), and when a read has seen
//! that one is behind ([`start`]). The data travels as it was written and metadata
//! updates (POST) by themselves: only so do all replicas end with the same. Large
//! objects that no reader waits for are left to the nodes, which find every
//! difference by themselves; they are told that there is one, so that they need not
//! wait for their next round.
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};
use virga_object_wire::admin::AdminRequest;
use virga_object_wire::checked::EXTENT;
use virga_object_wire::error::NodeError;
use virga_object_wire::movement::{Push, Records};
use virga_object_wire::node::{Body, ObjectNode, Read};
use virga_object_wire::object::{At, Found, ObjectStat, PutObject};
use virga_ring::NameHash;

use super::found::{DataId, StateId, data_of, state_of};
use super::peer::Peer;
use super::place::{Place, node_of};
use super::shared::Shared;

/// Replicas brought up at the same time that nobody waits for.
const IN_PASSING: usize = 16;
/// The same for those that reads wait for, each for at most
/// [`Settings::stall`](super::Settings).
const AWAITED: usize = 64;

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

/// One call of a node, with the longest wait that one is given.
async fn bounded<T>(
    shared: &Shared,
    call: impl Future<Output = Result<T, NodeError>>,
) -> Result<T, NodeError> {
    let late = |_| NodeError::Unreachable("no answer in time".into());
    timeout(shared.settings.node_timeout, call).await.map_err(late)?
}

/// The object as it was written: a head has what was posted later in it, which
/// must not become the data's own elsewhere. Whoever is brought it owes the
/// container's row if the one that has it does: that one may forget it, and with
/// it what it owes, once all whom it belongs to have it.
async fn as_written(
    shared: &Shared,
    node: &dyn ObjectNode,
    at: &At,
    data: DataId,
) -> Result<PutObject, NodeError> {
    let records = bounded(shared, node.records(at)).await?;
    let same = |put: &PutObject| (put.version, put.blake3) == data;
    records.object.filter(same).ok_or(NodeError::NotFound)
}

/// The data from a replica that has it, from its start.
async fn read(
    shared: &Shared,
    place: &Place,
    data: DataId,
    from: &[Arc<Peer>],
) -> Result<(PutObject, Body), NodeError> {
    let mut last = NodeError::NotFound;
    for peer in from {
        let (node, at) = (node_of(&*shared.nodes, peer), place.at(peer));
        let read = match bounded(shared, node.get(&at, None)).await {
            Ok(Read::Object(read)) if data_of(&read.stat) == data => read,
            Ok(_) => continue,
            Err(error) => {
                peer.note::<()>(&Err(error.clone()), Instant::now());
                last = error;
                continue;
            }
        };
        match as_written(shared, &*node, &at, data).await {
            Ok(put) => return Ok((put, read.body)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sends an object's data as it is.
async fn send(
    shared: &Shared,
    node: &dyn ObjectNode,
    at: &At,
    put: PutObject,
    mut body: Body,
) -> Result<(), NodeError> {
    let first = bounded(shared, body.next().map(Option::transpose)).await?;
    let first = first.unwrap_or_default();
    if first.len() as u64 == put.size && first.len() <= EXTENT {
        return bounded(shared, node.put(at, put, first)).await;
    }
    let mut stream = bounded(shared, node.begin_put(at)).await?;
    let mut piece = Some(first);
    while let Some(next) = piece {
        bounded(shared, stream.send(next)).await?;
        piece = bounded(shared, body.next().map(Option::transpose)).await?;
    }
    bounded(shared, stream.commit(put)).await
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
    let (put, body) = read(shared, place, data_of(stat), from).await?;
    let sent = or_newer(send(shared, &*node, &at, put, body).await);
    to.note(&sent, Instant::now());
    sent
}

/// What a read found to be the newest, and who has which part of it.
pub(super) struct Newest {
    /// "account/container/object", for people.
    pub(super) path: String,
    /// The newest data with the newest metadata that was posted to it.
    pub(super) found: Found,
    /// Who has the data, or the deletion.
    pub(super) data: Vec<Arc<Peer>>,
    /// Whose metadata updates together are the newest; none if nothing was posted.
    pub(super) posts: Vec<Arc<Peer>>,
}

/// The records of a name on a device that should have them.
async fn records(shared: &Shared, place: &Place, peer: &Peer) -> Result<Records, NodeError> {
    let (node, at) = (node_of(&*shared.nodes, peer), place.at(peer));
    bounded(shared, node.records(&at)).await
}

async fn push(shared: &Shared, place: &Place, to: &Peer, push: Push) -> Result<(), NodeError> {
    let (node, at) = (node_of(&*shared.nodes, to), place.at(to));
    let pushed = or_newer(bounded(shared, node.push(&at, push)).await);
    to.note(&pushed, Instant::now());
    pushed
}

/// Brings a replica the newest state; `lacks_data`: not its metadata alone.
///
/// # Errors
/// What the last device asked said; `NotFound` also if those who had it have
/// something newer by now.
async fn bring_up(
    shared: &Shared,
    place: &Place,
    newest: &Newest,
    to: &Arc<Peer>,
    lacks_data: bool,
) -> Result<(), NodeError> {
    let stat = match &newest.found {
        Found::Absent => return Ok(()),
        Found::Deleted(version) => {
            // An object that has expired there answers the same and is no deletion.
            let same = |push: &Push| matches!(push, Push::Deletion { version: v, .. } if v == version);
            for peer in &newest.data {
                let records = records(shared, place, peer).await?;
                if let Some(deletion) = records.deletion.filter(same) {
                    return push(shared, place, to, deletion).await;
                }
            }
            return Err(NodeError::NotFound);
        }
        Found::Object(stat) => stat,
    };
    if lacks_data {
        bring(shared, place, stat, &newest.data, to).await?;
    }
    // Over other data it would be mixed into what is there before that has come.
    let fits = |push: &Push| matches!(push, Push::Post { update, .. } if update.over == stat.version);
    for peer in &newest.posts {
        let post = records(shared, place, peer).await?.post.filter(fits);
        push(shared, place, to, post.ok_or(NodeError::NotFound)?).await?;
    }
    Ok(())
}

/// A disk: address and name.
type Disk = (String, u16, Arc<str>);

/// `Some` once it has ended: whether the replica has the state now.
pub(super) type Brought = watch::Receiver<Option<bool>>;

/// A replica being brought one state of a name.
type Repair = (NameHash, Disk, StateId);

/// Replicas being brought up because a read saw that they are behind.
pub(super) struct Healing {
    in_passing: Arc<Semaphore>,
    awaited: Arc<Semaphore>,
    under_way: Mutex<HashMap<Repair, Brought>>,
    /// When devices were told last that they have something that others lack.
    told: Mutex<HashMap<Disk, Instant>>,
    uncertain: AtomicU64,
}

impl Default for Healing {
    fn default() -> Self {
        Self {
            in_passing: Arc::new(Semaphore::new(IN_PASSING)),
            awaited: Arc::new(Semaphore::new(AWAITED)),
            under_way: Mutex::default(),
            told: Mutex::default(),
            uncertain: AtomicU64::new(0),
        }
    }
}

impl Healing {
    /// Whether a device is to be told now; then it is not again for a while.
    fn may_tell(&self, peer: &Peer, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of rings long gone are forgotten with the rest.
        told.retain(|_, at| now.duration_since(*at) < TOLD_EVERY);
        match told.entry(peer.disk()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(now);
                true
            }
        }
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Repair, Brought>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a read whose answer fewer than a quorum know.
    pub(super) fn note_uncertain(&self) {
        self.uncertain.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("proxy_uncertain_reads_total").increment(1);
    }

    /// How many were counted.
    pub(super) fn uncertain_reads(&self) -> u64 {
        self.uncertain.load(Ordering::Relaxed)
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

/// Who is interested in a repair.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// The next reader, who then need not look further.
    InPassing,
    /// A read that is answered when it is done.
    AwaitedByReader,
}

/// Starts to bring a replica the newest state, in a task of its own, or joins
/// those who have started that already. `None` if too many are under way.
pub(super) fn start(
    shared: &Arc<Shared>,
    place: &Place,
    newest: &Arc<Newest>,
    to: &Arc<Peer>,
    lacks_data: bool,
    urgency: Urgency,
) -> Option<Brought> {
    let healing = &shared.healing;
    let repair = (place.hash, to.disk(), state_of(&newest.found));
    let mut under_way = healing.under_way();
    if let Some(brought) = under_way.get(&repair) {
        return Some(brought.clone());
    }
    let room = match urgency {
        Urgency::InPassing => &healing.in_passing,
        Urgency::AwaitedByReader => &healing.awaited,
    };
    let permit = Arc::clone(room).try_acquire_owned().ok()?;
    let (tells, brought) = watch::channel(None);
    under_way.insert(repair.clone(), brought.clone());
    drop(under_way);
    let (shared, place) = (Arc::clone(shared), place.clone());
    let (newest, to) = (Arc::clone(newest), Arc::clone(to));
    shared.tasks.clone().spawn(async move {
        let healed = bring_up(&shared, &place, &newest, &to, lacks_data).await;
        if let Err(error) = &healed {
            let path = &newest.path;
            tracing::debug!(device = %to.name, path, %error, "a replica that is behind could not be brought up");
        }
        shared.healing.under_way().remove(&repair);
        tells.send_replace(Some(healed.is_ok()));
        drop(permit);
    });
    Some(brought)
}

/// Brings a replica up without anybody waiting for it: only as many as there is
/// room for, as the nodes find every difference themselves, and no large objects,
/// which whoever has them is told to bring.
pub(super) fn in_passing(
    shared: &Arc<Shared>,
    place: &Place,
    newest: &Arc<Newest>,
    to: &Arc<Peer>,
    lacks_data: bool,
) {
    match &newest.found {
        Found::Object(stat) if lacks_data && stat.size > EXTENT as u64 => tell(shared, &newest.data),
        _ => {
            start(shared, place, newest, to, lacks_data, Urgency::InPassing);
        }
    }
}
