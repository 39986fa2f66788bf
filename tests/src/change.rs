//! One change of a ring, from its plan to the proof that exactly the plan was
//! carried out: who holds what before and after, by the devices' own sums.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::inventory::{Held, Inventory};
use crate::process::wait_until;
use crate::rings::{Assignment, Moves, Slot};

/// A change that was planned and made, and may not be everywhere yet.
#[derive(Debug)]
pub struct Change {
    /// The ring.
    pub ring: String,
    /// Before.
    pub old: Assignment,
    /// After.
    pub new: Assignment,
    /// What the plan said.
    pub planned: Moves,
    /// Who held what before.
    held: Held,
    /// When it was handed to the hosts.
    begun: Instant,
}

impl Change {
    /// Plans and makes the change that the builder asks for, and hands the ring
    /// to every host. What it will be judged by (who holds what) is taken
    /// before: with no writer running, it is exact.
    pub fn make(cluster: &Cluster, inventory: &Inventory, ring: &str) -> Self {
        let builders = cluster.builders();
        let old = builders.read(ring);
        let (held, _) = inventory.held(ring, &old);
        Self::make_from(cluster, ring, old, held)
    }

    /// The same with what was held at an earlier time, when all devices answered.
    pub fn make_from(cluster: &Cluster, ring: &str, old: Assignment, held: Held) -> Self {
        let change = Self::make_quietly(cluster, ring, old, held);
        cluster.distribute(ring);
        change
    }

    /// The same without telling any host.
    pub fn make_quietly(cluster: &Cluster, ring: &str, old: Assignment, held: Held) -> Self {
        let builders = cluster.builders();
        let planned = builders.plan(ring);
        let done = builders.rebalance(ring);
        assert_eq!(planned, done, "{ring}: the rebalance does what the plan said");
        let new = builders.read(ring);
        let change = Self {
            ring: ring.to_owned(),
            old,
            new,
            planned,
            held,
            begun: Instant::now(),
        };
        change.agrees_with_the_files();
        println!("{ring}: {}", change.summary());
        change
    }

    /// Places that the new ring has and the old one had not.
    pub fn gained(&self) -> BTreeSet<Slot> {
        &self.new.slots() - &self.old.slots()
    }

    /// The plan's figures are those of the two files.
    fn agrees_with_the_files(&self) {
        let (gained, planned) = (self.gained(), &self.planned);
        assert_eq!(gained.len() as u64, planned.moved, "{}: moved", self.ring);
        assert!(planned.bound <= planned.moved, "{planned:?}");
        let count = |slots: &BTreeSet<Slot>| {
            let mut by_device: BTreeMap<usize, u64> = BTreeMap::new();
            slots
                .iter()
                .for_each(|(_, d)| *by_device.entry(*d).or_default() += 1);
            by_device
        };
        let (mut into, mut from): (BTreeMap<usize, u64>, BTreeMap<usize, u64>) = Default::default();
        for (source, target, slots) in &planned.movements {
            *into.entry(*target).or_default() += slots;
            if let Some(source) = source {
                *from.entry(*source).or_default() += slots;
            }
        }
        assert_eq!(count(&gained), into, "{}: into devices", self.ring);
        let lost = &self.old.slots() - &self.new.slots();
        let removed = |d: &usize| self.new.devices.get(*d).is_none_or(Option::is_none);
        let lost: BTreeSet<Slot> = lost.into_iter().filter(|(_, d)| !removed(d)).collect();
        let from = from.into_iter().filter(|(d, _)| !removed(d)).collect();
        assert_eq!(count(&lost), from, "{}: out of devices", self.ring);
    }

    fn summary(&self) -> String {
        let data = self.gained().iter().filter(|s| self.had_data(s.0)).count();
        format!(
            "version {} -> {}, {} of {} replicas move (bound {}), {data} of them with data",
            self.old.version,
            self.new.version,
            self.planned.moved,
            self.new.slots().len(),
            self.planned.bound
        )
    }

    fn had_data(&self, part: usize) -> bool {
        self.held.range((part, 0)..(part + 1, 0)).next().is_some()
    }

    /// Whether every device of the new ring says that it has completed a round
    /// under it, and so does every one that left and still answers.
    pub fn reconciled(&self, inventory: &Inventory) -> bool {
        let done = |device, may_be_gone| match inventory.movement(&self.ring, device) {
            Some(m) => m.using.version == self.new.version && m.reconciled == Some(m.using),
            None => may_be_gone,
        };
        let gone = |id: usize| self.new.devices.get(id).is_none_or(Option::is_none);
        self.new.devices.iter().flatten().all(|d| done(d, false))
            && self
                .old
                .devices
                .iter()
                .flatten()
                .all(|d| !gone(d.id) || done(d, true))
    }

    /// Waits until it is carried out, under whatever load there is; how long
    /// that took since the hosts were told.
    pub fn wait(&self, inventory: &Inventory) -> Duration {
        wait_until(&format!("{} is reconciled", self.ring), || {
            self.reconciled(inventory)
        });
        self.begun.elapsed()
    }

    /// With no writer running: waits until all replicas are equal and nobody
    /// else holds anything, and proves that what moved is what was planned.
    pub fn prove(&self, inventory: &Inventory) {
        settle(inventory, &self.ring, &self.new);
        let (held, silent) = inventory.held(&self.ring, &self.new);
        assert!(
            silent.is_empty(),
            "{}: devices {silent:?} do not answer",
            self.ring
        );
        // Partitions that had data before: what came since is no movement.
        let before: BTreeSet<Slot> = self.held.keys().copied().collect();
        let moved: BTreeSet<Slot> = held
            .keys()
            .filter(|slot| self.had_data(slot.0) && !before.contains(slot))
            .copied()
            .collect();
        let has_data: BTreeSet<usize> = held.keys().map(|slot| slot.0).collect();
        let planned: BTreeSet<Slot> = self
            .gained()
            .into_iter()
            .filter(|slot| self.had_data(slot.0) && has_data.contains(&slot.0))
            .collect();
        let more: Vec<_> = moved.difference(&planned).collect();
        let less: Vec<_> = planned.difference(&moved).collect();
        assert!(
            more.is_empty() && less.is_empty(),
            "{}: not planned and moved: {more:?}; planned and not moved: {less:?}",
            self.ring
        );
        println!(
            "{}: {} replicas with data moved, exactly the planned ones",
            self.ring,
            moved.len()
        );
    }
}

/// What is not as `assignment` wants it: replicas that differ, and what is held
/// by devices that are no primaries. Empty when all is well.
pub fn faults(inventory: &Inventory, ring: &str, assignment: &Assignment) -> String {
    let (held, silent) = inventory.held(ring, assignment);
    let mut text = String::new();
    for id in silent {
        let _ = writeln!(text, "device {id} does not answer");
    }
    let parts: BTreeSet<usize> = held.keys().map(|slot| slot.0).collect();
    for part in parts {
        let primaries = assignment.holders(part);
        let all = held.range((part, 0)..(part + 1, 0));
        let foreign: Vec<_> = all
            .map(|((_, d), _)| *d)
            .filter(|d| !primaries.contains(d))
            .collect();
        if !foreign.is_empty() {
            let _ = writeln!(text, "partition {part} of {primaries:?} is held by {foreign:?}");
        }
        let sums: Vec<_> = primaries.iter().map(|d| held.get(&(part, *d))).collect();
        if sums.iter().any(|sum| *sum != sums[0]) {
            let counts: Vec<u64> = sums.iter().map(|sum| sum.map_or(0, |s| s.count)).collect();
            let _ = writeln!(
                text,
                "partition {part} differs: {primaries:?} know of {counts:?} names"
            );
        }
    }
    text
}

/// Waits until there are no faults.
pub fn settle(inventory: &Inventory, ring: &str, assignment: &Assignment) {
    settle_tended(inventory, ring, assignment, || ());
}

/// The same; `tend` is what an operator does meanwhile.
pub fn settle_tended(inventory: &Inventory, ring: &str, assignment: &Assignment, mut tend: impl FnMut()) {
    let (mut last, begun) = (String::new(), Instant::now());
    let settled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_until("replicas are equal and only where they belong", || {
            last = faults(inventory, ring, assignment);
            if !last.is_empty() {
                tend();
            }
            last.is_empty()
        });
    }));
    assert!(settled.is_ok(), "{ring}: after {:?}:\n{last}", begun.elapsed());
}
