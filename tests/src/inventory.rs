//! What devices hold and how far they have come, asked of every node by the
//! node protocol: the harness's own view of what moved.
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use virga_node::task::Tasks;
use virga_object_wire::listing::ListingKind;
use virga_object_wire::movement::{Movement, Sum};
use virga_object_wire::node::{Nodes, ObjectNode};
use virga_object_wire::table::NodeTable;
use virga_ring::{Device, DeviceId, Partition};
use virga_rpc::Secret;

use crate::rings::{Assignment, Listed, Slot};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Partitions asked about in one call.
const AT_ONCE: usize = 1024;

/// Sums over what each device knows of each partition that it has names of; the
/// count is 1 for listings.
pub type Held = BTreeMap<Slot, Sum>;

/// The nodes of a cluster, as one more node would call them.
pub struct Inventory {
    runtime: tokio::runtime::Runtime,
    nodes: Arc<NodeTable>,
}

impl Inventory {
    /// Knows the secret of a cluster from the data folder of one of its hosts.
    pub fn of(data: &Path) -> Self {
        let file = std::fs::read(data.join("secrets/cluster.json")).expect("the secrets");
        let secrets: serde_json::Value = serde_json::from_slice(&file).expect("JSON");
        let secret = secrets["node_secret"].as_str().expect("a secret");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let secret = Secret::new(secret.as_bytes()).expect("a good secret");
        Self {
            runtime,
            nodes: Arc::new(NodeTable::new(secret, Tasks::new())),
        }
    }

    fn node(&self, device: &Listed) -> Arc<dyn ObjectNode> {
        let (ip, port) = device.node.rsplit_once(':').expect("a port");
        self.nodes.node(&Device {
            id: DeviceId(device.id as u32),
            region: 1,
            zone: 1,
            ip: ip.to_owned(),
            port: port.parse().expect("a port"),
            replication_ip: String::new(),
            replication_port: 0,
            device: device.name.clone(),
            weight: 0.0,
            meta: String::new(),
            extra: BTreeMap::new(),
        })
    }

    /// Runs a call to its end; `None` when nobody answers.
    fn answer<T>(
        &self,
        call: impl Future<Output = Result<T, virga_object_wire::error::NodeError>>,
    ) -> Option<T> {
        let timed = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, call).await });
        match timed {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                println!("a node does not answer: {error}");
                None
            }
            Err(_) => None,
        }
    }

    /// What one device holds of a ring; `None` when it does not answer.
    pub fn device(&self, ring: &str, device: &Listed, parts: usize) -> Option<BTreeMap<usize, Sum>> {
        let (node, name) = (self.node(device), Arc::from(device.name.as_str()));
        let mut held = BTreeMap::new();
        let all: Vec<usize> = (0..parts).collect();
        for some in all.chunks(AT_ONCE) {
            let asked: Vec<Partition> = some.iter().map(|part| Partition(*part as u32)).collect();
            let power = u8::try_from(parts.ilog2()).expect("a part power");
            let sums = match kind(ring) {
                None => self.answer(node.sums(&name, policy(ring), asked))?.sums,
                Some(kind) => {
                    let sums = self.answer(node.listing_sums(&name, kind, power, asked))?.sums;
                    let present = |sum: u128| u64::from(sum != 0);
                    let sums = sums.into_iter().map(|sum| Sum {
                        sum,
                        count: present(sum),
                    });
                    sums.collect()
                }
            };
            let known = some.iter().copied().zip(sums);
            held.extend(known.filter(|(_, sum)| sum.count > 0));
        }
        Some(held)
    }

    /// What the devices of `assignment` hold. Those that do not answer hold
    /// nothing that can be seen; they are named.
    pub fn held(&self, ring: &str, assignment: &Assignment) -> (Held, BTreeSet<usize>) {
        let (mut held, mut silent) = (Held::new(), BTreeSet::new());
        for device in assignment.devices.iter().flatten() {
            match self.device(ring, device, assignment.parts()) {
                Some(parts) => held.extend(parts.into_iter().map(|(p, sum)| ((p, device.id), sum))),
                None => drop(silent.insert(device.id)),
            }
        }
        (held, silent)
    }

    /// How far a device has come with a ring; `None` when its node does not
    /// answer or does not know the device.
    pub fn movement(&self, ring: &str, device: &Listed) -> Option<Movement> {
        let all = self.answer(self.node(device).movement())?;
        all.into_iter()
            .find(|m| m.device == device.name && m.ring.to_string() == ring)
    }
}

/// What a ring places, unless it is objects.
fn kind(ring: &str) -> Option<ListingKind> {
    match ring {
        "account" => Some(ListingKind::Account),
        "container" => Some(ListingKind::Container),
        _ => None,
    }
}

/// The storage policy of an object ring.
fn policy(ring: &str) -> u32 {
    match ring.strip_prefix("object") {
        Some("") => 0,
        Some(number) => number.trim_start_matches('-').parse().expect("a policy"),
        None => panic!("{ring} places no objects"),
    }
}
