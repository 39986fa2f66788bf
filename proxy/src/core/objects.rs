//! POST and DELETE of an object.
use std::sync::Arc;

use tokio::time::Instant;
use virga_node::clock::Version;
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::ObjectRow;
use virga_object_wire::object::{ObjectStat, PostMeta};

use super::error::{DeleteObjectError, PostObjectError, Unavailable};
use super::fanout::{self, Call};
use super::found::data_of;
use super::names::ObjectName;
use super::peer::Peer;
use super::place::Place;
use super::quorum::Members;
use super::rows::conclude;
use super::{Core, DeletedObject, ReadObjectError, heal};

/// How often a POST is tried while others change or delete the object, or
/// replicas that lack it are brought it.
const POST_TRIES: usize = 5;

impl From<ReadObjectError> for PostObjectError {
    fn from(error: ReadObjectError) -> Self {
        match error {
            ReadObjectError::NotFound { .. } => Self::NotFound,
            ReadObjectError::Unavailable(error) => error.into(),
            // Heads are read without any key.
            ReadObjectError::Sealed { .. } => Unavailable::Refused(error.to_string()).into(),
        }
    }
}

/// Too few replicas could be brought the data that a POST is to.
fn not_over_newest(place: &Place, over_newest: Members) -> Unavailable {
    let (reached, needed) = place.quorums().write_shortfall(over_newest);
    Unavailable::NoQuorum {
        reached,
        needed,
        why: "the others could not be brought the newest data".into(),
    }
}

impl Core {
    /// The storage policy of the object's container; `None` without container.
    pub(super) async fn object_policy(&self, name: &ObjectName) -> Result<Option<u32>, Unavailable> {
        Ok(self
            .container_info_at(name.container_path(), || name.container_name())
            .await?
            .map(|info| info.policy))
    }

    /// Replaces the metadata of an object. Returns its head afterwards.
    ///
    /// # Errors
    /// See [`PostObjectError`].
    pub async fn post_object(
        &self,
        name: &ObjectName,
        meta: PostMeta,
        version: Option<Version>,
    ) -> Result<ObjectStat, PostObjectError> {
        let policy = self.object_policy(name).await?.ok_or(PostObjectError::NotFound)?;
        let mut place = self.shared.object_place(name, policy)?;
        let mut stamp = self.shared.version(version);
        let names_type = meta.content_type.is_some();
        let (mut tries, mut stamped, mut anew) = (0, Instant::now(), false);
        // Whether any replica has taken it under the present stamp, in this try or before.
        let mut taken = false;
        loop {
            tries += 1;
            let (meta, expired_too) = (meta.clone(), self.expired_too);
            let call: Call<ObjectStat> = Box::new(move |node, at, _| {
                let meta = meta.clone();
                Box::pin(async move {
                    match expired_too {
                        true => node.post_expired_too(&at, stamp, meta).await,
                        false => node.post(&at, stamp, meta).await,
                    }
                })
            });
            let (mut tally, mut late) = fanout::write(&self.shared, &mut place, call).await;
            taken |= tally.is_taken();
            if !tally.reached {
                let missing = tally.refused(|error| *error == NodeError::NotFound);
                match tally.newer() {
                    Some(newer) if version.is_some() && newer > stamp => {
                        return Err(PostObjectError::Newer(newer));
                    }
                    _ if tally.oks.is_empty() && place.quorums().read(missing) => {
                        return Err(PostObjectError::NotFound);
                    }
                    // Overtaken under two versions: the newer metadata stands, as
                    // if this had been there for a moment. What is newer than the
                    // first may have been acknowledged before this began. A type
                    // that it names would outlive metadata without one.
                    Some(_) if anew && !names_type && tally.is_overtaken(&place) => {
                        return Ok(self.head_at(name, &place, false).await?);
                    }
                    _ if tries < POST_TRIES && !missing.is_empty() => {
                        // The same request again: those that did it take it as the same.
                        self.bring_missing(name, &place, missing, &tally.oks).await?;
                        continue;
                    }
                    Some(newer)
                        if tries < POST_TRIES
                            && version.is_none()
                            && tally.may_be_stamped_anew(&place, taken, stamped, &self.shared) =>
                    {
                        (stamp, stamped, anew) = (self.shared.restamp(newer), Instant::now(), true);
                        taken = false;
                        continue;
                    }
                    _ => return Err(tally.unavailable().into()),
                }
            }
            // One that comes a little later may have newer data: of a PUT that failed
            // elsewhere, or that others stood in for. The update belongs over that.
            late.hear_out(self.shared.settings.hedge, &mut tally).await;
            let newest = |(_, stat): &&(_, ObjectStat)| (data_of(stat), stat.type_version);
            let Some((_, stat)) = tally.oks.iter().max_by_key(newest) else {
                return Err(PostObjectError::NotFound);
            };
            let (stat, data) = (stat.clone(), data_of(stat));
            let over_newest = tally.done_saying(|stat| data_of(stat) == data);
            if !place.quorums().write(over_newest) {
                if tries == POST_TRIES {
                    return Err(not_over_newest(&place, over_newest).into());
                }
                self.bring_newest(&place, &stat, &tally.oks).await;
                continue;
            }
            tally.oks.retain(|(_, stat)| data_of(stat) == data);
            let stored = tally.oks.into_iter().map(|(peer, _)| peer).collect();
            if let Some(row) = ObjectRow::of(&stat) {
                conclude(&self.shared, name, &place, row, stored, Some(late)).await;
            }
            return Ok(stat);
        }
    }

    /// Brings the newest data that replicas had when they took a POST to those
    /// of them that missed it: there it went to data that was replaced before, and
    /// will be gone with that.
    async fn bring_newest(&self, place: &Place, newest: &ObjectStat, oks: &[(Arc<Peer>, ObjectStat)]) {
        let has = |stat: &ObjectStat| data_of(stat) == data_of(newest);
        let behind = oks.iter().filter(|(_, stat)| !has(stat)).map(|(peer, _)| peer);
        let from = oks.iter().filter(|(_, stat)| has(stat));
        let from: Vec<_> = from.map(|(peer, _)| Arc::clone(peer)).collect();
        for peer in behind {
            if let Err(error) = heal::bring(&self.shared, place, newest, &from, peer).await {
                tracing::debug!(device = %peer.name, %error, "could not be brought data that it missed before a POST");
            }
        }
    }

    /// Brings the object to members that do not have it: they missed it, or
    /// are new in the ring. Whether it exists a read quorum says, or who took the
    /// POST, unless that was to data which have been deleted.
    async fn bring_missing(
        &self,
        name: &ObjectName,
        place: &Place,
        missing: Members,
        oks: &[(Arc<Peer>, ObjectStat)],
    ) -> Result<(), PostObjectError> {
        let taken = oks.iter().map(|(_, stat)| stat).max_by_key(|stat| data_of(stat));
        let stat = match (self.head_at(name, place, false).await, taken) {
            (Ok(read), Some(taken)) if data_of(taken) > data_of(&read) => taken.clone(),
            (Ok(read), _) => read,
            (Err(ReadObjectError::NotFound { deleted }), Some(taken))
                if deleted.is_none_or(|gone| gone < taken.version) =>
            {
                taken.clone()
            }
            (Err(error), _) => return Err(error.into()),
        };
        let mut from: Vec<_> = oks.iter().map(|(peer, _)| Arc::clone(peer)).collect();
        let members = || place.members().iter().enumerate();
        from.extend(
            members()
                .filter(|(member, _)| !missing.has(*member))
                .map(|(_, peer)| Arc::clone(peer)),
        );
        for (_, peer) in members().filter(|(member, _)| missing.has(*member)) {
            if let Err(error) = heal::bring(&self.shared, place, &stat, &from, peer).await {
                tracing::debug!(device = %peer.name, %error, "could not be brought an object it lacks");
            }
        }
        Ok(())
    }

    /// Deletes an object, whether or not it exists.
    ///
    /// # Errors
    /// See [`DeleteObjectError`].
    pub async fn delete_object(
        &self,
        name: &ObjectName,
        version: Option<Version>,
    ) -> Result<DeletedObject, DeleteObjectError> {
        let policy = self
            .object_policy(name)
            .await?
            .ok_or(DeleteObjectError::NoContainer)?;
        let mut place = self.shared.object_place(name, policy)?;
        let mut stamp = self.shared.version(version);
        let (mut again, mut stamped) = (false, Instant::now());
        loop {
            let path: Arc<str> = name.path().into();
            let call: Call<_> = Box::new(move |node, at, _| {
                let path = path.clone();
                Box::pin(async move { node.delete(&at, stamp, &path).await })
            });
            let (tally, late) = fanout::write(&self.shared, &mut place, call).await;
            if !tally.reached {
                match tally.newer() {
                    Some(newer) if version.is_some() => return Err(DeleteObjectError::Newer(newer)),
                    Some(newer)
                        if !again
                            && tally.may_be_stamped_anew(&place, tally.is_taken(), stamped, &self.shared) =>
                    {
                        (again, stamped) = (true, Instant::now());
                        stamp = self.shared.restamp(newer);
                        continue;
                    }
                    Some(_) if again && tally.is_overtaken(&place) => {
                        return Ok(DeletedObject {
                            version: stamp,
                            existed: true,
                        });
                    }
                    _ => return Err(tally.unavailable().into()),
                }
            }
            // A replica that was away may still have had what was deleted meanwhile:
            // the one that had the newest knows. A quorum has heard of whatever was
            // acknowledged, and one of it is among those that answered. Where
            // others stood in, members that were not heard may have had it:
            // that nothing was there is not known then, and not said.
            let had = tally
                .oks
                .iter()
                .map(|(_, deleted)| (deleted.before, deleted.existed));
            let existed = !tally.by_members || had.max().is_some_and(|(_, existed)| existed);
            let stored = tally.oks.into_iter().map(|(peer, _)| peer).collect();
            let row = ObjectRow::deletion(name.object(), stamp);
            conclude(&self.shared, name, &place, row, stored, Some(late)).await;
            return Ok(DeletedObject {
                version: stamp,
                existed,
            });
        }
    }
}
