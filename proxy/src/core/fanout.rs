//! One write to all replicas of a name: sent side by side, answered when a
//! quorum has it, finished in the background.
//!
//! A primary that is dead, full or silent is stood in for by the ring's next
//! handoff. Handoffs count only once no primary is outstanding: what a quorum
//! of primaries has, any read quorum of primaries sees.
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};
use virga_node::clock::Version;
use virga_object_wire::error::NodeError;
use virga_object_wire::node::ObjectNode;
use virga_object_wire::object::At;

use super::error::Unavailable;
use super::place::{Peer, Place, node_of};
use super::shared::Shared;

/// A write as one node is asked for it: the node, the place there, and the
/// primary that the device stands in for.
pub(super) type Call<T> = Box<
    dyn Fn(Arc<dyn ObjectNode>, At, Option<u32>) -> BoxFuture<'static, Result<T, NodeError>> + Send + Sync,
>;

/// What one replica answered.
struct Answer<T> {
    peer: Arc<Peer>,
    stands_in_for: Option<u32>,
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
    /// Replicas whose state did not allow it (`Newer`, `NotFound`, `NotEmpty`).
    pub(super) refusals: Vec<(Arc<Peer>, NodeError)>,
    /// Whether a quorum did it.
    pub(super) reached: bool,
    /// Whether a quorum of primaries did it.
    pub(super) by_primaries: bool,
    needed: usize,
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

    /// How many replicas refused with what `is` accepts.
    pub(super) fn refused(&self, is: impl Fn(&NodeError) -> bool) -> usize {
        self.refusals.iter().filter(|(_, error)| is(error)).count()
    }

    /// Why there was no quorum.
    pub(super) fn unavailable(&self) -> Unavailable {
        why_unavailable(self.oks.len(), self.needed, self.full, self.last.as_ref())
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
    /// Primaries not answered and not given up.
    primaries_out: usize,
    primary_oks: usize,
    tally: Tally<T>,
}

impl<T: Send + 'static> Fanout<'_, T> {
    fn launch(&mut self, peer: &Arc<Peer>, stands_in_for: Option<u32>) {
        let node = node_of(&*self.rest.shared.nodes, peer);
        let work = (self.call)(node, self.place.at(peer), stands_in_for);
        let (peer, under_way) = (Arc::clone(peer), peer.begin());
        self.rest.waiting.push(Arc::clone(&peer));
        self.rest.pending.push(Box::pin(async move {
            let result = work.await;
            drop(under_way);
            Answer {
                peer,
                stands_in_for,
                result,
            }
        }));
    }

    /// Sends the write to the next device that may stand in for `primary`.
    fn stand_in(&mut self, primary: u32) {
        let place = self.place;
        let handoffs = self.handoffs.get_or_insert_with(|| place.handoffs().into_iter());
        let now = Instant::now();
        if let Some(peer) = handoffs.find(|peer| peer.admit(now)) {
            self.launch(&peer, Some(primary));
        }
    }

    fn start(&mut self) {
        let now = Instant::now();
        let place = self.place;
        let (well, resting): (Vec<_>, Vec<_>) = place.primaries().iter().partition(|peer| peer.admit(now));
        let missing = place.write_quorum().saturating_sub(well.len());
        self.primaries_out = well.len();
        well.into_iter().for_each(|peer| self.launch(peer, None));
        for peer in &resting {
            self.stand_in(peer.id());
        }
        // Too few without them: better to try a resting one than to give up.
        let short = missing.saturating_sub(self.rest.pending.len().saturating_sub(self.primaries_out));
        for peer in resting.into_iter().take(short) {
            self.primaries_out += 1;
            self.launch(peer, None);
        }
    }

    fn take(&mut self, answer: Answer<T>) {
        answer.peer.note(&answer.result, Instant::now());
        self.rest.waiting.retain(|peer| !Arc::ptr_eq(peer, &answer.peer));
        let primary = answer.stands_in_for.is_none();
        if primary {
            self.primaries_out = self.primaries_out.saturating_sub(1);
        }
        match answer.result {
            Ok(said) => {
                self.primary_oks += usize::from(primary);
                self.tally.oks.push((answer.peer, said));
            }
            Err(error @ (NodeError::Newer(_) | NodeError::NotFound | NodeError::NotEmpty)) => {
                self.tally.refusals.push((answer.peer, error));
            }
            Err(error) => {
                self.tally.full += usize::from(error == NodeError::Full);
                let hopeless = matches!(error, NodeError::Ahead(_) | NodeError::Invalid(_));
                self.tally.last = Some(error);
                if !hopeless {
                    self.stand_in(answer.stands_in_for.unwrap_or_else(|| answer.peer.id()));
                }
            }
        }
    }

    /// Whether waiting on can change nothing.
    fn decided(&mut self) -> bool {
        let needed = self.tally.needed;
        self.tally.by_primaries = self.primary_oks >= needed;
        self.tally.reached =
            self.tally.by_primaries || (self.primaries_out == 0 && self.tally.oks.len() >= needed);
        let replicas = self.place.primaries().len();
        self.tally.reached
            || self.tally.refusals.len() > replicas.saturating_sub(needed)
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
        let mut patient = false;
        while !self.decided() {
            tokio::select! {
                biased;
                Some(answer) = self.rest.pending.next() => self.take(answer),
                () = &mut timer => {
                    if patient {
                        return self.give_up();
                    }
                    // Primaries much slower than one that has answered are
                    // taken as dead; when all are slow, all are waited for.
                    patient = true;
                    timer.as_mut().reset(self.rest.started + longest);
                    if !self.tally.oks.is_empty() {
                        self.replace_silent();
                    }
                }
            }
        }
    }

    fn replace_silent(&mut self) {
        self.primaries_out = 0;
        let place = self.place;
        for peer in self.rest.waiting.clone() {
            peer.silent(Instant::now());
            if place
                .primaries()
                .iter()
                .any(|primary| Arc::ptr_eq(primary, &peer))
            {
                self.stand_in(peer.id());
            }
        }
    }

    fn give_up(&mut self) {
        self.primaries_out = 0;
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
/// The replicas still under way come back as [`Rest`].
pub(super) async fn write<T: Send + 'static>(
    shared: &Arc<Shared>,
    place: &Place,
    call: Call<T>,
) -> (Tally<T>, Rest<T>) {
    let rest = Rest {
        shared: Arc::clone(shared),
        pending: FuturesUnordered::new(),
        waiting: Vec::new(),
        started: Instant::now(),
    };
    let tally = Tally {
        oks: Vec::with_capacity(place.primaries().len()),
        refusals: Vec::new(),
        reached: false,
        by_primaries: false,
        needed: place.write_quorum(),
        full: 0,
        last: None,
    };
    let mut fanout = Fanout {
        place,
        call,
        handoffs: None,
        rest,
        primaries_out: 0,
        primary_oks: 0,
        tally,
    };
    fanout.run().await;
    (fanout.tally, fanout.rest)
}
