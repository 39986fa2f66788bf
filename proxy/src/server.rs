//! The HTTP door of the object store: connections in, answers out.
//!
//! One hyper connection task per client, bounded in number, in the size and
//! time of heads and in the idle time of bodies; drained when the daemon
//! stops. What a request means is decided by [`crate::swift`], or by a second
//! [`Dialect`] that claims it.
mod linger;
mod title_case;
mod wire;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version as HttpVersion};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use virga_http::server::accept;
use virga_http::stream::Stream;
use virga_http::tls::Certificates;
use virga_identity_api::verify::{Directory, TokenVerifier};
use virga_node::clock::Clock;
use virga_node::task::Tasks;
use virga_ring::affinity::{NodeCount, ReadAffinity, WriteAffinity};

use crate::core::{Affinity, Core};
use crate::swift::auth_v1::PasswordLogin;
use crate::swift::body::{Answer, full, nothing};
use crate::swift::conditional::format_date;
use crate::swift::config::Config as SwiftConfig;
use crate::swift::fault::{page, title};
use crate::swift::pages;
use crate::swift::transaction;
use crate::swift::upload::{Upload, UploadBounds};
use crate::swift::{Swift, SwiftParts};
use linger::Lingering;
use wire::{Answering, Sending, Traffic, Wire};

/// How many times more is read of what nobody wants when the connection has ended for
/// it: many clients look for an answer only when all is sent.
const AT_THE_END: u64 = 8;

/// Settings of the door.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Most connections at once; further ones wait to be accepted.
    pub max_connections: usize,
    /// Seconds a client may take for a request's head, and may idle between requests.
    pub header_timeout: u64,
    /// Seconds a client may take for the next bytes of a body.
    pub client_timeout: u64,
    /// Bytes of a request's head in all; also the read buffer of a connection.
    pub max_head_size: usize,
    /// Headers of a request.
    pub max_header_count: usize,
    /// Seconds that requests in flight get when the daemon stops.
    pub drain_timeout: u64,
    /// Bytes that are still read of a body nobody wants, so that the connection
    /// lasts for the next request. Where more come the connection ends, and up to
    /// eight times as many are read, so that the client sees the answer.
    pub linger_bytes: u64,
    /// See [`Affinity::read_affinity`].
    pub read_affinity: ReadAffinity,
    /// See [`Affinity::write_affinity`].
    pub write_affinity: WriteAffinity,
    /// See [`Affinity::write_affinity_node_count`].
    pub write_affinity_node_count: NodeCount,
    /// The same for the objects of single storage policies, by index; what is
    /// not said there is not preferred there.
    pub policy: BTreeMap<String, Affinity>,
    /// The Swift API.
    pub swift: SwiftConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 8192,
            header_timeout: 60,
            client_timeout: 60,
            max_head_size: 256 * 1024,
            max_header_count: 256,
            drain_timeout: 10,
            linger_bytes: 16 * 1024 * 1024,
            read_affinity: ReadAffinity::default(),
            write_affinity: WriteAffinity::default(),
            write_affinity_node_count: NodeCount::default(),
            policy: BTreeMap::new(),
            swift: SwiftConfig::default(),
        }
    }
}

impl Config {
    /// What to prefer, and what else for single storage policies.
    ///
    /// # Errors
    /// The key that names no storage policy.
    pub fn affinities(&self) -> Result<(Affinity, BTreeMap<u32, Affinity>), String> {
        let mut single = BTreeMap::new();
        for (key, affinity) in &self.policy {
            let index = key.parse().ok();
            let known = index.filter(|index| self.swift.policies.iter().any(|p| p.index == *index));
            let index = known.ok_or_else(|| {
                format!("[proxy.policy.{key}]: {key:?} is not the index of a storage policy of [[proxy.swift.policies]]")
            })?;
            single.insert(index, affinity.clone());
        }
        let all = Affinity {
            read_affinity: self.read_affinity.clone(),
            write_affinity: self.write_affinity.clone(),
            write_affinity_node_count: self.write_affinity_node_count,
        };
        Ok((all, single))
    }
}

/// Writes the metrics of the process in Prometheus' text format.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the door is made of.
pub struct Parts {
    /// Where clients come in.
    pub listener: TcpListener,
    /// What is shown to them, if connections are inside TLS.
    pub certificates: Option<Arc<Certificates>>,
    /// Where objects are.
    pub core: Core,
    /// From tokens to callers.
    pub verifier: Arc<dyn TokenVerifier>,
    /// From ids to names.
    pub directory: Arc<dyn Directory>,
    /// From passwords to tokens, for clients that ask here; `None`: nobody does.
    pub login: Option<Arc<dyn PasswordLogin>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where connections run; their stop is the door's.
    pub tasks: Tasks,
    /// What `/metrics` answers; `None`: there is no such path.
    pub metrics: Option<RenderMetrics>,
    /// A dialect beside Swift's, if there is one.
    pub dialect: Option<Arc<dyn Dialect>>,
}

/// A dialect that is served at the same door as Swift's: S3.
#[async_trait::async_trait]
pub trait Dialect: Send + Sync {
    /// Whether a request is this dialect's. All others are Swift's.
    fn claims(&self, uri: &Uri, headers: &HeaderMap) -> bool;
    /// What `/info` says of this dialect: its name there, and its limits.
    fn info(&self) -> (&'static str, serde_json::Value);
    /// Answers a request that was claimed; `id` is its transaction id. Extensions of it
    /// are its [`Origin`] and, where requests are counted, an
    /// `Arc<`[`Limiter`](crate::swift::ratelimit::Limiter)`>`.
    async fn answer(&self, request: Request<Upload>, id: &str) -> Answer;
}

/// Where a request of a [`Dialect`] came from: an extension of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Address of the client, or of the proxy in front of us.
    pub address: IpAddr,
    /// Whether it came inside TLS.
    pub secure: bool,
}

/// Why the door does not open.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting makes no sense.
    #[error("object store settings: {0}")]
    Config(String),
}

/// A door that is open: shared by all connections.
struct Door {
    certificates: Option<Arc<Certificates>>,
    swift: Swift,
    dialect: Option<Arc<dyn Dialect>>,
    uploads: UploadBounds,
    lingering: Lingering,
    tasks: Tasks,
    clock: Arc<dyn Clock>,
    suffix: String,
    metrics: Option<RenderMetrics>,
    http: http1::Builder,
    drain: Duration,
    patience: Duration,
}

/// Serves until the tasks are told to stop, then drains.
///
/// # Errors
/// [`RunError`] before the first connection; never later.
pub async fn run(config: Config, parts: Parts) -> Result<(), RunError> {
    config.swift.check().map_err(RunError::Config)?;
    if config.max_connections == 0 || config.max_head_size < 16 * 1024 {
        return Err(RunError::Config(
            "max_connections must be positive, max_head_size at least 16 KiB".into(),
        ));
    }
    let room = Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS)));
    let stop = parts.tasks.stopping();
    let (tasks, listener) = (parts.tasks.clone(), parts.listener);
    let uploads = UploadBounds {
        idle: Duration::from_secs(config.client_timeout),
        linger_bytes: config.linger_bytes,
        linger_time: Duration::from_secs(config.client_timeout.min(10)),
    };
    let secure = parts.certificates.is_some();
    let door = Arc::new(Door {
        certificates: parts.certificates,
        http: http_settings(&config),
        suffix: config.swift.trans_id_suffix.clone(),
        metrics: parts.metrics,
        dialect: parts.dialect.clone(),
        lingering: Lingering::new(
            uploads.linger_bytes.saturating_mul(AT_THE_END),
            uploads.linger_time,
            stop.clone(),
        ),
        uploads: uploads.clone(),
        tasks: parts.tasks.clone(),
        clock: parts.clock.clone(),
        drain: Duration::from_secs(config.drain_timeout),
        patience: Duration::from_secs(config.client_timeout),
        swift: Swift::new(SwiftParts {
            core: parts.core,
            config: config.swift,
            beside: parts.dialect.as_ref().map(|dialect| dialect.info()),
            verifier: parts.verifier,
            directory: parts.directory,
            login: parts.login,
            secure,
            clock: parts.clock,
            tasks: parts.tasks,
            uploads,
        }),
    });
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else {
            break;
        };
        tasks.spawn(connection(door.clone(), stream, peer, permit, stop.clone()));
    }
    drop(listener);
    // All permits are back when the last connection has ended.
    let all = u32::try_from(config.max_connections).unwrap_or(u32::MAX);
    if tokio::time::timeout(door.drain, room.acquire_many(all))
        .await
        .is_err()
    {
        tracing::warn!("connections were cut at the end of the drain");
    }
    Ok(())
}

fn http_settings(config: &Config) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(config.header_timeout))
        .max_buf_size(config.max_head_size)
        .max_headers(config.max_header_count)
        .keep_alive(true);
    http
}

async fn connection(
    door: Arc<Door>,
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
    stop: tokio_util::sync::CancellationToken,
) {
    let _permit = permit;
    let stream = Stream::new(stream, door.certificates.as_deref(), door.patience);
    let traffic = Arc::new(Traffic::default());
    let (answering, refusing) = (door.clone(), door.clone());
    let refuse = Arc::new(move |status, head: &[u8]| refusing.refuse(status, head));
    let wire = Wire::new(stream, traffic.clone(), refuse, door.lingering.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let open = traffic.begin(!request.body().is_end_stream());
        let door = answering.clone();
        async move { Ok::<_, Infallible>(door.answer(request, peer.ip(), open).await) }
    });
    let mut serving = std::pin::pin!(door.http.serve_connection(TokioIo::new(wire), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            match tokio::time::timeout(door.drain, serving).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection ended early");
    }
}

impl Door {
    async fn answer(&self, request: Request<Incoming>, peer: IpAddr, open: Answering) -> Response<Sending> {
        let keep_alive = asks_keep_alive(&request);
        // A client that waits to be asked for a body of no bytes is answered without
        // being asked. Some (botocore) then misread the connection's next answer.
        let unasked = request.headers().contains_key("expect") && request.body().is_end_stream();
        let extra = request
            .headers()
            .get("x-trans-id-extra")
            .and_then(|value| value.to_str().ok());
        let id = transaction::new_id(self.clock.now(), &self.suffix, extra);
        let span =
            tracing::debug_span!("request", id, method = %request.method(), path = request.uri().path());
        let mut answer = match (&self.metrics, request.uri().path()) {
            (Some(render), pages::METRICS) => metrics(render),
            _ => tracing::Instrument::instrument(self.in_dialect(request, peer, &id, &open), span).await,
        };
        let status = answer.status();
        if matches!(status.as_u16(), 413 | 416 | 499 | 500) {
            answer
                .extensions_mut()
                .insert(hyper::ext::ReasonPhrase::from_static(title(status).as_bytes()));
        }
        let headers = answer.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&id) {
            headers.insert(HeaderName::from_static("x-openstack-request-id"), value.clone());
            headers.insert(HeaderName::from_static("x-trans-id"), value);
        }
        if unasked {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        } else if status == StatusCode::LENGTH_REQUIRED || status == StatusCode::NOT_IMPLEMENTED {
            // Where the body ends is unknown: what follows cannot be a request.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        } else if keep_alive {
            headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
        }
        if status == StatusCode::NO_CONTENT {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            *answer.body_mut() = nothing();
        }
        answer.map(|body| Sending::new(body, open))
    }

    /// The answer of the dialect that the request is in, and the letters of its head.
    async fn in_dialect(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
        id: &str,
        open: &Answering,
    ) -> Answer {
        let claims = |dialect: &&Arc<dyn Dialect>| dialect.claims(request.uri(), request.headers());
        let Some(dialect) = self.dialect.as_ref().filter(claims) else {
            let answer = self.swift.handle(request, peer).await;
            open.in_title_case();
            return answer;
        };
        let hesitant = request.headers().contains_key("expect");
        let mut request =
            request.map(|body| Upload::new(body, hesitant, self.uploads.clone(), self.tasks.clone()));
        request.extensions_mut().insert(Origin {
            address: peer,
            secure: self.certificates.is_some(),
        });
        if let Some(limiter) = self.swift.limiter() {
            request.extensions_mut().insert(limiter);
        }
        dialect.answer(request, id).await
    }

    /// Our words for a head that could not be parsed. The connection ends after them.
    fn refuse(&self, status: StatusCode, head: &[u8]) -> Bytes {
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let (status, says) = match std::str::from_utf8(line) {
            Err(_) if status == StatusCode::BAD_REQUEST => (
                StatusCode::PRECONDITION_FAILED,
                "Invalid UTF8 or contains NULL".to_owned(),
            ),
            _ => (status, page(status)),
        };
        let (now, id) = (
            self.clock.now(),
            transaction::new_id(self.clock.now(), &self.suffix, None),
        );
        let mut words = String::new();
        let _ = write!(
            words,
            "HTTP/1.1 {} {}\r\nContent-Type: text/html; charset=UTF-8\r\nContent-Length: {}\r\n\
             X-Trans-Id: {id}\r\nX-Openstack-Request-Id: {id}\r\nDate: {}\r\nConnection: close\r\n\r\n",
            status.as_u16(),
            title(status),
            says.len(),
            format_date(now.as_secs()),
        );
        if !head.starts_with(b"HEAD ") {
            words.push_str(&says);
        }
        words.into()
    }
}

/// Whether the client names what HTTP/1.1 does anyway: some want it named back.
fn asks_keep_alive(request: &Request<Incoming>) -> bool {
    let asked = request.headers().get(CONNECTION);
    request.version() == HttpVersion::HTTP_11
        && asked.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"keep-alive"))
}

fn metrics(render: &RenderMetrics) -> Answer {
    let mut answer = Answer::new(full(render()));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, text);
    answer
}
