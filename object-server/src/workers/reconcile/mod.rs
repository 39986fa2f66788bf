//! `reconcile`: makes the replicas of objects equal, and brings objects to where
//! the ring wants them.
//!
//! A round looks at every partition that a device holds or should hold. Where it
//! is a primary it compares sums with the other primaries and pushes what they
//! lack; nobody pulls, the others do the same. What belongs elsewhere (after a
//! ring change, or because the device stood in for one that was away) it brings
//! to the primaries, and forgets once all of them have it. A round that did all
//! that is noted on the device: proxies wait for it before they forget an earlier
//! ring, and compaction before it drops deletions.
//!
//! [`jobs`] finds what there is to do, [`job`] does one partition, [`judge`]
//! decides about one name, [`send`] sends one, [`peers`] asks, [`drain`] empties a
//! device. Accounts and
//! containers are `reconcile listings`' business.
mod drain;
mod job;
mod jobs;
mod judge;
mod memory;
mod peers;
mod send;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use virga_node::clock::{Micros, Version};
use virga_object_store::rounds::LastRound;
use virga_object_wire::error::NodeError;
use virga_object_wire::movement::RingName;
use virga_ring::{RingHandle, RingId};

use self::job::{Done, Job};
use self::jobs::Found;
use self::judge::Rules;
use self::memory::Memory;
use self::peers::{Away, Peers};
use super::rest::{Effort, Rests};
use super::{Duty, Round, Workers};
use crate::absence::nothing_forgotten;
use crate::local::OpenDevice;
use crate::movement::Known;

/// Partitions of a device worked on at the same time.
const PARTITIONS: usize = 4;
/// How often a resting worker looks whether a ring has changed: two loads.
const RING_LOOK: Duration = Duration::from_millis(200);

pub(super) struct Reconcile {
    all: Arc<Workers>,
    memory: Memory,
    /// Rings under which a device's last round began.
    seen: Mutex<BTreeMap<Arc<str>, Vec<RingId>>>,
    rests: Rests<Away>,
}

impl Reconcile {
    pub(super) fn new(all: Arc<Workers>) -> Self {
        Self {
            memory: Memory::new(Arc::clone(&all.clock)),
            all,
            seen: Mutex::default(),
            rests: Rests::new(),
        }
    }

    /// Whether a device answers that was away.
    async fn ask(&self, away: Away) -> Result<(), NodeError> {
        let name: Arc<str> = Arc::from(away.device.device.as_str());
        let node = self.all.nodes.node(&away.device);
        node.sums(&name, away.policy, Vec::new()).await.map(|_| ())
    }

    /// The rings as they are now.
    fn rings_now(&self) -> Vec<RingId> {
        let handles = self.all.rings.object.iter();
        handles.map(|(_, handle)| handle.id()).collect()
    }
}

#[async_trait]
impl Duty for Reconcile {
    fn name(&self) -> &'static str {
        "reconcile"
    }

    fn rest(&self, device: &OpenDevice) -> Duration {
        let usual = Duration::from_millis(self.all.settings.reconcile_ms);
        self.rests.rest(&device.name, usual)
    }

    async fn wake(&self, device: &OpenDevice) {
        let before = {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.get(&device.name).cloned()
        };
        let changed = async {
            while before.as_ref().is_none_or(|before| *before == self.rings_now()) {
                tokio::time::sleep(RING_LOOK).await;
            }
        };
        tokio::select! {
            biased;
            () = changed => {}
            () = self.rests.answered(&device.name, |away| self.ask(away)) => {}
        }
    }

    async fn round(&self, device: &OpenDevice) -> Result<Round, NodeError> {
        let Some(known) = self.all.node.movements().known() else {
            return Ok(Round::default());
        };
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(Arc::clone(&device.name), self.rings_now());
        let (effort, mut away) = (Effort::begin(), Vec::new());
        let mut round = Round::default();
        for (policy, handle) in &self.all.rings.object {
            let ring = OneRing {
                duty: self,
                device,
                known,
                policy: *policy,
                handle,
                effort: &effort,
            };
            let drained = match device.objects.is_to_be_emptied() {
                true => Some(ring.drain().await?),
                false => {
                    self.all.node.movements().not_drained(&device.name);
                    None
                }
            };
            round.done += drained.as_ref().map_or(0, |done| done.names);
            let outcome = match ring.round(&mut away).await {
                // What a broken device cannot note must not keep it from being emptied.
                Err(error) if drained.is_some() => Round {
                    left: 1,
                    error: Some(error.to_string()),
                    ..Round::default()
                },
                outcome => outcome?,
            };
            round.done += outcome.done;
            round.left += outcome.left;
            round.more |= outcome.more;
            round.error = round.error.or(outcome.error);
        }
        let idle = round.done == 0 && round.left == 0;
        self.rests.note(&device.name, &effort, idle, away);
        Ok(round)
    }
}

/// One ring and one device in a round.
struct OneRing<'a> {
    duty: &'a Reconcile,
    device: &'a OpenDevice,
    known: &'a Known,
    policy: u32,
    handle: &'a RingHandle,
    effort: &'a Arc<Effort>,
}

impl OneRing<'_> {
    async fn round(&self, away: &mut Vec<Away>) -> Result<Round, NodeError> {
        let (movements, name) = (self.duty.all.node.movements(), RingName::Object(self.policy));
        let rings = self.handle.in_use();
        let (id, ring) = (rings.current.id, &rings.current.ring);
        // Before the start: what an earlier ring places after it would be missed.
        let closed = self.known.fence.is_closed(name);
        let started = Version::at(self.duty.all.clock.now());
        let peers = Peers::new(self.duty.all.nodes.as_ref(), ring, id, self.policy, self);
        let found = jobs::find(self, ring, &peers).await?;
        let objects = &self.device.objects;
        objects.raise_horizon(self.policy, peers.horizon())?;
        let in_flight = Duration::from_millis(self.duty.all.settings.in_flight_ms);
        let in_flight = u64::try_from(in_flight.as_micros()).unwrap_or(u64::MAX);
        let rules = Rules {
            now: self.duty.all.clock.now(),
            settled: Version::at(Micros(started.time().0.saturating_sub(in_flight))),
            reclaim_age: objects.reclaim_age(),
            horizon: objects.horizon(self.policy)?,
            last_round: objects.last_round(self.policy)?.unwrap_or_default().started,
        };
        let mut left = (found.jobs.len() + found.left) as u64;
        if let Some(waits) = self.returning(name, &found, &rules, peers.error()) {
            away.extend(peers.away());
            movements.ended(&self.device.name, name, left, Some(waits.clone()));
            return Ok(Round {
                left,
                error: Some(waits),
                ..Round::default()
            });
        }
        movements.left(&self.device.name, name, left);
        let mut done = Done::default();
        let mut working = stream::iter(found.jobs)
            .map(|job| self.work(job, &peers, &rules, id))
            .buffer_unordered(PARTITIONS);
        while let Some(one) = working.next().await {
            left -= u64::from(one.complete);
            movements.left(&self.device.name, name, left);
            done.add(one);
        }
        drop(working);
        away.extend(peers.away());
        let changed = self.handle.id() != id;
        let error = peers.error().or(done.error);
        // Nothing is to be forgotten by a clock that is off.
        let error = error.or_else(|| self.known.clocks.trouble());
        if left == 0 && error.is_none() && !changed {
            self.device.in_step_again(name);
        }
        if left == 0 && error.is_none() && !changed && closed {
            objects.note_round(self.policy, LastRound { started, ring: id })?;
        }
        movements.ended(&self.device.name, name, left, error.clone());
        Ok(Round {
            done: done.names,
            left,
            more: changed,
            error,
        })
    }

    /// What a device that was away for long waits for before it pushes anything;
    /// `None` if it goes on. See [`crate::absence`].
    fn returning(
        &self,
        ring: RingName,
        found: &Found,
        rules: &Rules,
        away: Option<String>,
    ) -> Option<String> {
        if !self.device.absence.is_returning(ring) {
            return None;
        }
        if found.unheard == 0 && nothing_forgotten(rules.last_round, rules.horizon) {
            self.device.in_step_again(ring);
            return None;
        }
        away.map(|away| format!("was away for long and waits for the other replicas: {away}"))
    }

    async fn work(&self, job: Job, peers: &Peers<'_>, rules: &Rules, id: RingId) -> Done {
        if self.handle.id() != id {
            // The rest of the round would be for a ring that is not any more.
            return Done::default();
        }
        let result = job::work(self, &job, peers, rules).await;
        result.unwrap_or_else(|error| Done {
            error: Some(error.to_string()),
            ..Done::default()
        })
    }
}
