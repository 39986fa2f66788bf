//! GET and HEAD of an object: bytes from one replica, versions from a read
//! quorum, the newer one wins. What is shown is on a write quorum, or is brought
//! to one before ([`super::write_back`]).
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until, timeout_at};
use virga_object_wire::error::NodeError;
use virga_object_wire::node::{ObjectNode, ObjectRead, Read, Span};
use virga_object_wire::object::{At, Found, ObjectStat};

use super::error::{ReadObjectError, Unavailable};
use super::fanout::why_unavailable;
use super::found::{DataId, StateId, data_of, merge, state_of, state_of_object};
use super::health::Outstanding;
use super::names::ObjectName;
use super::peer::Peer;
use super::place::{Place, node_of};
use super::quorum::Members;
use super::renew::remember;
use super::shared::Shared;

/// What a replica said.
enum Said {
    Head(Result<Found, NodeError>),
    Data(Result<Read, NodeError>),
}

/// Whom a question went to.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) peer: Arc<Peer>,
    /// The member it is, or stands in for.
    pub(super) member: usize,
    pub(super) stands_in: bool,
}

type Pending = FuturesUnordered<BoxFuture<'static, (Asked, Said)>>;

/// How long a read has been waiting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Not long.
    Fresh,
    /// Longer than usual: a second replica may have been asked.
    Hedged,
    /// So long that the silent ones are taken as dead.
    Replaced,
}

/// What one device said last.
pub(super) struct Statement {
    pub(super) peer: Arc<Peer>,
    /// Its number; [`Members::MOST`] for one that stands in.
    pub(super) member: usize,
    pub(super) state: StateId,
}

/// What a node knows of a name, where an object counts that has expired.
async fn head_expired_too(node: &dyn ObjectNode, at: &At) -> Result<Found, NodeError> {
    let nothing = Span { start: 0, end: 0 };
    Ok(match node.get_expired_too(at, Some(nothing)).await? {
        Read::Object(read) => Found::Object(read.stat),
        Read::Gone(Some(version)) => Found::Deleted(version),
        Read::Gone(None) => Found::Absent,
    })
}

/// A read under way.
pub(super) struct Reading<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) name: &'a ObjectName,
    pub(super) place: &'a Place,
    span: Option<Span>,
    /// Whether an object counts that has expired.
    expired_too: bool,
    started: Instant,
    patience: Patience,
    pending: Pending,
    waiting: Vec<Arc<Peer>>,
    /// Members not asked yet, best first.
    pub(super) order: std::vec::IntoIter<usize>,
    /// Who may stand in for members that failed, once that is needed.
    handoffs: Option<std::vec::IntoIter<Arc<Peer>>>,
    /// Members that failed and are not stood in for yet.
    failed: Vec<usize>,
    /// Members that may still answer soon.
    out: Members,
    /// Members that answered, or were stood in for by one that did.
    heard: Members,
    /// Members that answered themselves.
    pub(super) direct: Members,
    /// Those of them whose answer counts where nothing is found: see
    /// [`Quorums::denies`](super::quorum::Quorums::denies).
    vouched: Members,
    /// Members that know nothing of the name. One that leaves the ring, even a
    /// ring that this proxy has not heard of, may have brought it to the others
    /// and forgotten it after they were asked.
    absent: Members,
    /// Members that know something of it.
    known: Members,
    /// What each device that answered knows.
    pub(super) said: Vec<Statement>,
    pub(super) best: Found,
    /// Who has which data.
    holders: Vec<(Arc<Peer>, DataId)>,
    reads: Vec<(Arc<Peer>, DataId, ObjectRead)>,
    /// Reads under way.
    data_out: usize,
    /// The failure that said most.
    pub(super) last: Option<NodeError>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        name: &'a ObjectName,
        place: &'a Place,
        span: Option<Span>,
        expired_too: bool,
    ) -> Self {
        let started = Instant::now();
        Self {
            shared,
            name,
            place,
            span,
            expired_too,
            started,
            patience: Patience::Fresh,
            pending: FuturesUnordered::new(),
            waiting: Vec::with_capacity(place.targets()),
            order: place.read_order(started).into_iter(),
            handoffs: None,
            failed: Vec::new(),
            out: Members::NONE,
            heard: Members::NONE,
            direct: Members::NONE,
            vouched: Members::NONE,
            absent: Members::NONE,
            known: Members::NONE,
            said: Vec::with_capacity(place.targets()),
            best: Found::Absent,
            holders: Vec::new(),
            reads: Vec::new(),
            data_out: 0,
            last: None,
        }
    }

    fn begin(&mut self, asked: &Asked) -> (Arc<dyn ObjectNode>, Outstanding) {
        self.out |= Members::one(asked.member);
        self.waiting.push(Arc::clone(&asked.peer));
        (node_of(&*self.shared.nodes, &asked.peer), asked.peer.begin())
    }

    pub(super) fn ask_head(&mut self, asked: Asked) {
        let (node, under_way) = self.begin(&asked);
        let (at, expired_too) = (self.place.at(&asked.peer), self.expired_too);
        self.pending.push(Box::pin(async move {
            let said = match expired_too {
                true => head_expired_too(&*node, &at).await,
                false => node.head(&at).await,
            };
            drop(under_way);
            (asked, Said::Head(said))
        }));
    }

    pub(super) fn ask_data(&mut self, asked: Asked) {
        self.data_out += 1;
        let (node, under_way) = self.begin(&asked);
        let (at, span, expired_too) = (self.place.at(&asked.peer), self.span, self.expired_too);
        self.pending.push(Box::pin(async move {
            let said = match expired_too {
                true => node.get_expired_too(&at, span).await,
                false => node.get(&at, span).await,
            };
            drop(under_way);
            (asked, Said::Data(said))
        }));
    }

    /// The next replica to ask: members, then a handoff for each failed one.
    pub(super) fn next_candidate(&mut self) -> Option<Asked> {
        let place = self.place;
        if let Some(member) = self.order.next() {
            let peer = Arc::clone(place.members().get(member)?);
            return Some(Asked {
                peer,
                member,
                stands_in: false,
            });
        }
        let member = *self.failed.last()?;
        let handoffs = self.handoffs.get_or_insert_with(|| place.handoffs().into_iter());
        let peer = handoffs.next()?;
        self.failed.pop();
        Some(Asked {
            peer,
            member,
            stands_in: true,
        })
    }

    fn hear(&mut self, asked: Asked, said: Said) {
        let now = Instant::now();
        let Asked { peer, member, .. } = &asked;
        if let Some(at) = self.waiting.iter().position(|other| Arc::ptr_eq(other, peer)) {
            self.waiting.swap_remove(at);
        }
        self.out = self.out.without(Members::one(*member));
        let found = match said {
            Said::Head(result) => {
                peer.note(&result, now);
                if let Ok(Found::Object(stat)) = &result {
                    self.holders.push((Arc::clone(peer), data_of(stat)));
                }
                result
            }
            Said::Data(result) => {
                peer.note(&result, now);
                self.data_out -= 1;
                match result {
                    Ok(Read::Object(read)) => {
                        let stat = read.stat.clone();
                        self.reads.push((Arc::clone(peer), data_of(&stat), read));
                        Ok(Found::Object(stat))
                    }
                    Ok(Read::Gone(None)) => Ok(Found::Absent),
                    Ok(Read::Gone(Some(version))) => Ok(Found::Deleted(version)),
                    Err(error) => {
                        // What this replica said of the version stands, but
                        // its bytes cannot be had.
                        self.holders.retain(|(holder, _)| !Arc::ptr_eq(holder, peer));
                        Err(error)
                    }
                }
            }
        };
        match found {
            Ok(found) => {
                let one = Members::one(asked.member);
                self.heard |= one;
                if !asked.stands_in || found != Found::Absent {
                    self.vouched |= one;
                }
                let mut member = Members::MOST;
                if !asked.stands_in {
                    self.direct |= one;
                    match found {
                        Found::Absent => self.absent |= one,
                        _ => self.known |= one,
                    }
                    member = asked.member;
                }
                self.said.retain(|before| !Arc::ptr_eq(&before.peer, &asked.peer));
                self.said.push(Statement {
                    peer: asked.peer,
                    member,
                    state: state_of(&found),
                });
                let best = std::mem::replace(&mut self.best, Found::Absent);
                self.best = merge(best, found);
            }
            Err(error) => {
                self.failed.push(asked.member);
                remember(&mut self.last, error);
            }
        }
    }

    pub(super) fn unavailable(&self) -> Unavailable {
        self.shortfall(self.heard)
    }

    /// Why these are not enough.
    fn shortfall(&self, heard: Members) -> Unavailable {
        let (reached, needed) = self.place.quorums().read_shortfall(heard);
        // There may be a quorum, but nobody who can send the bytes.
        why_unavailable(
            reached.min(needed.saturating_sub(1)),
            needed,
            0,
            self.last.as_ref(),
        )
    }

    /// Whether somebody may answer yet.
    pub(super) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Waits for the next answer, and asks elsewhere when none comes. `false`
    /// when time is up.
    pub(super) async fn step(&mut self) -> bool {
        let settings = &self.shared.settings;
        let until = match self.patience {
            Patience::Fresh => self.shared.hedge.delay().min(settings.stall),
            Patience::Hedged => settings.stall,
            Patience::Replaced => settings.node_timeout,
        };
        tokio::select! {
            biased;
            Some((asked, said)) = self.pending.next() => self.hear(asked, said),
            () = sleep_until(self.started + until) => match self.patience {
                Patience::Fresh => {
                    self.patience = Patience::Hedged;
                    if self.shared.hedge.may() {
                        self.ask_elsewhere();
                    }
                }
                Patience::Hedged => {
                    self.patience = Patience::Replaced;
                    let now = Instant::now();
                    self.waiting.iter().for_each(|peer| peer.silent(now));
                    let silent = std::mem::take(&mut self.out);
                    let members = 0..self.place.members().len();
                    self.failed.extend(members.filter(|member| silent.has(*member)));
                    for _ in 0..self.waiting.len() {
                        self.ask_elsewhere();
                    }
                }
                Patience::Replaced => return false,
            },
        }
        true
    }

    /// Asks one more replica for what is still out: the bytes, and a version
    /// if those that have answered are no quorum.
    fn ask_elsewhere(&mut self) {
        let mut wants_data = self.data_out > 0 && self.reads.is_empty();
        if wants_data && let Some((peer, _)) = self.holders.pop() {
            let holder = self.again(peer);
            self.ask_data(holder);
            wants_data = false;
            if self.place.quorums().read(self.heard) {
                return;
            }
        }
        match self.next_candidate() {
            Some(asked) if wants_data => self.ask_data(asked),
            Some(asked) => self.ask_head(asked),
            None => {}
        }
    }

    /// A replica that has answered already.
    fn again(&self, peer: Arc<Peer>) -> Asked {
        let mut members = self.place.members().iter();
        let member = members.position(|member| Arc::ptr_eq(member, &peer));
        Asked {
            peer,
            // One that stands in counts by what it has said.
            member: member.unwrap_or(Members::MOST),
            stands_in: member.is_none(),
        }
    }

    /// Asks until `enough` members have answered.
    async fn quorum(&mut self, enough: impl Fn(Members) -> bool) -> Result<(), Unavailable> {
        while !enough(self.heard) {
            if !enough(self.heard | self.out) {
                match self.next_candidate() {
                    Some(asked) => {
                        self.ask_head(asked);
                        continue;
                    }
                    None if self.pending.is_empty() => return Err(self.unavailable()),
                    None => {}
                }
            }
            if !self.step().await {
                return Err(self.unavailable());
            }
        }
        Ok(())
    }

    /// After a quorum that found nothing: asks the members that are left, and
    /// a handoff for each that failed, as one of them may hold what a quorum
    /// of others has not heard of. Nobody who is known to be away, and not for
    /// long: nothing that was acknowledged depends on it.
    async fn ask_all(&mut self) {
        let now = Instant::now();
        let limit = now + self.shared.settings.stall;
        loop {
            while let Some(asked) = self.next_candidate() {
                if asked.peer.is_resting(now) {
                    self.failed.push(asked.member);
                } else {
                    self.ask_head(asked);
                }
            }
            if self.pending.is_empty() || self.best != Found::Absent {
                return;
            }
            match timeout_at(limit, self.step()).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => {
                    let now = Instant::now();
                    self.waiting.iter().for_each(|peer| peer.silent(now));
                    return;
                }
            }
        }
    }

    /// Hears members once more after one has said that it knows nothing: what
    /// that one has forgotten is on all others that the ring still names.
    async fn confirm(&mut self) -> Result<(), Unavailable> {
        let place = self.place;
        let members = || place.members().iter().enumerate();
        let known = self.known;
        let mut again: Vec<_> = members().filter(|(member, _)| known.has(*member)).collect();
        if again.is_empty() {
            // All know nothing: news only if one of them is known to leave.
            if !members().any(|(member, _)| place.is_leaving(member) && self.absent.has(member)) {
                return Ok(());
            }
            let heard = self.heard;
            again.extend(
                members()
                    .take(place.targets())
                    .find(|(member, _)| heard.has(*member)),
            );
        }
        for (member, peer) in again {
            self.heard = self.heard.without(Members::one(member));
            self.vouched = self.vouched.without(Members::one(member));
            self.ask_head(Asked {
                peer: Arc::clone(peer),
                member,
                stands_in: false,
            });
        }
        self.quorum(|heard| place.quorums().read(heard)).await
    }

    /// When nothing was found and devices that stand in made up the quorum:
    /// waits for members that were taken as dead and may answer yet, as only
    /// they can say that there is nothing.
    async fn hear_members(&mut self) {
        let quorums = self.place.quorums();
        while !matches!(self.best, Found::Object(_))
            && !quorums.denies(self.vouched)
            && !self.pending.is_empty()
        {
            if !self.step().await {
                return;
            }
        }
    }

    /// The head that a read quorum agrees on; `newest` tries to hear all, and
    /// takes a quorum of members for one only, without any that stand in: these may
    /// not have heard of what members have acknowledged. That there is nothing is said only if these members may (see
    /// [`Quorums::denies`](super::quorum::Quorums::denies)); what was found is
    /// served whoever the others were that answered.
    pub(super) async fn head(&mut self, newest: bool) -> Result<ObjectStat, ReadObjectError> {
        let place = self.place;
        let quorums = place.quorums();
        if newest {
            // As many as can be had; whether they are enough is seen below.
            let _ = self.quorum(|heard| heard.covers(place.everybody())).await;
        }
        if !quorums.read(self.heard) {
            self.quorum(|heard| quorums.read(heard)).await?;
        }
        if self.is_open() {
            self.hear_others().await;
        }
        self.hear_members().await;
        if !self.absent.is_empty() {
            self.confirm().await?;
            // Those asked again may make up a quorum with one that stands in, before
            // all of them have answered.
            self.hear_members().await;
        }
        if newest && !quorums.read(self.direct) {
            return Err(self.shortfall(self.direct).into());
        }
        if self.best == Found::Absent {
            self.ask_all().await;
        }
        self.write_back().await;
        let now = self.shared.hlc.clock().now().as_secs();
        let lasts = |at: Option<u64>| self.expired_too || at.is_none_or(|at| at > now);
        let deleted = match std::mem::replace(&mut self.best, Found::Absent) {
            Found::Object(stat) if lasts(stat.meta.delete_at) => return Ok(stat),
            Found::Object(stat) => Some(stat.version),
            Found::Deleted(version) => Some(version),
            Found::Absent => None,
        };
        if !quorums.denies(self.vouched) {
            return Err(self.unavailable().into());
        }
        Err(ReadObjectError::NotFound { deleted })
    }

    /// The bytes that `stat` names, or newer ones, from whoever has them; with
    /// the head that goes with them. `None` when nobody has them any more:
    /// they were replaced, or moved, after their heads were heard.
    pub(super) async fn data(
        &mut self,
        stat: ObjectStat,
    ) -> Result<Option<(ObjectStat, Arc<Peer>, ObjectRead)>, Unavailable> {
        let (data, known) = (data_of(&stat), state_of_object(&stat));
        loop {
            let good = self.reads.iter().position(|(_, has, _)| *has >= data);
            if let Some((peer, _, read)) = good.map(|at| self.reads.swap_remove(at)) {
                self.best = merge(Found::Object(stat), Found::Object(read.stat.clone()));
                if state_of(&self.best) != known {
                    // It came after the quorum, and knows what none of that did.
                    self.hear_others().await;
                    self.write_back().await;
                }
                return Ok(match std::mem::replace(&mut self.best, Found::Absent) {
                    Found::Object(stat) if data_of(&stat) == data_of(&read.stat) => Some((stat, peer, read)),
                    _ => None,
                });
            }
            if self.data_out == 0 {
                let holder = self.holders.iter().position(|(_, has)| *has == data);
                let holder = holder.map(|at| self.holders.swap_remove(at).0);
                let holder = holder.map(|peer| self.again(peer));
                match holder.or_else(|| self.next_candidate()) {
                    Some(asked) => self.ask_data(asked),
                    None if !self.pending.is_empty() => {}
                    None if self.last.is_none() => return Ok(None),
                    None => return Err(self.unavailable()),
                }
            }
            if !self.step().await {
                return Err(self.unavailable());
            }
        }
    }
}
