//! Accounts: PUT, POST, DELETE, HEAD and their listings.
use std::sync::Arc;

use virga_object_wire::error::NodeError;
use virga_object_wire::listing::{AccountInfo, ContainerRow, Created, ListRequest, PutAccount};

use super::containers::stamped;
use super::error::{ListError, PostMetaError, Unavailable};
use super::fanout::{self, Call};
use super::gather::{Ask, Scope, gather};
use super::info_cache::Known;
use super::infos::{Info, all_agree, merge_infos};
use super::listing::{self, Listing};
use super::names::AccountName;
use super::{Core, MetaChange};

impl Core {
    /// Makes an account or changes its metadata.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn put_account(
        &self,
        name: &AccountName,
        meta: Vec<MetaChange>,
    ) -> Result<Created, Unavailable> {
        let known = self.known_account(name).await?;
        let mut place = self.shared.account_place(name);
        let mut version = self.shared.restamp(known.life());
        for restamped in [false, true] {
            let put = PutAccount {
                account: name.as_str().to_owned(),
                version,
                meta: stamped(&meta, version),
            };
            let call: Call<Created> = Box::new(move |node, at, _| {
                let put = put.clone();
                Box::pin(async move { node.put_account(&at, put).await })
            });
            let (tally, _late) = fanout::write(&self.shared, &mut place, call).await;
            self.shared.infos.accounts.forget(name.as_str());
            match tally.newer() {
                _ if tally.by_members => break,
                Some(newer) if !restamped => version = self.shared.restamp(newer),
                _ => return Err(tally.unavailable()),
            }
        }
        Ok(Created {
            created: !known.exists(),
        })
    }

    /// Changes the metadata of an account; makes it if accounts make themselves.
    ///
    /// # Errors
    /// See [`PostMetaError`].
    pub async fn post_account(&self, name: &AccountName, meta: Vec<MetaChange>) -> Result<(), PostMetaError> {
        if !self.shared.settings.account_autocreate && self.account_info(name).await?.is_none() {
            return Err(PostMetaError::NotFound);
        }
        self.put_account(name, meta).await?;
        Ok(())
    }

    /// Deletes an account; its containers are reaped later.
    ///
    /// # Errors
    /// See [`PostMetaError`].
    pub async fn delete_account(&self, name: &AccountName) -> Result<(), PostMetaError> {
        let known = self.known_account(name).await?;
        if !known.exists() {
            return Err(PostMetaError::NotFound);
        }
        let mut place = self.shared.account_place(name);
        let mut version = self.shared.restamp(known.life());
        for again in [true, true, false] {
            let call: Call<()> =
                Box::new(move |node, at, _| Box::pin(async move { node.delete_account(&at, version).await }));
            let (tally, _late) = fanout::write(&self.shared, &mut place, call).await;
            self.shared.infos.accounts.forget(name.as_str());
            match tally.newer() {
                _ if tally.by_members => return Ok(()),
                Some(newer) if again => version = self.shared.restamp(newer),
                // A replica that missed the PUT has taken the deletion and says
                // that there was nothing; asked again it says yes.
                None if again && !tally.refused(|error| *error == NodeError::NotFound).is_empty() => {}
                _ => return Err(tally.unavailable().into()),
            }
        }
        Ok(())
    }

    /// What a read quorum knows of an account together, whether or not it
    /// exists; removed metadata included.
    async fn known_account(&self, name: &AccountName) -> Result<AccountInfo, Unavailable> {
        let mut place = self.shared.account_place(name);
        let ask: Ask<AccountInfo> =
            Box::new(|_, node, at| Box::pin(async move { node.head_account(&at).await }));
        let found = gather(&self.shared, &mut place, Scope::Quorum, ask, all_agree).await?;
        Ok(merge_infos(found.into_iter().map(|heard| heard.said).collect()).unwrap_or_default())
    }

    /// Info of an account, fresh from a read quorum.
    ///
    /// # Errors
    /// See [`ListError`].
    pub async fn head_account(&self, name: &AccountName) -> Result<AccountInfo, ListError> {
        let known = self.known_account(name).await?;
        known.exists().then(|| known.shown()).ok_or(ListError::NotFound)
    }

    /// Info of an account for checks: see [`Core::container_info`].
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn account_info(&self, name: &AccountName) -> Result<Option<Arc<AccountInfo>>, Unavailable> {
        let ticket = match self.shared.infos.accounts.get(name.as_str()) {
            Known::Fresh(info) => return Ok(Some(info)),
            Known::Ask(ticket) => ticket,
        };
        let info = match self.head_account(name).await {
            Ok(info) => Some(Arc::new(info)),
            Err(ListError::NotFound) => None,
            Err(ListError::Unavailable(error)) => return Err(error),
        };
        self.shared
            .infos
            .accounts
            .put(name.as_str(), ticket, info.clone());
        Ok(info)
    }

    /// A page of an account's containers, merged from a read quorum.
    ///
    /// # Errors
    /// See [`ListError`].
    pub async fn list_account(
        &self,
        name: &AccountName,
        list: ListRequest,
    ) -> Result<Listing<AccountInfo, ContainerRow>, ListError> {
        let mut place = self.shared.account_place(name);
        listing::list(&self.shared, &mut place, list).await
    }
}
