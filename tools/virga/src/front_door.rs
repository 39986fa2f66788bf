//! The front door: one port for every control-plane API, a path prefix per
//! service, health and metrics beside them. `virga_http::server` serves it.
use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use virga_node::health::Health;
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
