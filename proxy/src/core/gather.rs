//! Reading containers and accounts: a quorum of replicas is asked, and all of
//! them when they disagree.
//!
//! Only members are asked. A quorum of them has every acknowledged write; a
//! device that stands in may have heard of nothing, and its silence must not
//! count as news.
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};
use virga_object_wire::error::NodeError;
use virga_object_wire::node::ObjectNode;
use virga_object_wire::object::At;

use super::error::Unavailable;
use super::fanout::why_unavailable;
use super::peer::Peer;
use super::place::{Place, node_of};
use super::quorum::Members;
use super::renew::remember;
use super::shared::Shared;

/// A question to one node; the number says how many were asked before it.
pub(super) type Ask<T> =
    Box<dyn Fn(usize, Arc<dyn ObjectNode>, At) -> BoxFuture<'static, Result<T, NodeError>> + Send + Sync>;

/// What a member said.
pub(super) struct Heard<T> {
    /// Its number in the place.
    pub(super) member: usize,
    /// It.
    pub(super) peer: Arc<Peer>,
    /// What it said.
    pub(super) said: T,
}

/// Who said something.
pub(super) fn members_of<T>(heard: &[Heard<T>]) -> Members {
    heard
        .iter()
        .fold(Members::NONE, |all, heard| all | Members::one(heard.member))
}

type Pending<T> = FuturesUnordered<BoxFuture<'static, (usize, Result<T, NodeError>)>>;

struct Gathering<'a, T> {
    shared: &'a Arc<Shared>,
    place: &'a Place,
    ask: Ask<T>,
    asked: usize,
    /// Members not asked yet, best first.
    order: std::vec::IntoIter<usize>,
    pending: Pending<T>,
    /// Members that may still answer soon.
    out: Members,
    heard: Vec<Heard<T>>,
    last: Option<NodeError>,
}

impl<'a, T: Send + 'static> Gathering<'a, T> {
    fn new(shared: &'a Arc<Shared>, place: &'a Place, ask: Ask<T>) -> Self {
        Self {
            shared,
            place,
            ask,
            asked: 0,
            order: place.read_order(Instant::now()).into_iter(),
            pending: FuturesUnordered::new(),
            out: Members::NONE,
            heard: Vec::new(),
            last: None,
        }
    }

    async fn run(&mut self, scope: Scope, agree: impl Fn(&[Heard<T>]) -> bool) -> Result<(), Unavailable> {
        let (started, place) = (Instant::now(), self.place);
        let quorums = place.quorums();
        let everybody = |heard: Members| heard.covers(place.everybody());
        let settings = &self.shared.settings;
        let (stall, longest) = (settings.stall, settings.node_timeout);
        if scope == Scope::All {
            self.top_up(&everybody);
        }
        self.until(|heard| quorums.read(heard), started, longest).await;
        let heard = members_of(&self.heard);
        if !quorums.read(heard) {
            let ((reached, needed), last) = (quorums.read_shortfall(heard), self.last.as_ref());
            return Err(why_unavailable(reached, needed, 0, last));
        }
        // A quorum is enough to be exact about what was acknowledged; counts, and
        // what was not acknowledged, are better known to all.
        if scope == Scope::All || !agree(&self.heard) {
            self.until(everybody, Instant::now(), stall).await;
        }
        self.confirm(started, longest).await
    }

    fn launch(&mut self, member: usize) {
        let Some(peer) = self.place.members().get(member) else {
            return;
        };
        let node = node_of(&*self.shared.nodes, peer);
        let work = (self.ask)(self.asked, node, self.place.at(peer));
        let under_way = peer.begin();
        self.asked += 1;
        self.out |= Members::one(member);
        self.pending.push(Box::pin(async move {
            let result = work.await;
            drop(under_way);
            (member, result)
        }));
    }

    /// Asks members until those that answered and those that may are `enough`,
    /// or none is left to ask.
    fn top_up(&mut self, enough: &impl Fn(Members) -> bool) {
        while !enough(members_of(&self.heard) | self.out) {
            match self.order.next() {
                Some(member) => self.launch(member),
                None => return,
            }
        }
    }

    fn hear(&mut self, member: usize, result: Result<T, NodeError>) {
        self.out = self.out.without(Members::one(member));
        let Some(peer) = self.place.members().get(member) else {
            return;
        };
        peer.note(&result, Instant::now());
        match result {
            Ok(said) => {
                // The later answer of one asked again is the better one.
                self.heard.retain(|heard| heard.member != member);
                let peer = Arc::clone(peer);
                self.heard.push(Heard { member, peer, said });
            }
            Err(error) => remember(&mut self.last, error),
        }
    }

    /// Waits until the members that answered are `enough`, nobody is left to
    /// ask, or `longest` is over.
    async fn until(&mut self, enough: impl Fn(Members) -> bool, started: Instant, longest: Duration) {
        let settings = &self.shared.settings;
        let hedge = self.shared.hedge.delay().min(settings.stall);
        let waits = [hedge, settings.stall, longest.max(settings.stall)];
        let mut stage = 0;
        self.top_up(&enough);
        while !enough(members_of(&self.heard)) && !self.pending.is_empty() {
            tokio::select! {
                biased;
                Some((member, result)) = self.pending.next() => {
                    self.hear(member, result);
                    self.top_up(&enough);
                }
                () = sleep_until(started + waits[stage]) => {
                    match stage {
                        0 if self.shared.hedge.may() => {
                            if let Some(member) = self.order.next() {
                                self.launch(member);
                            }
                        }
                        1 => self.give_up_silent(),
                        2 => return,
                        _ => {}
                    }
                    stage += 1;
                    self.top_up(&enough);
                }
            }
        }
    }

    /// Takes those that are out as dead, though they may still answer.
    fn give_up_silent(&mut self) {
        let silent = std::mem::take(&mut self.out);
        let members = self.place.members().iter().enumerate();
        for (_, peer) in members.filter(|(member, _)| silent.has(*member)) {
            peer.silent(Instant::now());
        }
    }

    /// Asks one of the targets again when a member that leaves has answered:
    /// that one may have brought everything along and forgotten it after the
    /// targets were asked. What it brought is on every target by then.
    async fn confirm(&mut self, started: Instant, longest: Duration) -> Result<(), Unavailable> {
        let place = self.place;
        if !self.heard.iter().any(|heard| place.is_leaving(heard.member)) {
            return Ok(());
        }
        let targets: Vec<usize> = self.heard.iter().map(|heard| heard.member).collect();
        for member in targets.into_iter().filter(|member| !place.is_leaving(*member)) {
            self.launch(member);
            let again = async {
                while let Some((said, result)) = self.pending.next().await {
                    let good = result.is_ok();
                    self.hear(said, result);
                    if said == member {
                        return good;
                    }
                }
                false
            };
            if tokio::time::timeout_at(started + longest, again).await == Ok(true) {
                return Ok(());
            }
        }
        let (reached, needed) = place.quorums().read_shortfall(members_of(&self.heard));
        let reached = reached.min(needed.saturating_sub(1));
        Err(why_unavailable(reached, needed, 0, self.last.as_ref()))
    }
}

/// Which replicas must say something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// A read quorum; when it disagrees, the others too if they answer soon.
    Quorum,
    /// All that answer soon after the first read quorum.
    All,
}

/// Asks replicas for what they know. Replicas that know nothing say so as any
/// other, so that the caller can merge all answers; there is at least a read
/// quorum of them. If nodes have given the ring up, `place` becomes that by the
/// newer one, and its members are asked.
pub(super) async fn gather<T: Send + 'static>(
    shared: &Arc<Shared>,
    place: &mut Place,
    scope: Scope,
    mut ask: Ask<T>,
    agree: impl Fn(&[Heard<T>]) -> bool,
) -> Result<Vec<Heard<T>>, Unavailable> {
    let mut renewed = false;
    loop {
        let mut gathering = Gathering::new(shared, place, ask);
        let result = gathering.run(scope, &agree).await;
        let last = gathering.last.take();
        if renewed || result.is_ok() {
            shared.renew_later(place, last.as_ref());
            return result.map(|()| gathering.heard);
        }
        ask = gathering.ask;
        match shared.renewed(place, last.as_ref()).await {
            Some(now) => *place = now,
            None => return result.map(|()| Vec::new()),
        }
        renewed = true;
    }
}
