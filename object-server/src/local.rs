//! The node in this process: every call goes to the device it names.
//!
//! A device that could not be opened, or fails later, answers for itself
//! alone; the others go on.
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use virga_disk::kv::KvCache;
use virga_node::clock::{Clock, Micros, Version};
use virga_object_wire::admin::{AdminAnswer, AdminRequest};
use virga_object_wire::checked::Checked;
use virga_object_wire::error::NodeError;
use virga_object_wire::hold::{Hold, Holds};
use virga_object_wire::listing::{
    AccountInfo, ContainerInfo, ContainerRow, Created, ListRequest, ListingKind, ListingState, ListingSum,
    ListingSums, MetaItem, ObjectRow, Page, PartSums, PutAccount, PutContainer, RowRange, RowSums,
    ShardsRequest,
};
use virga_object_wire::movement::{
    Answering, Movement, NamesPage, NamesRequest, NewerRing, Push, Records, RingName, Sum, Sums, ring_of,
};
use virga_object_wire::node::{Cause, DeviceStatus, ObjectNode, PutStream, Read, Reason, Span};
use virga_object_wire::object::{
    At, Deleted, Found, ObjectStat, PostMeta, PutObject, Settled, Source, SubtreesRequest,
};
use virga_ring::Partition;

use crate::admin;
use crate::admission::{self, Traffic};
use crate::config::Config;
use crate::device::{device_config, open_device};
use crate::movement::Movements;
use crate::rings::Rings;

pub use crate::device::DeviceParts;
pub(crate) use crate::device::OpenDevice;

/// A device of the configuration.
pub(crate) enum Place {
    Open(OpenDevice),
    /// Why it could not be opened.
    Failed(String),
}

/// The devices of this machine as one node.
pub struct LocalNode {
    pub(crate) places: BTreeMap<Arc<str>, Place>,
    clock: Arc<dyn Clock>,
    opened: Micros,
    pub(crate) traffic: Traffic,
    holds: Holds,
    movements: Movements,
}

impl LocalNode {
    /// Opens all devices at the same time, each replaying what its index
    /// lacks. One that cannot be opened is reported and answers `NoDevice`.
    pub async fn open(config: &Config, clock: &Arc<dyn Clock>) -> Self {
        let cache = KvCache::new(usize::try_from(config.cache_bytes).unwrap_or(usize::MAX));
        let devices = config
            .devices
            .iter()
            .map(|entry| device_config(config, entry, &cache));
        Self::open_parts(devices.collect(), clock).await
    }

    /// As [`LocalNode::open`], of devices that are described one by one: on disks
    /// that are not folders, or with options of their own.
    pub async fn open_parts(devices: Vec<DeviceParts>, clock: &Arc<dyn Clock>) -> Self {
        let opening = devices.into_iter().map(|device| async {
            let (name, threads) = (
                Arc::clone(&device.objects.name),
                device.objects.options.threads.clone(),
            );
            let clock = Arc::clone(clock);
            let opened = threads.run(move || open_device(device, clock)).await;
            (name, opened.unwrap_or_else(|gone| Err(gone.to_string())))
        });
        let mut places = BTreeMap::new();
        for (name, opened) in join_all(opening).await {
            let judged = match opened {
                Ok(device) => match device.judge_listings().await {
                    Ok(()) => Ok(device),
                    Err(error) => Err(error.to_string()),
                },
                Err(why) => Err(why),
            };
            let place = match judged {
                Ok(device) => Place::Open(device),
                Err(why) => {
                    tracing::error!(device = &*name, why, "the device cannot be opened");
                    Place::Failed(why)
                }
            };
            places.insert(name, place);
        }
        Self {
            places,
            opened: clock.now(),
            clock: Arc::clone(clock),
            traffic: Traffic::default(),
            holds: Holds::default(),
            movements: Movements::default(),
        }
    }

    /// Says what the rings are and where the node stands in them, and judges
    /// which devices were away for too long to be believed at once.
    pub(crate) fn join(&self, rings: Rings, ip: String, port: u16) {
        for device in self.open_devices() {
            for (policy, _) in &rings.object {
                match device.judge_objects(*policy) {
                    Ok(false) => {}
                    Ok(true) => tracing::warn!(
                        device = &*device.name,
                        policy,
                        "was away for long: no reads before it is in step with the other replicas"
                    ),
                    // Judged again, and the device failed, with the first read.
                    Err(error) => {
                        tracing::error!(device = &*device.name, %error, "cannot tell its last round")
                    }
                }
            }
            device.absence.judged_all();
        }
        self.movements.set_known(rings, ip, port, Arc::clone(&self.clock));
    }

    /// Rings, address, and what the workers note of movement.
    pub(crate) fn movements(&self) -> &Movements {
        &self.movements
    }

    /// The devices that are open.
    pub(crate) fn open_devices(&self) -> impl Iterator<Item = &OpenDevice> {
        self.places.values().filter_map(|place| match place {
            Place::Open(device) => Some(device),
            Place::Failed(_) => None,
        })
    }

    /// Devices that could not be opened, with the reason.
    pub fn failed(&self) -> Vec<(Arc<str>, String)> {
        let failed = self.places.iter().filter_map(|(name, place)| match place {
            Place::Failed(why) => Some((Arc::clone(name), why.clone())),
            Place::Open(_) => None,
        });
        failed.collect()
    }

    /// Closes every device: what is queued becomes durable, the indexes are
    /// flushed, so that the next start replays nothing.
    pub async fn close(&self) {
        for device in self.open_devices() {
            if let Err(error) = device.objects.close().await {
                // acknowledged writes are in the log; the next start replays them
                tracing::warn!(device = &*device.name, %error, "the device did not close cleanly");
            }
        }
    }

    /// The reason to show when this node's clock is off.
    fn clock_trouble(&self) -> Option<Reason> {
        let detail = self.movements.known()?.clocks.trouble()?;
        Some(Reason {
            cause: Cause::Clock,
            since: self.clock.now(),
            detail,
        })
    }
}

#[async_trait]
impl ObjectNode for LocalNode {
    async fn put(&self, at: &At, put: PutObject, body: Checked) -> Result<(), NodeError> {
        self.admit(put.version)?;
        let ring = RingName::Object(at.policy);
        let device = match put.source {
            Source::Client => self.asked(ring, at)?,
            Source::Replica { .. } => self.placed(ring, at)?,
        };
        device.objects.put(at, put, body).await
    }

    async fn begin_put(&self, at: &At) -> Result<Box<dyn PutStream>, NodeError> {
        let device = self.placed(RingName::Object(at.policy), at)?;
        Ok(self.watched(device.objects.begin_put(at).await?))
    }

    async fn get(&self, at: &At, span: Option<Span>) -> Result<Read, NodeError> {
        self.believed(RingName::Object(at.policy), at)?
            .objects
            .get(at, span)
            .await
    }

    async fn get_expired_too(&self, at: &At, span: Option<Span>) -> Result<Read, NodeError> {
        self.believed(RingName::Object(at.policy), at)?
            .objects
            .get_expired_too(at, span)
            .await
    }

    async fn head(&self, at: &At) -> Result<Found, NodeError> {
        self.believed(RingName::Object(at.policy), at)?
            .objects
            .head(at)
            .await
    }

    async fn subtrees(&self, at: &At, wanted: SubtreesRequest) -> Result<Vec<[u8; 32]>, NodeError> {
        self.believed(RingName::Object(at.policy), at)?
            .objects
            .subtrees(at, wanted)
            .await
    }

    async fn records(&self, at: &At) -> Result<Records, NodeError> {
        self.believed(RingName::Object(at.policy), at)?
            .objects
            .records(at)
            .await
    }

    async fn post(&self, at: &At, version: Version, meta: PostMeta) -> Result<ObjectStat, NodeError> {
        self.admit(version)?;
        self.believed(RingName::Object(at.policy), at)?
            .objects
            .post(at, version, meta)
            .await
    }

    async fn post_expired_too(
        &self,
        at: &At,
        version: Version,
        meta: PostMeta,
    ) -> Result<ObjectStat, NodeError> {
        self.admit(version)?;
        self.believed(RingName::Object(at.policy), at)?
            .objects
            .post_expired_too(at, version, meta)
            .await
    }

    async fn delete(&self, at: &At, version: Version, path: &str) -> Result<Deleted, NodeError> {
        self.admit(version)?;
        self.asked(RingName::Object(at.policy), at)?
            .objects
            .delete(at, version, path)
            .await
    }

    async fn hold(&self, at: &At, hold: Hold) -> Result<bool, NodeError> {
        // Devices that fail say nothing about their names, whatever is asked.
        let _device = self.asked(RingName::Object(at.policy), at)?;
        self.holds.ask(at, &hold)
    }

    async fn settle(&self, device: &Arc<str>, rows: Vec<Settled>) -> Result<(), NodeError> {
        self.device(device)?.objects.settle(rows).await
    }

    async fn put_container(&self, at: &At, put: PutContainer) -> Result<Created, NodeError> {
        self.admit(put.version)?;
        Ok(self
            .placed(RingName::Container, at)?
            .listings_to_write()?
            .put_container(at, put)
            .await?)
    }

    async fn post_container(&self, at: &At, version: Version, meta: Vec<MetaItem>) -> Result<(), NodeError> {
        self.admit(version)?;
        Ok(self
            .believed(RingName::Container, at)?
            .listings_to_write()?
            .post_container(at, version, meta)
            .await?)
    }

    async fn delete_container(&self, at: &At, version: Version) -> Result<(), NodeError> {
        self.admit(version)?;
        Ok(self
            .believed(RingName::Container, at)?
            .listings_to_write()?
            .delete_container(at, version)
            .await?)
    }

    async fn head_container(&self, at: &At) -> Result<ContainerInfo, NodeError> {
        Ok(self
            .believed(RingName::Container, at)?
            .listings
            .head_container(at)
            .await?)
    }

    async fn list_container(
        &self,
        at: &At,
        list: ListRequest,
    ) -> Result<Page<ContainerInfo, ObjectRow>, NodeError> {
        Ok(self
            .believed(RingName::Container, at)?
            .listings
            .list_container(at, list)
            .await?)
    }

    async fn put_object_rows(&self, at: &At, rows: Vec<ObjectRow>) -> Result<(), NodeError> {
        self.admit(admission::newest_of_rows(&rows))?;
        Ok(self
            .asked(RingName::Container, at)?
            .listings_to_write()?
            .put_object_rows(at, rows)
            .await?)
    }

    async fn put_account(&self, at: &At, put: PutAccount) -> Result<Created, NodeError> {
        self.admit(put.version)?;
        Ok(self
            .placed(RingName::Account, at)?
            .listings_to_write()?
            .put_account(at, put)
            .await?)
    }

    async fn delete_account(&self, at: &At, version: Version) -> Result<(), NodeError> {
        self.admit(version)?;
        Ok(self
            .believed(RingName::Account, at)?
            .listings_to_write()?
            .delete_account(at, version)
            .await?)
    }

    async fn head_account(&self, at: &At) -> Result<AccountInfo, NodeError> {
        Ok(self
            .believed(RingName::Account, at)?
            .listings
            .head_account(at)
            .await?)
    }

    async fn list_account(
        &self,
        at: &At,
        list: ListRequest,
    ) -> Result<Page<AccountInfo, ContainerRow>, NodeError> {
        Ok(self
            .believed(RingName::Account, at)?
            .listings
            .list_account(at, list)
            .await?)
    }

    async fn put_container_rows(&self, at: &At, rows: Vec<ContainerRow>) -> Result<(), NodeError> {
        Ok(self
            .placed(RingName::Account, at)?
            .listings_to_write()?
            .put_container_rows(at, rows)
            .await?)
    }

    async fn status(&self) -> Result<Vec<DeviceStatus>, NodeError> {
        let status = self.places.iter().map(|(name, place)| match place {
            Place::Open(device) => {
                let mut status = device.objects.status();
                status.work = self.movements.work(name);
                status.work.extend(self.movements.duties(name));
                device.absence.show(&mut status);
                status.reasons.extend(self.clock_trouble());
                status
            }
            Place::Failed(why) => DeviceStatus::failed(
                name,
                Reason {
                    cause: Cause::CannotOpen,
                    since: self.opened,
                    detail: why.clone(),
                },
            ),
        });
        Ok(status.collect())
    }

    async fn admin(&self, device: &Arc<str>, request: AdminRequest) -> Result<AdminAnswer, NodeError> {
        let device = self.device(device)?;
        admin::answer(&device, &self.movements, request).await
    }

    async fn movement(&self) -> Result<Vec<Movement>, NodeError> {
        let mut all = Vec::new();
        for device in self.open_devices() {
            all.extend(self.movements.of_objects(device).await?);
            all.extend(self.movements.of_listings(device).await?);
        }
        Ok(all)
    }

    async fn ring_file(&self, ring: RingName, above: u64) -> Result<Option<Vec<u8>>, NodeError> {
        let known = self.movements.known();
        let Some(handle) = known.and_then(|known| known.ring(ring)) else {
            return Ok(None);
        };
        if handle.id().version <= above {
            return Ok(None);
        }
        let handle = Arc::clone(handle);
        let read = virga_node::task::offload(move || handle.to_file()).await;
        let failed = |why: String| NodeError::Device(format!("the {ring} ring cannot be given: {why}"));
        let bytes = read.map_err(|error| failed(error.to_string()))?;
        bytes.map(Some).map_err(|error| failed(error.to_string()))
    }

    async fn hear_of_ring(&self, newer: NewerRing) -> Result<(), NodeError> {
        if let Some(known) = self.movements.known() {
            known.fence.hear(newer);
        }
        Ok(())
    }

    async fn sums(
        &self,
        device: &Arc<str>,
        policy: u32,
        partitions: Vec<Partition>,
    ) -> Result<Sums, NodeError> {
        let device = self.device(device)?;
        let objects = &device.comparable()?.objects;
        Ok(Sums {
            answering: Answering {
                identity: objects.identity(),
                using: self.movements.using(RingName::Object(policy)),
                now: self.clock.now(),
                horizon: objects.horizon(policy)?,
            },
            sums: objects.sums(policy, partitions).await?,
        })
    }

    async fn bucket_sums(
        &self,
        device: &Arc<str>,
        policy: u32,
        partition: Partition,
    ) -> Result<Vec<(u8, Sum)>, NodeError> {
        self.device(device)?.objects.bucket_sums(policy, partition).await
    }

    async fn names(&self, device: &Arc<str>, wanted: NamesRequest) -> Result<NamesPage, NodeError> {
        self.device(device)?.objects.names(wanted).await
    }

    async fn push(&self, at: &At, push: Push) -> Result<(), NodeError> {
        self.admit(admission::version_of(&push))?;
        self.placed(RingName::Object(at.policy), at)?
            .objects
            .push(at, push)
            .await
    }

    async fn listing_sums(
        &self,
        device: &Arc<str>,
        kind: ListingKind,
        power: u8,
        partitions: Vec<Partition>,
    ) -> Result<ListingSums, NodeError> {
        let device = self.device(device)?;
        let (horizon, sums) = device
            .comparable()?
            .listings
            .sums(kind, power, partitions)
            .await?;
        let answering = Answering {
            identity: device.objects.identity(),
            using: self.movements.using(ring_of(kind)),
            now: self.clock.now(),
            horizon,
        };
        Ok(ListingSums { answering, sums })
    }

    async fn listing_shards(
        &self,
        device: &Arc<str>,
        kind: ListingKind,
        wanted: ShardsRequest,
    ) -> Result<Vec<ListingSum>, NodeError> {
        let listings = &self.device(device)?.listings;
        Ok(listings.shards(kind, wanted).await?)
    }

    async fn listing_state(&self, kind: ListingKind, at: &At) -> Result<Option<ListingState>, NodeError> {
        Ok(self.placed(ring_of(kind), at)?.listings.state(kind, at).await?)
    }

    async fn listing_parts(
        &self,
        kind: ListingKind,
        at: &At,
        range: RowRange,
        level: u8,
    ) -> Result<PartSums, NodeError> {
        Ok(self
            .placed(ring_of(kind), at)?
            .listings
            .parts(at, range, level)
            .await?)
    }

    async fn listing_rows(
        &self,
        kind: ListingKind,
        at: &At,
        range: RowRange,
        limit: u32,
    ) -> Result<RowSums, NodeError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(self
            .placed(ring_of(kind), at)?
            .listings
            .row_sums(at, range, limit)
            .await?)
    }

    async fn merge_listing(&self, kind: ListingKind, at: &At, told: ListingState) -> Result<(), NodeError> {
        Ok(self
            .placed(ring_of(kind), at)?
            .listings_to_write()?
            .merge_state(kind, at, told)
            .await?)
    }
}
