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
mod json_home;
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

use axum::extract::Request;
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
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn(|request, next| {
            dry_run::guard(REHEARSALS, request, next)
        }))
        .with_state(app);
    // Around the router: what it says of a path's methods comes last.
    let complete = Router::new()
        .fallback_service(routes)
        .layer(middleware::from_fn(complete));
    edge.wrap(complete)
}

/// What a path answers to a method that it has no handler of: `OPTIONS` asks
/// just for the methods, which the router tells, and needs no token.
async fn other_method(method: Method) -> Response {
    match method {
        Method::OPTIONS => StatusCode::OK.into_response(),
        _ => Fault::MethodNotAllowed.into_response(),
    }
}

/// Adds to every answer that it depends on the token, to every 401 where to
/// authenticate, and to a list of methods the one that every path has.
async fn complete(base: Option<Extension<BaseUrl>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("X-Auth-Token"));
    let allowed = headers.get(header::ALLOW).and_then(|v| v.to_str().ok());
    if let Some(allowed) = allowed {
        let mut methods: Vec<&str> = allowed.split(',').map(str::trim).chain(["OPTIONS"]).collect();
        methods.sort_unstable();
        methods.dedup();
        if let Ok(value) = HeaderValue::from_str(&methods.join(", ")) {
            headers.insert(header::ALLOW, value);
        }
    }
    if status == StatusCode::UNAUTHORIZED {
        let base = base.map_or_else(String::new, |b| b.0.0);
        if let Ok(value) = HeaderValue::from_str(&format!("Keystone uri=\"{base}/v3\"")) {
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
    }
    response
}
