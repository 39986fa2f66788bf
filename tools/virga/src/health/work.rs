//! What is going on, summed up over devices: reconciliation ring by ring, drains,
//! the scrub.
use std::collections::BTreeMap;

use virga_object_wire::status::{DeviceStatus, Work};

use super::{Doing, Facts};
use crate::control::NodeStatus;

/// What a duty does, for people.
fn what_of(duty: &str) -> &str {
    match duty {
        "reconcile" => "compare and fill",
        "drain" => "drain",
        other => other,
    }
}

/// Work of one device as something going on.
pub(super) fn of_work(work: &Work) -> Doing {
    Doing {
        what: what_of(&work.duty).to_owned(),
        ring: work.ring.map(|ring| ring.to_string()),
        unit: work.unit.clone(),
        done: work.done,
        left: work.left,
        devices: 1,
        bytes: work.bytes,
        bytes_per_s: work.bytes_per_s,
        seconds_left: work.seconds_left,
    }
}

fn add(sum: &mut Doing, more: Doing) {
    sum.done += more.done;
    sum.left += more.left;
    sum.devices += more.devices;
    sum.bytes += more.bytes;
    sum.bytes_per_s += more.bytes_per_s;
    // Devices work side by side: the slowest says when it ends.
    sum.seconds_left = sum.seconds_left.max(more.seconds_left);
}

/// The works of a duty, summed up; `None` if none of them has anything left.
pub(super) fn of_duty<'a>(hosts: impl Iterator<Item = &'a NodeStatus>, duty: &str) -> Option<Doing> {
    let works = hosts
        .flat_map(|host| &host.devices)
        .flat_map(|device| &device.work);
    let mut left = works
        .filter(|work| work.duty == duty && work.left > 0)
        .map(of_work);
    let mut sum = left.next()?;
    left.for_each(|more| add(&mut sum, more));
    // A ring of several has no name.
    sum.ring = None;
    Some(sum)
}

/// The works of a duty on one device, done or not, summed up.
pub(super) fn of_device(device: &DeviceStatus, duty: &str) -> Option<Doing> {
    let mut works = device.work.iter().filter(|work| work.duty == duty).map(of_work);
    let mut sum = works.next()?;
    works.for_each(|more| add(&mut sum, more));
    (sum.devices, sum.ring) = (1, None);
    Some(sum)
}

/// Everything that is going on.
pub(super) fn of_all(facts: &Facts<'_>) -> Vec<Doing> {
    let mut sums: BTreeMap<(String, Option<String>), Doing> = BTreeMap::new();
    for device in facts.hosts.iter().flat_map(|host| &host.devices) {
        let works = device.work.iter().filter(|work| work.left > 0).map(of_work);
        for doing in works.chain(scrub(device)) {
            let key = (doing.what.clone(), doing.ring.clone());
            match sums.get_mut(&key) {
                Some(sum) => add(sum, doing),
                None => drop(sums.insert(key, doing)),
            }
        }
    }
    sums.into_values().collect()
}

/// A pass of the scrub that is under way.
fn scrub(device: &DeviceStatus) -> Option<Doing> {
    let scrub = &device.scrub;
    scrub.began.map(|_| Doing {
        what: "scrub".to_owned(),
        ring: None,
        unit: "segments".to_owned(),
        done: scrub.segments - scrub.left.min(scrub.segments),
        left: scrub.left,
        devices: 1,
        seconds_left: Some(scrub.seconds_left),
        ..Doing::default()
    })
}
