//! How a process gets a ring that others use already, without an operator
//! copying it: its own file first, in case it has just been replaced, then a
//! node that has the newer ring.
//!
//! Asked by the proxy's core when a node refuses a request as placed by a ring
//! that has been given up, and by the object server when it hears of a newer
//! ring ([`crate::fence`]). Both ends have proved before that they belong to the
//! cluster (the handshake of the node protocol); whether what comes is a good
//! ring that may follow the one in use, [`RingHandle::install`] decides. Rings
//! only go forward this way: going back is an operator's deed on every host.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use virga_node::task::offload;
use virga_ring::{Device, InstallError, RingHandle};

use crate::error::NodeError;
use crate::movement::{NewerRing, RingName};
use crate::node::Nodes;

/// Longest wait for a node's ring; large rings are some megabytes.
const PATIENCE: Duration = Duration::from_secs(30);
/// After a failure a ring is not asked for again for this long.
const REST: Duration = Duration::from_secs(1);
/// Most nodes asked for one ring at a time.
const NODES: usize = 16;

/// Why a newer ring is not in use here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatchUpError {
    /// No such ring here: a storage policy that this process does not know.
    #[error("there is no {0} ring here")]
    Unknown(RingName),
    /// Nobody could give it, or it could not be taken.
    #[error("the {ring} ring of version {version} cannot be had: {why}")]
    Failed {
        /// Which ring.
        ring: RingName,
        /// The version that was looked for.
        version: u64,
        /// What went wrong last.
        why: String,
    },
}

/// See the module.
pub struct RingExchange {
    nodes: Arc<dyn Nodes>,
    rings: BTreeMap<RingName, Ring>,
}

struct Ring {
    handle: Arc<RingHandle>,
    /// Held by whoever gets it; the last failure, for what version and when.
    busy: Mutex<Option<(u64, Instant, CatchUpError)>>,
}

impl RingExchange {
    /// For these rings, asking `nodes`.
    pub fn new(nodes: Arc<dyn Nodes>, rings: impl IntoIterator<Item = (RingName, Arc<RingHandle>)>) -> Self {
        let one = |(name, handle)| {
            let busy = Mutex::default();
            (name, Ring { handle, busy })
        };
        Self {
            nodes,
            rings: rings.into_iter().map(one).collect(),
        }
    }

    /// Sees that the ring is of `version` at least: from its file, from the
    /// nodes of `from`, else from those that the ring in use names. Asked for
    /// by many at once, it is done once.
    ///
    /// # Errors
    /// See [`CatchUpError`]; the ring in use stays.
    pub async fn catch_up(&self, ring: RingName, version: u64, from: &[Device]) -> Result<(), CatchUpError> {
        let known = self.rings.get(&ring).ok_or(CatchUpError::Unknown(ring))?;
        let mut busy = known.busy.lock().await;
        if known.version() >= version {
            return Ok(());
        }
        if let Some((of, at, error)) = &*busy
            && *of >= version
            && at.elapsed() < REST
        {
            return Err(error.clone());
        }
        match self.get(ring, known, version, from).await {
            Ok(()) => {
                *busy = None;
                Ok(())
            }
            Err(why) => {
                let error = CatchUpError::Failed { ring, version, why };
                *busy = Some((version, Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// The same after a node has said where the ring is.
    ///
    /// # Errors
    /// See [`CatchUpError`].
    pub async fn follow(&self, newer: &NewerRing) -> Result<(), CatchUpError> {
        let known = self
            .rings
            .get(&newer.ring)
            .ok_or(CatchUpError::Unknown(newer.ring))?;
        let there = known.handle.current().devices().next().map(|device| Device {
            ip: newer.ip.clone(),
            port: newer.port,
            ..device.clone()
        });
        self.catch_up(newer.ring, newer.version, there.as_slice()).await
    }

    async fn get(&self, ring: RingName, known: &Ring, version: u64, from: &[Device]) -> Result<(), String> {
        let handle = Arc::clone(&known.handle);
        let reloaded = offload(move || handle.reload_if_changed()).await;
        if known.version() >= version {
            tracing::info!(%ring, version = known.version(), "a new ring is in use, read as others use it already");
            return Ok(());
        }
        let mut why = match reloaded {
            Ok(Err(error)) => error.to_string(),
            _ => "nobody who was asked has it".to_owned(),
        };
        let mut named: BTreeMap<(String, u16), Device> = BTreeMap::new();
        for device in known.handle.current().devices() {
            let address = (device.ip.clone(), device.port);
            if !from
                .iter()
                .any(|asked| (&asked.ip, asked.port) == (&address.0, address.1))
            {
                named.entry(address).or_insert_with(|| device.clone());
            }
        }
        for device in from.iter().chain(named.values()).take(NODES) {
            match self.ask(ring, known, device).await {
                Ok(()) if known.version() >= version => return Ok(()),
                Ok(()) => {}
                Err(error) => why = format!("{}:{}: {error}", device.ip, device.port),
            }
        }
        Err(why)
    }

    /// Takes the ring of one node if it is newer.
    async fn ask(&self, ring: RingName, known: &Ring, device: &Device) -> Result<(), String> {
        let node = self.nodes.node(device);
        let late = |_| Err(NodeError::Unreachable("no answer in time".into()));
        let answer = timeout(PATIENCE, node.ring_file(ring, known.version())).await;
        let Some(bytes) = answer.unwrap_or_else(late).map_err(|error| error.to_string())? else {
            return Ok(());
        };
        let handle = Arc::clone(&known.handle);
        let installed = offload(move || handle.install(&bytes)).await;
        match installed.map_err(|error| error.to_string())? {
            Ok(true) => {
                tracing::info!(
                    %ring,
                    version = known.version(),
                    from = format!("{}:{}", device.ip, device.port),
                    "a new ring is in use, taken from another node"
                );
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error @ InstallError::Unwritten { .. }) => {
                tracing::error!(%ring, %error, "the ring is in use, but not after a restart");
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Ring {
    fn version(&self) -> u64 {
        self.handle.id().version
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use virga_ring::{RingInfo, Table};

    use super::*;
    use crate::fence::RingFence;
    use crate::twin::{MemoryNode, TwinNodes};

    const OBJECTS: RingName = RingName::Object(0);

    fn device(port: u16) -> Device {
        serde_json::from_value(serde_json::json!({
            "id": port, "region": 1, "zone": 1, "ip": "10.0.0.1", "port": port, "device": "d1",
            "weight": 1, "meta": "",
        }))
        .unwrap()
    }

    /// A ring of one partition on the nodes 0 and 1; `first` is where it lies.
    pub(crate) fn ring(version: u64, first: u16) -> virga_ring::Ring {
        let info = RingInfo {
            version: Some(version),
            ..RingInfo::default()
        };
        let table = Table::from_row_major(1, &[u32::from(first)]).unwrap();
        virga_ring::Ring::new(info, vec![Some(device(0)), Some(device(1))], table).unwrap()
    }

    struct Two {
        nodes: Arc<TwinNodes>,
        handle: Arc<RingHandle>,
        exchange: RingExchange,
    }

    /// A process with the ring of version 1, and two nodes.
    fn two() -> Two {
        let nodes = Arc::new(TwinNodes::for_devices(&[device(0), device(1)]));
        let handle = Arc::new(RingHandle::new(ring(1, 0)));
        let exchange = RingExchange::new(nodes.clone(), [(OBJECTS, Arc::clone(&handle))]);
        Two {
            nodes,
            handle,
            exchange,
        }
    }

    impl Two {
        fn node(&self, port: u16) -> &Arc<MemoryNode> {
            self.nodes.twin(&device(port)).unwrap()
        }

        fn give(&self, port: u16, version: u64) {
            let handle = Arc::new(RingHandle::new(ring(version, 0)));
            let fence = RingFence::new([(OBJECTS, Arc::clone(&handle))], Duration::ZERO);
            self.node(port).set_fence(fence, [(OBJECTS, handle)]);
        }
    }

    #[tokio::test]
    async fn the_ring_is_had_from_whoever_has_it() {
        let two = two();
        two.give(0, 1);
        two.give(1, 3);
        // The one that is said to have it is away.
        two.exchange.catch_up(OBJECTS, 3, &[device(7)]).await.unwrap();
        assert_eq!(two.handle.current().version(), 3);
        assert_eq!(two.handle.in_use().previous.len(), 1);
    }

    #[tokio::test]
    async fn garbage_in_place_of_a_ring_changes_nothing_and_is_said() {
        let two = two();
        two.give(0, 1);
        two.give(1, 3);
        two.node(1).set_ring_file(b"\x1f\x8b no ring at all".to_vec());
        let error = two.exchange.catch_up(OBJECTS, 3, &[device(1)]).await.unwrap_err();
        assert!(error.to_string().contains("no good ring"), "{error}");
        assert_eq!(two.handle.current().version(), 1);
        // It is not asked again and again.
        let asked = two.node(1).calls("ring_file");
        assert!(two.exchange.catch_up(OBJECTS, 3, &[device(1)]).await.is_err());
        assert_eq!(two.node(1).calls("ring_file"), asked);
        let unknown = two.exchange.catch_up(RingName::Account, 3, &[]).await;
        assert_eq!(unknown, Err(CatchUpError::Unknown(RingName::Account)));
    }

    #[tokio::test]
    async fn many_who_ask_at_once_fetch_it_once() {
        let two = two();
        two.give(1, 2);
        let (_, from) = ((), [device(1)]);
        let all = (0..50).map(|_| two.exchange.catch_up(OBJECTS, 2, &from));
        for result in futures_util::future::join_all(all).await {
            result.unwrap();
        }
        assert_eq!(two.node(1).calls("ring_file"), 1);
    }

    #[tokio::test]
    async fn a_ring_is_followed_to_where_it_is_said_to_be() {
        let two = two();
        let elsewhere = NewerRing {
            ring: OBJECTS,
            version: 2,
            ip: "10.0.0.1".into(),
            port: 1,
        };
        two.give(1, 2);
        two.exchange.follow(&elsewhere).await.unwrap();
        assert_eq!(two.handle.current().version(), 2);
    }
}
