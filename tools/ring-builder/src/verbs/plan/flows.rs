//! Slots in and out: per device, per link, between zones and regions.
use std::collections::BTreeMap;

use serde_json::{Value, json};
use virga_ring::DeviceId;

use super::outlook::{Links, Outlook};

/// What one device gains and gives.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::verbs) struct Load {
    pub(in crate::verbs) before: u64,
    pub(in crate::verbs) after: u64,
    /// Slots it should hold; `None` when it goes.
    pub(in crate::verbs) target: Option<f64>,
    pub(in crate::verbs) taken: u64,
    pub(in crate::verbs) given: u64,
}

/// Slots between places of one kind; `new` is where new replicas come from.
#[derive(Debug, Default)]
pub(in crate::verbs) struct Between(pub(in crate::verbs) BTreeMap<(String, String), u64>);

impl Between {
    pub(super) fn json(&self, slot: Option<f64>) -> Vec<Value> {
        let value = |((from, to), slots): (&(String, String), &u64)| json!({"from": from, "to": to, "slots": slots, "bytes": slot.map(|each| *slots as f64 * each)});
        self.0.iter().map(value).collect()
    }
}

/// All flows of a plan.
#[derive(Debug)]
pub(in crate::verbs) struct Flows {
    pub(in crate::verbs) devices: BTreeMap<DeviceId, Load>,
    pub(in crate::verbs) names: BTreeMap<DeviceId, String>,
    /// From (`None`: new replicas), to: slots.
    pub(in crate::verbs) links: Links,
    pub(super) zones: Between,
    pub(super) regions: Between,
}

impl Flows {
    pub(in crate::verbs) fn of(outlook: &Outlook) -> Self {
        let (before, after) = (&outlook.before, &outlook.after);
        let mut it = Self {
            devices: BTreeMap::new(),
            names: BTreeMap::new(),
            links: Links::new(),
            zones: Between::default(),
            regions: Between::default(),
        };
        let (held_before, held_after) = (before.held(), after.held());
        let targets = after.targets().unwrap_or_default();
        for device in before.devices() {
            let at = device.id.0 as usize;
            let load = Load {
                before: held_before.get(at).copied().unwrap_or(0),
                after: held_after.get(at).copied().unwrap_or(0),
                target: after.device(device.id).and_then(|_| targets.get(at).copied()),
                ..Load::default()
            };
            it.devices.insert(device.id, load);
            let name = format!(
                "r{}z{}-{}/{}",
                device.region, device.zone, device.ip, device.device
            );
            it.names.insert(device.id, name);
        }
        for (&(from, to), &slots) in outlook.steps.iter().flat_map(|step| &step.links) {
            if let Some(load) = it.devices.get_mut(&to) {
                load.taken += slots;
            }
            if let Some(load) = from.and_then(|id| it.devices.get_mut(&id)) {
                load.given += slots;
            }
            *it.links.entry((from, to)).or_default() += slots;
            let place = |id: Option<DeviceId>, zone: bool| match id.and_then(|id| before.device(id)) {
                None => "new".to_owned(),
                Some(device) if zone => format!("r{}z{}", device.region, device.zone),
                Some(device) => format!("r{}", device.region),
            };
            for (between, zone) in [(&mut it.zones, true), (&mut it.regions, false)] {
                let link = (place(from, zone), place(Some(to), zone));
                *between.0.entry(link).or_default() += slots;
            }
        }
        it
    }

    pub(super) fn devices_json(&self, slot: Option<f64>) -> Vec<Value> {
        let bytes = |slots: u64| slot.map(|each| slots as f64 * each);
        let value = |(id, load): (&DeviceId, &Load)| {
            json!({
                "id": id, "device": self.names[id], "before": load.before, "after": load.after, "target": load.target,
                "in": load.taken, "out": load.given, "bytes_in": bytes(load.taken), "bytes_out": bytes(load.given),
            })
        };
        self.devices.iter().map(value).collect()
    }

    pub(super) fn links_json(&self, slot: Option<f64>) -> Vec<Value> {
        let value = |((from, to), slots): (&(Option<DeviceId>, DeviceId), &u64)| json!({"from": from, "to": to, "slots": slots, "bytes": slot.map(|each| *slots as f64 * each)});
        self.links.iter().map(value).collect()
    }
}
