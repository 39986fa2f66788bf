//! `/v3/OS-FEDERATION/service_providers`: other clouds that trust this one.
//! They are kept and listed in tokens; assertions for them (SAML) are not made.
use serde_json::{Value, json};
use virga_state::{StateError, transact};

use super::ask::Ask;
use super::fields::Fields;
use super::identity_providers::check_id;
use super::reply::{self, Reply};
use crate::fault::Fault;
use crate::model::federation::{self, ServiceProvider};

/// What comes before a relay state unless something else is said.
const RELAY_STATE_PREFIX: &str = "ss:mem:";
/// Longest URL, in characters.
const MAX_URL: usize = 225;

fn show(ask: &Ask, s: &ServiceProvider) -> Value {
    json!({
        "id": s.id, "enabled": s.enabled, "description": s.description, "auth_url": s.auth_url,
        "sp_url": s.sp_url, "relay_state_prefix": s.relay_state_prefix,
        "links": {"self": ask.url(&format!("/v3/OS-FEDERATION/service_providers/{}", s.id))},
    })
}

async fn found(ask: &Ask, action: &str) -> Result<ServiceProvider, Fault> {
    ask.enforce(action, Value::Null)?;
    let id = ask.param("service_provider_id");
    let found = federation::get_service_provider(&mut ask.app.state.reader(), id).await?;
    found.ok_or_else(|| Fault::not_found("Service Provider", id))
}

/// `GET …/service_providers`.
pub(crate) async fn list(ask: Ask) -> Reply {
    ask.enforce("identity:list_service_providers", Value::Null)?;
    let all = federation::service_providers(&mut ask.app.state.reader()).await?;
    let items = all.iter().map(|s| show(&ask, s)).collect();
    reply::list(&ask, "service_providers", items, &["id", "enabled"])
}

/// `GET …/service_providers/{id}`.
pub(crate) async fn show_one(ask: Ask) -> Reply {
    let provider = found(&ask, "identity:get_service_provider").await?;
    reply::one("service_provider", show(&ask, &provider))
}

/// A URL that may be left out, but is one if it is given.
fn url(fields: &mut Fields, name: &str) -> Result<Option<String>, Fault> {
    let Some(given) = fields.text(name)? else {
        return Ok(None);
    };
    let good = |url: &String| {
        let scheme = ["http://", "https://"].iter().any(|s| url.starts_with(s));
        scheme && url.chars().count() <= MAX_URL && !url.contains(char::is_whitespace)
    };
    match given.filter(good) {
        Some(url) => Ok(Some(url)),
        None => Err(Fault::BadRequest(format!(
            "Invalid input for field '{name}': it is not a URL of at most {MAX_URL} characters."
        ))),
    }
}

/// Applies what the body says; the same for new and changed ones.
fn apply(s: &mut ServiceProvider, mut fields: Fields) -> Result<(), Fault> {
    if let Some(enabled) = fields.bool("enabled")? {
        s.enabled = enabled;
    }
    if let Some(description) = fields.text("description")? {
        s.description = description;
    }
    if let Some(prefix) = fields.text("relay_state_prefix")? {
        s.relay_state_prefix = prefix.unwrap_or_else(|| RELAY_STATE_PREFIX.to_owned());
    }
    if let Some(url) = url(&mut fields, "auth_url")? {
        s.auth_url = url;
    }
    if let Some(url) = url(&mut fields, "sp_url")? {
        s.sp_url = url;
    }
    for (name, value) in [("auth_url", &s.auth_url), ("sp_url", &s.sp_url)] {
        if value.is_empty() {
            return Err(Fault::BadRequest(format!("'{name}' is a required property")));
        }
    }
    fields.nothing_else()
}

/// `PUT …/service_providers/{id}`.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.enforce("identity:create_service_provider", Value::Null)?;
    let id = ask.param("service_provider_id");
    check_id(id)?;
    let mut new = ServiceProvider {
        id: id.to_owned(),
        enabled: false,
        description: None,
        auth_url: String::new(),
        sp_url: String::new(),
        relay_state_prefix: RELAY_STATE_PREFIX.to_owned(),
    };
    apply(&mut new, ask.fields("service_provider")?)?;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        if federation::get_service_provider(tx, id).await?.is_some() {
            return Err(Fault::Conflict(format!(
                "Conflict occurred attempting to store service_provider - Duplicate entry found with ID {id}."
            )));
        }
        federation::put_service_provider(tx, &new).await?;
        Ok(ask.note(tx, "service provider", id, "created").await?)
    })?;
    reply::created("service_provider", show(&ask, &new))
}

/// `PATCH …/service_providers/{id}`.
pub(crate) async fn update(ask: Ask) -> Reply {
    let before = found(&ask, "identity:update_service_provider").await?;
    let mut provider = before.clone();
    let mut fields = ask.changes("service_provider")?;
    fields.same_id(&provider.id)?;
    apply(&mut provider, fields)?;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        let now = federation::get_service_provider(tx, &provider.id).await?;
        Fault::unless_same(now.as_ref(), &before)?;
        federation::put_service_provider(tx, &provider).await?;
        Ok(ask.note(tx, "service provider", &provider.id, "updated").await?)
    })?;
    reply::one("service_provider", show(&ask, &provider))
}

/// `DELETE …/service_providers/{id}`.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let provider = found(&ask, "identity:delete_service_provider").await?;
    transact!(ask.app.state, |tx| -> Result<(), StateError> {
        federation::delete_service_provider(tx, &provider.id).await?;
        ask.note(tx, "service provider", &provider.id, "deleted").await
    })?;
    reply::nothing()
}
