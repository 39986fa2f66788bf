//! The control socket: `DIR/control.sock` of a whole cloud, `control-ROLES.sock`
//! of a process with some roles, through which `virga status` asks. Whoever may
//! open the file may ask: the user that the process runs as, and root.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use virga_node::clock::{Clock, Micros};
use virga_node::health::{Health, State};
use virga_node::task::Tasks;
use virga_object_server::workers::{Progress, WorkerStatus};
use virga_object_wire::admin::{AdminAnswer, AdminRequest};
use virga_object_wire::movement::Movement;
use virga_object_wire::node::{DeviceStatus, Nodes, ObjectNode};
use virga_object_wire::table::NodeTable;
use virga_proxy::core::{Core, RingChange};

use crate::fsck::{self, Check, FsckCall};
use crate::health::{self, Facts, HealthReport, Weight};
use crate::identity_control;
use crate::lookout::{self, Lookout};
use crate::placement::{Placement, RingStatus};

/// Longest wait for an order to be carried out.
const ADMIN_PATIENCE: Duration = Duration::from_secs(20);

/// Largest status that is read, bytes: thousands of devices, each with several
/// rings and many devices it has pushed to.
const MAX_STATUS: usize = 64 * 1024 * 1024;

/// What a cloud says of itself.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct CloudStatus {
    /// Version of the program that runs.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Its roles.
    pub roles: Vec<String>,
    /// URL of the front door, if it is in this process.
    pub front_door: Option<String>,
    /// URL of the object store, if it is in this process.
    pub object_store: Option<String>,
    /// Every part and its state.
    pub parts: BTreeMap<String, State>,
    /// Every device of this process.
    pub devices: Vec<DeviceStatus>,
    /// Why devices could not be asked, if so.
    pub devices_error: Option<String>,
    /// Every ring that this process places by.
    pub rings: Vec<RingStatus>,
    /// Ring changes under way, as this process sees them, if it is a proxy.
    #[serde(default)]
    pub ring_changes: Vec<RingChange>,
    /// How far the devices of this process have come with every ring.
    #[serde(default)]
    pub movement: Vec<Movement>,
    /// Every object server that the rings name, as it answers this process;
    /// empty for a whole cloud in one.
    pub nodes: Vec<NodeStatus>,
    /// What the workers do, each on each device of this process.
    pub workers: Vec<WorkerStatus>,
    /// Whether all is well, and if not, why.
    #[serde(default)]
    pub health: HealthReport,
}

/// An object server as this process sees it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its address in the rings.
    pub node: String,
    /// Why it does not answer, if so.
    pub trouble: Option<String>,
    /// Since when it does not answer, as far as this process knows.
    #[serde(default)]
    pub away_since: Option<Micros>,
    /// When it answered again after it had been away, until it has caught up.
    #[serde(default)]
    pub back_since: Option<Micros>,
    /// Its devices.
    #[serde(default)]
    pub devices: Vec<DeviceStatus>,
    /// Its devices as they were when it last answered, while it does not.
    #[serde(default)]
    pub last: Vec<DeviceStatus>,
    /// How far its devices have come with every ring.
    #[serde(default)]
    pub movement: Vec<Movement>,
}

/// An order for one device.
#[derive(Debug, Serialize, Deserialize)]
pub struct AdminCall {
    /// Address of its host in the rings; empty for this process.
    pub node: String,
    /// Its name.
    pub device: String,
    /// What is asked.
    pub request: AdminRequest,
}

/// What the status is made of.
pub struct Sources {
    /// URL of the front door, if it is in this process.
    pub front_door: Option<String>,
    /// URL of the object store, if it is in this process.
    pub object_store: Option<String>,
    /// The board of parts.
    pub health: Health,
    /// The node of this process, if it has one.
    pub node: Option<Arc<dyn ObjectNode>>,
    /// Roles of the process.
    pub roles: Vec<&'static str>,
    /// Its rings, if it has any.
    pub placement: Option<Placement>,
    /// Its proxy, if it has one.
    pub core: Option<Core>,
    /// What its workers show.
    pub progress: Progress,
    /// Other hosts' nodes, when there are any.
    pub nodes: Option<Arc<NodeTable>>,
    /// Address of this host's node in the rings.
    pub address: SocketAddr,
    /// Identity, if this process runs it.
    pub identity: Option<identity_control::Answering>,
    /// What is remembered of other hosts.
    pub lookout: Lookout,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl Sources {
    async fn status(&self) -> CloudStatus {
        let devices = match &self.node {
            Some(node) => node.status().await,
            None => Ok(Vec::new()),
        };
        // A node whose devices cannot be asked says so by `devices`.
        let movement = match &self.node {
            Some(node) => node.movement().await.unwrap_or_default(),
            None => Vec::new(),
        };
        let (devices, devices_error) = match devices {
            Ok(devices) => (devices, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let parts = self.health.snapshot();
        let ring_changes = self.core.as_ref().map(Core::ring_changes).unwrap_or_default();
        let nodes = self.nodes().await;
        let alone = self.node.is_some().then(|| NodeStatus {
            node: self.address.to_string(),
            trouble: devices_error.clone(),
            devices: devices.clone(),
            movement: movement.clone(),
            ..NodeStatus::default()
        });
        let mut hosts: Vec<&NodeStatus> = nodes.iter().collect();
        if hosts.is_empty() {
            hosts.extend(&alone);
        }
        let hosts: Vec<NodeStatus> = hosts.into_iter().cloned().collect();
        let health = health::judge(&Facts {
            hosts: &hosts,
            rings: self
                .placement
                .as_ref()
                .map(Placement::current)
                .unwrap_or_default(),
            changes: &ring_changes,
            parts: &parts,
        });
        self.note_caught_up(&hosts, &health);
        CloudStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            front_door: self.front_door.clone(),
            object_store: self.object_store.clone(),
            parts,
            devices,
            devices_error,
            roles: self.roles.iter().map(ToString::to_string).collect(),
            rings: self.placement.as_ref().map(Placement::status).unwrap_or_default(),
            ring_changes,
            movement,
            nodes,
            workers: self.progress.snapshot(),
            health,
        }
    }

    /// Hosts that were away and of which nothing is the matter any more.
    fn note_caught_up(&self, hosts: &[NodeStatus], health: &HealthReport) {
        let behind = |node: &str| {
            let found = health.findings.iter();
            found
                .filter(|f| f.weight == Weight::Degraded)
                .any(|f| f.subject == node || f.subject.starts_with(&format!("{node}/")))
        };
        for host in hosts.iter().filter(|host| host.back_since.is_some()) {
            if !behind(&host.node) {
                self.lookout.caught_up(&host.node);
            }
        }
    }

    /// The node that holds a device.
    fn holder(&self, device: &virga_ring::Device) -> Option<Arc<dyn ObjectNode>> {
        match &self.nodes {
            Some(nodes) => Some(nodes.node(device)),
            None => self.node.clone(),
        }
    }

    /// Passes an order on to the device's host.
    async fn admin(&self, call: AdminCall) -> Result<AdminAnswer, String> {
        let node = match (&self.placement, &self.nodes) {
            (Some(placement), Some(nodes)) if !call.node.is_empty() => {
                let named = placement.nodes();
                let device = named
                    .iter()
                    .find(|device| lookout::address_of(device) == call.node);
                device.map(|device| nodes.node(device))
            }
            _ => self.node.clone(),
        };
        let node = node.ok_or_else(|| format!("no ring names a host {}", call.node))?;
        let device: Arc<str> = call.device.into();
        let answer = tokio::time::timeout(ADMIN_PATIENCE, node.admin(&device, call.request)).await;
        match answer {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!(
                "no answer in {ADMIN_PATIENCE:?}; it may have been done all the same"
            )),
        }
    }

    /// Asks every node of the rings, several at a time.
    async fn nodes(&self) -> Vec<NodeStatus> {
        let (Some(placement), Some(nodes)) = (&self.placement, &self.nodes) else {
            return Vec::new();
        };
        let ask = |device: virga_ring::Device| async move {
            let node = nodes.node(&device);
            let both = async { tokio::try_join!(node.status(), node.movement()) };
            let answer = tokio::time::timeout(lookout::PATIENCE, both).await;
            let (devices, movement, trouble) = match answer {
                Ok(Ok((devices, movement))) => (devices, movement, None),
                Ok(Err(error)) => (Vec::new(), Vec::new(), Some(error.to_string())),
                Err(_) => {
                    let why = format!("no answer in {:?}", lookout::PATIENCE);
                    (Vec::new(), Vec::new(), Some(why))
                }
            };
            let address = lookout::address_of(&device);
            let answered = trouble.is_none().then_some(devices.as_slice());
            let sighting = self.lookout.note(&address, answered, self.clock.now());
            NodeStatus {
                node: address,
                last: match trouble {
                    Some(_) => sighting.last,
                    None => Vec::new(),
                },
                trouble,
                away_since: sighting.away_since,
                back_since: sighting.back_since,
                devices,
                movement,
            }
        };
        let asked = futures_util::stream::iter(placement.nodes()).map(ask);
        asked.buffered(lookout::AT_ONCE).collect().await
    }
}

/// Answers on the socket until the daemon stops.
///
/// # Errors
/// When the socket cannot be made.
pub fn serve(socket: &Path, sources: Sources, tasks: &Tasks) -> std::io::Result<()> {
    // A socket left by a killed process; the data folder's lock says that it is nobody's.
    match std::fs::remove_file(socket) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    // Whatever mask the process was started with: who may write to it may ask.
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    let sources = Arc::new(sources);
    let asked = sources.clone();
    let status = get(move || {
        let sources = asked.clone();
        async move { Json(sources.status().await) }
    });
    let orders = sources.clone();
    let admin = post(move |Json(call): Json<AdminCall>| {
        let sources = orders.clone();
        async move { Json(sources.admin(call).await) }
    });
    let mut router = Router::new().route("/status", status).route("/admin", admin);
    if let (Some(core), Some(placement)) = (sources.core.clone(), sources.placement.clone()) {
        let (asked, tasks) = (sources.clone(), tasks.clone());
        let fsck = post(move |Json(call): Json<FsckCall>| {
            let (core, sources) = (core.clone(), asked.clone());
            let rings = placement.for_proxy().object;
            let check = move |to| Check {
                core,
                rings,
                nodes: Box::new(move |device| sources.holder(device)),
                call,
                to,
            };
            let answer = fsck::begin(check, &tasks);
            async move { answer }
        });
        router = router.route("/fsck", fsck);
    }
    if let Some(identity) = sources.identity.clone() {
        router = router.merge(identity_control::routes(identity));
    }
    let stop = tasks.stopping();
    tasks.spawn(async move {
        let served = axum::serve(listener, router)
            .with_graceful_shutdown(async move { stop.cancelled().await })
            .await;
        if let Err(error) = served {
            tracing::warn!(%error, "the control socket ended");
        }
    });
    Ok(())
}

/// The control sockets in a data folder, sorted: one for each process that
/// runs on it, or did when it was killed.
///
/// # Errors
/// A sentence for the person who asked.
pub fn sockets(data: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", data.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name.starts_with("control") && name.ends_with(".sock") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Asks the cloud behind `socket`.
///
/// # Errors
/// A sentence for the person who asked.
pub async fn ask(socket: &Path) -> Result<CloudStatus, String> {
    get_from(socket, "/status").await
}

/// Gives the cloud behind `socket` an order for one of its devices.
///
/// # Errors
/// A sentence for the person who gave it.
pub async fn admin(socket: &Path, order: &AdminCall) -> Result<AdminAnswer, String> {
    post_to::<Result<AdminAnswer, String>>(socket, "/admin", order).await?
}

/// Asks for something by its path.
///
/// # Errors
/// A sentence for the person who asked.
pub async fn get_from<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, String> {
    let request = http::Request::get(path).header("host", "virga");
    call(socket, request.body(Full::default()).map_err(|e| e.to_string())?).await
}

/// Asks with a question.
///
/// # Errors
/// A sentence for the person who asked.
pub async fn post_to<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    question: &impl Serialize,
) -> Result<T, String> {
    let body = serde_json::to_vec(question).map_err(|e| e.to_string())?;
    let request = http::Request::post(path)
        .header("host", "virga")
        .header("content-type", "application/json")
        .body(Full::from(body))
        .map_err(|e| e.to_string())?;
    call(socket, request).await
}

async fn call<T: DeserializeOwned>(socket: &Path, request: http::Request<Full<Bytes>>) -> Result<T, String> {
    let shown = socket.display();
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|e| format!("{shown}: {e}; is the cloud running? start it with: virga up"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| format!("{shown}: {e}"))?;
    let tasks = Tasks::new();
    tasks.spawn(connection);
    let answer = sender
        .send_request(request)
        .await
        .map_err(|e| format!("{shown}: {e}"))?;
    let body = Limited::new(answer.into_body(), MAX_STATUS)
        .collect()
        .await
        .map_err(|e| format!("{shown}: {e}"))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|e| format!("{shown}: an answer of another kind: {e}"))
}
