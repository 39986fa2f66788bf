//! The configuration of one host of a cloud: what `virga up` writes to
//! `DIR/virga.toml` and `virga run --config` reads.
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use virga_node::config::ConfigError;
use virga_object_server::config::WorkerSettings;

/// Everything a host needs to know beside the secrets in `DATA/secrets`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudConfig {
    /// Folder of keys, rings, records and the control socket. Hosts of one
    /// cloud share the content of its `secrets` and `rings`.
    pub data: PathBuf,
    /// Region in the catalog.
    #[serde(default = "region")]
    pub region: String,
    /// URL under which clients reach the front door, if not its listen address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// URL under which clients reach the object store, if it is not at its
    /// port on this host (other hosts run the proxies, or a balancer is before them).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_url: Option<String>,
    /// The certificate that both ports show: a PEM file, the server's own
    /// certificate first, then those between it and the authority. With it and
    /// `tls_key` both ports speak HTTPS only. Read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    /// The key of `tls_cert`: a PEM file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// Where the control-plane APIs listen.
    #[serde(default = "front_door")]
    pub front_door: SocketAddr,
    /// Where the object store listens.
    #[serde(default = "object_store")]
    pub object_store: SocketAddr,
    /// Address of this host's object server: as the rings name it.
    #[serde(default = "node")]
    pub node: SocketAddr,
    /// Size of new segment files, bytes; without it what suits a disk of today
    /// (64 MiB). For devices of less than some ten gigabytes: a device keeps
    /// four of them free for deletions, and spare ones ready.
    #[serde(
        default,
        deserialize_with = "segment_bytes",
        skip_serializing_if = "Option::is_none"
    )]
    pub segment_bytes: Option<u64>,
    /// Where identity keeps its records, if not in `DATA/state/identity.sqlite`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<virga_state::Config>,
    /// Where identity is, for a process without it that verifies tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_host: Option<IdentityHost>,
    /// Bounds of the front door's port.
    #[serde(default)]
    pub front: virga_http::server::Config,
    /// This host's devices.
    #[serde(default)]
    pub devices: Vec<DeviceEntry>,
    /// The object store's door: limits, policies, roles.
    #[serde(default)]
    pub proxy: virga_proxy::server::Config,
    /// Identity: life of tokens, policy file, limits, rules for passwords.
    #[serde(default)]
    pub identity: virga_identity::Settings,
    /// How often the object server's workers look for something to do.
    #[serde(default)]
    pub workers: WorkerSettings,
    /// How often the life-cycle rules of buckets are run.
    #[serde(default)]
    pub lifecycle: virga_s3::lifecycle::Settings,
    /// How ring files and ring changes are watched.
    #[serde(default, rename = "rings")]
    pub ring_watch: RingWatch,
}

/// How ring files and ring changes are watched; milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RingWatch {
    /// Between looks at the ring files.
    #[serde(deserialize_with = "period")]
    pub reload_ms: u64,
    /// Between questions to the nodes, while a ring change is under way, how
    /// far they are.
    #[serde(deserialize_with = "period")]
    pub movement_ms: u64,
    /// Longest time between two hosts taking a new ring into use; the rings
    /// before it are not forgotten earlier.
    pub grace_ms: u64,
    /// A device that has left a ring is not waited for when it has been silent
    /// for this long.
    pub gone_after_ms: u64,
}

impl Default for RingWatch {
    fn default() -> Self {
        Self {
            reload_ms: 1500,
            movement_ms: 2000,
            grace_ms: 60_000,
            gone_after_ms: 30_000,
        }
    }
}

/// A time between looks: long enough to rest, short enough to be noticed.
fn period<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let ms = u64::deserialize(from)?;
    match (10..=3_600_000).contains(&ms) {
        true => Ok(ms),
        false => Err(serde::de::Error::custom(format!("{ms} ms; from 10 to 3600000"))),
    }
}

/// A size that holds the largest batch and a header, in whole pages.
fn segment_bytes<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let bytes = u64::deserialize(from)?;
    match (8 << 20..=1 << 30).contains(&bytes) && bytes % 4096 == 0 {
        true => Ok(Some(bytes)),
        false => Err(serde::de::Error::custom(format!(
            "segments of {bytes} bytes; from 8388608 to 1073741824, in multiples of 4096"
        ))),
    }
}

fn region() -> String {
    "RegionOne".to_owned()
}

fn front_door() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 5000).into()
}

fn object_store() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 8080).into()
}

fn node() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 6200).into()
}

/// Where a process without identity asks for what only identity knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityHost {
    /// URL of the front door: "http://10.0.0.1:5000".
    pub url: String,
    /// Authorities whose certificates are believed, PEM; else the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// A device of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceEntry {
    /// Name in the rings.
    pub name: String,
    /// Folder.
    pub path: PathBuf,
}

impl CloudConfig {
    /// Reads a configuration file; relative folders are taken from where the file is.
    ///
    /// # Errors
    /// What is wrong, and in which line.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = virga_node::config::load(file)?;
        let folder = file.parent().unwrap_or(Path::new("."));
        // Collecting the components leaves out "." ("data = \".\"").
        config.data = folder.join(&config.data).components().collect();
        for device in &mut config.devices {
            device.path = folder.join(&device.path);
        }
        for file in [&mut config.tls_cert, &mut config.tls_key].into_iter().flatten() {
            *file = folder.join(&*file);
        }
        if let Some(file) = config
            .identity_host
            .as_mut()
            .and_then(|host| host.ca_file.as_mut())
        {
            *file = folder.join(&*file);
        }
        Ok(config)
    }

    /// The text of the file.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let head = "# The configuration in effect, written anew by every `virga up`.\n\
                    # To run parts of it as processes of their own: virga run --config THIS --role ...\n\n";
        Ok(format!("{head}{}", toml::to_string_pretty(self)?))
    }

    /// The files of the certificate and its key, if the ports speak TLS.
    ///
    /// # Errors
    /// When only one of them is named.
    pub fn tls(&self) -> Result<Option<(&Path, &Path)>, String> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            (Some(_), None) => Err("tls_cert is set and tls_key is not: TLS needs both".into()),
            (None, Some(_)) => Err("tls_key is set and tls_cert is not: TLS needs both".into()),
        }
    }

    /// The storage policies, by index.
    pub fn policies(&self) -> Vec<u32> {
        self.proxy.swift.policies.iter().map(|p| p.index).collect()
    }

    /// Folder of the shared secrets.
    pub fn secrets(&self) -> PathBuf {
        self.data.join("secrets")
    }

    /// Folder of the rings.
    pub fn rings(&self) -> PathBuf {
        self.data.join("rings")
    }

    /// Folder of copies of a ring: those in use, for a start in the middle of
    /// a ring change.
    pub fn ring_history(&self, ring: &str) -> PathBuf {
        self.rings().join("history").join(ring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_up_writes_run_reads() {
        let folder = tempfile::tempdir().unwrap();
        let config = CloudConfig {
            data: "/srv/cloud".into(),
            region: "RegionOne".into(),
            public_url: None,
            object_url: None,
            front_door: "127.0.0.1:5000".parse().unwrap(),
            object_store: "127.0.0.1:8080".parse().unwrap(),
            node: "127.0.0.1:6200".parse().unwrap(),
            tls_cert: Some("certs/a.pem".into()),
            tls_key: Some("/etc/a.key".into()),
            state: None,
            identity_host: Some(IdentityHost {
                url: "https://cloud:5000".into(),
                ca_file: Some("ca.pem".into()),
            }),
            front: virga_http::server::Config::default(),
            segment_bytes: Some(8 << 20),
            devices: vec![DeviceEntry {
                name: "d1".into(),
                path: "devices/d1".into(),
            }],
            proxy: virga_proxy::server::Config::default(),
            identity: virga_identity::Settings::default(),
            workers: WorkerSettings::default(),
            lifecycle: virga_s3::lifecycle::Settings { period_s: 60 },
            ring_watch: RingWatch::default(),
        };
        let file = folder.path().join("virga.toml");
        std::fs::write(&file, config.to_toml().unwrap()).unwrap();
        let read = CloudConfig::load(&file).unwrap();
        assert_eq!((read.front_door, &read.data), (config.front_door, &config.data));
        assert_eq!(read.devices[0].path, folder.path().join("devices/d1"));
        assert_eq!(read.proxy, config.proxy);
        assert_eq!(read.identity, config.identity);
        assert_eq!(read.segment_bytes, config.segment_bytes);
        assert_eq!(read.lifecycle, config.lifecycle);
        let (cert, key) = (folder.path().join("certs/a.pem"), Path::new("/etc/a.key"));
        assert_eq!(read.tls(), Ok(Some((cert.as_path(), key))));
        let host = read.identity_host.unwrap();
        assert_eq!(host.url, "https://cloud:5000");
        assert_eq!(host.ca_file, Some(folder.path().join("ca.pem")));
    }

    #[test]
    fn segments_too_small_for_a_batch_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("virga.toml");
        std::fs::write(&file, "data = \".\"\nsegment_bytes = 4096\n").unwrap();
        let why = CloudConfig::load(&file).unwrap_err().to_string();
        assert!(why.contains("from 8388608 to 1073741824"), "{why}");
    }

    #[test]
    fn half_of_tls_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("virga.toml");
        std::fs::write(&file, "data = \".\"\ntls_cert = \"a.pem\"\n").unwrap();
        let why = CloudConfig::load(&file).unwrap().tls().unwrap_err();
        assert!(why.contains("tls_key is not"), "{why}");
    }

    #[test]
    fn a_host_says_only_what_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("virga.toml");
        std::fs::write(&file, "data = \".\"\n").unwrap();
        let read = CloudConfig::load(&file).unwrap();
        assert_eq!(read.front_door.to_string(), "127.0.0.1:5000");
        assert_eq!((read.region.as_str(), read.devices.len()), ("RegionOne", 0));
        assert_eq!(read.policies(), [0]);
    }
}
