//! Verbs that change devices. None moves data; [`apply`] works on a builder in
//! memory, so that `plan` and `draw` can try changes out.
use serde_json::json;
use virga_ring::DeviceId;
use virga_ring::builder::{Builder, CreateError, DeviceInfo, NewDevice};

use super::settings;
use crate::cli::{Add, ChangeMany, Choice, Create, DeviceOptions, SetInfo, Verb};
use crate::device_text::{self, Search};
use crate::report::{Report, VerbError};
use crate::store::Files;
use crate::{Session, select};

pub(super) fn create(session: &mut Session<'_>, files: &Files, new: &Create) -> Result<Report, VerbError> {
    let power = u8::try_from(new.part_power).map_err(|_| CreateError::PartPower(new.part_power))?;
    let hours =
        u32::try_from(new.min_part_hours).map_err(|_| CreateError::MinPartHours(new.min_part_hours))?;
    let mut builder = Builder::create(power, new.replicas, hours)?;
    files.save(&mut builder, session.now)?;
    Ok(Report::done(
        "",
        json!({"id": builder.id(), "part_power": builder.part_power()}),
    ))
}

/// Loads the builder, applies `verb`, saves: all of it or nothing.
pub(super) fn change(session: &mut Session<'_>, files: &Files, verb: &Verb) -> Result<Report, VerbError> {
    let mut builder = files.load()?;
    let Some(report) = apply(session, &mut builder, verb, false)? else {
        return Err(VerbError::Usage("this verb changes no builder".into()));
    };
    files.save(&mut builder, session.now)?;
    Ok(report)
}

/// Applies a verb that changes a builder; `None` if it is none of those.
/// `yes` answers all questions.
pub(super) fn apply(
    session: &mut Session<'_>,
    builder: &mut Builder,
    verb: &Verb,
    yes: bool,
) -> Result<Option<Report>, VerbError> {
    Ok(Some(match verb {
        Verb::Add(it) => add(session, builder, it)?,
        Verb::Remove(it) => remove(session, builder, it, yes)?,
        Verb::SetWeight(it) => change_many(session, builder, (it, "weight", yes), |builder, id, value| {
            let weight = settings::number(value)?;
            builder.set_weight(id, weight)?;
            Ok(format!("{weight:?}"))
        })?,
        Verb::SetRegion(it) => change_many(session, builder, (it, "region", yes), |builder, id, value| {
            builder.set_region(id, settings::whole(value)?)?;
            Ok(value.to_owned())
        })?,
        Verb::SetZone(it) => change_many(session, builder, (it, "zone", yes), |builder, id, value| {
            builder.set_zone(id, settings::whole(value)?)?;
            Ok(value.to_owned())
        })?,
        Verb::SetInfo(it) => set_info(session, builder, it, yes)?,
        verb => return settings::apply(builder, verb),
    }))
}

fn add(session: &mut Session<'_>, builder: &mut Builder, add: &Add) -> Result<Report, VerbError> {
    let mut text = String::new();
    let mut added = Vec::new();
    for new in new_devices(session, add)? {
        let weight = new.weight;
        let id = builder.add(new)?;
        text += &format!(
            "Device {} with {weight:?} weight got id {id}\n",
            shown(builder, id)
        );
        added.push(id);
    }
    Ok(Report::done(text, json!({"added": added})))
}

fn new_devices(session: &mut Session<'_>, add: &Add) -> Result<Vec<NewDevice>, VerbError> {
    if add.devices.is_empty() {
        return Ok(vec![device_from(&add.options)?]);
    }
    if add.options.given() {
        return Err(VerbError::usage(
            "devices by value and by options at once",
            "give pairs of device and weight, or options, not both",
        ));
    }
    if !add.devices.len().is_multiple_of(2) {
        return Err(VerbError::usage(
            format!("{} words are no pairs of device and weight", add.devices.len()),
            "give a weight after every device: r1z1-10.0.0.1:6200/sda 100",
        ));
    }
    let mut devices = Vec::new();
    for pair in add.devices.chunks_exact(2) {
        let weight = settings::number(&pair[1]).map_err(|error| {
            VerbError::usage(
                format!("weight of {}: {error}", pair[0]),
                "a weight is a number of 0 or more",
            )
        })?;
        let (region, new) = device_text::parse_add(&pair[0], weight)?;
        if region.is_none() {
            session.warn(&format!(
                "WARNING: No region specified for {}. Defaulting to region 1.\n",
                pair[0]
            ))?;
        }
        devices.push(new);
    }
    Ok(devices)
}

fn device_from(options: &DeviceOptions) -> Result<NewDevice, VerbError> {
    fn need<T>(value: Option<T>, name: &str) -> Result<T, VerbError> {
        value.ok_or_else(|| {
            let letter = name.chars().next().unwrap_or_default();
            VerbError::usage(
                format!("Required argument -{letter}/--{name} not specified."),
                "a device needs --region, --zone, --ip, --port, --device and --weight",
            )
        })
    }
    Ok(NewDevice {
        region: need(options.region, "region")?,
        zone: need(options.zone, "zone")?,
        ip: need(options.ip.clone(), "ip")?,
        port: need(options.port, "port")?,
        replication_ip: options.replication_ip.clone(),
        replication_port: options.replication_port,
        device: need(options.device.clone(), "device")?,
        weight: need(options.weight, "weight")?,
        meta: options.meta.clone().unwrap_or_default(),
    })
}

fn remove(
    session: &mut Session<'_>,
    builder: &mut Builder,
    choice: &Choice,
    yes: bool,
) -> Result<Report, VerbError> {
    let found = select::choose(builder, &choice.searches, &choice.options)?;
    select::confirm(session, builder, &found, "remove", choice.yes || yes)?;
    let mut text = String::new();
    for &id in &found {
        // To say it twice is no mistake: a search may find what is marked.
        if !builder.is_removed(id) {
            builder.remove(id)?;
        }
        text += &format!(
            "{} marked for removal and will be removed next rebalance.\n",
            shown(builder, id)
        );
    }
    Ok(Report::done(text, json!({"removed": found})))
}

/// Pairs of search and value, or options and one value.
fn change_many(
    session: &mut Session<'_>,
    builder: &mut Builder,
    (change, what, yes): (&ChangeMany, &str, bool),
    set: impl Fn(&mut Builder, DeviceId, &str) -> Result<String, VerbError>,
) -> Result<Report, VerbError> {
    let mut steps = Vec::new();
    if change.options.given() {
        let [value] = change.values.as_slice() else {
            return Err(VerbError::usage(
                format!("{} values for one change", change.values.len()),
                format!("give one new {what} after the options"),
            ));
        };
        steps.push((select::find(builder, &change.options.search()?), value));
    } else {
        if !change.values.len().is_multiple_of(2) {
            return Err(VerbError::usage(
                format!("{} words are no pairs", change.values.len()),
                format!("give pairs of search value and new {what}: d7 VALUE"),
            ));
        }
        for pair in change.values.chunks_exact(2) {
            steps.push((select::find(builder, &Search::parse(&pair[0])?), &pair[1]));
        }
    }
    let mut text = String::new();
    let mut changed = Vec::new();
    let question = format!("update the {what} for");
    for (found, value) in steps {
        select::confirm(session, builder, &found, &question, change.yes || yes)?;
        for id in found {
            let now = set(builder, id, value)?;
            text += &format!("{} {what} set to {now}\n", shown(builder, id));
            changed.push(id);
        }
    }
    Ok(Report::done(text, json!({"changed": changed})))
}

fn set_info(
    session: &mut Session<'_>,
    builder: &mut Builder,
    change: &SetInfo,
    yes: bool,
) -> Result<Report, VerbError> {
    let mut steps: Vec<(Vec<DeviceId>, DeviceInfo)> = Vec::new();
    if change.values.is_empty() {
        let info = DeviceInfo {
            ip: change.change_ip.clone(),
            port: change.change_port,
            replication_ip: change.change_replication_ip.clone(),
            replication_port: change.change_replication_port,
            device: change.change_device.clone(),
            meta: change.change_meta.clone(),
        };
        if info == DeviceInfo::default() {
            return Err(VerbError::usage(
                "nothing to change",
                "give a search value and a change, or --change-... options",
            ));
        }
        steps.push((select::choose(builder, &[], &change.options)?, info));
    } else {
        if change.options.given() || !change.values.len().is_multiple_of(2) {
            return Err(VerbError::usage(
                "neither pairs nor options",
                "give pairs of search value and change, or options, not both",
            ));
        }
        for pair in change.values.chunks_exact(2) {
            let found = select::find(builder, &Search::parse(&pair[0])?);
            steps.push((found, device_text::parse_info(&pair[1])?));
        }
    }
    let mut text = String::new();
    let mut changed = Vec::new();
    for (found, info) in steps {
        select::confirm(session, builder, &found, "update the info for", change.yes || yes)?;
        for id in found {
            let before = shown(builder, id);
            builder.set_info(id, info.clone())?;
            text += &format!("Device {before} is now {}\n", shown(builder, id));
            changed.push(id);
        }
    }
    Ok(Report::done(text, json!({"changed": changed})))
}

fn shown(builder: &Builder, id: DeviceId) -> String {
    builder.device(id).map(device_text::show).unwrap_or_default()
}
