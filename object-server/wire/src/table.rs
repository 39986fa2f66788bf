//! From a device of the ring to its node: those in this process, called
//! directly, and remote ones, dialled when first needed.
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use virga_node::task::Tasks;
use virga_ring::Device;
use virga_rpc::Secret;
use virga_rpc::client::Peer;

use crate::node::{Nodes, ObjectNode};
use crate::remote::RemoteNode;

/// The nodes of one host.
type ByPort = HashMap<u16, Arc<dyn ObjectNode>>;

/// All nodes this process knows, by address. As many as the rings name:
/// entries are small, and connections close when idle servers go away.
pub struct NodeTable {
    secret: Secret,
    tasks: Tasks,
    nodes: RwLock<HashMap<String, ByPort>>,
}

impl NodeTable {
    /// A table without local nodes; remote ones are called with `secret`.
    pub fn new(secret: Secret, tasks: Tasks) -> Self {
        Self {
            secret,
            tasks,
            nodes: RwLock::default(),
        }
    }

    /// Calls to this address go directly to `node`, which lives in this process.
    pub fn register(&self, ip: &str, port: u16, node: Arc<dyn ObjectNode>) {
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        nodes.entry(ip.to_owned()).or_default().insert(port, node);
    }

    fn known(&self, ip: &str, port: u16) -> Option<Arc<dyn ObjectNode>> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.get(ip)?.get(&port).cloned()
    }
}

impl Nodes for NodeTable {
    fn node(&self, device: &Device) -> Arc<dyn ObjectNode> {
        if let Some(node) = self.known(&device.ip, device.port) {
            return node;
        }
        let address = if device.ip.contains(':') {
            format!("[{}]:{}", device.ip, device.port)
        } else {
            format!("{}:{}", device.ip, device.port)
        };
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        let place = nodes.entry(device.ip.clone()).or_default().entry(device.port);
        let dial = || {
            let peer = Peer::new(address, self.secret.clone(), self.tasks.clone());
            Arc::new(RemoteNode::new(peer)) as Arc<dyn ObjectNode>
        };
        Arc::clone(place.or_insert_with(dial))
    }
}
