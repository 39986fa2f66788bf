//! A cluster in memory: rings over devices of [`MemoryNode`]s, and a core.
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use virga_node::clock::Hlc;
use virga_node::task::Tasks;
use virga_object_wire::node::ObjectNode;
use virga_object_wire::object::{At, Found};
use virga_object_wire::twin::{MemoryNode, TwinNodes};
use virga_proxy::core::{
    BodyError, ContainerName, Core, CoreParts, GetOptions, NewObject, ObjectName, PutObjectError,
    ReadObjectError, Settings, Stored, Wanted,
};
use virga_ring::{Device, HashPath, NameHash, RingHandle};

use super::nodes;

/// Devices on as many nodes, and a core before them.
pub struct Cluster {
    pub core: Core,
    pub twins: Arc<TwinNodes>,
    pub tasks: Tasks,
    pub hlc: Arc<Hlc>,
    ring: Arc<RingHandle>,
    hash: HashPath,
}

impl Cluster {
    /// Three replicas on four devices, a container "a/c" made.
    pub async fn new() -> Self {
        Self::with(4, 3, Settings::default()).await
    }

    pub async fn with(devices: u32, replicas: u32, settings: Settings) -> Self {
        let ring = Arc::new(RingHandle::new(nodes::ring(devices, replicas)));
        let tasks = Tasks::new();
        let (parts, twins) = nodes::parts(&ring, &tasks);
        let (hash, hlc) = (parts.rings.hash.clone(), parts.hlc.clone());
        let it = Self {
            core: Core::new(CoreParts { settings, ..parts }),
            twins,
            tasks,
            hlc,
            ring,
            hash,
        };
        it.core
            .put_container(&container("c"), None, Vec::new())
            .await
            .unwrap();
        it
    }

    pub fn hash_of(&self, name: &ObjectName) -> NameHash {
        self.hash
            .hash(name.account(), Some(name.container()), Some(name.object()))
    }

    fn places(&self, hash: NameHash) -> Vec<(Arc<MemoryNode>, At)> {
        let ring = self.ring.current();
        let partition = ring.partition(&hash);
        let primaries = ring.primaries(partition).map(|(_, device)| device);
        let handoffs = ring.handoffs(partition).map(|(_, device)| device);
        let place = |device: &Device| {
            let at = At {
                device: device.device.as_str().into(),
                policy: 0,
                partition,
                hash,
                ring: virga_ring::RingEpoch::NONE,
            };
            (Arc::clone(self.twins.twin(device).unwrap()), at)
        };
        primaries.chain(handoffs).map(place).collect()
    }

    /// Nodes of an object in the ring's order, primaries then handoffs.
    pub fn of_object(&self, name: &ObjectName) -> Vec<(Arc<MemoryNode>, At)> {
        self.places(self.hash_of(name))
    }

    /// Nodes of a container.
    pub fn of_container(&self, name: &ContainerName) -> Vec<(Arc<MemoryNode>, At)> {
        self.places(self.hash.hash(name.account(), Some(name.container()), None))
    }

    pub async fn put(&self, name: &ObjectName, bytes: impl Into<Bytes>) -> Result<Stored, PutObjectError> {
        self.core
            .put_object(name, NewObject::new("text/plain"), whole(bytes))
            .await
    }

    /// Writes a body that comes in pieces of `piece` bytes.
    pub async fn put_in_pieces(&self, name: &ObjectName, body: &Bytes, piece: usize) -> Stored {
        let put = self
            .core
            .put_object(name, NewObject::new("x/y"), pieces(body, piece));
        put.await.unwrap()
    }

    pub async fn get(&self, name: &ObjectName) -> Result<Bytes, ReadObjectError> {
        self.get_range(name, Wanted::All).await
    }

    pub async fn get_range(&self, name: &ObjectName, wanted: Wanted) -> Result<Bytes, ReadObjectError> {
        let got = self
            .core
            .get_object(
                name,
                GetOptions {
                    wanted,
                    newest: false,
                },
            )
            .await?;
        let bytes = got.body.collect(usize::MAX).await.unwrap();
        assert_eq!(bytes.len() as u64, got.range.end - got.range.start);
        Ok(bytes)
    }

    /// Waits until all background work is done.
    pub async fn settle(&self) {
        settle().await;
    }
}

/// Lets every task run until nothing is ready (time stands still or is paused).
pub async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// What a node knows of an object.
pub async fn found(place: &(Arc<MemoryNode>, At)) -> Found {
    place.0.head(&place.1).await.unwrap()
}

pub fn container(name: &str) -> ContainerName {
    ContainerName::new("a", name).unwrap()
}

pub fn object(name: &str) -> ObjectName {
    ObjectName::new("a", "c", name).unwrap()
}

/// A body in one piece.
pub fn whole(bytes: impl Into<Bytes>) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin {
    let bytes = bytes.into();
    stream::iter((!bytes.is_empty()).then_some(Ok(bytes)))
}

/// A body in pieces of `piece` bytes.
pub fn pieces(
    bytes: &Bytes,
    piece: usize,
) -> impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin + use<> {
    let all: Vec<_> = bytes
        .chunks(piece)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    stream::iter(all)
}

/// Bytes that differ everywhere.
pub fn bytes(len: usize) -> Bytes {
    let mut state = 0x9e37_79b9_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(next).collect::<Vec<u8>>().into()
}
