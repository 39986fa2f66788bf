//! `virga up`: a whole cloud on this machine, in one process. The first start
//! makes keys, rings, users and endpoints; every later one finds them.
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Instant;

use virga_node::clock::SystemClock;
use virga_proxy::swift::config::Policy;
use virga_ring::RingHandle;

use crate::Failure;
use crate::cli;
use crate::config::{CloudConfig, DeviceEntry};
use crate::credentials;
use crate::lock::FolderLock;
use crate::parts::{self, Company, Ready, Roles};
use crate::rings::{self, LocalDevice};
use crate::secrets;
use crate::tls;

/// Port in the rings. Nothing listens on it while all parts are one process.
const NODE_PORT: u16 = 6200;
/// Most devices that one flag makes.
const MAX_DEVICES: u16 = 256;
/// Copies when nothing else is said and there are devices enough.
const REPLICAS: u16 = 3;

/// Runs the cloud until a signal.
pub fn run(flags: &cli::Up) -> Result<(), Failure> {
    let begun = Instant::now();
    let metrics = virga_node::telemetry::install(flags.logging.log_format, &flags.logging.log)
        .map_err(|e| Failure::Usage(e.to_string()))?;
    secrets::private_folder(&flags.data).map_err(|e| format!("{}: {e}", flags.data.display()))?;
    let data = flags
        .data
        .canonicalize()
        .map_err(|e| format!("{}: {e}", flags.data.display()))?;
    let _lock = FolderLock::take(&data)?;
    let secrets = secrets::load_or_make(&data.join("secrets")).map_err(|e| e.to_string())?;
    let config = settle(flags, &data)?;
    parts::run_until_stopped(
        &config,
        &secrets,
        (Roles::ALL, Company::Alone),
        metrics,
        |ready| {
            let files = write_files(&config, &ready)?;
            announce(&config, &ready, &files, begun);
            Ok(())
        },
    )
}

/// The configuration in effect: the flags, and what the first start fixed.
fn settle(flags: &cli::Up, data: &Path) -> Result<CloudConfig, Failure> {
    let file = data.join("virga.toml");
    let before = match file.exists() {
        true => Some(CloudConfig::load(&file).map_err(|e| Failure::Usage(e.to_string()))?),
        false => None,
    };
    let devices = match &before {
        Some(before) => kept_devices(flags, before)?,
        None => first_devices(flags, data)?,
    };
    let node = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), NODE_PORT);
    let (proxy, workers, ring_watch) = match &before {
        Some(before) => (
            before.proxy.clone(),
            before.workers.clone(),
            before.ring_watch.clone(),
        ),
        None => (first_proxy(), Default::default(), Default::default()),
    };
    let mut config = CloudConfig {
        data: data.to_owned(),
        region: flags.region.clone(),
        public_url: flags.public_url.clone(),
        object_url: before.as_ref().and_then(|b| b.object_url.clone()),
        front_door: SocketAddr::new(flags.listen, flags.port),
        object_store: SocketAddr::new(flags.listen, flags.object_port),
        node,
        tls_cert: before.as_ref().and_then(|b| b.tls_cert.clone()),
        tls_key: before.as_ref().and_then(|b| b.tls_key.clone()),
        state: before.as_ref().and_then(|b| b.state.clone()),
        identity_host: before.as_ref().and_then(|b| b.identity_host.clone()),
        front: before.as_ref().map(|b| b.front.clone()).unwrap_or_default(),
        segment_bytes: before.as_ref().and_then(|b| b.segment_bytes),
        devices,
        proxy,
        identity: before.as_ref().map(|b| b.identity.clone()).unwrap_or_default(),
        workers,
        lifecycle: before.as_ref().map(|b| b.lifecycle.clone()).unwrap_or_default(),
        ring_watch,
    };
    settle_tls(flags, &mut config)?;
    make_missing_rings(flags, &config)?;
    Ok(config)
}

/// What the flags say of TLS; without any it stays as it was.
fn settle_tls(flags: &cli::Up, config: &mut CloudConfig) -> Result<(), Failure> {
    let absolute = |file: &PathBuf| {
        let found = file.canonicalize();
        found.map_err(|e| Failure::Usage(format!("{}: {e}", file.display())))
    };
    if flags.tls {
        let authority = tls::authority(config);
        (config.tls_cert, config.tls_key) = (Some(authority.cert()), Some(authority.key()));
    } else if let (Some(cert), Some(key)) = (&flags.tls_cert, &flags.tls_key) {
        (config.tls_cert, config.tls_key) = (Some(absolute(cert)?), Some(absolute(key)?));
    }
    Ok(())
}

/// Settings of the object store's door on the first start: two storage
/// policies, so that clients and operators that want to choose can.
fn first_proxy() -> virga_proxy::server::Config {
    let mut proxy = virga_proxy::server::Config::default();
    if let Some(first) = proxy.swift.policies.first().cloned() {
        proxy.swift.policies.push(Policy {
            index: 1,
            name: "Policy-1".into(),
            default: false,
            ..first
        });
    }
    proxy
}

fn first_devices(flags: &cli::Up, data: &Path) -> Result<Vec<DeviceEntry>, Failure> {
    let count = flags.devices.unwrap_or(1);
    if count == 0 || count > MAX_DEVICES {
        return Err(Failure::Usage(format!(
            "--devices {count}: from 1 to {MAX_DEVICES}"
        )));
    }
    let paths: Vec<PathBuf> = match flags.device.is_empty() {
        true => (1..=count).map(|n| data.join(format!("devices/d{n}"))).collect(),
        false => flags.device.clone(),
    };
    paths
        .into_iter()
        .enumerate()
        .map(|(n, path)| {
            std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let path = path
                .canonicalize()
                .map_err(|e| format!("{}: {e}", path.display()))?;
            Ok(DeviceEntry {
                name: format!("d{}", n + 1),
                path,
            })
        })
        .collect()
}

/// Devices are fixed by the first start: the rings say where data is, and this
/// command does not move any.
fn kept_devices(flags: &cli::Up, before: &CloudConfig) -> Result<Vec<DeviceEntry>, Failure> {
    let had = before.devices.len();
    let asked = if flags.device.is_empty() {
        flags.devices.map(usize::from)
    } else {
        Some(flags.device.len())
    };
    if let Some(asked) = asked.filter(|asked| *asked != had) {
        return Err(Failure::Usage(format!(
            "this cloud was made with {had} device(s), not {asked}; leave the flag out, or start a new cloud with --data"
        )));
    }
    Ok(before.devices.clone())
}

/// Makes the rings that are not there: all on the first start, later those of
/// storage policies that were added to the configuration.
fn make_missing_rings(flags: &cli::Up, config: &CloudConfig) -> Result<(), Failure> {
    let folder = config.rings();
    let missing = rings::missing(&folder, &rings::names(config.policies()));
    if missing.is_empty() {
        return Ok(());
    }
    let most = u16::try_from(config.devices.len()).unwrap_or(u16::MAX);
    let replicas = flags.replicas.map_or(REPLICAS.min(most), u16::from);
    if replicas == 0 || replicas > most {
        return Err(Failure::Usage(format!(
            "--replicas {replicas}: every copy needs a device of its own, and there are {most}"
        )));
    }
    // A policy that is added later has as many copies as the rest.
    let copies = match RingHandle::open(rings::ring_file(&folder, &rings::object_ring(0))) {
        Ok(ring) => ring.current().replica_count(),
        Err(_) => f64::from(replicas),
    };
    let local: Vec<LocalDevice> = config
        .devices
        .iter()
        .map(|d| LocalDevice {
            name: d.name.clone(),
            path: d.path.clone(),
        })
        .collect();
    let ip = config.node.ip().to_string();
    rings::make(
        &folder,
        &missing,
        &local,
        copies,
        (&ip, config.node.port()),
        &SystemClock,
    )
    .map_err(|e| Failure::Failed(e.to_string()))
}

/// Writes the configuration and the credentials with the URLs now in effect.
fn write_files(config: &CloudConfig, ready: &Ready) -> Result<Vec<PathBuf>, String> {
    let mut effective = config.clone();
    effective.front_door = ready.front_door.unwrap_or(config.front_door);
    effective.object_store = ready.object_store.unwrap_or(config.object_store);
    let text = effective.to_toml().map_err(|e| e.to_string())?;
    secrets::write_private(&config.data.join("virga.toml"), &text)
        .map_err(|e| format!("{}: {e}", config.data.display()))?;
    credentials::write_for(config, ready)
}

fn announce(config: &CloudConfig, ready: &Ready, files: &[PathBuf], begun: Instant) {
    let here = std::env::current_dir().unwrap_or_default();
    let shown = |path: &PathBuf| path.strip_prefix(&here).unwrap_or(path).display().to_string();
    println!("virga is ready ({:.1} s)", begun.elapsed().as_secs_f64());
    println!("  front door    {}  (identity at /v3)", ready.front_url);
    println!("  object store  {}", ready.object_url);
    for file in files {
        println!("  credentials   {}", shown(file));
    }
    if let Some(root) = tls::root_of(config) {
        println!(
            "  authority     {}  (trust it: OS_CACERT, AWS_CA_BUNDLE, curl --cacert)",
            shown(&root)
        );
    }
    if let Some(demo) = files.first() {
        println!(
            "Try: source {} && openstack token issue    (Ctrl-C here stops the cloud)",
            shown(demo)
        );
    }
}
