//! How many copies of each partition can be had, ring by ring: exact, as rings
//! say which devices hold a partition and hosts which devices they have.
use std::collections::{BTreeMap, HashMap};

use virga_object_wire::status::{DeviceState, DeviceStatus};
use virga_ring::{Device, Partition, Ring};

use super::{Facts, Lacking, RingCopies};
use crate::control::NodeStatus;
use crate::lookout::address_of;

/// A device, by the address of its host and its name.
pub(super) type Name = (String, String);

/// What was found.
pub(super) struct Survey {
    pub(super) rings: Vec<OneRing>,
    /// Objects and bytes of a replica of a partition of objects, on the average
    /// of the devices that answer.
    average: (f64, f64),
}

/// One ring.
pub(super) struct OneRing {
    pub(super) copies: RingCopies,
    /// Replicas of partitions by device.
    pub(super) replicas: BTreeMap<Name, u64>,
}

/// Name of a device of a ring.
pub(super) fn name_of(device: &Device) -> Name {
    (address_of(device), device.device.clone())
}

/// Whether what a device holds can be had.
fn counts(status: &DeviceStatus) -> bool {
    !matches!(status.state, DeviceState::Failed | DeviceState::Returning)
}

/// Counts.
pub(super) fn survey(facts: &Facts<'_>) -> Survey {
    let mut good: HashMap<Name, bool> = HashMap::new();
    for host in facts.hosts {
        for device in &host.devices {
            good.insert((host.node.clone(), device.device.clone()), counts(device));
        }
    }
    let rings: Vec<OneRing> = facts
        .rings
        .iter()
        .map(|(name, ring)| one(name, ring, facts.hosts, &good))
        .collect();
    let replicas: u64 = rings
        .iter()
        .filter(|ring| is_of_objects(&ring.copies.ring))
        .flat_map(|ring| &ring.replicas)
        .filter(|(name, _)| good.get(*name).copied().unwrap_or(false))
        .map(|(_, count)| *count)
        .sum();
    let devices = facts.hosts.iter().flat_map(|host| &host.devices);
    let (objects, bytes) = devices.fold((0, 0), |(objects, bytes), device| {
        (objects + device.objects, bytes + device.bytes)
    });
    let share = |n: u64| {
        if replicas == 0 {
            0.0
        } else {
            n as f64 / replicas as f64
        }
    };
    Survey {
        rings,
        average: (share(objects), share(bytes)),
    }
}

fn is_of_objects(ring: &str) -> bool {
    ring == "object" || ring.starts_with("object-")
}

fn one(name: &str, ring: &Ring, hosts: &[NodeStatus], good: &HashMap<Name, bool>) -> OneRing {
    // Looked up once a device, not once a replica.
    let by_id: HashMap<_, (Name, bool)> = ring
        .devices()
        .map(|device| {
            let name = name_of(device);
            let well = good.get(&name).copied().unwrap_or(false);
            (device.id, (name, well))
        })
        .collect();
    let mut held: HashMap<_, u64> = HashMap::new();
    let mut copies = RingCopies {
        ring: name.to_owned(),
        partitions: ring.partition_count(),
        ..RingCopies::default()
    };
    let count = u32::try_from(ring.partition_count()).unwrap_or(u32::MAX);
    for partition in (0..count).map(Partition) {
        let (mut wanted, mut had) = (0, 0);
        for (_, device) in ring.primaries(partition) {
            wanted += 1;
            *held.entry(device.id).or_default() += 1;
            had += u64::from(by_id.get(&device.id).is_some_and(|(_, well)| *well));
        }
        *copies.by_copies.entry(had).or_default() += 1;
        copies.short += u64::from(had < wanted);
        copies.below_quorum += u64::from(had < wanted / 2 + 1);
    }
    for host in hosts {
        let of_ring = host.movement.iter().filter(|m| m.ring.to_string() == name);
        copies.set_aside += of_ring.map(|movement| movement.set_aside).sum::<u64>();
    }
    let replicas = held
        .into_iter()
        .filter_map(|(id, count)| Some((by_id.get(&id)?.0.clone(), count)));
    OneRing {
        copies,
        replicas: replicas.collect(),
    }
}

impl Survey {
    /// Names of the rings that put anything on a device.
    pub(super) fn rings_of(&self, name: &Name) -> Vec<&str> {
        let of = self.rings.iter().filter(|ring| ring.replicas.contains_key(name));
        of.map(|ring| ring.copies.ring.as_str()).collect()
    }

    /// Every device that a ring puts something on.
    pub(super) fn devices(&self) -> std::collections::BTreeSet<&Name> {
        self.rings.iter().flat_map(|ring| ring.replicas.keys()).collect()
    }

    /// What lacks a copy while a device is away; `last` is what it said last.
    pub(super) fn lacking(&self, name: &Name, last: Option<&DeviceStatus>) -> Lacking {
        let mut lacking = Lacking::default();
        let mut of_objects = 0;
        for ring in &self.rings {
            let count = ring.replicas.get(name).copied().unwrap_or(0);
            lacking.partitions += count;
            of_objects += if is_of_objects(&ring.copies.ring) {
                count
            } else {
                0
            };
        }
        match last.filter(|last| last.state != DeviceState::Failed) {
            Some(last) => {
                lacking.objects = last.objects;
                lacking.bytes = last.bytes;
            }
            None => {
                lacking.objects = (self.average.0 * of_objects as f64).round() as u64;
                lacking.bytes = (self.average.1 * of_objects as f64).round() as u64;
                lacking.guessed = true;
            }
        }
        lacking
    }
}
