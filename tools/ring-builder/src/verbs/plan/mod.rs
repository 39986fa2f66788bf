//! What a rebalance would do, before it does it.
//!
//! [`Outlook`] plays consecutive rebalances in memory; this prints them.
//! `draw` uses the same outlook for its picture.
mod flows;
mod outlook;
mod text;

pub(super) use flows::Flows;
pub(super) use outlook::Outlook;

use serde_json::{Value, json};
use virga_ring::builder::Builder;

use super::rebalance::{seed_of, to_json};
use crate::Session;
use crate::cli::{Plan, Seeded};
use crate::quantity::Bytes;
use crate::report::{Report, VerbError};
use crate::store::Files;
use outlook::{Risk, Step};

/// How slots turn into bytes and seconds; nothing where it was not told.
#[derive(Clone, Copy, Debug, Default)]
struct Scale {
    /// Bytes of one slot.
    slot: Option<f64>,
    /// Bytes a second of one device.
    rate: Option<f64>,
}

impl Scale {
    fn bytes(self, slots: u64) -> Option<f64> {
        self.slot.map(|each| slots as f64 * each)
    }

    /// Seconds to copy what a step moves: devices work side by side, each
    /// takes in and gives up at its rate.
    fn seconds(self, step: &Step) -> Option<f64> {
        let (slot, rate) = (self.slot?, self.rate.filter(|rate| *rate > 0.0)?);
        Some(step.busiest as f64 * slot / rate)
    }
}

pub(super) fn plan(session: &mut Session<'_>, files: &Files, options: &Plan) -> Result<Report, VerbError> {
    let outlook = Outlook::of(session, files, &options.trial, Some(options.failures))?;
    let failures = options
        .failures
        .unwrap_or_else(|| usual_failures(&outlook.before));
    let slots = outlook.before.held().iter().sum::<u64>();
    let slots = if slots == 0 {
        outlook.after.held().iter().sum()
    } else {
        slots
    };
    let scale = Scale {
        slot: options
            .used
            .filter(|_| slots > 0)
            .map(|Bytes(used)| used / slots as f64),
        rate: options.rate.map(|Bytes(rate)| rate),
    };
    let flows = Flows::of(&outlook);
    let text = text::describe(&outlook, &flows, scale, (options, failures));
    Ok(Report::done(text, to_value(&outlook, &flows, scale, failures)))
}

/// Devices failing together unless told: as many as a loss takes, or 1 % of them.
pub(super) fn usual_failures(builder: &Builder) -> usize {
    let devices = builder.devices().filter(|device| device.weight > 0.0).count();
    (builder.replicas().ceil() as usize).max(devices.div_ceil(100))
}

fn to_value(outlook: &Outlook, flows: &Flows, scale: Scale, failures: usize) -> Value {
    let risk = |risk: &Option<Risk>| risk.map(|risk| risk.chance);
    let steps: Vec<Value> = outlook
        .steps
        .iter()
        .map(|step| {
            let mut json = to_json(&step.done);
            json["at"] = step.at.into();
            json["wait_seconds"] = step.wait.into();
            json["bytes"] = scale.bytes(step.done.moved).into();
            json["copy_seconds"] = scale.seconds(step).into();
            json["saved_without_force"] = step.worth_saving.into();
            json["loss_probability"] = risk(&step.during).into();
            json["loss_probability_with_old_copies"] = risk(&step.during_with_old).into();
            json
        })
        .collect();
    let during: Vec<Value> = outlook
        .steps
        .iter()
        .map(|step| risk(&step.during).into())
        .collect();
    json!({
        "trying": outlook.changes, "moved": outlook.moved(), "bound": outlook.bound, "pending": outlook.pending,
        "complete": outlook.pending == 0, "bytes": scale.bytes(outlook.moved()), "steps": steps,
        "balance": {"before": outlook.before.balance(), "after": outlook.after.balance()},
        "dispersion": {"before": outlook.before.dispersion(), "after": outlook.after.dispersion()},
        "loss_probability": {
            "failures": failures, "before": risk(&outlook.risk_before), "during": during, "after": risk(&outlook.risk_after),
        },
        "devices": flows.devices_json(scale.slot), "links": flows.links_json(scale.slot),
        "zones": flows.zones.json(scale.slot), "regions": flows.regions.json(scale.slot),
    })
}

pub(super) fn bound(session: &mut Session<'_>, files: &Files, seed: &Seeded) -> Result<Report, VerbError> {
    let mut builder = files.load()?;
    let seed = seed_of(seed.seed.as_deref(), &builder);
    let now = session.now;
    let done = session.during("placing partitions", |_| builder.rebalance(seed, now))?;
    let text = format!(
        "At least {} slots must move; a rebalance now would move {}.",
        done.bound, done.moved
    );
    Ok(Report::done(
        text,
        json!({"bound": done.bound, "moved": done.moved, "pending": done.pending}),
    ))
}
