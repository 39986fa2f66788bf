//! Containers and accounts of the twin: fields merged one by one.
use std::collections::BTreeMap;

use virga_node::clock::Version;

use super::page::page;
use crate::error::NodeError;
use crate::listing::{
    AccountInfo, ContainerInfo, ContainerRow, Created, ListRequest, MetaItem, ObjectRow, Page, PolicyTotals,
    PutAccount, PutContainer,
};

/// When a container or account came and went, and its metadata.
#[derive(Default)]
struct Life {
    created: Version,
    put: Version,
    deleted: Version,
    meta: BTreeMap<String, (Version, String)>,
}

impl Life {
    fn exists(&self) -> bool {
        self.put > self.deleted
    }

    /// Merges a PUT; whether there was nothing before.
    fn put(&mut self, version: Version) -> Result<Created, NodeError> {
        if version <= self.deleted {
            return Err(NodeError::Newer(self.deleted));
        }
        let created = !self.exists();
        if created || version < self.created {
            self.created = version;
        }
        self.put = self.put.max(version);
        Ok(Created { created })
    }

    /// Merges metadata; what is older than the deletion went with it.
    fn merge(&mut self, items: Vec<MetaItem>) {
        for item in items.into_iter().filter(|item| item.version > self.deleted) {
            let slot = self.meta.entry(item.name).or_default();
            *slot = slot.clone().max((item.version, item.value));
        }
    }

    fn delete(&mut self, version: Version) -> Result<(), NodeError> {
        if !self.exists() {
            return Err(NodeError::NotFound);
        }
        if version <= self.put {
            return Err(NodeError::Newer(self.put));
        }
        self.deleted = version;
        self.meta.retain(|_, (written, _)| *written > version);
        Ok(())
    }

    fn items(&self) -> Vec<MetaItem> {
        let live = self.meta.iter().filter(|(_, (_, value))| !value.is_empty());
        live.map(|(name, (version, value))| MetaItem {
            name: name.clone(),
            value: value.clone(),
            version: *version,
        })
        .collect()
    }

    fn newest(&self) -> Version {
        let meta = self
            .meta
            .values()
            .map(|(version, _)| *version)
            .max()
            .unwrap_or_default();
        self.put.max(self.deleted).max(meta)
    }
}

/// What a row adds to the digest of its listing.
fn digest(name: &str, version: Version, deleted: bool) -> u128 {
    let mut hash = blake3::Hasher::new();
    hash.update(name.as_bytes())
        .update(&version.0.to_le_bytes())
        .update(&[u8::from(deleted)]);
    let mut half = [0; 16];
    half.copy_from_slice(&hash.finalize().as_bytes()[..16]);
    u128::from_le_bytes(half)
}

/// A container and its objects.
#[derive(Default)]
pub(super) struct Container {
    life: Life,
    names: (String, String),
    policy: u32,
    rows: BTreeMap<String, ObjectRow>,
}

impl Container {
    pub(super) fn put(&mut self, put: PutContainer) -> Result<Created, NodeError> {
        let first = self.life.created;
        let created = self.life.put(put.version)?;
        if created.created || self.life.created < first {
            self.policy = put.policy;
        }
        self.names = (put.account, put.container);
        self.life.merge(put.meta);
        Ok(created)
    }

    pub(super) fn post(&mut self, version: Version, meta: Vec<MetaItem>) -> Result<(), NodeError> {
        if !self.life.exists() {
            return Err(NodeError::NotFound);
        }
        if version <= self.life.deleted {
            return Err(NodeError::Newer(self.life.deleted));
        }
        self.life.merge(meta);
        Ok(())
    }

    pub(super) fn delete(&mut self, version: Version) -> Result<(), NodeError> {
        if self.life.exists() && self.rows.values().any(|row| !row.deleted) {
            return Err(NodeError::NotEmpty);
        }
        self.life.delete(version)?;
        self.rows.retain(|_, row| row.version > version);
        Ok(())
    }

    pub(super) fn merge(&mut self, rows: Vec<ObjectRow>) {
        for row in rows.into_iter().filter(|row| row.version > self.life.deleted) {
            match self.rows.get_mut(&row.name) {
                Some(old) => *old = merged(old, &row),
                None => {
                    self.rows.insert(row.name.clone(), row);
                }
            }
        }
    }

    pub(super) fn info(&self) -> Result<ContainerInfo, NodeError> {
        if !self.life.exists() {
            return Err(NodeError::NotFound);
        }
        let live = self.rows.values().filter(|row| !row.deleted);
        let newest = self
            .rows
            .values()
            .map(|row| row.version.max(row.meta_version))
            .max();
        let digests = self
            .rows
            .values()
            .map(|row| digest(&row.name, row.version, row.deleted));
        Ok(ContainerInfo {
            account: self.names.0.clone(),
            container: self.names.1.clone(),
            created: self.life.created,
            put: self.life.put,
            deleted: self.life.deleted,
            policy: self.policy,
            meta: self.life.items(),
            objects: live.clone().count() as u64,
            bytes: live.map(|row| row.size).sum(),
            newest: self.life.newest().max(newest.unwrap_or_default()),
            digest: digests.fold(0, u128::wrapping_add),
        })
    }

    pub(super) fn list(&self, list: &ListRequest) -> Result<Page<ContainerInfo, ObjectRow>, NodeError> {
        let info = self.info()?;
        let (entries, complete_to) = page(&self.rows, |row| !row.deleted, list);
        Ok(Page {
            info,
            entries,
            complete_to,
        })
    }
}

/// The data of the larger version with the content type of the larger
/// metadata version. Equal versions fall back on the contents, so that the
/// order of arrival never matters.
fn merged(a: &ObjectRow, b: &ObjectRow) -> ObjectRow {
    let data = |row: &ObjectRow| (row.version, !row.deleted, row.etag.clone(), row.size);
    let newer = if data(a) >= data(b) { a } else { b };
    let meta = |row: &ObjectRow| (row.meta_version, row.content_type.clone());
    let (meta_version, content_type) = meta(a).max(meta(b));
    if newer.deleted || meta_version < newer.version {
        return newer.clone();
    }
    ObjectRow {
        meta_version,
        content_type,
        ..newer.clone()
    }
}

/// An account and its containers.
#[derive(Default)]
pub(super) struct Account {
    life: Life,
    name: String,
    rows: BTreeMap<String, ContainerRow>,
}

fn live(row: &ContainerRow) -> bool {
    row.put > row.deleted
}

impl Account {
    pub(super) fn put(&mut self, put: PutAccount) -> Result<Created, NodeError> {
        let created = self.life.put(put.version)?;
        self.name = put.account;
        self.life.merge(put.meta);
        Ok(created)
    }

    pub(super) fn delete(&mut self, version: Version) -> Result<(), NodeError> {
        self.life.delete(version)
    }

    pub(super) fn merge(&mut self, rows: Vec<ContainerRow>) {
        for row in rows {
            let old = self.rows.entry(row.name.clone()).or_insert_with(|| row.clone());
            old.policy = (old.put, old.policy).max((row.put, row.policy)).1;
            old.put = old.put.max(row.put);
            old.deleted = old.deleted.max(row.deleted);
            (old.counted, old.objects, old.bytes) =
                (old.counted, old.objects, old.bytes).max((row.counted, row.objects, row.bytes));
        }
    }

    pub(super) fn info(&self) -> Result<AccountInfo, NodeError> {
        if !self.life.exists() {
            return Err(NodeError::NotFound);
        }
        let mut policies: BTreeMap<u32, PolicyTotals> = BTreeMap::new();
        for row in self.rows.values().filter(|row| live(row)) {
            let totals = policies.entry(row.policy).or_default();
            totals.policy = row.policy;
            totals.containers += 1;
            totals.objects += row.objects;
            totals.bytes += row.bytes;
        }
        let newest = self
            .rows
            .values()
            .map(|row| row.put.max(row.deleted).max(row.counted))
            .max();
        let digests = self
            .rows
            .values()
            .map(|row| digest(&row.name, row.put.max(row.deleted), !live(row)));
        Ok(AccountInfo {
            account: self.name.clone(),
            created: self.life.created,
            put: self.life.put,
            deleted: self.life.deleted,
            meta: self.life.items(),
            containers: policies.values().map(|totals| totals.containers).sum(),
            objects: policies.values().map(|totals| totals.objects).sum(),
            bytes: policies.values().map(|totals| totals.bytes).sum(),
            policies: policies.into_values().collect(),
            newest: self.life.newest().max(newest.unwrap_or_default()),
            digest: digests.fold(0, u128::wrapping_add),
        })
    }

    pub(super) fn list(&self, list: &ListRequest) -> Result<Page<AccountInfo, ContainerRow>, NodeError> {
        let info = self.info()?;
        let (entries, complete_to) = page(&self.rows, live, list);
        Ok(Page {
            info,
            entries,
            complete_to,
        })
    }
}
