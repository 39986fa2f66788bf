//! `/v3/OS-FEDERATION/identity_providers`: who may vouch for users.
use serde_json::{Value, json};
use virga_identity_api::revocation::Revocation;
use virga_state::{StateError, transact};

use super::ask::Ask;
use super::fields::Fields;
use super::projects;
use super::reply::{self, Reply};
use crate::fault::Fault;
use crate::model::federation::{self, IdentityProvider};
use crate::model::project::{self, Project};
use crate::model::{Object, new_id};

/// Longest id and remote id, in characters.
pub(super) const MAX_ID: usize = 64;

fn show(ask: &Ask, p: &IdentityProvider) -> Value {
    let own = ask.url(&format!("/v3/OS-FEDERATION/identity_providers/{}", p.id));
    json!({
        "id": p.id, "enabled": p.enabled, "description": p.description, "remote_ids": p.remote_ids,
        "domain_id": p.domain_id, "authorization_ttl": p.authorization_ttl,
        "links": {"self": own, "protocols": format!("{own}/protocols")},
    })
}

/// 404 in Keystone's words.
pub(super) fn no_provider(id: &str) -> Fault {
    Fault::not_found("Identity Provider", id)
}

/// 400 if an id from the path cannot be one.
pub(super) fn check_id(id: &str) -> Result<(), Fault> {
    if id.is_empty() || id.chars().count() > MAX_ID || id.contains('\0') {
        return Err(Fault::BadRequest(format!(
            "Invalid input for field 'id': it has to have 1 to {MAX_ID} characters."
        )));
    }
    Ok(())
}

async fn found(ask: &Ask, action: &str) -> Result<IdentityProvider, Fault> {
    ask.enforce(action, Value::Null)?;
    let id = ask.param("idp_id");
    let found = federation::get_provider(&mut ask.app.state.reader(), id).await?;
    found.ok_or_else(|| no_provider(id))
}

/// `GET …/identity_providers`.
pub(crate) async fn list(ask: Ask) -> Reply {
    ask.enforce("identity:list_identity_providers", Value::Null)?;
    let all = federation::providers(&mut ask.app.state.reader(), None).await?;
    let items = all.iter().map(|p| show(&ask, p)).collect();
    reply::list(&ask, "identity_providers", items, &["id", "enabled"])
}

/// `GET …/identity_providers/{id}`.
pub(crate) async fn show_one(ask: Ask) -> Reply {
    let provider = found(&ask, "identity:get_identity_provider").await?;
    reply::one("identity_provider", show(&ask, &provider))
}

/// Applies what the body says; the same for new and changed ones.
fn apply(p: &mut IdentityProvider, mut fields: Fields) -> Result<(), Fault> {
    if let Some(enabled) = fields.bool("enabled")? {
        p.enabled = enabled;
    }
    if let Some(description) = fields.text("description")? {
        p.description = description;
    }
    if let Some(ttl) = fields.int("authorization_ttl", 0)? {
        p.authorization_ttl = ttl;
    }
    if fields.has("remote_ids") {
        let mut ids = fields.texts("remote_ids")?.unwrap_or_default();
        if let Some(long) = ids
            .iter()
            .find(|id| id.chars().count() > 255 || id.contains('\0'))
        {
            return Err(Fault::BadRequest(format!(
                "Invalid input for field 'remote_ids': {long:?} is too long."
            )));
        }
        let given = ids.len();
        ids.sort();
        ids.dedup();
        if ids.len() < given {
            return Err(Fault::BadRequest(
                "Invalid input for field 'remote_ids': it has non-unique elements.".into(),
            ));
        }
        p.remote_ids = ids;
    }
    fields.nothing_else()
}

fn taken(what: &str) -> Fault {
    Fault::Conflict(format!(
        "Conflict occurred attempting to store identity_provider - {what}"
    ))
}

/// The domain for the users of a provider that names none.
fn own_domain(provider: &str) -> Project {
    let id = new_id();
    Project {
        name: id.clone(),
        id,
        domain_id: None,
        parent_id: None,
        description: format!("Auto generated federated domain for Identity Provider: {provider}"),
        enabled: true,
        is_domain: true,
        options: Object::new(),
        extra: Object::new(),
    }
}

/// `PUT …/identity_providers/{id}`.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.enforce("identity:create_identity_provider", Value::Null)?;
    let id = ask.param("idp_id");
    check_id(id)?;
    let mut fields = ask.fields("identity_provider")?;
    let given = fields.text("domain_id")?.flatten();
    let made = given.is_none().then(|| own_domain(id));
    let mut new = IdentityProvider {
        id: id.to_owned(),
        domain_id: given
            .or_else(|| made.as_ref().map(|d| d.id.clone()))
            .unwrap_or_default(),
        enabled: false,
        description: None,
        authorization_ttl: None,
        remote_ids: Vec::new(),
    };
    apply(&mut new, fields)?;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        if federation::get_provider(tx, id).await?.is_some() {
            return Err(taken(&format!("Duplicate entry: {id}.")));
        }
        if let Some(remote) = federation::taken_remote_id(tx, &new).await? {
            return Err(taken(&format!("Duplicate remote ID: {remote}.")));
        }
        if let Some(domain) = &made {
            project::insert(tx, domain).await?;
            ask.note(tx, "domain", &domain.id, "created").await?;
        }
        projects::require_domain(tx, &new.domain_id).await?;
        federation::put_provider(tx, &new).await?;
        Ok(ask.note(tx, "identity provider", id, "created").await?)
    })?;
    reply::created("identity_provider", show(&ask, &new))
}

/// `PATCH …/identity_providers/{id}`: who came by one that is disabled is out.
pub(crate) async fn update(ask: Ask) -> Reply {
    let before = found(&ask, "identity:update_identity_provider").await?;
    let mut provider = before.clone();
    let mut fields = ask.changes("identity_provider")?;
    fields.same_id(&provider.id)?;
    apply(&mut provider, fields)?;
    let app = &ask.app;
    let disabled = before.enabled && !provider.enabled;
    let events = transact!(app.state, |tx| -> Result<Vec<Revocation>, Fault> {
        let now = federation::get_provider(tx, &provider.id).await?;
        Fault::unless_same(now.as_ref(), &before)?;
        if let Some(remote) = federation::taken_remote_id(tx, &provider).await? {
            return Err(taken(&format!("Duplicate remote ID: {remote}.")));
        }
        federation::put_provider(tx, &provider).await?;
        let events = if disabled {
            app.tokens_of_provider(tx, &provider.id, None).await?
        } else {
            Vec::new()
        };
        app.store_revocations(tx, &events).await?;
        ask.note(tx, "identity provider", &provider.id, "updated").await?;
        Ok(events)
    })?;
    app.announce(events);
    reply::one("identity_provider", show(&ask, &provider))
}

/// `DELETE …/identity_providers/{id}`: with the users whom nobody else vouches
/// for.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let provider = found(&ask, "identity:delete_identity_provider").await?;
    let app = &ask.app;
    let events = transact!(app.state, |tx| -> Result<Vec<Revocation>, StateError> {
        let events = app.forget_users_of_provider(tx, &provider.id, None).await?;
        federation::delete_provider(tx, &provider.id).await?;
        app.store_revocations(tx, &events).await?;
        ask.note(tx, "identity provider", &provider.id, "deleted").await?;
        Ok(events)
    })?;
    app.announce(events);
    reply::nothing()
}
