//! One device of the node: its objects, its listings, and whether it is believed.
//!
//! Opened by [`crate::local::LocalNode`], looked after by the workers.
use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;
use virga_disk::device::Description;
use virga_disk::kv::KvCache;
use virga_node::clock::{Clock, Version};
use virga_object_store::device::{Device, DeviceConfig, DeviceOptions, Storage};
use virga_object_store::listing::Listings;
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::ListingKind;
use virga_object_wire::movement::{RingName, ring_of};

use crate::absence::Absence;
use crate::config::{Config, DeviceEntry};

/// Folder of a device's account and container database.
const LISTINGS: &str = "list";

/// What a device is opened with.
pub struct DeviceParts {
    /// Its objects.
    pub objects: DeviceConfig,
    /// Folder of its accounts and containers, unless the device is a folder itself.
    pub listings: PathBuf,
}

/// A device that is open.
#[derive(Clone)]
pub(crate) struct OpenDevice {
    pub(crate) name: Arc<str>,
    pub(crate) objects: Device,
    pub(crate) listings: Arc<Listings>,
    /// Whether it was away for too long to be believed.
    pub(crate) absence: Arc<Absence>,
}

impl OpenDevice {
    /// Judges the device's absence as to the objects of a policy.
    pub(crate) fn judge_objects(&self, policy: u32) -> Result<bool, NodeError> {
        let ring = RingName::Object(policy);
        let last = self.objects.last_round(policy)?.unwrap_or_default().started;
        Ok(self.absence.judge(ring, last, self.objects.stats().objects > 0))
    }

    /// The same as to accounts and containers.
    pub(crate) async fn judge_listings(&self) -> Result<(), NodeError> {
        for kind in [ListingKind::Account, ListingKind::Container] {
            let last = self.listings.round(kind).await?;
            let last = last.map_or(Version(0), |round| Version::at(round.started));
            let holds = !self.listings.occupied(kind, 0, 0, 1).await?.is_empty();
            self.absence.judge(ring_of(kind), last, holds);
        }
        Ok(())
    }

    /// The device is as good as any replica as to this ring.
    pub(crate) fn in_step_again(&self, ring: RingName) {
        if self.absence.end(ring) {
            tracing::info!(device = &*self.name, %ring, "in step with the other replicas again");
        }
    }

    /// Refuses to answer from what may be stale.
    pub(crate) fn in_step(&self, ring: RingName) -> Result<(), NodeError> {
        if let RingName::Object(policy) = ring
            && !self.absence.is_judged(ring)
        {
            self.judge_objects(policy)?;
        }
        match self.absence.is_returning(ring) {
            true => Err(NodeError::Returning(self.name.to_string())),
            false => Ok(()),
        }
    }
}

/// A device of the configuration.
pub(crate) fn device_config(config: &Config, entry: &DeviceEntry, cache: &KvCache) -> DeviceParts {
    let mut options = DeviceOptions {
        index_cache: config.cache_bytes,
        ..DeviceOptions::default()
    };
    if let Some(bytes) = config.segment_bytes {
        options.segment_size = bytes;
    }
    let mut chance = [0; 8];
    chance.copy_from_slice(&Uuid::new_v4().as_bytes()[8..]);
    let fresh = Description::new(config.cluster, Uuid::new_v4(), chance).named(&entry.name);
    let objects = DeviceConfig {
        name: Arc::from(entry.name.as_str()),
        storage: Storage::Folder {
            path: entry.path.clone(),
            fresh,
        },
        cache: cache.clone(),
        options,
    };
    DeviceParts {
        objects,
        listings: entry.path.join(LISTINGS),
    }
}

/// Opens objects and listings of a device; blocks on it.
pub(crate) fn open_device(parts: DeviceParts, clock: Arc<dyn Clock>) -> Result<OpenDevice, String> {
    let DeviceParts {
        objects: config,
        listings: folder,
    } = parts;
    let (name, cache) = (Arc::clone(&config.name), config.cache.clone());
    let (age, threads) = (config.options.reclaim_age, config.options.threads.clone());
    let objects = Device::open(config, Arc::clone(&clock)).map_err(|error| error.to_string())?;
    let absence = Arc::new(Absence::new(clock.now(), age));
    let folder = objects.database_path(LISTINGS).unwrap_or(folder);
    let listings = Listings::open(&folder, cache, clock, age, threads).map_err(|error| error.to_string())?;
    Ok(OpenDevice {
        name,
        objects,
        listings: Arc::new(listings),
        absence,
    })
}
