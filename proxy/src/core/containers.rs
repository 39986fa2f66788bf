//! Containers: PUT, POST, DELETE, HEAD, and the row each has in its account.
use std::sync::Arc;

use virga_node::clock::Version;
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::{
    ContainerInfo, ContainerRow, Created, ListRequest, MetaItem, ObjectRow, PutContainer,
};

use super::error::{DeleteContainerError, ListError, PostMetaError, PutContainerError, Unavailable};
use super::fanout::{self, Call};
use super::gather::{Ask, Scope, gather};
use super::info_cache::Known;
use super::infos::{Info, all_agree, merge_infos, merge_meta};
use super::listing::{self, Listing};
use super::names::ContainerName;
use super::{Core, MetaChange};

/// Stamps metadata changes with the version of the request.
pub(super) fn stamped(meta: &[MetaChange], version: Version) -> Vec<MetaItem> {
    let item = |(name, value): &MetaChange| MetaItem {
        name: name.clone(),
        value: value.clone(),
        version,
    };
    meta.iter().map(item).collect()
}

impl Core {
    /// Makes a container or changes its metadata; makes its account if need
    /// be. `policy`: `None` takes the default, or that of the existing one.
    ///
    /// # Errors
    /// See [`PutContainerError`].
    pub async fn put_container(
        &self,
        name: &ContainerName,
        policy: Option<u32>,
        meta: Vec<MetaChange>,
    ) -> Result<Created, PutContainerError> {
        let known = self.known_container(name).await?;
        let exists = known.exists();
        let policy = match policy {
            Some(asked) if exists && known.policy != asked => {
                return Err(PutContainerError::PolicyConflict(known.policy));
            }
            _ if exists => known.policy,
            asked => asked.unwrap_or(self.shared.settings.default_policy),
        };
        if !self.policies().contains(&policy) {
            return Err(PutContainerError::UnknownPolicy(policy));
        }
        let account = name.account_name();
        if !exists && self.account_info(&account).await?.is_none() {
            if !self.shared.settings.account_autocreate {
                return Err(PutContainerError::NoAccount);
            }
            self.put_account(&account, Vec::new()).await?;
        }
        let version = self.shared.restamp(known.life());
        let version = self
            .write_container(name, policy, version, known.deleted, |version| {
                stamped(&meta, version)
            })
            .await?;
        self.write_account_row(name, policy, version, Version(0)).await?;
        Ok(Created { created: !exists })
    }

    /// Puts the container onto a quorum of its primaries; returns the version
    /// it got. `deleted` is the newest deletion known, `meta` makes the items
    /// for a version.
    async fn write_container(
        &self,
        name: &ContainerName,
        policy: u32,
        mut version: Version,
        mut deleted: Version,
        meta: impl Fn(Version) -> Vec<MetaItem>,
    ) -> Result<Version, Unavailable> {
        let mut place = self.shared.container_place(name);
        for restamped in [false, true] {
            let put = PutContainer {
                account: name.account().to_owned(),
                container: name.container().to_owned(),
                version,
                deleted,
                policy,
                meta: meta(version),
            };
            let call: Call<Created> = Box::new(move |node, at, _| {
                let put = put.clone();
                Box::pin(async move { node.put_container(&at, put).await })
            });
            let (tally, _late) = fanout::write(&self.shared, &mut place, call).await;
            self.shared.infos.containers.forget(name.path());
            match tally.newer() {
                _ if tally.by_members => break,
                Some(newer) if !restamped => {
                    deleted = deleted.max(newer);
                    version = self.shared.restamp(newer);
                }
                _ => return Err(tally.unavailable()),
            }
        }
        Ok(version)
    }

    /// Writes the container's row into its account, at a quorum.
    async fn write_account_row(
        &self,
        name: &ContainerName,
        policy: u32,
        put: Version,
        deleted: Version,
    ) -> Result<(), Unavailable> {
        let account = name.account_name();
        let mut place = self.shared.account_place(&account);
        let row = ContainerRow {
            name: name.container().to_owned(),
            put,
            deleted,
            policy,
            counted: Version(0),
            objects: 0,
            bytes: 0,
        };
        let call: Call<()> = Box::new(move |node, at, _| {
            let rows = vec![row.clone()];
            Box::pin(async move { node.put_container_rows(&at, rows).await })
        });
        let (tally, _late) = fanout::write(&self.shared, &mut place, call).await;
        self.shared.infos.accounts.forget(account.as_str());
        if tally.by_members {
            Ok(())
        } else {
            Err(tally.unavailable())
        }
    }

    /// Changes the metadata of a container that exists.
    ///
    /// # Errors
    /// See [`PostMetaError`].
    pub async fn post_container(
        &self,
        name: &ContainerName,
        meta: Vec<MetaChange>,
    ) -> Result<(), PostMetaError> {
        let mut place = self.shared.container_place(name);
        for again in [true, false] {
            let known = self.known_container(name).await?;
            if !known.exists() {
                return Err(PostMetaError::NotFound);
            }
            let version = self.shared.restamp(known.life());
            let items = stamped(&meta, version);
            let call: Call<()> = Box::new(move |node, at, _| {
                let items = items.clone();
                Box::pin(async move { node.post_container(&at, version, items).await })
            });
            let (tally, _late) = fanout::write(&self.shared, &mut place, call).await;
            self.shared.infos.containers.forget(name.path());
            if tally.by_members {
                return Ok(());
            }
            if !again || tally.refused(|error| *error == NodeError::NotFound).is_empty() {
                return Err(tally.unavailable().into());
            }
            // Either it was deleted meanwhile, or a replica missed its PUT and
            // hears of it now.
            self.bring_up(name, &known).await?;
        }
        Ok(())
    }

    /// Tells replicas that missed the PUT of a container of what is known.
    /// Nothing changes where it is known, or deleted since.
    async fn bring_up(&self, name: &ContainerName, known: &ContainerInfo) -> Result<(), Unavailable> {
        let mut place = self.shared.container_place(name);
        let put = PutContainer {
            account: name.account().to_owned(),
            container: name.container().to_owned(),
            version: known.put,
            deleted: known.deleted,
            policy: known.policy,
            meta: Vec::new(),
        };
        let call: Call<Created> = Box::new(move |node, at, _| {
            let put = put.clone();
            Box::pin(async move { node.put_container(&at, put).await })
        });
        let (tally, _late) = fanout::write(&self.shared, &mut place, call).await;
        if tally.by_members || tally.newer().is_some() {
            Ok(())
        } else {
            Err(tally.unavailable())
        }
    }

    /// Deletes an empty container: one that no replica in reach knows a live
    /// row of, all of them taken together.
    ///
    /// # Errors
    /// See [`DeleteContainerError`].
    pub async fn delete_container(&self, name: &ContainerName) -> Result<(), DeleteContainerError> {
        let mut place = self.shared.container_place(name);
        let seen = listing::survey(&self.shared, &mut place).await?;
        if !seen.info.exists() {
            return Err(DeleteContainerError::NotFound);
        }
        if seen.any {
            return Err(DeleteContainerError::NotEmpty);
        }
        let mut version = self.shared.restamp(seen.info.life());
        for again in [true, true, false] {
            let call: Call<()> = Box::new(move |node, at, _| {
                Box::pin(async move { node.delete_container(&at, version).await })
            });
            let (tally, _late) = fanout::write(&self.shared, &mut place, call).await;
            self.shared.infos.containers.forget(name.path());
            // NotFound: it missed the PUT. Unless it has live rows it has taken
            // the deletion nevertheless, and says yes when asked again.
            let differs = |error: &NodeError| matches!(error, NodeError::NotEmpty | NodeError::NotFound);
            let refused = !tally.refused(differs).is_empty();
            if refused {
                let now = listing::survey(&self.shared, &mut place).await?;
                if now.any {
                    // An object came in meanwhile.
                    self.take_back(name, &seen.info, &now.info).await?;
                    return Err(DeleteContainerError::NotEmpty);
                }
            }
            match tally.newer() {
                _ if tally.by_members => break,
                Some(newer) if again => version = self.shared.restamp(newer),
                // A replica may have missed the deletion of the last objects.
                None if again && refused => listing::spread_deletions(&self.shared, &mut place).await?,
                _ => return Err(tally.unavailable().into()),
            }
        }
        self.write_account_row(name, seen.info.policy, seen.info.put, version)
            .await?;
        Ok(())
    }

    /// Undoes a deletion that some replicas have accepted. Metadata is what it
    /// was before, and what has been set since.
    async fn take_back(
        &self,
        name: &ContainerName,
        before: &ContainerInfo,
        now: &ContainerInfo,
    ) -> Result<(), Unavailable> {
        let meta = merge_meta(before.meta.iter().chain(&now.meta));
        let restamped = |version| {
            let item = |item: &MetaItem| MetaItem {
                version,
                ..item.clone()
            };
            meta.iter().map(item).collect()
        };
        let version = self.shared.restamp(now.life());
        self.write_container(name, before.policy, version, now.deleted, restamped)
            .await
            .map(drop)
    }

    /// What a read quorum knows of a container together, whether or not it
    /// exists; removed metadata included.
    async fn known_container(&self, name: &ContainerName) -> Result<ContainerInfo, Unavailable> {
        let mut place = self.shared.container_place(name);
        let ask: Ask<ContainerInfo> =
            Box::new(|_, node, at| Box::pin(async move { node.head_container(&at).await }));
        let found = gather(&self.shared, &mut place, Scope::Quorum, ask, all_agree).await?;
        Ok(merge_infos(found.into_iter().map(|heard| heard.said).collect()).unwrap_or_default())
    }

    /// Info of a container, fresh from a read quorum.
    ///
    /// # Errors
    /// See [`ListError`].
    pub async fn head_container(&self, name: &ContainerName) -> Result<ContainerInfo, ListError> {
        let known = self.known_container(name).await?;
        known.exists().then(|| known.shown()).ok_or(ListError::NotFound)
    }

    /// Info of a container for checks on the way to an object (permissions,
    /// policy, existence): at most [`super::Settings::info_ttl`] old, own
    /// changes seen at once, its counts approximate. `None` if there is no
    /// such container.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn container_info(
        &self,
        name: &ContainerName,
    ) -> Result<Option<Arc<ContainerInfo>>, Unavailable> {
        self.container_info_at(name.path(), || name.clone()).await
    }

    /// [`Core::container_info`] by path; `name` is made only when nodes must
    /// be asked.
    pub(super) async fn container_info_at(
        &self,
        path: &str,
        name: impl FnOnce() -> ContainerName,
    ) -> Result<Option<Arc<ContainerInfo>>, Unavailable> {
        let ticket = match self.shared.infos.containers.get(path) {
            Known::Fresh(info) => return Ok(Some(info)),
            Known::Ask(ticket) => ticket,
        };
        let info = match self.head_container(&name()).await {
            Ok(info) => Some(Arc::new(info)),
            Err(ListError::NotFound) => None,
            Err(ListError::Unavailable(error)) => return Err(error),
        };
        self.shared.infos.containers.put(path, ticket, info.clone());
        Ok(info)
    }

    /// A page of a container: the rows that a read quorum knows of, merged.
    ///
    /// # Errors
    /// See [`ListError`].
    pub async fn list_container(
        &self,
        name: &ContainerName,
        list: ListRequest,
    ) -> Result<Listing<ContainerInfo, ObjectRow>, ListError> {
        let mut place = self.shared.container_place(name);
        listing::list(&self.shared, &mut place, list).await
    }
}
