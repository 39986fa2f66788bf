//! Measures the builder: builds rings from small to very large and changes
//! them; prints time, memory, quality and moves beside the lower bound.
//!
//! ```text
//! scenarios [--json] [--seed N] [NAME...]     NAME: a b c d e (default: all), or d/add-10, e/build, ...
//! scenarios --list                            the names
//! scenarios --devices NAME                    the devices a scenario starts with, as `add` takes them
//! ```
//!
//! Every change starts from the freshly built ring, with no partition resting.
//! Times are of the rebalance alone: wall clock, and CPU time of the thread.
//! Peak memory is the highest resident size during the step, the ring before
//! it included.
use std::time::Instant;

use virga_ring::DeviceId;
use virga_ring::builder::{Builder, NewDevice};

/// Unix seconds at which everything happens.
const NOW: u64 = 1_800_000_000;

/// A ring to start with.
#[derive(Clone, Copy)]
struct Start {
    name: &'static str,
    part_power: u8,
    replicas: f64,
    overload: f64,
    /// Devices and where they are.
    devices: u32,
    layout: Layout,
    changes: &'static [Change],
}

#[derive(Clone, Copy)]
enum Layout {
    /// One region; zones and weights equal.
    EvenZones(u32),
    /// Three regions of five zones, ten devices a server, weights 1 : 2 : 4.
    MixedRegions,
}

#[derive(Clone, Copy)]
enum Change {
    Add(u32),
    RemoveZone,
    Fail(u32),
    Drain,
    Reweigh,
    Overload(f64),
    Replicas(f64),
    Nothing,
}

const CHANGES: &[Change] = &[
    Change::Add(10),
    Change::RemoveZone,
    Change::Fail(3),
    Change::Drain,
    Change::Reweigh,
    Change::Overload(0.2),
    Change::Replicas(3.5),
    Change::Nothing,
];

const STARTS: &[Start] = &[
    Start {
        name: "a",
        part_power: 10,
        replicas: 3.0,
        overload: 0.0,
        devices: 4,
        layout: Layout::EvenZones(4),
        changes: &[],
    },
    Start {
        name: "b",
        part_power: 18,
        replicas: 3.0,
        overload: 0.0,
        devices: 300,
        layout: Layout::EvenZones(3),
        changes: CHANGES,
    },
    Start {
        name: "c",
        part_power: 20,
        replicas: 3.0,
        overload: 0.0,
        devices: 1000,
        layout: Layout::MixedRegions,
        changes: &[],
    },
    Start {
        name: "d",
        part_power: 20,
        replicas: 3.0,
        overload: 0.0,
        devices: 1000,
        layout: Layout::MixedRegions,
        changes: CHANGES,
    },
    Start {
        name: "d-overload",
        part_power: 20,
        replicas: 3.0,
        overload: 0.2,
        devices: 1000,
        layout: Layout::MixedRegions,
        changes: CHANGES,
    },
    Start {
        name: "d-2^16",
        part_power: 16,
        replicas: 3.0,
        overload: 0.0,
        devices: 1000,
        layout: Layout::MixedRegions,
        changes: CHANGES,
    },
    Start {
        name: "e",
        part_power: 23,
        replicas: 3.0,
        overload: 0.0,
        devices: 10_000,
        layout: Layout::MixedRegions,
        changes: CHANGES,
    },
    Start {
        name: "e-overload",
        part_power: 23,
        replicas: 3.0,
        overload: 0.2,
        devices: 10_000,
        layout: Layout::MixedRegions,
        changes: CHANGES,
    },
];

impl Layout {
    /// The place and weight of device number `at` of `count`.
    fn device(self, at: u32, count: u32) -> NewDevice {
        let (region, zone, server, weight) = match self {
            Layout::EvenZones(zones) => (1, at % zones + 1, at / zones / 10, 100.0),
            Layout::MixedRegions => {
                let a_zone = count.div_ceil(15);
                let (tier, within) = (at / a_zone, at % a_zone);
                let weight = f64::from([100u32, 200, 400][(at % 3) as usize]);
                (tier / 5 + 1, tier % 5 + 1, within / 10, weight)
            }
        };
        NewDevice {
            region,
            zone,
            ip: format!("10.{}.{}.{}", region * 16 + zone, server / 250, server % 250 + 1),
            port: 6200,
            replication_ip: None,
            replication_port: None,
            device: format!("sd{at}"),
            weight,
            meta: String::new(),
        }
    }
}

impl Change {
    fn name(self) -> String {
        match self {
            Change::Add(count) => format!("add-{count}"),
            Change::RemoveZone => "remove-zone".into(),
            Change::Fail(count) => format!("fail-{count}"),
            Change::Drain => "drain-one".into(),
            Change::Reweigh => "reweigh-one".into(),
            Change::Overload(overload) => format!("overload-{overload}"),
            Change::Replicas(replicas) => format!("replicas-{replicas}"),
            Change::Nothing => "nothing".into(),
        }
    }

    fn make(self, start: &Start, builder: &mut Builder) -> Result<(), Box<dyn std::error::Error>> {
        match self {
            // Spread over the zones, as an operator would: two or three each.
            Change::Add(count) => {
                for at in 0..count {
                    let like = at * (start.devices / count);
                    let device = start.layout.device(like, start.devices);
                    builder.add(NewDevice {
                        device: format!("new{at}"),
                        ..device
                    })?;
                }
            }
            Change::RemoveZone => {
                let in_zone = builder
                    .devices()
                    .filter(|it| (it.region, it.zone) == (1, 2))
                    .map(|it| it.id);
                for id in in_zone.collect::<Vec<_>>() {
                    builder.remove(id)?;
                }
            }
            Change::Fail(count) => {
                for at in 0..count {
                    builder.remove(DeviceId(at * (start.devices / count) + 1))?;
                }
            }
            Change::Drain => builder.set_weight(DeviceId(start.devices / 2), 0.0)?,
            Change::Reweigh => builder.set_weight(DeviceId(start.devices / 2), 300.0)?,
            Change::Overload(overload) => builder.set_overload(overload)?,
            Change::Replicas(replicas) => builder.set_replicas(replicas)?,
            Change::Nothing => {}
        }
        Ok(())
    }
}

fn create(start: &Start) -> Result<Builder, Box<dyn std::error::Error>> {
    let mut builder = Builder::create(start.part_power, start.replicas, 1)?;
    builder.set_overload(start.overload)?;
    for at in 0..start.devices {
        builder.add(start.layout.device(at, start.devices))?;
    }
    Ok(builder)
}

/// Rebalances and prints a line.
fn step(
    options: &Options,
    name: &str,
    step: &str,
    builder: &mut Builder,
) -> Result<(), Box<dyn std::error::Error>> {
    builder.pretend_min_part_hours_passed();
    reset_peak_memory();
    let (cpu, wall) = (cpu_seconds(), Instant::now());
    let done = builder.rebalance(options.seed, NOW)?;
    let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let peak = peak_memory();
    let slots = builder.table().map_or(0, |table| table.slots());
    let held = builder.held();
    let off = builder
        .targets()?
        .into_iter()
        .zip(&held)
        .map(|(target, held)| (*held as f64 - target).abs());
    let off = off.fold(0.0, f64::max);
    let exact = builder.dispersion_report().map_or(0.0, |report| report.exact);
    if options.json {
        println!(
            "{}",
            serde_json::json!({
                "scenario": name, "step": step, "part_power": builder.part_power(),
                "devices": builder.devices().count(), "replicas": builder.replicas(),
                "overload": builder.overload(), "seconds": wall, "cpu_seconds": cpu,
                "peak_bytes": peak, "slots": slots, "moved": done.moved, "bound": done.bound,
                "pending": done.pending, "looks": done.looks, "balance": done.balance,
                "dispersion": done.dispersion, "dispersion_exact": exact, "most_slots_off_target": off,
            })
        );
    } else {
        println!(
            "{name:<11}{step:<14}{wall:>9.3}{cpu:>9.3}{:>8}{:>11}{:>11}{:>9}{:>10.3}{:>9.4}{off:>7.2}",
            peak / 1_000_000,
            done.moved,
            done.bound,
            done.pending,
            done.balance,
            done.dispersion,
        );
    }
    Ok(())
}

#[derive(Default)]
struct Options {
    json: bool,
    seed: u64,
    names: Vec<String>,
}

impl Options {
    /// Is `name` (or the scenario it is part of) asked for?
    fn wants(&self, start: &str, step: &str) -> bool {
        let full = format!("{start}/{step}");
        self.names.is_empty() || self.names.iter().any(|name| name == start || *name == full)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = Options {
        seed: 1,
        ..Options::default()
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => options.json = true,
            "--seed" => options.seed = words.next().ok_or("--seed takes a number")?.parse()?,
            "--list" => {
                for start in STARTS {
                    println!("{}/build", start.name);
                    start
                        .changes
                        .iter()
                        .for_each(|change| println!("{}/{}", start.name, change.name()));
                }
                return Ok(());
            }
            "--devices" => return list_devices(&words.next().ok_or("--devices takes a name")?),
            _ => options.names.push(word),
        }
    }
    if !options.json {
        println!(
            "scenario   step             wall s    cpu s peak MB      moved      bound  pending balance % disp. %  off"
        );
    }
    for start in STARTS {
        let changes = start
            .changes
            .iter()
            .filter(|change| options.wants(start.name, &change.name()));
        let changes: Vec<Change> = changes.copied().collect();
        let build = options.wants(start.name, "build");
        if !build && changes.is_empty() {
            continue;
        }
        if build {
            step(&options, start.name, "build", &mut create(start)?)?;
        }
        for change in changes {
            // Built anew, so that memory counts one ring.
            let mut builder = create(start)?;
            builder.rebalance(options.seed, NOW)?;
            change.make(start, &mut builder)?;
            step(&options, start.name, &change.name(), &mut builder)?;
        }
    }
    Ok(())
}

fn list_devices(name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let start = STARTS
        .iter()
        .find(|start| start.name == name)
        .ok_or("no such scenario")?;
    for at in 0..start.devices {
        let it = start.layout.device(at, start.devices);
        println!(
            "r{}z{}-{}:{}/{} {}",
            it.region, it.zone, it.ip, it.port, it.device, it.weight
        );
    }
    Ok(())
}

/// CPU time of this thread, from Linux's scheduler; 0 elsewhere.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse::<f64>().ok());
    first.unwrap_or(0.0) / 1e9
}

/// From here on, the peak counts anew (Linux).
fn reset_peak_memory() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Highest resident size since then, in bytes; 0 where it cannot be read.
fn peak_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}
