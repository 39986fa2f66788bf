//! What a Swift builder file says, checked, as a [`Builder`].
//!
//! Keys and their defaults are those that Swift's `RingBuilder` takes. Nothing
//! is repaired silently: a value that cannot be is an error that names the
//! device or the partition.
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use serde_json::Value as Json;

use super::ImportError;
use super::pickle::{List, Node, Pickle, Value};
use crate::builder::{
    Builder, MAX_DEVICES, MAX_PART_POWER, MoveTimes, Settings, check_min_part_hours, check_replicas,
};
use crate::device::{Device, DeviceId};
use crate::table::{MAX_SLOTS, NONE, Table};

/// Heaviest weight, as for new devices.
const MAX_WEIGHT: f64 = 1e15;
/// Largest overload, as for `set_overload`.
const MAX_OVERLOAD: f64 = 1e6;
/// Most keys of one device.
const MAX_KEYS: usize = 64;
/// Most characters of a builder's id (32 hex digits in practice).
const MAX_ID: usize = 64;
/// What the builder keeps in its device dicts and no ring file has.
pub(super) const BUILDERS_OWN: [&str; 4] = ["parts", "parts_wanted", "tiers", "sort_key"];
/// Keys that have a place of their own in [`Device`].
const KNOWN: [&str; 10] = [
    "id",
    "region",
    "zone",
    "ip",
    "port",
    "replication_ip",
    "replication_port",
    "device",
    "weight",
    "meta",
];

/// Makes the builder.
pub(super) fn builder(pickle: &Pickle<'_>) -> Result<Builder, ImportError> {
    let Some(Node::Dict(entries)) = pickle.node(pickle.root) else {
        return Err(ImportError::NotSwift(
            "the pickle is not a dict with a builder's keys",
        ));
    };
    let fields = Fields {
        pickle,
        place: Place::Builder,
        entries,
    };
    let settings = settings(&fields)?;
    let devices = devices(&fields)?;
    let removed = removed(&fields, &devices)?;
    let mut builder = Builder {
        settings,
        devices,
        removed,
        table: None,
        times: MoveTimes::default(),
    };
    if let Some(table) = table(&fields, &builder)? {
        builder.times = times(&fields, table.parts())?;
        builder.table = Some(table);
        builder.settings.dispersion = match fields.get("dispersion") {
            None | Some(Value::None) => builder.measure_dispersion(),
            Some(_) => fields.float("dispersion", 0.0..=f64::MAX)?,
        };
    }
    Ok(builder)
}

fn settings(fields: &Fields<'_, '_>) -> Result<Settings, ImportError> {
    let power = 0..=i64::from(MAX_PART_POWER);
    let part_power = fields.int("part_power", power.clone())? as u8;
    let parts = fields.int("parts", 0..=i64::MAX)?;
    if parts != 1 << part_power {
        return Err(fields.wrong(format!(
            "'parts' is {parts}, part power {part_power} makes {}",
            1u64 << part_power
        )));
    }
    let next_part_power = match fields.optional_int("next_part_power", power)? {
        Some(next) if next != i64::from(part_power) && next != i64::from(part_power) + 1 => {
            return Err(fields.wrong(format!(
                "'next_part_power' is {next}, the part power {part_power}"
            )));
        }
        next => next.map(|next| next as u8),
    };
    let replicas = fields.float("replicas", 0.0..=f64::MAX)?;
    check_replicas(replicas).map_err(|error| fields.wrong(error.to_string()))?;
    let hours = fields.int("min_part_hours", 0..=u32::MAX.into())? as u32;
    check_min_part_hours(hours).map_err(|error| {
        fields.wrong(format!(
            "{error}: a limit above 255 is never met; lower it with Swift's tool first"
        ))
    })?;
    let overload = match fields.get("overload") {
        None => 0.0,
        Some(_) => fields.float("overload", 0.0..=MAX_OVERLOAD)?,
    };
    let id = match fields.get("id") {
        None | Some(Value::None) => None,
        Some(_) => {
            let id = fields.text("id")?;
            if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(fields.wrong("'id' is no identifier"));
            }
            Some(id.to_owned())
        }
    };
    Ok(Settings {
        part_power,
        next_part_power,
        replicas,
        min_part_hours: hours,
        overload,
        version: fields.int("version", 0..=i64::MAX)? as u64,
        changed: match fields.want("devs_changed")? {
            Value::Bool(changed) => changed,
            Value::Int(number) => number != 0,
            _ => return Err(fields.wrong("'devs_changed' is neither true nor false")),
        },
        dispersion: 0.0,
        id,
        scatter_limit: None,
    })
}

fn devices(fields: &Fields<'_, '_>) -> Result<Vec<Option<Device>>, ImportError> {
    let list = fields.list("devs")?;
    if list.len() > MAX_DEVICES {
        return Err(fields.wrong(format!(
            "{} devices, a ring holds at most {MAX_DEVICES}",
            list.len()
        )));
    }
    let mut devices = Vec::with_capacity(list.len());
    for (place, value) in list.iter().enumerate() {
        devices.push(match value {
            Value::None => None,
            value => Some(device(fields.pickle, place, value)?),
        });
    }
    Ok(devices)
}

fn device(pickle: &Pickle<'_>, place: usize, value: Value) -> Result<Device, ImportError> {
    let mut fields = Fields {
        pickle,
        place: Place::Device(place),
        entries: &[],
    };
    match pickle.node(value) {
        Some(Node::Dict(entries)) if entries.len() <= MAX_KEYS => fields.entries = entries,
        Some(Node::Dict(_)) => return Err(fields.wrong(format!("it has more than {MAX_KEYS} keys"))),
        _ => return Err(fields.wrong("it is not a dict")),
    }
    let id = fields.int("id", 0..=i64::MAX)?;
    if id != place as i64 {
        return Err(fields.wrong(format!("'id' is {id}, its place in the list {place}")));
    }
    let number = 0..=i64::from(u32::MAX);
    let port = 0..=i64::from(u16::MAX);
    let name = fields.text("device")?;
    if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
        return Err(fields.wrong(format!(
            "bad device name {name:?}: it must be a single folder name"
        )));
    }
    let optional_text = |key| match fields.get(key) {
        None | Some(Value::None) => Ok(String::new()),
        Some(_) => fields.text(key).map(str::to_owned),
    };
    Ok(Device {
        id: DeviceId(place as u32),
        region: fields.optional_int("region", number.clone())?.unwrap_or(1) as u32,
        zone: fields.int("zone", number)? as u32,
        ip: fields.text("ip")?.to_owned(),
        port: fields.int("port", port.clone())? as u16,
        replication_ip: optional_text("replication_ip")?,
        replication_port: fields.optional_int("replication_port", port)?.unwrap_or(0) as u16,
        device: name.to_owned(),
        weight: fields.float("weight", 0.0..=MAX_WEIGHT)?,
        meta: optional_text("meta")?,
        extra: extra(&fields)?,
    }
    .complete())
}

/// Keys of an operator's own tools stay with the device.
fn extra(fields: &Fields<'_, '_>) -> Result<BTreeMap<String, Json>, ImportError> {
    let mut extra = BTreeMap::new();
    for &(key, value) in fields.entries {
        let key = fields
            .pickle
            .text(key)
            .ok_or_else(|| fields.wrong("a key is not a text"))?;
        if !KNOWN.contains(&key) && !BUILDERS_OWN.contains(&key) {
            let json = scalar(fields.pickle, value).ok_or_else(|| {
                fields.wrong(format!(
                    "'{key}' is neither a number nor a text: remove it with the tool that put it there"
                ))
            })?;
            extra.insert(key.to_owned(), json);
        }
    }
    Ok(extra)
}

fn scalar(pickle: &Pickle<'_>, value: Value) -> Option<Json> {
    Some(match value {
        Value::None => Json::Null,
        Value::Bool(it) => it.into(),
        Value::Int(it) => it.into(),
        Value::Float(it) => Json::Number(serde_json::Number::from_f64(it)?),
        value => pickle.text(value)?.into(),
    })
}

fn removed(fields: &Fields<'_, '_>, devices: &[Option<Device>]) -> Result<Vec<DeviceId>, ImportError> {
    let list = fields.list("_remove_devs")?;
    let mut seen = vec![false; devices.len()];
    let mut removed = Vec::new();
    for value in list.iter() {
        let entries = match fields.pickle.node(value) {
            Some(Node::Dict(entries)) if entries.len() <= MAX_KEYS => entries,
            _ => return Err(fields.wrong("'_remove_devs' holds something that is no device")),
        };
        let id = Fields { entries, ..*fields }.int("id", 0..=i64::MAX)?;
        let at = usize::try_from(id).unwrap_or(usize::MAX);
        if !matches!(devices.get(at), Some(Some(_))) {
            return Err(fields.wrong(format!(
                "device {id} is marked for removal, but it does not exist"
            )));
        }
        if !std::mem::replace(&mut seen[at], true) {
            removed.push(DeviceId(at as u32));
        }
    }
    Ok(removed)
}

/// The table; `None` before the first rebalance.
fn table(fields: &Fields<'_, '_>, builder: &Builder) -> Result<Option<Table>, ImportError> {
    const KEY: &str = "_replica2part2dev";
    if matches!(fields.want(KEY)?, Value::None) {
        return Ok(None);
    }
    let parts = 1usize << builder.settings.part_power;
    let list = fields.list(KEY)?;
    let mut rows = Vec::new();
    for (at, value) in list.iter().enumerate() {
        match fields.pickle.node(value) {
            Some(Node::Array(row)) => rows.push(row),
            _ => return Err(fields.wrong(format!("row {at} of the table is not an array of device numbers"))),
        }
    }
    // A fraction below one partition leaves an empty row.
    while rows.last().is_some_and(|row| row.numbers.is_empty()) {
        rows.pop();
    }
    let slots = rows.iter().map(|row| row.numbers.len()).sum::<usize>();
    if slots == 0 {
        return Ok(None);
    }
    if rows.len().saturating_mul(parts) > MAX_SLOTS {
        return Err(fields.wrong(format!(
            "the table has more than {MAX_SLOTS} slots, the most a table may have"
        )));
    }
    let mut ids = Vec::with_capacity(slots);
    for (at, row) in rows.iter().enumerate() {
        let len = row.numbers.len();
        let may_be_short = at > 0 && at + 1 == rows.len();
        if len > parts || (len < parts && !may_be_short) {
            return Err(fields.wrong(format!("row {at} of the table has {len} entries, not {parts}")));
        }
        let unassigned = u32::MAX >> (32 - 8 * u32::from(row.width));
        for (part, &id) in row.numbers.iter().enumerate() {
            if id == unassigned && row.width > 1 {
                ids.push(NONE);
            } else if matches!(builder.devices.get(id as usize), Some(Some(_))) {
                ids.push(id);
            } else {
                return Err(fields.wrong(format!(
                    "partition {part}, replica {at} is on device {id}, which does not exist"
                )));
            }
        }
    }
    let table = Table::from_row_major(parts, &ids);
    table
        .map(Some)
        .ok_or_else(|| fields.wrong("the rows of the table do not fit the part power"))
}

fn times(fields: &Fields<'_, '_>, parts: usize) -> Result<MoveTimes, ImportError> {
    const KEY: &str = "_last_part_moves";
    let numbers: &[u32] = match fields.want(KEY)? {
        Value::None => &[],
        value => match fields.pickle.node(value) {
            Some(Node::Array(array)) => &array.numbers,
            // A plain list after a power increase.
            Some(Node::List(List::Numbers(numbers))) => numbers,
            _ => return Err(fields.wrong(format!("'{KEY}' is not an array of hours"))),
        },
    };
    let mut hours = Vec::with_capacity(numbers.len());
    for (part, &number) in numbers.iter().enumerate() {
        let hour = u8::try_from(number).map_err(|_| {
            fields.wrong(format!(
                "partition {part} last moved {number} hours ago: 255 is the most"
            ))
        })?;
        hours.push(hour);
    }
    if hours.is_empty() {
        hours = vec![0; parts];
    }
    if hours.len() != parts {
        return Err(fields.wrong(format!("'{KEY}' has {} entries, not {parts}", hours.len())));
    }
    let epoch = fields.optional_int("_last_part_moves_epoch", 0..=i64::MAX)?;
    Ok(MoveTimes {
        hours,
        epoch: epoch.unwrap_or(0) as u64,
    })
}

/// Where a value stands, for messages.
#[derive(Clone, Copy)]
enum Place {
    Builder,
    Device(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builder => f.write_str("builder"),
            Self::Device(at) => write!(f, "device {at}"),
        }
    }
}

/// One dict, read by key.
#[derive(Clone, Copy)]
struct Fields<'p, 'a> {
    pickle: &'p Pickle<'a>,
    place: Place,
    entries: &'p [(Value, Value)],
}

impl<'p> Fields<'p, '_> {
    fn wrong(&self, problem: impl Into<String>) -> ImportError {
        ImportError::Content {
            place: self.place.to_string(),
            problem: problem.into(),
        }
    }

    fn get(&self, key: &str) -> Option<Value> {
        let found = self
            .entries
            .iter()
            .rev()
            .find(|(name, _)| self.pickle.text(*name) == Some(key));
        found.map(|&(_, value)| value)
    }

    fn want(&self, key: &str) -> Result<Value, ImportError> {
        self.get(key)
            .ok_or_else(|| self.wrong(format!("'{key}' is missing")))
    }

    fn int(&self, key: &str, range: RangeInclusive<i64>) -> Result<i64, ImportError> {
        match self.want(key)? {
            Value::Int(number) if range.contains(&number) => Ok(number),
            Value::Int(number) => Err(self.wrong(format!(
                "'{key}' is {number}, it must be from {} to {}",
                range.start(),
                range.end()
            ))),
            other => Err(self.wrong(format!("'{key}' is {}, not a whole number", self.kind(other)))),
        }
    }

    fn optional_int(&self, key: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, ImportError> {
        match self.get(key) {
            None | Some(Value::None) => Ok(None),
            Some(_) => self.int(key, range).map(Some),
        }
    }

    fn float(&self, key: &str, range: RangeInclusive<f64>) -> Result<f64, ImportError> {
        let number = match self.want(key)? {
            Value::Int(number) => number as f64,
            Value::Float(number) => number,
            other => return Err(self.wrong(format!("'{key}' is {}, not a number", self.kind(other)))),
        };
        if range.contains(&number) {
            return Ok(number);
        }
        Err(self.wrong(format!(
            "'{key}' is {number}, it must be from {} to {:e}",
            range.start(),
            range.end()
        )))
    }

    fn text(&self, key: &str) -> Result<&'p str, ImportError> {
        let value = self.want(key)?;
        self.pickle
            .text(value)
            .ok_or_else(|| self.wrong(format!("'{key}' is {}, not a text in UTF-8", self.kind(value))))
    }

    fn list(&self, key: &str) -> Result<&'p List, ImportError> {
        let value = self.want(key)?;
        match self.pickle.node(value) {
            Some(Node::List(list)) => Ok(list),
            _ => Err(self.wrong(format!("'{key}' is {}, not a list", self.kind(value)))),
        }
    }

    fn kind(&self, value: Value) -> &'static str {
        match value {
            Value::None => "None",
            Value::Bool(_) => "a truth value",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Callable(_) => "a function",
            value => self.pickle.node(value).map_or("nothing", Node::kind),
        }
    }
}
