//! PUT of an object larger than one extent: streamed to all replicas with
//! back-pressure.
//!
//! Each extent is sealed once and shared; every replica has a task with a
//! queue of [`QUEUE`] extents. The client is read on only as fast as the
//! slowest replica takes bytes, until one stalls while a quorum goes on: that
//! one is left out. So an upload never holds more than [`QUEUE`] + 4 extents:
//! those queued, one being sent, one being hashed, one gathering, one left over.
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use virga_node::clock::Version;
use virga_object_wire::checked::Checked;
use virga_object_wire::error::NodeError;
use virga_object_wire::node::PutStream;
use virga_object_wire::object::{ObjectMeta, PutObject};

use super::NewObject;
use super::digest::Digester;
use super::error::{BodyError, PutObjectError, Unavailable};
use super::fanout::why_unavailable;
use super::names::ObjectName;
use super::place::{Peer, Place, node_of};
use super::put::{BodySource, Placed, check_etag, meta_of, shutting_down};
use super::shared::Shared;

/// Extents queued for one replica.
const QUEUE: usize = 2;
/// Most reports one replica sends: one for each commit it is asked for, one
/// failure.
const REPORTS: usize = 3;

/// What a replica's task is told.
enum Step {
    Piece(Checked),
    Commit(Arc<PutObject>),
}

/// What a replica's task says.
struct Report {
    replica: usize,
    peer: Option<Arc<Peer>>,
    /// Result of a commit, or why there will be none.
    result: Result<(), NodeError>,
}

/// The devices that may still stand in for a primary, shared by the tasks.
type StandIns = Arc<Mutex<std::vec::IntoIter<Arc<Peer>>>>;

/// The task that drives one replica.
struct Replica {
    shared: Arc<Shared>,
    place: Place,
    primary: Arc<Peer>,
    stand_ins: StandIns,
    steps: mpsc::Receiver<Step>,
    reports: mpsc::Sender<Report>,
    number: usize,
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
        // Nobody listens any more after the quorum: nothing to tell.
        let _ = self
            .reports
            .send(Report {
                replica: self.number,
                peer,
                result,
            })
            .await;
    }

    /// Starts the object at the primary or, if that fails, at a handoff.
    async fn open(&self) -> Result<(Arc<Peer>, Box<dyn PutStream>), NodeError> {
        let mut last = NodeError::Unreachable("resting after failures".into());
        let mut candidate = Some(Arc::clone(&self.primary));
        while let Some(peer) = candidate {
            if peer.admit(Instant::now()) {
                let node = node_of(&*self.shared.nodes, &peer);
                let at = self.place.at(&peer);
                match self.bounded(&peer, node.begin_put(&at)).await {
                    Ok(stream) => return Ok((peer, stream)),
                    Err(error) => last = error,
                }
            }
            candidate = self
                .stand_ins
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next();
        }
        Err(last)
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
        let stands_in = !Arc::ptr_eq(peer, &self.primary);
        let handoff_for = stands_in.then(|| self.primary.id());
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
    needed: usize,
    /// Queues of the replicas; `None` for one that failed or was left out.
    replicas: Vec<Option<mpsc::Sender<Step>>>,
    reports: mpsc::Receiver<Report>,
    stored: Vec<Arc<Peer>>,
    newer: Option<Version>,
    /// Replicas that answered the last commit with [`NodeError::Newer`].
    overtaken: usize,
    full: usize,
    last: Option<NodeError>,
}

impl Upload {
    fn start(shared: &Arc<Shared>, place: &Place) -> Self {
        let primaries = place.primaries();
        let (says, reports) = mpsc::channel(REPORTS * primaries.len().max(1));
        let stand_ins = Arc::new(Mutex::new(place.handoffs().into_iter()));
        let replica = |(number, primary): (usize, &Arc<Peer>)| {
            let (tells, steps) = mpsc::channel(QUEUE);
            let replica = Replica {
                shared: Arc::clone(shared),
                place: place.clone(),
                primary: Arc::clone(primary),
                stand_ins: Arc::clone(&stand_ins),
                steps,
                reports: says.clone(),
                number,
            };
            shared.tasks.spawn(replica.run());
            Some(tells)
        };
        Self {
            shared: Arc::clone(shared),
            needed: place.write_quorum(),
            replicas: primaries.iter().enumerate().map(replica).collect(),
            reports,
            stored: Vec::new(),
            newer: None,
            overtaken: 0,
            full: 0,
            last: None,
        }
    }

    fn live(&self) -> usize {
        self.replicas.iter().flatten().count()
    }

    fn unavailable(&self) -> Unavailable {
        why_unavailable(
            self.live().min(self.needed - 1),
            self.needed,
            self.full,
            self.last.as_ref(),
        )
    }

    fn hear(&mut self, report: Report) {
        match report.result {
            Ok(()) => self.stored.extend(report.peer),
            Err(NodeError::Newer(version)) => {
                self.newer = self.newer.max(Some(version));
                self.overtaken += 1;
            }
            Err(error) => {
                self.full += usize::from(error == NodeError::Full);
                self.last = Some(error);
                self.replicas[report.replica] = None;
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
        let mut took = self.live().saturating_sub(late.len());
        for wait in [self.shared.settings.stall, self.shared.settings.node_timeout] {
            let mut still = Vec::new();
            for number in late {
                let Some(tells) = self.replicas[number].clone() else {
                    continue;
                };
                match timeout_at(started + wait, tells.reserve_owned()).await {
                    Ok(Ok(place)) => {
                        place.send(step());
                        took += 1;
                    }
                    Ok(Err(_)) => self.replicas[number] = None,
                    Err(_) => still.push(number),
                }
            }
            late = still;
            if took >= self.needed {
                break;
            }
        }
        for number in late {
            self.replicas[number] = None;
        }
        if self.live() >= self.needed {
            return Ok(());
        }
        // A task says why before its queue closes.
        while let Ok(report) = self.reports.try_recv() {
            self.hear(report);
        }
        Err(self.unavailable())
    }

    /// Commits until a quorum has the object, with a newer version once.
    async fn commit(mut self, mut put: PutObject, fixed: bool) -> Result<Placed, PutObjectError> {
        for restamped in [false, true] {
            (self.overtaken, self.newer) = (0, None);
            let shared_put = Arc::new(put.clone());
            self.tell(|| Step::Commit(Arc::clone(&shared_put))).await?;
            let limit = Instant::now() + self.shared.settings.node_timeout;
            while self.stored.len() < self.needed && self.stored.len() + self.overtaken < self.live() {
                match timeout_at(limit, self.reports.recv()).await {
                    Ok(Some(report)) => self.hear(report),
                    Ok(None) | Err(_) => break,
                }
            }
            let overtaken = self.stored.len() + self.overtaken >= self.needed;
            match self.newer {
                _ if self.stored.len() >= self.needed => {}
                Some(newer) if fixed => return Err(PutObjectError::Newer(newer)),
                Some(newer) if !restamped => {
                    put.version = self.shared.restamp(newer);
                    // What was stored under the older version does not count.
                    for peer in std::mem::take(&mut self.stored) {
                        tracing::debug!(device = %peer.name, "has the object under an older version");
                    }
                    continue;
                }
                Some(_) if overtaken => {}
                _ => break,
            }
            return Ok(Placed {
                put,
                stored: self.stored,
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
    place: &Place,
    new: NewObject,
    first: Bytes,
    mut source: BodySource<'_, S>,
) -> Result<Placed, PutObjectError>
where
    S: Stream<Item = Result<Bytes, BodyError>>,
{
    let mut upload = Upload::start(shared, place);
    let mut digester = Digester::new();
    let mut extent = first;
    loop {
        digester.feed(extent.clone()).await.map_err(|_| shutting_down())?;
        let piece = Checked::seal(extent);
        upload.tell(|| Step::Piece(piece.clone())).await?;
        if source.ended() {
            break;
        }
        extent = source.extent().await?;
    }
    let digests = digester.finish().await.map_err(|_| shutting_down())?;
    check_etag(new.expected_etag.as_deref(), &digests)?;
    let asked = new.version;
    let meta = ObjectMeta {
        etag: digests.etag,
        ..meta_of(name, new)
    };
    let version = shared.version(asked);
    let put = PutObject {
        version,
        size: source.got(),
        blake3: digests.blake3,
        meta,
        handoff_for: None,
    };
    upload.commit(put, asked.is_some()).await
}
