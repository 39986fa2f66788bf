//! Verbs that only look: the summary, search, list_parts, validate.
use std::collections::BTreeSet;

use serde_json::{Value, json};
use virga_ring::builder::Builder;
use virga_ring::{Device, Partition, file};

use crate::cli::Choice;
use crate::device_text::bracket;
use crate::report::{Report, VerbError, clock_text};
use crate::store::Files;
use crate::{ERROR, Session, select};

/// What the tool says without a verb.
pub(super) fn summary(session: &mut Session<'_>, files: &Files) -> Result<Report, VerbError> {
    let builder = files.load()?;
    let regions: BTreeSet<u32> = builder.devices().map(|device| device.region).collect();
    let zones: BTreeSet<(u32, u32)> = builder
        .devices()
        .map(|device| (device.region, device.zone))
        .collect();
    let count = builder.devices().count();
    let left = builder.seconds_until_movable(session.now);
    let (balance, dispersion) = (builder.balance(), builder.dispersion());
    let id_bytes = if builder.device_list().len() > usize::from(u16::MAX) {
        4
    } else {
        2
    };
    let mut text = format!(
        "{}, build version {}, id {}\n",
        files.builder.display(),
        builder.version(),
        builder.id().unwrap_or("(not assigned)")
    );
    text += &format!(
        "{} partitions, {:.6} replicas, {} regions, {} zones, {count} devices, {id_bytes}-byte IDs, {balance:.2} balance, {dispersion:.2} dispersion\n",
        builder.partition_count(),
        builder.replicas(),
        regions.len(),
        zones.len(),
    );
    text += &format!(
        "The minimum number of hours before a partition can be reassigned is {} ({} remaining)\n",
        builder.min_part_hours(),
        clock_text(left)
    );
    text += &format!(
        "The overload factor is {:.2}% ({:.6})\n",
        builder.overload() * 100.0,
        builder.overload()
    );
    let state = ring_state(&builder, files);
    text += &format!("{}\n", state.0);
    text += &device_table(&builder);
    text += &power_note(&builder);
    if builder.slots_per_weight() == 0.0 {
        text += "There are no devices in this ring, or all devices have been deleted\n";
    }
    let json = json!({
        "builder": files.builder, "id": builder.id(), "version": builder.version(),
        "part_power": builder.part_power(), "next_part_power": builder.next_part_power(),
        "partitions": builder.partition_count(), "replicas": builder.replicas(),
        "regions": regions.len(), "zones": zones.len(), "balance": balance, "dispersion": dispersion,
        "min_part_hours": builder.min_part_hours(), "seconds_until_movable": left,
        "overload": builder.overload(), "ring": state.1, "devices": device_values(&builder, |_| true),
    });
    Ok(Report::done(text, json))
}

/// Does the ring file say what the builder says?
fn ring_state(builder: &Builder, files: &Files) -> (String, &'static str) {
    let name = files.ring.display();
    if !files.ring.exists() {
        return (
            format!("Ring file {name} not found, probably it hasn't been written yet"),
            "missing",
        );
    }
    match (file::load(&files.ring), builder.to_ring()) {
        (Err(error), _) => (format!("Ring file {name} is invalid: {error}"), "invalid"),
        (Ok(ring), Some(Ok(ours)))
            if ring.table() == ours.table()
                && ring.device_list() == ours.device_list()
                && ring.version() == ours.version()
                && ring.info().next_part_power == ours.info().next_part_power =>
        {
            (format!("Ring file {name} is up-to-date"), "up-to-date")
        }
        _ => (format!("Ring file {name} is obsolete"), "obsolete"),
    }
}

fn power_note(builder: &Builder) -> String {
    let power = builder.part_power();
    match builder.next_part_power() {
        Some(next) if next == power + 1 => format!(
            "\nPreparing increase of partition power ({power} -> {next})\n\
             Relink objects on all nodes before moving on to increase_partition_power.\n"
        ),
        Some(_) => format!(
            "\nIncreased partition power ({power} -> {power})\n\
             Write and distribute the ring, then clean up on all nodes before finish_increase_partition_power.\n"
        ),
        None => String::new(),
    }
}

/// The columns of swift-ring-builder, as wide as their contents.
fn device_table(builder: &Builder) -> String {
    let held = builder.held();
    let mut devices: Vec<&Device> = builder.devices().collect();
    devices.sort_by(|a, b| (a.region, a.zone, &a.ip, &a.device).cmp(&(b.region, b.zone, &b.ip, &b.device)));
    let titles = [
        "id",
        "region",
        "zone",
        "ip address:port",
        "replication ip:port",
        "name",
        "weight",
        "partitions",
        "balance",
        "flags",
        "meta",
    ];
    let mut rows: Vec<Vec<String>> = vec![titles.iter().map(|title| (*title).to_owned()).collect()];
    for device in devices {
        let parts = held[device.id.0 as usize];
        rows.push(vec![
            device.id.to_string(),
            device.region.to_string(),
            device.zone.to_string(),
            format!("{}:{}", bracket(&device.ip), device.port),
            format!("{}:{}", bracket(&device.replication_ip), device.replication_port),
            device.device.clone(),
            format!("{:.2}", device.weight),
            parts.to_string(),
            format!("{:.2}", builder.device_balance(device.id, parts)),
            if builder.is_removed(device.id) {
                "DEL".to_owned()
            } else {
                String::new()
            },
            device.meta.clone(),
        ]);
    }
    let body = align(&rows);
    let mut text = String::new();
    for (at, line) in body.lines().enumerate() {
        text += if at == 0 { "Devices: " } else { "         " };
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Right-aligned columns, one space apart; the last is left-aligned.
pub(super) fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            if at > 0 {
                text.push(' ');
            }
            if at + 1 == columns {
                text += cell;
            } else {
                text += &format!("{cell:>width$}", width = widths[at]);
            }
        }
        // An empty last cell leaves no blanks behind.
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

fn device_values(builder: &Builder, wanted: impl Fn(&Device) -> bool) -> Vec<Value> {
    let held = builder.held();
    let value = |device: &Device| {
        let parts = held[device.id.0 as usize];
        let mut value = serde_json::to_value(device).unwrap_or_default();
        value["parts"] = parts.into();
        value["balance"] = builder.device_balance(device.id, parts).into();
        value["removed"] = builder.is_removed(device.id).into();
        value
    };
    builder
        .devices()
        .filter(|device| wanted(device))
        .map(value)
        .collect()
}

pub(super) fn search(files: &Files, choice: &Choice) -> Result<Report, VerbError> {
    let builder = files.load()?;
    let found = select::choose(&builder, &choice.searches, &choice.options)?;
    if found.is_empty() {
        return Ok(Report::done("No matching devices found", json!([])).code(ERROR));
    }
    let titles = [
        "id",
        "region",
        "zone",
        "ip address",
        "port",
        "replication ip",
        "replication port",
        "name",
        "weight",
        "partitions",
        "balance",
        "meta",
    ];
    let mut rows: Vec<Vec<String>> = vec![titles.iter().map(|title| (*title).to_owned()).collect()];
    let held = builder.held();
    for device in found.iter().filter_map(|&id| builder.device(id)) {
        let parts = held[device.id.0 as usize];
        rows.push(vec![
            device.id.to_string(),
            device.region.to_string(),
            device.zone.to_string(),
            device.ip.clone(),
            device.port.to_string(),
            device.replication_ip.clone(),
            device.replication_port.to_string(),
            device.device.clone(),
            format!("{:.2}", device.weight),
            parts.to_string(),
            format!("{:.2}", builder.device_balance(device.id, parts)),
            device.meta.clone(),
        ]);
    }
    let values = device_values(&builder, |device| found.contains(&device.id));
    Ok(Report::done(format!("Devices:\n{}", align(&rows)), json!(values)))
}

pub(super) fn list_parts(files: &Files, choice: &Choice) -> Result<Report, VerbError> {
    let builder = files.load()?;
    let Some(table) = builder.table() else {
        let text = format!(
            "Specified builder file \"{}\" is not rebalanced yet. Please rebalance first.",
            files.builder.display()
        );
        return Err(VerbError::usage(text, "virga ring FILE rebalance"));
    };
    let found = select::choose(&builder, &choice.searches, &choice.options)?;
    let matches = |part: usize| {
        table
            .of(part)
            .iter()
            .filter(|&&id| found.iter().any(|it| it.0 == id))
            .count()
    };
    let mut parts: Vec<(usize, usize)> = (0..table.parts())
        .map(|part| (part, matches(part)))
        .filter(|(_, count)| *count > 0)
        .collect();
    if parts.is_empty() {
        return Ok(Report::done("No matching devices found", json!([])).code(ERROR));
    }
    parts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut text = "Partition   Matches\n".to_owned();
    parts
        .iter()
        .for_each(|(part, count)| text += &format!("{part:>9}   {count:>7}\n"));
    let json = parts
        .iter()
        .map(|&(part, matches)| json!({"part": Partition(part as u32), "matches": matches}));
    Ok(Report::done(text, json.collect()))
}

pub(super) fn validate(files: &Files) -> Result<Report, VerbError> {
    let report = files.load()?.validate()?;
    Ok(Report::done(
        "",
        json!({"valid": true, "worst_balance": report.worst}),
    ))
}
