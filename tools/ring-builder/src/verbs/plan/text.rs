//! A plan for people.
use super::super::show::align;
use super::Scale;
use super::flows::{Between, Flows};
use super::outlook::{Outlook, Risk, Step};
use crate::cli::Plan;
use crate::quantity::{show_bytes, show_chance, show_seconds};

/// Devices with moves shown; the JSON has all.
const MAX_ROWS: usize = 200;

pub(super) fn describe(
    outlook: &Outlook,
    flows: &Flows,
    scale: Scale,
    (options, failures): (&Plan, usize),
) -> String {
    let mut text = String::new();
    if !outlook.changes.is_empty() {
        text += "Trying out, nothing is saved:\n";
        for line in outlook.changes.iter().flat_map(|said| said.lines()) {
            text += &format!("  {line}\n");
        }
    }
    if outlook.steps.is_empty() {
        text += "There is nothing to move.\n";
    }
    for (at, step) in outlook.steps.iter().enumerate() {
        // The bound is that of all steps together.
        let bound = (outlook.steps.len() == 1).then_some(outlook.bound);
        text += &step_line(at, step, bound, scale, outlook.before.min_part_hours());
    }
    if outlook.steps.len() > 1 {
        text += &format!(
            "In all {}{} in {} steps; at least {} must move.\n",
            slots(outlook.moved()),
            in_brackets(scale.bytes(outlook.moved()).map(show_bytes)),
            outlook.steps.len(),
            outlook.bound
        );
    }
    if outlook.pending > 0 {
        text += &format!(
            "{} are still to move after that: plan again then.\n",
            slots(outlook.pending)
        );
    }
    text.push('\n');
    text += &stages(outlook, failures);
    text += &device_rows(flows, scale);
    text += &between("region", &flows.regions, scale);
    text += &between("zone", &flows.zones, scale);
    if options.links {
        text += &links(flows, scale);
    }
    text
}

fn slots(count: u64) -> String {
    format!("{count} slot{}", if count == 1 { "" } else { "s" })
}

fn in_brackets(inside: Option<String>) -> String {
    inside.map_or_else(String::new, |inside| format!(" ({inside})"))
}

fn step_line(at: usize, step: &Step, bound: Option<u64>, scale: Scale, min_part_hours: u32) -> String {
    let when = match (at, step.wait) {
        (0, 0) => "now".to_owned(),
        (0, wait) => format!("in {}", show_seconds(wait as f64)),
        (_, wait) => format!("{} later", show_seconds(wait as f64)),
    };
    let mut about: Vec<String> = scale.bytes(step.done.moved).map(show_bytes).into_iter().collect();
    let copying = scale.seconds(step);
    about.extend(copying.map(|seconds| format!("{} to copy", show_seconds(seconds))));
    let about = (!about.is_empty()).then(|| about.join(", "));
    let mut text = format!(
        "Step {}, {when}: {} of {} partitions move{}",
        at + 1,
        slots(step.done.moved),
        step.done.parts_moved,
        in_brackets(about)
    );
    if let Some(bound) = bound {
        text += &format!(", at least {bound} must");
    }
    if step.done.pending > 0 {
        text += &format!("; {} must wait", slots(step.done.pending));
    }
    text += ".\n";
    if !step.worth_saving {
        text += "  Less than 1 % changes: rebalance saves it only with --force.\n";
    }
    if copying.is_some_and(|seconds| seconds > f64::from(min_part_hours) * 3600.0) {
        text += "  Copying takes longer than min_part_hours: raise it (set_min_part_hours), or wait for replication before the next step.\n";
    }
    text
}

/// Balance, dispersion and risk before, during and after.
fn stages(outlook: &Outlook, failures: usize) -> String {
    let chance = |risk: Option<Risk>| risk.map_or_else(|| "-".to_owned(), |risk| show_chance(risk.chance));
    let titles = ["balance", "dispersion", "chance of loss", ""];
    let mut rows: Vec<Vec<String>> = vec![titles.iter().map(|title| (*title).to_owned()).collect()];
    rows.push(vec![
        format!("{:.2}", outlook.before.balance()),
        format!("{:.2}", outlook.before.dispersion()),
        chance(outlook.risk_before),
        "before".to_owned(),
    ]);
    for (at, step) in outlook.steps.iter().enumerate() {
        let old = step
            .during_with_old
            .map(|risk| format!("; {} if the old copies count", show_chance(risk.chance)));
        rows.push(vec![
            format!("{:.2}", step.done.balance),
            format!("{:.2}", step.done.dispersion),
            chance(step.during),
            format!("while step {} is copied{}", at + 1, old.unwrap_or_default()),
        ]);
    }
    rows.push(vec![
        format!("{:.2}", outlook.after.balance()),
        format!("{:.2}", outlook.after.dispersion()),
        chance(outlook.risk_after),
        "after".to_owned(),
    ]);
    format!(
        "{}Chance of loss: {failures} random devices fail at once and hold every replica of some partition.\n",
        align(&rows)
    )
}

fn device_rows(flows: &Flows, scale: Scale) -> String {
    let mut titles = vec!["id", "before", "after", "target", "in", "out"];
    if scale.slot.is_some() {
        titles.extend(["bytes in", "bytes out"]);
    }
    titles.push("device");
    let mut rows: Vec<Vec<String>> = vec![titles.into_iter().map(str::to_owned).collect()];
    let moving = flows
        .devices
        .iter()
        .filter(|(_, load)| load.taken + load.given > 0);
    let count = moving.clone().count();
    for (id, load) in moving.take(MAX_ROWS) {
        let mut row = vec![
            id.to_string(),
            load.before.to_string(),
            load.after.to_string(),
            load.target
                .map_or_else(|| "goes".to_owned(), |target| format!("{target:.2}")),
            load.taken.to_string(),
            load.given.to_string(),
        ];
        row.extend(scale.bytes(load.taken).map(show_bytes));
        row.extend(scale.bytes(load.given).map(show_bytes));
        row.push(flows.names[id].clone());
        rows.push(row);
    }
    if count == 0 {
        return String::new();
    }
    let mut text = format!("\n{}", align(&rows));
    if count > MAX_ROWS {
        text += &format!("... and {} more devices: --json has them all\n", count - MAX_ROWS);
    }
    text
}

fn between(what: &str, flows: &Between, scale: Scale) -> String {
    if flows.0.is_empty() {
        return String::new();
    }
    let mut rows = vec![vec![
        format!("from {what}"),
        "to".to_owned(),
        "slots".to_owned(),
        String::new(),
    ]];
    for ((from, to), slots) in &flows.0 {
        let bytes = scale.bytes(*slots).map_or_else(String::new, show_bytes);
        rows.push(vec![from.clone(), to.clone(), slots.to_string(), bytes]);
    }
    format!("\n{}", align(&rows))
}

fn links(flows: &Flows, scale: Scale) -> String {
    let mut rows = vec![vec![
        "from device".to_owned(),
        "to".to_owned(),
        "slots".to_owned(),
        String::new(),
    ]];
    for ((from, to), slots) in &flows.links {
        let from = from.map_or_else(|| "new".to_owned(), |id| format!("d{id}"));
        let bytes = scale.bytes(*slots).map_or_else(String::new, show_bytes);
        rows.push(vec![from, format!("d{to}"), slots.to_string(), bytes]);
    }
    if rows.len() == 1 {
        String::new()
    } else {
        format!("\n{}", align(&rows))
    }
}
