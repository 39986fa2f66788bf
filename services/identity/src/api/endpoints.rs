//! `/v3/endpoints`.
use serde_json::{Value, json};
use virga_state::transact;

use super::ask::Ask;
use super::fields::Fields;
use super::reply::{self, Reply};
use crate::fault::Fault;
use crate::model::catalog::{self, Endpoint, Region};
use crate::model::{Object, new_id};

/// Longest URL, in characters, as in Keystone.
const MAX_URL: usize = 225;
/// What stands in for something in a URL, as `$(project_id)s`.
const PLACES: [&str; 3] = ["tenant_id", "project_id", "user_id"];

/// An endpoint as the API shows it.
pub(crate) fn show_endpoint(ask: &Ask, e: &Endpoint) -> Value {
    let mut shown = Value::Object(e.extra.clone());
    shown["id"] = json!(e.id);
    shown["service_id"] = json!(e.service_id);
    shown["interface"] = json!(e.interface);
    shown["region"] = json!(e.region_id);
    shown["region_id"] = json!(e.region_id);
    shown["url"] = json!(e.url);
    shown["enabled"] = json!(e.enabled);
    shown["links"] = json!({"self": ask.url(&format!("/v3/endpoints/{}", e.id))});
    shown
}

async fn found(ask: &Ask, action: &str) -> Result<Endpoint, Fault> {
    ask.enforce(action, Value::Null)?;
    let id = ask.param("endpoint_id");
    let found = catalog::get_endpoint(&mut ask.app.state.reader(), id).await?;
    found.ok_or_else(|| Fault::not_found("endpoint", id))
}

/// Whether it is a scheme and something after it.
fn is_url(url: &str) -> bool {
    let scheme = |s: &str| {
        !s.is_empty()
            && s.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b))
    };
    let parts = url.split_once(':');
    parts.is_some_and(|(kind, rest)| scheme(kind) && !rest.is_empty()) && url.chars().count() <= MAX_URL
}

/// Whether all that begins with a percent or dollar sign in a URL is something
/// that the catalog fills in.
fn has_known_places(url: &str) -> bool {
    let plain = url.replace("$(", "%(");
    let mut parts = plain.split('%');
    parts.next();
    while let Some(part) = parts.next() {
        let place = part.strip_prefix('(').and_then(|p| p.split_once(")s"));
        match place {
            Some((name, _)) if PLACES.contains(&name) => {}
            // A doubled sign is a sign.
            None if part.is_empty() && parts.next().is_some() => {}
            _ => return false,
        }
    }
    true
}

/// Applies what the body says; the same for new and changed ones.
/// Returns whether the region was named by the older `region`: then it is made
/// if it is not there.
fn apply(endpoint: &mut Endpoint, mut fields: Fields) -> Result<bool, Fault> {
    fields.same_id(&endpoint.id)?;
    fields.not_null(&["service_id", "interface", "url", "name"])?;
    if let Some(Some(service)) = fields.text("service_id")? {
        endpoint.service_id = service;
    }
    if let Some(Some(interface)) = fields.text("interface")? {
        if !["public", "internal", "admin"].contains(&interface.as_str()) {
            return Err(Fault::BadRequest(format!(
                "Invalid input for field 'interface': {interface:?} is not one of 'admin', 'internal', 'public'."
            )));
        }
        endpoint.interface = interface;
    }
    if let Some(Some(url)) = fields.text("url")? {
        if !is_url(&url) {
            return Err(Fault::BadRequest(format!(
                "Invalid input for field 'url': it does not match '^[a-zA-Z0-9+.-]+:.+' with at most {MAX_URL} \
                 characters."
            )));
        }
        if !has_known_places(&url) {
            return Err(Fault::BadRequest(format!(
                "Cannot create an endpoint with an invalid URL: {url}."
            )));
        }
        // From now on it is the operator's, not the configuration's.
        endpoint.owned = false;
        endpoint.url = url;
    }
    let alias = fields.text("region")?;
    let region_id = fields.text("region_id")?;
    let by_alias = alias.is_some() && region_id.is_none();
    // The older name takes no region away.
    if let Some(region) = region_id.or(alias.filter(Option::is_some)) {
        endpoint.region_id = region;
    }
    endpoint.enabled = fields.bool("enabled")?.unwrap_or(endpoint.enabled);
    for field in ["name", "description"] {
        if let Some(Some(text)) = fields.text(field)? {
            endpoint.extra.insert(field.to_owned(), json!(text));
        }
    }
    endpoint.extra.extend(fields.rest());
    for (field, value) in [
        ("service_id", &endpoint.service_id),
        ("interface", &endpoint.interface),
        ("url", &endpoint.url),
    ] {
        if value.is_empty() {
            return Err(Fault::BadRequest(format!(
                "Invalid input for field '{field}': '{field}' is a required property."
            )));
        }
    }
    Ok(by_alias)
}

/// Stores one, new or changed from `before`.
async fn store(
    ask: &Ask,
    endpoint: &Endpoint,
    before: Option<&Endpoint>,
    by_alias: bool,
) -> Result<(), Fault> {
    let action = if before.is_some() { "updated" } else { "created" };
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        if catalog::get_service(tx, &endpoint.service_id).await?.is_none() {
            return Err(Fault::BadRequest(format!(
                "Could not find service: {}.",
                endpoint.service_id
            )));
        }
        if let Some(region) = &endpoint.region_id
            && catalog::get_region(tx, region).await?.is_none()
        {
            if !by_alias {
                return Err(Fault::BadRequest(format!("Could not find region: {region}.")));
            }
            let new = Region {
                id: region.clone(),
                parent_region_id: None,
                description: String::new(),
                extra: Object::new(),
            };
            catalog::put_region(tx, &new).await?;
        }
        if let Some(before) = before {
            Fault::unless_same(catalog::get_endpoint(tx, &endpoint.id).await?.as_ref(), before)?;
        }
        catalog::put_endpoint(tx, endpoint).await?;
        Ok(ask.note(tx, "endpoint", &endpoint.id, action).await?)
    })?;
    Ok(())
}

/// `GET /v3/endpoints`.
pub(crate) async fn list(ask: Ask) -> Reply {
    ask.enforce("identity:list_endpoints", Value::Null)?;
    let endpoints = catalog::endpoints(&mut ask.app.state.reader()).await?;
    let items = endpoints.iter().map(|e| show_endpoint(&ask, e)).collect();
    reply::list(
        &ask,
        "endpoints",
        items,
        &["interface", "service_id", "region_id", "enabled"],
    )
}

/// `GET /v3/endpoints/{id}`.
pub(crate) async fn show(ask: Ask) -> Reply {
    let endpoint = found(&ask, "identity:get_endpoint").await?;
    reply::one("endpoint", show_endpoint(&ask, &endpoint))
}

/// `POST /v3/endpoints`.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.enforce("identity:create_endpoint", Value::Null)?;
    let mut new = Endpoint {
        id: new_id(),
        service_id: String::new(),
        interface: String::new(),
        region_id: None,
        url: String::new(),
        enabled: true,
        owned: false,
        extra: Object::new(),
    };
    let mut fields = ask.fields("endpoint")?;
    fields.drop("id");
    let by_alias = apply(&mut new, fields)?;
    store(&ask, &new, None, by_alias).await?;
    reply::created("endpoint", show_endpoint(&ask, &new))
}

/// `PATCH /v3/endpoints/{id}`.
pub(crate) async fn update(ask: Ask) -> Reply {
    let before = found(&ask, "identity:update_endpoint").await?;
    let mut endpoint = before.clone();
    let by_alias = apply(&mut endpoint, ask.changes("endpoint")?)?;
    store(&ask, &endpoint, Some(&before), by_alias).await?;
    reply::one("endpoint", show_endpoint(&ask, &endpoint))
}

/// `DELETE /v3/endpoints/{id}`.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let endpoint = found(&ask, "identity:delete_endpoint").await?;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        catalog::delete_endpoint(tx, &endpoint.id).await?;
        Ok(ask.note(tx, "endpoint", &endpoint.id, "deleted").await?)
    })?;
    reply::nothing()
}
