//! `/healthcheck`: a plain "OK" while the process answers requests.
use axum::Router;
use axum::routing::get;

/// A router with the one route.
pub fn router() -> Router {
    Router::new().route("/healthcheck", get(async || "OK"))
}
