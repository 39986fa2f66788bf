//! Reading containers and accounts: a quorum of replicas is asked, and all of
//! them when they disagree.
//!
//! Only primaries are asked. A quorum of them has every acknowledged write; a
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
use super::place::{Peer, Place, node_of};
use super::shared::Shared;

/// A question to one node; the number says how many were asked before it.
pub(super) type Ask<T> =
    Box<dyn Fn(usize, Arc<dyn ObjectNode>, At) -> BoxFuture<'static, Result<T, NodeError>> + Send + Sync>;

type Pending<T> = FuturesUnordered<BoxFuture<'static, (Arc<Peer>, Result<T, NodeError>)>>;

struct Gathering<'a, T> {
    shared: &'a Arc<Shared>,
    place: &'a Place,
    ask: Ask<T>,
    asked: usize,
    primaries: std::vec::IntoIter<Arc<Peer>>,
    pending: Pending<T>,
    waiting: Vec<Arc<Peer>>,
    found: Vec<(Arc<Peer>, T)>,
    last: Option<NodeError>,
}

impl<T: Send + 'static> Gathering<'_, T> {
    fn launch(&mut self, peer: Arc<Peer>) {
        let node = node_of(&*self.shared.nodes, &peer);
        let work = (self.ask)(self.asked, node, self.place.at(&peer));
        let under_way = peer.begin();
        self.asked += 1;
        self.waiting.push(Arc::clone(&peer));
        self.pending.push(Box::pin(async move {
            let result = work.await;
            drop(under_way);
            (peer, result)
        }));
    }

    /// Asks primaries until `want` answers are here or on their way, or none
    /// is left to ask.
    fn top_up(&mut self, want: usize, silent: usize) {
        while self.found.len() + self.pending.len() < want + silent {
            match self.primaries.next() {
                Some(peer) => self.launch(peer),
                None => return,
            }
        }
    }

    fn hear(&mut self, peer: Arc<Peer>, result: Result<T, NodeError>) {
        peer.note(&result, Instant::now());
        self.waiting.retain(|other| !Arc::ptr_eq(other, &peer));
        match result {
            Ok(said) => self.found.push((peer, said)),
            Err(error) => self.last = Some(error),
        }
    }

    /// Waits until `want` replicas answered, nobody is left to ask, or
    /// `longest` is over.
    async fn until(&mut self, want: usize, started: Instant, longest: Duration) {
        let settings = &self.shared.settings;
        let hedge = self.shared.hedge.delay().min(settings.stall);
        let waits = [hedge, settings.stall, longest.max(settings.stall)];
        let (mut stage, mut silent) = (0, 0);
        self.top_up(want, silent);
        while self.found.len() < want && !self.pending.is_empty() {
            tokio::select! {
                biased;
                Some((peer, result)) = self.pending.next() => {
                    self.hear(peer, result);
                    self.top_up(want, silent);
                }
                () = sleep_until(started + waits[stage]) => {
                    match stage {
                        0 if self.shared.hedge.may() => silent = 1,
                        1 => {
                            self.waiting.iter().for_each(|peer| peer.silent(Instant::now()));
                            silent = self.waiting.len();
                        }
                        2 => return,
                        _ => {}
                    }
                    stage += 1;
                    self.top_up(want, silent);
                }
            }
        }
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
/// quorum of them.
pub(super) async fn gather<T: Send + 'static>(
    shared: &Arc<Shared>,
    place: &Place,
    scope: Scope,
    ask: Ask<T>,
    agree: impl Fn(&[(Arc<Peer>, T)]) -> bool,
) -> Result<Vec<(Arc<Peer>, T)>, Unavailable> {
    let started = Instant::now();
    let mut gathering = Gathering {
        shared,
        place,
        ask,
        asked: 0,
        primaries: place.read_order(started).into_iter(),
        pending: FuturesUnordered::new(),
        waiting: Vec::new(),
        found: Vec::new(),
        last: None,
    };
    let (least, all) = (place.read_quorum(), place.primaries().len());
    let (stall, longest) = (shared.settings.stall, shared.settings.node_timeout);
    if scope == Scope::All {
        gathering.top_up(all, 0);
    }
    gathering.until(least, started, longest).await;
    if gathering.found.len() < least {
        let (reached, last) = (gathering.found.len(), gathering.last.as_ref());
        return Err(why_unavailable(reached, least, 0, last));
    }
    // A quorum is enough to be exact about what was acknowledged; counts, and
    // what was not acknowledged, are better known to all.
    if scope == Scope::All || !agree(&gathering.found) {
        gathering.until(all, Instant::now(), stall).await;
    }
    Ok(gathering.found)
}
