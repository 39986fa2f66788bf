//! `virga admin fsck ACCOUNT`: objects against listings, both ways.
//!
//! Runs in a process with a proxy, which the control socket asks ([`ask`] is the
//! asking side). First every row is held against its object, then every object
//! that a device holds against its container. A difference is looked at twice:
//! what changes meanwhile is none. Repairs go through the proxy's core like any
//! write, so they are as safe as those, and the newest word wins.
pub mod ask;

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{self, Sender};
use virga_node::task::Tasks;
use virga_object_wire::listing::{Entry, ListRequest, ObjectRow, split_path};
use virga_object_wire::movement::{Buckets, NamesRequest};
use virga_object_wire::node::ObjectNode;
use virga_object_wire::object::{At, Found, ObjectStat, PostMeta};
use virga_proxy::core::{AccountName, ContainerName, Core, ListError, ObjectName, ReadObjectError};
use virga_ring::{Device, NameHash, Partition, RingHandle};

/// Objects looked at at the same time.
const AT_ONCE: usize = 16;
/// Rows, or names of a device, asked for at a time.
const PAGE: u32 = 1000;
/// What is told and not yet read.
const WAITING: usize = 64;
/// Partitions between two signs of life.
const TELL: u64 = 64;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsckCall {
    /// The account ("AUTH_...").
    pub account: String,
    /// Whether what differs is repaired.
    pub repair: bool,
}

/// What is told while it goes on, a line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// How far it is.
    Progress {
        /// "rows" or "objects".
        of: String,
        /// Rows looked at, or partitions of devices.
        done: u64,
        /// Of so many, as far as that is known.
        total: u64,
    },
    /// Something differs.
    Finding(Finding),
    /// It is done.
    End(Summary),
    /// It cannot go on.
    Failed(String),
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// "account/container/object".
    pub path: String,
    /// Whether it is repaired now.
    pub repaired: bool,
    /// Why it is not, if it was to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Kinds of differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A row names an object that is not there. Repaired: the row goes.
    RowWithoutObject,
    /// A row says something else than its object. Repaired: it says the same.
    RowDiffers,
    /// No row names an object. Repaired: one does.
    ObjectWithoutRow,
    /// An object's container is not there. Never repaired: nobody knows whether
    /// the object or the container is the mistake.
    ObjectWithoutContainer,
}

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Containers, those of versions included.
    pub containers: u64,
    /// Rows.
    pub rows: u64,
    /// Objects found on devices, each once.
    pub objects: u64,
    /// Differences.
    pub findings: u64,
    /// Of which repaired.
    pub repaired: u64,
    /// Devices that could not be asked: objects there may have been missed.
    pub silent_devices: Vec<String>,
}

/// From a device to its node.
pub type NodeOf = Box<dyn Fn(&Device) -> Option<Arc<dyn ObjectNode>> + Send + Sync>;

/// A check under way.
pub struct Check {
    /// The proxy.
    pub core: Core,
    /// Rings of objects, by storage policy.
    pub rings: Vec<(u32, Arc<RingHandle>)>,
    /// The nodes.
    pub nodes: NodeOf,
    /// What to do.
    pub call: FsckCall,
    /// Who listens; the check ends when nobody does.
    pub to: Sender<Told>,
}

/// Begins a check; the answer of the control socket is what it tells.
pub fn begin(check: impl FnOnce(Sender<Told>) -> Check, tasks: &Tasks) -> Response {
    let (to, from) = mpsc::channel(WAITING);
    tasks.spawn(check(to).run());
    let lines = stream::unfold(from, |mut from| async move {
        let told = from.recv().await?;
        // Text and numbers only: there is nothing that could fail.
        let mut line = serde_json::to_vec(&told).unwrap_or_default();
        line.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(line)), from))
    });
    Body::from_stream(lines).into_response()
}

/// Nobody listens any more, or it cannot go on: the sentence says why.
type Stop = String;

impl Check {
    /// Does it all, and tells.
    pub async fn run(self) {
        let last = match self.both_ways().await {
            Ok(summary) => Told::End(summary),
            Err(why) => Told::Failed(why),
        };
        // Nobody to tell: nobody waits.
        let _ = self.to.send(last).await;
    }

    async fn both_ways(&self) -> Result<Summary, Stop> {
        let account =
            AccountName::new(&self.call.account).map_err(|e| format!("{}: {e}", self.call.account))?;
        let info = self
            .core
            .head_account(&account)
            .await
            .map_err(|error| match error {
                ListError::NotFound => format!("there is no account {account}"),
                ListError::Unavailable(why) => format!("{account}: {why}"),
            })?;
        let mut summary = Summary::default();
        self.rows(&account, info.objects, &mut summary).await?;
        self.objects(&account, &mut summary).await?;
        Ok(summary)
    }

    async fn tell(&self, told: Told) -> Result<(), Stop> {
        self.to
            .send(told)
            .await
            .map_err(|_| "nobody listens any more".to_owned())
    }

    async fn found(&self, finding: Finding, summary: &mut Summary) -> Result<(), Stop> {
        summary.findings += 1;
        summary.repaired += u64::from(finding.repaired);
        self.tell(Told::Finding(finding)).await
    }

    /// From every row to its object.
    async fn rows(&self, account: &AccountName, total: u64, summary: &mut Summary) -> Result<(), Stop> {
        let mut list = page();
        loop {
            let listed = self.core.list_account(account, list.clone()).await;
            let listed = listed.map_err(|e| format!("{account}: {e}"))?;
            for entry in listed.entries {
                let Entry::Row(row) = entry else { continue };
                list.marker.clone_from(&row.name);
                let Ok(container) = account.container(&row.name) else {
                    continue;
                };
                summary.containers += 1;
                self.container(&container, total, summary).await?;
            }
            if !listed.more {
                return Ok(());
            }
        }
    }

    async fn container(
        &self,
        container: &ContainerName,
        total: u64,
        summary: &mut Summary,
    ) -> Result<(), Stop> {
        let mut list = page();
        loop {
            let listed = match self.core.list_container(container, list.clone()).await {
                Ok(listed) => listed,
                // Deleted since its account was asked.
                Err(ListError::NotFound) => return Ok(()),
                Err(error) => return Err(format!("{container}: {error}")),
            };
            let rows: Vec<ObjectRow> = listed
                .entries
                .into_iter()
                .filter_map(|entry| match entry {
                    Entry::Row(row) => Some(row),
                    Entry::Subdir(_) => None,
                })
                .collect();
            if let Some(last) = rows.last() {
                list.marker.clone_from(&last.name);
            }
            summary.rows += rows.len() as u64;
            let looks = rows.into_iter().map(|row| self.row(container, row));
            let mut findings = stream::iter(looks).buffered(AT_ONCE);
            while let Some(finding) = findings.next().await {
                if let Some(finding) = finding? {
                    self.found(finding, summary).await?;
                }
            }
            let (of, done) = ("rows".to_owned(), summary.rows);
            self.tell(Told::Progress { of, done, total }).await?;
            if !listed.more {
                return Ok(());
            }
        }
    }

    /// Holds one row against its object, twice if they differ.
    async fn row(&self, container: &ContainerName, row: ObjectRow) -> Result<Option<Finding>, Stop> {
        let Ok(name) = container.object(&row.name) else {
            return Ok(None);
        };
        let mut row = row;
        for again in [true, false] {
            let stat = self.head(&name).await?;
            let kind = match &stat {
                None => Kind::RowWithoutObject,
                Some(stat) if ObjectRow::of(stat).as_ref() == Some(&row) => return Ok(None),
                Some(_) => Kind::RowDiffers,
            };
            if again {
                match self.listed(&name).await? {
                    Some(now) => row = now,
                    None => return Ok(None),
                }
                continue;
            }
            return Ok(Some(match (kind, stat) {
                (Kind::RowDiffers, Some(stat)) => {
                    self.repaired(kind, &name, self.say_again(&name, stat)).await
                }
                (kind, _) => {
                    let delete = async {
                        let deleted = self.core.delete_object(&name, None).await;
                        deleted.map(drop).map_err(|e| e.to_string())
                    };
                    self.repaired(kind, &name, delete).await
                }
            }));
        }
        Ok(None)
    }

    /// The finding, repaired if that is wanted and can be done.
    async fn repaired(
        &self,
        kind: Kind,
        name: &ObjectName,
        repair: impl Future<Output = Result<(), String>>,
    ) -> Finding {
        let done = match self.call.repair {
            true => Some(repair.await),
            false => None,
        };
        Finding {
            kind,
            path: name.path().to_owned(),
            repaired: done.as_ref().is_some_and(Result::is_ok),
            trouble: done.and_then(Result::err),
        }
    }

    /// Writes an object's metadata once more as it is, and with it the row.
    async fn say_again(&self, name: &ObjectName, stat: ObjectStat) -> Result<(), String> {
        let meta = PostMeta {
            content_type: Some(stat.meta.content_type),
            delete_at: stat.meta.delete_at,
            headers: stat.meta.headers,
        };
        let posted = self.core.post_object(name, meta, None).await;
        let stat = posted.map_err(|e| e.to_string())?;
        match self.listed(name).await? {
            Some(row) if ObjectRow::of(&stat).as_ref() == Some(&row) => Ok(()),
            _ => Err(
                "its row still says something else: a write of it is under way, or its row is newer"
                    .to_owned(),
            ),
        }
    }

    async fn head(&self, name: &ObjectName) -> Result<Option<ObjectStat>, Stop> {
        match self.core.head_object(name, true).await {
            Ok(stat) => Ok(Some(stat)),
            Err(ReadObjectError::NotFound { .. }) => Ok(None),
            Err(error) => Err(format!("{name}: {error}")),
        }
    }

    /// The row of an object, if there is one.
    async fn listed(&self, name: &ObjectName) -> Result<Option<ObjectRow>, Stop> {
        let list = ListRequest {
            prefix: name.object().to_owned(),
            limit: 1,
            ..ListRequest::default()
        };
        match self.core.list_container(&name.container_name(), list).await {
            Ok(page) => Ok(page.entries.into_iter().find_map(|entry| match entry {
                Entry::Row(row) if row.name == name.object() => Some(row),
                Entry::Row(_) | Entry::Subdir(_) => None,
            })),
            Err(ListError::NotFound) => Ok(None),
            Err(error) => Err(format!("{name}: {error}")),
        }
    }

    /// From every object that a device holds to its container.
    async fn objects(&self, account: &AccountName, summary: &mut Summary) -> Result<(), Stop> {
        let mut places = Vec::new();
        for (policy, handle) in &self.rings {
            let ring = handle.current();
            let partitions = u32::try_from(ring.partition_count()).unwrap_or(u32::MAX);
            places.extend(
                ring.devices()
                    .map(|device| (*policy, handle, device.clone(), partitions)),
            );
        }
        let total = places.iter().map(|(.., partitions)| u64::from(*partitions)).sum();
        let (mut seen, mut done) = (HashSet::new(), 0);
        for (policy, handle, device, partitions) in places {
            let Some(node) = (self.nodes)(&device) else {
                summary.silent_devices.push(shown(&device));
                continue;
            };
            let holder = Holder {
                node,
                device: device.device.as_str().into(),
                policy,
                handle: handle.clone(),
            };
            for partition in 0..partitions {
                let names = match holder.names(Partition(partition)).await {
                    Ok(names) => names,
                    Err(why) => {
                        tracing::warn!(device = %shown(&device), why, "fsck: a device does not say what it holds");
                        summary.silent_devices.push(shown(&device));
                        break;
                    }
                };
                let fresh: Vec<NameHash> = names.into_iter().filter(|hash| !seen.contains(hash)).collect();
                let looks = fresh
                    .into_iter()
                    .map(|hash| self.object(account, &holder, Partition(partition), hash));
                let mut looks = stream::iter(looks).buffered(AT_ONCE);
                while let Some(looked) = looks.next().await {
                    let Some((hash, finding)) = looked? else { continue };
                    seen.insert(hash);
                    summary.objects += 1;
                    if let Some(finding) = finding {
                        self.found(finding, summary).await?;
                    }
                }
                done += 1;
                if done % TELL == 0 {
                    let of = "objects".to_owned();
                    self.tell(Told::Progress { of, done, total }).await?;
                }
            }
        }
        Ok(())
    }

    /// Holds one object against its container; `None` for those of others, and
    /// for what is no object any more.
    async fn object(
        &self,
        account: &AccountName,
        holder: &Holder,
        partition: Partition,
        hash: NameHash,
    ) -> Result<Option<(NameHash, Option<Finding>)>, Stop> {
        let Some(path) = holder.path(partition, hash).await? else {
            return Ok(None);
        };
        let Some((owner, container, object)) = split_path(&path) else {
            return Ok(None);
        };
        if owner != account.as_str() {
            return Ok(None);
        }
        let Ok(name) = ObjectName::new(owner, container, object) else {
            return Ok(None);
        };
        if self.listed(&name).await?.is_some() {
            return Ok(Some((hash, None)));
        }
        if matches!(
            self.core.head_container(&name.container_name()).await,
            Err(ListError::NotFound)
        ) {
            let finding = Finding {
                kind: Kind::ObjectWithoutContainer,
                path,
                repaired: false,
                trouble: None,
            };
            return Ok(Some((hash, Some(finding))));
        }
        // One replica may have missed a deletion: what all say counts.
        let Some(stat) = self.head(&name).await? else {
            return Ok(None);
        };
        if self.listed(&name).await?.is_some() {
            return Ok(Some((hash, None)));
        }
        let finding = self
            .repaired(Kind::ObjectWithoutRow, &name, self.say_again(&name, stat))
            .await;
        Ok(Some((hash, Some(finding))))
    }
}

fn page() -> ListRequest {
    ListRequest {
        limit: PAGE,
        ..ListRequest::default()
    }
}

fn shown(device: &Device) -> String {
    format!("{}:{}/{}", device.ip, device.port, device.device)
}

/// A device that is asked what it holds.
struct Holder {
    node: Arc<dyn ObjectNode>,
    device: Arc<str>,
    policy: u32,
    handle: Arc<RingHandle>,
}

impl Holder {
    /// Names of objects of a partition, deletions left out.
    async fn names(&self, partition: Partition) -> Result<Vec<NameHash>, Stop> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let wanted = NamesRequest {
                policy: self.policy,
                partition,
                buckets: Buckets::ALL,
                after,
                limit: PAGE,
            };
            let page = self
                .node
                .names(&self.device, wanted)
                .await
                .map_err(|e| e.to_string())?;
            let live = page
                .names
                .iter()
                .filter(|name| name.data.is_some_and(|data| !data.deleted));
            all.extend(live.map(|name| name.hash));
            match page.upto {
                Some(upto) => after = Some(upto),
                None => return Ok(all),
            }
        }
    }

    /// Path of an object that the device holds.
    async fn path(&self, partition: Partition, hash: NameHash) -> Result<Option<String>, Stop> {
        let at = At {
            device: self.device.clone(),
            policy: self.policy,
            partition,
            hash,
            ring: self.handle.epoch(),
        };
        match self.node.head(&at).await {
            Ok(Found::Object(stat)) => Ok(Some(stat.meta.path)),
            Ok(Found::Deleted(_) | Found::Absent) => Ok(None),
            Err(error) => Err(format!("{}: {error}", self.device)),
        }
    }
}

#[cfg(test)]
mod tests;
