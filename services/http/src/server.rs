//! Serves a router on a port: connections bounded in number, heads bounded in
//! size and time, TLS if there are certificates, drained at the stop.
//!
//! Every request carries [`Peer`], who is at the other end. The object store's
//! door has a loop of its own, over the same [`Stream`].
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;
use virga_node::drain::DRAIN_LIMIT;
use virga_node::task::Tasks;

use crate::peer::Peer;
use crate::stream::Stream;
use crate::tls::Certificates;

/// Wait before another try, when a connection cannot be accepted: out of
/// descriptors, most likely, so others must end first.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Bounds of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Most connections at once; further ones wait to be accepted.
    pub max_connections: usize,
    /// Seconds a client may take for the TLS handshake and a request's head,
    /// and may idle between requests.
    pub header_timeout: u64,
    /// Seconds a client may take to accept the next bytes of an answer.
    pub client_timeout: u64,
    /// Bytes of a request's head in all.
    pub max_head_size: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            header_timeout: 60,
            client_timeout: 60,
            max_head_size: 64 * 1024,
        }
    }
}

/// What a port is served with.
struct Port {
    router: Router,
    certificates: Option<Arc<Certificates>>,
    http: http1::Builder,
    patience: Duration,
    tasks: Tasks,
}

/// Serves `router` on `listener` until the daemon stops; requests in flight are
/// finished.
pub async fn serve(
    listener: TcpListener,
    certificates: Option<Arc<Certificates>>,
    router: Router,
    config: &Config,
    tasks: Tasks,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(config.header_timeout.max(1)))
        // hyper refuses to work with less.
        .max_buf_size(config.max_head_size.max(8 * 1024));
    let connections = config.max_connections.clamp(1, Semaphore::MAX_PERMITS);
    let room = Arc::new(Semaphore::new(connections));
    let stop = tasks.stopping();
    let port = Arc::new(Port {
        router,
        certificates,
        http,
        patience: Duration::from_secs(config.client_timeout.max(1)),
        tasks: tasks.clone(),
    });
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, address, permit)) = accepted else {
            return;
        };
        tasks.spawn(port.clone().connection(stream, address, permit));
    }
}

/// The next connection, once there is room. `None` when the room is closed.
pub async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return Some((stream, address, permit)),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

impl Port {
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        _room: OwnedSemaphorePermit,
    ) {
        let peer = Peer {
            address,
            secure: self.certificates.is_some(),
        };
        let stream = Stream::new(stream, self.certificates.as_deref(), self.patience);
        let service = service_fn(|request: Request<Incoming>| {
            let router = self.router.clone();
            async move {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(peer);
                match router.oneshot(request).await {
                    Ok(response) => Ok::<_, Infallible>(response),
                    Err(never) => match never {},
                }
            }
        });
        let mut serving = std::pin::pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let stop = self.tasks.stopping();
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                match tokio::time::timeout(DRAIN_LIMIT, serving).await {
                    Ok(ended) => ended,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, %address, "a connection ended early");
        }
    }
}
