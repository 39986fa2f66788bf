//! One request to an OpenID provider: JSON back, within bounds of time and size,
//! no redirects, TLS unless the provider is this very host.
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use serde_json::{Map, Value};
use virga_http::outward::{Bounds, Outward};

/// How long a provider may take, and for how much.
const BOUNDS: Bounds = Bounds {
    connect: Duration::from_secs(3),
    answer: Duration::from_secs(3),
    body: 512 * 1024,
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{0} is not a URL that may be asked: https, or http on this host")]
    Url(String),
    #[error("{url}: {why}")]
    Failed { url: String, why: String },
}

/// A secret that goes with a request: the client's id, and the secret itself.
pub(super) type Login<'a> = (&'a str, &'a str);

/// Asks providers.
#[derive(Debug)]
pub(super) struct Client(Outward);

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

impl Client {
    /// A client that trusts the certificates in `ca_file`, or those that the
    /// system trusts.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        Outward::new(ca_file, BOUNDS).map(Self)
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
        let request = Request::get(allowed(url)?).header(ACCEPT, "application/json");
        let request = finish(request).map_err(|e| failed(e.to_string()))?;
        let answer = self.0.ask(request).await.map_err(failed)?;
        if answer.status() != StatusCode::OK {
            return Err(failed(format!("it answers {}", answer.status())));
        }
        serde_json::from_slice(answer.body())
            .map_err(|e| failed(format!("the answer is not a JSON object: {e}")))
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
