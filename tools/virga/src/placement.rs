//! The rings this process places by: read once at the start, shared by the
//! parts, read again when their files change ([`crate::housekeeping`]).
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use virga_ring::{Device, HashPath, Ring, RingHandle};

use crate::Failure;
use crate::config::{CloudConfig, DeviceEntry};
use crate::rings;
use crate::secrets::Secrets;

/// A ring and what it is called.
#[derive(Clone)]
pub struct NamedRing {
    /// "account", "container", "object", "object-1", ...
    pub name: String,
    /// The ring in use.
    pub handle: Arc<RingHandle>,
}

/// All rings, and the secret that names are hashed with.
#[derive(Clone)]
pub struct Placement {
    hash: HashPath,
    account: NamedRing,
    container: NamedRing,
    object: Vec<(u32, NamedRing)>,
    /// How long hosts may take to get a new ring, one after the other.
    grace: Duration,
}

/// What `virga status` says of a ring.
#[derive(Debug, Serialize, Deserialize)]
pub struct RingStatus {
    /// Its name.
    pub ring: String,
    /// Its version, as the builder counts: equal on all hosts when they agree.
    pub version: u64,
    /// Copies of what it places.
    pub replicas: f64,
    /// Partitions.
    pub partitions: u64,
    /// Devices.
    pub devices: usize,
}

impl Placement {
    /// Reads the rings of every storage policy of the configuration. Those who
    /// ask for data (`asks`: proxies) mind the rings before a change too, also
    /// through restarts; those who only hold it go by the newest ring.
    ///
    /// # Errors
    /// Which file is missing or damaged, and what makes it.
    pub fn load(config: &CloudConfig, secrets: &Secrets, asks: bool) -> Result<Self, Failure> {
        let folder = config.rings();
        let missing = rings::missing(&folder, &rings::names(config.policies()));
        if let Some(name) = missing.first() {
            let file = rings::ring_file(&folder, name);
            return Err(Failure::Usage(format!(
                "{}: there is no such ring; make it once with `virga ring {name}.builder create ...`, `add`, \
                 `rebalance`, and copy the same file to every host",
                file.display(),
            )));
        }
        let open = |name: String| {
            let path = rings::ring_file(&folder, &name);
            let history = config.ring_history(&name);
            let opened = match asks {
                true => RingHandle::open_with_history(&path, history).map_err(|e| e.to_string()),
                false => RingHandle::open_cached(&path, history)
                    .map(|handle| (handle, Vec::new()))
                    .map_err(|e| e.to_string()),
            };
            let (handle, faults) = opened.map_err(Failure::Failed)?;
            for fault in faults {
                tracing::warn!(ring = name, %fault, "rings before this one may be missing");
            }
            warn_of_map(&name, &handle);
            Ok::<_, Failure>(NamedRing {
                name,
                handle: Arc::new(handle),
            })
        };
        let mut object = Vec::new();
        for policy in config.policies() {
            object.push((policy, open(rings::object_ring(policy))?));
        }
        Ok(Self {
            hash: HashPath::new(secrets.hash_prefix.as_bytes(), secrets.hash_suffix.as_bytes())
                .map_err(|e| format!("secrets: {e}"))?,
            account: open("account".to_owned())?,
            container: open("container".to_owned())?,
            object,
            grace: Duration::from_millis(config.ring_watch.grace_ms),
        })
    }

    fn object(&self) -> Vec<(u32, Arc<RingHandle>)> {
        let shared = |(policy, ring): &(u32, NamedRing)| (*policy, ring.handle.clone());
        self.object.iter().map(shared).collect()
    }

    /// As the proxy takes them.
    pub fn for_proxy(&self) -> virga_proxy::core::Rings {
        virga_proxy::core::Rings {
            hash: self.hash.clone(),
            account: self.account.handle.clone(),
            container: self.container.handle.clone(),
            object: self.object(),
        }
    }

    /// As the object server takes them.
    pub fn for_object_server(&self) -> virga_object_server::Rings {
        virga_object_server::Rings {
            hash: self.hash.clone(),
            account: self.account.handle.clone(),
            container: self.container.handle.clone(),
            object: self.object(),
            grace: self.grace,
        }
    }

    /// Every ring.
    pub fn all(&self) -> impl Iterator<Item = &NamedRing> {
        let object = self.object.iter().map(|(_, ring)| ring);
        [&self.account, &self.container].into_iter().chain(object)
    }

    /// Every ring as it is now, by name.
    pub fn current(&self) -> Vec<(String, Arc<Ring>)> {
        self.all()
            .map(|named| (named.name.clone(), named.handle.current()))
            .collect()
    }

    /// How every ring is.
    pub fn status(&self) -> Vec<RingStatus> {
        let one = |named: &NamedRing| {
            let ring = named.handle.current();
            RingStatus {
                ring: named.name.clone(),
                version: ring.version(),
                replicas: ring.replica_count(),
                partitions: ring.partition_count(),
                devices: ring.devices().count(),
            }
        };
        self.all().map(one).collect()
    }

    /// One device of every object server that the rings name, by address.
    pub fn nodes(&self) -> Vec<Device> {
        let mut nodes = BTreeMap::new();
        for named in self.all() {
            for device in named.handle.current().devices() {
                let address = (device.ip.clone(), device.port);
                nodes.entry(address).or_insert_with(|| device.clone());
            }
        }
        nodes.into_values().collect()
    }

    /// The devices of this host that no ring names at its address: nothing
    /// will ever be stored there.
    pub fn strangers(&self, node: SocketAddr, devices: &[DeviceEntry]) -> Vec<String> {
        let ip = node.ip().to_string();
        let named = |entry: &DeviceEntry| {
            self.all().any(|named| {
                let ring = named.handle.current();
                ring.devices()
                    .any(|d| d.ip == ip && d.port == node.port() && d.device == entry.name)
            })
        };
        let strange = devices.iter().filter(|entry| !named(entry));
        strange.map(|entry| entry.name.clone()).collect()
    }
}

/// Says why the next start will have to unpack the ring again.
pub(crate) fn warn_of_map(name: &str, handle: &RingHandle) {
    if let Some(fault) = handle.map_fault() {
        tracing::warn!(
            ring = name,
            %fault,
            "the ring's map cannot be written: the next start takes longer"
        );
    }
}
