//! PUT of an object larger than one extent: streamed to all replicas with
//! back-pressure.
//!
//! Each extent is sealed once and shared; every replica has a task with a
//! queue of [`QUEUE`] extents. The client is read on only as fast as the
//! slowest replica takes bytes, until one stalls while a quorum goes on: that
//! one is left out. So an upload never holds more than [`QUEUE`] + 4 extents:
//! those queued, one being sent, one being hashed, one gathering, one left over.
//! While it is short, the same extents are held to be sent anew by a newer ring.
//!
//! While a ring change is under way, members that only an earlier ring names
//! are sent the object from the start: once bytes have gone by it would be too
//! late to ask them in place of one that fails.
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use virga_node::clock::Version;
use virga_object_wire::checked::Checked;
use virga_object_wire::error::NodeError;
use virga_object_wire::node::PutStream;
use virga_object_wire::object::{PutObject, Source};

use super::NewObject;
use super::digest::Extents;
use super::error::{BodyError, PutObjectError, Unavailable};
use super::fanout::why_unavailable;
use super::names::ObjectName;
use super::peer::Peer;
use super::place::{Place, node_of};
use super::put::{BodySource, Placed, meta_of, settle, shutting_down};
use super::quorum::Members;
use super::renew::remember;
use super::sealing::Treatment;
use super::shared::Shared;

/// Extents queued for one replica.
const QUEUE: usize = 2;
/// How often an upload is stamped: anew once, when nodes have newer data.
const STAMPS: usize = 2;
/// Most reports one replica sends: one for each commit it is asked for, one
/// failure.
const REPORTS: usize = STAMPS + 1;

/// What a replica's task is told.
enum Step {
    Piece(Checked),
    Commit(Arc<PutObject>),
}

/// What a replica's task says.
struct Report {
    member: usize,
    /// The device, if one took the bytes.
    peer: Option<Arc<Peer>>,
    stands_in: bool,
    /// Result of a commit, or why there will be none.
    result: Result<(), NodeError>,
}

/// The devices that may still stand in for a primary, shared by the tasks.
type StandIns = Arc<Mutex<std::vec::IntoIter<Arc<Peer>>>>;

/// The task that drives one replica.
struct Replica {
    shared: Arc<Shared>,
    place: Place,
    member: usize,
    own: Arc<Peer>,
    /// Whether to try it even while it rests: without it there are too few.
    needed: bool,
    stand_ins: StandIns,
    steps: mpsc::Receiver<Step>,
    reports: mpsc::Sender<Report>,
}

impl Replica {
    async fn run(mut self) {
        let (peer, result) = match self.open().await {
            Ok((peer, stream)) => (Some(Arc::clone(&peer)), self.drive(&peer, stream).await),
            Err(error) => (None, Err(error)),
        };
        if let Err(error) = result {
            self.report(peer, Err(error)).await;
        }
    }

    async fn report(&self, peer: Option<Arc<Peer>>, result: Result<(), NodeError>) {
        let stands_in = peer.as_ref().is_some_and(|peer| !Arc::ptr_eq(peer, &self.own));
        let report = Report {
            member: self.member,
            peer,
            stands_in,
            result,
        };
        // Nobody listens any more after the quorum: nothing to tell.
        let _ = self.reports.send(report).await;
    }

    /// Starts the object at the member or, if that fails, at a handoff.
    async fn open(&self) -> Result<(Arc<Peer>, Box<dyn PutStream>), NodeError> {
        let mut last = NodeError::Unreachable("resting after failures".into());
        let mut candidate = Some(Arc::clone(&self.own));
        while let Some(peer) = candidate {
            let own = Arc::ptr_eq(&peer, &self.own);
            if peer.admit(Instant::now()) || (own && self.needed) {
                let node = node_of(&*self.shared.nodes, &peer);
                let at = self.place.at(&peer);
                match self.bounded(&peer, node.begin_put(&at)).await {
                    Ok(stream) => return Ok((peer, stream)),
                    Err(error) => last = error,
                }
            }
            candidate = self.stand_in();
        }
        Err(last)
    }

    /// Who may take the member's place. One that leaves the ring is not
    /// replaced: its bytes belong elsewhere anyway.
    fn stand_in(&self) -> Option<Arc<Peer>> {
        if self.place.is_leaving(self.member) {
            return None;
        }
        let mut stand_ins = self.stand_ins.lock().unwrap_or_else(PoisonError::into_inner);
        stand_ins.next()
    }

    /// One call with the longest wait a node is given, its health noted.
    async fn bounded<T>(
        &self,
        peer: &Peer,
        call: impl Future<Output = Result<T, NodeError>>,
    ) -> Result<T, NodeError> {
        let _under_way = peer.begin();
        let result = timeout(self.shared.settings.node_timeout, call)
            .await
            .unwrap_or_else(|_| Err(NodeError::Unreachable("no answer in time".into())));
        peer.note(&result, Instant::now());
        result
    }

    /// Sends pieces and commits until there is nothing more to do. An early
    /// end of the steps gives the object up.
    async fn drive(&mut self, peer: &Arc<Peer>, mut stream: Box<dyn PutStream>) -> Result<(), NodeError> {
        let handoff_for = match Arc::ptr_eq(peer, &self.own) {
            true => None,
            false => self.place.stands_in_for(self.member),
        };
        while let Some(step) = self.steps.recv().await {
            match step {
                Step::Piece(piece) => self.bounded(peer, stream.send(piece)).await?,
                Step::Commit(put) => {
                    let put = PutObject {
                        handoff_for,
                        ..PutObject::clone(&put)
                    };
                    let result = self.bounded(peer, stream.commit(put)).await;
                    match &result {
                        Ok(()) | Err(NodeError::Newer(_)) => {
                            let done = result.is_ok();
                            self.report(Some(Arc::clone(peer)), result).await;
                            if done {
                                return Ok(());
                            }
                        }
                        Err(_) => return result,
                    }
                }
            }
        }
        Ok(())
    }
}

/// An upload as its client's request sees it.
struct Upload {
    shared: Arc<Shared>,
    place: Place,
    /// Queues of the members; `None` for one that failed or was left out.
    replicas: Vec<Option<mpsc::Sender<Step>>>,
    reports: mpsc::Receiver<Report>,
    stored: Vec<Arc<Peer>>,
    /// Members that have it, or were stood in for by one that has.
    done: Members,
    /// Members that have it themselves.
    direct: Members,
    newer: Option<Version>,
    /// Members that answered the last commit with [`NodeError::Newer`].
    overtaken: Members,
    full: usize,
    last: Option<NodeError>,
}

impl Upload {
    fn start(shared: &Arc<Shared>, place: &Place) -> Self {
        let members = place.members();
        let (says, reports) = mpsc::channel(REPORTS * members.len().max(1));
        let stand_ins = Arc::new(Mutex::new(place.handoffs().into_iter()));
        let now = Instant::now();
        let well = members
            .iter()
            .enumerate()
            .filter(|(_, peer)| !peer.is_resting(now));
        let well = well.fold(Members::NONE, |all, (member, _)| all | Members::one(member));
        let needed = !place.quorums().write(well);
        let replica = |(member, own): (usize, &Arc<Peer>)| {
            let (tells, steps) = mpsc::channel(QUEUE);
            let replica = Replica {
                shared: Arc::clone(shared),
                place: place.clone(),
                member,
                own: Arc::clone(own),
                needed,
                stand_ins: Arc::clone(&stand_ins),
                steps,
                reports: says.clone(),
            };
            shared.tasks.spawn(replica.run());
            Some(tells)
        };
        Self {
            shared: Arc::clone(shared),
            replicas: members.iter().enumerate().map(replica).collect(),
            place: place.clone(),
            reports,
            stored: Vec::new(),
            done: Members::NONE,
            direct: Members::NONE,
            newer: None,
            overtaken: Members::NONE,
            full: 0,
            last: None,
        }
    }

    fn live(&self) -> Members {
        let replicas = self.replicas.iter().enumerate();
        let live = replicas.filter(|(_, tells)| tells.is_some());
        live.fold(Members::NONE, |all, (member, _)| all | Members::one(member))
    }

    fn unavailable(&self) -> Unavailable {
        let (reached, needed) = self.place.quorums().write_shortfall(self.live());
        why_unavailable(
            reached.min(needed.saturating_sub(1)),
            needed,
            self.full,
            self.last.as_ref(),
        )
    }

    /// Whether a quorum has it. Those that stand in count once nobody who is a
    /// member is waited for.
    fn reached(&self) -> bool {
        let quorums = self.place.quorums();
        let all_heard = (self.done | self.overtaken).covers(self.live());
        quorums.write(self.direct) || (all_heard && quorums.write(self.done))
    }

    /// As [`Tally::may_be_stamped_anew`](super::fanout::Tally::may_be_stamped_anew).
    /// Who has taken an upload is not sent it again: the others must be enough.
    fn may_be_stamped_anew(&self, stamped: Instant) -> bool {
        let quick = stamped.elapsed() < self.shared.settings.stall;
        self.place.quorums().write(self.overtaken) && (self.stored.is_empty() || quick)
    }

    fn hear(&mut self, report: Report) {
        match report.result {
            Ok(()) => {
                self.done |= Members::one(report.member);
                if !report.stands_in {
                    self.direct |= Members::one(report.member);
                }
                self.stored.extend(report.peer);
            }
            Err(NodeError::Newer(version)) => {
                self.newer = self.newer.max(Some(version));
                self.overtaken |= Members::one(report.member);
            }
            Err(error) => {
                self.full += usize::from(error == NodeError::Full);
                remember(&mut self.last, error);
                self.replicas[report.member] = None;
            }
        }
    }

    /// Gives every replica the step. Those whose queue stays full are waited
    /// for until they stall.
    async fn tell(&mut self, step: impl Fn() -> Step) -> Result<(), Unavailable> {
        while let Ok(report) = self.reports.try_recv() {
            self.hear(report);
        }
        let started = Instant::now();
        let mut late = Vec::new();
        for (number, replica) in self.replicas.iter_mut().enumerate() {
            let Some(tells) = replica else { continue };
            match tells.try_send(step()) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => late.push(number),
                Err(mpsc::error::TrySendError::Closed(_)) => *replica = None,
            }
        }
        let mut took = late
            .iter()
            .fold(self.live(), |took, late| took.without(Members::one(*late)));
        for wait in [self.shared.settings.stall, self.shared.settings.node_timeout] {
            let mut still = Vec::new();
            for number in late {
                let Some(tells) = self.replicas[number].clone() else {
                    continue;
                };
                match timeout_at(started + wait, tells.reserve_owned()).await {
                    Ok(Ok(place)) => {
                        place.send(step());
                        took |= Members::one(number);
                    }
                    Ok(Err(_)) => self.replicas[number] = None,
                    Err(_) => still.push(number),
                }
            }
            late = still;
            if self.place.quorums().write(took) {
                break;
            }
        }
        for number in late {
            self.replicas[number] = None;
        }
        if self.place.quorums().write(self.live()) {
            return Ok(());
        }
        // A task says why before its queue closes.
        while let Ok(report) = self.reports.try_recv() {
            self.hear(report);
        }
        Err(self.unavailable())
    }

    /// Commits until a quorum has the object, with a newer version if nodes have
    /// newer data; overtaken again, it counts as done, as newer data replaced it.
    async fn commit(&mut self, mut put: PutObject, fixed: bool) -> Result<Placed, PutObjectError> {
        for stamps in 1..=STAMPS {
            (self.overtaken, self.newer) = (Members::NONE, None);
            let shared_put = Arc::new(put.clone());
            self.tell(|| Step::Commit(Arc::clone(&shared_put))).await?;
            let stamped = Instant::now();
            let limit = stamped + self.shared.settings.node_timeout;
            while !self.reached() && !(self.done | self.overtaken).covers(self.live()) {
                match timeout_at(limit, self.reports.recv()).await {
                    Ok(Some(report)) => self.hear(report),
                    Ok(None) | Err(_) => break,
                }
            }
            let overtaken = self.place.quorums().write(self.done | self.overtaken);
            match self.newer {
                _ if self.reached() => {}
                Some(newer) if fixed => return Err(PutObjectError::Newer(newer)),
                Some(newer) if stamps < STAMPS && self.may_be_stamped_anew(stamped) => {
                    put.version = self.shared.restamp(newer);
                    // What was stored under the older version does not count.
                    (self.done, self.direct) = (Members::NONE, Members::NONE);
                    for peer in std::mem::take(&mut self.stored) {
                        tracing::debug!(device = %peer.name, "has the object under an older version");
                    }
                    continue;
                }
                Some(_) if stamps > 1 && overtaken => {}
                _ => break,
            }
            return Ok(Placed {
                put,
                stored: std::mem::take(&mut self.stored),
                late: None,
            });
        }
        Err(self.unavailable().into())
    }
}

/// Streams an object whose `first` extent is here to a quorum of replicas.
pub(super) async fn stream<S>(
    shared: &Arc<Shared>,
    name: &ObjectName,
    place: &mut Place,
    (new, treatment): (NewObject, Treatment),
    first: Bytes,
    mut source: BodySource<'_, S>,
) -> Result<Placed, PutObjectError>
where
    S: Stream<Item = Result<Bytes, BodyError>>,
{
    let mut upload = Upload::start(shared, place);
    let mut held = Held::default();
    let mut digester = Extents::new(&shared.hashing, treatment.work);
    let mut extent = first;
    loop {
        let piece = digester.seal(extent).await.map_err(|_| shutting_down())?;
        held.keep(&piece);
        if let Err(error) = upload.tell(|| Step::Piece(piece.clone())).await {
            held.begin_again(&mut upload, place, error).await?;
        }
        if source.ended() {
            break;
        }
        extent = source.extent().await?;
    }
    let digests = digester.finish().await.map_err(|_| shutting_down())?;
    settle(&new, &digests)?;
    let asked = new.version;
    let etag = treatment.etag.unwrap_or(digests.etag);
    let meta = meta_of(name, new, etag, source.got());
    let version = shared.version(asked);
    let put = PutObject {
        version,
        size: source.got(),
        blake3: digests.blake3,
        meta,
        handoff_for: None,
        source: Source::Client,
    };
    match upload.commit(put.clone(), asked.is_some()).await {
        Err(PutObjectError::Unavailable(error)) => {
            held.begin_again(&mut upload, place, error).await?;
            upload.commit(put, asked.is_some()).await
        }
        done => done,
    }
}

/// The first extents of an upload, held until every node has had the time to
/// refuse the ring that it is placed by.
#[derive(Default)]
struct Held {
    pieces: Vec<Checked>,
    /// Whether more has been sent than is held, or it was begun again before.
    spent: bool,
}

impl Held {
    fn keep(&mut self, piece: &Checked) {
        if self.pieces.len() > QUEUE {
            // A node has taken the first one, so it has taken the ring.
            self.spent = true;
            self.pieces.clear();
        } else if !self.spent {
            self.pieces.push(piece.clone());
        }
    }

    /// Sends all of it again to where a newer ring says, if nodes have refused
    /// the ring that `place` is of; else gives `error` back.
    async fn begin_again(
        &mut self,
        upload: &mut Upload,
        place: &mut Place,
        error: Unavailable,
    ) -> Result<(), Unavailable> {
        if std::mem::replace(&mut self.spent, true) {
            return Err(error);
        }
        let shared = Arc::clone(&upload.shared);
        let Some(now) = shared.renewed(place, upload.last.as_ref()).await else {
            return Err(error);
        };
        *place = now;
        *upload = Upload::start(&shared, place);
        for piece in std::mem::take(&mut self.pieces) {
            upload.tell(|| Step::Piece(piece.clone())).await?;
        }
        Ok(())
    }
}
