//! `/v3/roles`, what they imply, and `/v3/role_inferences`.
use axum::response::IntoResponse;
use serde_json::{Value, json};
use virga_identity_api::revocation::Revocation;
use virga_state::{StateError, Transaction, transact};

use super::ask::Ask;
use super::fields::{NAME, merge_options};
use super::projects;
use super::reply::{self, Reply};
use crate::fault::Fault;
use crate::model::new_id;
use crate::model::role::{self, Role, RoleGraph};

/// A role as the API shows it.
pub(crate) fn show_role(ask: &Ask, r: &Role) -> Value {
    let mut shown = Value::Object(r.extra.clone());
    shown["id"] = json!(r.id);
    shown["name"] = json!(r.name);
    shown["domain_id"] = json!(r.domain_id);
    shown["description"] = json!(r.description);
    shown["options"] = Value::Object(r.options.clone());
    shown["links"] = json!({"self": ask.url(&format!("/v3/roles/{}", r.id))});
    shown
}

/// Roles of a domain have rules of their own.
fn rule_for(role: &Role, of_cloud: &'static str, of_domain: &'static str) -> &'static str {
    if role.domain_id.is_some() {
        of_domain
    } else {
        of_cloud
    }
}

async fn found(
    ask: &Ask,
    param: &str,
    of_cloud: &'static str,
    of_domain: &'static str,
) -> Result<Role, Fault> {
    ask.caller()?;
    let id = ask.param(param);
    // That there is no such role is told to everyone with a token, as upstream
    // does: which rule counts depends on the role.
    let found = role::get(&mut ask.app.state.reader(), id).await?;
    let found = found.ok_or_else(|| Fault::not_found("role", id))?;
    let target = json!({"role": {"id": found.id, "name": found.name, "domain_id": found.domain_id}});
    ask.enforce(rule_for(&found, of_cloud, of_domain), target)?;
    Ok(found)
}

/// `GET /v3/roles`: the cloud's own, or those of a domain.
pub(crate) async fn list(ask: Ask) -> Reply {
    let domain = ask.query("domain_id");
    let rule = if domain.is_some() {
        "identity:list_domain_roles"
    } else {
        "identity:list_roles"
    };
    ask.enforce(rule, Value::Null)?;
    let mut roles = role::list(&mut ask.app.state.reader()).await?;
    roles.retain(|r| r.domain_id.as_deref() == domain);
    let items = roles.iter().map(|r| show_role(&ask, r)).collect();
    reply::list(&ask, "roles", items, &["name"])
}

/// `GET /v3/roles/{id}`.
pub(crate) async fn show(ask: Ask) -> Reply {
    let role = found(&ask, "role_id", "identity:get_role", "identity:get_domain_role").await?;
    reply::one("role", show_role(&ask, &role))
}

/// `POST /v3/roles`.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.caller()?;
    let mut fields = ask.fields("role")?;
    let domain_id = fields.id("domain_id")?.flatten();
    let rule = if domain_id.is_some() {
        "identity:create_domain_role"
    } else {
        "identity:create_role"
    };
    ask.enforce(rule, Value::Null)?;
    let mut options = fields.options(&["immutable"], &[])?;
    options.retain(|_, value| !value.is_null());
    let new = Role {
        id: new_id(),
        domain_id,
        name: fields.name(NAME)?,
        description: fields.short_text("description", NAME)?.flatten(),
        options,
        extra: fields.rest(),
    };
    let stored = transact!(ask.app.state, |tx| -> Result<(), Fault> {
        if let Some(domain) = &new.domain_id {
            projects::require_domain(tx, domain).await?;
        }
        role::insert(tx, &new).await?;
        Ok(ask.note(tx, "role", &new.id, "created").await?)
    });
    stored.map_err(|e| projects::duplicate(e, "role", &new.name, new.domain_id.as_deref()))?;
    reply::created("role", show_role(&ask, &new))
}

/// Revocations of tokens that carry the role of this name.
fn tokens_with(ask: &Ask, role: &Role) -> Vec<Revocation> {
    vec![Revocation {
        role: Some(role.name.clone()),
        ..ask.app.revocation()
    }]
}

/// Revocations of tokens that carry the role, or anything that it implies and
/// that may be lost with it: of a domain's role they carry only that.
async fn tokens_by(ask: &Ask, tx: &mut Transaction, role: &String) -> Result<Vec<Revocation>, StateError> {
    let graph = RoleGraph::load(tx).await?;
    let gone = graph.expand([role]);
    let gone = gone.iter().filter_map(|id| graph.role(id));
    Ok(gone.flat_map(|r| tokens_with(ask, r)).collect())
}

/// `PATCH /v3/roles/{id}`.
pub(crate) async fn update(ask: Ask) -> Reply {
    let before = found(
        &ask,
        "role_id",
        "identity:update_role",
        "identity:update_domain_role",
    )
    .await?;
    let mut role = before.clone();
    let mut fields = ask.changes("role")?;
    fields.same_id(&role.id)?;
    if fields
        .text("domain_id")?
        .is_some_and(|given| given != role.domain_id)
    {
        return Err(Fault::BadRequest("Cannot change Domain ID.".into()));
    }
    let options = fields.options(&["immutable"], &[])?;
    let lifted = options.get("immutable").is_some_and(|v| v != &json!(true));
    projects::check_immutable(&role.options, lifted, "role", &role.id)?;
    merge_options(&mut role.options, options);
    let renamed = fields.maybe_name(NAME)?.filter(|name| *name != role.name);
    if let Some(name) = &renamed {
        role.name.clone_from(name);
    }
    if let Some(description) = fields.short_text("description", NAME)? {
        role.description = description;
    }
    role.extra.extend(fields.rest());
    let app = &ask.app;
    let stored = transact!(app.state, |tx| -> Result<Vec<Revocation>, Fault> {
        Fault::unless_same(role::get(tx, &role.id).await?.as_ref(), &before)?;
        role::update(tx, &role).await?;
        // Tokens carry names: those with the old one must go.
        let events = match &renamed {
            Some(_) => tokens_with(&ask, &before),
            None => Vec::new(),
        };
        app.store_revocations(tx, &events).await?;
        ask.note(tx, "role", &role.id, "updated").await?;
        Ok(events)
    });
    let events = stored.map_err(|e| projects::duplicate(e, "role", &role.name, role.domain_id.as_deref()))?;
    app.announce(events);
    reply::one("role", show_role(&ask, &role))
}

/// `DELETE /v3/roles/{id}`.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let role = found(
        &ask,
        "role_id",
        "identity:delete_role",
        "identity:delete_domain_role",
    )
    .await?;
    projects::check_immutable(&role.options, false, "role", &role.id)?;
    let app = &ask.app;
    let events = transact!(app.state, |tx| -> Result<Vec<Revocation>, Fault> {
        let events = tokens_by(&ask, tx, &role.id).await?;
        role::delete(tx, &role.id).await?;
        app.store_revocations(tx, &events).await?;
        ask.note(tx, "role", &role.id, "deleted").await?;
        Ok(events)
    })?;
    app.announce(events);
    reply::nothing()
}

fn brief(ask: &Ask, r: &Role) -> Value {
    json!({
        "id": r.id,
        "name": r.name,
        "links": {"self": ask.url(&format!("/v3/roles/{}", r.id))},
    })
}

fn inference_body(ask: &Ask, prior: &Role, implied: Value, url: &str) -> Value {
    json!({
        "role_inference": {"prior_role": brief(ask, prior), "implies": implied},
        "links": {"self": ask.url(url)},
    })
}

/// `GET /v3/roles/{id}/implies`.
pub(crate) async fn implied(ask: Ask) -> Reply {
    let rule = "identity:list_implied_roles";
    let prior = found(&ask, "role_id", rule, rule).await?;
    let graph = ask.app.roles.graph().await?;
    let implied = graph.implied_by(&prior.id).iter().filter_map(|id| graph.role(id));
    let implied = implied.map(|r| brief(&ask, r)).collect();
    let body = inference_body(&ask, &prior, implied, &format!("/v3/roles/{}/implies", prior.id));
    Ok(axum::Json(body).into_response())
}

async fn pair(ask: &Ask, rule: &'static str) -> Result<(Role, Role), Fault> {
    let prior = found(ask, "role_id", rule, rule).await?;
    let id = ask.param("implied_id");
    let implied = role::get(&mut ask.app.state.reader(), id).await?;
    Ok((prior, implied.ok_or_else(|| Fault::not_found("role", id))?))
}

fn pair_body(ask: &Ask, prior: &Role, implied: &Role) -> Value {
    let url = format!("/v3/roles/{}/implies/{}", prior.id, implied.id);
    inference_body(ask, prior, brief(ask, implied), &url)
}

fn no_implication(ask: &Ask) -> Fault {
    Fault::NotFound(format!(
        "{} does not imply {}.",
        ask.param("role_id"),
        ask.param("implied_id")
    ))
}

async fn implies(ask: &Ask, prior: &Role, implied: &Role) -> Result<bool, Fault> {
    let all = role::implications(&mut ask.app.state.reader()).await?;
    Ok(all.iter().any(|(a, b)| *a == prior.id && *b == implied.id))
}

/// `GET /v3/roles/{id}/implies/{other}`.
pub(crate) async fn get_implication(ask: Ask) -> Reply {
    let (prior, implied) = pair(&ask, "identity:get_implied_role").await?;
    if !implies(&ask, &prior, &implied).await? {
        return Err(no_implication(&ask));
    }
    Ok(axum::Json(pair_body(&ask, &prior, &implied)).into_response())
}

/// `HEAD /v3/roles/{id}/implies/{other}`.
pub(crate) async fn check_implication(ask: Ask) -> Reply {
    let (prior, implied) = pair(&ask, "identity:check_implied_role").await?;
    if implies(&ask, &prior, &implied).await? {
        reply::nothing()
    } else {
        Err(no_implication(&ask))
    }
}

/// `PUT /v3/roles/{id}/implies/{other}`.
pub(crate) async fn imply(ask: Ask) -> Reply {
    let (prior, implied) = pair(&ask, "identity:create_implied_role").await?;
    if implied.name == "admin" && implied.domain_id.is_none() {
        return Err(Fault::Forbidden("No role may imply the role admin.".into()));
    }
    if implied.domain_id.is_some() && prior.domain_id.is_none() {
        return Err(Fault::Forbidden(
            "A role of a domain is not implied by a role of the cloud.".into(),
        ));
    }
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        let graph = role::RoleGraph::load(tx).await?;
        if graph.expand([&implied.id]).contains(&prior.id) {
            return Err(Fault::BadRequest(format!("{} would imply itself.", prior.id)));
        }
        if graph.implied_by(&prior.id).contains(&implied.id) {
            return Err(Fault::Conflict(
                "Conflict occurred attempting to store implied_role - Duplicate entry.".into(),
            ));
        }
        role::imply(tx, &prior.id, &implied.id).await?;
        Ok(ask.note(tx, "role", &prior.id, "implication added").await?)
    })?;
    Ok((
        http::StatusCode::CREATED,
        axum::Json(pair_body(&ask, &prior, &implied)),
    )
        .into_response())
}

/// `DELETE /v3/roles/{id}/implies/{other}`.
pub(crate) async fn imply_no_more(ask: Ask) -> Reply {
    let (prior, implied) = pair(&ask, "identity:delete_implied_role").await?;
    let app = &ask.app;
    let events = transact!(app.state, |tx| -> Result<Vec<Revocation>, Fault> {
        if !role::imply_no_more(tx, &prior.id, &implied.id).await? {
            return Err(no_implication(&ask));
        }
        let events = tokens_by(&ask, tx, &implied.id).await?;
        app.store_revocations(tx, &events).await?;
        ask.note(tx, "role", &prior.id, "implication removed").await?;
        Ok(events)
    })?;
    app.announce(events);
    reply::nothing()
}

/// `GET /v3/role_inferences`.
pub(crate) async fn inferences(ask: Ask) -> Reply {
    ask.enforce("identity:list_role_inference_rules", Value::Null)?;
    let graph = ask.app.roles.graph().await?;
    let roles = role::list(&mut ask.app.state.reader()).await?;
    let priors = roles
        .iter()
        .filter(|r| !graph.implied_by(&r.id).is_empty())
        .map(|prior| {
            let implied = graph.implied_by(&prior.id).iter().filter_map(|id| graph.role(id));
            let implied: Vec<_> = implied.map(|r| brief(&ask, r)).collect();
            json!({"prior_role": brief(&ask, prior), "implies": implied})
        });
    let body = json!({"role_inferences": priors.collect::<Vec<_>>(), "links": {"self": ask.self_url()}});
    Ok(axum::Json(body).into_response())
}
