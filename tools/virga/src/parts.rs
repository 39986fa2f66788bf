//! Composes the parts of a process by role and runs them until a signal.
//!
//! One process with all roles is a cloud on one machine: what would cross the
//! network becomes a direct call through the same trait. Nothing here decides
//! anything about objects or identity; it opens, connects and stops.
mod identity;

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use virga_identity_api::keys::KeyRing;
use virga_node::clock::{Clock, Hlc, SystemClock};
use virga_node::drain::{DRAIN_LIMIT, StopSignals};
use virga_node::health::{Health, State as PartState};
use virga_node::task::Tasks;
use virga_node::telemetry::Metrics;
use virga_object_server::workers::Progress;
use virga_object_wire::node::{Nodes, ObjectNode};
use virga_object_wire::table::NodeTable;
use virga_proxy::core::{Core, CoreParts, Settings};
use virga_s3::encryption::RingKeys;
use virga_s3::{S3Door, S3Parts};

use crate::Failure;
use crate::config::CloudConfig;
use crate::control::{self, Sources};
use crate::housekeeping::{Housekeeping, reload_of};
use crate::identity_control::Answering;
use crate::keystone::Keystone;
use crate::login;
use crate::lookout::Lookout;
use crate::object_keys;
use crate::placement::Placement;
use crate::secrets::Secrets;
use crate::tls::Tls;

/// Between looks at a part that starts.
const LOOK: Duration = Duration::from_millis(2);

/// Which parts this process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Keystone, behind the front door.
    pub identity: bool,
    /// The door for objects.
    pub proxy: bool,
    /// This host's devices.
    pub object_server: bool,
}

/// Whether other processes belong to the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// This process is the whole cloud: nobody outside calls its devices.
    Alone,
    /// Others call this one's devices, and it calls theirs.
    Others,
}

impl Roles {
    /// A whole cloud.
    pub const ALL: Self = Self {
        identity: true,
        proxy: true,
        object_server: true,
    };

    /// Whether a part places anything.
    fn need_rings(self) -> bool {
        self.proxy || self.object_server
    }

    /// Reads role names.
    ///
    /// # Errors
    /// The first unknown name, with those that are known.
    pub fn parse(names: &[String]) -> Result<Self, String> {
        let mut roles = Self {
            identity: false,
            proxy: false,
            object_server: false,
        };
        for name in names {
            match name.as_str() {
                "identity" | "controller" => roles.identity = true,
                "proxy" => roles.proxy = true,
                "object-server" => roles.object_server = true,
                other => {
                    return Err(format!(
                        "--role {other}: roles are proxy, object-server, identity, controller (all API parts)"
                    ));
                }
            }
        }
        Ok(roles)
    }

    /// Names of the roles, in a fixed order.
    pub fn names(self) -> Vec<&'static str> {
        let all = [
            ("identity", self.identity),
            ("proxy", self.proxy),
            ("object-server", self.object_server),
        ];
        all.into_iter()
            .filter(|(_, on)| *on)
            .map(|(name, _)| name)
            .collect()
    }
}

/// What is known once everything serves.
pub struct Ready {
    /// Roles of this process.
    pub roles: Vec<&'static str>,
    /// Where the front door listens, if it does.
    pub front_door: Option<SocketAddr>,
    /// Where the object store listens, if it does.
    pub object_store: Option<SocketAddr>,
    /// URL of the front door.
    pub front_url: String,
    /// URL of the object store.
    pub object_url: String,
    /// The demo user's EC2 keys, on the first start only.
    pub demo_ec2: Option<(String, String)>,
}

/// Starts the parts, calls `ready` when all serve, and stops them at the first
/// signal; a second one ends the process at once.
///
/// # Errors
/// A sentence that names the part that failed and why.
pub fn run_until_stopped(
    config: &CloudConfig,
    secrets: &Secrets,
    (roles, company): (Roles, Company),
    metrics: Metrics,
    ready: impl FnOnce(Ready) -> Result<(), String>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("the runtime does not start: {e}"))?;
    runtime.block_on(async {
        let mut signals = StopSignals::listen().map_err(|e| format!("signals: {e}"))?;
        // From here on SIGHUP means "read rings and keys again", not "die";
        // unless a terminal sent it because its window was closed.
        let mut hangups = signal(SignalKind::hangup()).map_err(|e| format!("signals: {e}"))?;
        let watched = std::io::stdin().is_terminal();
        let process = Process {
            config,
            secrets,
            roles,
            company,
            placement: match roles.need_rings() {
                true => Some(Placement::load(config, secrets, roles.proxy)?),
                false => None,
            },
            object_keys: match roles.proxy || roles.identity {
                true => object_keys::open(&config.secrets(), roles.identity)?,
                false => None,
            },
            tls: Tls::open(config, Arc::new(SystemClock)).map_err(Failure::Usage)?,
            progress: Progress::default(),
            metrics,
            tasks: Tasks::new(),
            health: Health::new(),
            clock: Arc::new(SystemClock),
        };
        let parts = process.start().await?;
        ready(parts.ready)?;
        let signal = tokio::select! {
            signal = signals.next() => signal,
            _ = hangups.recv(), if watched => "SIGHUP",
        };
        tracing::info!(signal, "stopping; a second signal ends at once");
        let drained = tokio::select! {
            drained = process.stop(parts.devices) => drained,
            _ = signals.next() => std::process::exit(1),
        };
        if !drained {
            tracing::warn!("some requests were cut off after {DRAIN_LIMIT:?}");
        }
        Ok(())
    })
}

/// What all parts of the process share.
struct Process<'a> {
    config: &'a CloudConfig,
    secrets: &'a Secrets,
    roles: Roles,
    company: Company,
    placement: Option<Placement>,
    object_keys: Option<Arc<KeyRing>>,
    tls: Option<Tls>,
    progress: Progress,
    metrics: Metrics,
    tasks: Tasks,
    health: Health,
    clock: Arc<dyn Clock>,
}

/// What runs.
struct Started {
    ready: Ready,
    /// The object server's task: ends when its devices are closed.
    devices: Option<tokio::task::JoinHandle<()>>,
}

impl Process<'_> {
    async fn start(&self) -> Result<Started, String> {
        let (front, store) = (self.config.front_door, self.config.object_store);
        let front = self.bind(self.roles.identity, "front_door", front).await?;
        let store = self.bind(self.roles.proxy, "object_store", store).await?;
        let front_at = front.as_ref().and_then(|l| l.local_addr().ok());
        let store_at = store.as_ref().and_then(|l| l.local_addr().ok());
        let front_url = self.front_url(front_at.unwrap_or(self.config.front_door));
        let object_url = self.object_url(store_at.unwrap_or(self.config.object_store));

        let nodes = Arc::new(NodeTable::new(self.node_secret()?, self.tasks.clone()));
        let (node, devices) = match self.roles.object_server {
            true => self
                .object_server(&nodes)
                .await
                .map(|(node, task)| (Some(node), Some(task)))?,
            false => (None, None),
        };
        let keystone = self.keystone().await?;
        let mut demo_ec2 = None;
        let mut core = None;
        if let Some(keystone) = &keystone {
            if let Some(listener) = front {
                demo_ec2 = self.identity(keystone, listener, &front_url, &object_url).await?;
            }
            if let Some(listener) = store {
                core = Some(self.proxy(listener, nodes.clone(), keystone)?);
            }
        }
        let rings = self.placement.clone();
        let identity = keystone.as_ref().and_then(|k| k.service.clone());
        let swift = &self.config.proxy.swift;
        let answering = identity.clone().map(|identity| Answering::new(identity, swift));
        let answering = answering
            .transpose()
            .map_err(|e| format!("roles of [proxy.swift]: {e}"))?;
        let housekeeping = Housekeeping {
            metrics: self.metrics.clone(),
            rings: rings.map(|rings| (rings, self.health.register("rings"))),
            rings_rest: Duration::from_millis(self.config.ring_watch.reload_ms),
            keys: keystone.map(|k| (k.reload, self.health.register("token keys"))),
            object_keys: self
                .object_keys
                .clone()
                .map(|keys| (reload_of(keys), self.health.register("object keys"))),
            tls: self
                .tls
                .clone()
                .map(|tls| (tls, self.health.register("certificate"))),
            policy: identity
                .clone()
                .map(|i| (i, self.health.register("policy rules"))),
        };
        housekeeping.start(&self.tasks);
        let sources = Sources {
            front_door: self.roles.identity.then(|| front_url.clone()),
            object_store: self.roles.proxy.then(|| object_url.clone()),
            roles: self.roles.names(),
            health: self.health.clone(),
            node,
            placement: self.placement.clone(),
            core,
            progress: self.progress.clone(),
            nodes: (self.company == Company::Others).then_some(nodes.clone()),
            address: self.config.node,
            identity: answering,
            lookout: Lookout::default(),
            clock: self.clock.clone(),
        };
        if let (Company::Others, Some(placement)) = (self.company, &self.placement) {
            let lookout = &sources.lookout;
            lookout.keep(placement.clone(), nodes, self.clock.clone(), &self.tasks);
        }
        let socket = self.config.data.join(match self.company {
            Company::Alone => "control.sock".to_owned(),
            Company::Others => format!("control-{}.sock", self.roles.names().join("-")),
        });
        control::serve(&socket, sources, &self.tasks).map_err(|e| format!("{}: {e}", socket.display()))?;
        let ready = Ready {
            roles: self.roles.names(),
            front_door: front_at,
            object_store: store_at,
            front_url,
            object_url,
            demo_ec2,
        };
        Ok(Started { ready, devices })
    }

    async fn bind(
        &self,
        wanted: bool,
        key: &str,
        address: SocketAddr,
    ) -> Result<Option<TcpListener>, String> {
        if !wanted {
            return Ok(None);
        }
        let listener = TcpListener::bind(address).await.map_err(|e| {
            let change = match self.company {
                Company::Alone => "choose other ports with --port and --object-port".to_owned(),
                Company::Others => format!("stop what listens there, or change {key} in the configuration"),
            };
            format!("cannot listen on {address}: {e}; {change}")
        })?;
        Ok(Some(listener))
    }

    /// URL for clients: the public one, or the listen address (loopback when
    /// it listens everywhere: no client can be told "0.0.0.0").
    fn front_url(&self, at: SocketAddr) -> String {
        match &self.config.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("{}://{}", self.scheme(), reachable(at)),
        }
    }

    fn scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }

    /// The object store's URL: as configured, or on the public URL's host at
    /// its own port.
    fn object_url(&self, at: SocketAddr) -> String {
        if let Some(url) = &self.config.object_url {
            return url.trim_end_matches('/').to_owned();
        }
        let public = self
            .config
            .public_url
            .as_deref()
            .and_then(|url| url.parse::<http::Uri>().ok());
        match public.as_ref().and_then(http::Uri::host) {
            Some(host) => {
                let scheme = public.as_ref().and_then(http::Uri::scheme_str).unwrap_or("http");
                format!("{scheme}://{host}:{}", at.port())
            }
            None => format!("{}://{}", self.scheme(), reachable(at)),
        }
    }

    /// Opens this host's devices and lets the process call them directly.
    async fn object_server(
        &self,
        nodes: &Arc<NodeTable>,
    ) -> Result<(Arc<dyn ObjectNode>, tokio::task::JoinHandle<()>), String> {
        let entry = |d: &crate::config::DeviceEntry| virga_object_server::config::DeviceEntry {
            name: d.name.clone(),
            path: d.path.clone(),
        };
        let placement = self.placement()?;
        let strangers = placement.strangers(self.config.node, &self.config.devices);
        if !strangers.is_empty() {
            let (node, devices) = (self.config.node, strangers.join(", "));
            tracing::warn!(%node, devices, "no ring names these devices at this address: nothing will be stored there");
        }
        let config = virga_object_server::Config {
            listen: (self.company == Company::Others).then_some(self.config.node),
            advertise: Some(self.config.node),
            cluster: self
                .secrets
                .cluster_id
                .parse()
                .map_err(|e| format!("secrets: cluster id: {e}"))?,
            secret: self.secrets.node_secret.clone(),
            devices: self.config.devices.iter().map(entry).collect(),
            cache_bytes: 64 << 20,
            segment_bytes: self.config.segment_bytes,
            workers: self.config.workers.clone(),
        };
        let parts = virga_object_server::Parts {
            tasks: self.tasks.clone(),
            clock: self.clock.clone(),
            health: self.health.clone(),
            nodes: nodes.clone(),
            rings: placement.for_object_server(),
            listener: None,
            progress: self.progress.clone(),
        };
        let task = self.tasks.spawn(async move {
            if let Err(error) = virga_object_server::run(config, parts).await {
                tracing::error!(%error, "the object server failed");
            }
        });
        self.wait_for("object-server").await?;
        let node = nodes.node(&address_only(self.config.node));
        Ok((node, task))
    }

    /// Waits until a part says how it is.
    async fn wait_for(&self, part: &str) -> Result<(), String> {
        loop {
            match self.health.snapshot().remove(part) {
                Some(PartState::Ready | PartState::Degraded(_)) => return Ok(()),
                Some(PartState::Failed(why)) => return Err(format!("{part}: {why}")),
                Some(PartState::Starting) | None => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Says stop, lets requests in flight finish, and waits until the devices
    /// are closed. Returns whether all of that happened in time.
    async fn stop(&self, devices: Option<tokio::task::JoinHandle<()>>) -> bool {
        let drained = self.tasks.drain(DRAIN_LIMIT).await;
        match devices {
            // The task has ended by now; its handle hears of it a moment later.
            Some(devices) if drained => devices.await.is_ok(),
            Some(_) => false,
            None => drained,
        }
    }

    fn node_secret(&self) -> Result<virga_rpc::Secret, String> {
        virga_rpc::Secret::new(self.secrets.node_secret.clone()).map_err(|e| format!("secrets: {e}"))
    }

    fn placement(&self) -> Result<&Placement, String> {
        self.placement
            .as_ref()
            .ok_or_else(|| "this role needs rings and none were read".to_owned())
    }

    fn proxy(
        &self,
        listener: TcpListener,
        nodes: Arc<NodeTable>,
        keystone: &Keystone,
    ) -> Result<Core, String> {
        let health = self.health.register("proxy");
        let watch = &self.config.ring_watch;
        let (affinity, policy_affinity) = self.config.proxy.affinities()?;
        let core = Core::new(CoreParts {
            rings: self.placement()?.for_proxy(),
            nodes,
            hlc: Arc::new(Hlc::new(self.clock.clone())),
            tasks: self.tasks.clone(),
            settings: Settings {
                default_policy: self.config.proxy.swift.default_policy(),
                account_autocreate: self.config.proxy.swift.account_autocreate,
                affinity,
                policy_affinity,
                movement_poll: Duration::from_millis(watch.movement_ms),
                ring_grace: Duration::from_millis(watch.grace_ms),
                gone_after: Duration::from_millis(watch.gone_after_ms),
                ..Settings::default()
            },
        });
        core.watch_rings();
        let core = match &self.object_keys {
            Some(keys) => core.with_cloud_keys(Arc::new(RingKeys(keys.clone()))),
            None => core,
        };
        let s3 = Arc::new(S3Door::new(S3Parts {
            core: core.clone(),
            keys: keystone.keys.clone(),
            directory: keystone.directory.clone(),
            clock: self.clock.clone(),
            config: self.config.proxy.swift.clone(),
            region: self.config.region.clone(),
        }));
        s3.lifecycle(&self.config.lifecycle, self.clock.clone())
            .start(&self.tasks, self.health.register("lifecycle"));
        let metrics = self.metrics.clone();
        let parts = virga_proxy::server::Parts {
            listener,
            certificates: self.tls.as_ref().map(Tls::certificates),
            core: core.clone(),
            verifier: keystone.verifier.clone(),
            directory: keystone.directory.clone(),
            login: keystone
                .service
                .as_ref()
                .map(|service| login::through(service.router())),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            metrics: Some(Arc::new(move || metrics.render())),
            dialect: Some(s3),
        };
        let config = self.config.proxy.clone();
        let failing = health.clone();
        self.tasks.spawn(async move {
            if let Err(error) = virga_proxy::server::run(config, parts).await {
                tracing::error!(%error, "the proxy failed");
                failing.report(PartState::Failed(error.to_string()));
            }
        });
        health.ready();
        Ok(core)
    }
}

/// A ring device that says nothing but its address.
fn address_only(at: SocketAddr) -> virga_ring::Device {
    virga_ring::Device {
        id: virga_ring::DeviceId(0),
        region: 1,
        zone: 1,
        ip: at.ip().to_string(),
        port: at.port(),
        replication_ip: String::new(),
        replication_port: 0,
        device: String::new(),
        weight: 0.0,
        meta: String::new(),
        extra: Default::default(),
    }
}

/// An address that a client can be told.
fn reachable(at: SocketAddr) -> SocketAddr {
    match at.ip().is_unspecified() {
        true => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), at.port()),
        false => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_and_unknown_ones_named() {
        let read = |names: &[&str]| Roles::parse(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(read(&["proxy"]).map(Roles::names), Ok(vec!["proxy"]));
        assert_eq!(read(&["controller", "object-server"]).map(|r| r.proxy), Ok(false));
        assert!(read(&["pony"]).unwrap_err().contains("pony"));
    }

    #[test]
    fn clients_are_never_told_the_unspecified_address() {
        assert_eq!(
            reachable("0.0.0.0:80".parse().unwrap()).to_string(),
            "127.0.0.1:80"
        );
        assert_eq!(
            reachable("10.1.2.3:80".parse().unwrap()).to_string(),
            "10.1.2.3:80"
        );
    }
}
