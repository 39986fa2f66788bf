//! How a token and a catalog look on the wire.
use serde_json::{Value, json};
use virga_node::clock::Micros;

use crate::app::CatalogRecords;
use crate::auth::tokens::{Backing, Place, Standing};
use crate::model::access_rule::StoredRule;
use crate::model::catalog::Endpoint;
use crate::model::project::Project;

/// Keystone's time: "2026-11-22T15:00:00.000000Z".
pub(crate) fn time(at: Micros) -> String {
    let micros = i64::try_from(at.0).unwrap_or(i64::MAX);
    let stamp = jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX);
    stamp.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// An access rule inside of another object.
pub(crate) fn access_rule(stored: &StoredRule) -> Value {
    let rule = &stored.rule;
    json!({"id": stored.id, "service": rule.service, "method": rule.method, "path": rule.path})
}

fn named(project: &Project) -> Value {
    json!({"id": project.id, "name": project.name})
}

/// The `token` object, with the catalog if there is one.
pub(crate) fn token(standing: &Standing, catalog: Option<&CatalogRecords>) -> Value {
    let payload = &standing.payload;
    let mut token = json!({
        "methods": payload.methods,
        "user": {
            "id": standing.user.id,
            "name": standing.user.name,
            "domain": named(&standing.user_domain),
            "password_expires_at": standing.user.password_expires_at.map(time),
        },
        "audit_ids": payload.audit_ids,
        "expires_at": time(payload.expires_at),
        "issued_at": time(payload.issued_at),
    });
    if let Some(by) = &payload.federation {
        let groups: Vec<Value> = by.groups.iter().map(|id| json!({"id": id})).collect();
        token["user"]["OS-FEDERATION"] = json!({
            "groups": groups,
            "identity_provider": {"id": by.identity_provider},
            "protocol": {"id": by.protocol},
        });
        if let Some(user) = token["user"].as_object_mut() {
            user.remove("password_expires_at");
        }
    }
    if let Some(providers) = catalog
        .map(|records| &records.service_providers)
        .filter(|p| !p.is_empty())
    {
        token["service_providers"] = providers
            .iter()
            .map(|s| json!({"id": s.id, "auth_url": s.auth_url, "sp_url": s.sp_url}))
            .collect();
    }
    match &standing.backing {
        Backing::User => {}
        Backing::ApplicationCredential(c, rules) => {
            let mut shown = json!({"id": c.id, "name": c.name, "restricted": !c.unrestricted});
            if !rules.is_empty() {
                shown["access_rules"] = rules.iter().map(access_rule).collect();
            }
            token["application_credential"] = shown;
        }
        Backing::AccessToken(t) => {
            token["OS-OAUTH1"] = json!({"access_token_id": t.id, "consumer_id": t.consumer_id});
        }
        Backing::Trust(t) => {
            token["OS-TRUST:trust"] = json!({
                "id": t.id,
                "impersonation": t.impersonation,
                "trustor_user": {"id": t.trustor_user_id},
                "trustee_user": {"id": t.trustee_user_id},
            });
        }
    }
    match &standing.place {
        Place::Unscoped => return token,
        Place::Project(project, domain) => {
            let mut shown = named(project);
            shown["domain"] = named(domain);
            token["project"] = shown;
            token["is_domain"] = json!(project.is_domain);
        }
        Place::Domain(domain) => token["domain"] = named(domain),
        Place::System => token["system"] = json!({"all": true}),
    }
    let roles = standing.roles.iter().map(|r| json!({"id": r.id, "name": r.name}));
    token["roles"] = roles.collect();
    if let Some(records) = catalog {
        let project = match &standing.place {
            Place::Project(project, _) => Some(project.id.as_str()),
            _ => None,
        };
        token["catalog"] = self::catalog(records, project, &standing.user.id);
    }
    token
}

/// Fills a URL template: `%(project_id)s`, `$(tenant_id)s`, `%(user_id)s`.
/// `None` if it needs a project and there is none, or names something else.
fn fill(template: &str, project: Option<&str>, user: &str) -> Option<String> {
    let mut url = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some(at) = rest.find(['%', '$']) {
        url.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        match tail.strip_prefix('(').and_then(|t| t.split_once(")s")) {
            Some(("project_id" | "tenant_id", after)) => {
                url.push_str(project?);
                rest = after;
            }
            Some(("user_id", after)) => {
                url.push_str(user);
                rest = after;
            }
            Some(_) => return None,
            None => {
                url.push_str(&rest[at..=at]);
                rest = tail;
            }
        }
    }
    url.push_str(rest);
    Some(url)
}

/// The catalog for one user and project.
pub(crate) fn catalog(records: &CatalogRecords, project: Option<&str>, user: &str) -> Value {
    let shown = |endpoint: &Endpoint| {
        let url = fill(&endpoint.url, project, user)?;
        Some(json!({
            "id": endpoint.id,
            "interface": endpoint.interface,
            "region": endpoint.region_id,
            "region_id": endpoint.region_id,
            "url": url,
        }))
    };
    let visible = records.endpoints_for(project);
    let services = records.services.iter().filter(|s| s.enabled).map(|service| {
        let of_service = visible.iter().filter(|e| e.enabled && e.service_id == service.id);
        let endpoints: Vec<Value> = of_service.filter_map(|e| shown(e)).collect();
        json!({
            "id": service.id,
            "type": service.kind,
            "name": service.name.as_deref().unwrap_or_default(),
            "endpoints": endpoints,
        })
    });
    services.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_templates_are_filled_or_left_out() {
        let with = |template| fill(template, Some("p"), "u");
        assert_eq!(
            with("http://h/v1/AUTH_%(project_id)s").unwrap(),
            "http://h/v1/AUTH_p"
        );
        assert_eq!(
            with("http://h/$(tenant_id)s/%(user_id)s/x").unwrap(),
            "http://h/p/u/x"
        );
        assert_eq!(with("http://h/100%/$5").unwrap(), "http://h/100%/$5");
        assert_eq!(with("http://h/%(password)s"), None);
        assert_eq!(fill("http://h/%(project_id)s", None, "u"), None);
        assert_eq!(fill("http://h/", None, "u").unwrap(), "http://h/");
    }

    #[test]
    fn times_have_six_decimals() {
        assert_eq!(time(Micros(1_766_400_000_000_001)), "2025-12-22T10:40:00.000001Z");
    }
}
