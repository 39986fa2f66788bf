//! One request to an OpenID provider: JSON back, within bounds of time and size,
//! no redirects, TLS unless the provider is this very host.
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest time for a whole request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer, in bytes.
const MAX_ANSWER: usize = 512 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{0} is not a URL that may be asked: https, or http on this host")]
    Url(String),
    #[error("{url} does not answer within {}s", TIMEOUT.as_secs())]
    Timeout { url: String },
    #[error("{url}: {why}")]
    Failed { url: String, why: String },
}

/// A secret that goes with a request: the client's id, and the secret itself.
pub(super) type Login<'a> = (&'a str, &'a str);

/// Asks providers.
pub(super) struct Client {
    tls: TlsConnector,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Whether a URL names this very host.
fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    host == "localhost" || address.is_ok_and(|a: std::net::IpAddr| a.is_loopback())
}

/// A URL that may be asked.
pub(super) fn allowed(url: &str) -> Result<Uri, FetchError> {
    let refused = || FetchError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| refused())?;
    match uri.scheme_str() {
        Some("https") if uri.host().is_some() => Ok(uri),
        Some("http") if is_loopback(&uri) => Ok(uri),
        _ => Err(refused()),
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

impl Client {
    /// A client that trusts the certificates in `ca_file`, or those that the
    /// system trusts.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let config = ClientConfig::builder_with_provider(virga_http::tls::provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots(ca_file)?)
            .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// `GET`.
    pub(super) async fn get(&self, url: &str) -> Result<Map<String, Value>, FetchError> {
        self.ask(url, |request| request.body(Full::default())).await
    }

    /// `POST` of a form, as the client that `login` names.
    pub(super) async fn post(
        &self,
        url: &str,
        (id, secret): Login<'_>,
        form: String,
    ) -> Result<Map<String, Value>, FetchError> {
        let login = STANDARD.encode(format!("{id}:{secret}"));
        self.ask(url, |request| {
            request
                .method("POST")
                .header(AUTHORIZATION, format!("Basic {login}"))
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Full::from(form))
        })
        .await
    }

    async fn ask(
        &self,
        url: &str,
        finish: impl FnOnce(http::request::Builder) -> http::Result<Request<Full<Bytes>>>,
    ) -> Result<Map<String, Value>, FetchError> {
        let failed = |why: String| FetchError::Failed {
            url: url.to_owned(),
            why,
        };
        let uri = allowed(url)?;
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let host = uri.authority().map_or("", |a| a.as_str());
        let request = Request::get(path)
            .header(HOST, host)
            .header(ACCEPT, "application/json");
        let request = finish(request).map_err(|e| failed(e.to_string()))?;
        let body = tokio::time::timeout(TIMEOUT, self.exchange(&uri, request)).await;
        let body = body
            .map_err(|_| FetchError::Timeout { url: url.to_owned() })?
            .map_err(failed)?;
        serde_json::from_slice(&body).map_err(|e| failed(format!("the answer is not a JSON object: {e}")))
    }

    async fn exchange(&self, uri: &Uri, request: Request<Full<Bytes>>) -> Result<Bytes, String> {
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host, port))
            .await
            .map_err(|e| e.to_string())?;
        if !secure {
            return send(stream, request).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
        let stream = self.tls.connect(name, stream).await.map_err(|e| e.to_string())?;
        send(stream, request).await
    }
}

/// One request over a connection that is used for nothing else.
async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<Bytes, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("it answers {}", response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        body.map(http_body_util::Collected::to_bytes)
            .map_err(|e| e.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_or_this_host_is_asked() {
        for url in [
            "https://login.example.org/x",
            "http://127.0.0.1:9/x",
            "http://localhost/",
            "http://[::1]:7/",
        ] {
            assert!(allowed(url).is_ok(), "{url}");
        }
        for url in [
            "http://login.example.org/",
            "file:///etc/passwd",
            "/x",
            "",
            "https:///x",
            "http://10.0.0.1/",
        ] {
            assert!(allowed(url).is_err(), "{url}");
        }
    }
}
