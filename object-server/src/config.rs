//! What an object server is told.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Configuration of an object server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to answer the node protocol; `None` when nobody outside this
    /// process calls the server.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// Address that the rings name this server by, if it is not the one
    /// listened on (as with 0.0.0.0, or when it does not listen).
    #[serde(default)]
    pub advertise: Option<SocketAddr>,
    /// The cluster: devices of another one are refused.
    pub cluster: Uuid,
    /// What all nodes of the cluster know and nobody else, at least 16 bytes.
    pub secret: String,
    /// The devices.
    pub devices: Vec<DeviceEntry>,
    /// Bytes of memory for blocks of the devices' indexes, all together.
    #[serde(default = "cache_bytes")]
    pub cache_bytes: u64,
    /// Size of new segments in bytes; `None` leaves it to the engine.
    #[serde(default)]
    pub segment_bytes: Option<u64>,
    /// How often the workers look.
    #[serde(default)]
    pub workers: WorkerSettings,
}

/// One device of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceEntry {
    /// Name in the rings ("d1").
    pub name: String,
    /// Folder; an empty or missing one becomes a new device.
    pub path: PathBuf,
}

/// How often the workers look for something to do, in milliseconds, and how
/// much they may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerSettings {
    /// Between looks for container rows that are owed.
    pub update_listings_ms: u64,
    /// How long the proxy has to settle a row before a worker pays it.
    pub owed_age_ms: u64,
    /// Between looks for containers whose account has to hear of a change:
    /// many changes of one container become one row.
    pub report_containers_ms: u64,
    /// Between looks for expired objects.
    pub expire_ms: u64,
    /// How long an object whose time is over is kept before it is deleted, for
    /// those who may open it still (`allow_open_expired` of the proxy); in whole
    /// seconds.
    pub delay_reaping_ms: u64,
    /// Between rounds in which replicas are compared and what lies on the wrong
    /// device is moved; a change of a ring begins one at once. Longer on a
    /// device whose idle rounds take long.
    pub reconcile_ms: u64,
    /// Age of a name, or of a row, before another replica is brought it: until
    /// then it may still be on its way there by itself.
    pub in_flight_ms: u64,
    /// Bytes that may be moved from each device in a second, by all duties
    /// together; 0 for no limit.
    pub move_bytes_per_s: u64,
    /// Between looks for deletions that can be forgotten.
    pub reclaim_ms: u64,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            update_listings_ms: 1000,
            owed_age_ms: 3000,
            report_containers_ms: 500,
            expire_ms: 5000,
            delay_reaping_ms: 0,
            reconcile_ms: 5000,
            in_flight_ms: 2000,
            move_bytes_per_s: 0,
            reclaim_ms: 60_000,
        }
    }
}

impl WorkerSettings {
    /// Age of an owed row before a worker pays it.
    pub(crate) fn owed_age(&self) -> Duration {
        Duration::from_millis(self.owed_age_ms)
    }
}

fn cache_bytes() -> u64 {
    64 << 20
}
