//! A node across the network, called through the same trait as one in this
//! process. Failures of the connection come back as [`NodeError::Unreachable`]:
//! what was asked may have been done, and asking again does no harm.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use virga_node::clock::Version;
use virga_ring::Partition;
use virga_rpc::client::{Answer, Call, Peer};
use virga_rpc::frame::{HEAD_MAX, Message};
use virga_rpc::{CallError, Lane, Receiver, Sender};

use crate::admin::{AdminAnswer, AdminRequest};
use crate::call::{Assembly, Op, ReadHead, failure, from_head, from_piece, to_head, to_messages, to_piece};
use crate::checked::{BLOCK, Checked, EXTENT};
use crate::error::NodeError;
use crate::hold::Hold;
use crate::listing::{
    AccountInfo, ContainerInfo, ContainerRow, Created, ListRequest, ListingKind, ListingState, ListingSum,
    ListingSums, MetaItem, ObjectRow, Page, PartSums, PutAccount, PutContainer, RowRange, RowSums,
    ShardsRequest,
};
use crate::movement::{Movement, NamesPage, NamesRequest, NewerRing, Push, Records, RingName, Sum, Sums};
use crate::node::{Body, DeviceStatus, ObjectNode, ObjectRead, PutStream, Read, Span};
use crate::object::{At, Deleted, Found, ObjectStat, PostMeta, PutObject, Settled, SubtreesRequest};

/// Longest wait for an answer, and for each further piece of one. Callers that
/// want it sooner drop the call.
const DEADLINE: Duration = Duration::from_secs(15);
/// The same for large objects, whose commit waits for a device to write all of it.
const LARGE: Duration = Duration::from_secs(60);
/// Bodies up to this go the way of small calls, bytes.
const SMALL: u64 = 64 * 1024;
/// Rows in one request; more are sent in several.
const ROWS: usize = 500;

/// A node behind a [`Peer`].
pub struct RemoteNode {
    peer: Peer,
}

impl RemoteNode {
    /// The node that `peer` leads to.
    pub fn new(peer: Peer) -> Self {
        Self { peer }
    }

    async fn call(&self, op: Op, lane: Lane, first: Message) -> Result<Answer, NodeError> {
        let call = Call {
            op: op as u8,
            lane,
            first,
            deadline: DEADLINE,
        };
        self.peer.call(call).await.map_err(failure)
    }

    /// Asks for a value of any size.
    async fn ask<Q, A>(&self, op: Op, request: &Q) -> Result<A, NodeError>
    where
        Q: Serialize + Sync,
        A: DeserializeOwned,
    {
        let head = postcard_len(request);
        let lane = if head > HEAD_MAX { Lane::Bulk } else { Lane::Small };
        let first = {
            let (first, mut rest) = to_messages(request, lane.piece())?;
            if rest.next().is_some() {
                return Err(NodeError::Invalid("the request is too large".into()));
            }
            first
        };
        let mut answer = self.call(op, lane, first).await?;
        let mut value = Assembly::begin(answer.first)?;
        while value.incomplete() {
            let next = answer.rest.next().await.map_err(failure)?;
            let next = next.ok_or_else(|| NodeError::Unreachable("half an answer".into()))?;
            value.add(next.piece)?;
        }
        value.finish::<Result<A, NodeError>>()?
    }

    /// Reads an object, by the operation that says which.
    async fn read(&self, op: Op, at: &At, span: Option<Span>) -> Result<Read, NodeError> {
        let large = span.is_some_and(|span| span.end.saturating_sub(span.start) > Lane::Small.piece() as u64);
        let lane = if large { Lane::Bulk } else { Lane::Small };
        let answer = self.call(op, lane, Message::head(to_head(&(at, span))?)).await?;
        match from_head::<Result<ReadHead, NodeError>>(&answer.first.head)?? {
            ReadHead::Gone(version) => Ok(Read::Gone(version)),
            ReadHead::Object { stat, body_start } => {
                let first = from_piece(answer.first.piece)?;
                let first = (!first.is_empty()).then_some(first);
                Ok(Read::Object(ObjectRead {
                    stat,
                    body_start,
                    body: body(first, answer.rest),
                }))
            }
        }
    }

    /// Sends rows in requests of bounded size. Rows merge one by one, so a
    /// failure half way leaves nothing that asking again would not set right.
    async fn rows<P, R>(&self, op: Op, place: &P, rows: &[R]) -> Result<(), NodeError>
    where
        P: Serialize + Sync,
        R: Serialize + Sync,
    {
        if rows.is_empty() {
            return self.ask(op, &(place, rows)).await;
        }
        for rows in rows.chunks(ROWS) {
            self.ask::<_, ()>(op, &(place, rows)).await?;
        }
        Ok(())
    }
}

/// Length of a value in `postcard`, bytes; zero if it cannot be encoded,
/// which the encoding itself then reports.
fn postcard_len<T: Serialize>(value: &T) -> usize {
    postcard::experimental::serialized_size(value).unwrap_or(0)
}

/// Turns the rest of an answered get into a body.
fn body(first: Option<Checked>, rest: Receiver) -> Body {
    Box::pin(stream::unfold(Some((first, rest)), |state| async {
        let (first, mut rest) = state?;
        if let Some(first) = first {
            return Some((Ok(first), Some((None, rest))));
        }
        let piece = match rest.next().await {
            Ok(None) => return None,
            Ok(Some(message)) if message.head.is_empty() => from_piece(message.piece),
            Ok(Some(message)) => Err(from_head(&message.head).unwrap_or_else(|odd| odd)),
            Err(error) => Err(failure(error)),
        };
        let state = piece.is_ok().then_some((None, rest));
        Some((piece, state))
    }))
}

/// A large object on its way to a remote node.
struct RemotePut {
    out: Sender,
    answers: Receiver,
    last: bool,
    /// How it ended, once it has.
    ended: Option<NodeError>,
}

impl RemotePut {
    fn end(&mut self, why: NodeError) -> NodeError {
        self.ended.get_or_insert(why).clone()
    }

    /// What the node says, as it says it after a piece it could not take or
    /// after a commit.
    fn heard(&mut self, answer: Result<Option<Message>, CallError>) -> Result<(), NodeError> {
        match answer {
            Ok(Some(message)) => from_head::<Result<(), NodeError>>(&message.head)?,
            Ok(None) => Err(self.end(NodeError::Unreachable(CallError::Over.to_string()))),
            Err(error) => Err(self.end(failure(error))),
        }
    }

    async fn push(&mut self, message: Message) -> Result<(), NodeError> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        // a node that failed says so without being asked
        if let Some(answer) = self.answers.next().now_or_never() {
            let failed = self.heard(answer).err();
            return Err(self.end(failed.unwrap_or_else(|| NodeError::Invalid("an answer to nothing".into()))));
        }
        match self.out.send(message).await {
            Ok(()) => Ok(()),
            Err(CallError::Over) => {
                let answer = self.answers.next().await;
                let failed = self.heard(answer).err();
                Err(self.end(failed.unwrap_or_else(|| failure(CallError::Over))))
            }
            Err(error) => Err(self.end(failure(error))),
        }
    }
}

#[async_trait]
impl PutStream for RemotePut {
    async fn send(&mut self, piece: Checked) -> Result<(), NodeError> {
        if self.last || piece.len() > EXTENT {
            return Err(NodeError::Invalid("a piece after the last, or too large".into()));
        }
        self.last = !piece.len().is_multiple_of(BLOCK);
        self.push(Message {
            head: bytes::Bytes::new(),
            piece: to_piece(piece),
        })
        .await
    }

    async fn commit(&mut self, put: PutObject) -> Result<(), NodeError> {
        self.push(Message::head(to_head(&put)?)).await?;
        let answer = self.answers.next().await;
        self.heard(answer)
    }
}

#[async_trait]
impl ObjectNode for RemoteNode {
    async fn put(&self, at: &At, put: PutObject, body: Checked) -> Result<(), NodeError> {
        if body.len() > EXTENT {
            return Err(NodeError::Invalid("a body over one extent".into()));
        }
        let lane = if body.len() as u64 > SMALL {
            Lane::Bulk
        } else {
            Lane::Small
        };
        let first = Message {
            head: to_head(&(at, put))?,
            piece: to_piece(body),
        };
        let answer = self.call(Op::Put, lane, first).await?;
        from_head::<Result<(), NodeError>>(&answer.first.head)?
    }

    async fn begin_put(&self, at: &At) -> Result<Box<dyn PutStream>, NodeError> {
        let first = Message::head(to_head(at)?);
        let call = Call {
            op: Op::BeginPut as u8,
            lane: Lane::Bulk,
            first,
            deadline: LARGE,
        };
        let (out, answer) = self.peer.open(call).await.map_err(failure)?;
        from_head::<Result<(), NodeError>>(&answer.first.head)??;
        Ok(Box::new(RemotePut {
            out,
            answers: answer.rest,
            last: false,
            ended: None,
        }))
    }

    async fn get(&self, at: &At, span: Option<Span>) -> Result<Read, NodeError> {
        self.read(Op::Get, at, span).await
    }

    async fn get_expired_too(&self, at: &At, span: Option<Span>) -> Result<Read, NodeError> {
        self.read(Op::GetExpiredToo, at, span).await
    }

    async fn head(&self, at: &At) -> Result<Found, NodeError> {
        self.ask(Op::Head, at).await
    }

    async fn subtrees(&self, at: &At, wanted: SubtreesRequest) -> Result<Vec<[u8; 32]>, NodeError> {
        self.ask(Op::Subtrees, &(at, wanted)).await
    }

    async fn records(&self, at: &At) -> Result<Records, NodeError> {
        self.ask(Op::Records, at).await
    }

    async fn post(&self, at: &At, version: Version, meta: PostMeta) -> Result<ObjectStat, NodeError> {
        self.ask(Op::Post, &(at, version, meta)).await
    }

    async fn post_expired_too(
        &self,
        at: &At,
        version: Version,
        meta: PostMeta,
    ) -> Result<ObjectStat, NodeError> {
        self.ask(Op::PostExpiredToo, &(at, version, meta)).await
    }

    async fn delete(&self, at: &At, version: Version, path: &str) -> Result<Deleted, NodeError> {
        self.ask(Op::Delete, &(at, version, path)).await
    }

    async fn hold(&self, at: &At, hold: Hold) -> Result<bool, NodeError> {
        self.ask(Op::Hold, &(at, hold)).await
    }

    async fn settle(&self, device: &Arc<str>, rows: Vec<Settled>) -> Result<(), NodeError> {
        self.rows(Op::Settle, device, &rows).await
    }

    async fn put_container(&self, at: &At, put: PutContainer) -> Result<Created, NodeError> {
        self.ask(Op::PutContainer, &(at, put)).await
    }

    async fn post_container(&self, at: &At, version: Version, meta: Vec<MetaItem>) -> Result<(), NodeError> {
        self.ask(Op::PostContainer, &(at, version, meta)).await
    }

    async fn delete_container(&self, at: &At, version: Version) -> Result<(), NodeError> {
        self.ask(Op::DeleteContainer, &(at, version)).await
    }

    async fn head_container(&self, at: &At) -> Result<ContainerInfo, NodeError> {
        self.ask(Op::HeadContainer, at).await
    }

    async fn list_container(
        &self,
        at: &At,
        list: ListRequest,
    ) -> Result<Page<ContainerInfo, ObjectRow>, NodeError> {
        self.ask(Op::ListContainer, &(at, list)).await
    }

    async fn put_object_rows(&self, at: &At, rows: Vec<ObjectRow>) -> Result<(), NodeError> {
        self.rows(Op::PutObjectRows, at, &rows).await
    }

    async fn put_account(&self, at: &At, put: PutAccount) -> Result<Created, NodeError> {
        self.ask(Op::PutAccount, &(at, put)).await
    }

    async fn delete_account(&self, at: &At, version: Version) -> Result<(), NodeError> {
        self.ask(Op::DeleteAccount, &(at, version)).await
    }

    async fn head_account(&self, at: &At) -> Result<AccountInfo, NodeError> {
        self.ask(Op::HeadAccount, at).await
    }

    async fn list_account(
        &self,
        at: &At,
        list: ListRequest,
    ) -> Result<Page<AccountInfo, ContainerRow>, NodeError> {
        self.ask(Op::ListAccount, &(at, list)).await
    }

    async fn put_container_rows(&self, at: &At, rows: Vec<ContainerRow>) -> Result<(), NodeError> {
        self.rows(Op::PutContainerRows, at, &rows).await
    }

    async fn status(&self) -> Result<Vec<DeviceStatus>, NodeError> {
        self.ask(Op::Status, &()).await
    }

    async fn admin(&self, device: &Arc<str>, request: AdminRequest) -> Result<AdminAnswer, NodeError> {
        self.ask(Op::Admin, &(device, request)).await
    }

    async fn movement(&self) -> Result<Vec<Movement>, NodeError> {
        self.ask(Op::Movement, &()).await
    }

    async fn ring_file(&self, ring: RingName, above: u64) -> Result<Option<Vec<u8>>, NodeError> {
        self.ask(Op::RingFile, &(ring, above)).await
    }

    async fn hear_of_ring(&self, newer: NewerRing) -> Result<(), NodeError> {
        self.ask(Op::HearOfRing, &newer).await
    }

    async fn sums(
        &self,
        device: &Arc<str>,
        policy: u32,
        partitions: Vec<Partition>,
    ) -> Result<Sums, NodeError> {
        self.ask(Op::Sums, &(device, policy, partitions)).await
    }

    async fn bucket_sums(
        &self,
        device: &Arc<str>,
        policy: u32,
        partition: Partition,
    ) -> Result<Vec<(u8, Sum)>, NodeError> {
        self.ask(Op::BucketSums, &(device, policy, partition)).await
    }

    async fn names(&self, device: &Arc<str>, wanted: NamesRequest) -> Result<NamesPage, NodeError> {
        self.ask(Op::Names, &(device, wanted)).await
    }

    async fn push(&self, at: &At, push: Push) -> Result<(), NodeError> {
        self.ask(Op::Push, &(at, push)).await
    }

    async fn listing_sums(
        &self,
        device: &Arc<str>,
        kind: ListingKind,
        power: u8,
        partitions: Vec<Partition>,
    ) -> Result<ListingSums, NodeError> {
        self.ask(Op::ListingSums, &(device, kind, power, partitions))
            .await
    }

    async fn listing_shards(
        &self,
        device: &Arc<str>,
        kind: ListingKind,
        wanted: ShardsRequest,
    ) -> Result<Vec<ListingSum>, NodeError> {
        self.ask(Op::ListingShards, &(device, kind, wanted)).await
    }

    async fn listing_state(&self, kind: ListingKind, at: &At) -> Result<Option<ListingState>, NodeError> {
        self.ask(Op::ListingState, &(kind, at)).await
    }

    async fn listing_parts(
        &self,
        kind: ListingKind,
        at: &At,
        range: RowRange,
        level: u8,
    ) -> Result<PartSums, NodeError> {
        self.ask(Op::ListingParts, &(kind, at, range, level)).await
    }

    async fn listing_rows(
        &self,
        kind: ListingKind,
        at: &At,
        range: RowRange,
        limit: u32,
    ) -> Result<RowSums, NodeError> {
        self.ask(Op::ListingRows, &(kind, at, range, limit)).await
    }

    async fn merge_listing(&self, kind: ListingKind, at: &At, told: ListingState) -> Result<(), NodeError> {
        self.ask(Op::MergeListing, &(kind, at, told)).await
    }
}
