//! The edge of an API: what happens to every request before and after its
//! handler.
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use futures_util::FutureExt;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use tokio::sync::Semaphore;
use tower::ServiceExt;
use tracing::Instrument;
use virga_node::clock::Clock;

use crate::base_url::BaseUrl;
use crate::limits::{self, Buckets};
use crate::peer::{Network, Peer, Source};
use crate::request_id::{self, RequestId};

/// A request that the edge itself refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The announced body is too large: 413.
    TooLarge,
    /// The path is not valid: 400.
    BadPath,
    /// Too many requests from one address: 429.
    TooMany,
    /// Too many requests wait already: 503.
    Overloaded,
    /// The handler took too long: 504.
    Timeout,
    /// The handler panicked: 500.
    Panicked,
}

impl Refusal {
    /// The status that goes with it.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BadPath => StatusCode::BAD_REQUEST,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// How one API wants its edge.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Name of the service, for logs and metrics.
    pub service: &'static str,
    /// Path prefixes under which the API is published besides none; they are
    /// taken off the path and put into [`BaseUrl`].
    pub prefixes: &'static [&'static str],
    /// The configured public URL.
    pub public_url: Option<String>,
    /// Largest body, in bytes.
    pub max_body: usize,
    /// Longest time for one request.
    pub timeout: Duration,
    /// Requests in work at once.
    pub max_concurrent: usize,
    /// How long a request waits for its turn.
    pub max_wait: Duration,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Requests of one address, and the time by which they are counted.
    pub rate: Option<SourceRate>,
    /// Draws the service's own fault.
    pub fault: fn(Refusal) -> Response,
}

/// How often one address may ask; see [`Edge::rate`].
#[derive(Clone, Debug)]
pub struct SourceRate {
    /// A bucket for each address.
    pub buckets: Arc<Buckets>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// A path without double slashes and without one at the end, and what it was
/// published under. `None` if it is not a path.
fn normal_path(path: &str, prefixes: &[&'static str]) -> Option<(String, &'static str)> {
    if !path.starts_with('/') || path.contains("%00") {
        return None;
    }
    let mut normal = String::with_capacity(path.len());
    for segment in path.split('/').filter(|s| !s.is_empty()) {
        normal.push('/');
        normal.push_str(segment);
    }
    let fits = |p: &&&'static str| {
        normal
            .strip_prefix(**p)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let prefix = prefixes.iter().find(fits).copied().unwrap_or("");
    let mut rest = normal.split_off(prefix.len());
    if rest.is_empty() {
        rest.push('/');
    }
    Some((rest, prefix))
}

impl Edge {
    /// Wraps `inner`. The outcome answers every path; mount it as the fallback
    /// of the front door or nest it as a service without its prefix.
    pub fn wrap(self, inner: Router) -> Router {
        let turns = Arc::new(Semaphore::new(self.max_concurrent));
        let edge = Arc::new(self);
        let service = tower::service_fn(move |request: Request<Body>| {
            let (edge, turns, inner) = (edge.clone(), turns.clone(), inner.clone());
            async move { Ok::<_, Infallible>(edge.serve(request, &turns, inner).await) }
        });
        Router::new().fallback_service(service)
    }

    async fn serve(&self, mut request: Request<Body>, turns: &Semaphore, inner: Router) -> Response {
        let id = RequestId::generate();
        let span = tracing::info_span!(
            "request",
            service = self.service,
            id = %id.0,
            global_id = request_id::global_id(request.headers()),
            method = %request.method(),
            path = request.uri().path(),
        );
        request.extensions_mut().insert(id.clone());
        let mut response = async {
            match self.meter(&mut request) {
                Ok(()) => {}
                Err(wait) => return self.come_back(Refusal::TooMany, limits::retry_after(wait)),
            }
            match self.admit(&mut request) {
                Ok(()) => self.run(request, turns, inner).await,
                Err(refusal) => (self.fault)(refusal),
            }
        }
        .instrument(span)
        .await;
        let status = response.status().as_u16().to_string();
        metrics::counter!("http_requests_total", "service" => self.service, "status" => status).increment(1);
        response.headers_mut().insert(request_id::HEADER, id.header());
        response
    }

    /// Notes from where the request comes and counts it; how long to wait, if
    /// too many came from there.
    fn meter(&self, request: &mut Request<Body>) -> Result<(), Duration> {
        let Some(peer) = request.extensions().get::<Peer>() else {
            return Ok(());
        };
        let source = Source::of_request(peer.address.ip(), request.headers(), &self.trusted_proxies);
        request.extensions_mut().insert(source);
        match &self.rate {
            Some(rate) => rate.buckets.take(&source.whole(), rate.clock.now()),
            None => Ok(()),
        }
    }

    /// The service's fault, with the seconds to wait before another try.
    fn come_back(&self, refusal: Refusal, seconds: u64) -> Response {
        let mut response = (self.fault)(refusal);
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        response
    }

    fn admit(&self, request: &mut Request<Body>) -> Result<(), Refusal> {
        let announced = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok());
        if announced
            .and_then(|v| v.parse::<u64>().ok())
            .is_some_and(|n| n > self.max_body as u64)
        {
            return Err(Refusal::TooLarge);
        }
        let (path, prefix) = normal_path(request.uri().path(), self.prefixes).ok_or(Refusal::BadPath)?;
        let secure = request.extensions().get::<Peer>().is_some_and(|p| p.secure);
        let public = self.public_url.as_deref();
        let base = BaseUrl::of_request(public, request.headers(), request.uri(), secure);
        request.extensions_mut().insert(base.join(prefix));
        let target = match request.uri().query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        *request.uri_mut() = target.parse::<Uri>().map_err(|_| Refusal::BadPath)?;
        Ok(())
    }

    async fn run(&self, request: Request<Body>, turns: &Semaphore, inner: Router) -> Response {
        let turn = match tokio::time::timeout(self.max_wait, turns.acquire()).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) | Err(_) => return self.come_back(Refusal::Overloaded, 1),
        };
        let work = AssertUnwindSafe(inner.oneshot(request)).catch_unwind();
        let outcome = tokio::time::timeout(self.timeout, work).await;
        drop(turn);
        match outcome {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(panic)) => {
                let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
                let text = text
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_default();
                tracing::error!(panic = text, "a handler panicked");
                (self.fault)(Refusal::Panicked)
            }
            Err(_) => (self.fault)(Refusal::Timeout),
        }
    }
}

#[cfg(test)]
#[path = "edge_tests.rs"]
mod tests;
