//! `/v3/services`.
use serde_json::{Value, json};
use virga_state::transact;

use super::ask::Ask;
use super::fields::{Fields, NAME};
use super::reply::{self, Reply};
use crate::fault::Fault;
use crate::model::catalog::{self, Service};
use crate::model::new_id;

fn show_service(ask: &Ask, s: &Service) -> Value {
    let mut shown = Value::Object(s.extra.clone());
    shown["id"] = json!(s.id);
    shown["type"] = json!(s.kind);
    shown["enabled"] = json!(s.enabled);
    if let Some(name) = &s.name {
        shown["name"] = json!(name);
    }
    if let Some(description) = &s.description {
        shown["description"] = json!(description);
    }
    shown["links"] = json!({"self": ask.url(&format!("/v3/services/{}", s.id))});
    shown
}

async fn found(ask: &Ask, action: &str) -> Result<Service, Fault> {
    ask.enforce(action, Value::Null)?;
    let id = ask.param("service_id");
    let found = catalog::get_service(&mut ask.app.state.reader(), id).await?;
    found.ok_or_else(|| Fault::not_found("service", id))
}

/// Stores one, new or changed from `before`.
async fn store(ask: &Ask, service: &Service, before: Option<&Service>) -> Result<(), Fault> {
    let action = if before.is_some() { "updated" } else { "created" };
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        if let Some(before) = before {
            Fault::unless_same(catalog::get_service(tx, &service.id).await?.as_ref(), before)?;
        }
        catalog::put_service(tx, service).await?;
        Ok(ask.note(tx, "service", &service.id, action).await?)
    })?;
    Ok(())
}

fn kind(fields: &mut Fields) -> Result<Option<String>, Fault> {
    match fields.text("type")? {
        None => Ok(None),
        Some(Some(kind)) if !kind.is_empty() && kind.len() <= 255 => Ok(Some(kind)),
        Some(_) => Err(Fault::BadRequest(
            "Invalid input for field 'type': it must have 1 to 255 characters.".into(),
        )),
    }
}

/// The name of a body: there need not be one.
fn name(fields: &mut Fields) -> Result<Option<String>, Fault> {
    fields.not_null(&["name"])?;
    match fields.short_text("name", NAME)?.flatten() {
        Some(name) if name.is_empty() => Err(Fault::BadRequest(
            "Invalid input for field 'name': '' should be non-empty.".into(),
        )),
        given => Ok(given),
    }
}

/// `GET /v3/services`.
pub(crate) async fn list(ask: Ask) -> Reply {
    ask.enforce("identity:list_services", Value::Null)?;
    let services = catalog::services(&mut ask.app.state.reader()).await?;
    let items = services.iter().map(|s| show_service(&ask, s)).collect();
    reply::list(&ask, "services", items, &["type", "name"])
}

/// `GET /v3/services/{id}`.
pub(crate) async fn show(ask: Ask) -> Reply {
    let service = found(&ask, "identity:get_service").await?;
    reply::one("service", show_service(&ask, &service))
}

/// `POST /v3/services`.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.enforce("identity:create_service", Value::Null)?;
    let mut fields = ask.fields("service")?;
    let Some(kind) = kind(&mut fields)? else {
        return Err(Fault::expecting("type", "service"));
    };
    let new = Service {
        id: new_id(),
        kind,
        name: Some(name(&mut fields)?.unwrap_or_default()),
        description: fields.text("description")?.flatten(),
        enabled: fields.bool("enabled")?.unwrap_or(true),
        extra: fields.rest(),
    };
    store(&ask, &new, None).await?;
    reply::created("service", show_service(&ask, &new))
}

/// `PATCH /v3/services/{id}`.
pub(crate) async fn update(ask: Ask) -> Reply {
    let before = found(&ask, "identity:update_service").await?;
    let mut service = before.clone();
    let mut fields = ask.changes("service")?;
    fields.same_id(&service.id)?;
    if let Some(kind) = kind(&mut fields)? {
        service.kind = kind;
    }
    if let Some(name) = name(&mut fields)? {
        service.name = Some(name);
    }
    if let Some(description) = fields.text("description")? {
        service.description = description;
    }
    service.enabled = fields.bool("enabled")?.unwrap_or(service.enabled);
    service.extra.extend(fields.rest());
    store(&ask, &service, Some(&before)).await?;
    reply::one("service", show_service(&ask, &service))
}

/// `DELETE /v3/services/{id}`: its endpoints go along.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let service = found(&ask, "identity:delete_service").await?;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        catalog::delete_service(tx, &service.id).await?;
        Ok(ask.note(tx, "service", &service.id, "deleted").await?)
    })?;
    reply::nothing()
}
