//! One partition of a round: walks the names that may differ, pushes what others
//! lack, and forgets or sets aside what does not belong here.
use futures_util::stream::{self, StreamExt};
use virga_object_wire::error::NodeError;
use virga_object_wire::movement::{Buckets, NameState, NamesRequest, RingName};
use virga_object_wire::object::At;
use virga_ring::{DeviceId, NameHash, Partition};

use super::OneRing;
use super::jobs::pair;
use super::judge::{Lack, Rules};
use super::memory::Difference;
use super::peers::{Names, Peer, Peers};
use super::send::{self, SendError};
use crate::movement::Tally;

/// Names of a partition looked at before what they need is done.
const NAMES: u32 = 500;
/// Names of a partition pushed at the same time.
const PUSHES: usize = 8;

/// Another primary that does not know the same.
pub(super) struct Target {
    pub(super) id: DeviceId,
    pub(super) difference: Difference,
    /// What some primary has, the primaries are left to bring here themselves.
    pub(super) patient: bool,
}

/// A partition that needs work.
pub(super) struct Job {
    pub(super) partition: Partition,
    /// Whether the partition belongs elsewhere.
    pub(super) foreign: bool,
    /// Whether it stays here all the same, as on a device that is drained.
    pub(super) keep: bool,
    pub(super) targets: Vec<Target>,
    /// How many primaries know the same as this device.
    pub(super) same: usize,
    /// Whether all primaries have answered.
    pub(super) all: bool,
    /// Whether something was left to another replica.
    pub(super) deferred: bool,
}

/// What came of a job, or of several.
#[derive(Default)]
pub(super) struct Done {
    /// Whether nothing is left to do.
    pub(super) complete: bool,
    /// Names pushed, forgotten or set aside.
    pub(super) names: u64,
    pub(super) error: Option<String>,
}

impl Done {
    pub(super) fn add(&mut self, other: Self) {
        self.names += other.names;
        self.error = self.error.take().or(other.error);
    }
}

/// A target while its names are walked.
struct Source<'a> {
    target: &'a Target,
    peer: Peer,
    names: Names,
    tally: Tally,
    /// Whether it lacks anything that is here, or may.
    lacked: bool,
}

/// What is to be done about one name.
struct Plan {
    state: NameState,
    /// Number of a source, and what it lacks.
    pushes: Vec<(usize, Lack)>,
    /// Whether all primaries have the name once the pushes are done.
    covered: bool,
    /// Whether it is to be set aside instead.
    aside: bool,
}

/// What came of a [`Plan`].
struct Outcome {
    state: NameState,
    /// Number of a source, and bytes pushed to it.
    pushed: Vec<(usize, u64)>,
    /// Whether everything planned was done.
    done: bool,
    forget: bool,
    aside: bool,
    error: Option<String>,
}

/// Does one job.
pub(super) async fn work(
    one: &OneRing<'_>,
    job: &Job,
    peers: &Peers<'_>,
    rules: &Rules,
) -> Result<Done, NodeError> {
    let mut walk = Walk {
        one,
        job,
        peers,
        rules,
        sources: Vec::new(),
        all: job.all,
        done: Done {
            complete: job.all && !job.deferred,
            ..Done::default()
        },
    };
    let buckets = walk.buckets().await?;
    walk.begin(buckets);
    let mut wanted = walk.request(buckets);
    loop {
        let page = one.device.objects.names(wanted.clone()).await?;
        walk.page(page.names).await?;
        match page.upto {
            Some(upto) => wanted.after = Some(upto),
            None => break,
        }
        if walk.sources.is_empty() && !job.targets.is_empty() {
            // Nobody is left to push to.
            break;
        }
    }
    Ok(walk.end())
}

struct Walk<'a> {
    one: &'a OneRing<'a>,
    job: &'a Job,
    peers: &'a Peers<'a>,
    rules: &'a Rules,
    sources: Vec<Source<'a>>,
    /// Whether every primary that does not know the same is among the sources.
    all: bool,
    done: Done,
}

impl<'a> Walk<'a> {
    /// Which buckets to walk: where it is a primary, those whose sums differ from
    /// a target's.
    async fn buckets(&mut self) -> Result<Buckets, NodeError> {
        if self.job.foreign {
            return Ok(Buckets::ALL);
        }
        let (policy, partition) = (self.one.policy, self.job.partition);
        let ours = self.one.device.objects.bucket_sums(policy, partition).await?;
        let mut buckets = Buckets::default();
        for target in &self.job.targets {
            let Some(peer) = self.peers.get(target.id) else {
                continue;
            };
            let call = peer.node.bucket_sums(&peer.name, policy, partition);
            match peer.in_time(send::PATIENCE, call).await {
                Ok(theirs) => {
                    // A bucket that is empty here has nothing to push.
                    let differing = ours.iter().filter(|sum| !theirs.contains(sum));
                    differing.for_each(|(bucket, _)| buckets.insert(*bucket));
                }
                Err(error) => self.fail(target.id, &error),
            }
        }
        Ok(buckets)
    }

    fn request(&self, buckets: Buckets) -> NamesRequest {
        NamesRequest {
            policy: self.one.policy,
            partition: self.job.partition,
            buckets,
            after: None,
            limit: NAMES,
        }
    }

    fn begin(&mut self, buckets: Buckets) {
        for target in &self.job.targets {
            let Some(peer) = self.peers.get(target.id) else {
                self.all = false;
                self.done.complete = false;
                continue;
            };
            self.sources.push(Source {
                target,
                names: Names::new(peer.clone(), self.request(buckets)),
                peer,
                tally: Tally::default(),
                lacked: false,
            });
        }
    }

    /// Takes note of a call that failed.
    fn fail(&mut self, id: DeviceId, error: &NodeError) {
        self.done.complete = false;
        if !self.peers.failed(id, error) {
            self.done.error.get_or_insert(error.to_string());
        }
    }

    /// Does what some names need.
    async fn page(&mut self, names: Vec<NameState>) -> Result<(), NodeError> {
        let mut plans = Vec::new();
        for state in names {
            if let Some(plan) = self.plan(state).await {
                plans.push(plan);
            }
        }
        let this = &*self;
        let outcomes: Vec<Outcome> = stream::iter(plans)
            .map(|plan| this.carry_out(plan))
            .buffer_unordered(PUSHES)
            .collect()
            .await;
        let mut forget = Vec::new();
        for outcome in outcomes {
            for (source, bytes) in &outcome.pushed {
                let tally = &mut self.sources[*source].tally;
                tally.names += 1;
                tally.bytes += bytes;
                tally.partitions = 1;
            }
            self.done.names += outcome.pushed.len() as u64 + u64::from(outcome.aside);
            self.done.complete &= outcome.done;
            self.done.error = self.done.error.take().or(outcome.error);
            if outcome.forget {
                forget.push(outcome.state);
            }
        }
        if self.job.foreign && !self.job.keep && !forget.is_empty() {
            let (policy, partition) = (self.one.policy, self.job.partition);
            self.done.names += self.one.device.objects.forget(policy, partition, forget).await?;
        }
        self.drop_failed();
        Ok(())
    }

    /// Lets go of targets that are out.
    fn drop_failed(&mut self) {
        let before = self.sources.len();
        let (peers, one) = (self.peers, self.one);
        self.sources.retain(|source| {
            let well = peers.get(source.target.id).is_some();
            if !well {
                report(one, source);
            }
            well
        });
        if self.sources.len() < before {
            self.all = false;
            self.done.complete = false;
        }
    }

    /// What is to be done about a name; `None` if nothing.
    async fn plan(&mut self, state: NameState) -> Option<Plan> {
        let foreign = self.job.foreign;
        if !foreign && state.version() > self.rules.settled {
            self.sources.iter_mut().for_each(|source| source.lacked = true);
            return None;
        }
        let (mut pushes, absent, answers) = self.compare(&state).await;
        let all = self.all && answers == self.sources.len();
        // Whether some primary has the name, so that it is not lost without us.
        let somewhere = self.job.same > 0 || pushes.len() < answers;
        for (number, _) in &pushes {
            self.sources[*number].lacked = true;
        }
        if !pushes.is_empty() && absent && self.rules.is_suspicious(&state) {
            // If another primary has it, that one is to say whether it lives.
            let aside = all && !somewhere && !self.job.keep;
            self.done.complete &= aside || (somewhere && !foreign);
            return aside.then(|| Plan {
                state,
                pushes: Vec::new(),
                covered: false,
                aside,
            });
        }
        let lacking = pushes.len();
        if foreign && somewhere {
            pushes.retain(|(number, _)| !self.sources[*number].target.patient);
        }
        let covered = all && pushes.len() == lacking;
        self.done.complete &= covered;
        let nothing = pushes.is_empty() && !(foreign && covered);
        (!nothing).then_some(Plan {
            state,
            pushes,
            covered,
            aside: false,
        })
    }

    /// Who lacks what of a name, whether any of them knows nothing of it, and how
    /// many answered.
    async fn compare(&mut self, state: &NameState) -> (Vec<(usize, Lack)>, bool, usize) {
        let mut pushes = Vec::new();
        let (mut absent, mut answers) = (false, 0);
        for number in 0..self.sources.len() {
            let source = &mut self.sources[number];
            let id = source.target.id;
            match source.names.of(state.hash).await {
                Ok(theirs) => {
                    answers += 1;
                    let lack = self.rules.lack(state, theirs.as_ref());
                    if !lack.is_nothing() {
                        absent |= theirs.is_none();
                        pushes.push((number, lack));
                    }
                }
                Err(error) => {
                    self.fail(id, &error);
                    // Names are walked in order: there is no going on in the middle.
                    self.peers.give_up_on(id, &error);
                }
            }
        }
        (pushes, absent, answers)
    }

    fn at(&self, device: &std::sync::Arc<str>, hash: NameHash) -> At {
        At {
            device: device.clone(),
            policy: self.one.policy,
            partition: self.job.partition,
            hash,
            ring: self.peers.ring_id().epoch(),
        }
    }

    async fn carry_out(&self, plan: Plan) -> Outcome {
        let mut outcome = Outcome {
            state: plan.state,
            pushed: Vec::new(),
            done: true,
            forget: false,
            aside: false,
            error: None,
        };
        if plan.aside {
            let at = self.at(&self.one.device.name, plan.state.hash);
            match self.one.device.objects.set_stale_aside(&at, &plan.state).await {
                Ok(aside) => outcome.aside = aside,
                Err(error) => {
                    outcome.done = false;
                    outcome.error = Some(error.to_string());
                }
            }
            return outcome;
        }
        for (number, lack) in plan.pushes {
            let source = &self.sources[number];
            if self.peers.get(source.target.id).is_none() {
                outcome.done = false;
                continue;
            }
            let at = self.at(&source.peer.name, plan.state.hash);
            match send::name(self.one, &source.peer, &at, &plan.state, lack).await {
                Ok(Some(bytes)) => outcome.pushed.push((number, bytes)),
                // It is another by now, newer than this round; a newer name that
                // does not belong here is for the next one.
                Ok(None) => {
                    outcome.done &= !self.job.foreign;
                    break;
                }
                Err(SendError::Here(error)) => {
                    outcome.done = false;
                    outcome.error = Some(error.to_string());
                }
                Err(SendError::There(error)) => {
                    outcome.done = false;
                    if !self.peers.failed(source.target.id, &error) {
                        outcome.error = Some(format!("{}: {error}", source.peer.name));
                    }
                }
            }
        }
        outcome.forget = outcome.done && plan.covered;
        outcome
    }

    fn end(self) -> Done {
        for source in &self.sources {
            report(self.one, source);
            if !source.lacked && !self.job.foreign {
                let pair = pair(self.one, self.job.partition, source.target.id);
                self.one.duty.memory.nothing(pair, source.target.difference);
            }
        }
        self.done
    }
}

/// Counts what was pushed to a target.
fn report(one: &OneRing<'_>, source: &Source<'_>) {
    if source.tally.names > 0 {
        let ring = RingName::Object(one.policy);
        let movements = one.duty.all.node.movements();
        movements.pushed(&one.device.name, ring, &source.peer.device, &source.tally);
    }
}
