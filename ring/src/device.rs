//! A device: one disk of one server, as ring files describe it.
//!
//! Shared by the lookup side and the builder. Knows its place in the tier
//! tree; not how many partitions it holds.
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Position of a device in the device list; also its number in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceId(pub u32);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One of the 2^part_power equal shares of the name space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub u32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One device and how to reach it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its number.
    pub id: DeviceId,
    /// Region, the widest failure domain. Old files lack it.
    #[serde(default = "first_region")]
    pub region: u32,
    /// Zone within the region.
    pub zone: u32,
    /// Address or host name of the server.
    pub ip: String,
    /// Port clients' requests go to.
    pub port: u16,
    /// Address for replication traffic; empty in a file means `ip`.
    #[serde(default)]
    pub replication_ip: String,
    /// Port for replication traffic; 0 in a file means `port`.
    #[serde(default)]
    pub replication_port: u16,
    /// Name of the device on its server.
    pub device: String,
    /// Share of the data relative to other devices; 0 drains.
    pub weight: f64,
    /// Free text of the operator.
    #[serde(default)]
    pub meta: String,
    /// Keys this version does not know, kept as found.
    #[serde(flatten)]
    pub extra: BTreeMap<String, serde_json::Value>,
}

fn first_region() -> u32 {
    1
}

impl Device {
    /// Fills the replication address from the main one where a file left it out.
    pub(crate) fn complete(mut self) -> Self {
        if self.replication_ip.is_empty() {
            self.replication_ip.clone_from(&self.ip);
        }
        if self.replication_port == 0 {
            self.replication_port = self.port;
        }
        self
    }

    /// Order of the tier tree: region, zone, server, id. The port is no tier.
    pub(crate) fn cmp_by_tier(&self, other: &Self) -> Ordering {
        (self.region, self.zone, &self.ip, self.id).cmp(&(other.region, other.zone, &other.ip, other.id))
    }

    /// How many tiers two devices share: 0 none, 1 region, 2 zone, 3 server.
    pub(crate) fn shared_tiers(&self, other: &Self) -> usize {
        if self.region != other.region {
            0
        } else if self.zone != other.zone {
            1
        } else if self.ip != other.ip {
            2
        } else {
            3
        }
    }
}
