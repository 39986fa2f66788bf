//! Which devices a verb works on: search values or options, and the question
//! before more than one is changed.
use std::io::BufRead;

use virga_ring::DeviceId;
use virga_ring::builder::{Builder, address};

use crate::Session;
use crate::cli::DeviceOptions;
use crate::device_text::{self, ParseDeviceError, Search};
use crate::report::VerbError;

impl DeviceOptions {
    /// Is any option given?
    pub(crate) fn given(&self) -> bool {
        self.id.is_some()
            || self.region.is_some()
            || self.zone.is_some()
            || self.ip.is_some()
            || self.port.is_some()
            || self.replication_ip.is_some()
            || self.replication_port.is_some()
            || self.device.is_some()
            || self.weight.is_some()
            || self.meta.is_some()
    }

    /// The options as a search.
    pub(crate) fn search(&self) -> Result<Search, VerbError> {
        let spelled = |ip: &Option<String>| match ip {
            None => Ok(None),
            Some(ip) => match address::normalize(ip) {
                Some(ip) => Ok(Some(ip)),
                None => Err(ParseDeviceError::Address(ip.clone())),
            },
        };
        Ok(Search {
            id: self.id,
            region: self.region,
            zone: self.zone,
            ip: spelled(&self.ip)?,
            port: self.port,
            replication_ip: spelled(&self.replication_ip)?,
            replication_port: self.replication_port,
            device: self.device.clone(),
            weight: self.weight,
            meta: self.meta.clone(),
        })
    }
}

/// Devices that match, in order of id.
pub(crate) fn find(builder: &Builder, search: &Search) -> Vec<DeviceId> {
    builder
        .devices()
        .filter(|device| search.matches(device))
        .map(|device| device.id)
        .collect()
}

/// Devices by search values or by options, never both.
pub(crate) fn choose(
    builder: &Builder,
    searches: &[String],
    options: &DeviceOptions,
) -> Result<Vec<DeviceId>, VerbError> {
    match (searches, options.given()) {
        ([], true) => Ok(find(builder, &options.search()?)),
        ([], false) => Err(VerbError::usage(
            "no device named",
            "name devices by a search value (d7, z1, 10.0.0.3/sda) or by options (--zone 1)",
        )),
        (_, true) => Err(VerbError::usage(
            "devices by search values and by options at once",
            "give search values or options, not both",
        )),
        (searches, false) => {
            let mut found = Vec::new();
            for text in searches {
                for id in find(builder, &Search::parse(text)?) {
                    if !found.contains(&id) {
                        found.push(id);
                    }
                }
            }
            Ok(found)
        }
    }
}

/// Stops unless there is exactly one device or somebody says yes.
pub(crate) fn confirm(
    session: &mut Session<'_>,
    builder: &Builder,
    found: &[DeviceId],
    what: &str,
    yes: bool,
) -> Result<(), VerbError> {
    if found.is_empty() {
        let text = "Search value matched 0 devices.\nThe on-disk ring builder is unchanged.";
        return Err(VerbError::usage(
            text,
            "virga ring FILE search SEARCH_VALUE shows what matches",
        ));
    }
    if found.len() == 1 || yes {
        return Ok(());
    }
    session.note("Matched more than one device:")?;
    for device in found.iter().filter_map(|&id| builder.device(id)) {
        session.note(&format!("    {}", device_text::show(device)))?;
    }
    session.note(&format!(
        "Are you sure you want to {what} these {} devices? (y/N) ",
        found.len()
    ))?;
    let mut answer = String::new();
    // A bounded read: an answer is one letter.
    std::io::Read::take(&mut session.input, 16).read_line(&mut answer)?;
    if answer.trim() == "y" {
        Ok(())
    } else {
        Err(VerbError::usage(
            "Aborting: nothing is changed",
            "answer y, or give --yes",
        ))
    }
}
