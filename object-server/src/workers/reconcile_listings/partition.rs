//! One partition: which of its listings the other primaries lack something of,
//! and what becomes of those that do not belong here.
use std::collections::HashMap;
use std::sync::Arc;

use virga_node::clock::Version;
use virga_object_store::listing::SetAside;
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::{ListingSum, ShardsRequest};
use virga_object_wire::object::At;
use virga_ring::{Device, NameHash, Partition};

use super::Looking;
use super::push::{Primary, Pushing, Told, unknown_to_all};
use crate::movement::Tally;

/// Listings compared at a time.
const LISTINGS: u32 = 200;
/// How often a listing that is written meanwhile is looked at again at once.
const TRIES: usize = 3;

/// What looking at partitions came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Rows and heads pushed, listings dropped.
    pub(super) names: u64,
    /// Partitions that are not done.
    pub(super) left: u64,
    /// Why.
    pub(super) error: Option<String>,
}

impl Outcome {
    pub(super) fn add(&mut self, other: Self) {
        self.names += other.names;
        self.left += other.left;
        self.error = self.error.take().or(other.error);
    }
}

/// Another primary of the partition.
pub(super) struct Target {
    pub(super) primary: Primary,
    pub(super) device: Device,
    /// Its sum of the partition.
    pub(super) sum: u128,
}

/// A partition being worked on.
struct Work<'a> {
    looking: &'a Looking<'a>,
    partition: Partition,
    targets: Vec<Target>,
    /// What was pushed to each target.
    tallies: Vec<Tally>,
    /// Whether this device is a primary.
    own: bool,
    /// Whether every other primary is among the targets.
    all: bool,
    names: u64,
    /// Whether everything is where it belongs.
    complete: bool,
    error: Option<String>,
}

impl Looking<'_> {
    /// Does one partition, of which this device has `sum`. `away`: a primary
    /// does not answer.
    pub(super) async fn partition(
        &self,
        partition: Partition,
        sum: u128,
        targets: Vec<Target>,
        away: bool,
    ) -> Result<Outcome, NodeError> {
        let own = self
            .ring
            .primaries(partition)
            .any(|(_, device)| Some(device.id) == self.own);
        let mut work = Work {
            looking: self,
            partition,
            tallies: vec![Tally::default(); targets.len()],
            targets,
            own,
            all: !away,
            names: 0,
            complete: !away,
            error: None,
        };
        let differ = work.targets.iter().any(|target| target.sum != sum);
        let result = if differ || !own {
            work.run(sum).await
        } else {
            Ok(())
        };
        let movements = self.duty.all.node.movements();
        for (target, tally) in work.targets.iter().zip(&work.tallies) {
            if tally.names > 0 {
                movements.pushed(&self.device.name, self.duty.ring(), &target.device, tally);
            }
        }
        result?;
        Ok(Outcome {
            names: work.names,
            left: u64::from(!work.complete),
            error: work.error,
        })
    }
}

impl Work<'_> {
    /// Goes through the listings here, page by page.
    async fn run(&mut self, sum: u128) -> Result<(), NodeError> {
        let (listings, kind) = (&self.looking.device.listings, self.looking.duty.kind);
        let mut wanted = ShardsRequest {
            power: self.looking.ring.part_power(),
            partition: self.partition,
            after: None,
            limit: LISTINGS,
        };
        loop {
            let ours = listings.shards(kind, wanted).await.map_err(NodeError::from)?;
            let Some(last) = ours.last().map(|listing| listing.hash) else {
                return Ok(());
            };
            let mut theirs = Vec::with_capacity(self.targets.len());
            for at in 0..self.targets.len() {
                theirs.push(if self.targets[at].sum == sum {
                    ours.iter().map(|listing| (listing.hash, listing.sum)).collect()
                } else {
                    match self.theirs(at, wanted, &ours, last).await {
                        Ok(theirs) => theirs,
                        Err(error) => return self.fail(at, &error),
                    }
                });
            }
            for listing in ours {
                self.listing(listing, &theirs).await?;
            }
            wanted.after = Some(last);
        }
    }

    /// The sums of these listings on a target.
    async fn theirs(
        &self,
        target: usize,
        mut wanted: ShardsRequest,
        ours: &[ListingSum],
        last: NameHash,
    ) -> Result<HashMap<NameHash, u128>, NodeError> {
        let primary = &self.targets[target].primary;
        let mut found = HashMap::with_capacity(ours.len());
        loop {
            let call = primary
                .node
                .listing_shards(&primary.device, self.looking.duty.kind, wanted);
            let page = self.looking.patient(call).await?;
            let end = page.last().map(|listing| listing.hash);
            if end.is_some() && end <= wanted.after {
                return Err(NodeError::Invalid(
                    "a page of listings that does not go on".into(),
                ));
            }
            let here = |hash: &NameHash| ours.binary_search_by(|known| known.hash.cmp(hash)).is_ok();
            found.extend(
                page.into_iter()
                    .filter(|theirs| here(&theirs.hash))
                    .map(|theirs| (theirs.hash, theirs.sum)),
            );
            match end {
                Some(end) if end < last => wanted.after = Some(end),
                _ => return Ok(found),
            }
        }
    }

    /// Notes that a target failed: the partition is left for another round.
    fn fail(&mut self, target: usize, error: &NodeError) -> Result<(), NodeError> {
        let target = &self.targets[target];
        if matches!(error, NodeError::Unreachable(_) | NodeError::NoDevice(_)) {
            self.looking.give_up_on(target.device.id, error);
        }
        self.complete = false;
        let device = &target.device;
        let why = format!("{} at {}:{}: {error}", device.device, device.ip, device.port);
        self.error.get_or_insert(why);
        Ok(())
    }

    /// Brings one listing to the targets that lack something of it, and drops
    /// it if it belongs elsewhere.
    async fn listing(
        &mut self,
        listing: ListingSum,
        theirs: &[HashMap<NameHash, u128>],
    ) -> Result<(), NodeError> {
        let at = At {
            device: Arc::clone(&self.looking.device.name),
            policy: 0,
            partition: self.partition,
            hash: listing.hash,
            ring: self.looking.id.epoch(),
        };
        let (listings, kind) = (&self.looking.device.listings, self.looking.duty.kind);
        let mut sum = listing.sum;
        for _ in 0..TRIES {
            let told = self.tell(&at, sum, theirs).await?;
            let Some(told) = told else { return Ok(()) };
            let aside = unknown_to_all(&told.iter().collect::<Vec<_>>());
            if aside != SetAside::default() {
                tracing::warn!(
                    device = &*self.looking.device.name,
                    ring = %self.looking.duty.ring(),
                    hash = %listing.hash,
                    rows = aside.rows.len(),
                    "set aside: no primary knows of it, and it may have been deleted long ago"
                );
                let set = listings.set_aside(kind, &at, aside).await;
                set.map_err(NodeError::from)?;
                self.complete = false;
                return Ok(());
            }
            if told.iter().any(|told| told.upto.is_some()) {
                self.complete = false;
                return Ok(());
            }
            if self.own || self.targets.is_empty() {
                return Ok(());
            }
            let dropped = listings.drop_listing(kind, &at, sum).await;
            if dropped.map_err(NodeError::from)? {
                self.names += 1;
                return Ok(());
            }
            match listings.sum(kind, &at).await.map_err(NodeError::from)? {
                Some(now) => sum = now,
                None => return Ok(()),
            }
        }
        // Written all the time: the next round tries again.
        self.complete = false;
        Ok(())
    }

    /// Pushes a listing to every target; `None` if one of the primaries could
    /// not be told.
    async fn tell(
        &mut self,
        at: &At,
        sum: u128,
        theirs: &[HashMap<NameHash, u128>],
    ) -> Result<Option<Vec<Told>>, NodeError> {
        let looking = self.looking;
        let pushing = Pushing {
            listings: &looking.device.listings,
            kind: looking.duty.kind,
            settled: if self.own {
                looking.settled
            } else {
                Version(u64::MAX)
            },
            at,
        };
        let mut all = Vec::with_capacity(self.targets.len());
        let mut failed = !self.all;
        for target in 0..self.targets.len() {
            let known = theirs.get(target).and_then(|sums| sums.get(&at.hash));
            if known == Some(&sum) {
                all.push(Told::default());
                continue;
            }
            match pushing.push(&self.targets[target].primary, known.is_some()).await {
                Ok(told) => {
                    let tally = &mut self.tallies[target];
                    tally.partitions = 1;
                    tally.names += told.names;
                    tally.bytes += told.bytes;
                    self.names += told.names;
                    let bytes = usize::try_from(told.bytes).unwrap_or(usize::MAX);
                    looking.duty.all.pace.admit(looking.device, bytes).await;
                    all.push(told);
                }
                Err(error) => {
                    failed = true;
                    self.fail(target, &error)?;
                }
            }
        }
        Ok((!failed).then_some(all))
    }
}
