//! Ring changes: says when the rings before one count no longer, and how far a
//! change has come.
//!
//! While a change is on, every node is asked now and then how far its devices
//! are ([`Watch`]). The change is over when each device has completed a round
//! under the new ring that began after everybody had time to take it into use:
//! from then on whatever was acknowledged under earlier rings is where the new
//! one wants it. Devices that only earlier rings name hold nothing that counts
//! once the others are done: one of them that stays away is not waited for.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};
use virga_node::clock::{Micros, Version};
use virga_object_wire::movement::{Movement, RingName};
use virga_ring::{Device, Ring, RingHandle, RingId, RingsInUse};

use super::Core;
use super::shared::Shared;

/// Nodes asked at the same time.
const NODES_AT_ONCE: usize = 64;
/// Devices named in a status; the rest is only counted.
const NAMED: usize = 16;

/// A change of a ring that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingChange {
    /// The ring: "account", "container", "object", "object-1", ...
    pub ring: String,
    /// Version of the ring that data moves to.
    pub version: u64,
    /// Versions of the rings that still count beside it, newest first.
    pub from: Vec<u64>,
    /// Unix time in seconds at which the new ring came into use here, if known.
    pub since: Option<u64>,
    /// Devices that must come along.
    pub devices: usize,
    /// Those that have.
    pub done: usize,
    /// Some of those that have not, each with what it waits for.
    pub waiting: Vec<String>,
}

impl std::fmt::Display for RingChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            ring,
            version,
            devices,
            done,
            ..
        } = self;
        write!(
            f,
            "{ring} ring: moving to version {version}, {done} of {devices} devices done"
        )?;
        match self.waiting.first() {
            Some(first) => write!(f, " (waits for {first})"),
            None => Ok(()),
        }
    }
}

/// A disk: numbers are given again, addresses and names together are not.
type Disk = (String, u16, String);

fn disk(device: &Device) -> Disk {
    (device.ip.clone(), device.port, device.device.clone())
}

/// What is known of the nodes' answers.
#[derive(Default)]
struct Answers {
    /// By address: what the node said, or why it said nothing.
    nodes: BTreeMap<(String, u16), Result<Vec<Movement>, String>>,
}

impl Answers {
    fn of(&self, disk: &Disk, ring: RingName) -> Result<&Movement, String> {
        let said = self.nodes.get(&(disk.0.clone(), disk.1));
        let said = said.ok_or("not asked yet")?.as_ref().map_err(Clone::clone)?;
        let mut of_ring = said.iter().filter(|movement| movement.ring == ring);
        of_ring
            .find(|movement| movement.device == disk.2)
            .ok_or_else(|| "the device is not available".to_owned())
    }
}

/// What a watcher remembers between looks.
#[derive(Default)]
pub(super) struct Watch {
    /// When a ring was first seen as the current one, by the nodes' kind of clock.
    seen: BTreeMap<RingName, (RingId, Micros)>,
    /// Disks that only earlier rings name and that do not answer, since when.
    away: BTreeMap<(RingName, Disk), Instant>,
}

/// The changes as last looked at.
#[derive(Default)]
pub(super) struct Changes(Mutex<Vec<RingChange>>);

/// The disks with a slot in a ring.
fn owners(ring: &Ring) -> BTreeSet<Disk> {
    let slots = ring.table().count_by_device(ring.device_list().len());
    let owns = |device: &&Device| slots.get(device.id.0 as usize).is_some_and(|slots| *slots > 0);
    ring.devices().filter(owns).map(disk).collect()
}

/// Whether a device has come along, else what it lacks.
fn judge(said: Result<&Movement, String>, current: RingId, not_before: Version) -> Result<(), String> {
    let movement = said?;
    if movement.using != current {
        return Err(format!("its node uses ring version {}", movement.using.version));
    }
    if movement.reconciled != Some(current) || movement.round_started < not_before {
        let left = movement.partitions_left;
        return Err(match &movement.last_error {
            Some(error) => format!("{left} partitions left: {error}"),
            None => format!("{left} partitions left"),
        });
    }
    Ok(())
}

impl Watch {
    /// Asks the nodes of every ring that is moving, and ends changes that are over.
    pub(super) async fn look(&mut self, shared: &Arc<Shared>) {
        let now = shared.hlc.clock().now();
        let mut moving = Vec::new();
        for (name, handle) in rings(shared) {
            let in_use = handle.in_use();
            let seen = self.seen.entry(name).or_insert((in_use.current.id, now));
            if seen.0 != in_use.current.id {
                *seen = (in_use.current.id, now);
            }
            let not_before = Version::at(seen.1.plus(shared.settings.ring_grace));
            if in_use.is_moving() {
                moving.push((name, handle, in_use, not_before));
            }
        }
        let answers = match moving.is_empty() {
            true => Answers::default(),
            false => ask(shared, moving.iter().map(|(_, _, in_use, _)| in_use)).await,
        };
        let mut changes = Vec::new();
        for (name, handle, in_use, not_before) in moving {
            let mut change = self.assess(shared, name, &in_use, not_before, &answers);
            change.since = handle.in_use_since().and_then(unix_seconds);
            if change.done < change.devices {
                changes.push(change);
                continue;
            }
            match handle.retire(in_use.current.id) {
                Ok(true) => tracing::info!(
                    ring = change.ring,
                    version = change.version,
                    "the ring change is over"
                ),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(ring = change.ring, %error, "the ring change is over, but copies of earlier rings stay");
                }
            }
        }
        *shared.changes.0.lock().unwrap_or_else(PoisonError::into_inner) = changes;
    }

    fn assess(
        &mut self,
        shared: &Shared,
        name: RingName,
        in_use: &RingsInUse,
        not_before: Version,
        answers: &Answers,
    ) -> RingChange {
        let current = owners(&in_use.current.ring);
        let earlier = in_use.previous.iter().map(|known| owners(&known.ring));
        let leaving: BTreeSet<Disk> = earlier.flatten().filter(|disk| !current.contains(disk)).collect();
        let mut change = RingChange {
            ring: name.to_string(),
            version: in_use.current.id.version,
            from: in_use.previous.iter().map(|known| known.id.version).collect(),
            since: None,
            devices: current.len() + leaving.len(),
            done: 0,
            waiting: Vec::new(),
        };
        let everybody = current.iter().map(|disk| (disk, false));
        for (disk, leaves) in everybody.chain(leaving.iter().map(|disk| (disk, true))) {
            let said = answers.of(disk, name);
            let gone =
                said.is_err() && leaves && self.is_gone((name, disk.clone()), shared.settings.gone_after);
            if said.is_ok() {
                self.away.remove(&(name, disk.clone()));
            }
            match judge(said, in_use.current.id, not_before) {
                Ok(()) => change.done += 1,
                Err(_) if gone => change.done += 1,
                Err(lacks) if change.waiting.len() < NAMED => {
                    let (ip, port, device) = disk;
                    change.waiting.push(format!("{ip}:{port}/{device}: {lacks}"));
                }
                Err(_) => {}
            }
        }
        change
    }

    /// Whether a disk has been away for so long.
    fn is_gone(&mut self, key: (RingName, Disk), patience: Duration) -> bool {
        let now = Instant::now();
        let since = *self.away.entry(key).or_insert(now);
        now.duration_since(since) >= patience
    }
}

fn unix_seconds(at: std::time::SystemTime) -> Option<u64> {
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}

/// Every ring by name.
fn rings(shared: &Shared) -> Vec<(RingName, Arc<RingHandle>)> {
    let mut rings = vec![
        (RingName::Account, Arc::clone(shared.accounts.handle())),
        (RingName::Container, Arc::clone(shared.containers.handle())),
    ];
    let objects = shared.objects.iter();
    rings.extend(objects.map(|(policy, ring)| (RingName::Object(*policy), Arc::clone(ring.handle()))));
    rings
}

/// Asks every node that these rings name, several at a time.
async fn ask<'a>(shared: &Arc<Shared>, rings: impl Iterator<Item = &'a Arc<RingsInUse>>) -> Answers {
    let mut nodes: BTreeMap<(String, u16), Device> = BTreeMap::new();
    for in_use in rings {
        let all = std::iter::once(&in_use.current).chain(&in_use.previous);
        for device in all.flat_map(|known| known.ring.devices()) {
            let address = (device.ip.clone(), device.port);
            nodes.entry(address).or_insert_with(|| device.clone());
        }
    }
    let patience = shared.settings.node_timeout;
    let asked = stream::iter(nodes).map(|(address, device)| async move {
        let answer = timeout(patience, shared.nodes.node(&device).movement()).await;
        let answer = match answer {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        };
        (address, answer)
    });
    Answers {
        nodes: asked.buffer_unordered(NODES_AT_ONCE).collect().await,
    }
}

impl Core {
    /// Looks after ring changes until the daemon stops: rings before a change
    /// count until it is over. Without it they count for ever.
    pub fn watch_rings(&self) {
        let (tasks, shared) = (self.shared.tasks.clone(), Arc::clone(&self.shared));
        tasks.clone().supervise("ring changes", move || {
            let (shared, stop) = (Arc::clone(&shared), tasks.stopping());
            async move {
                let mut watch = Watch::default();
                while !stop.is_cancelled() {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => break,
                        () = watch.look(&shared) => {}
                    }
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(shared.settings.movement_poll) => {}
                    }
                }
            }
        });
    }

    /// The ring changes under way, as of the last look; none when all data is
    /// where the rings want it.
    pub fn ring_changes(&self) -> Vec<RingChange> {
        let changes = self.shared.changes.0.lock();
        changes.unwrap_or_else(PoisonError::into_inner).clone()
    }
}
