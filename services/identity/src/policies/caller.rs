//! The caller as policy rules see it: names and meanings are upstream's.
use serde_json::{Value, json};
use virga_identity_api::caller::{Caller, Delegation, Scope};
use virga_identity_api::policy::ScopeKind;
use virga_state::StateError;

use crate::app::App;
use crate::model::{trust, user};

/// The kind of a scope; `None` for none.
pub(crate) fn scope_kind(scope: &Scope) -> Option<ScopeKind> {
    match scope {
        Scope::Unscoped => None,
        Scope::Project(_) => Some(ScopeKind::Project),
        Scope::Domain(_) => Some(ScopeKind::Domain),
        Scope::System => Some(ScopeKind::System),
    }
}

/// What rules compare with. What no rule looks at and takes a query to know is
/// left out: that is only ever an operator's rule.
pub(crate) async fn credentials(app: &App, caller: &Caller) -> Result<Value, StateError> {
    let rules = app.policy.rules();
    let mut token = json!({"user": {"id": caller.user_id}, "methods": caller.methods, "roles": caller.roles});
    let mut seen = json!({
        "user_id": caller.user_id, "project_id": null, "domain_id": null, "system_scope": null,
        "roles": caller.roles, "is_admin": false, "is_admin_project": true,
    });
    match &caller.scope {
        Scope::Unscoped => {}
        Scope::System => {
            seen["system_scope"] = json!("all");
            token["system"] = json!({"all": true});
        }
        Scope::Domain(id) => {
            seen["domain_id"] = json!(id);
            token["domain"] = json!({ "id": id });
        }
        Scope::Project(id) => {
            let domain = app.domain_of_project(id).await?;
            seen["project_id"] = json!(id);
            seen["project_domain_id"] = json!(domain);
            token["project"] = json!({"id": id, "domain": {"id": domain}});
        }
    }
    if rules.looks_at("user_domain_id") || rules.looks_at("token.user.domain") {
        let found = user::get(&mut app.state.reader(), &caller.user_id).await?;
        let domain = json!(found.map(|u| u.domain_id));
        token["user"]["domain"] = json!({ "id": domain });
        seen["user_domain_id"] = domain;
    }
    if let Some(delegation) = &caller.delegation {
        seen["is_delegated_auth"] = json!(true);
        if let Delegation::Trust { id } = delegation {
            seen["trust_id"] = json!(id);
            if rules.looks_at("trustor_id") || rules.looks_at("trustee_id") {
                let found = trust::get(&mut app.state.reader(), id).await?;
                seen["trustor_id"] = json!(found.as_ref().map(|t| &t.trustor_user_id));
                seen["trustee_id"] = json!(found.map(|t| t.trustee_user_id));
            }
        }
    }
    seen["token"] = token;
    Ok(seen)
}
