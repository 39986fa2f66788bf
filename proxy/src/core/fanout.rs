//! One write to all replicas of a name: sent side by side, answered when a
//! quorum has it, finished in the background.
//!
//! A target that is dead, full or silent is stood in for by the ring's next
//! handoff. Handoffs count only once no member is outstanding: what a quorum
//! of members has, any read quorum of members sees. Members that only earlier
//! rings name are sent the write when there is no quorum without them.
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until, timeout_at};
use virga_node::clock::Version;
use virga_object_wire::error::NodeError;
use virga_object_wire::node::ObjectNode;
use virga_object_wire::object::At;

use super::error::Unavailable;
use super::peer::Peer;
use super::place::{Place, node_of};
use super::quorum::Members;
use super::renew::remember;
use super::shared::Shared;

/// A write as one node is asked for it: the node, the place there, and the
/// number of the primary that the device stands in for.
pub(super) type Call<T> = Box<
    dyn Fn(Arc<dyn ObjectNode>, At, Option<u32>) -> BoxFuture<'static, Result<T, NodeError>> + Send + Sync,
>;

/// What one replica answered.
struct Answer<T> {
    peer: Arc<Peer>,
    /// The member asked, or stood in for.
    member: usize,
    stands_in: bool,
    result: Result<T, NodeError>,
}

/// Replicas asked that have not answered yet. Dropping it lets them finish in
/// the background: a write that was started is not torn out of a node's hands
/// because its client went away.
pub(super) struct Rest<T: Send + 'static> {
    shared: Arc<Shared>,
    pending: FuturesUnordered<BoxFuture<'static, Answer<T>>>,
    waiting: Vec<Arc<Peer>>,
    started: Instant,
}

impl<T: Send + 'static> Rest<T> {
    /// Lets the replicas finish in the background; `done` hears of each that
    /// stored the write.
    pub(super) fn finish(mut self, done: impl Fn(&Arc<Peer>) + Send + 'static) {
        self.hand_over(done);
    }

    /// Waits for the next replica: it, if it stored the write, and `None` in
    /// its place if not. `None` when no replica is out. For callers that wait
    /// for something else meanwhile; may be dropped at any time.
    pub(super) async fn hear(&mut self) -> Option<Option<Arc<Peer>>> {
        let answer = self.pending.next().await?;
        answer.peer.note(&answer.result, Instant::now());
        self.waiting.retain(|peer| !Arc::ptr_eq(peer, &answer.peer));
        Some(answer.result.is_ok().then_some(answer.peer))
    }

    /// Hears the replicas that are out, for `grace` at most; what they say of a write
    /// that they did is added to `tally`.
    pub(super) async fn hear_out(&mut self, grace: Duration, tally: &mut Tally<T>) {
        let until = Instant::now() + grace;
        while let Ok(Some(answer)) = timeout_at(until, self.pending.next()).await {
            answer.peer.note(&answer.result, Instant::now());
            self.waiting.retain(|peer| !Arc::ptr_eq(peer, &answer.peer));
            if let Ok(said) = answer.result {
                tally.oks.push((answer.peer, said));
                tally.by.push(answer.member);
            }
        }
    }

    /// Waits for the replicas in the calling task, which nobody may wait for:
    /// as [`Rest::finish`], without a task for it.
    pub(super) async fn finish_here(mut self) {
        if let Some(finishing) = self.leave(|_| {}) {
            finishing.await;
        }
    }

    fn hand_over(&mut self, done: impl Fn(&Arc<Peer>) + Send + 'static) {
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        if let Some(finishing) = self.leave(done) {
            self.shared.tasks.spawn(finishing);
        }
    }

    /// What is left to do, if there is anything and room for it.
    fn leave<F>(&mut self, done: F) -> Option<impl Future<Output = ()> + Send + use<T, F>>
    where
        F: Fn(&Arc<Peer>) + Send + 'static,
    {
        let count = u32::try_from(self.pending.len()).unwrap_or(u32::MAX);
        if count == 0 {
            return None;
        }
        // With no permit left the stragglers are given up: reconciliation
        // brings those replicas what they missed.
        let permit = Arc::clone(&self.shared.background)
            .try_acquire_many_owned(count)
            .ok()?;
        let mut rest = Stragglers {
            pending: std::mem::take(&mut self.pending),
            waiting: std::mem::take(&mut self.waiting),
        };
        let (shared, started) = (Arc::clone(&self.shared), self.started);
        Some(async move {
            rest.finish(&shared, started, done).await;
            drop(permit);
        })
    }
}

impl<T: Send + 'static> Drop for Rest<T> {
    fn drop(&mut self) {
        self.hand_over(|_| {});
    }
}

struct Stragglers<T> {
    pending: FuturesUnordered<BoxFuture<'static, Answer<T>>>,
    waiting: Vec<Arc<Peer>>,
}

impl<T> Stragglers<T> {
    async fn finish(&mut self, shared: &Shared, started: Instant, done: impl Fn(&Arc<Peer>)) {
        let stalled = sleep_until(started + shared.settings.stall);
        tokio::pin!(stalled);
        let over = sleep_until(started + shared.settings.node_timeout);
        tokio::pin!(over);
        let mut told = false;
        loop {
            tokio::select! {
                biased;
                answer = self.pending.next() => {
                    let Some(answer) = answer else { return };
                    let now = Instant::now();
                    answer.peer.note(&answer.result, now);
                    self.waiting.retain(|peer| !Arc::ptr_eq(peer, &answer.peer));
                    if answer.result.is_ok() {
                        done(&answer.peer);
                    }
                }
                // A node this much slower than its peers is left alone for a
                // while, before it ties up the background.
                () = &mut stalled, if !told => {
                    told = true;
                    self.waiting.iter().for_each(|peer| peer.silent(Instant::now()));
                }
                () = &mut over => return,
            }
        }
    }
}

/// How a write went, as far as it was waited for.
pub(super) struct Tally<T> {
    /// Replicas that did it, with what they said.
    pub(super) oks: Vec<(Arc<Peer>, T)>,
    /// The members that each of them is, or stands in for.
    by: Vec<usize>,
    /// Members whose state did not allow it (`Newer`, `NotFound`, `NotEmpty`).
    refusals: Vec<(usize, NodeError)>,
    /// Members that did it, or were stood in for by one that did.
    pub(super) done: Members,
    /// Whether a quorum did it.
    pub(super) reached: bool,
    /// Whether a quorum did it without anybody standing in.
    pub(super) by_members: bool,
    shortfall: (usize, usize),
    full: usize,
    last: Option<NodeError>,
}

impl<T> Tally<T> {
    /// The largest version that stood in the way.
    pub(super) fn newer(&self) -> Option<Version> {
        let newer = self.refusals.iter().filter_map(|(_, error)| match error {
            NodeError::Newer(version) => Some(*version),
            _ => None,
        });
        newer.max()
    }

    /// Members that did it, or were stood in for by one that did, and said what
    /// `is` accepts.
    pub(super) fn done_saying(&self, is: impl Fn(&T) -> bool) -> Members {
        let oks = self.oks.iter().zip(&self.by).filter(|((_, said), _)| is(said));
        oks.fold(Members::NONE, |all, (_, member)| all | Members::one(*member))
    }

    /// Members that refused with what `is` accepts.
    pub(super) fn refused(&self, is: impl Fn(&NodeError) -> bool) -> Members {
        let refused = self.refusals.iter().filter(|(_, error)| is(error));
        refused.fold(Members::NONE, |all, (member, _)| all | Members::one(*member))
    }

    /// Whether those that lack the write all have a newer one, so that every
    /// reader sees that: as if this had been there for a moment.
    pub(super) fn is_overtaken(&self, place: &Place) -> bool {
        let newer = self.refused(|error| matches!(error, NodeError::Newer(_)));
        !newer.is_empty() && place.quorums().write(self.done | newer)
    }

    /// Whether any replica did it.
    pub(super) fn is_taken(&self) -> bool {
        !self.oks.is_empty()
    }

    /// Whether the write may be sent again under a newer version, as newer ones
    /// stand in its way. They may have been there before it began, so that it
    /// must come after them; but if a replica took it, readers may have seen it,
    /// and under another version it would happen a second time. So only where
    /// nobody took it (`taken`: now or in an earlier try), or where all this took
    /// no longer than a stall: writes that meet on their way must not fail for it.
    pub(super) fn may_be_stamped_anew(
        &self,
        place: &Place,
        taken: bool,
        stamped: Instant,
        shared: &Shared,
    ) -> bool {
        let quick = stamped.elapsed() < shared.settings.stall;
        self.is_overtaken(place) && (!taken || quick)
    }

    /// Why there was no quorum.
    pub(super) fn unavailable(&self) -> Unavailable {
        let (reached, needed) = self.shortfall;
        why_unavailable(reached, needed, self.full, self.last.as_ref())
    }
}

/// Puts failures into words: full devices, or too few answers.
pub(super) fn why_unavailable(
    reached: usize,
    needed: usize,
    full: usize,
    last: Option<&NodeError>,
) -> Unavailable {
    match last {
        Some(NodeError::Ahead(_) | NodeError::Invalid(_)) => {
            Unavailable::Refused(last.map(ToString::to_string).unwrap_or_default())
        }
        _ if full > 0 && reached + full >= needed => Unavailable::Full,
        _ => Unavailable::NoQuorum {
            reached,
            needed,
            why: last.map_or_else(|| "no answer in time".to_owned(), ToString::to_string),
        },
    }
}

/// A write under way.
struct Fanout<'a, T: Send + 'static> {
    place: &'a Place,
    call: Call<T>,
    handoffs: Option<std::vec::IntoIter<Arc<Peer>>>,
    rest: Rest<T>,
    /// The next of the members that only earlier rings name.
    next: usize,
    /// Members not answered and not given up.
    out: Members,
    /// Members with somebody who stands in for them on the way.
    standing: Members,
    /// Members that did it themselves.
    direct: Members,
    /// Whether members have had the time that a refusal waits for them.
    patient: bool,
    tally: Tally<T>,
}

impl<T: Send + 'static> Fanout<'_, T> {
    fn launch(&mut self, peer: &Arc<Peer>, member: usize, stands_in: bool) {
        let node = node_of(&*self.rest.shared.nodes, peer);
        let for_whom = match stands_in {
            true => self.place.stands_in_for(member),
            false => None,
        };
        let work = (self.call)(node, self.place.at(peer), for_whom);
        let (peer, under_way) = (Arc::clone(peer), peer.begin());
        self.rest.waiting.push(Arc::clone(&peer));
        self.rest.pending.push(Box::pin(async move {
            let result = work.await;
            drop(under_way);
            Answer {
                peer,
                member,
                stands_in,
                result,
            }
        }));
    }

    /// Sends the write to a member.
    fn ask(&mut self, member: usize) {
        let place = self.place;
        if let Some(peer) = place.members().get(member) {
            self.out |= Members::one(member);
            self.launch(peer, member, false);
        }
    }

    /// Sends the write to the next device that may stand in for `member`.
    fn stand_in(&mut self, member: usize) {
        let place = self.place;
        let handoffs = self.handoffs.get_or_insert_with(|| place.handoffs().into_iter());
        let now = Instant::now();
        if let Some(peer) = handoffs.find(|peer| peer.admit(now)) {
            self.standing |= Members::one(member);
            self.launch(&peer, member, true);
        }
    }

    /// Whether there will be a quorum if all that are out do it.
    fn hopeful(&self) -> bool {
        self.place
            .quorums()
            .write(self.tally.done | self.out | self.standing)
    }

    fn start(&mut self) {
        let (now, place) = (Instant::now(), self.place);
        let targets = place.members().iter().take(place.targets());
        let mut resting = Vec::new();
        for (member, peer) in targets.enumerate() {
            match peer.admit(now) {
                true => self.ask(member),
                false => resting.push(member),
            }
        }
        for member in &resting {
            self.stand_in(*member);
        }
        // Too few without them: better to try a resting one than to do with
        // stand-ins, which readers may not look for.
        for member in resting {
            if self.place.quorums().write(self.direct | self.out) {
                break;
            }
            self.ask(member);
        }
        self.reach_back();
    }

    /// Asks members that only earlier rings name, until there will be a quorum
    /// without anybody standing in, or none is left.
    fn reach_back(&mut self) {
        let place = self.place;
        while !place.quorums().write(self.direct | self.out) && self.next < place.members().len() {
            let member = self.next;
            self.next += 1;
            self.ask(member);
        }
    }

    fn take(&mut self, answer: Answer<T>) {
        let Answer {
            peer,
            member,
            stands_in,
            result,
        } = answer;
        peer.note(&result, Instant::now());
        self.rest.waiting.retain(|waiting| !Arc::ptr_eq(waiting, &peer));
        let one = Members::one(member);
        match stands_in {
            true => self.standing = self.standing.without(one),
            false => self.out = self.out.without(one),
        }
        match result {
            Ok(said) => {
                if !stands_in {
                    self.direct |= one;
                }
                self.tally.done |= one;
                self.tally.by.push(member);
                self.tally.oks.push((peer, said));
            }
            // One that stands in and does not know the name says nothing of the
            // member: that may well have it.
            Err(NodeError::NotFound) if stands_in => self.stand_in(member),
            Err(error @ (NodeError::Newer(_) | NodeError::NotFound | NodeError::NotEmpty)) => {
                self.tally.refusals.push((member, error));
                self.reach_back();
            }
            Err(error) => {
                self.tally.full += usize::from(error == NodeError::Full);
                let hopeless = matches!(error, NodeError::Ahead(_) | NodeError::Invalid(_));
                remember(&mut self.tally.last, error);
                if !hopeless {
                    self.reach_back();
                    // One that leaves the ring need not be stood in for.
                    if !self.place.is_leaving(member) || !self.hopeful() {
                        self.stand_in(member);
                    }
                }
            }
        }
    }

    /// Whether waiting on can change nothing.
    fn decided(&mut self) -> bool {
        let quorums = self.place.quorums();
        self.tally.by_members = quorums.write(self.direct);
        self.tally.reached = self.tally.by_members || (self.out.is_empty() && quorums.write(self.tally.done));
        self.tally.shortfall = quorums.write_shortfall(self.tally.done);
        let refused = self.tally.refused(|_| true);
        let hopeless = !quorums.write(self.place.everybody().without(refused));
        // A name that a quorum lacks may be on its way: who has got it does what is
        // asked and shows it, and "not found" would be untrue. So those who were
        // asked are heard first. All answer soon when all is well.
        let lacking = self.tally.refused(|error| *error == NodeError::NotFound);
        let all_heard = lacking.is_empty() || self.out.is_empty() || self.patient;
        // Whether those that refused make up for it is seen only when a
        // quorum of every set has said something.
        self.tally.reached
            || (hopeless && all_heard && quorums.write(self.tally.done | refused))
            || self.rest.pending.is_empty()
    }

    async fn run(&mut self) {
        self.start();
        let (stall, longest) = (
            self.rest.shared.settings.stall,
            self.rest.shared.settings.node_timeout,
        );
        let timer = sleep_until(self.rest.started + stall);
        tokio::pin!(timer);
        while !self.decided() {
            tokio::select! {
                biased;
                Some(answer) = self.rest.pending.next() => self.take(answer),
                () = &mut timer => {
                    if self.patient {
                        return self.give_up();
                    }
                    // Members much slower than one that has answered are
                    // taken as dead; when all are slow, all are waited for.
                    self.patient = true;
                    timer.as_mut().reset(self.rest.started + longest);
                    if !self.tally.oks.is_empty() {
                        self.replace_silent();
                    }
                }
            }
        }
    }

    fn replace_silent(&mut self) {
        let silent = std::mem::take(&mut self.out);
        for peer in &self.rest.waiting {
            peer.silent(Instant::now());
        }
        self.reach_back();
        for member in (0..self.place.members().len()).filter(|member| silent.has(*member)) {
            if !self.place.is_leaving(member) || !self.hopeful() {
                self.stand_in(member);
            }
        }
    }

    fn give_up(&mut self) {
        (self.out, self.standing) = (Members::NONE, Members::NONE);
        self.rest
            .waiting
            .iter()
            .for_each(|peer| peer.silent(Instant::now()));
        self.rest.pending = FuturesUnordered::new();
        self.rest.waiting.clear();
        self.decided();
    }
}

/// Sends a write to the replicas of `place` and waits until it is decided.
/// The replicas still under way come back as [`Rest`]. If nodes have given the
/// ring up, `place` becomes that by the newer one, and the write is sent again.
pub(super) async fn write<T: Send + 'static>(
    shared: &Arc<Shared>,
    place: &mut Place,
    call: Call<T>,
) -> (Tally<T>, Rest<T>) {
    let (tally, rest, call) = write_once(shared, place, call).await;
    if tally.by_members {
        shared.renew_later(place, tally.last.as_ref());
        return (tally, rest);
    }
    match shared.renewed(place, tally.last.as_ref()).await {
        Some(now) => {
            *place = now;
            let (tally, rest, _) = write_once(shared, place, call).await;
            (tally, rest)
        }
        None => (tally, rest),
    }
}

/// As [`write()`], by the ring that `place` is of, whatever nodes say of it.
pub(super) async fn write_once<T: Send + 'static>(
    shared: &Arc<Shared>,
    place: &Place,
    call: Call<T>,
) -> (Tally<T>, Rest<T>, Call<T>) {
    let rest = Rest {
        shared: Arc::clone(shared),
        pending: FuturesUnordered::new(),
        waiting: Vec::new(),
        started: Instant::now(),
    };
    let tally = Tally {
        oks: Vec::with_capacity(place.targets()),
        by: Vec::with_capacity(place.targets()),
        refusals: Vec::new(),
        done: Members::NONE,
        reached: false,
        by_members: false,
        shortfall: (0, 1),
        full: 0,
        last: None,
    };
    let mut fanout = Fanout {
        place,
        call,
        handoffs: None,
        rest,
        next: place.targets(),
        out: Members::NONE,
        standing: Members::NONE,
        direct: Members::NONE,
        patient: false,
        tally,
    };
    fanout.run().await;
    (fanout.tally, fanout.rest, fanout.call)
}
