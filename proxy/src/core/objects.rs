//! POST and DELETE of an object.
use virga_node::clock::Version;
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::ObjectRow;
use virga_object_wire::object::{ObjectStat, PostMeta};

use super::error::{DeleteObjectError, PostObjectError, Unavailable};
use super::fanout::{self, Call};
use super::names::ObjectName;
use super::rows::conclude;
use super::{Core, DeletedObject};

fn is_newer(error: &NodeError) -> bool {
    matches!(error, NodeError::Newer(_))
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
        let place = self.shared.object_place(name, policy)?;
        let mut stamp = self.shared.version(version);
        for restamped in [false, true] {
            let meta = meta.clone();
            let call: Call<ObjectStat> = Box::new(move |node, at, _| {
                let meta = meta.clone();
                Box::pin(async move { node.post(&at, stamp, meta).await })
            });
            let (tally, late) = fanout::write(&self.shared, &place, call).await;
            if !tally.reached {
                match tally.newer() {
                    Some(newer) if version.is_some() => return Err(PostObjectError::Newer(newer)),
                    Some(newer) if !restamped => {
                        stamp = self.shared.restamp(newer);
                        continue;
                    }
                    _ if tally.refused(|error| *error == NodeError::NotFound) >= place.read_quorum() => {
                        return Err(PostObjectError::NotFound);
                    }
                    // Overtaken twice: the newer metadata stands, as if this
                    // had been there for a moment.
                    Some(_) if tally.oks.len() + tally.refused(is_newer) >= place.write_quorum() => {
                        return self.head_object(name, false).await.map_err(|error| match error {
                            super::ReadObjectError::NotFound { .. } => PostObjectError::NotFound,
                            super::ReadObjectError::Unavailable(error) => error.into(),
                        });
                    }
                    _ => return Err(tally.unavailable().into()),
                }
            }
            let (stored, stats): (Vec<_>, Vec<_>) = tally.oks.into_iter().unzip();
            let Some(stat) = stats.into_iter().max_by_key(|stat| stat.version) else {
                break;
            };
            if let Some(row) = ObjectRow::of(&stat) {
                conclude(&self.shared, name, &place, row, stored, Some(late)).await;
            }
            return Ok(stat);
        }
        Err(PostObjectError::NotFound)
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
        let place = self.shared.object_place(name, policy)?;
        let mut stamp = self.shared.version(version);
        let mut restamped = false;
        loop {
            let path: std::sync::Arc<str> = name.path().into();
            let call: Call<_> = Box::new(move |node, at, _| {
                let path = path.clone();
                Box::pin(async move { node.delete(&at, stamp, &path).await })
            });
            let (tally, late) = fanout::write(&self.shared, &place, call).await;
            if !tally.reached {
                match tally.newer() {
                    Some(newer) if version.is_some() => return Err(DeleteObjectError::Newer(newer)),
                    Some(newer) if !restamped => {
                        restamped = true;
                        stamp = self.shared.restamp(newer);
                        continue;
                    }
                    Some(_) if tally.oks.len() + tally.refused(is_newer) >= place.write_quorum() => {
                        return Ok(DeletedObject {
                            version: stamp,
                            existed: true,
                        });
                    }
                    _ => return Err(tally.unavailable().into()),
                }
            }
            let existed = tally.oks.iter().any(|(_, deleted)| deleted.existed);
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
