//! The certificate that a TLS port shows, and its key, from two PEM files that
//! are read again when they change.
//!
//! TLS 1.2 and 1.3 by rustls, with the cryptography of `ring`: the one place
//! that names it. A pair that cannot be read, or whose key is another's, is an
//! error for the caller to tell; what was read before stays in use, and
//! connections that are open keep the certificate they began with.
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

/// The protocol inside; there is no HTTP/2.
const HTTP_1_1: &[u8] = b"http/1.1";

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate file is not what it should be.
    #[error("{path}: not a chain of certificates in PEM, the server's own first: {why}", path = .path.display())]
    Chain {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The key file is not what it should be.
    #[error("{path}: no private key in PEM: {why}", path = .path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The two do not go together, or TLS does not know their kind.
    #[error("{cert} and {key} do not go together: {why}", cert = .cert.display(), key = .key.display())]
    Pair {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What is wrong.
        why: rustls::Error,
    },
}

/// The provider of all cryptography in TLS.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Content of the two files.
#[derive(PartialEq, Eq)]
struct Pair {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

/// A certificate with its key, as last read.
pub struct Certificates {
    cert: PathBuf,
    key: PathBuf,
    current: ArcSwap<ServerConfig>,
    /// What was looked at last, good or not: a bad pair is judged once.
    seen: Mutex<(Pair, Option<String>)>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates")
            .field("cert", &self.cert)
            .finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads the chain (the server's own certificate first) and the key.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let pair = Pair::read(cert, key)?;
        let config = pair.config(cert, key)?;
        Ok(Self {
            cert: cert.to_owned(),
            key: key.to_owned(),
            current: ArcSwap::from_pointee(config),
            seen: Mutex::new((pair, None)),
        })
    }

    /// What new connections shake hands with.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Reads the files again; returns whether a new pair is in use.
    ///
    /// # Errors
    /// Why the files as they are now cannot be used, at every call until they
    /// can. What was in use stays so.
    pub fn reload_if_changed(&self) -> Result<bool, String> {
        let pair = Pair::read(&self.cert, &self.key).map_err(|e| e.to_string())?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0 == pair {
            return seen.1.clone().map_or(Ok(false), Err);
        }
        let outcome = pair.config(&self.cert, &self.key).map_err(|e| e.to_string());
        *seen = (pair, outcome.as_ref().err().cloned());
        self.current.store(Arc::new(outcome?));
        Ok(true)
    }
}

impl Pair {
    fn read(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::File {
                path: path.to_owned(),
                source,
            })
        };
        Ok(Self {
            cert: read(cert)?,
            key: Zeroizing::new(read(key)?),
        })
    }

    fn config(&self, cert: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
        let wrong_chain = |why: String| TlsError::Chain {
            path: cert.to_owned(),
            why,
        };
        let chain = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| wrong_chain(e.to_string()))?;
        if chain.is_empty() {
            return Err(wrong_chain("there is none in it".into()));
        }
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(|e| TlsError::Key {
            path: key.to_owned(),
            why: e.to_string(),
        })?;
        let no_pair = |why| TlsError::Pair {
            cert: cert.to_owned(),
            key: key.to_owned(),
            why,
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(no_pair)?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(no_pair)?;
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(config)
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
