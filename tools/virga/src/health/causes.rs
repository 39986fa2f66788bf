//! What is the matter, each with what is done about it and what is left to do.
use std::collections::BTreeMap;

use virga_node::clock::{Micros, Version};
use virga_node::health::State;
use virga_object_wire::movement::Movement;
use virga_object_wire::status::{Cause, DeviceState, DeviceStatus, Reason};

use super::copies::{Name, Survey};
use super::work::{of_device, of_duty, of_work};
use super::{Facts, Finding, Kind, Lacking, Weight, count};
use crate::control::NodeStatus;

/// Everything that is the matter.
pub(super) fn find(facts: &Facts<'_>, copies: &Survey) -> Vec<Finding> {
    let finder = Finder { facts, copies };
    let mut found: Vec<Finding> = facts.hosts.iter().flat_map(|host| finder.host(host)).collect();
    let explained = !found.is_empty() || !facts.changes.is_empty();
    found.extend(finder.old_rings());
    if !explained {
        found.extend(finder.not_reconciled());
    }
    found.extend(finder.rows_owed());
    let of_devices = found.iter().any(|finding| finding.kind == Kind::DeviceFailed);
    found.extend(finder.parts(of_devices));
    found.extend(facts.hosts.iter().flat_map(kept));
    found
}

struct Finder<'a> {
    facts: &'a Facts<'a>,
    copies: &'a Survey,
}

/// As a person types and reads it: "ip:port/name".
fn shown(name: &Name) -> String {
    format!("{}/{}", name.0, name.1)
}

impl Finder<'_> {
    /// The command that changes all rings of some devices, as it is typed.
    fn ring_command(&self, devices: &[&Name], verb: &str, value: &str) -> String {
        let mut rings: Vec<&str> = devices
            .iter()
            .flat_map(|name| self.copies.rings_of(name))
            .collect();
        rings.sort_unstable();
        rings.dedup();
        let named: Vec<String> = devices.iter().map(|name| shown(name)).collect();
        let changes: Vec<String> = named
            .iter()
            .map(|name| format!("virga ring $ring.builder {verb} {name}{value}"))
            .collect();
        format!(
            "for ring in {}; do {} && virga ring $ring.builder rebalance; done",
            rings.join(" "),
            changes.join(" && ")
        )
    }

    fn take_out(&self, devices: &[&Name]) -> Vec<String> {
        vec![
            self.ring_command(devices, "set_weight", " 0"),
            "copy the new ring files to every host".to_owned(),
        ]
    }

    fn host(&self, host: &NodeStatus) -> Vec<Finding> {
        let named: Vec<&Name> = self
            .copies
            .devices()
            .into_iter()
            .filter(|name| name.0 == host.node)
            .collect();
        if let Some(why) = &host.trouble {
            return vec![self.away(host, why, &named)];
        }
        let mut found = Vec::new();
        for name in named {
            let device = host.devices.iter().find(|device| device.device == name.1);
            found.extend(match device {
                None => Some(self.missing(name)),
                Some(device) => self.device(name, device),
            });
        }
        if found.is_empty() {
            found.extend(self.catching_up(host));
        }
        found
    }

    fn away(&self, host: &NodeStatus, why: &str, named: &[&Name]) -> Finding {
        let mut lacking = Lacking::default();
        for name in named {
            let last = host.last.iter().find(|device| device.device == name.1);
            lacking.add(self.copies.lacking(name, last));
        }
        let removed = self.ring_command(named, "remove", "");
        Finding {
            kind: Kind::HostAway,
            weight: Weight::Degraded,
            subject: host.node.clone(),
            since: host.away_since,
            what: format!(
                "the host does not answer ({why}); {} cannot be reached",
                count(named.len() as u64, "device", "devices")
            ),
            lacking: Some(lacking),
            meanwhile: "what is written goes to devices that stand in, and is brought to it when it is back"
                .to_owned(),
            doing: None,
            ends: Some("when the host answers again and has been brought what it missed".to_owned()),
            todo: vec![
                "start the host, or its process: virga run --config FILE --role object-server".to_owned(),
                format!("if it will not come back: {removed}"),
            ],
        }
    }

    fn missing(&self, name: &Name) -> Finding {
        let out = self.take_out(&[name]);
        Finding {
            kind: Kind::DeviceMissing,
            weight: Weight::Degraded,
            subject: shown(name),
            since: None,
            what: "rings name the device, and its host has none of that name".to_owned(),
            lacking: Some(self.copies.lacking(name, None)),
            meanwhile: String::new(),
            doing: None,
            ends: None,
            todo: std::iter::once(format!(
                "add it to the host's configuration ([[devices]] name = {:?}) and restart the process, or take it out:",
                name.1
            ))
            .chain(out)
            .collect(),
        }
    }

    fn device(&self, name: &Name, device: &DeviceStatus) -> Option<Finding> {
        let reason = device.reasons.first();
        let mut finding = Finding {
            kind: Kind::DeviceFailed,
            weight: Weight::Degraded,
            subject: shown(name),
            since: reason.map(|reason| reason.since),
            what: format!("the device is {}{}", device.state, because(&device.reasons)),
            lacking: None,
            meanwhile: String::new(),
            doing: None,
            ends: None,
            todo: Vec::new(),
        };
        match device.state {
            DeviceState::Active => return None,
            DeviceState::Failed => {
                finding.lacking = Some(self.copies.lacking(name, None));
                finding.meanwhile = "what is written goes to devices that stand in".to_owned();
                finding.todo = vec![
                    "mend or replace the disk and restart the process: an empty device is filled by itself"
                        .to_owned(),
                    format!("or take it out: {}", self.ring_command(&[name], "remove", "")),
                ];
            }
            DeviceState::Returning => {
                finding.kind = Kind::DeviceReturning;
                finding.lacking = Some(self.copies.lacking(name, Some(device)));
                finding.meanwhile =
                    "it compares what it holds with the other replicas; until then it counts as absent"
                        .to_owned();
                finding.doing = of_duty(self.facts.hosts.iter(), "reconcile");
                finding.ends = Some("when it is in step".to_owned());
            }
            DeviceState::Draining => self.draining(name, device, &mut finding),
            DeviceState::ReadOnly => self.read_only(name, device, &mut finding),
        }
        Some(finding)
    }

    fn draining(&self, name: &Name, device: &DeviceStatus, finding: &mut Finding) {
        finding.kind = Kind::DeviceDraining;
        finding.doing = drain_of(device);
        let is_done = |ring: &&str| {
            let mut works = device.work.iter().filter(|work| work.duty == "drain");
            let of_ring = works.find(|work| work.ring.is_some_and(|name| name.to_string() == **ring));
            of_ring.is_some_and(|work| work.left == 0 && work.trouble.is_none())
        };
        match self.copies.rings_of(name).iter().all(is_done) {
            true => {
                finding.meanwhile =
                    "everything that it holds is on other devices, with all copies".to_owned();
                finding.todo = vec![
                    format!("take it out: {}", self.ring_command(&[name], "remove", "")),
                    "copy the new ring files to every host".to_owned(),
                    format!("or use it again: virga admin device undrain {}", shown(name)),
                ];
            }
            false => {
                finding.meanwhile =
                    "it takes no writes, answers reads, and copies what it holds to other devices".to_owned();
                finding.meanwhile += &trouble_of(device);
                finding.ends = Some(
                    "when other devices have everything; it stays in the rings until it is taken out"
                        .to_owned(),
                );
            }
        }
    }

    fn read_only(&self, name: &Name, device: &DeviceStatus, finding: &mut Finding) {
        finding.kind = Kind::DeviceReadOnly;
        let cause = device.reasons.first().map(|reason| reason.cause);
        match cause {
            Some(Cause::Full) => {
                finding.meanwhile = "new data goes to devices that stand in; deletions make room".to_owned();
                finding.todo = vec![
                    "add devices, or lower its weight so that partitions move away:".to_owned(),
                    self.ring_command(&[name], "set_weight", " LESS"),
                    "copy the new ring files to every host".to_owned(),
                ];
            }
            Some(Cause::Operator) | None => {
                finding.meanwhile = "new data goes to devices that stand in".to_owned();
                finding.todo = vec![format!(
                    "when it is to take writes again: virga admin device active {}",
                    shown(name)
                )];
            }
            Some(cause) => {
                finding.doing = drain_of(device);
                finding.meanwhile =
                    "it takes no writes, answers reads, and copies what it holds to other devices".to_owned();
                finding.meanwhile += &trouble_of(device);
                finding.todo = vec!["it asks for weight 0:".to_owned()];
                finding.todo.extend(self.take_out(&[name]));
                finding.todo.extend((cause == Cause::BadRecords).then(|| {
                    format!(
                        "or, if the disk is found to be good: virga admin device active {}",
                        shown(name)
                    )
                }));
            }
        }
    }

    /// A host that was away, until every device has compared itself with its
    /// peers in a round that began after it was back.
    fn catching_up(&self, host: &NodeStatus) -> Option<Finding> {
        let back = host.back_since?;
        let waiting: Vec<&Movement> = self
            .facts
            .hosts
            .iter()
            .flat_map(|host| &host.movement)
            .filter(|movement| movement.round_started < Version::at(back))
            .collect();
        if waiting.is_empty() {
            return None;
        }
        Some(Finding {
            kind: Kind::CatchingUp,
            weight: Weight::Degraded,
            subject: host.node.clone(),
            since: Some(back),
            what: "the host was away and is being brought what it missed".to_owned(),
            lacking: None,
            meanwhile: format!(
                "{} not compared with it since it is back",
                count(
                    waiting.len() as u64,
                    "device and ring was",
                    "devices and rings were"
                )
            ),
            doing: of_duty(self.facts.hosts.iter(), "reconcile"),
            ends: Some("when each of them has, by itself".to_owned()),
            todo: Vec::new(),
        })
    }

    fn old_rings(&self) -> Vec<Finding> {
        let mut newest: BTreeMap<String, u64> = BTreeMap::new();
        let all = || {
            let hosts = self.facts.hosts.iter();
            hosts.flat_map(|host| host.movement.iter().map(move |movement| (host, movement)))
        };
        for (_, movement) in all() {
            let version = newest.entry(movement.ring.to_string()).or_default();
            *version = (*version).max(movement.using.version);
        }
        let mut found: BTreeMap<(String, String), Finding> = BTreeMap::new();
        for (host, movement) in all() {
            let ring = movement.ring.to_string();
            let version = newest.get(&ring).copied().unwrap_or(0);
            if movement.using.version == version {
                continue;
            }
            let finding = Finding {
                kind: Kind::RingOld,
                weight: Weight::Degraded,
                subject: host.node.clone(),
                since: None,
                what: format!(
                    "the host goes by version {} of the {ring} ring, others by {version}",
                    movement.using.version
                ),
                lacking: None,
                meanwhile: String::new(),
                doing: None,
                ends: None,
                todo: vec![format!("copy the newest {ring}.ring.gz to the host")],
            };
            found.insert((host.node.clone(), ring), finding);
        }
        found.into_values().collect()
    }

    /// Rounds that end with an error although nothing else is the matter.
    fn not_reconciled(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        for host in self.facts.hosts {
            for movement in &host.movement {
                let Some(why) = movement
                    .last_error
                    .as_ref()
                    .filter(|_| movement.partitions_left > 0)
                else {
                    continue;
                };
                found.push(Finding {
                    kind: Kind::NotReconciled,
                    weight: Weight::Degraded,
                    subject: format!("{}/{}", host.node, movement.device),
                    since: None,
                    what: format!(
                        "{} of the {} ring could not be compared with its peers: {why}",
                        count(movement.partitions_left, "partition", "partitions"),
                        movement.ring
                    ),
                    lacking: None,
                    meanwhile: "it is tried again, at most a minute apart".to_owned(),
                    doing: None,
                    ends: None,
                    todo: Vec::new(),
                });
            }
        }
        found
    }

    fn rows_owed(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        for host in self.facts.hosts {
            for device in &host.devices {
                let owing = device.work.iter().find(|work| work.duty == "update listings");
                let Some((work, why)) = owing.and_then(|work| Some((work, work.trouble.as_ref()?))) else {
                    continue;
                };
                if work.left == 0 {
                    continue;
                }
                found.push(Finding {
                    kind: Kind::RowsOwed,
                    weight: Weight::Degraded,
                    subject: format!("{}/{}", host.node, device.device),
                    since: None,
                    what: format!(
                        "{} of listings cannot be brought to their containers: {why}",
                        count(work.left, "row", "rows")
                    ),
                    lacking: None,
                    meanwhile: "the objects are there and listings show them late; it is tried again, at most a minute apart"
                        .to_owned(),
                    doing: Some(of_work(work)),
                    ends: Some("when a quorum of the containers' devices answers".to_owned()),
                    todo: vec![format!("look: virga admin owed --device {}/{}", host.node, device.device)],
                });
            }
        }
        found
    }

    fn parts(&self, of_devices: bool) -> Vec<Finding> {
        let parts = self.facts.parts.iter().filter_map(|(part, state)| {
            let why = match state {
                State::Ready => return None,
                // The device says the same, with more.
                State::Degraded(_) if part == "object-server" && of_devices => return None,
                State::Starting => "is starting".to_owned(),
                State::Degraded(why) => format!("is not well: {why}"),
                State::Failed(why) => format!("failed: {why}"),
            };
            Some(Finding {
                kind: Kind::Part,
                weight: Weight::Degraded,
                subject: part.clone(),
                since: None,
                what: format!("the part {why}"),
                lacking: None,
                meanwhile: String::new(),
                doing: None,
                ends: None,
                todo: Vec::new(),
            })
        });
        parts.collect()
    }
}

/// The reasons in words, with a colon before them.
fn because(reasons: &[Reason]) -> String {
    let words: Vec<String> = reasons
        .iter()
        .map(|reason| match reason.detail.is_empty() {
            true => reason.cause.to_string(),
            false => format!("{} ({})", reason.cause, reason.detail),
        })
        .collect();
    match words.is_empty() {
        true => String::new(),
        false => format!(": {}", words.join("; ")),
    }
}

/// How far a drain is, all rings together.
fn drain_of(device: &DeviceStatus) -> Option<super::Doing> {
    of_device(device, "drain")
}

fn trouble_of(device: &DeviceStatus) -> String {
    let mut works = device.work.iter().filter(|work| work.duty == "drain");
    let trouble = works.find_map(|work| work.trouble.as_ref());
    trouble.map_or_else(String::new, |why| format!(" (not all of it: {why})"))
}

/// What hosts keep for an operator to look at.
fn kept(host: &NodeStatus) -> Vec<Finding> {
    let notice = |kind, device: &DeviceStatus, what: String, todo: String| Finding {
        kind,
        weight: Weight::Notice,
        subject: format!("{}/{}", host.node, device.device),
        since: None::<Micros>,
        what,
        lacking: None,
        meanwhile: String::new(),
        doing: None,
        ends: None,
        todo: vec![todo],
    };
    let mut found = Vec::new();
    for device in &host.devices {
        let subject = format!("{}/{}", host.node, device.device);
        if device.stale_files > 0 {
            found.push(notice(
                Kind::StaleCopies,
                device,
                format!(
                    "{} set aside: its deletion may have been forgotten while the device was away",
                    count(device.stale_files, "object is", "objects are")
                ),
                format!("look, then restore or purge: virga admin stale list --device {subject}"),
            ));
        }
        if device.bad_files > 0 {
            found.push(notice(
                Kind::DamagedRecords,
                device,
                format!(
                    "{} kept; what was damaged has been taken out of service and is fetched from other copies",
                    count(device.bad_files, "copy of damaged bytes is", "copies of damaged bytes are")
                ),
                format!("look, then purge: virga admin quarantine list --device {subject}"),
            ));
        }
    }
    found
}
