//! What a rebalance would do, before it does it.
use std::collections::BTreeMap;

use serde_json::{Value, json};
use virga_ring::builder::{Builder, Rebalanced};
use virga_ring::{DeviceId, Durability};

use super::rebalance::{seed_of, to_json};
use super::show::align;
use crate::Session;
use crate::cli::{Plan, Seeded};
use crate::report::{Report, VerbError};
use crate::store::Files;

/// Steps looked ahead; a plan that needs more says so.
const MAX_STEPS: usize = 16;
/// Devices failing together, for the chance of loss.
const FAILURES: usize = 10;

/// One rebalance of the plan and the seconds to wait before it.
struct Step {
    wait: u64,
    done: Rebalanced,
}

pub(super) fn plan(session: &mut Session<'_>, files: &Files, options: &Plan) -> Result<Report, VerbError> {
    let before = files.load()?;
    let mut after = before.clone();
    let mut now = session.now;
    let mut steps: Vec<Step> = Vec::new();
    for _ in 0..MAX_STEPS {
        let seed = seed_of(options.seed.seed.as_deref(), &after);
        let mut wait = 0;
        if !steps.is_empty() {
            wait = u64::from(after.min_part_hours()) * 3600;
            now += wait;
        }
        let done = after.rebalance(seed, now)?;
        let pending = done.pending;
        if done.moved == 0 && !steps.is_empty() {
            break;
        }
        steps.push(Step { wait, done });
        if pending == 0 {
            break;
        }
    }
    let total: u64 = steps.iter().map(|step| step.done.moved).sum();
    let slot_bytes = options.used.and_then(|used| {
        let slots = before.held().iter().sum::<u64>();
        (slots > 0).then(|| used as f64 / slots as f64)
    });
    let (text, json) = describe(&before, &after, &steps, total, slot_bytes);
    Ok(Report::done(text, json))
}

fn describe(
    before: &Builder,
    after: &Builder,
    steps: &[Step],
    total: u64,
    slot_bytes: Option<f64>,
) -> (String, Value) {
    let flows = Flows::of(before, after, steps);
    let mut text = String::new();
    for (at, step) in steps.iter().enumerate() {
        text += &format!(
            "Step {}: after {} hours, moves {} slots (at least {} in any rebalance), balance {:.2}, dispersion {:.2}, {} left to move\n",
            at + 1,
            step.wait / 3600,
            step.done.moved,
            step.done.bound,
            step.done.balance,
            step.done.dispersion,
            step.done.pending
        );
    }
    text += &format!("In all {total} slots");
    if let Some(each) = slot_bytes {
        text += &format!(", about {:.0} bytes", total as f64 * each);
    }
    text += &format!(
        "; balance {:.2} -> {:.2}, dispersion {:.2} -> {:.2}\n",
        before.balance(),
        after.balance(),
        before.dispersion(),
        after.dispersion()
    );
    let risk = |builder: &Builder| {
        builder
            .table()
            .map(|table| Durability::of(table).loss_probability(FAILURES))
    };
    let (risk_before, risk_after) = (risk(before), risk(after));
    if let (Some(before), Some(after)) = (risk_before, risk_after) {
        text += &format!(
            "Chance to lose a partition if {FAILURES} random devices fail at once: {:.4} % -> {:.4} %\n",
            before * 100.0,
            after * 100.0
        );
    }
    text += &flows.text(slot_bytes);
    let steps_json: Vec<Value> = steps
        .iter()
        .map(|step| {
            let mut json = to_json(&step.done);
            json["wait_seconds"] = step.wait.into();
            json
        })
        .collect();
    let json = json!({
        "moved": total, "bytes": slot_bytes.map(|each| total as f64 * each), "steps": steps_json,
        "balance": {"before": before.balance(), "after": after.balance()},
        "dispersion": {"before": before.dispersion(), "after": after.dispersion()},
        "loss_probability": {"failures": FAILURES, "before": risk_before, "after": risk_after},
        "devices": flows.devices_json(), "zones": flows.zones_json(),
    });
    (text, json)
}

/// Slots in and out, per device and between zones.
struct Flows {
    /// Device: held before, held after, in, out.
    devices: BTreeMap<DeviceId, [u64; 4]>,
    names: BTreeMap<DeviceId, String>,
    zones: BTreeMap<(String, String), u64>,
}

impl Flows {
    fn of(before: &Builder, after: &Builder, steps: &[Step]) -> Self {
        let mut it = Self {
            devices: BTreeMap::new(),
            names: BTreeMap::new(),
            zones: BTreeMap::new(),
        };
        let (held_before, held_after) = (before.held(), after.held());
        for device in before.devices() {
            let at = device.id.0 as usize;
            let held = |list: &[u64]| list.get(at).copied().unwrap_or(0);
            it.devices
                .insert(device.id, [held(&held_before), held(&held_after), 0, 0]);
            let name = format!(
                "r{}z{}-{}/{}",
                device.region, device.zone, device.ip, device.device
            );
            it.names.insert(device.id, name);
        }
        let zone = |id: Option<DeviceId>| {
            let device = id.and_then(|id| before.device(id));
            device.map_or_else(
                || "new".to_owned(),
                |device| format!("r{}z{}", device.region, device.zone),
            )
        };
        for movement in steps.iter().flat_map(|step| &step.done.movements) {
            if let Some(into) = it.devices.get_mut(&movement.to) {
                into[2] += movement.slots;
            }
            if let Some(from) = movement.from.and_then(|id| it.devices.get_mut(&id)) {
                from[3] += movement.slots;
            }
            *it.zones
                .entry((zone(movement.from), zone(Some(movement.to))))
                .or_default() += movement.slots;
        }
        it
    }

    fn text(&self, slot_bytes: Option<f64>) -> String {
        let titles = ["id", "before", "after", "in", "out", "device"];
        let mut rows: Vec<Vec<String>> = vec![titles.iter().map(|title| (*title).to_owned()).collect()];
        for (id, numbers) in self
            .devices
            .iter()
            .filter(|(_, numbers)| numbers[2] + numbers[3] > 0)
        {
            let mut row = vec![id.to_string()];
            row.extend(numbers.iter().map(u64::to_string));
            row.push(self.names[id].clone());
            rows.push(row);
        }
        let mut text = if rows.len() > 1 {
            align(&rows)
        } else {
            String::new()
        };
        for ((from, to), slots) in &self.zones {
            text += &format!("{from} -> {to}: {slots} slots");
            if let Some(each) = slot_bytes {
                text += &format!(", {:.0} bytes", *slots as f64 * each);
            }
            text.push('\n');
        }
        text
    }

    fn devices_json(&self) -> Vec<Value> {
        let value = |(id, n): (&DeviceId, &[u64; 4])| json!({"id": id, "device": self.names[id], "before": n[0], "after": n[1], "in": n[2], "out": n[3]});
        self.devices.iter().map(value).collect()
    }

    fn zones_json(&self) -> Vec<Value> {
        self.zones
            .iter()
            .map(|((from, to), slots)| json!({"from": from, "to": to, "slots": slots}))
            .collect()
    }
}

pub(super) fn bound(session: &mut Session<'_>, files: &Files, seed: &Seeded) -> Result<Report, VerbError> {
    let mut builder = files.load()?;
    let seed = seed_of(seed.seed.as_deref(), &builder);
    let done = builder.rebalance(seed, session.now)?;
    let text = format!(
        "At least {} slots must move; a rebalance now would move {}.",
        done.bound, done.moved
    );
    Ok(Report::done(
        text,
        json!({"bound": done.bound, "moved": done.moved, "pending": done.pending}),
    ))
}
