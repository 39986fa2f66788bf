//! Connections to somebody else's HTTP port, plain or inside TLS: one request
//! each, read whole, within bounds of time and size. No redirects are followed.
//!
//! Identity asks OpenID providers by it, `virga verify` the object store, and
//! hosts without identity the one with it.
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tls;

/// How long is waited, and for how much.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Longest wait for the connection, the handshake of TLS included.
    pub connect: Duration,
    /// Longest wait for the whole answer, once connected.
    pub answer: Duration,
    /// Largest body of an answer, in bytes.
    pub body: usize,
}

/// Who is asked, and whose certificates are believed.
#[derive(Clone)]
pub struct Outward {
    tls: TlsConnector,
    bounds: Bounds,
}

impl std::fmt::Debug for Outward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outward").finish_non_exhaustive()
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let said = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let read = CertificateDer::pem_file_iter(path).map_err(|e| said(&e))?;
    for certificate in read {
        let certificate = certificate.map_err(|e| said(&e))?;
        roots.add(certificate).map_err(|e| said(&e))?;
    }
    if roots.is_empty() {
        return Err(said(&"holds no certificates in PEM"));
    }
    Ok(roots)
}

impl Outward {
    /// Trusts the certificates in `ca_file`, or those that the system trusts.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn new(ca_file: Option<&Path>, bounds: Bounds) -> Result<Self, String> {
        let config = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots(ca_file)?)
            .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            bounds,
        })
    }

    /// Sends a request to its URL, which names scheme and host, and reads the
    /// answer whole.
    ///
    /// # Errors
    /// A sentence that begins with the host.
    pub async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, String> {
        let (mut parts, body) = request.into_parts();
        let url = std::mem::take(&mut parts.uri);
        let authority = url.authority().map(ToString::to_string).unwrap_or_default();
        let failed = |why: &dyn std::fmt::Display| format!("{authority}: {why}");
        let host = authority.parse().map_err(|_| failed(&"no name of a host"))?;
        parts.headers.insert(HOST, host);
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = path
            .parse()
            .map_err(|_| failed(&"a path that cannot be asked for"))?;
        let request = Request::from_parts(parts, body);
        let Bounds {
            connect,
            answer,
            body,
        } = self.bounds;
        let stream = tokio::time::timeout(connect, self.open(&url))
            .await
            .map_err(|_| {
                failed(&format_args!(
                    "cannot be connected to within {}s",
                    connect.as_secs()
                ))
            })?
            .map_err(|e| failed(&e))?;
        tokio::time::timeout(answer, send(stream, request, body))
            .await
            .map_err(|_| failed(&format_args!("does not answer within {}s", answer.as_secs())))?
            .map_err(|e| failed(&e))
    }

    async fn open(&self, url: &Uri) -> Result<Box<dyn Wire>, String> {
        let host = url.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let secure = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("neither http:// nor https://".to_owned()),
        };
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host, port))
            .await
            .map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        if !secure {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
        let stream = self.tls.connect(name, stream).await.map_err(|e| e.to_string())?;
        Ok(Box::new(stream))
    }
}

/// What bytes go over.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// One request over a connection that is used for nothing else.
async fn send(
    stream: Box<dyn Wire>,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Response<Bytes>, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, most)
            .collect()
            .await
            .map_err(|e| e.to_string())?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The connection may be closed while the answer is still being read.
        ended = connection => {
            ended.map_err(|e| e.to_string())?;
            answer.await
        }
    }
}
