//! Rings of devices in memory, and a core before them: what every suite of the
//! object store's proxy begins with, in both dialects and in none.
#![allow(dead_code, reason = "each suite uses its part")]
use std::collections::BTreeMap;
use std::sync::Arc;

use virga_node::clock::{Hlc, SystemClock};
use virga_node::task::Tasks;
use virga_object_wire::twin::TwinNodes;
use virga_proxy::core::{Core, CoreParts, Rings, Settings};
use virga_ring::{Device, DeviceId, HashPath, Ring, RingHandle, RingInfo, Table};

/// Partitions are 2 to the power of this.
pub const PART_POWER: u8 = 3;

/// A device, in a zone and on a host of its own.
pub fn device(id: u32) -> Device {
    Device {
        id: DeviceId(id),
        region: 1,
        zone: id,
        ip: format!("10.0.0.{id}"),
        port: 6200,
        replication_ip: String::new(),
        replication_port: 0,
        device: format!("d{id}"),
        weight: 1.0,
        meta: String::new(),
        extra: BTreeMap::new(),
    }
}

/// The ring of these devices in which the replicas of partition p lie on the
/// devices p, p + 1, and so on.
pub fn ring(devices: u32, replicas: u32) -> Ring {
    let parts = 1u32 << PART_POWER;
    let slots = (0..replicas).flat_map(|row| (0..parts).map(move |part| (part + row) % devices));
    let table = Table::from_row_major(parts as usize, &slots.collect::<Vec<_>>()).unwrap();
    let info = RingInfo {
        part_power: PART_POWER,
        ..RingInfo::default()
    };
    Ring::new(info, (0..devices).map(|id| Some(device(id))).collect(), table).unwrap()
}

/// The nodes of a ring, and the parts of a core before them: this ring for
/// everything, two storage policies.
pub fn parts(ring: &Arc<RingHandle>, tasks: &Tasks) -> (CoreParts, Arc<TwinNodes>) {
    let nodes = Arc::new(TwinNodes::for_devices(ring.current().devices()));
    let parts = CoreParts {
        rings: Rings {
            hash: HashPath::new("", "test").unwrap(),
            account: ring.clone(),
            container: ring.clone(),
            object: vec![(0, ring.clone()), (1, ring.clone())],
        },
        nodes: nodes.clone(),
        hlc: Arc::new(Hlc::new(Arc::new(SystemClock))),
        tasks: tasks.clone(),
        settings: Settings::default(),
    };
    (parts, nodes)
}

/// Four devices, three replicas, two storage policies; and the nodes, for their
/// switches.
pub fn core(tasks: &Tasks) -> (Core, Arc<TwinNodes>) {
    let ring = Arc::new(RingHandle::new(ring(4, 3)));
    let (parts, nodes) = parts(&ring, tasks);
    (Core::new(parts), nodes)
}
