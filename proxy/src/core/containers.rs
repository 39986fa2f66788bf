//! Containers: PUT, POST, DELETE, HEAD, and the row each has in its account.
use std::sync::Arc;

use virga_node::clock::Version;
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::{
    ContainerInfo, ContainerRow, Created, ListRequest, MetaItem, ObjectRow, PutContainer,
};

use super::error::{DeleteContainerError, ListError, PostMetaError, PutContainerError, Unavailable};
use super::fanout::{self, Call, Tally};
use super::gather::{Ask, gather};
use super::info_cache::Known;
use super::infos::{all_agree, merge_infos};
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

fn is_newer(error: &NodeError) -> bool {
    matches!(error, NodeError::Newer(_))
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
        let existing = match self.head_container(name).await {
            Ok(info) => Some(info),
            Err(ListError::NotFound) => None,
            Err(ListError::Unavailable(error)) => return Err(error.into()),
        };
        let policy = match (&existing, policy) {
            (Some(info), Some(asked)) if info.policy != asked => {
                return Err(PutContainerError::PolicyConflict(info.policy));
            }
            (Some(info), _) => info.policy,
            (None, asked) => asked.unwrap_or(self.shared.settings.default_policy),
        };
        if !self.policies().contains(&policy) {
            return Err(PutContainerError::UnknownPolicy(policy));
        }
        let account = name.account_name();
        if existing.is_none() && self.account_info(&account).await?.is_none() {
            if !self.shared.settings.account_autocreate {
                return Err(PutContainerError::NoAccount);
            }
            self.put_account(&account, Vec::new()).await?;
        }
        let version = self.write_container(name, policy, &meta).await?;
        self.write_account_row(name, policy, version, Version(0)).await?;
        Ok(Created {
            created: existing.is_none(),
        })
    }

    /// Puts the container onto a quorum; returns the version it got.
    async fn write_container(
        &self,
        name: &ContainerName,
        policy: u32,
        meta: &[MetaChange],
    ) -> Result<Version, Unavailable> {
        let place = self.shared.container_place(name);
        let mut version = self.shared.hlc.next();
        for restamped in [false, true] {
            let put = PutContainer {
                account: name.account().to_owned(),
                container: name.container().to_owned(),
                version,
                policy,
                meta: stamped(meta, version),
            };
            let call: Call<Created> = Box::new(move |node, at, _| {
                let put = put.clone();
                Box::pin(async move { node.put_container(&at, put).await })
            });
            let (tally, _late) = fanout::write(&self.shared, &place, call).await;
            self.shared.infos.containers.forget(name.path());
            match tally.newer() {
                _ if tally.reached => break,
                Some(newer) if !restamped => version = self.shared.restamp(newer),
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
        let place = self.shared.account_place(&account);
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
        let (tally, _late) = fanout::write(&self.shared, &place, call).await;
        self.shared.infos.accounts.forget(account.as_str());
        if tally.reached {
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
        let place = self.shared.container_place(name);
        let mut version = self.shared.hlc.next();
        for restamped in [false, true] {
            let items = stamped(&meta, version);
            let call: Call<()> = Box::new(move |node, at, _| {
                let items = items.clone();
                Box::pin(async move { node.post_container(&at, version, items).await })
            });
            let (tally, _late) = fanout::write(&self.shared, &place, call).await;
            self.shared.infos.containers.forget(name.path());
            if tally.reached {
                return Ok(());
            }
            match tally.newer() {
                Some(newer) if !restamped => version = self.shared.restamp(newer),
                _ if not_found(&tally, place.read_quorum()) => return Err(PostMetaError::NotFound),
                _ => return Err(tally.unavailable().into()),
            }
        }
        Ok(())
    }

    /// Deletes an empty container.
    ///
    /// # Errors
    /// See [`DeleteContainerError`].
    pub async fn delete_container(&self, name: &ContainerName) -> Result<(), DeleteContainerError> {
        let one = ListRequest {
            limit: 1,
            ..ListRequest::default()
        };
        let page = match self.list_container(name, one).await {
            Ok(page) => page,
            Err(ListError::NotFound) => return Err(DeleteContainerError::NotFound),
            Err(ListError::Unavailable(error)) => return Err(error.into()),
        };
        if !page.entries.is_empty() {
            return Err(DeleteContainerError::NotEmpty);
        }
        let place = self.shared.container_place(name);
        let mut version = self.shared.restamp(page.info.newest);
        for restamped in [false, true] {
            let call: Call<()> = Box::new(move |node, at, _| {
                Box::pin(async move { node.delete_container(&at, version).await })
            });
            let (tally, _late) = fanout::write(&self.shared, &place, call).await;
            self.shared.infos.containers.forget(name.path());
            if tally.reached {
                break;
            }
            if tally.refused(|error| *error == NodeError::NotEmpty) > 0 {
                // An object came in meanwhile: replicas that had not heard of
                // it take the container back.
                if !tally.oks.is_empty() {
                    self.take_back(name, &page.info).await?;
                }
                return Err(DeleteContainerError::NotEmpty);
            }
            match tally.newer() {
                Some(newer) if !restamped && tally.refused(is_newer) > 0 => {
                    version = self.shared.restamp(newer)
                }
                _ if not_found(&tally, place.read_quorum()) => return Err(DeleteContainerError::NotFound),
                _ => return Err(tally.unavailable().into()),
            }
        }
        self.write_account_row(name, page.info.policy, page.info.put, version)
            .await?;
        Ok(())
    }

    async fn take_back(&self, name: &ContainerName, info: &ContainerInfo) -> Result<(), Unavailable> {
        let meta: Vec<_> = info
            .meta
            .iter()
            .map(|item| (item.name.clone(), item.value.clone()))
            .collect();
        self.write_container(name, info.policy, &meta).await.map(|_| ())
    }

    /// Info of a container, fresh from a read quorum.
    ///
    /// # Errors
    /// See [`ListError`].
    pub async fn head_container(&self, name: &ContainerName) -> Result<ContainerInfo, ListError> {
        let place = self.shared.container_place(name);
        let ask: Ask<ContainerInfo> =
            Box::new(|_, node, at| Box::pin(async move { node.head_container(&at).await }));
        let found = gather(&self.shared, &place, ask, all_agree).await?;
        merge_infos(found.into_iter().map(|(_, info)| info).collect()).ok_or(ListError::NotFound)
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
        let place = self.shared.container_place(name);
        listing::list(&self.shared, &place, list).await
    }
}

/// Whether so many replicas do not know the name that no acknowledged write
/// can have made it.
pub(super) fn not_found<T>(tally: &Tally<T>, quorum: usize) -> bool {
    tally.refused(|error| *error == NodeError::NotFound) >= quorum
}
