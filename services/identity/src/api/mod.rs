//! The routes, one file per resource.
//!
//! Every handler takes an [`ask::Ask`], the request parsed once, and answers
//! or fails with a [`crate::fault::Fault`]. Each asks policy by upstream's rule
//! name before it tells or changes anything.
mod ask;
mod auth;
mod domains;
mod fields;
mod projects;
mod reply;
mod token_body;
mod tokens;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::{HeaderValue, StatusCode, header};
use virga_http::base_url::BaseUrl;
use virga_http::edge::Edge;

use crate::app::App;
use crate::fault::Fault;

/// How long a request waits for its turn before it is told to come back.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// The whole API behind its edge.
pub(crate) fn router(app: Arc<App>) -> Router {
    let edge = Edge {
        service: "identity",
        prefixes: &["/identity"],
        public_url: app.config.public_url.clone(),
        max_body: app.config.max_body,
        timeout: Duration::from_secs(app.config.request_timeout),
        max_concurrent: app.config.max_concurrent,
        max_wait: MAX_WAIT,
        fault: |refusal| Fault::Edge(refusal).into_response(),
    };
    let routes = Router::new()
        .route("/", get(versions::list))
        .route("/v3", get(versions::show))
        .merge(auth_routes())
        .merge(project_routes())
        .fallback(async || Fault::NoRoute)
        .method_not_allowed_fallback(async || Fault::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(app.clone(), name_the_authority))
        .with_state(app);
    edge.wrap(routes)
}

fn project_routes() -> Router<Arc<App>> {
    use projects as p;
    Router::new()
        .route("/v3/projects", get(p::list).post(p::create))
        .route(
            "/v3/projects/{project_id}",
            get(p::show).patch(p::update).delete(p::delete),
        )
        .route(
            "/v3/projects/{project_id}/tags",
            get(p::tags).put(p::set_tags).delete(p::clear_tags),
        )
        .route(
            "/v3/projects/{project_id}/tags/{tag}",
            get(p::has_tag).put(p::add_tag).delete(p::remove_tag),
        )
        .route("/v3/domains", get(domains::list).post(domains::create))
        .route(
            "/v3/domains/{domain_id}",
            get(domains::show).patch(domains::update).delete(domains::delete),
        )
}

fn auth_routes() -> Router<Arc<App>> {
    Router::new()
        .route(
            "/v3/auth/tokens",
            get(tokens::validate)
                .head(tokens::check)
                .post(tokens::issue)
                .delete(tokens::revoke),
        )
        .route("/v3/auth/catalog", get(auth::catalog))
        .route("/v3/auth/projects", get(auth::projects))
        .route("/v3/auth/domains", get(auth::domains))
        .route("/v3/auth/system", get(auth::system))
}

/// Adds to every 401 where to authenticate, and to every answer that it
/// depends on the token.
async fn name_the_authority(
    State(_): State<Arc<App>>,
    base: Option<Extension<BaseUrl>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("X-Auth-Token"));
    if response.status() == StatusCode::UNAUTHORIZED {
        let base = base.map_or_else(String::new, |b| b.0.0);
        if let Ok(value) = HeaderValue::from_str(&format!("Keystone uri=\"{base}\"")) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
    }
    response
}
