//! What the API offers, by relation: a JSON Home document
//! (draft-nottingham-json-home-03), for clients that ask `/` or `/v3` for
//! `application/json-home`.
//!
//! Called by [`super::versions`]. The names are Keystone's. A test compares the
//! table with the routes; what is not built (501) is not in it.
use serde_json::{Map, Value, json};

/// The media type.
pub(super) const MEDIA_TYPE: &str = "application/json-home";

/// What names of relations and parameters begin with.
const ROOT: &str = "https://docs.openstack.org/api/openstack-identity/3";

/// The table: a relation behind [`ROOT`] and a path behind `/v3` in each line.
const TABLE: &str = include_str!("json_home.txt");

/// Relations with their paths.
fn relations() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' '))
}

/// Relations that may still change.
const EXPERIMENTAL: [&str; 5] = [
    "rel/limits",
    "rel/limit",
    "rel/limit_model",
    "rel/registered_limits",
    "rel/registered_limit",
];

/// Parts of paths that Keystone's templates call otherwise.
const RENAMED: [(&str, &str); 4] = [
    ("/roles/{role_id}/implies", "/roles/{prior_role_id}/implies"),
    ("{implied_id}", "{implied_role_id}"),
    ("{tag}", "{value}"),
    ("{access}", "{credential_id}"),
];

/// The relation of what stands for `{name}` in a template.
fn parameter(name: &str) -> String {
    let (extension, name) = match name {
        "idp_id" | "protocol_id" | "mapping_id" | "service_provider_id" => ("/ext/OS-FEDERATION/1.0", name),
        "consumer_id" | "request_token_id" | "access_token_id" => ("/ext/OS-OAUTH1/1.0", name),
        "trust_id" => ("/ext/OS-TRUST/1.0", name),
        "endpoint_group_id" => ("/ext/OS-EP-FILTER/1.0", name),
        "prior_role_id" | "implied_role_id" => ("", "role_id"),
        "value" => ("", "tag_value"),
        "group" => ("", "config_group"),
        "option" => ("", "config_option"),
        _ => ("", name),
    };
    format!("{ROOT}{extension}/param/{name}")
}

/// Where a relation leads: a path, or a template with what goes into it.
fn target(prefix: &str, path: &str) -> Map<String, Value> {
    let template = RENAMED
        .iter()
        .fold(path.to_owned(), |path, (ours, theirs)| path.replace(ours, theirs));
    let names = template
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split('}').next());
    let vars: Map<String, Value> = names.map(|n| (n.to_owned(), json!(parameter(n)))).collect();
    let mut target = Map::new();
    if vars.is_empty() {
        target.insert("href".into(), json!(format!("{prefix}{template}")));
    } else {
        target.insert("href-template".into(), json!(format!("{prefix}{template}")));
        target.insert("href-vars".into(), Value::Object(vars));
    }
    target
}

/// The document, with paths behind `prefix`.
pub(super) fn document(prefix: &str) -> Value {
    let mut resources = Map::new();
    for (relation, path) in relations() {
        let mut target = target(prefix, path);
        if EXPERIMENTAL.contains(&relation) {
            target.insert("hints".into(), json!({"status": "experimental"}));
        }
        resources.insert(format!("{ROOT}/{relation}"), Value::Object(target));
    }
    json!({"resources": resources})
}

/// Whether a client that accepts `accept` would rather have the document than
/// plain JSON.
pub(super) fn is_wanted(accept: &str) -> bool {
    let quality = |wanted: &[&str]| {
        // The most specific that is named counts.
        wanted.iter().find_map(|kind| {
            accept.split(',').find_map(|offer| {
                let mut parts = offer.split(';').map(str::trim);
                let named = parts.next()?.eq_ignore_ascii_case(kind);
                let weight = parts.find_map(|p| p.strip_prefix("q=")?.trim().parse::<f32>().ok());
                named.then_some(weight.unwrap_or(1.0))
            })
        })
    };
    let document = quality(&[MEDIA_TYPE]).unwrap_or(0.0);
    document > quality(&["application/json", "application/*", "*/*"]).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Routes that no relation of Keystone's leads to, and why.
    const WITHOUT: &[(&str, &str)] = &[
        ("/", "where the document is"),
        ("/v3", "where the document is"),
        ("/v3/projects/{project_id}/tags", "Keystone has none"),
        (
            "/v3/OS-INHERIT/projects/{project_id}/users/{user_id}/roles/inherited_to_projects",
            "Keystone has no such route",
        ),
        (
            "/v3/OS-INHERIT/projects/{project_id}/groups/{group_id}/roles/inherited_to_projects",
            "Keystone has no such route",
        ),
        ("/v3/OS-VIRGA-AUDIT/records", "Keystone has no such route"),
        ("/v3/OS-VIRGA-AUDIT/chain", "Keystone has no such route"),
        (
            "/v3/OS-FEDERATION/projects",
            "the older name of /v3/auth/projects",
        ),
        ("/v3/OS-FEDERATION/domains", "the older name of /v3/auth/domains"),
        ("/v3/OS-SIMPLE-CERT/ca", "gone"),
        ("/v3/OS-SIMPLE-CERT/certificates", "gone"),
        ("/v3/OS-FEDERATION/saml2/metadata", "not built"),
        ("/v3/auth/OS-FEDERATION/saml2", "not built"),
        ("/v3/auth/OS-FEDERATION/saml2/ecp", "not built"),
        ("/v3/auth/OS-FEDERATION/websso/{protocol_id}", "not built"),
        (
            "/v3/auth/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/websso",
            "not built",
        ),
    ];

    #[test]
    fn every_route_has_a_relation_or_a_reason_and_every_relation_a_route() {
        let routes: BTreeSet<String> = super::super::listed().into_iter().map(|(_, path)| path).collect();
        let related: BTreeSet<String> = relations().map(|(_, path)| format!("/v3{path}")).collect();
        let without: BTreeSet<String> = WITHOUT.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert!(related.is_disjoint(&without));
        let told: BTreeSet<String> = related.union(&without).cloned().collect();
        let missing: Vec<_> = routes.difference(&told).collect();
        let stale: Vec<_> = told.difference(&routes).collect();
        assert!(
            missing.is_empty() && stale.is_empty(),
            "no relation: {missing:#?}; no route: {stale:#?}"
        );
    }

    #[test]
    fn templates_name_their_variables_as_keystone_does() {
        let document = document("/v3");
        let of = |relation: &str| document["resources"][format!("{ROOT}{relation}")].clone();
        assert_eq!(of("/rel/users"), json!({"href": "/v3/users"}));
        assert_eq!(
            of("/rel/implied_role"),
            json!({
                "href-template": "/v3/roles/{prior_role_id}/implies/{implied_role_id}",
                "href-vars": {"prior_role_id": format!("{ROOT}/param/role_id"),
                              "implied_role_id": format!("{ROOT}/param/role_id")},
            })
        );
        assert_eq!(
            of("/ext/OS-TRUST/1.0/rel/trust")["href-vars"]["trust_id"],
            json!(format!("{ROOT}/ext/OS-TRUST/1.0/param/trust_id"))
        );
        assert_eq!(of("/rel/limit_model")["hints"]["status"], "experimental");
        let resources = document["resources"].as_object().unwrap();
        for (relation, target) in resources {
            let template = target["href-template"].as_str().unwrap_or_default();
            let vars = target["href-vars"].as_object().map_or(0, Map::len);
            assert_eq!(template.matches('{').count(), vars, "{relation}");
        }
    }

    #[test]
    fn who_accepts_both_gets_plain_json() {
        for wanted in [
            MEDIA_TYPE,
            "application/json;q=0.2, application/json-home;q=0.8",
            "application/json-home;q=0.5, */*;q=0.1",
        ] {
            assert!(is_wanted(wanted), "{wanted}");
        }
        for other in [
            "",
            "*/*",
            "application/json",
            "application/json-home, application/json",
            "application/json-home;q=0.5, */*;q=0.8",
            "application/json-home;q=0",
            "text/html",
            "\u{fe}",
        ] {
            assert!(!is_wanted(other), "{other}");
        }
    }
}
