//! Reading containers and accounts: a quorum of replicas is asked, and all of
//! them when they disagree.
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};
use virga_object_wire::error::NodeError;
use virga_object_wire::node::ObjectNode;
use virga_object_wire::object::At;

use super::error::ListError;
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
    handoffs: Option<std::vec::IntoIter<Arc<Peer>>>,
    pending: Pending<T>,
    waiting: Vec<Arc<Peer>>,
    found: Vec<(Arc<Peer>, T)>,
    absent: usize,
    last: Option<NodeError>,
}

impl<T: Send + 'static> Gathering<'_, T> {
    fn answers(&self) -> usize {
        self.found.len() + self.absent
    }

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

    /// Asks primaries until `want` answers are here or on their way; handoffs
    /// only when the primaries cannot give that many.
    fn top_up(&mut self, want: usize, silent: usize) {
        while self.answers() + self.pending.len() < want + silent {
            let place = self.place;
            let next = self.primaries.next().or_else(|| {
                self.handoffs
                    .get_or_insert_with(|| place.handoffs().into_iter())
                    .next()
            });
            match next {
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
            Err(NodeError::NotFound) => self.absent += 1,
            Err(error) => self.last = Some(error),
        }
    }

    /// Waits until `want` replicas answered, or nobody is left to ask.
    async fn until(&mut self, want: usize, started: Instant) {
        let settings = &self.shared.settings;
        let hedge = self.shared.hedge.delay().min(settings.stall);
        let waits = [hedge, settings.stall, settings.node_timeout];
        let (mut stage, mut silent) = (0, 0);
        self.top_up(want, silent);
        while self.answers() < want && !self.pending.is_empty() {
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

/// Asks a read quorum; if some know the name and others do not, or `agree`
/// says no, all other primaries too. The name exists if at least as many know
/// it as do not.
pub(super) async fn gather<T: Send + 'static>(
    shared: &Arc<Shared>,
    place: &Place,
    ask: Ask<T>,
    agree: impl Fn(&[(Arc<Peer>, T)]) -> bool,
) -> Result<Vec<(Arc<Peer>, T)>, ListError> {
    let started = Instant::now();
    let mut gathering = Gathering {
        shared,
        place,
        ask,
        asked: 0,
        primaries: place.read_order(started).into_iter(),
        handoffs: None,
        pending: FuturesUnordered::new(),
        waiting: Vec::new(),
        found: Vec::new(),
        absent: 0,
        last: None,
    };
    let (least, all) = (place.read_quorum(), place.primaries().len());
    gathering.until(least, started).await;
    if gathering.answers() < least {
        let error = why_unavailable(gathering.answers(), least, 0, gathering.last.as_ref());
        return Err(error.into());
    }
    let mixed = !gathering.found.is_empty() && gathering.absent > 0;
    if mixed || !agree(&gathering.found) {
        gathering.handoffs = Some(Vec::new().into_iter());
        gathering.until(all, started).await;
    }
    if gathering.found.is_empty() || gathering.found.len() < gathering.absent {
        return Err(ListError::NotFound);
    }
    Ok(gathering.found)
}
