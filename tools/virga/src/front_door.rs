//! The front door: one listener for every control-plane API, a path prefix
//! per service, health and metrics beside them.
use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use virga_node::health::Health;
use virga_node::task::Tasks;
use virga_node::telemetry::Metrics;

/// Adds `/healthcheck` and `/metrics` to the services' routes.
pub fn router(services: Router, health: Health, metrics: Metrics) -> Router {
    let healthcheck = get(move || {
        let serving = health.serving();
        async move {
            match serving {
                true => (StatusCode::OK, "OK").into_response(),
                false => (StatusCode::SERVICE_UNAVAILABLE, "not serving yet").into_response(),
            }
        }
    });
    let metrics = get(move || {
        let page = metrics.render();
        async move { ([("content-type", "text/plain; version=0.0.4")], page) }
    });
    services
        .route("/healthcheck", healthcheck)
        .route("/metrics", metrics)
}

/// Serves `router` until the daemon stops; requests in flight are finished.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(listener: TcpListener, router: Router, tasks: Tasks) -> std::io::Result<()> {
    let stop = tasks.stopping();
    axum::serve(NoDelay(listener), router)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
}

/// A listener whose connections do not wait to fill packets: an answer in two
/// small writes would otherwise wait 40 ms for the peer's acknowledgement.
struct NoDelay(TcpListener);

impl axum::serve::Listener for NoDelay {
    type Io = tokio::net::TcpStream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = axum::serve::Listener::accept(&mut self.0).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, %error, "no TCP_NODELAY on a connection");
        }
        (stream, address)
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}
