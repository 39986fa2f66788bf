//! The routes, one file per resource.
//!
//! Every handler takes an [`ask::Ask`], the request parsed once, and answers
//! or fails with a [`crate::fault::Fault`]. Each asks policy by upstream's rule
//! name before it tells or changes anything.
mod ask;
mod auth;
mod credentials;
mod domains;
mod endpoints;
mod fields;
mod grants;
mod groups;
mod projects;
mod regions;
mod reply;
mod role_assignments;
mod roles;
mod services;
mod token_body;
mod tokens;
mod users;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};
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
        .merge(user_routes())
        .merge(role_routes())
        .merge(grant_routes())
        .merge(catalog_routes())
        .merge(not_built())
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

fn user_routes() -> Router<Arc<App>> {
    use credentials as c;
    use groups as g;
    use users as u;
    Router::new()
        .route("/v3/users", get(u::list).post(u::create))
        .route(
            "/v3/users/{user_id}",
            get(u::show).patch(u::update).delete(u::delete),
        )
        .route("/v3/users/{user_id}/password", post(u::change_password))
        .route("/v3/users/{user_id}/groups", get(u::groups_of))
        .route("/v3/users/{user_id}/projects", get(u::projects_of))
        .route(
            "/v3/users/{user_id}/credentials/OS-EC2",
            get(c::list_ec2).post(c::create_ec2),
        )
        .route(
            "/v3/users/{user_id}/credentials/OS-EC2/{access}",
            get(c::show_one_ec2).delete(c::delete_ec2),
        )
        .route("/v3/credentials", get(c::list).post(c::create))
        .route(
            "/v3/credentials/{credential_id}",
            get(c::show).patch(c::update).delete(c::delete),
        )
        .route("/v3/groups", get(g::list).post(g::create))
        .route(
            "/v3/groups/{group_id}",
            get(g::show).patch(g::update).delete(g::delete),
        )
        .route("/v3/groups/{group_id}/users", get(g::members))
        .route(
            "/v3/groups/{group_id}/users/{user_id}",
            get(g::check_member).put(g::add_member).delete(g::remove_member),
        )
}

fn role_routes() -> Router<Arc<App>> {
    use roles as r;
    Router::new()
        .route("/v3/roles", get(r::list).post(r::create))
        .route(
            "/v3/roles/{role_id}",
            get(r::show).patch(r::update).delete(r::delete),
        )
        .route("/v3/roles/{role_id}/implies", get(r::implied))
        .route(
            "/v3/roles/{role_id}/implies/{implied_id}",
            get(r::get_implication)
                .head(r::check_implication)
                .put(r::imply)
                .delete(r::imply_no_more),
        )
        .route("/v3/role_inferences", get(r::inferences))
        .route("/v3/role_assignments", get(role_assignments::list))
}

/// Grants: every target with every actor, and the inherited ones.
fn grant_routes() -> Router<Arc<App>> {
    let mut routes = Router::new();
    for actor in ["users/{user_id}", "groups/{group_id}"] {
        for target in ["projects/{project_id}", "domains/{domain_id}", "system"] {
            let list = format!("/v3/{target}/{actor}/roles");
            let one = format!("{list}/{{role_id}}");
            routes = routes
                .route(&list, get(grants::list))
                .route(&one, grant_methods());
        }
        for target in ["projects/{project_id}", "domains/{domain_id}"] {
            let list = format!("/v3/OS-INHERIT/{target}/{actor}/roles/inherited_to_projects");
            let one = format!("/v3/OS-INHERIT/{target}/{actor}/roles/{{role_id}}/inherited_to_projects");
            routes = routes
                .route(&list, get(grants::list))
                .route(&one, grant_methods());
        }
    }
    routes
}

fn grant_methods() -> MethodRouter<Arc<App>> {
    get(grants::check).put(grants::create).delete(grants::revoke)
}

fn catalog_routes() -> Router<Arc<App>> {
    use endpoints as e;
    use regions as r;
    use services as s;
    Router::new()
        .route("/v3/regions", get(r::list).post(r::create))
        .route(
            "/v3/regions/{region_id}",
            get(r::show).put(r::create).patch(r::update).delete(r::delete),
        )
        .route("/v3/services", get(s::list).post(s::create))
        .route(
            "/v3/services/{service_id}",
            get(s::show).patch(s::update).delete(s::delete),
        )
        .route("/v3/endpoints", get(e::list).post(e::create))
        .route(
            "/v3/endpoints/{endpoint_id}",
            get(e::show).patch(e::update).delete(e::delete),
        )
}

/// Known parts of the API that are not built: an honest 501, with a token.
fn not_built() -> Router<Arc<App>> {
    async fn answer(ask: ask::Ask) -> Fault {
        match ask.caller() {
            Ok(_) => Fault::NotImplemented("This part of the Identity API is not implemented.".into()),
            Err(fault) => fault,
        }
    }
    let mut routes = Router::new();
    for path in [
        "/v3/users/{user_id}/application_credentials",
        "/v3/users/{user_id}/application_credentials/{id}",
        "/v3/users/{user_id}/access_rules",
        "/v3/users/{user_id}/access_rules/{id}",
        "/v3/OS-TRUST/trusts",
        "/v3/OS-TRUST/trusts/{id}",
        "/v3/limits",
        "/v3/limits/{id}",
        "/v3/registered_limits",
        "/v3/registered_limits/{id}",
        "/v3/policies",
        "/v3/policies/{id}",
        "/v3/ec2tokens",
        "/v3/s3tokens",
    ] {
        routes = routes.route(path, any(answer));
    }
    routes
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
