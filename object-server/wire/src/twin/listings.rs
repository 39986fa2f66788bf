//! Containers and accounts of the twin: fields merged one by one.
use std::collections::BTreeMap;

use virga_node::clock::Version;

use super::page::page;
use crate::error::NodeError;
use crate::listing::{
    AccountInfo, ContainerInfo, ContainerRow, Created, Life, ListRequest, ListingState, MetaItem, ObjectRow,
    Page, PolicyTotals, PutAccount, PutContainer,
};

/// When a container or account came and went, and its metadata.
#[derive(Default)]
struct Known {
    life: Life,
    meta: BTreeMap<String, (Version, String)>,
}

impl Known {
    fn exists(&self) -> bool {
        self.life.put > self.life.deleted
    }

    /// Merges a PUT; whether there was nothing before.
    fn put(&mut self, version: Version, policy: u32) -> Result<Created, NodeError> {
        let existed = self.exists();
        self.life.put(version, policy);
        if self.exists() {
            Ok(Created { created: !existed })
        } else {
            Err(NodeError::Newer(self.life.deleted))
        }
    }

    /// Merges metadata; what is older than the deletion went with it.
    fn merge(&mut self, items: Vec<MetaItem>) {
        for item in items {
            self.life.newest = self.life.newest.max(item.version);
            if item.version > self.life.deleted {
                let slot = self.meta.entry(item.name).or_default();
                *slot = slot.clone().max((item.version, item.value));
            }
        }
    }

    /// Merges a deletion, known or not: a PUT that is older stays without effect.
    fn delete(&mut self, version: Version) -> Result<(), NodeError> {
        let (existed, again) = (self.exists(), self.life.deleted == version);
        self.life.delete(version);
        self.forget_deleted();
        match (existed, self.exists()) {
            (true, true) => Err(NodeError::Newer(self.life.put)),
            (true, false) => Ok(()),
            (false, _) if again => Ok(()),
            (false, _) => Err(NodeError::NotFound),
        }
    }

    fn forget_deleted(&mut self) {
        let deleted = self.life.deleted;
        self.meta.retain(|_, (written, _)| *written > deleted);
    }

    /// Merges what another replica knows.
    fn tell(&mut self, told: ListingState) {
        self.life.merge(&told.life);
        self.forget_deleted();
        self.merge(told.meta);
    }

    fn items(&self) -> Vec<MetaItem> {
        let item = |(name, (version, value)): (&String, &(Version, String))| MetaItem {
            name: name.clone(),
            value: value.clone(),
            version: *version,
        };
        self.meta.iter().map(item).collect()
    }
}

/// What a row adds to the digest of its listing: a hash of all it says.
fn digest(row: &impl std::fmt::Debug) -> u128 {
    let mut half = [0; 16];
    half.copy_from_slice(&blake3::hash(format!("{row:?}").as_bytes()).as_bytes()[..16]);
    u128::from_le_bytes(half)
}

/// A container and its objects.
#[derive(Default)]
pub(super) struct Container {
    known: Known,
    names: (String, String),
    rows: BTreeMap<String, ObjectRow>,
}

impl Container {
    pub(super) fn put(&mut self, put: PutContainer) -> Result<Created, NodeError> {
        if put.deleted > self.known.life.deleted && put.deleted < put.version {
            // Only makes up for what was missed; what it answers is of no use.
            let _ = self.known.delete(put.deleted);
        }
        self.names = (put.account, put.container);
        let created = self.known.put(put.version, put.policy);
        self.known.merge(put.meta);
        created
    }

    pub(super) fn post(&mut self, version: Version, meta: Vec<MetaItem>) -> Result<(), NodeError> {
        if !self.known.exists() {
            return Err(NodeError::NotFound);
        }
        self.known.life.newest = self.known.life.newest.max(version);
        self.known.merge(meta);
        Ok(())
    }

    pub(super) fn delete(&mut self, version: Version) -> Result<(), NodeError> {
        let exists = self.known.exists();
        if self.rows.values().any(|row| !row.deleted) {
            let unknown = self.known.life.is_unknown();
            return Err(match () {
                () if exists && version <= self.known.life.put => NodeError::Newer(self.known.life.put),
                () if exists || unknown => NodeError::NotEmpty,
                () => NodeError::NotFound,
            });
        }
        self.known.delete(version)
    }

    pub(super) fn merge(&mut self, rows: Vec<ObjectRow>) {
        for row in rows.into_iter().map(normal) {
            let old = self.rows.get(&row.name);
            if old.is_none_or(|old| row.rank() > old.rank()) {
                let newest = &mut self.known.life.newest;
                *newest = (*newest).max(row.version).max(row.meta_version);
                self.rows.insert(row.name.clone(), row);
            }
        }
    }

    pub(super) fn info(&self) -> ContainerInfo {
        let live = self.rows.values().filter(|row| !row.deleted);
        ContainerInfo {
            account: self.names.0.clone(),
            container: self.names.1.clone(),
            created: self.known.life.created,
            put: self.known.life.put,
            deleted: self.known.life.deleted,
            policy: self.known.life.policy,
            meta: self.known.items(),
            objects: live.clone().count() as u64,
            bytes: live.map(|row| row.size).sum(),
            newest: self.known.life.newest,
            digest: self.rows.values().map(digest).fold(0, u128::wrapping_add),
        }
    }

    pub(super) fn list(&self, list: &ListRequest) -> Page<ContainerInfo, ObjectRow> {
        let (entries, complete_to) = page(&self.rows, |row| !row.deleted, list);
        Page {
            info: self.info(),
            entries,
            complete_to,
        }
    }
}

/// A row as it is kept: a deletion has no contents, and metadata is never
/// older than its data.
fn normal(mut row: ObjectRow) -> ObjectRow {
    if row.deleted {
        (row.size, row.etag) = (0, String::new());
    }
    row.meta_version = row.meta_version.max(row.version);
    row
}

/// An account and its containers.
#[derive(Default)]
pub(super) struct Account {
    known: Known,
    name: String,
    rows: BTreeMap<String, ContainerRow>,
}

impl Account {
    /// Whether a row counts: rows from before the account's deletion do not.
    fn live(&self, row: &ContainerRow) -> bool {
        row.put > row.deleted && row.put > self.known.life.deleted
    }

    pub(super) fn put(&mut self, put: PutAccount) -> Result<Created, NodeError> {
        self.name = put.account;
        let created = self.known.put(put.version, 0);
        self.known.merge(put.meta);
        created
    }

    pub(super) fn delete(&mut self, version: Version) -> Result<(), NodeError> {
        self.known.delete(version)
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

    pub(super) fn info(&self) -> AccountInfo {
        let mut policies: BTreeMap<u32, PolicyTotals> = BTreeMap::new();
        for row in self.rows.values().filter(|row| self.live(row)) {
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
        AccountInfo {
            account: self.name.clone(),
            created: self.known.life.created,
            put: self.known.life.put,
            deleted: self.known.life.deleted,
            meta: self.known.items(),
            containers: policies.values().map(|totals| totals.containers).sum(),
            objects: policies.values().map(|totals| totals.objects).sum(),
            bytes: policies.values().map(|totals| totals.bytes).sum(),
            policies: policies.into_values().collect(),
            newest: self.known.life.newest.max(newest.unwrap_or_default()),
            digest: self.rows.values().map(digest).fold(0, u128::wrapping_add),
        }
    }

    pub(super) fn list(&self, list: &ListRequest) -> Page<AccountInfo, ContainerRow> {
        let (entries, complete_to) = page(&self.rows, |row| self.live(row), list);
        Page {
            info: self.info(),
            entries,
            complete_to,
        }
    }
}

/// What both kinds of listings have for whoever compares replicas.
pub(super) trait Compared {
    /// What is known beside the rows.
    fn state(&self) -> ListingState;
    /// Each row by name, with what it adds to the digest.
    fn sums(&self) -> Vec<(String, u128)>;
    /// Merges what another replica knows beside the rows.
    fn tell(&mut self, told: ListingState);
}

impl Compared for Container {
    fn state(&self) -> ListingState {
        let info = self.info();
        ListingState {
            account: info.account,
            container: info.container,
            life: Life {
                newest: info.newest,
                ..self.known.life
            },
            meta: info.meta,
            rows: self.rows.len() as u64,
            digest: info.digest,
        }
    }

    fn sums(&self) -> Vec<(String, u128)> {
        let rows = self.rows.iter();
        rows.map(|(name, row)| (name.clone(), digest(row))).collect()
    }

    fn tell(&mut self, told: ListingState) {
        if self.names.0.is_empty() {
            self.names = (told.account.clone(), told.container.clone());
        }
        self.known.tell(told);
    }
}

impl Compared for Account {
    fn state(&self) -> ListingState {
        let info = self.info();
        ListingState {
            account: info.account,
            container: String::new(),
            life: Life {
                newest: info.newest,
                ..self.known.life
            },
            meta: info.meta,
            rows: self.rows.len() as u64,
            digest: info.digest,
        }
    }

    fn sums(&self) -> Vec<(String, u128)> {
        let rows = self.rows.iter();
        rows.map(|(name, row)| (name.clone(), digest(row))).collect()
    }

    fn tell(&mut self, told: ListingState) {
        if self.name.is_empty() {
            self.name.clone_from(&told.account);
        }
        self.known.tell(told);
    }
}
