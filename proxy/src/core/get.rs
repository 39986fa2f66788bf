//! GET and HEAD of an object: bytes from one replica, versions from a read
//! quorum, the newer one wins.
use std::ops::Range;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};
use virga_object_wire::error::NodeError;
use virga_object_wire::node::{ObjectRead, Read, Span};
use virga_object_wire::object::{Found, ObjectStat};

use super::body::{ObjectBody, Reader};
use super::error::{BodyReadError, ReadObjectError, Unavailable};
use super::fanout::why_unavailable;
use super::found::{DataId, data_of, merge};
use super::names::ObjectName;
use super::place::{Peer, Place, node_of};
use super::shared::Shared;
use super::{Core, GetOptions, GotObject, Wanted};

/// What a replica said.
enum Said {
    Head(Result<Found, NodeError>),
    Data(Result<Read, NodeError>),
}

type Pending = FuturesUnordered<BoxFuture<'static, (Arc<Peer>, Said)>>;

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

/// A read under way.
struct Reading<'a> {
    shared: &'a Arc<Shared>,
    place: &'a Place,
    span: Option<Span>,
    started: Instant,
    patience: Patience,
    pending: Pending,
    waiting: Vec<Arc<Peer>>,
    /// Primaries not asked yet, best first, then handoffs.
    candidates: std::vec::IntoIter<Arc<Peer>>,
    handoffs_used: bool,
    /// Replicas that failed and may be stood in for by handoffs.
    failures: usize,
    answers: usize,
    best: Found,
    /// Who has which data.
    holders: Vec<(Arc<Peer>, DataId)>,
    reads: Vec<(Arc<Peer>, DataId, ObjectRead)>,
    /// Reads under way.
    data_out: usize,
    last: Option<NodeError>,
}

impl<'a> Reading<'a> {
    fn new(shared: &'a Arc<Shared>, place: &'a Place, span: Option<Span>) -> Self {
        let started = Instant::now();
        Self {
            shared,
            place,
            span,
            started,
            patience: Patience::Fresh,
            pending: FuturesUnordered::new(),
            waiting: Vec::with_capacity(place.primaries().len()),
            candidates: place.read_order(started).into_iter(),
            handoffs_used: false,
            failures: 0,
            answers: 0,
            best: Found::Absent,
            holders: Vec::new(),
            reads: Vec::new(),
            data_out: 0,
            last: None,
        }
    }

    fn ask_head(&mut self, peer: &Arc<Peer>) {
        let node = node_of(&*self.shared.nodes, peer);
        let (at, peer, under_way) = (self.place.at(peer), Arc::clone(peer), peer.begin());
        self.waiting.push(Arc::clone(&peer));
        self.pending.push(Box::pin(async move {
            let said = node.head(&at).await;
            drop(under_way);
            (peer, Said::Head(said))
        }));
    }

    fn ask_data(&mut self, peer: &Arc<Peer>) {
        self.data_out += 1;
        let node = node_of(&*self.shared.nodes, peer);
        let (at, span) = (self.place.at(peer), self.span);
        let (peer, under_way) = (Arc::clone(peer), peer.begin());
        self.waiting.push(Arc::clone(&peer));
        self.pending.push(Box::pin(async move {
            let said = node.get(&at, span).await;
            drop(under_way);
            (peer, Said::Data(said))
        }));
    }

    /// The next replica to ask: primaries, then a handoff for each failed one.
    fn next_candidate(&mut self) -> Option<Arc<Peer>> {
        if let Some(peer) = self.more_allowed().then(|| self.candidates.next()).flatten() {
            self.failures -= usize::from(self.handoffs_used);
            return Some(peer);
        }
        if self.handoffs_used || self.failures == 0 {
            return None;
        }
        self.handoffs_used = true;
        self.candidates = self.place.handoffs().into_iter();
        self.next_candidate()
    }

    /// Primaries may always be asked, handoffs only in place of a failed one.
    fn more_allowed(&self) -> bool {
        !self.handoffs_used || self.failures > 0
    }

    fn hear(&mut self, peer: Arc<Peer>, said: Said) {
        let now = Instant::now();
        if let Some(at) = self.waiting.iter().position(|other| Arc::ptr_eq(other, &peer)) {
            self.waiting.swap_remove(at);
        }
        let found = match said {
            Said::Head(result) => {
                peer.note(&result, now);
                if let Ok(Found::Object(stat)) = &result {
                    self.holders.push((peer, data_of(stat)));
                }
                result
            }
            Said::Data(result) => {
                peer.note(&result, now);
                self.data_out -= 1;
                match result {
                    Ok(Read::Object(read)) => {
                        let stat = read.stat.clone();
                        self.reads.push((peer, data_of(&stat), read));
                        Ok(Found::Object(stat))
                    }
                    Ok(Read::Gone(None)) => Ok(Found::Absent),
                    Ok(Read::Gone(Some(version))) => Ok(Found::Deleted(version)),
                    Err(error) => {
                        // What this replica said of the version stands, but
                        // its bytes cannot be had.
                        self.holders.retain(|(holder, _)| !Arc::ptr_eq(holder, &peer));
                        Err(error)
                    }
                }
            }
        };
        match found {
            Ok(found) => {
                self.answers += 1;
                let best = std::mem::replace(&mut self.best, Found::Absent);
                self.best = merge(best, found);
            }
            Err(error) => {
                self.failures += 1;
                self.last = Some(error);
            }
        }
    }

    fn unavailable(&self, needed: usize) -> Unavailable {
        why_unavailable(
            self.answers.min(needed.saturating_sub(1)),
            needed,
            0,
            self.last.as_ref(),
        )
    }

    /// Waits for the next answer, and asks elsewhere when none comes. `false`
    /// when time is up.
    async fn step(&mut self) -> bool {
        let settings = &self.shared.settings;
        let until = match self.patience {
            Patience::Fresh => self.shared.hedge.delay().min(settings.stall),
            Patience::Hedged => settings.stall,
            Patience::Replaced => settings.node_timeout,
        };
        tokio::select! {
            biased;
            Some((peer, said)) = self.pending.next() => self.hear(peer, said),
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
                    self.failures += self.waiting.len();
                    for _ in 0..self.waiting.len() {
                        self.ask_elsewhere();
                    }
                }
                Patience::Replaced => return false,
            },
        }
        true
    }

    /// Asks one more replica for what is still out.
    fn ask_elsewhere(&mut self) {
        let wants_data = self.data_out > 0 && self.reads.is_empty();
        let holder = if wants_data {
            self.holders.pop().map(|(peer, _)| peer)
        } else {
            None
        };
        match holder.or_else(|| self.next_candidate()) {
            Some(peer) if wants_data => self.ask_data(&peer),
            Some(peer) => self.ask_head(&peer),
            None => {}
        }
    }

    /// Asks until at least `needed` replicas have answered.
    async fn quorum(&mut self, needed: usize) -> Result<(), Unavailable> {
        while self.answers < needed {
            if self.pending.len() + self.answers < needed {
                match self.next_candidate() {
                    Some(peer) => {
                        self.ask_head(&peer);
                        continue;
                    }
                    None if self.pending.is_empty() => return Err(self.unavailable(needed)),
                    None => {}
                }
            }
            if !self.step().await {
                return Err(self.unavailable(needed));
            }
        }
        Ok(())
    }

    /// After a quorum that found nothing: asks the primaries that are left,
    /// and a handoff for each that failed, as one of them may hold what a
    /// moved partition has not brought along yet.
    async fn ask_all(&mut self) {
        loop {
            while let Some(peer) = self.next_candidate() {
                self.ask_head(&peer);
            }
            if self.pending.is_empty() || self.best != Found::Absent || !self.step().await {
                return;
            }
        }
    }

    /// The head that `needed` replicas agree on; `newest` tries to hear all.
    async fn head(&mut self, newest: bool) -> Result<ObjectStat, ReadObjectError> {
        let least = self.place.read_quorum();
        let wanted = if newest {
            self.place.primaries().len()
        } else {
            least
        };
        match self.quorum(wanted).await {
            Err(error) if self.answers < least => return Err(error.into()),
            _ => {}
        }
        if self.best == Found::Absent {
            self.ask_all().await;
        }
        let now = self.shared.hlc.clock().now().as_secs();
        let deleted = match std::mem::replace(&mut self.best, Found::Absent) {
            Found::Object(stat) if stat.meta.delete_at.is_none_or(|at| at > now) => return Ok(stat),
            Found::Object(stat) => Some(stat.version),
            Found::Deleted(version) => Some(version),
            Found::Absent => None,
        };
        Err(ReadObjectError::NotFound { deleted })
    }

    /// The bytes named by `data` from whoever has them.
    async fn data(&mut self, data: DataId) -> Result<(Arc<Peer>, ObjectRead), Unavailable> {
        loop {
            if let Some(at) = self.reads.iter().position(|(_, has, _)| *has == data) {
                let (peer, _, read) = self.reads.swap_remove(at);
                return Ok((peer, read));
            }
            if self.data_out == 0 {
                let holder = self.holders.iter().position(|(_, has)| *has == data);
                let holder = holder.map(|at| self.holders.swap_remove(at).0);
                match holder.or_else(|| self.next_candidate()) {
                    Some(peer) => self.ask_data(&peer),
                    None if self.pending.is_empty() => return Err(self.unavailable(1)),
                    None => {}
                }
            }
            if !self.step().await {
                return Err(self.unavailable(1));
            }
        }
    }
}

fn span_of(wanted: Wanted) -> Option<Span> {
    match wanted {
        Wanted::All | Wanted::Last(_) => None,
        Wanted::From(start) => Some(Span { start, end: u64::MAX }),
        Wanted::Span(start, end) => Some(Span {
            start,
            end: end.max(start),
        }),
    }
}

impl Core {
    /// Reads an object: the newest version that a read quorum knows of.
    ///
    /// # Errors
    /// See [`ReadObjectError`]. Failures after the first bytes come out of the
    /// body.
    pub async fn get_object(
        &self,
        name: &ObjectName,
        mut options: GetOptions,
    ) -> Result<GotObject, ReadObjectError> {
        if let Wanted::Last(_) = options.wanted {
            // Nodes read spans from the start: the size must be known first.
            let stat = self.head_object(name, options.newest).await?;
            let range = options.wanted.within(stat.size);
            options.wanted = Wanted::Span(range.start, range.end);
        }
        let policy = self.object_policy(name).await?;
        let place = self.shared.object_place(name, policy.ok_or(NOT_FOUND)?)?;
        self.read(&place, options).await
    }

    async fn read(&self, place: &Place, options: GetOptions) -> Result<GotObject, ReadObjectError> {
        let mut reading = Reading::new(&self.shared, place, span_of(options.wanted));
        match reading.next_candidate() {
            Some(first) => reading.ask_data(&first),
            None => return Err(reading.unavailable(1).into()),
        }
        let stat = reading.head(options.newest).await?;
        let (peer, read) = reading.data(data_of(&stat)).await?;
        let range = options.wanted.within(stat.size);
        let reader = Reader::new(&self.shared, place, &stat, range.clone()).with_source(peer, read);
        let started = reading.started;
        drop(reading);
        let body = ObjectBody::open(reader)
            .await
            .map_err(|error| Unavailable::NoQuorum {
                reached: 0,
                needed: 1,
                why: error.to_string(),
            })?;
        self.shared.hedge.observe(started.elapsed());
        Ok(GotObject { stat, range, body })
    }

    /// Bytes `range` of exactly the version that `stat` names, opened when the
    /// body is first polled: for the further ranges of a multi-range answer.
    pub fn read_range(&self, name: &ObjectName, stat: &ObjectStat, range: Range<u64>) -> ObjectBody {
        let (core, name, stat) = (self.clone(), name.clone(), stat.clone());
        ObjectBody::lazy(async move {
            let lost = |error: &dyn std::fmt::Display| BodyReadError::Lost(error.to_string());
            let policy = core.object_policy(&name).await.map_err(|error| lost(&error))?;
            let place = match policy {
                Some(policy) => core
                    .shared
                    .object_place(&name, policy)
                    .map_err(|error| lost(&error))?,
                None => return Err(lost(&"no such container")),
            };
            let end = range.end.min(stat.size);
            Ok(Reader::new(
                &core.shared,
                &place,
                &stat,
                range.start.min(end)..end,
            ))
        })
    }

    /// The head of an object; `newest` asks every replica (`X-Newest`).
    ///
    /// # Errors
    /// See [`ReadObjectError`].
    pub async fn head_object(&self, name: &ObjectName, newest: bool) -> Result<ObjectStat, ReadObjectError> {
        let policy = self.object_policy(name).await?;
        let place = self.shared.object_place(name, policy.ok_or(NOT_FOUND)?)?;
        Reading::new(&self.shared, &place, None).head(newest).await
    }
}

/// The answer for an object whose container does not exist.
const NOT_FOUND: ReadObjectError = ReadObjectError::NotFound { deleted: None };
