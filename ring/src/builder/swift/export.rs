//! Writes a builder as a pickle of protocol 2, with every key that Swift's
//! `RingBuilder` loads.
//!
//! Long lists go out in pieces of a thousand, as Python's own writer does, so
//! that no reader's stack grows with the table.
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::Value as Json;

use super::import::BUILDERS_OWN;
use super::opcode;
use crate::builder::Builder;
use crate::device::Device;
use crate::table::{NONE, Table};

/// Members of a list or dict between two marks.
const BATCH: usize = 1000;
/// Most device numbers that two bytes can tell apart, `0xffff` being taken.
const MAX_NARROW: usize = 0xffff;

/// The file's content.
pub(super) fn builder(builder: &Builder) -> Vec<u8> {
    let mut out = Writer::default();
    let id_bytes = if builder.devices.len() <= MAX_NARROW { 2 } else { 4 };
    out.code(opcode::PROTO);
    out.code(2);
    out.code(opcode::EMPTY_DICT);
    out.code(opcode::MARK);
    scalars(&mut out, builder, id_bytes);
    let memo = devices(&mut out, builder);
    out.key("_replica2part2dev");
    match &builder.table {
        None => out.code(opcode::NONE),
        Some(table) => {
            let type_code = if id_bytes == 2 { "H" } else { "I" };
            let unassigned = u32::MAX >> (32 - 8 * u32::from(id_bytes));
            out.list(0..table.rows(), |out, row| {
                let ids = table.row(row).map(|id| if id == NONE { unassigned } else { id });
                out.array(type_code, ids);
            });
        }
    }
    out.key("_last_part_moves");
    match &builder.table {
        // Swift fills in zeros.
        None => out.code(opcode::NONE),
        Some(_) => out.array("B", builder.times.hours.iter().map(|&hour| u32::from(hour))),
    }
    out.key("_dispersion_graph");
    let graph = builder
        .table
        .as_ref()
        .map(|table| dispersion_graph(builder, table));
    out.dict(graph.unwrap_or_default(), |out, (tier, counts)| {
        out.tier(&tier);
        out.list(counts, |out, count| out.int(count as i64));
    });
    out.key("_remove_devs");
    out.list(&builder.removed, |out, id| {
        // The same dicts as in `devs`: Swift changes them in both places at once.
        out.code(opcode::LONG_BINGET);
        out.bytes
            .extend_from_slice(&memo.get(&id.0).copied().unwrap_or(0).to_le_bytes());
    });
    out.code(opcode::SETITEMS);
    out.code(opcode::STOP);
    out.bytes
}

fn scalars(out: &mut Writer, builder: &Builder, id_bytes: u8) {
    let settings = &builder.settings;
    out.key("part_power");
    out.int(settings.part_power.into());
    out.key("next_part_power");
    match settings.next_part_power {
        None => out.code(opcode::NONE),
        Some(next) => out.int(next.into()),
    }
    out.key("replicas");
    out.float(settings.replicas);
    out.key("min_part_hours");
    out.int(settings.min_part_hours.into());
    out.key("parts");
    out.int(1 << settings.part_power);
    out.key("devs_changed");
    out.bool(settings.changed);
    out.key("dev_id_bytes");
    out.int(id_bytes.into());
    out.key("version");
    out.int(whole(settings.version));
    out.key("overload");
    out.float(settings.overload);
    out.key("_last_part_moves_epoch");
    out.int(whole(builder.times.epoch));
    // Where Swift's next search for partitions to move begins; any place will do.
    out.key("_last_part_gather_start");
    out.int(0);
    out.key("dispersion");
    out.float(settings.dispersion);
    out.key("id");
    match &settings.id {
        None => out.code(opcode::NONE),
        Some(id) => out.text(id),
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Writes the device list; gives the memo numbers of removed devices.
fn devices(out: &mut Writer, builder: &Builder) -> BTreeMap<u32, u32> {
    let held = builder.held();
    let memo: BTreeMap<u32, u32> = builder.removed.iter().map(|id| id.0).zip(0u32..).collect();
    out.key("devs");
    out.list(&builder.devices, |out, device| match device {
        None => out.code(opcode::NONE),
        Some(device) => {
            out.code(opcode::EMPTY_DICT);
            if let Some(number) = memo.get(&device.id.0) {
                out.code(opcode::LONG_BINPUT);
                out.bytes.extend_from_slice(&number.to_le_bytes());
            }
            out.code(opcode::MARK);
            let held = held.get(device.id.0 as usize).copied().unwrap_or(0);
            out.device(device, held);
            out.code(opcode::SETITEMS);
        }
    });
    memo
}

/// A region, zone, server or device, as Swift names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tier<'a> {
    region: u32,
    zone: Option<u32>,
    ip: Option<&'a str>,
    id: Option<u32>,
}

/// Per tier, the number of partitions with 0, 1, 2, ... replicas in it. Swift
/// looks only at partitions that every row reaches.
fn dispersion_graph<'a>(builder: &'a Builder, table: &Table) -> Vec<(Tier<'a>, Vec<u64>)> {
    let parts = table.last_row();
    let columns = table.rows().max(builder.settings.replicas.ceil() as usize) + 1;
    let mut numbers: BTreeMap<Tier<'a>, usize> = BTreeMap::new();
    let mut tiers_of: Vec<[usize; 4]> = Vec::with_capacity(builder.devices.len());
    for device in &builder.devices {
        tiers_of.push(match device {
            None => [0; 4],
            Some(device) => tiers(device).map(|tier| {
                let next = numbers.len();
                match numbers.entry(tier) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(new) => *new.insert(next),
                }
            }),
        });
    }
    let mut counts = vec![0u64; numbers.len() * columns];
    let mut here: Vec<(usize, usize)> = Vec::new();
    for part in 0..parts {
        here.clear();
        for id in table.of(part) {
            for &tier in tiers_of.get(*id as usize).into_iter().flatten() {
                match here.iter_mut().find(|(known, _)| *known == tier) {
                    Some((_, replicas)) => *replicas += 1,
                    None => here.push((tier, 1)),
                }
            }
        }
        for &(tier, replicas) in &here {
            counts[tier * columns + replicas] += 1;
        }
    }
    let mut graph = Vec::new();
    for (tier, number) in numbers {
        let counts = &mut counts[number * columns..][..columns];
        let with_some: u64 = counts.iter().sum();
        if with_some > 0 {
            counts[0] = (table.parts() as u64).saturating_sub(with_some);
            graph.push((tier, counts.to_vec()));
        }
    }
    graph
}

fn tiers(device: &Device) -> [Tier<'_>; 4] {
    let region = Tier {
        region: device.region,
        zone: None,
        ip: None,
        id: None,
    };
    let zone = Tier {
        zone: Some(device.zone),
        ..region
    };
    let server = Tier {
        ip: Some(&device.ip),
        ..zone
    };
    let leaf = Tier {
        id: Some(device.id.0),
        ..server
    };
    [region, zone, server, leaf]
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn code(&mut self, code: u8) {
        self.bytes.push(code);
    }

    fn int(&mut self, number: i64) {
        if let Ok(byte) = u8::try_from(number) {
            self.bytes.extend_from_slice(&[opcode::BININT1, byte]);
        } else if let Ok(word) = u16::try_from(number) {
            self.code(opcode::BININT2);
            self.bytes.extend_from_slice(&word.to_le_bytes());
        } else if let Ok(word) = i32::try_from(number) {
            self.code(opcode::BININT);
            self.bytes.extend_from_slice(&word.to_le_bytes());
        } else {
            self.bytes.extend_from_slice(&[opcode::LONG1, 8]);
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn float(&mut self, number: f64) {
        self.code(opcode::BINFLOAT);
        self.bytes.extend_from_slice(&number.to_be_bytes());
    }

    fn bool(&mut self, it: bool) {
        self.code(if it { opcode::NEWTRUE } else { opcode::NEWFALSE });
    }

    fn text(&mut self, text: &str) {
        self.code(opcode::BINUNICODE);
        self.bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn key(&mut self, key: &str) {
        self.text(key);
    }

    fn list<T>(&mut self, members: impl IntoIterator<Item = T>, write: impl FnMut(&mut Self, T)) {
        self.code(opcode::EMPTY_LIST);
        self.batches(opcode::APPENDS, members, write);
    }

    fn dict<T>(&mut self, entries: impl IntoIterator<Item = T>, write: impl FnMut(&mut Self, T)) {
        self.code(opcode::EMPTY_DICT);
        self.batches(opcode::SETITEMS, entries, write);
    }

    fn batches<T>(
        &mut self,
        end: u8,
        members: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        let mut members = members.into_iter().peekable();
        while members.peek().is_some() {
            self.code(opcode::MARK);
            for member in members.by_ref().take(BATCH) {
                write(self, member);
            }
            self.code(end);
        }
    }

    fn array(&mut self, type_code: &str, numbers: impl Iterator<Item = u32>) {
        self.code(opcode::GLOBAL);
        self.bytes.extend_from_slice(b"array\narray\n");
        self.text(type_code);
        self.list(numbers, |out, number| out.int(number.into()));
        self.code(opcode::TUPLE2);
        self.code(opcode::REDUCE);
    }

    fn tier(&mut self, tier: &Tier<'_>) {
        self.code(opcode::MARK);
        self.int(tier.region.into());
        if let Some(zone) = tier.zone {
            self.int(zone.into());
        }
        if let Some(ip) = tier.ip {
            self.text(ip);
        }
        if let Some(id) = tier.id {
            self.int(id.into());
        }
        self.code(opcode::TUPLE);
    }

    /// Keys and values of one device.
    fn device(&mut self, device: &Device, held: u64) {
        let numbers: [(&str, i64); 7] = [
            ("id", device.id.0.into()),
            ("region", device.region.into()),
            ("zone", device.zone.into()),
            ("port", device.port.into()),
            ("replication_port", device.replication_port.into()),
            ("parts", held as i64),
            // Swift works it out anew in each rebalance.
            ("parts_wanted", 0),
        ];
        for (key, number) in numbers {
            self.key(key);
            self.int(number);
        }
        let texts = [
            ("ip", &device.ip),
            ("replication_ip", &device.replication_ip),
            ("device", &device.device),
            ("meta", &device.meta),
        ];
        for (key, text) in texts {
            self.key(key);
            self.text(text);
        }
        self.key("weight");
        self.float(device.weight);
        for (key, value) in &device.extra {
            if !BUILDERS_OWN.contains(&key.as_str()) {
                self.key(key);
                self.json(value);
            }
        }
    }

    /// A value of a key that we do not know. As deep as the JSON it came from,
    /// which has a bound.
    fn json(&mut self, value: &Json) {
        match value {
            Json::Null => self.code(opcode::NONE),
            Json::Bool(it) => self.bool(*it),
            Json::String(text) => self.text(text),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => self.int(number),
                (None, number) => self.float(number.unwrap_or_default()),
            },
            Json::Array(all) => self.list(all, Self::json),
            Json::Object(entries) => self.dict(entries, |out, (key, value)| {
                out.key(key);
                out.json(value);
            }),
        }
    }
}
