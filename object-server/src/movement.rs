//! How far this node's devices have come with the rings: what the workers note
//! while they move things, and what the node answers when asked.
//!
//! Noted by the `reconcile` duties, asked through
//! [`virga_object_wire::node::ObjectNode::movement`]. What must survive a restart
//! (the last complete round, the horizon) is the devices' own.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use virga_node::clock::{Clock, Version};
use virga_object_store::listing::MAX_COMPARED;
use virga_object_wire::error::NodeError;
use virga_object_wire::fence::RingFence;
use virga_object_wire::listing::ListingKind;
use virga_object_wire::movement::{Movement, Pushed, RingName, ring_of};
use virga_object_wire::status::Work;
use virga_ring::{Device, Ring, RingHandle, RingId};

use crate::clocks::Clocks;
use crate::local::OpenDevice;
use crate::meter::Meter;
use crate::rings::Rings;
use crate::workers::Progress;

/// What a node is called in the rings, and the rings.
pub(crate) struct Known {
    /// Placement.
    pub(crate) rings: Rings,
    /// Refuses what goes by an earlier ring.
    pub(crate) fence: RingFence,
    /// What time it is elsewhere.
    pub(crate) clocks: Arc<Clocks>,
    /// Address in the rings.
    pub(crate) ip: String,
    /// Port in the rings.
    pub(crate) port: u16,
}

impl Known {
    /// Whether a device of a ring is this node's own of that name.
    pub(crate) fn is_here(&self, device: &Device, name: &str) -> bool {
        device.device == name && device.port == self.port && device.ip == self.ip
    }

    /// Whether this node has heard what time it is at any other since its start, or
    /// there is no other: before, it must not act on what its own clock says.
    pub(crate) fn clock_was_compared(&self) -> bool {
        let elsewhere = |device: &Device| (&device.ip, device.port) != (&self.ip, self.port);
        let mut in_use = self.rings.by_name().map(|(_, ring)| ring.in_use());
        self.clocks.compared() || !in_use.any(|ring| ring.current.ring.devices().any(elsewhere))
    }

    /// The ring of that name.
    pub(crate) fn ring(&self, name: RingName) -> Option<&Arc<RingHandle>> {
        match name {
            RingName::Account => Some(&self.rings.account),
            RingName::Container => Some(&self.rings.container),
            RingName::Object(policy) => self.rings.object(policy),
        }
    }
}

/// What is noted of one device and ring since the node started.
#[derive(Clone, Debug, Default)]
struct Noted {
    pushed: BTreeMap<(String, String), Pushed>,
    left: u64,
    error: Option<String>,
    meter: Meter,
    /// Work that several rounds may take, until nothing is left.
    task: Option<Task>,
    /// Of a drain: whether a whole round has looked, partitions that were
    /// elsewhere when it began, and bytes that went since.
    looked: bool,
    drained_before: u64,
    drained_bytes: u64,
}

/// Since there is something to do: when that began, how many partitions it was
/// then, and how many bytes went since.
#[derive(Clone, Copy, Debug)]
struct Task {
    began: Instant,
    partitions: u64,
    bytes: u64,
}

impl Noted {
    fn set_left(&mut self, left: u64, now: Instant) {
        let fresh = Task {
            began: now,
            partitions: left,
            bytes: 0,
        };
        self.task = match self.task {
            _ if left == 0 => None,
            Some(task) if left <= task.partitions => Some(task),
            Some(task) => Some(Task {
                partitions: left,
                ..task
            }),
            None => Some(fresh),
        };
        self.left = left;
    }

    /// Of a drain: of all partitions of the device so many are left.
    fn set_drain(&mut self, all: u64, left: u64, now: Instant) {
        match &mut self.task {
            Some(task) => task.partitions = task.partitions.max(all),
            None => {
                self.drained_before = all - left;
                self.task = Some(Task {
                    began: now,
                    partitions: all,
                    bytes: 0,
                });
            }
        }
        self.left = left;
    }

    fn drain(&self, ring: RingName, now: Instant) -> Option<Work> {
        let task = self.task?;
        let done = task.partitions - self.left;
        let gone = done.saturating_sub(self.drained_before);
        let took = now.duration_since(task.began).as_secs();
        // A round that has not looked at everything cannot say that nothing is left.
        let unsure = !self.looked && self.left == 0;
        Some(Work {
            duty: "drain".to_owned(),
            ring: Some(ring),
            unit: "partitions".to_owned(),
            done,
            left: self.left + u64::from(unsure),
            bytes: self.drained_bytes,
            bytes_per_s: self.meter.rate(now),
            seconds_left: (gone > 0 && self.left > 0).then(|| took * self.left / gone),
            trouble: self.error.clone(),
        })
    }

    fn work(&self, ring: RingName, duty: &str, now: Instant) -> Work {
        let done = self.task.map_or(0, |task| task.partitions - self.left);
        let took = self
            .task
            .map_or(Duration::ZERO, |task| now.duration_since(task.began));
        Work {
            duty: duty.to_owned(),
            ring: Some(ring),
            unit: "partitions".to_owned(),
            done,
            left: self.left,
            bytes: self.task.map_or(0, |task| task.bytes),
            bytes_per_s: self.meter.rate(now),
            seconds_left: (done > 0).then(|| took.as_secs() * self.left / done),
            trouble: self.error.clone(),
        }
    }
}

/// One bell for each device: rung when something is to be done at once.
type Bells = Mutex<BTreeMap<Arc<str>, Arc<Notify>>>;

/// By device and ring.
type Notes = BTreeMap<(Arc<str>, RingName), Noted>;

/// The movements of a node's devices.
#[derive(Default)]
pub(crate) struct Movements {
    known: OnceLock<Known>,
    progress: OnceLock<Progress>,
    notes: Mutex<Notes>,
    /// The same of drains.
    drains: Mutex<Notes>,
    bells: Bells,
}

impl Movements {
    /// Says once what the rings are and where the node stands in them.
    pub(crate) fn set_known(&self, rings: Rings, ip: String, port: u16, clock: Arc<dyn Clock>) {
        // A second time would say the same.
        let fence = RingFence::new(rings.by_name(), rings.grace);
        let _ = self.known.set(Known {
            rings,
            fence,
            clocks: Arc::new(Clocks::new(clock)),
            ip,
            port,
        });
    }

    /// The rings, once they are known.
    pub(crate) fn known(&self) -> Option<&Known> {
        self.known.get()
    }

    /// The ring of that name that this node has loaded.
    pub(crate) fn using(&self, name: RingName) -> Option<RingId> {
        Some(self.known()?.ring(name)?.id())
    }

    /// Says once where the workers show what they do.
    pub(crate) fn set_progress(&self, progress: Progress) {
        // A second time would say the same.
        let _ = self.progress.set(progress);
    }

    /// What the workers that move nothing left on a device when they last looked.
    pub(crate) fn duties(&self, device: &str) -> Vec<Work> {
        let all = self.progress.get().map(Progress::snapshot).unwrap_or_default();
        let here = all.into_iter().filter(|status| status.device == device);
        let others = here.filter(|status| !status.worker.starts_with("reconcile"));
        others
            .map(|status| Work {
                unit: unit_of(&status.worker).to_owned(),
                duty: status.worker,
                done: status.done,
                left: status.left,
                trouble: status.last_error,
                ..Work::default()
            })
            .collect()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, device: &Arc<str>, ring: RingName, change: impl FnOnce(&mut Noted)) {
        change(self.notes().entry((Arc::clone(device), ring)).or_default());
    }

    /// Notes how many partitions of the round under way are left.
    pub(crate) fn left(&self, device: &Arc<str>, ring: RingName, partitions: u64) {
        self.change(device, ring, |noted| noted.set_left(partitions, Instant::now()));
    }

    /// Notes how a round ended.
    pub(crate) fn ended(&self, device: &Arc<str>, ring: RingName, left: u64, error: Option<String>) {
        self.change(device, ring, |noted| {
            noted.set_left(left, Instant::now());
            noted.error = error;
        });
    }

    fn bell(&self, device: &Arc<str>) -> Arc<Notify> {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(bells.entry(Arc::clone(device)).or_default())
    }

    /// Ends the rest of every duty on a device.
    pub(crate) fn nudge(&self, device: &Arc<str>) {
        self.bell(device).notify_waiters();
    }

    /// Waits for the next [`Movements::nudge`].
    pub(crate) async fn nudged(&self, device: &Arc<str>) {
        self.bell(device).notified().await;
    }

    fn drains(&self) -> MutexGuard<'_, Notes> {
        self.drains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how many of all partitions of a device a drain has still to bring
    /// elsewhere.
    pub(crate) fn drain_left(&self, device: &Arc<str>, ring: RingName, (all, left): (u64, u64)) {
        let mut drains = self.drains();
        let noted = drains.entry((Arc::clone(device), ring)).or_default();
        noted.set_drain(all, left, Instant::now());
    }

    /// Notes how far a drain came in a round, and why it is not done.
    pub(crate) fn drained(
        &self,
        device: &Arc<str>,
        ring: RingName,
        (all, left): (u64, u64),
        trouble: Option<String>,
    ) {
        let mut drains = self.drains();
        let noted = drains.entry((Arc::clone(device), ring)).or_default();
        noted.set_drain(all, left, Instant::now());
        noted.error = trouble;
        noted.looked = true;
    }

    /// Forgets the drain of a device that is not drained any more.
    pub(crate) fn not_drained(&self, device: &Arc<str>) {
        self.drains().retain(|(name, _), _| name != device);
    }

    /// Notes what was pushed to another device.
    pub(crate) fn pushed(&self, device: &Arc<str>, ring: RingName, to: &Device, what: &Tally) {
        let address = format!("{}:{}", to.ip, to.port);
        self.change(device, ring, |noted| {
            let key = (address.clone(), to.device.clone());
            let pushed = noted.pushed.entry(key).or_insert_with(|| Pushed {
                device: to.device.clone(),
                address,
                ..Pushed::default()
            });
            noted.meter.count(what.bytes, Instant::now());
            if let Some(task) = &mut noted.task {
                task.bytes += what.bytes;
            }
            pushed.partitions += what.partitions;
            if let Some(drain) = self.drains().get_mut(&(Arc::clone(device), ring)) {
                drain.meter.count(what.bytes, Instant::now());
                drain.drained_bytes += what.bytes;
            }
            pushed.names += what.names;
            pushed.bytes += what.bytes;
        });
    }

    /// What is being moved from a device, ring by ring.
    pub(crate) fn work(&self, device: &str) -> Vec<Work> {
        let now = Instant::now();
        let notes = self.notes();
        let own = notes.iter().filter(|((name, _), _)| &**name == device);
        let mut works: Vec<Work> = own
            .map(|((_, ring), noted)| noted.work(*ring, "reconcile", now))
            .collect();
        drop(notes);
        let drains = self.drains();
        let own = drains.iter().filter(|((name, _), _)| &**name == device);
        works.extend(own.filter_map(|((_, ring), noted)| noted.drain(*ring, now)));
        works
    }

    /// What is noted of a device and ring, with the lasting parts as given and
    /// `partitions` as what the device holds.
    pub(crate) fn report(&self, device: &Arc<str>, lasting: Lasting) -> Movement {
        let noted = self.notes().get(&(Arc::clone(device), lasting.ring)).cloned();
        let noted = noted.unwrap_or_default();
        Movement {
            device: device.to_string(),
            ring: lasting.ring,
            using: lasting.using,
            reconciled: lasting.reconciled,
            round_started: lasting.round_started,
            horizon: lasting.horizon,
            partitions_own: lasting.own,
            partitions_foreign: lasting.foreign,
            partitions_left: noted.left,
            set_aside: lasting.set_aside,
            pushed: noted.pushed.into_values().collect(),
            last_error: noted.error,
        }
    }

    /// The movements of a device's objects, by ring.
    pub(crate) async fn of_objects(&self, device: &OpenDevice) -> Result<Vec<Movement>, NodeError> {
        let Some(known) = self.known() else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        for (policy, handle) in &known.rings.object {
            let rings = handle.in_use();
            let ring = &rings.current.ring;
            let held = device.objects.held(*policy).await?;
            let own = held
                .iter()
                .filter(|(partition, _)| {
                    ring.primaries(*partition)
                        .any(|(_, primary)| known.is_here(primary, &device.name))
                })
                .count() as u64;
            let round = device.objects.last_round(*policy)?;
            let lasting = Lasting {
                ring: RingName::Object(*policy),
                using: rings.current.id,
                reconciled: round.map(|round| round.ring),
                round_started: round.map_or(Version(0), |round| round.started),
                horizon: device.objects.horizon(*policy)?,
                own,
                foreign: held.len() as u64 - own,
                set_aside: device.objects.set_aside_count(*policy),
            };
            all.push(self.report(&device.name, lasting));
        }
        Ok(all)
    }

    /// The movements of a device's accounts and containers.
    pub(crate) async fn of_listings(&self, device: &OpenDevice) -> Result<Vec<Movement>, NodeError> {
        let Some(known) = self.known() else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        for kind in [ListingKind::Account, ListingKind::Container] {
            let Some(handle) = known.ring(ring_of(kind)) else {
                continue;
            };
            let (rings, listings) = (handle.in_use(), &device.listings);
            let ring = &rings.current.ring;
            let (mut own, mut foreign, mut first) = (0, 0, 0);
            loop {
                let page = listings.occupied(kind, ring.part_power(), first, MAX_COMPARED);
                let page = page.await?;
                for (partition, _) in &page {
                    let mut primaries = ring.primaries(*partition);
                    if primaries.any(|(_, primary)| known.is_here(primary, &device.name)) {
                        own += 1;
                    } else {
                        foreign += 1;
                    }
                }
                match page.last() {
                    Some((last, _)) if page.len() == MAX_COMPARED => first = u64::from(last.0) + 1,
                    _ => break,
                }
            }
            let round = listings.round(kind).await?;
            let lasting = Lasting {
                ring: ring_of(kind),
                using: rings.current.id,
                reconciled: round.map(|round| round.ring),
                round_started: round.map_or(Version(0), |round| Version::at(round.started)),
                horizon: listings.horizon(kind).await?,
                own,
                foreign,
                set_aside: listings.set_aside_count(),
            };
            all.push(self.report(&device.name, lasting));
        }
        Ok(all)
    }
}

/// What a worker counts.
fn unit_of(worker: &str) -> &'static str {
    match worker {
        "update listings" => "rows",
        "expire" => "objects",
        "report containers" => "containers",
        _ => "things",
    }
}

/// Parts of a [`Movement`] that the device itself remembers.
pub(crate) struct Lasting {
    pub(crate) ring: RingName,
    pub(crate) using: RingId,
    pub(crate) reconciled: Option<RingId>,
    pub(crate) round_started: Version,
    pub(crate) horizon: Version,
    /// Partitions held that the ring puts here.
    pub(crate) own: u64,
    /// Partitions held that belong elsewhere.
    pub(crate) foreign: u64,
    pub(crate) set_aside: u64,
}

/// What was pushed to one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) partitions: u64,
    pub(crate) names: u64,
    pub(crate) bytes: u64,
}

/// The number of a device in a ring, if the ring has it.
pub(crate) fn number_of(known: &Known, ring: &Ring, name: &str) -> Option<virga_ring::DeviceId> {
    let mut devices = ring.devices();
    devices
        .find(|device| known.is_here(device, name))
        .map(|device| device.id)
}
