//! Rings put together from parts: which parts do, and what is found in them.
use super::*;

/// Devices with these numbers, in a list that is one longer than the largest.
fn devices(ids: impl IntoIterator<Item = u32>) -> Vec<Option<Device>> {
    let mut list = Vec::new();
    for id in ids {
        let device = serde_json::json!({
            "id": id, "region": 1 + id % 2, "zone": id % 3, "ip": format!("10.0.0.{}", id / 2), "port": 6200,
            "device": format!("sd{id}"), "weight": 1.0,
        });
        list.resize(id as usize, None);
        list.push(Some(serde_json::from_value(device).unwrap()));
    }
    list
}

fn ring(part_power: u8, devices: Vec<Option<Device>>, ids: &[u32]) -> Result<Ring, RingError> {
    let info = RingInfo {
        part_power,
        ..RingInfo::default()
    };
    let parts = 1 << part_power;
    Ring::new(info, devices, Table::from_row_major(parts, ids).unwrap())
}

fn ids(it: impl Iterator<Item = DeviceId>) -> Vec<u32> {
    it.map(|id| id.0).collect()
}

#[test]
fn parts_that_contradict_each_other_make_no_ring() {
    let shape = |part_power, ids: &[u32]| {
        let info = RingInfo {
            part_power,
            ..RingInfo::default()
        };
        Ring::new(info, devices(0..2), Table::from_row_major(4, ids).unwrap())
    };
    for (part_power, want) in [(1, 2), (3, 8), (33, 1 << 33), (200, 1 << 63)] {
        assert_eq!(
            shape(part_power, &[0, 1, 0, 1]).unwrap_err(),
            RingError::Shape {
                parts: 4,
                part_power,
                want
            }
        );
    }
    shape(2, &[0, 1, 0, 1]).unwrap();
    // Nothing assigned yet fits every power there is.
    assert!(shape(32, &[]).is_ok() && shape(33, &[]).is_err());

    let unknown = |id| RingError::UnknownDevice { part: 1, id };
    for id in [1, 3, 4, u32::MAX] {
        let holed = ring(1, devices([0, 2]), &[0, id]);
        assert_eq!(holed.unwrap_err(), unknown(id));
    }
    let mut misplaced = devices([0, 2]);
    misplaced[1] = misplaced[2].clone();
    assert_eq!(
        ring(1, misplaced, &[0, 2]).unwrap_err(),
        RingError::MisplacedDevice { place: 1, id: 2 }
    );
}

#[test]
fn a_name_belongs_to_the_partition_that_its_first_bits_say() {
    let mut bytes = [0xff; 16];
    bytes[..4].copy_from_slice(&0xdead_beef_u32.to_be_bytes());
    let name = NameHash(bytes);
    assert_eq!(name.leading(), 0xdead_beef);
    for (part_power, want) in [(0, 0), (1, 1), (4, 0xd), (16, 0xdead), (32, 0xdead_beef)] {
        let info = RingInfo {
            part_power,
            ..RingInfo::default()
        };
        let ring = Ring::new(info, Vec::new(), Table::default()).unwrap();
        assert_eq!(ring.partition(&name), Partition(want));
        assert_eq!(ring.partition_count(), 1 << part_power);
        assert_eq!(ring.primaries(Partition(want)).count(), 0);
        assert_eq!((ring.version(), ring.replica_count()), (0, 0.0));
    }
}

#[test]
fn a_device_of_an_old_file_is_in_the_first_region() {
    let old = r#"{"id": 0, "zone": 2, "ip": "10.0.0.1", "port": 6200, "device": "sda", "weight": 1.0}"#;
    let device: Device = serde_json::from_str(old).unwrap();
    assert_eq!((device.region, device.meta.as_str()), (1, ""));
}

#[test]
fn a_ring_says_what_its_parts_say() {
    let info = RingInfo {
        part_power: 1,
        version: Some(9),
        ..RingInfo::default()
    };
    let table = Table::from_row_major(2, &[0, 2, 2]).unwrap();
    let ring = Ring::new(info.clone(), devices([0, 2]), table.clone()).unwrap();
    assert_eq!((ring.part_power(), ring.version()), (1, 9));
    assert_eq!((ring.info(), ring.table()), (&info, &table));
    assert_eq!(ring.replica_count(), 1.5);
    assert_eq!((ring.device_list().len(), ring.devices().count()), (3, 2));
    assert!(ring.device(DeviceId(1)).is_none() && ring.device(DeviceId(3)).is_none());
    // Where the file leaves it out, replication goes to the main address.
    let device = ring.device(DeviceId(2)).unwrap();
    assert_eq!(
        (device.replication_ip.as_str(), device.replication_port),
        ("10.0.0.1", 6200)
    );
    let mut other = devices([0]);
    if let Some(device) = &mut other[0] {
        (device.replication_ip, device.replication_port) = ("10.9.9.9".into(), 7000);
    }
    let ring = Ring::new(RingInfo::default(), other, Table::default()).unwrap();
    let device = ring.device(DeviceId(0)).unwrap();
    assert_eq!(
        (device.replication_ip.as_str(), device.replication_port),
        ("10.9.9.9", 7000)
    );
}

/// Two partitions of so many replicas, on a list of so many devices: numbers
/// of two bytes in one word, of two bytes in a row, of four bytes.
const LAYOUTS: [(usize, u32); 6] = [(3, 12), (4, 12), (6, 12), (3, 70_000), (4, 70_000), (6, 70_000)];

#[test]
fn owners_come_in_the_order_of_the_rows_however_they_are_asked_for() {
    for (rows, largest) in LAYOUTS {
        let owners: Vec<Vec<u32>> = (0..2)
            .map(|part| (0..rows as u32).map(|row| largest - 2 * row - part).collect())
            .collect();
        let row_major: Vec<u32> = (0..rows)
            .flat_map(|row| [owners[0][row], owners[1][row]])
            .collect();
        let mut listed = row_major.clone();
        listed.sort_unstable();
        let ring = ring(1, devices(listed), &row_major).unwrap();
        for (part, want) in owners.iter().enumerate() {
            let part = Partition(part as u32);
            assert_eq!(&ids(ring.primary_ids(part)), want);
            let mut step = ring.primary_ids(part);
            let mut nodes = ring.primaries(part);
            for (at, &want) in want.iter().enumerate() {
                assert_eq!(step.size_hint(), (rows - at, Some(rows - at)));
                assert_eq!(nodes.size_hint(), (rows - at, Some(rows - at)));
                assert_eq!(step.next(), Some(DeviceId(want)));
                let (index, device) = nodes.next().unwrap();
                assert_eq!((index, device.id), (at, DeviceId(want)));
                // What is left, in one go.
                let rest = nodes.clone().fold(Vec::new(), |mut all, (index, device)| {
                    all.push((index, device.id.0));
                    all
                });
                let left: Vec<_> = (at + 1..rows)
                    .map(|at| (at, owners[part.0 as usize][at]))
                    .collect();
                assert_eq!(rest, left);
            }
            assert_eq!((step.next(), nodes.next().map(|(at, _)| at)), (None, None));
        }
        assert_eq!(ring.primary_ids(Partition(2)).next(), None);
        assert_eq!(ring.primaries(Partition(u32::MAX)).count(), 0);
    }
}

#[test]
fn a_device_that_owns_a_partition_twice_is_named_once() {
    for (rows, largest) in LAYOUTS {
        let (a, b, c) = (1, largest - 1, largest);
        let owners: Vec<[u32; 2]> = (0..rows)
            .map(|row| [[a, b, a, c, b, c][row], [c, c, b, b, a, a][row]])
            .collect();
        let row_major: Vec<u32> = owners.iter().flatten().copied().collect();
        let ring = ring(1, devices([a, b, c]), &row_major).unwrap();
        for part in 0..2 {
            let mut want: Vec<u32> = Vec::new();
            for owner in owners.iter().map(|owners| owners[part]) {
                if !want.contains(&owner) {
                    want.push(owner);
                }
            }
            let part = Partition(part as u32);
            assert_eq!(ids(ring.primary_ids(part)), want);
            let folded = ring.primary_ids(part).fold(Vec::new(), |mut all, id| {
                all.push(id.0);
                all
            });
            assert_eq!(folded, want);
            assert_eq!(ring.primary_ids(part).size_hint(), (0, Some(rows)));
            let nodes: Vec<_> = ring
                .primaries(part)
                .map(|(at, device)| (at, device.id.0))
                .collect();
            let indexed: Vec<_> = want.iter().copied().enumerate().collect();
            assert_eq!(nodes, indexed);
        }
    }
}
