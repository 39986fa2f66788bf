//! Chance of losing data when devices fail together.
use std::collections::BTreeMap;

use serde_json::{Value, json};
use virga_ring::durability::joint::{Failure, JointLoss, joint_loss};
use virga_ring::durability::{AnnualLoss, CopySets, FanIn};
use virga_ring::{Device, DeviceId, Durability, Ring, file};

use super::show::align;
use crate::Session;
use crate::cli;
use crate::quantity::{show_chance, show_seconds};
use crate::report::{Report, VerbError};
use crate::store::Files;

/// Most failures sampled: more only takes long.
const MAX_SAMPLES: usize = 10_000_000;

pub(super) fn durability(
    session: &mut Session<'_>,
    files: &Files,
    options: &cli::Durability,
) -> Result<Report, VerbError> {
    let ring = file::load(&files.ring)?;
    if options.samples == 0 || options.samples > MAX_SAMPLES {
        return Err(VerbError::usage(
            format!("--samples {} is out of range", options.samples),
            format!("give 1 to {MAX_SAMPLES}"),
        ));
    }
    if options
        .rebuild_hours
        .is_some_and(|hours| !(0.0..=1e6).contains(&hours))
    {
        return Err(VerbError::usage(
            "--rebuild-hours is out of range",
            "give hours, such as 12",
        ));
    }
    let sets = CopySets::of(ring.table());
    let measured = sets.measure();
    let mut joint = Vec::new();
    let usual = (ring.replica_count().ceil() as usize).max(measured.model.devices.div_ceil(100));
    let count = options.failures.unwrap_or(usual);
    for (what, failure) in failures(&ring, options, count) {
        let (samples, seed) = (options.samples, options.seed);
        let loss = session.during(&format!("trying failures of {what}"), |steps| {
            joint_loss(&sets, &failure, samples, seed, |done, all| steps.at(done, all))
        });
        joint.push((what, loss));
    }
    let annual = options.afr.zip(options.rebuild_hours);
    let annual = annual.map(|(afr, hours)| measured.model.annual_loss(afr, hours));
    let text = describe(&ring, &measured, &joint, annual, (options, count));
    Ok(Report::done(text, to_value(&measured, &joint, annual, count)))
}

/// The failures asked about, with what to call them.
fn failures(ring: &Ring, options: &cli::Durability, failures: usize) -> Vec<(String, Failure)> {
    let held = ring.table().count_by_device(ring.device_list().len());
    let holders = || ring.devices().filter(|device| held[device.id.0 as usize] > 0);
    let grouped = |key: fn(&Device) -> (u32, u32, &str)| {
        let mut groups: BTreeMap<(u32, u32, &str), Vec<u32>> = BTreeMap::new();
        for device in holders() {
            groups.entry(key(device)).or_default().push(device.id.0);
        }
        groups.into_values().collect::<Vec<_>>()
    };
    let servers = grouped(|device| (device.region, device.zone, device.ip.as_str()));
    let zones = grouped(|device| (device.region, device.zone, ""));
    let mut list = Vec::new();
    let mut add = |what: &str, of: usize, count: usize, groups: Vec<Vec<u32>>| {
        if count > 0 && of > 0 {
            let plural = if count == 1 { "" } else { "s" };
            let what = format!("{count} {what}{plural} of {of}");
            list.push((what, Failure::Groups { groups, fail: count }));
        }
    };
    let single: Vec<Vec<u32>> = holders().map(|device| vec![device.id.0]).collect();
    add("random device", single.len(), failures, single);
    add("whole server", servers.len(), options.servers, servers);
    add("whole zone", zones.len(), options.zones, zones.clone());
    if options.share > 0.0 {
        let what = format!("{} % of the devices of every zone", options.share * 100.0);
        let share = options.share;
        list.push((what, Failure::Share { groups: zones, share }));
    }
    list
}

fn describe(
    ring: &Ring,
    measured: &Durability,
    joint: &[(String, JointLoss)],
    annual: Option<AnnualLoss>,
    (options, failures): (&cli::Durability, usize),
) -> String {
    let mut text = format!(
        "{} devices; each shares partitions with {} to {} others ({:.1} on average)\n",
        measured.model.devices, measured.scatter_least, measured.scatter_most, measured.scatter_mean
    );
    for (replicas, sets, parts) in &measured.model.copysets {
        text += &format!("{parts} partitions with {replicas} replicas on {sets} different sets of devices\n");
    }
    let name = |fan: &FanIn| {
        let device = ring.device(DeviceId(fan.device));
        let name = device.map_or_else(String::new, |device| {
            format!(" ({}/{})", device.ip, device.device)
        });
        format!(
            "d{}{name} from {} others; the busiest of them shares {} partitions with it",
            fan.device, fan.sources, fan.busiest
        )
    };
    if let (Some(widest), Some(narrowest)) = (&measured.widest, &measured.narrowest) {
        text += &format!("Rebuilt from the most: {}\n", name(widest));
        text += &format!("Rebuilt from the fewest: {}\n", name(narrowest));
    }
    text.push('\n');
    let titles = [
        "chance of loss",
        "partitions lost",
        "at worst",
        "what fails at once",
    ];
    let mut rows: Vec<Vec<String>> = vec![titles.iter().map(|title| (*title).to_owned()).collect()];
    rows.push(vec![
        show_chance(measured.model.loss_probability(failures)),
        format!("{:.6}", measured.model.expected_lost_partitions(failures)),
        "-".to_owned(),
        format!("{} random devices, by formula", failures),
    ]);
    for (what, loss) in joint {
        let how = if loss.exact {
            format!("{what}: all {} ways", loss.tried)
        } else {
            format!("{what}: {} samples, +- {}", loss.tried, show_chance(loss.error))
        };
        rows.push(vec![
            show_chance(loss.chance),
            format!("{:.6}", loss.mean_lost),
            loss.worst_lost.to_string(),
            how,
        ]);
    }
    text += &align(&rows);
    if let (Some(annual), Some(afr), Some(hours)) = (annual, options.afr, options.rebuild_hours) {
        text += &format!(
            "\nIn a year with {} of the devices failing, each rebuilt within {}: data is lost with a chance of {}, {:.3e} partitions on average\n",
            show_chance(afr),
            show_seconds(hours * 3600.0),
            show_chance(annual.chance),
            annual.partitions
        );
    }
    text
}

fn to_value(
    measured: &Durability,
    joint: &[(String, JointLoss)],
    annual: Option<AnnualLoss>,
    failures: usize,
) -> Value {
    let fan = |fan: &Option<FanIn>| {
        fan.map(|fan| json!({"device": fan.device, "sources": fan.sources, "busiest": fan.busiest}))
    };
    let losses: Vec<Value> = joint
        .iter()
        .map(|(what, loss)| {
            json!({
                "what": what, "chance": loss.chance, "error": loss.error, "mean_lost_partitions": loss.mean_lost,
                "worst_lost_partitions": loss.worst_lost, "tried": loss.tried, "exact": loss.exact,
                "failed_devices": loss.failed_devices,
            })
        })
        .collect();
    let copysets: Vec<Value> = measured
        .model
        .copysets
        .iter()
        .map(|(replicas, sets, parts)| json!({"replicas": replicas, "sets": sets, "partitions": parts}))
        .collect();
    json!({
        "devices": measured.model.devices, "failures": failures,
        "loss_probability": measured.model.loss_probability(failures),
        "expected_lost_partitions": measured.model.expected_lost_partitions(failures),
        "scatter": {"least": measured.scatter_least, "mean": measured.scatter_mean, "most": measured.scatter_most},
        "rebuild": {"widest": fan(&measured.widest), "narrowest": fan(&measured.narrowest)},
        "copysets": copysets, "joint": losses,
        "annual": annual.map(|annual| json!({"chance": annual.chance, "lost_partitions": annual.partitions})),
    })
}
