//! From calls of the node protocol to an [`ObjectNode`]: the server's half of
//! what [`crate::remote`] does.
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use virga_node::clock::Version;
use virga_ring::Partition;
use virga_rpc::Receiver;
use virga_rpc::frame::{Message, Piece};
use virga_rpc::server::{Answer, Handler, Refusal, Request};

use crate::admin::AdminRequest;
use crate::call::{Assembly, Op, ReadHead, from_head, from_piece, to_head, to_messages};
use crate::checked::{BLOCK, Checked};
use crate::error::NodeError;
use crate::hold::Hold;
use crate::listing::{
    ContainerRow, ListRequest, ListingKind, ListingState, MetaItem, ObjectRow, PutAccount, PutContainer,
    RowRange, ShardsRequest,
};
use crate::movement::{NamesRequest, Push, RingName};
use crate::node::{Body, ObjectNode, PutStream, Read, Span};
use crate::object::{At, PostMeta, PutObject, Settled, SubtreesRequest};

/// Answers calls with a node.
pub struct Dispatch {
    node: Arc<dyn ObjectNode>,
}

impl Dispatch {
    /// A handler for `virga_rpc::server::serve` over `node`.
    pub fn new(node: Arc<dyn ObjectNode>) -> Self {
        Self { node }
    }
}

fn refusal(error: NodeError) -> Refusal {
    Refusal(error.to_string())
}

/// Reads a request of any size that came in one message.
fn value<T: DeserializeOwned>(first: Message) -> Result<T, Refusal> {
    let assembly = Assembly::begin(first).map_err(refusal)?;
    if assembly.incomplete() {
        return Err(Refusal("half a request".into()));
    }
    assembly.finish().map_err(refusal)
}

/// An answer of any size.
fn reply<T: Serialize + 'static>(result: &Result<T, NodeError>, piece: usize) -> Result<Answer, Refusal> {
    let (first, rest) = to_messages(result, piece).map_err(refusal)?;
    let mut rest = rest.peekable();
    let more = rest.peek().is_some();
    Ok(Answer {
        first,
        rest: more.then(|| stream::iter(rest).boxed()),
    })
}

/// A small answer.
fn short<T: Serialize>(result: &Result<T, NodeError>) -> Result<Message, Refusal> {
    to_head(result).map(Message::head).map_err(refusal)
}

#[async_trait]
impl Handler for Dispatch {
    async fn handle(&self, request: Request) -> Result<Answer, Refusal> {
        let op = Op::from_code(request.op);
        let op = op.ok_or_else(|| Refusal(format!("operation {} is unknown here", request.op)))?;
        let Request {
            first, rest, piece, ..
        } = request;
        match op {
            Op::Put => self.put(first).await,
            Op::BeginPut => self.begin_put(first, rest).await,
            Op::Get | Op::GetExpiredToo => self.get(op, first, piece).await,
            Op::Head
            | Op::Post
            | Op::PostExpiredToo
            | Op::Delete
            | Op::Hold
            | Op::Settle
            | Op::Subtrees
            | Op::Records
            | Op::Status
            | Op::Admin => self.object(op, first, piece).await,
            Op::Movement
            | Op::Sums
            | Op::BucketSums
            | Op::Names
            | Op::Push
            | Op::RingFile
            | Op::HearOfRing => self.movement(op, first, piece).await,
            Op::ListingSums
            | Op::ListingShards
            | Op::ListingState
            | Op::ListingParts
            | Op::ListingRows
            | Op::MergeListing => self.compare(op, first, piece).await,
            _ => self.listing(op, first, piece).await,
        }
    }
}

impl Dispatch {
    async fn put(&self, first: Message) -> Result<Answer, Refusal> {
        let (at, put): (At, PutObject) = from_head(&first.head).map_err(refusal)?;
        let result = match from_piece(first.piece) {
            Ok(body) => self.node.put(&at, put, body).await,
            Err(garbled) => Err(garbled),
        };
        short(&result).map(Answer::one)
    }

    async fn begin_put(&self, first: Message, rest: Receiver) -> Result<Answer, Refusal> {
        let at: At = from_head(&first.head).map_err(refusal)?;
        let put = match self.node.begin_put(&at).await {
            Ok(put) => put,
            Err(error) => return short::<()>(&Err(error)).map(Answer::one),
        };
        let answers = stream::unfold(Some((put, rest)), |state| async {
            let (mut put, mut rest) = state?;
            let (result, more) = next_result(&mut *put, &mut rest).await?;
            let message = short(&result).ok()?;
            Some((message, more.then_some((put, rest))))
        });
        Ok(Answer {
            first: short(&Ok(()))?,
            rest: Some(answers.boxed()),
        })
    }

    async fn get(&self, op: Op, first: Message, piece: usize) -> Result<Answer, Refusal> {
        let (at, span): (At, Option<Span>) = from_head(&first.head).map_err(refusal)?;
        let read = match op {
            Op::GetExpiredToo => self.node.get_expired_too(&at, span).await,
            _ => self.node.get(&at, span).await,
        };
        let read = match read {
            Ok(Read::Object(read)) => read,
            Ok(Read::Gone(version)) => return short(&Ok(ReadHead::Gone(version))).map(Answer::one),
            Err(error) => return short::<ReadHead>(&Err(error)).map(Answer::one),
        };
        let end = span.map_or(read.stat.size, |span| span.end.min(read.stat.size));
        let nothing = span.is_some_and(|span| span.start >= end) || end == 0;
        let (stat, body_start) = (read.stat, read.body_start);
        let mut pieces = messages(read.body, piece);
        let mut head = short(&Ok(ReadHead::Object { stat, body_start }))?;
        if nothing {
            return Ok(Answer::one(head));
        }
        match pieces.next().await {
            None => Ok(Answer::one(head)),
            Some(message) if message.head.is_empty() => {
                head.piece = message.piece;
                let whole = body_start + head.piece.data.len() as u64 >= end;
                Ok(Answer {
                    first: head,
                    rest: (!whole).then_some(pieces),
                })
            }
            Some(failed) => {
                let rest = stream::once(async { failed }).boxed();
                Ok(Answer {
                    first: head,
                    rest: Some(rest),
                })
            }
        }
    }

    async fn object(&self, op: Op, first: Message, piece: usize) -> Result<Answer, Refusal> {
        let node = &self.node;
        match op {
            Op::Head => {
                let at: At = value(first)?;
                reply(&node.head(&at).await, piece)
            }
            Op::Post => {
                let (at, version, meta): (At, Version, PostMeta) = value(first)?;
                reply(&node.post(&at, version, meta).await, piece)
            }
            Op::PostExpiredToo => {
                let (at, version, meta): (At, Version, PostMeta) = value(first)?;
                reply(&node.post_expired_too(&at, version, meta).await, piece)
            }
            Op::Delete => {
                let (at, version, path): (At, Version, String) = value(first)?;
                reply(&node.delete(&at, version, &path).await, piece)
            }
            Op::Hold => {
                let (at, hold): (At, Hold) = value(first)?;
                reply(&node.hold(&at, hold).await, piece)
            }
            Op::Settle => {
                let (device, rows): (Arc<str>, Vec<Settled>) = value(first)?;
                reply(&node.settle(&device, rows).await, piece)
            }
            Op::Subtrees => {
                let (at, wanted): (At, SubtreesRequest) = value(first)?;
                reply(&node.subtrees(&at, wanted).await, piece)
            }
            Op::Records => {
                let at: At = value(first)?;
                reply(&node.records(&at).await, piece)
            }
            Op::Admin => {
                let (device, request): (Arc<str>, AdminRequest) = value(first)?;
                reply(&node.admin(&device, request).await, piece)
            }
            _ => reply(&node.status().await, piece),
        }
    }

    async fn movement(&self, op: Op, first: Message, piece: usize) -> Result<Answer, Refusal> {
        let node = &self.node;
        match op {
            Op::Sums => {
                let (device, policy, partitions): (Arc<str>, u32, Vec<Partition>) = value(first)?;
                reply(&node.sums(&device, policy, partitions).await, piece)
            }
            Op::BucketSums => {
                let (device, policy, partition): (Arc<str>, u32, Partition) = value(first)?;
                reply(&node.bucket_sums(&device, policy, partition).await, piece)
            }
            Op::Names => {
                let (device, wanted): (Arc<str>, NamesRequest) = value(first)?;
                reply(&node.names(&device, wanted).await, piece)
            }
            Op::Push => {
                let (at, push): (At, Push) = value(first)?;
                reply(&node.push(&at, push).await, piece)
            }
            Op::RingFile => {
                let (ring, above): (RingName, u64) = value(first)?;
                reply(&node.ring_file(ring, above).await, piece)
            }
            Op::HearOfRing => reply(&node.hear_of_ring(value(first)?).await, piece),
            _ => reply(&node.movement().await, piece),
        }
    }

    async fn compare(&self, op: Op, first: Message, piece: usize) -> Result<Answer, Refusal> {
        let node = &self.node;
        match op {
            Op::ListingSums => {
                let (device, kind, power, partitions): (Arc<str>, ListingKind, u8, Vec<Partition>) =
                    value(first)?;
                reply(&node.listing_sums(&device, kind, power, partitions).await, piece)
            }
            Op::ListingShards => {
                let (device, kind, wanted): (Arc<str>, ListingKind, ShardsRequest) = value(first)?;
                reply(&node.listing_shards(&device, kind, wanted).await, piece)
            }
            Op::ListingState => {
                let (kind, at): (ListingKind, At) = value(first)?;
                reply(&node.listing_state(kind, &at).await, piece)
            }
            Op::ListingParts => {
                let (kind, at, range, level): (ListingKind, At, RowRange, u8) = value(first)?;
                reply(&node.listing_parts(kind, &at, range, level).await, piece)
            }
            Op::ListingRows => {
                let (kind, at, range, limit): (ListingKind, At, RowRange, u32) = value(first)?;
                reply(&node.listing_rows(kind, &at, range, limit).await, piece)
            }
            Op::MergeListing => {
                let (kind, at, told): (ListingKind, At, ListingState) = value(first)?;
                reply(&node.merge_listing(kind, &at, told).await, piece)
            }
            _ => Err(Refusal("no operation that compares listings".into())),
        }
    }

    async fn listing(&self, op: Op, first: Message, piece: usize) -> Result<Answer, Refusal> {
        let node = &self.node;
        match op {
            Op::PutContainer => {
                let (at, put): (At, PutContainer) = value(first)?;
                reply(&node.put_container(&at, put).await, piece)
            }
            Op::PostContainer => {
                let (at, version, meta): (At, Version, Vec<MetaItem>) = value(first)?;
                reply(&node.post_container(&at, version, meta).await, piece)
            }
            Op::DeleteContainer => {
                let (at, version): (At, Version) = value(first)?;
                reply(&node.delete_container(&at, version).await, piece)
            }
            Op::HeadContainer => reply(&node.head_container(&value(first)?).await, piece),
            Op::ListContainer => {
                let (at, list): (At, ListRequest) = value(first)?;
                reply(&node.list_container(&at, list).await, piece)
            }
            Op::PutObjectRows => {
                let (at, rows): (At, Vec<ObjectRow>) = value(first)?;
                reply(&node.put_object_rows(&at, rows).await, piece)
            }
            Op::PutAccount => {
                let (at, put): (At, PutAccount) = value(first)?;
                reply(&node.put_account(&at, put).await, piece)
            }
            Op::DeleteAccount => {
                let (at, version): (At, Version) = value(first)?;
                reply(&node.delete_account(&at, version).await, piece)
            }
            Op::HeadAccount => reply(&node.head_account(&value(first)?).await, piece),
            Op::ListAccount => {
                let (at, list): (At, ListRequest) = value(first)?;
                reply(&node.list_account(&at, list).await, piece)
            }
            Op::PutContainerRows => {
                let (at, rows): (At, Vec<ContainerRow>) = value(first)?;
                reply(&node.put_container_rows(&at, rows).await, piece)
            }
            _ => Err(Refusal("no operation on listings".into())),
        }
    }
}

/// Takes pieces until there is something to say: the result of a commit, or
/// why a piece could not be taken. `None` when the caller has gone; the flag
/// says whether more may come.
async fn next_result(put: &mut dyn PutStream, rest: &mut Receiver) -> Option<(Result<(), NodeError>, bool)> {
    loop {
        let message = rest.next().await.ok()??;
        if !message.head.is_empty() {
            let result = match from_head::<PutObject>(&message.head) {
                Ok(commit) => put.commit(commit).await,
                Err(odd) => return Some((Err(odd), false)),
            };
            let more = result.is_err();
            return Some((result, more));
        }
        let taken = match from_piece(message.piece) {
            Ok(piece) => put.send(piece).await,
            Err(garbled) => Err(garbled),
        };
        if taken.is_err() {
            return Some((taken, false));
        }
    }
}

/// The pieces of a body as messages of at most `piece` bytes of payload; an
/// error is a message with a head, and the last.
fn messages(body: Body, piece: usize) -> BoxStream<'static, Message> {
    let failing = stream::unfold(Some(body), |body| async {
        let mut body = body?;
        let next = body.next().await?;
        let body = next.is_ok().then_some(body);
        Some((next, body))
    });
    failing
        .flat_map(move |next| match next {
            Ok(checked) => stream::iter(cut(&checked, piece)).left_stream(),
            Err(error) => {
                let head = to_head(&error).unwrap_or_else(|_| Bytes::from_static(b"?"));
                stream::iter([Message::head(head)]).right_stream()
            }
        })
        .boxed()
}

/// Cuts on block boundaries; the bytes are shared, not copied.
fn cut(checked: &Checked, piece: usize) -> Vec<Message> {
    let step = (piece / BLOCK).max(1);
    let parts = checked.crcs().chunks(step).enumerate().map(|(n, crcs)| {
        let from = (n * step * BLOCK).min(checked.len());
        let to = (from + crcs.len() * BLOCK).min(checked.len());
        let piece = Piece {
            data: checked.data().slice(from..to),
            crcs: crcs.to_vec(),
        };
        Message {
            head: Bytes::new(),
            piece,
        }
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_cut_on_block_boundaries_with_its_checksums() {
        let whole = Checked::seal(
            (0..5 * BLOCK + 3)
                .map(|n| (n / 999) as u8)
                .collect::<Vec<_>>()
                .into(),
        );
        let parts = cut(&whole, 2 * BLOCK);
        assert_eq!(parts.len(), 3);
        let mut all = Vec::new();
        for part in parts {
            all.extend_from_slice(from_piece(part.piece).unwrap().data());
        }
        assert_eq!(all, whole.data().to_vec());
    }
}
