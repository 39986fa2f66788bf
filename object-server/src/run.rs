//! The daemon: from a configuration to a node that answers, and back.
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;
use virga_node::clock::Clock;
use virga_node::health::{Health, State};
use virga_node::task::Tasks;
use virga_object_wire::dispatch::Dispatch;
use virga_object_wire::node::Nodes;
use virga_object_wire::table::NodeTable;
use virga_rpc::server::serve;
use virga_rpc::{Secret, WeakSecret};

use crate::config::{Config, WorkerSettings};
use crate::local::LocalNode;
use crate::rings::Rings;
use crate::workers::pace::Pace;
use crate::workers::{Progress, Workers};

/// Longest wait at the stop for calls in flight; less than what a daemon gets
/// to drain, so that the devices still close in time.
const FINISH: Duration = Duration::from_secs(6);
/// This long without a call, and nobody is in the middle of something that
/// takes several.
const QUIET: Duration = Duration::from_millis(50);

/// What an object server shares with the rest of the process.
pub struct Parts {
    /// Where its tasks run; stopping them stops the server.
    pub tasks: Tasks,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where it reports as "object-server".
    pub health: Health,
    /// All nodes: this one is added, so that others in the process call it
    /// directly, and the workers find the rest here.
    pub nodes: Arc<NodeTable>,
    /// Placement.
    pub rings: Rings,
    /// A socket that listens already, in place of `Config::listen`.
    pub listener: Option<TcpListener>,
    /// Where the workers show what they do.
    pub progress: Progress,
}

/// What the standing duties of a node work with.
pub struct Standing {
    /// All nodes, this one included.
    pub nodes: Arc<dyn Nodes>,
    /// Placement.
    pub rings: Rings,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How often the workers look.
    pub settings: WorkerSettings,
    /// Where they show what they do.
    pub progress: Progress,
    /// What the rings call the node.
    pub address: SocketAddr,
}

/// Tells an open node its rings and starts its standing duties, which end when
/// `tasks` are told to stop. [`run`] does it; a caller of its own does who runs a
/// node without a daemon around it.
pub fn start_duties(node: &Arc<LocalNode>, with: Standing, tasks: &Tasks) {
    let Standing {
        nodes,
        rings,
        clock,
        settings,
        progress,
        address,
    } = with;
    node.join(rings.clone(), address.ip().to_string(), address.port());
    node.movements().set_progress(progress.clone());
    let workers = Workers {
        node: Arc::clone(node),
        nodes,
        rings,
        clock,
        pace: Arc::new(Pace::new(settings.move_bytes_per_s)),
        settings,
        progress,
    };
    workers.start(tasks);
}

/// Why an object server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nothing can be stored without devices.
    #[error("an object server needs at least one device")]
    NoDevices,
    /// It neither listens nor says what the rings call it.
    #[error("an object server needs `listen`, or `advertise` when it is called in its own process only")]
    Nameless,
    /// A name stands for two devices.
    #[error("two devices are called {0}")]
    SameName(String),
    /// The cluster's secret is too short.
    #[error(transparent)]
    Secret(#[from] WeakSecret),
    /// None of the devices can be opened.
    #[error("no device can be opened; the first, {device}: {why}")]
    NothingOpens {
        /// Its name.
        device: String,
        /// Why not.
        why: String,
    },
    /// The address cannot be listened on.
    #[error(
        "cannot listen for nodes on {address}: {source}; stop what listens there, or change the node's address"
    )]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A socket that was handed in is not one that listens.
    #[error("the socket that was handed in does not work: {0}")]
    Socket(#[from] std::io::Error),
}

/// Runs an object server until its tasks are told to stop. Returns when the
/// devices are closed.
///
/// # Errors
/// It could not start.
pub async fn run(config: Config, mut parts: Parts) -> Result<(), RunError> {
    let reporter = parts.health.register("object-server");
    let given = parts.listener.take();
    let (node, listener, secret) = match start(&config, given, &parts.clock).await {
        Ok(started) => started,
        Err(error) => {
            reporter.report(State::Failed(error.to_string()));
            return Err(error);
        }
    };
    let bound = listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let address = config.advertise.or(bound).ok_or(RunError::Nameless)?;
    parts
        .nodes
        .register(&address.ip().to_string(), address.port(), node.clone());
    if let Some(listener) = listener {
        let dispatch = Arc::new(Dispatch::new(node.clone()));
        parts
            .tasks
            .spawn(serve(listener, secret, dispatch, parts.tasks.clone()));
    }
    let standing = Standing {
        nodes: parts.nodes,
        rings: parts.rings,
        clock: parts.clock,
        settings: config.workers,
        progress: parts.progress,
        address,
    };
    start_duties(&node, standing, &parts.tasks);
    tracing::info!(%address, devices = config.devices.len(), "object server answers");
    match node.failed().first() {
        None => reporter.ready(),
        Some((device, why)) => reporter.report(State::Degraded(format!("device {device}: {why}"))),
    }
    parts.tasks.stopping().cancelled().await;
    finish(&node).await;
    node.close().await;
    Ok(())
}

/// Everything that can go wrong before the first answer, cheapest first.
async fn start(
    config: &Config,
    given: Option<TcpListener>,
    clock: &Arc<dyn Clock>,
) -> Result<(Arc<LocalNode>, Option<TcpListener>, Secret), RunError> {
    if config.devices.is_empty() {
        return Err(RunError::NoDevices);
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = config.devices.iter().find(|device| !names.insert(&device.name)) {
        return Err(RunError::SameName(twice.name.clone()));
    }
    let secret = Secret::new(config.secret.clone())?;
    let listener = match (given, config.listen) {
        (Some(listener), _) => Some(listener),
        (None, Some(address)) => {
            let bound = TcpListener::bind(address).await;
            Some(bound.map_err(|source| RunError::Listen { address, source })?)
        }
        (None, None) if config.advertise.is_none() => return Err(RunError::Nameless),
        (None, None) => None,
    };
    let node = LocalNode::open(config, clock).await;
    let mut failed = node.failed();
    if failed.len() == config.devices.len() {
        let (device, why) = failed.swap_remove(0);
        return Err(RunError::NothingOpens {
            device: device.to_string(),
            why,
        });
    }
    Ok((Arc::new(node), listener, secret))
}

/// Waits until nobody calls any more, for a while.
async fn finish(node: &LocalNode) {
    let limit = Instant::now() + FINISH;
    let mut before = node.traffic();
    while Instant::now() < limit {
        tokio::time::sleep(QUIET).await;
        let after = node.traffic();
        if after.0 == 0 && after == before {
            return;
        }
        before = after;
    }
    tracing::warn!(calls = before.0, "closing with calls in flight");
}
