//! `/v3/OS-TRUST/trusts`: acting for another user.
use axum::response::IntoResponse;
use http::StatusCode;
use serde_json::{Value, json};
use virga_identity_api::caller::{Delegation, Scope};
use virga_identity_api::revocation::Revocation;
use virga_state::transact;

use super::application_credentials::role_ids;
use super::ask::Ask;
use super::fields::Fields;
use super::reply::{self, Reply};
use super::roles::show_role;
use super::token_body::time;
use crate::fault::Fault;
use crate::model::trust::{self, Trust};
use crate::model::{new_id, project, user};

fn path(t: &Trust) -> String {
    format!("/v3/OS-TRUST/trusts/{}", t.id)
}

fn brief(ask: &Ask, t: &Trust) -> Value {
    let mut shown = Value::Object(t.extra.clone());
    shown["id"] = json!(t.id);
    shown["trustor_user_id"] = json!(t.trustor_user_id);
    shown["trustee_user_id"] = json!(t.trustee_user_id);
    shown["project_id"] = json!(t.project_id);
    shown["impersonation"] = json!(t.impersonation);
    shown["expires_at"] = json!(t.expires_at.map(time));
    shown["deleted_at"] = Value::Null;
    shown["remaining_uses"] = json!(t.remaining_uses);
    shown["redelegation_count"] = json!(t.redelegation_count);
    shown["redelegated_trust_id"] = json!(t.redelegated_trust_id);
    shown["links"] = json!({"self": ask.url(&path(t))});
    shown
}

fn roles_links(ask: &Ask, t: &Trust) -> Value {
    json!({"self": ask.url(&format!("{}/roles", path(t))), "next": null, "previous": null})
}

async fn roles_of(ask: &Ask, t: &Trust) -> Result<Vec<Value>, Fault> {
    let graph = ask.app.roles.graph().await?;
    let ids = trust::role_ids(&mut ask.app.state.reader(), &t.id).await?;
    let roles = ids.iter().filter_map(|id| graph.role(id));
    Ok(roles.map(|r| show_role(ask, r)).collect())
}

async fn show(ask: &Ask, t: &Trust) -> Result<Value, Fault> {
    let mut shown = brief(ask, t);
    shown["roles"] = json!(roles_of(ask, t).await?);
    shown["roles_links"] = roles_links(ask, t);
    Ok(shown)
}

fn live(ask: &Ask, t: &Trust) -> bool {
    let over = t.expires_at.is_some_and(|at| at <= ask.app.clock.now());
    !over && t.remaining_uses != Some(0)
}

/// The trust of the path. Ids of trusts are random: that one is gone is told to
/// everyone with a token, as clients expect.
async fn found(ask: &Ask, action: &str) -> Result<Trust, Fault> {
    ask.caller()?;
    let id = ask.param("trust_id");
    let found = trust::get(&mut ask.app.state.reader(), id).await?;
    let found = found
        .filter(|t| live(ask, t))
        .ok_or_else(|| Fault::not_found("trust", id))?;
    let parties = json!({"trustor_user_id": found.trustor_user_id, "trustee_user_id": found.trustee_user_id});
    ask.enforce(action, json!({"trust": parties}))?;
    not_by_credential(ask)?;
    Ok(found)
}

/// Tokens of application credentials, OAuth access tokens and keys have nothing
/// to do with trusts; those of trusts may hand them on.
fn not_by_credential(ask: &Ask) -> Result<(), Fault> {
    let by_trust = matches!(ask.caller()?.delegation, Some(Delegation::Trust { .. })) && !ask.by_keys()?;
    match by_trust || !ask.is_delegated()? {
        true => Ok(()),
        false => Err(Fault::Forbidden(
            "You are not authorized to perform the requested action: Delegated tokens cannot manage trusts."
                .into(),
        )),
    }
}

/// `GET /v3/OS-TRUST/trusts`: all, or those of a trustor or trustee.
pub(crate) async fn list(ask: Ask) -> Reply {
    let (trustor, trustee) = (ask.query("trustor_user_id"), ask.query("trustee_user_id"));
    match (trustor, trustee) {
        (Some(id), _) => ask.enforce(
            "identity:list_trusts_for_trustor",
            json!({"trust": {"trustor_user_id": id}}),
        )?,
        (None, Some(id)) => ask.enforce(
            "identity:list_trusts_for_trustee",
            json!({"trust": {"trustee_user_id": id}}),
        )?,
        (None, None) => ask.enforce("identity:list_trusts", Value::Null)?,
    }
    not_by_credential(&ask)?;
    let mut all = trust::list(&mut ask.app.state.reader(), trustor, trustee).await?;
    all.retain(|t| live(&ask, t));
    let items = all.iter().map(|t| brief(&ask, t)).collect();
    reply::list(&ask, "trusts", items, &[])
}

/// `GET /v3/OS-TRUST/trusts/{id}`.
pub(crate) async fn show_one(ask: Ask) -> Reply {
    let trust = found(&ask, "identity:get_trust").await?;
    reply::one("trust", show(&ask, &trust).await?)
}

/// What a body says of how often the trust may be used and handed on.
struct Bounds {
    remaining_uses: Option<i64>,
    redelegation_count: i64,
}

fn bounds(ask: &Ask, fields: &mut Fields, above: Option<&Trust>) -> Result<Bounds, Fault> {
    let most = i64::from(ask.app.config.max_redelegation_count);
    let remaining_uses = fields.int("remaining_uses", 1)?.flatten();
    let wanted = fields.int("redelegation_count", 0)?.flatten();
    if fields.is_null("allow_redelegation") {
        fields.drop("allow_redelegation");
    }
    let allowed = fields.bool("allow_redelegation")?.unwrap_or(false) && wanted != Some(0);
    if !allowed {
        return Ok(Bounds {
            remaining_uses,
            redelegation_count: 0,
        });
    }
    if wanted.is_some_and(|n| n > most) {
        return Err(Fault::Forbidden(format!(
            "Requested redelegation depth of {} is greater than allowed {most}",
            wanted.unwrap_or_default()
        )));
    }
    if remaining_uses.is_some() {
        return Err(Fault::BadRequest(
            "remaining_uses must not be set if redelegation is allowed".into(),
        ));
    }
    let left = above.map(|t| t.redelegation_count - 1);
    if let (Some(wanted), Some(left)) = (wanted, left)
        && wanted != left
    {
        return Err(Fault::Forbidden(
            "Modifying \"redelegation_count\" upon redelegation is forbidden. Omitting this parameter is advised."
                .into(),
        ));
    }
    Ok(Bounds {
        remaining_uses: None,
        redelegation_count: wanted.or(left).unwrap_or(most),
    })
}

/// The trust that the token stands on, with those above it: a new trust then
/// hands it on.
async fn handed_on(ask: &Ask) -> Result<Vec<Trust>, Fault> {
    let Some(Delegation::Trust { id }) = &ask.caller()?.delegation else {
        return Ok(Vec::new());
    };
    let mut q = ask.app.state.reader();
    match trust::get(&mut q, id).await? {
        Some(above) => Ok(trust::pedigree(&mut q, &above).await?),
        None => Err(Fault::Unauthorized),
    }
}

/// 403 unless the new trust is within each of those that it hands on.
async fn check_pedigree(ask: &Ask, new: &Trust, roles: &[String], above: &[Trust]) -> Result<(), Fault> {
    let graph = ask.app.roles.graph().await?;
    for t in above {
        let no = |why: &str| Err(Fault::Forbidden(why.to_owned()));
        if t.redelegation_count <= new.redelegation_count || t.redelegation_count == 0 {
            return no("Remaining redelegation depth is less than what is asked for.");
        }
        if t.expires_at
            .is_some_and(|end| new.expires_at.is_none_or(|at| at > end))
        {
            return no("Requested expiration time is more than redelegated trust can provide.");
        }
        let given = trust::role_ids(&mut ask.app.state.reader(), &t.id).await?;
        if !graph.expand(roles).is_subset(&graph.expand(&given)) {
            return no("Some of requested roles are not in redelegated trust.");
        }
        if new.impersonation && !t.impersonation {
            return no(
                "Impersonation is not allowed because redelegated trust does not specify impersonation.",
            );
        }
        if t.project_id != new.project_id {
            return no("A trust is handed on for its own project only.");
        }
    }
    Ok(())
}

fn required_user(fields: &mut Fields, field: &str) -> Result<String, Fault> {
    let id = fields.required(field)?;
    if id.is_empty() || id.len() > 255 {
        return Err(Fault::BadRequest(format!(
            "Invalid input for field '{field}': it must have 1 to 255 characters."
        )));
    }
    Ok(id)
}

/// `POST /v3/OS-TRUST/trusts`.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.caller()?;
    let mut fields = ask.fields("trust")?;
    let trustor_user_id = required_user(&mut fields, "trustor_user_id")?;
    ask.enforce(
        "identity:create_trust",
        json!({"trust": {"trustor_user_id": trustor_user_id}}),
    )?;
    not_by_credential(&ask)?;
    let trustee_user_id = required_user(&mut fields, "trustee_user_id")?;
    let Some(impersonation) = fields.bool("impersonation")? else {
        return Err(Fault::expecting("impersonation", "trust"));
    };
    let project_id = fields.text("project_id")?.flatten().filter(|id| !id.is_empty());
    let roles = match fields.take("roles") {
        None => Vec::new(),
        Some(given) => role_ids(&ask, &given).await?,
    };
    if project_id.is_some() && roles.is_empty() {
        return Err(Fault::Forbidden(
            "You are not authorized to perform the requested action: At least one role should be specified."
                .into(),
        ));
    }
    let above = handed_on(&ask).await?;
    let bounds = bounds(&ask, &mut fields, above.first())?;
    let new = Trust {
        id: new_id(),
        trustor_user_id,
        trustee_user_id,
        project_id,
        impersonation,
        expires_at: fields.time_to_come("expires_at", ask.app.clock.now())?,
        remaining_uses: bounds.remaining_uses,
        redelegation_count: bounds.redelegation_count,
        redelegated_trust_id: above.first().map(|t| t.id.clone()),
        extra: {
            for known in ["deleted_at", "redelegated_trust_id", "roles_links"] {
                fields.drop(known);
            }
            fields.rest()
        },
    };
    check_roles(&ask, &new, &roles, &above).await?;
    check_pedigree(&ask, &new, &roles, &above).await?;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        if user::get(tx, &new.trustee_user_id).await?.is_none() {
            return Err(Fault::not_found("user", &new.trustee_user_id));
        }
        trust::insert(tx, &new, &roles).await?;
        Ok(ask.note(tx, "trust", &new.id, "created").await?)
    })?;
    reply::created("trust", show(&ask, &new).await?)
}

/// 404 unless whoever gives first has every role on the project; nobody has one
/// nowhere.
async fn check_roles(ask: &Ask, new: &Trust, roles: &[String], above: &[Trust]) -> Result<(), Fault> {
    let Some(project_id) = &new.project_id else {
        return match roles.first() {
            Some(role) => Err(Fault::not_found("role", role)),
            None => Ok(()),
        };
    };
    if project::get(&mut ask.app.state.reader(), project_id)
        .await?
        .is_none()
    {
        return Err(Fault::not_found("project", project_id));
    }
    let giver = above.last().map_or(&new.trustor_user_id, |t| &t.trustor_user_id);
    let held = ask
        .app
        .roles
        .held(
            &mut ask.app.state.reader(),
            giver,
            &Scope::Project(project_id.clone()),
        )
        .await?;
    match roles.iter().find(|id| !held.contains(*id)) {
        Some(missing) => Err(Fault::not_found("role", missing)),
        None => Ok(()),
    }
}

/// `DELETE /v3/OS-TRUST/trusts/{id}`: with all that hand it on; their tokens
/// end.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let trust = found(&ask, "identity:delete_trust").await?;
    let app = &ask.app;
    let events = transact!(app.state, |tx| -> Result<Vec<Revocation>, Fault> {
        let gone = trust::descent(tx, &trust.id).await?;
        let events: Vec<_> = gone.iter().map(|id| app.tokens_of_delegation(id)).collect();
        trust::delete(tx, &trust.id).await?;
        app.store_revocations(tx, &events).await?;
        ask.note(tx, "trust", &trust.id, "deleted").await?;
        Ok(events)
    })?;
    app.announce(events);
    reply::nothing()
}

/// `GET /v3/OS-TRUST/trusts/{id}/roles`.
pub(crate) async fn roles(ask: Ask) -> Reply {
    let trust = found(&ask, "identity:list_roles_for_trust").await?;
    let body = json!({"roles": roles_of(&ask, &trust).await?, "links": roles_links(&ask, &trust)});
    Ok(axum::Json(body).into_response())
}

/// `GET` and `HEAD /v3/OS-TRUST/trusts/{id}/roles/{role}`.
pub(crate) async fn role(ask: Ask) -> Reply {
    let trust = found(&ask, "identity:get_role_for_trust").await?;
    let id = ask.param("role_id");
    let roles = roles_of(&ask, &trust).await?;
    match roles.into_iter().find(|r| r["id"] == id) {
        Some(role) => Ok((StatusCode::OK, axum::Json(json!({"role": role}))).into_response()),
        None => Err(Fault::not_found("role", id)),
    }
}
