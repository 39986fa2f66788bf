//! `/v3/domains`.
use serde_json::{Value, json};
use virga_identity_api::revocation::Revocation;
use virga_state::{Transaction, transact};

use super::ask::Ask;
use super::fields::{Fields, NAME, SHORT_NAME};
use super::projects;
use super::reply::{self, Reply};
use crate::app::App;
use crate::bootstrap::DEFAULT_DOMAIN;
use crate::fault::Fault;
use crate::model::project::{self, Project};
use crate::model::{federation, group, new_id, role, user};

/// A domain as the API shows it.
pub(crate) fn show_domain(ask: &Ask, d: &Project, tags: &[String]) -> Value {
    let mut shown = Value::Object(d.extra.clone());
    shown["id"] = json!(d.id);
    shown["name"] = json!(d.name);
    shown["description"] = json!(d.description);
    shown["enabled"] = json!(d.enabled);
    shown["tags"] = json!(tags);
    shown["options"] = Value::Object(d.options.clone());
    shown["links"] = json!({"self": ask.url(&format!("/v3/domains/{}", d.id))});
    shown
}

async fn found(ask: &Ask, action: &str) -> Result<Project, Fault> {
    ask.caller()?;
    let id = ask.param("domain_id");
    let found = project::get(&mut ask.app.state.reader(), id)
        .await?
        .filter(|d| d.is_domain);
    let target = found
        .as_ref()
        .map_or_else(|| json!({}), |d| json!({"domain": {"id": d.id}}));
    ask.enforce(action, target)?;
    found.ok_or_else(|| Fault::not_found("domain", id))
}

/// `GET /v3/domains`.
pub(crate) async fn list(ask: Ask) -> Reply {
    let mine = projects::listing_domain(&ask)?;
    ask.enforce("identity:list_domains", json!({"domain": {"id": mine}}))?;
    let mut q = ask.app.state.reader();
    let mut domains = project::list(&mut q, true, None, ask.query("name")).await?;
    domains.retain(|d| mine.as_ref().is_none_or(|id| *id == d.id));
    let tags = project::all_tags(&mut q).await?;
    let shown = |d: &Project| show_domain(&ask, d, &projects::tags_of(&tags, &d.id));
    let items = domains.iter().map(shown).collect();
    reply::list(&ask, "domains", items, &["name", "enabled"])
}

/// `GET /v3/domains/{id}`.
pub(crate) async fn show(ask: Ask) -> Reply {
    let domain = found(&ask, "identity:get_domain").await?;
    let tags = project::tags(&mut ask.app.state.reader(), &domain.id).await?;
    reply::one("domain", show_domain(&ask, &domain, &tags))
}

/// The tags of a body, and what only projects have taken away.
fn tags_of_body(fields: &mut Fields) -> Result<Option<Vec<String>>, Fault> {
    fields.not_null(&["tags", "explicit_domain_id"])?;
    let tags = fields.texts("tags")?;
    projects::check_tags(tags.as_deref().unwrap_or_default())?;
    for of_projects in ["is_domain", "parent_id", "domain_id"] {
        fields.drop(of_projects);
    }
    Ok(tags)
}

/// `POST /v3/domains`.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.enforce("identity:create_domain", Value::Null)?;
    let mut fields = ask.fields("domain")?;
    let tags = tags_of_body(&mut fields)?.unwrap_or_default();
    let id = match fields.text("explicit_domain_id")?.flatten() {
        Some(id) if id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) => id.to_ascii_lowercase(),
        Some(_) => {
            return Err(Fault::BadRequest(
                "Invalid input for field 'explicit_domain_id'.".into(),
            ));
        }
        None => new_id(),
    };
    let new = Project {
        id,
        domain_id: None,
        parent_id: None,
        name: fields.name(SHORT_NAME)?.trim().to_owned(),
        description: fields
            .short_text("description", NAME)?
            .flatten()
            .unwrap_or_default(),
        enabled: fields.bool("enabled")?.unwrap_or(true),
        is_domain: true,
        options: fields.options(&["immutable"], &[])?,
        extra: fields.rest(),
    };
    let stored = transact!(ask.app.state, |tx| -> Result<(), Fault> {
        project::insert(tx, &new).await?;
        project::set_tags(tx, &new.id, &tags).await?;
        ask.note(tx, "domain", &new.id, "created").await?;
        Ok(())
    });
    stored.map_err(|e| projects::duplicate(e, "domain", &new.name, None))?;
    reply::created("domain", show_domain(&ask, &new, &tags))
}

/// Revocations for a domain that is disabled or deleted: its own tokens, those
/// of its users and of its projects.
async fn tokens_of_domain(app: &App, tx: &mut Transaction, id: &str) -> Result<Vec<Revocation>, Fault> {
    let mut events = vec![Revocation {
        domain_id: Some(id.to_owned()),
        ..app.revocation()
    }];
    for user in user::list(tx, Some(id), None, None).await? {
        events.extend(app.tokens_of_user(tx, &user.id).await?);
    }
    for provider in federation::providers(tx, Some(id)).await? {
        events.extend(app.tokens_of_provider(tx, &provider.id, None).await?);
    }
    for group in group::list(tx, Some(id), None, None).await? {
        events.extend(app.tokens_of_given_group(tx, &group.id).await?);
    }
    for project in project::list(tx, false, Some(id), None).await? {
        events.push(projects::tokens_of_project(app, &project.id));
    }
    Ok(events)
}

/// `PATCH /v3/domains/{id}`.
pub(crate) async fn update(ask: Ask) -> Reply {
    ask.caller()?;
    let id = ask.param("domain_id");
    // Told to everyone with a token, as upstream does.
    projects::require_domain(&mut ask.app.state.reader(), id).await?;
    let before = found(&ask, "identity:update_domain").await?;
    let mut checked = ask.changes("domain")?;
    checked.same_id(&before.id)?;
    let tags = tags_of_body(&mut checked)?;
    checked.short_text("description", NAME)?;
    let app = &ask.app;
    type Changed = (Project, Vec<String>, Vec<Revocation>);
    let stored = transact!(app.state, |tx| -> Result<Changed, Fault> {
        let mut fields = ask.fields("domain")?;
        tags_of_body(&mut fields)?;
        let id = &before.id;
        let mut d = project::get(tx, id)
            .await?
            .ok_or_else(|| Fault::not_found("domain", id))?;
        let disabled = projects::change(tx, &mut d, &mut fields).await?;
        d.extra.extend(fields.rest());
        project::update(tx, &d).await?;
        if let Some(tags) = &tags {
            project::set_tags(tx, id, tags).await?;
        }
        let events = if disabled {
            tokens_of_domain(app, tx, id).await?
        } else {
            Vec::new()
        };
        app.store_revocations(tx, &events).await?;
        ask.note(tx, "domain", id, "updated").await?;
        Ok((d, project::tags(tx, id).await?, events))
    });
    let (domain, tags, events) = stored.map_err(|e| projects::duplicate(e, "domain", &before.name, None))?;
    app.announce(events);
    reply::one("domain", show_domain(&ask, &domain, &tags))
}

/// `DELETE /v3/domains/{id}`: with everything in it.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let domain = found(&ask, "identity:delete_domain").await?;
    delete_found(&ask, domain).await
}

/// Deletes a domain with everything in it, after policy was asked.
pub(crate) async fn delete_found(ask: &Ask, domain: Project) -> Reply {
    if domain.id == DEFAULT_DOMAIN {
        return Err(Fault::Forbidden("Cannot delete the default domain.".into()));
    }
    projects::check_immutable(&domain.options, false, "domain", &domain.id)?;
    let app = &ask.app;
    let events = transact!(app.state, |tx| -> Result<Vec<Revocation>, Fault> {
        let id = &*domain.id;
        if project::get(tx, id).await?.is_some_and(|d| d.enabled) {
            return Err(Fault::Forbidden(
                "Cannot delete a domain that is enabled, please disable it first.".into(),
            ));
        }
        let events = tokens_of_domain(app, tx, id).await?;
        empty_domain(tx, id).await?;
        project::delete(tx, id).await?;
        app.store_revocations(tx, &events).await?;
        ask.note(tx, "domain", id, "deleted").await?;
        Ok(events)
    })?;
    app.announce(events);
    reply::nothing()
}

/// Deletes what is in a domain, leaves of the project tree first.
async fn empty_domain(tx: &mut Transaction, id: &str) -> Result<(), Fault> {
    for user in user::list(tx, Some(id), None, None).await? {
        user::delete(tx, &user.id).await?;
    }
    for group in group::list(tx, Some(id), None, None).await? {
        group::delete(tx, &group.id).await?;
    }
    for role in role::list(tx)
        .await?
        .into_iter()
        .filter(|r| r.domain_id.as_deref() == Some(id))
    {
        role::delete(tx, &role.id).await?;
    }
    let mut open = project::list(tx, false, Some(id), None).await?;
    while !open.is_empty() {
        let (inner, leaves): (Vec<_>, Vec<_>) = open.iter().cloned().partition(|p| {
            open.iter()
                .any(|child| child.parent_id.as_deref() == Some(p.id.as_str()))
        });
        if leaves.is_empty() {
            return Err(Fault::Unexpected(format!(
                "the projects of domain {id} form a circle"
            )));
        }
        for leaf in leaves {
            project::delete(tx, &leaf.id).await?;
        }
        open = inner;
    }
    Ok(())
}
