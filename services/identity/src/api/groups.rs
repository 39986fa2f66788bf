//! `/v3/groups` and their members.
use serde_json::{Value, json};
use virga_identity_api::revocation::Revocation;
use virga_state::transact;

use super::ask::Ask;
use super::fields::SHORT_NAME;
use super::reply::{self, Reply};
use super::{projects, users};
use crate::fault::Fault;
use crate::model::group::{self, Group};
use crate::model::{new_id, user};

/// A group as the API shows it.
pub(crate) fn show_group(ask: &Ask, g: &Group) -> Value {
    let mut shown = Value::Object(g.extra.clone());
    shown["id"] = json!(g.id);
    shown["name"] = json!(g.name);
    shown["domain_id"] = json!(g.domain_id);
    shown["description"] = json!(g.description);
    shown["links"] = json!({"self": ask.url(&format!("/v3/groups/{}", g.id))});
    shown
}

/// The group of the path, after asking policy; with the user of the path if
/// there is one.
async fn found(ask: &Ask, action: &str) -> Result<Group, Fault> {
    ask.caller()?;
    let mut q = ask.app.state.reader();
    let (id, user_id) = (ask.param("group_id"), ask.param("user_id"));
    let found = group::get(&mut q, id).await?;
    let member = if user_id.is_empty() {
        None
    } else {
        user::get(&mut q, user_id).await?
    };
    let mut target = json!({});
    if let Some(g) = &found {
        target["group"] = json!({"id": g.id, "domain_id": g.domain_id});
    }
    if let Some(u) = &member {
        target["user"] = json!({"id": u.id, "domain_id": u.domain_id});
    }
    // Whether a group to be deleted is there is told first, as upstream does.
    if found.is_none() && action == "identity:delete_group" {
        return Err(Fault::not_found("group", id));
    }
    ask.enforce(action, target)?;
    let found = found.ok_or_else(|| Fault::not_found("group", id))?;
    if !user_id.is_empty() && member.is_none() {
        return Err(Fault::not_found("user", user_id));
    }
    Ok(found)
}

/// `GET /v3/groups`.
pub(crate) async fn list(ask: Ask) -> Reply {
    let mine = projects::listing_domain(&ask)?;
    ask.enforce("identity:list_groups", json!({"group": {"domain_id": mine}}))?;
    let domain = mine.as_deref().or(ask.query("domain_id"));
    let groups = group::list(&mut ask.app.state.reader(), domain, ask.query("name"), None).await?;
    let items = groups.iter().map(|g| show_group(&ask, g)).collect();
    reply::list(&ask, "groups", items, &["domain_id", "name"])
}

/// `GET /v3/groups/{id}`.
pub(crate) async fn show(ask: Ask) -> Reply {
    let group = found(&ask, "identity:get_group").await?;
    reply::one("group", show_group(&ask, &group))
}

/// `POST /v3/groups`.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.caller()?;
    let mut fields = ask.fields("group")?;
    fields.not_null(&["domain_id"])?;
    let given = fields.id("domain_id")?;
    ask.enforce(
        "identity:create_group",
        json!({"group": projects::named_domain(&given)}),
    )?;
    let domain_id = projects::domain_for_new(&ask, given).await?;
    let new = Group {
        id: new_id(),
        domain_id,
        name: fields.name(SHORT_NAME)?.trim().to_owned(),
        description: fields.text("description")?.flatten().unwrap_or_default(),
        extra: fields.rest(),
    };
    let stored = transact!(ask.app.state, |tx| -> Result<(), Fault> {
        projects::require_domain(tx, &new.domain_id).await?;
        group::insert(tx, &new).await?;
        Ok(ask.note(tx, "group", &new.id, "created").await?)
    });
    stored.map_err(|e| projects::duplicate(e, "group", &new.name, Some(&new.domain_id)))?;
    reply::created("group", show_group(&ask, &new))
}

/// `PATCH /v3/groups/{id}`.
pub(crate) async fn update(ask: Ask) -> Reply {
    let before = found(&ask, "identity:update_group").await?;
    let mut group = before.clone();
    let mut fields = ask.changes("group")?;
    fields.same_id(&group.id)?;
    if fields
        .text("domain_id")?
        .is_some_and(|given| given.as_deref() != Some(&group.domain_id))
    {
        return Err(Fault::BadRequest("Cannot change Domain ID.".into()));
    }
    if let Some(name) = fields.maybe_name(SHORT_NAME)? {
        name.trim().clone_into(&mut group.name);
    }
    if let Some(description) = fields.text("description")? {
        group.description = description.unwrap_or_default();
    }
    group.extra.extend(fields.rest());
    let stored = transact!(ask.app.state, |tx| -> Result<(), Fault> {
        Fault::unless_same(group::get(tx, &group.id).await?.as_ref(), &before)?;
        group::update(tx, &group).await?;
        Ok(ask.note(tx, "group", &group.id, "updated").await?)
    });
    stored.map_err(|e| projects::duplicate(e, "group", &group.name, Some(&group.domain_id)))?;
    reply::one("group", show_group(&ask, &group))
}

/// `DELETE /v3/groups/{id}`: members lose what they had by it.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let group = found(&ask, "identity:delete_group").await?;
    let app = &ask.app;
    let events = transact!(app.state, |tx| -> Result<Vec<Revocation>, Fault> {
        let mut events = Vec::new();
        for member in user::list(tx, None, None, Some(&group.id)).await? {
            events.extend(app.tokens_of_user(tx, &member.id).await?);
        }
        events.extend(app.tokens_of_given_group(tx, &group.id).await?);
        group::delete(tx, &group.id).await?;
        app.store_revocations(tx, &events).await?;
        ask.note(tx, "group", &group.id, "deleted").await?;
        Ok(events)
    })?;
    app.announce(events);
    reply::nothing()
}

/// `GET /v3/groups/{id}/users`.
pub(crate) async fn members(ask: Ask) -> Reply {
    let group = found(&ask, "identity:list_users_in_group").await?;
    let mine = projects::listing_domain(&ask)?;
    let members = user::list(
        &mut ask.app.state.reader(),
        mine.as_deref(),
        None,
        Some(&group.id),
    )
    .await?;
    let items = members.iter().map(|u| users::show_user(&ask, u)).collect();
    reply::list(&ask, "users", items, &["domain_id", "enabled", "name"])
}

fn no_member(ask: &Ask) -> Fault {
    Fault::NotFound(format!(
        "Could not find user {} in group {}.",
        ask.param("user_id"),
        ask.param("group_id")
    ))
}

/// `HEAD` and `GET /v3/groups/{id}/users/{user}`.
pub(crate) async fn check_member(ask: Ask) -> Reply {
    let group = found(&ask, "identity:check_user_in_group").await?;
    match group::has_member(&mut ask.app.state.reader(), &group.id, ask.param("user_id")).await? {
        true => reply::nothing(),
        false => Err(no_member(&ask)),
    }
}

/// `PUT /v3/groups/{id}/users/{user}`.
pub(crate) async fn add_member(ask: Ask) -> Reply {
    let group = found(&ask, "identity:add_user_to_group").await?;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        group::add_member(tx, &group.id, ask.param("user_id")).await?;
        Ok(ask.note(tx, "group", &group.id, "member added").await?)
    })?;
    reply::nothing()
}

/// `DELETE /v3/groups/{id}/users/{user}`.
pub(crate) async fn remove_member(ask: Ask) -> Reply {
    let group = found(&ask, "identity:remove_user_from_group").await?;
    let app = &ask.app;
    let events = transact!(app.state, |tx| -> Result<Vec<Revocation>, Fault> {
        if !group::remove_member(tx, &group.id, ask.param("user_id")).await? {
            return Err(no_member(&ask));
        }
        let events = app.tokens_of_user(tx, ask.param("user_id")).await?;
        app.store_revocations(tx, &events).await?;
        ask.note(tx, "group", &group.id, "member removed").await?;
        Ok(events)
    })?;
    app.announce(events);
    reply::nothing()
}
