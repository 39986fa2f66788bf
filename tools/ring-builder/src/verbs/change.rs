//! Verbs that change a builder: devices and settings. None moves data.
use serde_json::{Value, json};
use virga_ring::DeviceId;
use virga_ring::builder::{Builder, ChangeError, DeviceInfo, NewDevice};

use crate::cli::{Add, ChangeMany, Choice, Create, DeviceOptions, SetInfo};
use crate::device_text::{self, Search};
use crate::report::{Report, VerbError};
use crate::store::Files;
use crate::{Session, select};

pub(super) fn create(session: &mut Session<'_>, files: &Files, new: &Create) -> Result<Report, VerbError> {
    let mut builder = Builder::create(new.part_power, new.replicas, new.min_part_hours)?;
    files.save(&mut builder, session.now)?;
    Ok(Report::done(
        "",
        json!({"id": builder.id(), "part_power": builder.part_power()}),
    ))
}

pub(super) fn add(session: &mut Session<'_>, files: &Files, add: Add) -> Result<Report, VerbError> {
    let mut builder = files.load()?;
    let mut text = String::new();
    let mut added = Vec::new();
    for new in new_devices(session, add)? {
        let weight = new.weight;
        let id = builder.add(new)?;
        text += &format!(
            "Device {} with {weight:?} weight got id {id}\n",
            shown(&builder, id)
        );
        added.push(id);
    }
    files.save(&mut builder, session.now)?;
    Ok(Report::done(text, json!({"added": added})))
}

fn new_devices(session: &mut Session<'_>, add: Add) -> Result<Vec<NewDevice>, VerbError> {
    if add.devices.is_empty() {
        return Ok(vec![device_from(add.options)?]);
    }
    if add.options.given() || !add.devices.len().is_multiple_of(2) {
        let want = "give pairs of device and weight, or options, not both";
        return Err(VerbError::Usage(want.into()));
    }
    let mut devices = Vec::new();
    for pair in add.devices.chunks_exact(2) {
        let (region, new) = device_text::parse_add(&pair[0], number(&pair[1])?)?;
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

fn device_from(options: DeviceOptions) -> Result<NewDevice, VerbError> {
    fn need<T>(value: Option<T>, name: &str) -> Result<T, VerbError> {
        value.ok_or_else(|| VerbError::Usage(format!("Required argument --{name} not specified.")))
    }
    Ok(NewDevice {
        region: need(options.region, "region")?,
        zone: need(options.zone, "zone")?,
        ip: need(options.ip, "ip")?,
        port: need(options.port, "port")?,
        replication_ip: options.replication_ip,
        replication_port: options.replication_port,
        device: need(options.device, "device")?,
        weight: need(options.weight, "weight")?,
        meta: options.meta.unwrap_or_default(),
    })
}

pub(super) fn remove(session: &mut Session<'_>, files: &Files, choice: &Choice) -> Result<Report, VerbError> {
    let mut builder = files.load()?;
    let found = select::choose(&builder, &choice.searches, &choice.options)?;
    select::confirm(session, &builder, &found, "remove", choice.yes)?;
    let mut text = String::new();
    for &id in &found {
        builder.remove(id)?;
        text += &format!(
            "{} marked for removal and will be removed next rebalance.\n",
            shown(&builder, id)
        );
    }
    files.save(&mut builder, session.now)?;
    Ok(Report::done(text, json!({"removed": found})))
}

pub(super) fn set_weight(
    session: &mut Session<'_>,
    files: &Files,
    change: &ChangeMany,
) -> Result<Report, VerbError> {
    change_many(session, files, change, "weight", |builder, id, value| {
        let weight = number(value)?;
        builder.set_weight(id, weight)?;
        Ok(format!("{weight:?}"))
    })
}

pub(super) fn set_region(
    session: &mut Session<'_>,
    files: &Files,
    change: &ChangeMany,
) -> Result<Report, VerbError> {
    change_many(session, files, change, "region", |builder, id, value| {
        builder.set_region(id, whole(value)?)?;
        Ok(value.to_owned())
    })
}

pub(super) fn set_zone(
    session: &mut Session<'_>,
    files: &Files,
    change: &ChangeMany,
) -> Result<Report, VerbError> {
    change_many(session, files, change, "zone", |builder, id, value| {
        builder.set_zone(id, whole(value)?)?;
        Ok(value.to_owned())
    })
}

/// Pairs of search and value, or options and one value. All or nothing is saved.
fn change_many(
    session: &mut Session<'_>,
    files: &Files,
    change: &ChangeMany,
    what: &str,
    set: impl Fn(&mut Builder, DeviceId, &str) -> Result<String, VerbError>,
) -> Result<Report, VerbError> {
    let mut builder = files.load()?;
    let mut steps = Vec::new();
    if change.options.given() {
        let [value] = change.values.as_slice() else {
            return Err(VerbError::Usage(format!("give one new {what} after the options")));
        };
        steps.push((select::find(&builder, &change.options.search()?), value));
    } else {
        if !change.values.len().is_multiple_of(2) {
            return Err(VerbError::Usage(format!(
                "give pairs of search value and new {what}"
            )));
        }
        for pair in change.values.chunks_exact(2) {
            steps.push((select::find(&builder, &Search::parse(&pair[0])?), &pair[1]));
        }
    }
    let mut text = String::new();
    let mut changed = Vec::new();
    for (found, value) in steps {
        select::confirm(
            session,
            &builder,
            &found,
            &format!("update the {what} for"),
            change.yes,
        )?;
        for id in found {
            let now = set(&mut builder, id, value)?;
            text += &format!("{} {what} set to {now}\n", shown(&builder, id));
            changed.push(id);
        }
    }
    files.save(&mut builder, session.now)?;
    Ok(Report::done(text, json!({"changed": changed})))
}

pub(super) fn set_info(
    session: &mut Session<'_>,
    files: &Files,
    change: &SetInfo,
) -> Result<Report, VerbError> {
    let mut builder = files.load()?;
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
            return Err(VerbError::Usage(
                "nothing to change: give --change-... options".into(),
            ));
        }
        steps.push((select::choose(&builder, &[], &change.options)?, info));
    } else {
        if change.options.given() || !change.values.len().is_multiple_of(2) {
            return Err(VerbError::Usage(
                "give pairs of search value and change, or options, not both".into(),
            ));
        }
        for pair in change.values.chunks_exact(2) {
            let found = select::find(&builder, &Search::parse(&pair[0])?);
            steps.push((found, device_text::parse_info(&pair[1])?));
        }
    }
    let mut text = String::new();
    let mut changed = Vec::new();
    for (found, info) in steps {
        select::confirm(session, &builder, &found, "update the info for", change.yes)?;
        for id in found {
            let before = shown(&builder, id);
            builder.set_info(id, info.clone())?;
            text += &format!("Device {before} is now {}\n", shown(&builder, id));
            changed.push(id);
        }
    }
    files.save(&mut builder, session.now)?;
    Ok(Report::done(text, json!({"changed": changed})))
}

pub(super) fn set_replicas(
    session: &mut Session<'_>,
    files: &Files,
    replicas: f64,
) -> Result<Report, VerbError> {
    let text = format!(
        "The replica count is now {replicas:.6}.\nThe change will take effect after the next rebalance."
    );
    set(
        session,
        files,
        |builder| builder.set_replicas(replicas),
        text,
        json!({"replicas": replicas}),
    )
}

pub(super) fn set_min_part_hours(
    session: &mut Session<'_>,
    files: &Files,
    hours: u32,
) -> Result<Report, VerbError> {
    let text =
        format!("The minimum number of hours before a partition can be reassigned is now set to {hours}");
    set(
        session,
        files,
        |builder| builder.set_min_part_hours(hours),
        text,
        json!({"min_part_hours": hours}),
    )
}

pub(super) fn set_overload(
    session: &mut Session<'_>,
    files: &Files,
    overload: &str,
) -> Result<Report, VerbError> {
    let (digits, percent) = match overload.strip_suffix('%') {
        Some(digits) => (digits, true),
        None => (overload, false),
    };
    let factor = number(digits)? * if percent { 0.01 } else { 1.0 };
    let mut text = format!(
        "The overload factor is now {:.2}% ({factor:.6})\nThe change will take effect after the next rebalance.",
        factor * 100.0
    );
    let code = if factor > 1.0 && !percent {
        text.insert_str(0, "!?! Warning overload is greater than 100% !?!\n");
        crate::WARNING
    } else {
        crate::DONE
    };
    let done = set(
        session,
        files,
        |builder| builder.set_overload(factor),
        text,
        json!({"overload": factor}),
    )?;
    Ok(done.code(code))
}

pub(super) fn pretend(session: &mut Session<'_>, files: &Files) -> Result<Report, VerbError> {
    let change = |builder: &mut Builder| {
        builder.pretend_min_part_hours_passed();
        Ok(())
    };
    set(session, files, change, String::new(), json!({}))
}

fn set(
    session: &mut Session<'_>,
    files: &Files,
    change: impl Fn(&mut Builder) -> Result<(), ChangeError>,
    text: String,
    json: Value,
) -> Result<Report, VerbError> {
    let mut builder = files.load()?;
    change(&mut builder)?;
    files.save(&mut builder, session.now)?;
    Ok(Report::done(text, json))
}

fn shown(builder: &Builder, id: DeviceId) -> String {
    builder.device(id).map(device_text::show).unwrap_or_default()
}

fn number(text: &str) -> Result<f64, VerbError> {
    text.parse()
        .map_err(|_| VerbError::Usage(format!("{text:?} is not a valid number.")))
}

fn whole(text: &str) -> Result<u32, VerbError> {
    text.parse()
        .map_err(|_| VerbError::Usage(format!("{text:?} is not a whole number of 0 or more.")))
}
