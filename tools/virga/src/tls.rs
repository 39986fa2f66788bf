//! TLS of a process: which certificate its two ports show, and that it is
//! looked at again while the process runs.
//!
//! The files are the operator's, or those of the cloud's own [`Authority`],
//! which are then also kept young here.
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use virga_http::tls::Certificates;
use virga_node::clock::Clock;

use crate::authority::Authority;
use crate::config::CloudConfig;

/// Certificates in use.
#[derive(Clone, Debug)]
pub struct Tls {
    certificates: Arc<Certificates>,
    /// If the certificate is one of our own authority.
    authority: Option<Authority>,
    clock: Arc<dyn Clock>,
}

/// The authority of a cloud: for the names and addresses under which clients
/// may know it.
pub fn authority(config: &CloudConfig) -> Authority {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    names.push(host.trim().to_owned());
    let listens = |at: SocketAddr| (!at.ip().is_unspecified()).then(|| at.ip().to_string());
    names.extend(listens(config.front_door));
    names.extend(listens(config.object_store));
    for url in [&config.public_url, &config.object_url].into_iter().flatten() {
        let uri = url.parse::<http::Uri>().ok();
        let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
        names.push(host.trim_matches(['[', ']']).to_owned());
    }
    names.retain(|name| !name.is_empty());
    names.sort();
    names.dedup();
    Authority::new(&config.data, &config.secrets(), names)
}

/// The file that clients are to trust, if the certificate is our own authority's.
pub fn root_of(config: &CloudConfig) -> Option<PathBuf> {
    let authority = authority(config);
    (config.tls_cert == Some(authority.cert())).then(|| authority.root())
}

impl Tls {
    /// What the configuration names; makes or renews the certificate first if
    /// it is our own authority's. `None`: plain HTTP.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub fn open(config: &CloudConfig, clock: Arc<dyn Clock>) -> Result<Option<Self>, String> {
        let Some((cert, key)) = config.tls()? else {
            return Ok(None);
        };
        let authority = Some(authority(config)).filter(|own| own.cert() == cert);
        if let Some(authority) = &authority {
            authority.issue(&*clock).map_err(|e| format!("TLS: {e}"))?;
        }
        let certificates = load(cert, key)?;
        Ok(Some(Self {
            certificates: Arc::new(certificates),
            authority,
            clock,
        }))
    }

    /// What the ports show.
    pub fn certificates(&self) -> Arc<Certificates> {
        self.certificates.clone()
    }

    /// Renews what is old and reads what has changed.
    ///
    /// # Errors
    /// Why what is in use stays in use.
    pub fn look(&self) -> Result<(), String> {
        if let Some(authority) = &self.authority
            && authority.renew(&*self.clock).map_err(|e| e.to_string())?
        {
            tracing::info!("the certificate was made anew");
        }
        if self.certificates.reload_if_changed()? {
            tracing::info!("a new certificate is in use");
        }
        Ok(())
    }
}

fn load(cert: &Path, key: &Path) -> Result<Certificates, String> {
    Certificates::load(cert, key).map_err(|e| format!("TLS: {e}"))
}
