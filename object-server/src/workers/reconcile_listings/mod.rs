//! `reconcile accounts` and `reconcile containers`: make the replicas of
//! listings equal, and bring listings to where the ring wants them.
//!
//! A round looks at every partition that a device has listings of. Where it is
//! a primary it compares sums with the other primaries and pushes what they
//! lack; nobody pulls, the others do the same. What belongs elsewhere it brings
//! to all primaries, and drops once they have it and nothing has been added
//! meanwhile. A round that did all that is noted on the device: proxies wait
//! for it before they forget an earlier ring, and deletions are not forgotten
//! before it.
//!
//! [`partition`] does one partition, [`push`] brings one listing to one
//! primary, [`difference`] finds where two differ, [`revive`] makes containers
//! again that were deleted too early. Objects are `reconcile`'s.
mod difference;
mod partition;
mod push;
mod revive;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use virga_node::clock::{Micros, Version};
use virga_object_store::listing;
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::{ListingKind, ListingSums};
use virga_object_wire::movement::{RingName, ring_of};
use virga_ring::{Device, DeviceId, Partition, Ring, RingHandle, RingId};

use self::partition::{Outcome, Target};
use self::push::Primary;
use super::rest::{self, Effort, Rests};
use super::{Duty, Round, Workers, exchange};
use crate::absence::nothing_forgotten;
use crate::local::OpenDevice;
use crate::movement::{Known, number_of};
use crate::rings::quorum;

/// Partitions looked at together: their sums are one call to each device.
const PARTITIONS: usize = 256;
/// Partitions worked on at the same time.
const AT_ONCE: usize = 4;
/// Devices asked at the same time.
const ASKED: usize = 16;
/// Longest wait for a node.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often a resting worker looks whether the ring has changed: a load.
const RING_LOOK: Duration = Duration::from_millis(200);

pub(super) struct ReconcileListings {
    all: Arc<Workers>,
    kind: ListingKind,
    /// Rings under which a device's last round began.
    seen: Mutex<BTreeMap<Arc<str>, RingId>>,
    rests: Rests<Away>,
}

impl ReconcileListings {
    pub(super) fn new(all: Arc<Workers>, kind: ListingKind) -> Self {
        Self {
            all,
            kind,
            seen: Mutex::default(),
            rests: Rests::new(),
        }
    }

    /// Whether a device answers that was away.
    async fn ask(&self, away: Away) -> Result<(), NodeError> {
        let Away(device) = away;
        let (name, node) = (Arc::from(device.device.as_str()), self.all.nodes.node(&device));
        let power = self.handle().in_use().current.ring.part_power();
        let sums = node.listing_sums(&name, self.kind, power, Vec::new());
        sums.await.map(|_| ())
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, RingId>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) -> RingName {
        ring_of(self.kind)
    }

    fn handle(&self) -> &RingHandle {
        match self.kind {
            ListingKind::Account => &self.all.rings.account,
            ListingKind::Container => &self.all.rings.container,
        }
    }
}

#[async_trait]
impl Duty for ReconcileListings {
    fn name(&self) -> &'static str {
        match self.kind {
            ListingKind::Account => "reconcile accounts",
            ListingKind::Container => "reconcile containers",
        }
    }

    fn rest(&self, device: &OpenDevice) -> Duration {
        let usual = Duration::from_millis(self.all.settings.reconcile_ms);
        self.rests.rest(&device.name, usual)
    }

    async fn wake(&self, device: &OpenDevice) {
        let before = self.seen().get(&device.name).copied();
        let changed = async {
            while before.is_none_or(|before| before == self.handle().id()) {
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
        let rings = self.handle().in_use();
        let (id, ring) = (rings.current.id, &*rings.current.ring);
        self.seen().insert(Arc::clone(&device.name), id);
        // Before the start: what an earlier ring places after it would be missed.
        let closed = known.fence.is_closed(self.ring());
        let (started, effort) = (self.all.clock.now(), Effort::begin());
        let last = device.listings.round(self.kind).await.map_err(NodeError::from)?;
        let looking = Looking {
            duty: self,
            device,
            ring,
            id,
            own: number_of(known, ring, &device.name),
            known,
            last_round: last.map_or(Version(0), |last| Version::at(last.started)),
            settled: match self.all.settings.in_flight_ms {
                0 => Version(u64::MAX),
                ms => Version::at(Micros(started.0.saturating_sub(ms.saturating_mul(1000)))),
            },
            emptied: device.objects.is_to_be_emptied(),
            held: AtomicU64::new(0),
            effort,
            standing: Mutex::default(),
            gone: Mutex::default(),
        };
        let away = looking.returning().await?;
        let outcome = match &away {
            None => looking.run().await?,
            Some(_) => Outcome {
                left: 1,
                ..Outcome::default()
            },
        };
        let error = away.or_else(|| looking.error()).or(outcome.error);
        let error = error.or_else(|| known.clocks.trouble());
        let changed = self.handle().id() != id;
        if outcome.left == 0 && error.is_none() && !changed {
            device.in_step_again(self.ring());
        }
        if outcome.left == 0 && error.is_none() && !changed && closed {
            let round = listing::Round { ring: id, started };
            let noted = device.listings.note_round(self.kind, round).await;
            noted.map_err(NodeError::from)?;
        }
        let idle = outcome.names == 0 && outcome.left == 0;
        self.rests
            .note(&device.name, &looking.effort, idle, looking.away());
        let movements = self.all.node.movements();
        movements.ended(&device.name, self.ring(), outcome.left, error.clone());
        if looking.emptied {
            let held = looking.held.load(Ordering::Relaxed);
            let trouble = error.clone().filter(|_| outcome.left > 0);
            movements.drained(&device.name, self.ring(), (held, outcome.left.min(held)), trouble);
        }
        Ok(Round {
            done: outcome.names,
            left: outcome.left,
            more: changed,
            error,
        })
    }
}

/// What a round has learned of a device.
enum Standing {
    /// It answers, and uses the same ring; how far it has forgotten deletions.
    Well(Version),
    /// It does not, or cannot be dealt with: why.
    Out(String),
}

/// One device and ring in a round.
struct Looking<'a> {
    duty: &'a ReconcileListings,
    device: &'a OpenDevice,
    ring: &'a Ring,
    id: RingId,
    /// The device's number in the ring, if it is in it.
    own: Option<DeviceId>,
    known: &'a Known,
    /// When the last complete round began; zero if there was none.
    last_round: Version,
    /// What is newer may still be on its way to all replicas.
    settled: Version,
    /// Whether all that the device holds is to be elsewhere.
    emptied: bool,
    /// Partitions seen on such a device.
    held: AtomicU64,
    effort: Arc<Effort>,
    standing: Mutex<BTreeMap<DeviceId, Standing>>,
    /// Those that are out because they are away.
    gone: Mutex<BTreeSet<DeviceId>>,
}

/// A device that was away in a round.
#[derive(Clone)]
struct Away(Device);

impl rest::Peer for Away {
    fn device(&self) -> &Device {
        &self.0
    }
}

impl Looking<'_> {
    async fn run(&self) -> Result<Outcome, NodeError> {
        let (listings, kind) = (&self.device.listings, self.duty.kind);
        let mut outcome = Outcome::default();
        let mut first = 0;
        loop {
            let page = listings.occupied(kind, self.ring.part_power(), first, PARTITIONS);
            let page = page.await.map_err(NodeError::from)?;
            let Some((last, _)) = page.last() else { break };
            first = u64::from(last.0) + 1;
            let full = page.len() == PARTITIONS;
            self.look_at(page, &mut outcome).await?;
            if !full || self.duty.handle().id() != self.id {
                break;
            }
        }
        outcome.names += self.revive().await?;
        Ok(outcome)
    }

    /// What a device that was away for long waits for before it pushes anything;
    /// `None` if it goes on. See [`crate::absence`].
    async fn returning(&self) -> Result<Option<String>, NodeError> {
        let (listings, kind, ring) = (&self.device.listings, self.duty.kind, self.duty.ring());
        if !self.device.absence.is_returning(ring) {
            return Ok(None);
        }
        let (mut first, mut unheard) = (0, false);
        loop {
            let page = listings.occupied(kind, self.ring.part_power(), first, PARTITIONS);
            let page = page.await.map_err(NodeError::from)?;
            let Some((last, _)) = page.last() else { break };
            first = u64::from(last.0) + 1;
            let full = page.len() == PARTITIONS;
            let theirs = self.ask(&page).await;
            for (partition, _) in page {
                let (targets, _) = self.targets(partition, &theirs);
                let primaries: BTreeSet<_> = self.ring.primaries(partition).map(|(_, d)| d.id).collect();
                let here = usize::from(self.own.is_some_and(|own| primaries.contains(&own)));
                unheard |= targets.len() + here < quorum(primaries.len());
            }
            if !full {
                break;
            }
        }
        let raised = listings.raise_horizon(kind, self.horizon()).await;
        raised.map_err(NodeError::from)?;
        let horizon = listings.horizon(kind).await.map_err(NodeError::from)?;
        if !unheard && nothing_forgotten(self.last_round, horizon) {
            self.device.in_step_again(ring);
            return Ok(None);
        }
        let away = self.error();
        Ok(away.map(|away| format!("was away for long and waits for the other replicas: {away}")))
    }

    /// The sums of these partitions on all who are primaries of one.
    async fn ask(&self, page: &[(Partition, u128)]) -> HashMap<(DeviceId, Partition), u128> {
        let mut asked: BTreeMap<DeviceId, Vec<Partition>> = BTreeMap::new();
        for (partition, _) in page {
            for other in self.others(*partition) {
                asked.entry(other.id).or_default().push(*partition);
            }
        }
        let mut answers = stream::iter(asked)
            .map(|(id, partitions)| async move { (self.sums(id, &partitions).await, id, partitions) })
            .buffer_unordered(ASKED);
        let mut theirs = HashMap::new();
        while let Some((sums, id, partitions)) = answers.next().await {
            let sums = sums.into_iter().flatten();
            theirs.extend(partitions.into_iter().zip(sums).map(|(at, sum)| ((id, at), sum)));
        }
        theirs
    }

    /// Compares some partitions with everybody who is a primary of one, and
    /// does what there is to do.
    async fn look_at(&self, page: Vec<(Partition, u128)>, outcome: &mut Outcome) -> Result<(), NodeError> {
        let mut theirs = self.ask(&page).await;
        if self.emptied {
            self.held.fetch_add(page.len() as u64, Ordering::Relaxed);
            // Others in place of those that did not answer.
            theirs.extend(self.ask(&page).await);
        }
        let listings = &self.device.listings;
        let raised = listings.raise_horizon(self.duty.kind, self.horizon()).await;
        raised.map_err(NodeError::from)?;
        let theirs = &theirs;
        let mut working = stream::iter(page)
            .map(|(partition, sum)| async move {
                let (targets, away) = self.targets(partition, theirs);
                let done = self.partition(partition, sum, targets, away).await;
                done.unwrap_or_else(|error| Outcome {
                    left: 1,
                    error: Some(error.to_string()),
                    ..Outcome::default()
                })
            })
            .buffer_unordered(AT_ONCE);
        while let Some(one) = working.next().await {
            outcome.add(one);
        }
        Ok(())
    }

    /// The other primaries of a partition that have answered, and whether one
    /// has not.
    fn targets(
        &self,
        partition: Partition,
        theirs: &HashMap<(DeviceId, Partition), u128>,
    ) -> (Vec<Target>, bool) {
        let mut targets: Vec<Target> = Vec::new();
        let mut away = false;
        for device in self.others(partition) {
            match theirs
                .get(&(device.id, partition))
                .zip(self.horizon_of(device.id))
            {
                Some((sum, horizon)) => targets.push(Target {
                    primary: self.primary(device, horizon),
                    device: device.clone(),
                    sum: *sum,
                }),
                None => away = true,
            }
        }
        (targets, away)
    }

    /// The other devices that are to have a partition: its primaries, and in the
    /// place of this device, if it is to be emptied, the first handoffs that
    /// answer.
    fn others(&self, partition: Partition) -> Vec<&Device> {
        let mut others: Vec<&Device> = Vec::new();
        let wanted = self.ring.primaries(partition).count();
        // A partition may name a device twice.
        for (_, device) in self.ring.primaries(partition) {
            if Some(device.id) != self.own && !others.iter().any(|other| other.id == device.id) {
                others.push(device);
            }
        }
        if self.emptied {
            let standing = self.standing();
            let well = |id| !matches!(standing.get(&id), Some(Standing::Out(_)));
            let handoffs = self.ring.handoffs(partition).map(|(_, device)| device);
            let handoffs = handoffs.filter(|device| Some(device.id) != self.own && well(device.id));
            others.extend(handoffs.take(wanted.saturating_sub(others.len())));
        }
        others
    }

    fn primary(&self, device: &Device, horizon: Version) -> Primary {
        Primary {
            node: self.duty.all.nodes.node(device),
            device: Arc::from(device.device.as_str()),
            horizon,
            guarded: self.last_round <= horizon,
            effort: Arc::clone(&self.effort),
        }
    }

    /// A device's sums of these partitions; `None` if it cannot be dealt with
    /// in this round.
    async fn sums(&self, id: DeviceId, partitions: &[Partition]) -> Option<Vec<u128>> {
        if matches!(self.standing().get(&id), Some(Standing::Out(_))) {
            return None;
        }
        let device = self.ring.device(id)?;
        let node = self.duty.all.nodes.node(device);
        let name: Arc<str> = Arc::from(device.device.as_str());
        let (kind, power) = (self.duty.kind, self.ring.part_power());
        let ListingSums { answering, sums } = match self
            .patient(node.listing_sums(&name, kind, power, partitions.to_vec()))
            .await
        {
            Ok(answer) => answer,
            Err(error) => {
                self.give_up_on(id, &error);
                return None;
            }
        };
        self.known.clocks.note(device, answering.now);
        if answering.identity == self.device.objects.identity() {
            self.give_up(
                id,
                "that is this very device: the address in the ring and the one that the node advertises differ",
            );
        } else if answering.using != Some(self.id) {
            let theirs = answering.using.map_or(0, |ring| ring.version);
            let why = format!(
                "its node uses ring version {theirs}, this one {}; they must be the same",
                self.id.version
            );
            self.give_up(id, &why);
            let versions = (self.id.version, theirs);
            exchange::tell(self.known, device, &node, self.duty.ring(), versions).await;
        } else if sums.len() != partitions.len() {
            self.give_up(id, "answered about other partitions than were asked for");
        } else {
            self.standing().insert(id, Standing::Well(answering.horizon));
            return Some(sums);
        }
        None
    }

    fn standing(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Standing>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a device alone for the rest of the round.
    fn give_up(&self, id: DeviceId, why: &str) {
        let name = self.ring.device(id).map_or_else(
            || format!("device {}", id.0),
            |device| format!("{} at {}:{}", device.device, device.ip, device.port),
        );
        self.standing()
            .insert(id, Standing::Out(format!("{name}: {why}")));
    }

    /// The same because a call to it failed.
    fn give_up_on(&self, id: DeviceId, error: &NodeError) {
        if rest::is_away(error) {
            self.gone
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(id);
        }
        self.give_up(id, &error.to_string());
    }

    /// Those that are away.
    fn away(&self) -> Vec<Away> {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let devices = gone.iter().filter_map(|id| self.ring.device(*id));
        devices.cloned().map(Away).collect()
    }

    /// Waits for a call, but not for ever.
    async fn patient<T>(&self, call: impl Future<Output = Result<T, NodeError>>) -> Result<T, NodeError> {
        self.effort.wait(PATIENCE, call).await
    }

    /// Why the first of those that are out is out.
    fn error(&self) -> Option<String> {
        self.standing().values().find_map(|standing| match standing {
            Standing::Out(why) => Some(why.clone()),
            Standing::Well(_) => None,
        })
    }

    fn horizon_of(&self, id: DeviceId) -> Option<Version> {
        match self.standing().get(&id) {
            Some(Standing::Well(horizon)) => Some(*horizon),
            _ => None,
        }
    }

    /// Highest horizon among those that answered.
    fn horizon(&self) -> Version {
        let standing = self.standing();
        let horizons = standing.values().filter_map(|standing| match standing {
            Standing::Well(horizon) => Some(*horizon),
            Standing::Out(_) => None,
        });
        horizons.max().unwrap_or_default()
    }
}
