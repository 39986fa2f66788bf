//! The table of routes. Every route is also listed by method and path: a test
//! walks the list and compares it with the policy rules.
use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};

use super::{
    access_rules, application_credentials, audit, auth, consumers, credentials, domain_config, domains,
    ec2_tokens, endpoint_filters, endpoints, grants, groups, identity_providers, limits, mappings,
    oauth_tokens, oauth2, policies, projects, protocols, regions, registered_limits, revoke_events,
    role_assignments, roles, service_providers, services, tokens, trusts, users, versions,
};
use crate::app::App;
use crate::fault::Fault;

/// Routes under construction.
pub(super) struct Routes {
    pub(super) router: Router<Arc<App>>,
    pub(super) listed: Vec<(&'static str, String)>,
}

impl Routes {
    fn add<H, T>(mut self, (name, filter): (&'static str, MethodFilter), path: &str, handler: H) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        self.listed.push((name, path.to_owned()));
        self.router = self.router.route(path, on(filter, handler));
        self
    }

    /// `GET`, which answers `HEAD` too.
    fn get<H: Handler<T, Arc<App>>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.add(("GET", MethodFilter::GET), path, handler)
    }

    fn head<H: Handler<T, Arc<App>>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.add(("HEAD", MethodFilter::HEAD), path, handler)
    }

    fn post<H: Handler<T, Arc<App>>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.add(("POST", MethodFilter::POST), path, handler)
    }

    fn put<H: Handler<T, Arc<App>>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.add(("PUT", MethodFilter::PUT), path, handler)
    }

    fn patch<H: Handler<T, Arc<App>>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.add(("PATCH", MethodFilter::PATCH), path, handler)
    }

    fn delete<H: Handler<T, Arc<App>>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.add(("DELETE", MethodFilter::DELETE), path, handler)
    }
}

/// The whole API.
pub(super) fn all() -> Routes {
    let routes = Routes {
        router: Router::new(),
        listed: Vec::new(),
    };
    let routes = routes.get("/", versions::list).get("/v3", versions::show);
    let routes = user_routes(project_routes(auth_routes(routes)));
    let routes = grant_routes(role_routes(credential_routes(routes)));
    let routes = policy_routes(filter_routes(catalog_routes(routes)));
    not_built(federation_routes(delegation_routes(limit_routes(routes))))
}

fn auth_routes(routes: Routes) -> Routes {
    routes
        .get("/v3/auth/tokens", tokens::validate)
        .head("/v3/auth/tokens", tokens::check)
        .post("/v3/auth/tokens", tokens::issue)
        .delete("/v3/auth/tokens", tokens::revoke)
        .get("/v3/auth/catalog", auth::catalog)
        .get("/v3/auth/projects", auth::projects)
        .get("/v3/auth/domains", auth::domains)
        .get("/v3/auth/system", auth::system)
        .get("/v3/OS-REVOKE/events", revoke_events::list)
        .get("/v3/OS-VIRGA-AUDIT/records", audit::records)
        .get("/v3/OS-VIRGA-AUDIT/chain", audit::chain)
        .post("/v3/ec2tokens", ec2_tokens::ec2)
        .post("/v3/s3tokens", ec2_tokens::s3)
}

fn project_routes(routes: Routes) -> Routes {
    use domain_config as dc;
    use domains as d;
    use projects as p;
    let routes = routes
        .get("/v3/projects", p::list)
        .post("/v3/projects", p::create)
        .get("/v3/projects/{project_id}", p::show)
        .patch("/v3/projects/{project_id}", p::update)
        .delete("/v3/projects/{project_id}", p::delete)
        .get("/v3/projects/{project_id}/tags", p::tags)
        .put("/v3/projects/{project_id}/tags", p::set_tags)
        .delete("/v3/projects/{project_id}/tags", p::clear_tags)
        .get("/v3/projects/{project_id}/tags/{tag}", p::has_tag)
        .put("/v3/projects/{project_id}/tags/{tag}", p::add_tag)
        .delete("/v3/projects/{project_id}/tags/{tag}", p::remove_tag)
        .get("/v3/domains", d::list)
        .post("/v3/domains", d::create)
        .get("/v3/domains/{domain_id}", d::show)
        .patch("/v3/domains/{domain_id}", d::update)
        .delete("/v3/domains/{domain_id}", d::delete)
        .put("/v3/domains/{domain_id}/config", dc::create)
        .get("/v3/domains/config/default", dc::defaults)
        .get("/v3/domains/config/{group}/default", dc::defaults)
        .get("/v3/domains/config/{group}/{option}/default", dc::defaults);
    ["", "/{group}", "/{group}/{option}"]
        .iter()
        .fold(routes, |routes, part| {
            let path = format!("/v3/domains/{{domain_id}}/config{part}");
            routes
                .get(&path, dc::show)
                .patch(&path, dc::update)
                .delete(&path, dc::delete)
        })
}

fn user_routes(routes: Routes) -> Routes {
    use groups as g;
    use users as u;
    routes
        .get("/v3/users", u::list)
        .post("/v3/users", u::create)
        .get("/v3/users/{user_id}", u::show)
        .patch("/v3/users/{user_id}", u::update)
        .delete("/v3/users/{user_id}", u::delete)
        .post("/v3/users/{user_id}/password", u::change_password)
        .get("/v3/users/{user_id}/groups", u::groups_of)
        .get("/v3/users/{user_id}/projects", u::projects_of)
        .get("/v3/groups", g::list)
        .post("/v3/groups", g::create)
        .get("/v3/groups/{group_id}", g::show)
        .patch("/v3/groups/{group_id}", g::update)
        .delete("/v3/groups/{group_id}", g::delete)
        .get("/v3/groups/{group_id}/users", g::members)
        .get("/v3/groups/{group_id}/users/{user_id}", g::check_member)
        .put("/v3/groups/{group_id}/users/{user_id}", g::add_member)
        .delete("/v3/groups/{group_id}/users/{user_id}", g::remove_member)
}

fn credential_routes(routes: Routes) -> Routes {
    use access_rules as ar;
    use application_credentials as ac;
    use credentials as c;
    const APPLICATION: &str = "/v3/users/{user_id}/application_credentials";
    const ONE_APPLICATION: &str = "/v3/users/{user_id}/application_credentials/{application_credential_id}";
    const ONE_RULE: &str = "/v3/users/{user_id}/access_rules/{access_rule_id}";
    const EC2: &str = "/v3/users/{user_id}/credentials/OS-EC2";
    const ONE_EC2: &str = "/v3/users/{user_id}/credentials/OS-EC2/{access}";
    routes
        .get("/v3/credentials", c::list)
        .post("/v3/credentials", c::create)
        .get("/v3/credentials/{credential_id}", c::show)
        .patch("/v3/credentials/{credential_id}", c::update)
        .delete("/v3/credentials/{credential_id}", c::delete)
        .get(EC2, c::list_ec2)
        .post(EC2, c::create_ec2)
        .get(ONE_EC2, c::show_one_ec2)
        .delete(ONE_EC2, c::delete_ec2)
        .get(APPLICATION, ac::list)
        .post(APPLICATION, ac::create)
        .get(ONE_APPLICATION, ac::show_one)
        .delete(ONE_APPLICATION, ac::delete)
        .get("/v3/users/{user_id}/access_rules", ar::list)
        .get(ONE_RULE, ar::show_one)
        .delete(ONE_RULE, ar::delete)
}

fn role_routes(routes: Routes) -> Routes {
    use roles as r;
    const IMPLICATION: &str = "/v3/roles/{role_id}/implies/{implied_id}";
    routes
        .get("/v3/roles", r::list)
        .post("/v3/roles", r::create)
        .get("/v3/roles/{role_id}", r::show)
        .patch("/v3/roles/{role_id}", r::update)
        .delete("/v3/roles/{role_id}", r::delete)
        .get("/v3/roles/{role_id}/implies", r::implied)
        .get(IMPLICATION, r::get_implication)
        .head(IMPLICATION, r::check_implication)
        .put(IMPLICATION, r::imply)
        .delete(IMPLICATION, r::imply_no_more)
        .get("/v3/role_inferences", r::inferences)
        .get("/v3/role_assignments", role_assignments::list)
}

/// Grants: every target with every actor, and the inherited ones.
fn grant_routes(mut routes: Routes) -> Routes {
    let methods = |routes: Routes, list: &str, one: &str| {
        routes
            .get(list, grants::list)
            .get(one, grants::check)
            .put(one, grants::create)
            .delete(one, grants::revoke)
    };
    for actor in ["users/{user_id}", "groups/{group_id}"] {
        for target in ["projects/{project_id}", "domains/{domain_id}", "system"] {
            let list = format!("/v3/{target}/{actor}/roles");
            routes = methods(routes, &list, &format!("{list}/{{role_id}}"));
        }
        for target in ["projects/{project_id}", "domains/{domain_id}"] {
            let roles = format!("/v3/OS-INHERIT/{target}/{actor}/roles");
            let one = format!("{roles}/{{role_id}}/inherited_to_projects");
            routes = methods(routes, &format!("{roles}/inherited_to_projects"), &one);
        }
    }
    routes
}

fn catalog_routes(routes: Routes) -> Routes {
    use endpoints as e;
    use regions as r;
    use services as s;
    routes
        .get("/v3/regions", r::list)
        .post("/v3/regions", r::create)
        .get("/v3/regions/{region_id}", r::show)
        .put("/v3/regions/{region_id}", r::create)
        .patch("/v3/regions/{region_id}", r::update)
        .delete("/v3/regions/{region_id}", r::delete)
        .get("/v3/services", s::list)
        .post("/v3/services", s::create)
        .get("/v3/services/{service_id}", s::show)
        .patch("/v3/services/{service_id}", s::update)
        .delete("/v3/services/{service_id}", s::delete)
        .get("/v3/endpoints", e::list)
        .post("/v3/endpoints", e::create)
        .get("/v3/endpoints/{endpoint_id}", e::show)
        .patch("/v3/endpoints/{endpoint_id}", e::update)
        .delete("/v3/endpoints/{endpoint_id}", e::delete)
}

fn filter_routes(routes: Routes) -> Routes {
    use endpoint_filters as f;
    const GROUPS: &str = "/v3/OS-EP-FILTER/endpoint_groups";
    const ONE: &str = "/v3/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}";
    const GROUP_PROJECT: &str = "/v3/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/projects/{project_id}";
    const PROJECT_ENDPOINT: &str = "/v3/OS-EP-FILTER/projects/{project_id}/endpoints/{endpoint_id}";
    routes
        .get(GROUPS, f::list)
        .post(GROUPS, f::create)
        .get(ONE, f::show_one)
        .patch(ONE, f::update)
        .delete(ONE, f::delete)
        .get(&format!("{ONE}/endpoints"), f::endpoints_in)
        .get(&format!("{ONE}/projects"), f::projects_of_group)
        .get(GROUP_PROJECT, f::check_group)
        .put(GROUP_PROJECT, f::add_group)
        .delete(GROUP_PROJECT, f::remove_group)
        .get(
            "/v3/OS-EP-FILTER/endpoints/{endpoint_id}/projects",
            f::projects_of_endpoint,
        )
        .get(
            "/v3/OS-EP-FILTER/projects/{project_id}/endpoints",
            f::endpoints_of_project,
        )
        .get(
            "/v3/OS-EP-FILTER/projects/{project_id}/endpoint_groups",
            f::groups_of_project,
        )
        .get(PROJECT_ENDPOINT, f::check_endpoint)
        .put(PROJECT_ENDPOINT, f::add_endpoint)
        .delete(PROJECT_ENDPOINT, f::remove_endpoint)
}

fn policy_routes(routes: Routes) -> Routes {
    use policies as p;
    const ASSOCIATIONS: &str = "/v3/policies/{policy_id}/OS-ENDPOINT-POLICY";
    let routes = routes
        .get("/v3/policies", p::list)
        .post("/v3/policies", p::create)
        .get("/v3/policies/{policy_id}", p::show_one)
        .patch("/v3/policies/{policy_id}", p::update)
        .delete("/v3/policies/{policy_id}", p::delete)
        .get(&format!("{ASSOCIATIONS}/endpoints"), p::endpoints)
        .get(
            "/v3/endpoints/{endpoint_id}/OS-ENDPOINT-POLICY/policy",
            p::of_endpoint,
        );
    [
        "endpoints/{endpoint_id}",
        "services/{service_id}",
        "services/{service_id}/regions/{region_id}",
    ]
    .iter()
    .fold(routes, |routes, subject| {
        let path = format!("{ASSOCIATIONS}/{subject}");
        routes
            .get(&path, p::is_associated)
            .put(&path, p::associate)
            .delete(&path, p::dissociate)
    })
}

fn limit_routes(routes: Routes) -> Routes {
    use limits as l;
    use registered_limits as r;
    const REGISTERED: &str = "/v3/registered_limits/{registered_limit_id}";
    routes
        .get("/v3/registered_limits", r::list)
        .post("/v3/registered_limits", r::create)
        .get(REGISTERED, r::show_one)
        .patch(REGISTERED, r::update)
        .delete(REGISTERED, r::delete)
        .get("/v3/limits", l::list)
        .post("/v3/limits", l::create)
        .get("/v3/limits/model", l::model)
        .get("/v3/limits/{limit_id}", l::show_one)
        .patch("/v3/limits/{limit_id}", l::update)
        .delete("/v3/limits/{limit_id}", l::delete)
}

fn delegation_routes(routes: Routes) -> Routes {
    use consumers as c;
    use oauth_tokens as o;
    use trusts as t;
    const ACCESS_TOKEN: &str = "/v3/users/{user_id}/OS-OAUTH1/access_tokens/{access_token_id}";
    routes
        .get("/v3/OS-TRUST/trusts", t::list)
        .post("/v3/OS-TRUST/trusts", t::create)
        .get("/v3/OS-TRUST/trusts/{trust_id}", t::show_one)
        .delete("/v3/OS-TRUST/trusts/{trust_id}", t::delete)
        .get("/v3/OS-TRUST/trusts/{trust_id}/roles", t::roles)
        .get("/v3/OS-TRUST/trusts/{trust_id}/roles/{role_id}", t::role)
        .get("/v3/OS-OAUTH1/consumers", c::list)
        .post("/v3/OS-OAUTH1/consumers", c::create)
        .get("/v3/OS-OAUTH1/consumers/{consumer_id}", c::show_one)
        .patch("/v3/OS-OAUTH1/consumers/{consumer_id}", c::update)
        .delete("/v3/OS-OAUTH1/consumers/{consumer_id}", c::delete)
        .post("/v3/OS-OAUTH1/request_token", o::request_token)
        .put("/v3/OS-OAUTH1/authorize/{request_token_id}", o::authorize)
        .post("/v3/OS-OAUTH1/access_token", o::access_token)
        .post("/v3/OS-OAUTH2/token", oauth2::token)
        .get("/v3/users/{user_id}/OS-OAUTH1/access_tokens", o::list)
        .get(ACCESS_TOKEN, o::show_one)
        .delete(ACCESS_TOKEN, o::delete)
        .get(&format!("{ACCESS_TOKEN}/roles"), o::token_roles)
        .get(&format!("{ACCESS_TOKEN}/roles/{{role_id}}"), o::token_role)
}

fn federation_routes(routes: Routes) -> Routes {
    use identity_providers as i;
    use mappings as m;
    use protocols as p;
    use service_providers as s;
    const PROVIDER: &str = "/v3/OS-FEDERATION/identity_providers/{idp_id}";
    const PROTOCOLS: &str = "/v3/OS-FEDERATION/identity_providers/{idp_id}/protocols";
    const PROTOCOL: &str = "/v3/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}";
    const SIGN_IN: &str = "/v3/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/auth";
    const MAPPING: &str = "/v3/OS-FEDERATION/mappings/{mapping_id}";
    const SERVICE: &str = "/v3/OS-FEDERATION/service_providers/{service_provider_id}";
    routes
        .get("/v3/OS-FEDERATION/identity_providers", i::list)
        .get(PROVIDER, i::show_one)
        .put(PROVIDER, i::create)
        .patch(PROVIDER, i::update)
        .delete(PROVIDER, i::delete)
        .get(PROTOCOLS, p::list)
        .get(PROTOCOL, p::show_one)
        .put(PROTOCOL, p::create)
        .patch(PROTOCOL, p::update)
        .delete(PROTOCOL, p::delete)
        .get(SIGN_IN, p::sign_in)
        .post(SIGN_IN, p::sign_in)
        .get("/v3/OS-FEDERATION/mappings", m::list)
        .get(MAPPING, m::show_one)
        .put(MAPPING, m::create)
        .patch(MAPPING, m::update)
        .delete(MAPPING, m::delete)
        .get("/v3/OS-FEDERATION/service_providers", s::list)
        .get(SERVICE, s::show_one)
        .put(SERVICE, s::create)
        .patch(SERVICE, s::update)
        .delete(SERVICE, s::delete)
        .get("/v3/OS-FEDERATION/projects", auth::projects)
        .get("/v3/OS-FEDERATION/domains", auth::domains)
}

/// Known parts of the API that are not built: an honest 501, or 410 for what
/// Keystone has given up, too.
fn not_built(routes: Routes) -> Routes {
    async fn gone() -> Fault {
        Fault::Gone("This API is no longer available due to the removal of support for PKI tokens.".into())
    }
    async fn answer() -> Fault {
        Fault::NotImplemented(
            "Sign-in by SAML and by browser (websso) is not implemented; sign in with a bearer token of OpenID \
             Connect."
                .into(),
        )
    }
    const SSO: &str = "/v3/auth/OS-FEDERATION/websso/{protocol_id}";
    const SSO_OF: &str = "/v3/auth/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/websso";
    routes
        .get("/v3/OS-SIMPLE-CERT/ca", gone)
        .get("/v3/OS-SIMPLE-CERT/certificates", gone)
        .get("/v3/OS-FEDERATION/saml2/metadata", answer)
        .post("/v3/auth/OS-FEDERATION/saml2", answer)
        .post("/v3/auth/OS-FEDERATION/saml2/ecp", answer)
        .get(SSO, answer)
        .post(SSO, answer)
        .get(SSO_OF, answer)
        .post(SSO_OF, answer)
}
