//! How far data has come to where the rings want it, summed up by ring, and
//! what a cloud lacks to be well. Made of what every device says of itself.
use std::collections::BTreeMap;

use comfy_table::Table;
use virga_node::clock::{Micros, Version};
use virga_node::health::State;
use virga_object_wire::movement::Movement;
use virga_object_wire::status::DeviceState;

use super::text::{bytes, span, table};
use crate::control::{CloudStatus, NodeStatus};

/// Devices shown with what they lack; the rest is counted.
const SHOWN: usize = 16;

/// Where one ring's data stands.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct RingProgress {
    /// Version of the newest ring that a device uses.
    pub(super) version: u64,
    /// Devices that said how they are.
    pub(super) devices: u64,
    /// Those that have brought everything to where this ring wants it.
    pub(super) done: u64,
    /// Partitions that rounds under way, or given up, have not looked at.
    pub(super) left: u64,
    /// Partitions that lie where they do not belong.
    pub(super) misplaced: u64,
    /// What was pushed since the nodes started.
    pub(super) names: u64,
    /// The same in bytes.
    pub(super) bytes: u64,
    /// Names set aside: their deletion may have been forgotten.
    pub(super) set_aside: u64,
    /// When the oldest of the devices' last complete rounds began.
    pub(super) oldest_round: Version,
}

impl RingProgress {
    fn add(&mut self, movement: &Movement) {
        let first = self.devices == 0;
        self.devices += 1;
        self.done += u64::from(is_done(movement, self.version));
        self.left += movement.partitions_left;
        self.misplaced += movement.partitions_foreign;
        self.names += movement.pushed.iter().map(|pushed| pushed.names).sum::<u64>();
        self.bytes += movement.pushed.iter().map(|pushed| pushed.bytes).sum::<u64>();
        self.set_aside += movement.set_aside;
        self.oldest_round = match first {
            true => movement.round_started,
            false => self.oldest_round.min(movement.round_started),
        };
    }

    /// Whether everything is where it belongs.
    pub(super) fn is_settled(&self) -> bool {
        self.done == self.devices && self.misplaced == 0
    }
}

fn is_done(movement: &Movement, version: u64) -> bool {
    movement.using.version == version && movement.reconciled == Some(movement.using)
}

/// Every device that answered, with its node's address ("" for this process).
fn movements(status: &CloudStatus) -> Vec<(&str, &Movement)> {
    if status.nodes.is_empty() {
        return status.movement.iter().map(|movement| ("", movement)).collect();
    }
    let nodes = status.nodes.iter();
    nodes.flat_map(of_node).collect()
}

fn of_node(node: &NodeStatus) -> impl Iterator<Item = (&str, &Movement)> {
    node.movement
        .iter()
        .map(|movement| (node.node.as_str(), movement))
}

/// The rings by name.
pub(super) fn by_ring(status: &CloudStatus) -> BTreeMap<String, RingProgress> {
    let all = movements(status);
    let mut rings: BTreeMap<String, RingProgress> = BTreeMap::new();
    for (_, movement) in &all {
        let ring = rings.entry(movement.ring.to_string()).or_default();
        ring.version = ring.version.max(movement.using.version);
    }
    for (_, movement) in &all {
        if let Some(ring) = rings.get_mut(&movement.ring.to_string()) {
            ring.add(movement);
        }
    }
    rings
}

/// A table of all rings, and a line for each device that lacks something.
pub(super) fn render(status: &CloudStatus, now: Micros) -> Option<String> {
    let rings = by_ring(status);
    if rings.is_empty() {
        return None;
    }
    let mut shown = table(&[
        "data of",
        "for version",
        "devices done",
        "partitions left",
        "misplaced",
        "pushed",
        "last full round",
    ]);
    for (name, ring) in &rings {
        shown.add_row([
            name.clone(),
            ring.version.to_string(),
            format!("{} of {}", ring.done, ring.devices),
            ring.left.to_string(),
            ring.misplaced.to_string(),
            format!("{} names, {}", ring.names, bytes(ring.bytes)),
            ago(ring.oldest_round, now),
        ]);
    }
    let lacking = lacking(status, None);
    let mut text = shown.to_string();
    let more = lacking.len().saturating_sub(SHOWN);
    for line in lacking.into_iter().take(SHOWN) {
        text += &format!("\n  {line}");
    }
    if more > 0 {
        text += &format!("\n  and {more} more");
    }
    Some(text)
}

fn ago(began: Version, now: Micros) -> String {
    match began {
        Version(0) => "none yet".to_owned(),
        began => format!("began {} ago", span(now.since(began.time()))),
    }
}

/// What each device lacks: it uses another ring, has not looked through
/// everything under its ring (or not since `since`), or keeps what is not its own.
fn lacking(status: &CloudStatus, since: Option<Version>) -> Vec<String> {
    let rings = by_ring(status);
    let mut lines = Vec::new();
    for (node, movement) in movements(status) {
        let version = rings
            .get(&movement.ring.to_string())
            .map_or(0, |ring| ring.version);
        let why = lack(movement, version, since);
        let slash = if node.is_empty() { "" } else { "/" };
        lines.extend(why.map(|why| format!("{node}{slash}{}, {}: {why}", movement.device, movement.ring)));
    }
    lines
}

fn lack(movement: &Movement, version: u64, since: Option<Version>) -> Option<String> {
    let Movement {
        using,
        partitions_left,
        partitions_foreign,
        set_aside,
        ..
    } = movement;
    let because = movement
        .last_error
        .as_ref()
        .map_or_else(String::new, |error| format!(" ({error})"));
    if using.version != version {
        return Some(format!(
            "uses ring version {}, others {version}: copy the newest file to its host",
            using.version
        ));
    }
    if movement.reconciled != Some(*using) {
        return Some(format!("{partitions_left} partitions left{because}"));
    }
    if *partitions_foreign > 0 {
        return Some(format!(
            "keeps {partitions_foreign} partitions for others{because}"
        ));
    }
    if since.is_some_and(|since| movement.round_started < since) {
        return Some(format!("{partitions_left} partitions left to compare{because}"));
    }
    (*set_aside > 0).then(|| {
        format!("{set_aside} names set aside, their deletion may have been forgotten: see the device's folder `stale`")
    })
}

/// Everything that a cloud lacks to be well, in words; empty when it is. With
/// `since`, every device must have compared all it has with its peers in a
/// round that began later.
pub(super) fn ailments(status: &CloudStatus, since: Option<Version>) -> Vec<String> {
    let mut found = Vec::new();
    for (part, state) in &status.parts {
        found.extend(match state {
            State::Ready => None,
            State::Starting => Some(format!("{part} is starting")),
            State::Degraded(why) => Some(format!("{part}: {why}")),
            State::Failed(why) => Some(format!("{part} failed: {why}")),
        });
    }
    let away = |n: &NodeStatus| n.trouble.as_ref().map(|why| format!("{} is away: {why}", n.node));
    found.extend(status.nodes.iter().filter_map(away));
    let sick = status.devices.iter().filter(|d| d.state != DeviceState::Active);
    found.extend(sick.map(|d| match d.reasons.first() {
        Some(reason) => format!("{} is {}: {}", d.device, d.state, reason.cause),
        None => format!("{} is {}", d.device, d.state),
    }));
    found.extend(status.ring_changes.iter().map(ToString::to_string));
    found.extend(lacking(status, since));
    let owing = status
        .workers
        .iter()
        .filter(|w| w.worker == "update listings" && w.left > 0);
    found.extend(owing.map(|w| {
        let why = w.last_error.as_deref().unwrap_or("they are on their way");
        format!("{}: {} rows of listings owed: {why}", w.device, w.left)
    }));
    found
}

/// The tables of all rings' changes: what must come along before a change is over.
pub(super) fn changes(status: &CloudStatus) -> Option<Table> {
    if status.ring_changes.is_empty() {
        return None;
    }
    let mut shown = table(&["change of", "to version", "from", "devices done", "waits for"]);
    for change in &status.ring_changes {
        let from: Vec<String> = change.from.iter().map(u64::to_string).collect();
        shown.add_row([
            change.ring.clone(),
            change.version.to_string(),
            from.join(", "),
            format!("{} of {}", change.done, change.devices),
            change.waiting.first().cloned().unwrap_or_default(),
        ]);
    }
    Some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use virga_object_wire::movement::{Pushed, RingName};
    use virga_ring::RingId;

    fn ring(version: u64) -> RingId {
        RingId {
            version,
            digest: [7; 16],
        }
    }

    fn movement(device: &str, using: u64, reconciled: Option<u64>) -> Movement {
        Movement {
            device: device.into(),
            ring: RingName::Object(0),
            using: ring(using),
            reconciled: reconciled.map(ring),
            round_started: Version(1000),
            horizon: Version(0),
            partitions_own: 9,
            partitions_foreign: 0,
            partitions_left: 3,
            set_aside: 0,
            pushed: vec![Pushed {
                names: 5,
                bytes: 1024,
                ..Pushed::default()
            }],
            last_error: None,
        }
    }

    fn status(movement: Vec<Movement>) -> CloudStatus {
        CloudStatus {
            movement,
            ..CloudStatus::default()
        }
    }

    #[test]
    fn a_ring_is_settled_when_every_device_went_through_everything_under_the_newest_one() {
        let all = status(vec![movement("d1", 5, Some(5)), movement("d2", 5, Some(4))]);
        let rings = by_ring(&all);
        let object = &rings["object"];
        assert_eq!((object.version, object.devices, object.done), (5, 2, 1));
        assert_eq!((object.left, object.names, object.bytes), (6, 10, 2048));
        assert!(!object.is_settled());
        assert_eq!(lacking(&all, None), ["d2, object: 3 partitions left"]);
        let all = status(vec![movement("d1", 5, Some(5)), movement("d2", 5, Some(5))]);
        assert!(by_ring(&all)["object"].is_settled() && ailments(&all, None).is_empty());
    }

    #[test]
    fn what_a_device_lacks_is_said_with_the_reason() {
        let mut behind = movement("d1", 4, Some(4));
        let mut keeps = movement("d2", 5, Some(5));
        keeps.partitions_foreign = 2;
        keeps.last_error = Some("d9 is away".into());
        behind.partitions_left = 0;
        let lines = lacking(&status(vec![behind, keeps]), None);
        assert!(
            lines[0].contains("d1, object: uses ring version 4, others 5"),
            "{lines:?}"
        );
        assert_eq!(lines[1], "d2, object: keeps 2 partitions for others (d9 is away)");
    }

    #[test]
    fn whoever_waits_wants_a_round_that_began_later() {
        let all = status(vec![movement("d1", 5, Some(5))]);
        assert!(ailments(&all, Some(Version(1000))).is_empty());
        assert_eq!(ailments(&all, Some(Version(1001))).len(), 1);
    }
}
