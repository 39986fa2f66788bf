//! The bytes of one version of an object, from whichever replica can go on.
use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, timeout};
use virga_object_wire::checked::EXTENT;
use virga_object_wire::error::NodeError;
use virga_object_wire::node::{Body, ObjectRead, Read, Span};
use virga_object_wire::object::ObjectStat;

use super::error::BodyReadError;
use super::found::{DataId, data_of};
use super::peer::Peer;
use super::place::{Place, node_of};
use super::sealing::Pad;
use super::shared::Shared;

/// A replica's body being read.
struct Source {
    peer: Arc<Peer>,
    body: Body,
    /// Offset in the object of the next piece.
    at: u64,
}

/// Reads a range of one version of an object, from another replica after each
/// failure.
pub(super) struct Reader {
    shared: Arc<Shared>,
    place: Place,
    data: DataId,
    /// When its time is over, if ever: who began to read it before, or was let
    /// read it after, goes on.
    delete_at: Option<u64>,
    /// Next byte to deliver, and one past the last.
    next: u64,
    end: u64,
    source: Option<Source>,
    /// Replicas that failed since the last byte was delivered.
    tried: Vec<Arc<Peer>>,
    /// Replicas whose record is damaged or of another version.
    barren: Vec<Arc<Peer>>,
    last: String,
}

impl Reader {
    pub(super) fn new(shared: &Arc<Shared>, place: &Place, stat: &ObjectStat, range: Range<u64>) -> Self {
        Self {
            shared: Arc::clone(shared),
            place: place.clone(),
            data: data_of(stat),
            delete_at: stat.meta.delete_at,
            next: range.start,
            end: range.end,
            source: None,
            tried: Vec::new(),
            barren: Vec::new(),
            last: "no replica answered".into(),
        }
    }

    /// Starts with a body that is open already.
    pub(super) fn with_source(mut self, peer: Arc<Peer>, read: ObjectRead) -> Self {
        self.source = Some(Source {
            peer,
            body: read.body,
            at: read.body_start,
        });
        self
    }

    /// The next bytes; `None` after the last.
    async fn piece(&mut self) -> Option<Result<Bytes, BodyReadError>> {
        while self.next < self.end {
            if self.source.is_none()
                && let Err(error) = self.open().await
            {
                return Some(Err(error));
            }
            let Some(source) = &mut self.source else { continue };
            let piece = match timeout(self.shared.settings.node_timeout, source.body.next()).await {
                Ok(Some(Ok(piece))) if piece.verify().is_ok() => piece.into_data(),
                Ok(Some(Ok(_))) => {
                    self.give_up(&NodeError::Garbled);
                    continue;
                }
                Ok(Some(Err(error))) => {
                    self.give_up(&error);
                    continue;
                }
                Ok(None) => {
                    self.give_up(&NodeError::Unreachable("the body ended early".into()));
                    continue;
                }
                Err(_) => {
                    source.peer.silent(Instant::now());
                    self.give_up(&NodeError::Unreachable("the body stalled".into()));
                    continue;
                }
            };
            let start = source.at;
            source.at += piece.len() as u64;
            let (from, to) = (self.next.max(start), self.end.min(source.at));
            if start > self.next {
                self.give_up(&NodeError::Invalid("the body starts too late".into()));
            } else if from < to {
                self.next = to;
                self.tried.clear();
                let cut = |offset: u64| usize::try_from(offset - start).unwrap_or(usize::MAX);
                return Some(Ok(piece.slice(cut(from)..cut(to))));
            }
        }
        None
    }

    fn give_up(&mut self, error: &NodeError) {
        let Some(Source { peer, .. }) = self.source.take() else {
            return;
        };
        tracing::debug!(device = %peer.name, %error, "a read goes on elsewhere");
        self.note(&peer, error);
    }

    fn note(&mut self, peer: &Arc<Peer>, error: &NodeError) {
        peer.note(&Err::<(), _>(error.clone()), Instant::now());
        self.last = error.to_string();
        match error {
            NodeError::Damaged | NodeError::NotFound => self.barren.push(Arc::clone(peer)),
            _ => self.tried.push(Arc::clone(peer)),
        }
    }

    /// Opens the rest of the range at the next replica that has this version.
    async fn open(&mut self) -> Result<(), BodyReadError> {
        let now = Instant::now();
        let members = self.place.members();
        let order = self.place.read_order(now).into_iter();
        let candidates: Vec<Arc<Peer>> = order
            .filter_map(|member| members.get(member).cloned())
            .chain(self.place.handoffs())
            .collect();
        let span = Span {
            start: self.next,
            end: self.end,
        };
        for peer in candidates {
            if self
                .tried
                .iter()
                .chain(&self.barren)
                .any(|other| Arc::ptr_eq(other, &peer))
            {
                continue;
            }
            let (node, at) = (node_of(&*self.shared.nodes, &peer), self.place.at(&peer));
            let now = self.shared.hlc.clock().now().as_secs();
            let asked = match self.delete_at.is_some_and(|at| at <= now) {
                true => node.get_expired_too(&at, Some(span)),
                false => node.get(&at, Some(span)),
            };
            let asked = timeout(self.shared.settings.node_timeout, asked).await;
            match asked {
                Ok(Ok(Read::Object(read))) if data_of(&read.stat) == self.data => {
                    self.source = Some(Source {
                        peer,
                        body: read.body,
                        at: read.body_start,
                    });
                    return Ok(());
                }
                Ok(Ok(_)) => self.note(&peer, &NodeError::NotFound),
                Ok(Err(error)) => self.note(&peer, &error),
                Err(_) => self.note(&peer, &NodeError::Unreachable("no answer in time".into())),
            }
        }
        Err(BodyReadError::Lost(self.last.clone()))
    }

    fn into_stream(self) -> Pieces {
        Box::pin(stream::unfold(Some(self), |reader| async {
            let mut reader = reader?;
            let piece = reader.piece().await?;
            let next = piece.is_ok().then_some(reader);
            Some((piece, next))
        }))
    }
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, BodyReadError>> + Send>>;

/// Verified bytes of an object: exactly the promised ones, then the end; or an
/// error, after which nothing comes. Goes on from another replica by itself
/// when one fails.
pub struct ObjectBody {
    /// Here already.
    first: Option<Bytes>,
    rest: Option<Pieces>,
}

impl ObjectBody {
    /// Takes the first piece at once, so that a small object is here as a
    /// whole and an early failure is over before anything is answered.
    pub(super) async fn open(mut reader: Reader) -> Result<Self, BodyReadError> {
        let Some(first) = reader.piece().await else {
            return Ok(Self {
                first: None,
                rest: None,
            });
        };
        let first = Some(first?);
        let rest = (reader.next < reader.end).then(|| reader.into_stream());
        Ok(Self { first, rest })
    }

    /// A body that is opened when it is first polled.
    pub(super) fn lazy(reader: impl Future<Output = Result<Reader, BodyReadError>> + Send + 'static) -> Self {
        let pieces = stream::once(reader).map_ok(Reader::into_stream).try_flatten();
        Self {
            first: None,
            rest: Some(Box::pin(pieces)),
        }
    }

    /// Bytes that are here already.
    pub(super) fn ready(bytes: Bytes) -> Self {
        Self {
            first: (!bytes.is_empty()).then_some(bytes),
            rest: None,
        }
    }

    /// A body made of other bodies.
    pub(super) fn of(pieces: impl Stream<Item = Result<Bytes, BodyReadError>> + Send + 'static) -> Self {
        Self {
            first: None,
            rest: Some(Box::pin(pieces)),
        }
    }

    /// A body that ends with an error at once.
    pub(super) fn broken(error: BodyReadError) -> Self {
        Self::of(stream::iter([Err(error)]))
    }

    /// The same, opened as it goes by.
    pub(super) fn through(self, mut pad: Pad) -> Self {
        let first = self.first.map(|bytes| pad.apply(bytes));
        let rest = self.rest.map(|rest| {
            let opened = rest.map_ok(move |bytes| pad.apply(bytes));
            Box::pin(opened) as Pieces
        });
        Self { first, rest }
    }

    /// All bytes, if they are here already (small objects): the dialect can
    /// then answer without a stream. The body is empty afterwards.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        if self.rest.is_some() {
            return None;
        }
        Some(self.first.take().unwrap_or_default())
    }

    /// All bytes, if they are at most `limit`.
    ///
    /// # Errors
    /// What the body ends with; [`BodyReadError::Lost`] if there are more.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, BodyReadError> {
        if let Some(whole) = self.take_whole() {
            return Ok(whole);
        }
        let mut all = bytes::BytesMut::with_capacity(limit.min(EXTENT));
        while let Some(piece) = self.try_next().await? {
            if all.len() + piece.len() > limit {
                return Err(BodyReadError::Lost(format!("longer than {limit} bytes")));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }
}

impl Stream for ObjectBody {
    type Item = Result<Bytes, BodyReadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        match &mut self.rest {
            Some(rest) => rest.as_mut().poll_next(cx),
            None => Poll::Ready(None),
        }
    }
}

impl fmt::Debug for ObjectBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectBody").finish_non_exhaustive()
    }
}
