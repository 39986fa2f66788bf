//! A node as another machine calls it: every call of the protocol, through the
//! simulated network.
//!
//! Bodies arrive as from a real connection: piece by piece, each of which may be
//! the last, with their checksums and nothing that the sender knew beside.
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use virga_node::clock::Version;
use virga_object_wire::admin::{AdminAnswer, AdminRequest};
use virga_object_wire::checked::Checked;
use virga_object_wire::error::NodeError;
use virga_object_wire::hold::Hold;
use virga_object_wire::listing::{
    AccountInfo, ContainerInfo, ContainerRow, Created, ListRequest, ListingKind, ListingState, ListingSum,
    ListingSums, MetaItem, ObjectRow, Page, PartSums, PutAccount, PutContainer, RowRange, RowSums,
    ShardsRequest,
};
use virga_object_wire::movement::{
    Movement, NamesPage, NamesRequest, NewerRing, Push, Records, RingName, Sum, Sums,
};
use virga_object_wire::node::{Body, DeviceStatus, ObjectNode, ObjectRead, PutStream, Read, Span};
use virga_object_wire::object::{
    At, Deleted, Found, ObjectStat, PostMeta, PutObject, Settled, SubtreesRequest,
};
use virga_ring::{NameHash, Partition};

use super::machine::Life;
use super::network::{Network, Witnessed, kind};
use super::world::World;

/// A node behind the network.
#[derive(Clone)]
pub(super) struct Wire {
    pub(super) network: Arc<Network>,
    pub(super) world: Arc<World>,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// A call in words, for the trace.
fn words(op: &str, at: Option<&At>) -> String {
    match at {
        Some(at) => {
            let start = u16::from_be_bytes([at.hash.0[0], at.hash.0[1]]);
            format!("{op} {start:04x} in p{}", at.partition.0)
        }
        None => op.to_owned(),
    }
}

/// Calls an operation with copies of its arguments, which travel.
macro_rules! carried {
    ($self:ident, $at:expr, $op:ident, $($name:ident = $made:expr => $passed:expr),*) => {{
        let what = words(stringify!($op), $at);
        $(
            #[allow(clippy::redundant_locals, reason = "some arguments are copied, others moved")]
            let $name = $made;
        )*
        $self
            .network
            .call($self.from, $self.to, &what, move |node| {
                Box::pin(async move { node.$op($($passed),*).await })
            })
            .await
    }};
}

/// The bytes as they come out of a connection.
fn received(bytes: &Checked) -> Checked {
    Checked::unverified(bytes.data().clone(), bytes.crcs().to_vec())
}

impl Wire {
    /// A body whose every piece travels.
    fn body(&self, body: Body, life: Arc<Life>) -> Body {
        let wire = self.clone();
        Box::pin(stream::unfold(Some((wire, body, life)), |state| async {
            let (wire, mut body, life) = state?;
            let piece = body.next().await?;
            if let Err(error) = wire.network.travel(wire.to, wire.from).await {
                return Some((Err(error), None));
            }
            if let Err(gone) = wire.still(&life) {
                return Some((Err(gone), None));
            }
            let piece = piece.map(|piece| received(&piece));
            Some((piece, Some((wire, body, life))))
        }))
    }
}

impl Wire {
    /// What was found, with a body that travels.
    fn arriving(&self, read: Read) -> Result<Read, NodeError> {
        let (_, life) = self.network.target(self.to)?;
        Ok(match read {
            Read::Object(read) => Read::Object(ObjectRead {
                body: self.body(read.body, life),
                ..read
            }),
            Read::Gone(version) => Read::Gone(version),
        })
    }
}

/// An upload to another machine.
struct Upload {
    wire: Wire,
    stream: Box<dyn PutStream>,
    life: Arc<Life>,
    hash: NameHash,
}

impl Wire {
    /// One message to the machine in this life of it.
    async fn there(&self, life: &Arc<Life>) -> Result<(), NodeError> {
        self.network.travel(self.from, self.to).await?;
        self.still(life)
    }

    /// One message back from it.
    async fn back<T>(
        &self,
        life: &Arc<Life>,
        what: &str,
        result: Result<T, NodeError>,
    ) -> Result<T, NodeError> {
        let end = result.as_ref().err().map_or("ok", kind);
        let (from, to) = (self.from, self.to);
        self.world.note(format_args!("{from}<{to} {what} {end}"));
        self.network.travel(to, from).await?;
        self.still(life)?;
        result
    }

    fn still(&self, life: &Arc<Life>) -> Result<(), NodeError> {
        let now = self.network.target(self.to);
        if now.is_ok_and(|(_, now)| Arc::ptr_eq(&now, life)) {
            return Ok(());
        }
        Err(NodeError::Unreachable("the node went away".into()))
    }
}

#[async_trait]
impl PutStream for Upload {
    async fn send(&mut self, piece: Checked) -> Result<(), NodeError> {
        self.wire.there(&self.life).await?;
        let sent = self.stream.send(received(&piece)).await;
        self.wire.back(&self.life, "piece", sent).await
    }

    async fn commit(&mut self, put: PutObject) -> Result<(), NodeError> {
        self.wire.there(&self.life).await?;
        let version = put.version;
        let done = self.stream.commit(put).await;
        self.wire.back(&self.life, "commit", done).await?;
        let written = Witnessed::Data(version);
        self.wire.network.witness(self.hash, written, self.wire.to);
        Ok(())
    }
}

#[async_trait]
impl ObjectNode for Wire {
    async fn put(&self, at: &At, put: PutObject, body: Checked) -> Result<(), NodeError> {
        let version = put.version;
        carried!(self, Some(at), put, at = at.clone() => &at, put = put => put, body = received(&body) => body)?;
        self.network.witness(at.hash, Witnessed::Data(version), self.to);
        Ok(())
    }

    async fn begin_put(&self, at: &At) -> Result<Box<dyn PutStream>, NodeError> {
        let stream = carried!(self, Some(at), begin_put, at = at.clone() => &at)?;
        let (_, life) = self.network.target(self.to)?;
        Ok(Box::new(Upload {
            wire: self.clone(),
            stream,
            life,
            hash: at.hash,
        }))
    }

    async fn get(&self, at: &At, span: Option<Span>) -> Result<Read, NodeError> {
        let read = carried!(self, Some(at), get, at = at.clone() => &at, span = span => span)?;
        self.arriving(read)
    }

    async fn get_expired_too(&self, at: &At, span: Option<Span>) -> Result<Read, NodeError> {
        let read = carried!(self, Some(at), get_expired_too, at = at.clone() => &at, span = span => span)?;
        self.arriving(read)
    }

    async fn head(&self, at: &At) -> Result<Found, NodeError> {
        carried!(self, Some(at), head, at = at.clone() => &at)
    }

    async fn subtrees(&self, at: &At, wanted: SubtreesRequest) -> Result<Vec<[u8; 32]>, NodeError> {
        carried!(self, Some(at), subtrees, at = at.clone() => &at, wanted = wanted => wanted)
    }

    async fn records(&self, at: &At) -> Result<Records, NodeError> {
        carried!(self, Some(at), records, at = at.clone() => &at)
    }

    async fn post(&self, at: &At, version: Version, meta: PostMeta) -> Result<ObjectStat, NodeError> {
        let stat = carried!(self, Some(at), post, at = at.clone() => &at, version = version => version, meta = meta => meta)?;
        self.network.witness(at.hash, Witnessed::Update(version), self.to);
        Ok(stat)
    }

    async fn post_expired_too(
        &self,
        at: &At,
        version: Version,
        meta: PostMeta,
    ) -> Result<ObjectStat, NodeError> {
        let stat = carried!(self, Some(at), post_expired_too, at = at.clone() => &at, version = version => version, meta = meta => meta)?;
        self.network.witness(at.hash, Witnessed::Update(version), self.to);
        Ok(stat)
    }

    async fn delete(&self, at: &At, version: Version, path: &str) -> Result<Deleted, NodeError> {
        let deleted = carried!(self, Some(at), delete, at = at.clone() => &at, version = version => version, path = path.to_owned() => &path)?;
        self.network.witness(at.hash, Witnessed::Data(version), self.to);
        Ok(deleted)
    }

    async fn hold(&self, at: &At, hold: Hold) -> Result<bool, NodeError> {
        carried!(self, Some(at), hold, at = at.clone() => &at, hold = hold => hold)
    }

    async fn settle(&self, device: &Arc<str>, rows: Vec<Settled>) -> Result<(), NodeError> {
        carried!(self, None, settle, device = device.clone() => &device, rows = rows => rows)
    }

    async fn put_container(&self, at: &At, put: PutContainer) -> Result<Created, NodeError> {
        carried!(self, Some(at), put_container, at = at.clone() => &at, put = put => put)
    }

    async fn post_container(&self, at: &At, version: Version, meta: Vec<MetaItem>) -> Result<(), NodeError> {
        carried!(self, Some(at), post_container, at = at.clone() => &at, version = version => version, meta = meta => meta)
    }

    async fn delete_container(&self, at: &At, version: Version) -> Result<(), NodeError> {
        carried!(self, Some(at), delete_container, at = at.clone() => &at, version = version => version)
    }

    async fn head_container(&self, at: &At) -> Result<ContainerInfo, NodeError> {
        carried!(self, Some(at), head_container, at = at.clone() => &at)
    }

    async fn list_container(
        &self,
        at: &At,
        list: ListRequest,
    ) -> Result<Page<ContainerInfo, ObjectRow>, NodeError> {
        carried!(self, Some(at), list_container, at = at.clone() => &at, list = list => list)
    }

    async fn put_object_rows(&self, at: &At, rows: Vec<ObjectRow>) -> Result<(), NodeError> {
        carried!(self, Some(at), put_object_rows, at = at.clone() => &at, rows = rows => rows)
    }

    async fn put_account(&self, at: &At, put: PutAccount) -> Result<Created, NodeError> {
        carried!(self, Some(at), put_account, at = at.clone() => &at, put = put => put)
    }

    async fn delete_account(&self, at: &At, version: Version) -> Result<(), NodeError> {
        carried!(self, Some(at), delete_account, at = at.clone() => &at, version = version => version)
    }

    async fn head_account(&self, at: &At) -> Result<AccountInfo, NodeError> {
        carried!(self, Some(at), head_account, at = at.clone() => &at)
    }

    async fn list_account(
        &self,
        at: &At,
        list: ListRequest,
    ) -> Result<Page<AccountInfo, ContainerRow>, NodeError> {
        carried!(self, Some(at), list_account, at = at.clone() => &at, list = list => list)
    }

    async fn put_container_rows(&self, at: &At, rows: Vec<ContainerRow>) -> Result<(), NodeError> {
        carried!(self, Some(at), put_container_rows, at = at.clone() => &at, rows = rows => rows)
    }

    async fn status(&self) -> Result<Vec<DeviceStatus>, NodeError> {
        carried!(self, None, status,)
    }

    async fn admin(&self, device: &Arc<str>, request: AdminRequest) -> Result<AdminAnswer, NodeError> {
        carried!(self, None, admin, device = device.clone() => &device, request = request => request)
    }

    async fn movement(&self) -> Result<Vec<Movement>, NodeError> {
        carried!(self, None, movement,)
    }

    async fn ring_file(&self, ring: RingName, above: u64) -> Result<Option<Vec<u8>>, NodeError> {
        carried!(self, None, ring_file, ring = ring => ring, above = above => above)
    }

    async fn hear_of_ring(&self, newer: NewerRing) -> Result<(), NodeError> {
        carried!(self, None, hear_of_ring, newer = newer => newer)
    }

    async fn sums(
        &self,
        device: &Arc<str>,
        policy: u32,
        partitions: Vec<Partition>,
    ) -> Result<Sums, NodeError> {
        carried!(self, None, sums, device = device.clone() => &device, policy = policy => policy, partitions = partitions => partitions)
    }

    async fn bucket_sums(
        &self,
        device: &Arc<str>,
        policy: u32,
        partition: Partition,
    ) -> Result<Vec<(u8, Sum)>, NodeError> {
        carried!(self, None, bucket_sums, device = device.clone() => &device, policy = policy => policy, partition = partition => partition)
    }

    async fn names(&self, device: &Arc<str>, wanted: NamesRequest) -> Result<NamesPage, NodeError> {
        carried!(self, None, names, device = device.clone() => &device, wanted = wanted => wanted)
    }

    async fn push(&self, at: &At, push: Push) -> Result<(), NodeError> {
        let written = match &push {
            Push::Deletion { version, .. } => Witnessed::Data(*version),
            Push::Post { update, .. } => Witnessed::Update(update.version),
        };
        carried!(self, Some(at), push, at = at.clone() => &at, push = push => push)?;
        self.network.witness(at.hash, written, self.to);
        Ok(())
    }

    async fn listing_sums(
        &self,
        device: &Arc<str>,
        kind: ListingKind,
        power: u8,
        partitions: Vec<Partition>,
    ) -> Result<ListingSums, NodeError> {
        carried!(self, None, listing_sums, device = device.clone() => &device, kind = kind => kind, power = power => power, partitions = partitions => partitions)
    }

    async fn listing_shards(
        &self,
        device: &Arc<str>,
        kind: ListingKind,
        wanted: ShardsRequest,
    ) -> Result<Vec<ListingSum>, NodeError> {
        carried!(self, None, listing_shards, device = device.clone() => &device, kind = kind => kind, wanted = wanted => wanted)
    }

    async fn listing_state(&self, kind: ListingKind, at: &At) -> Result<Option<ListingState>, NodeError> {
        carried!(self, Some(at), listing_state, kind = kind => kind, at = at.clone() => &at)
    }

    async fn listing_parts(
        &self,
        kind: ListingKind,
        at: &At,
        range: RowRange,
        level: u8,
    ) -> Result<PartSums, NodeError> {
        carried!(self, Some(at), listing_parts, kind = kind => kind, at = at.clone() => &at, range = range => range, level = level => level)
    }

    async fn listing_rows(
        &self,
        kind: ListingKind,
        at: &At,
        range: RowRange,
        limit: u32,
    ) -> Result<RowSums, NodeError> {
        carried!(self, Some(at), listing_rows, kind = kind => kind, at = at.clone() => &at, range = range => range, limit = limit => limit)
    }

    async fn merge_listing(&self, kind: ListingKind, at: &At, told: ListingState) -> Result<(), NodeError> {
        carried!(self, Some(at), merge_listing, kind = kind => kind, at = at.clone() => &at, told = told => told)
    }
}
