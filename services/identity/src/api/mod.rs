//! The routes, one file per resource.
//!
//! Every handler takes an [`ask::Ask`], the request parsed once, and answers
//! or fails with a [`crate::fault::Fault`]. Each asks policy by upstream's rule
//! name before it tells or changes anything.
mod access_rules;
mod application_credentials;
pub(crate) mod ask;
mod audit;
mod auth;
mod consumers;
mod credentials;
mod domain_config;
mod domains;
mod ec2_tokens;
mod endpoint_filters;
mod endpoints;
mod fields;
mod grants;
mod groups;
mod identity_providers;
mod limits;
mod mappings;
mod oauth2;
mod oauth_tokens;
mod policies;
mod projects;
mod protocols;
mod regions;
mod registered_limits;
mod reply;
mod revoke_events;
mod role_assignments;
mod roles;
mod routes;
mod service_providers;
mod services;
mod token_body;
mod tokens;
mod trusts;
mod users;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use http::{HeaderValue, Method, StatusCode, header};
use virga_http::base_url::BaseUrl;
use virga_http::dry_run::{self, Rehearsals};
use virga_http::edge::{Edge, SourceRate};
use virga_http::limits::Buckets;

use crate::app::App;
use crate::fault::Fault;

pub(crate) use fields::parse_time;
pub(crate) use token_body::time;

/// Methods and paths of the whole API.
pub(crate) fn listed() -> Vec<(&'static str, String)> {
    routes::all().listed
}

/// What the API is published under besides the root.
const PREFIX: &str = "/identity";

/// How long a request waits for its turn before it is told to come back.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// What can be rehearsed: everything but sign-ins. A token that was made cannot
/// be taken back, and a wrong password must count.
const REHEARSALS: Rehearsals = Rehearsals {
    possible: |method, path| {
        let sign_in = match path {
            "/v3/auth/tokens" => *method == Method::POST,
            "/v3/ec2tokens" | "/v3/s3tokens" | "/v3/users/{user_id}/password" => true,
            path => {
                path.contains("/OS-FEDERATION/") && path.ends_with("/auth")
                    || path.starts_with("/v3/auth/OS-FEDERATION/")
                    || path.starts_with("/v3/OS-OAUTH")
                        && (path.ends_with("_token") || path.ends_with("/token"))
            }
        };
        !sign_in
    },
    fault: |why| Fault::BadRequest(why.to_string()).into_response(),
};

/// The whole API behind its edge.
pub(crate) fn router(app: Arc<App>) -> Router {
    let limits = &app.config.rate_limits;
    let edge = Edge {
        service: "identity",
        prefixes: &[PREFIX],
        public_url: app.config.public_url.clone(),
        max_body: app.config.max_body,
        timeout: Duration::from_secs(app.config.request_timeout),
        max_concurrent: app.config.max_concurrent,
        max_wait: MAX_WAIT,
        trusted_proxies: limits.trusted_proxies.clone(),
        rate: Some(SourceRate {
            buckets: Arc::new(Buckets::new(limits.requests_per_source)),
            clock: app.clock.clone(),
        }),
        fault: |refusal| Fault::Edge(refusal).into_response(),
    };
    let routes = routes::all()
        .router
        .fallback(async || Fault::NoRoute)
        .method_not_allowed_fallback(async || Fault::MethodNotAllowed)
        .layer(middleware::from_fn(|request, next| {
            dry_run::guard(REHEARSALS, request, next)
        }))
        .layer(middleware::from_fn_with_state(app.clone(), name_the_authority))
        .with_state(app);
    edge.wrap(routes)
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
