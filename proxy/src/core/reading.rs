//! What a read of an object needs of its container, also while the container
//! has no quorum.
//!
//! An object lies on other devices than its container: that two of the
//! container's three are away is no reason not to read it. So GET and HEAD of
//! objects go on, in this order, with
//!
//! 1. what a quorum says, or said within [`super::Settings::info_ttl`];
//! 2. what a quorum said to this proxy within [`RECENT`]. A permission that was
//!    taken back through another proxy meanwhile is honoured that much later;
//!    changes through this one drop what is kept at once;
//! 3. what the replicas in reach say, of whom none may have heard the last
//!    word ([`ContainerForReading::Unsure`]). How far they are behind has no
//!    bound, so this opens nothing by itself: **no permission is read from it**.
//!    Only who may read every container of the account, by their token alone,
//!    goes on. What is used of it is the storage policy, which a container
//!    keeps for life; a replica that missed a deletion may still name that of the
//!    life before, so an object that is not found there is not "not found" but
//!    unavailable. Bytes are those a read quorum of the object's own replicas
//!    names, as ever.
//!
//! Writes, listings, keys of temporary URLs and the rest need the quorum.
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::ContainerInfo;

use super::Core;
use super::error::{ListError, ReadObjectError, Unavailable};
use super::info_cache::Known;
use super::infos::{Info, merge_infos};
use super::names::{ContainerName, ObjectName};
use super::peer::Peer;
use super::place::{Place, node_of};
use super::quorum::Members;

/// How long what a quorum said may decide reads while no quorum can be asked.
pub(super) const RECENT: Duration = Duration::from_secs(60);

/// A container as a reader of its objects sees it.
#[derive(Clone, Debug)]
pub enum ContainerForReading {
    /// A quorum says so, now or at most 60 s ago. `None`: there is no such
    /// container.
    Known(Option<Arc<ContainerInfo>>),
    /// No quorum can be asked, but some replica knows the container.
    Unsure {
        /// What is known of it, without metadata: it permits nobody anything.
        info: Arc<ContainerInfo>,
        /// Why it is not known better.
        why: Unavailable,
    },
}

impl ContainerForReading {
    /// The storage policy of its objects.
    pub(super) fn policy(&self) -> Option<u32> {
        match self {
            Self::Known(info) => info.as_ref().map(|info| info.policy),
            Self::Unsure { info, .. } => Some(info.policy),
        }
    }

    /// What an object's absence means: nothing, if it was looked for under a
    /// policy that may be another by now.
    pub(super) fn judge(&self, error: ReadObjectError) -> ReadObjectError {
        match (self, error) {
            (Self::Unsure { why, .. }, ReadObjectError::NotFound { .. }) => why.clone().into(),
            (_, error) => error,
        }
    }
}

impl Core {
    /// A container for checks on the way to reading an object; see the module
    /// for what holds while it has no quorum.
    ///
    /// # Errors
    /// [`Unavailable`] if no replica in reach knows it.
    pub async fn container_for_reading(
        &self,
        name: &ContainerName,
    ) -> Result<ContainerForReading, Unavailable> {
        self.for_reading_at(name.path(), || name.clone()).await
    }

    /// The container of an object that is to be read.
    pub(super) async fn container_of(&self, name: &ObjectName) -> Result<ContainerForReading, Unavailable> {
        self.for_reading_at(name.container_path(), || name.container_name())
            .await
    }

    /// The container of an object that is to be read, and the policy to look
    /// for the object under.
    pub(super) async fn place_for_reading(
        &self,
        name: &ObjectName,
    ) -> Result<(ContainerForReading, Place), ReadObjectError> {
        let container = self.container_of(name).await?;
        let policy = container
            .policy()
            .ok_or(ReadObjectError::NotFound { deleted: None })?;
        let place = self.shared.object_place(name, policy)?;
        Ok((container, place))
    }

    async fn for_reading_at(
        &self,
        path: &str,
        name: impl FnOnce() -> ContainerName,
    ) -> Result<ContainerForReading, Unavailable> {
        let infos = &self.shared.infos.containers;
        let ticket = match infos.get(path) {
            Known::Fresh(info) => return Ok(ContainerForReading::Known(Some(info))),
            Known::Ask(ticket) => ticket,
        };
        let name = name();
        let place = self.shared.container_place(&name);
        let (well, why) = in_reach(&place);
        let why = match why {
            Some(why) => why,
            None => match self.head_container(&name).await {
                Err(ListError::Unavailable(why)) => why,
                found => {
                    let info = found.ok().map(Arc::new);
                    infos.put(path, ticket, info.clone());
                    return Ok(ContainerForReading::Known(info));
                }
            },
        };
        if !matches!(why, Unavailable::NoQuorum { .. }) {
            return Err(why);
        }
        if let Some(info) = infos.recent(path, RECENT) {
            return Ok(ContainerForReading::Known(Some(info)));
        }
        match self.told_by(&place, well).await {
            Some(info) => Ok(ContainerForReading::Unsure { info, why }),
            None => Err(why),
        }
    }

    /// What these replicas know of a container together, without its metadata:
    /// so nobody can take a permission from it. `None` unless it exists, as far
    /// as they know.
    async fn told_by(&self, place: &Place, replicas: Vec<Arc<Peer>>) -> Option<Arc<ContainerInfo>> {
        let asks = replicas.into_iter().map(|peer| async move {
            let (node, at) = (node_of(&*self.shared.nodes, &peer), place.at(&peer));
            let under_way = peer.begin();
            let asked = timeout(self.shared.settings.stall, node.head_container(&at)).await;
            drop(under_way);
            let said = asked.unwrap_or_else(|_| Err(NodeError::Unreachable("no answer in time".into())));
            peer.note(&said, Instant::now());
            said.ok()
        });
        let told: Vec<ContainerInfo> = join_all(asks).await.into_iter().flatten().collect();
        let mut info = merge_infos(told).filter(Info::exists)?;
        info.meta.clear();
        Some(Arc::new(info))
    }
}

/// Members that are to be bothered now, and why they make no quorum, if so: then
/// nobody waits for those that have just failed. Each gets a trial in a while.
fn in_reach(place: &Place) -> (Vec<Arc<Peer>>, Option<Unavailable>) {
    let now = Instant::now();
    let (mut well, mut members) = (Vec::new(), Members::NONE);
    for (member, peer) in place.members().iter().enumerate() {
        if peer.admit(now) {
            members |= Members::one(member);
            well.push(Arc::clone(peer));
        }
    }
    if place.quorums().read(members) {
        return (well, None);
    }
    let (reached, needed) = place.quorums().read_shortfall(members);
    let why = "the others rest after failures".into();
    (well, Some(Unavailable::NoQuorum { reached, needed, why }))
}
