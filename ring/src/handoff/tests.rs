//! The order of handoffs against the plainest way to say it.
use std::collections::HashSet;

use md5::{Digest, Md5};

use crate::{Device, DeviceId, Partition, Ring, RingInfo, Table};

/// A ring of `devices` devices of which the last two hold next to nothing.
fn ring(part_power: u8, rows: usize, devices: u32, regions: u32) -> Ring {
    let device = |id: u32| -> Device {
        serde_json::from_value(serde_json::json!({
            "id": id, "region": id % regions, "zone": id % 5, "ip": format!("10.0.0.{}", id / 2), "port": 6200,
            "device": format!("sd{id}"), "weight": 1.0,
        }))
        .unwrap()
    };
    let parts = 1usize << part_power;
    let common = devices - 2;
    let mut ids: Vec<u32> = (0..(parts * rows) as u32)
        .map(|slot| slot.wrapping_mul(2_654_435_761).rotate_left(9) % common)
        .collect();
    ids[parts / 3] = common;
    ids[parts / 2] = common + 1;
    let info = RingInfo {
        part_power,
        ..RingInfo::default()
    };
    let list = (0..devices).map(device).map(Some).collect();
    Ring::new(info, list, Table::from_row_major(parts, &ids).unwrap()).unwrap()
}

/// Four passes over the places: regions nobody has yet, zones, servers, devices.
fn plainly(ring: &Ring, part: u32) -> Vec<u32> {
    let parts = ring.table().parts();
    let digest: [u8; 16] = Md5::digest(part.to_string()).into();
    let leading = u64::from(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]));
    let start = (leading >> (32 - ring.part_power())) as usize;
    let step = (parts / 65_536).max(1);
    // The second run begins where Swift's does.
    let around = step - (parts - start) % step;
    let places: Vec<usize> = (start..parts)
        .step_by(step)
        .chain((around..start).step_by(step))
        .collect();
    let tier = |id: u32, depth: usize| {
        let device = ring.device(DeviceId(id)).unwrap();
        match depth {
            0 => (device.region, 0, "", 0),
            1 => (device.region, device.zone, "", 0),
            2 => (device.region, device.zone, device.ip.as_str(), 0),
            _ => (0, 0, "", id),
        }
    };
    let mut used: HashSet<u32> = ring.primary_ids(Partition(part)).map(|id| id.0).collect();
    let mut order = Vec::new();
    for depth in 0..4 {
        let mut seen: HashSet<_> = used.iter().map(|&id| tier(id, depth)).collect();
        for &place in &places {
            for &id in ring.table().of(place) {
                if !used.contains(&id) && seen.insert(tier(id, depth)) {
                    used.insert(id);
                    order.push(id);
                }
            }
        }
    }
    order
}

fn check(ring: &Ring, part: u32) {
    let found: Vec<(usize, u32)> = ring
        .handoffs(Partition(part))
        .map(|(at, device)| (at, device.id.0))
        .collect();
    let want: Vec<(usize, u32)> = plainly(ring, part).into_iter().enumerate().collect();
    assert_eq!(found, want, "partition {part}");
}

#[test]
fn handoffs_are_unseen_regions_then_zones_then_servers_then_all_others() {
    for (part_power, rows, devices, regions) in [
        (3, 2, 7, 3),
        (6, 3, 20, 3),
        (6, 5, 20, 2),
        (7, 4, 9, 1),
        (8, 3, 150, 3),
        (0, 3, 3, 3),
    ] {
        let ring = ring(part_power, rows, devices, regions);
        for part in 0..1 << part_power {
            check(&ring, part);
        }
    }
}

#[test]
fn a_large_ring_is_looked_through_in_steps() {
    let ring = ring(18, 2, 70, 3);
    for part in [1, 87_381, (1 << 18) - 1] {
        check(&ring, part);
    }
}
