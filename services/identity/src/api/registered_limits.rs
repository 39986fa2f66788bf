//! `/v3/registered_limits`: the defaults of resources.
use serde_json::{Value, json};
use virga_state::{Queries, StateError, transact};

use super::ask::Ask;
use super::fields::{Fields, NAME};
use super::reply::{self, Reply};
use crate::fault::Fault;
use crate::model::limit::{self, RegisteredLimit};
use crate::model::{catalog, new_id};

/// Limits of one request at most.
const MAX_ITEMS: usize = 1000;

fn show(ask: &Ask, r: &RegisteredLimit) -> Value {
    json!({
        "id": r.id,
        "service_id": r.service_id,
        "region_id": r.region_id,
        "resource_name": r.resource_name,
        "default_limit": r.default_limit,
        "description": r.description,
        "links": {"self": ask.url(&format!("/v3/registered_limits/{}", r.id))},
    })
}

async fn found(ask: &Ask, action: &str) -> Result<RegisteredLimit, Fault> {
    ask.enforce(action, Value::Null)?;
    let id = ask.param("registered_limit_id");
    let found = limit::get_registered(&mut ask.app.state.reader(), id).await?;
    found.ok_or_else(|| Fault::NotFound(format!("Could not find registered limit for {id}.")))
}

/// `GET /v3/registered_limits`.
pub(crate) async fn list(ask: Ask) -> Reply {
    ask.enforce("identity:list_registered_limits", Value::Null)?;
    let all = limit::list_registered(&mut ask.app.state.reader()).await?;
    let items = all.iter().map(|r| show(&ask, r)).collect();
    reply::list(
        &ask,
        "registered_limits",
        items,
        &["service_id", "region_id", "resource_name"],
    )
}

/// `GET /v3/registered_limits/{id}`.
pub(crate) async fn show_one(ask: Ask) -> Reply {
    let registered = found(&ask, "identity:get_registered_limit").await?;
    reply::one("registered_limit", show(&ask, &registered))
}

/// The list under `key` of a body, as objects.
pub(crate) fn items(ask: &Ask, key: &'static str) -> Result<Vec<Fields>, Fault> {
    let wrong = |why: &str| Fault::BadRequest(format!("Invalid input for field '{key}': {why}."));
    let Value::Object(body) = ask.json()? else {
        return Err(Fault::expecting(key, "the request body"));
    };
    let mut body = Fields::of_object(body, key);
    let given = match body.take(key) {
        Some(Value::Array(given)) => given,
        Some(_) => return Err(wrong("it is not of type 'array'")),
        None => return Err(Fault::expecting(key, "the request body")),
    };
    body.nothing_else()?;
    if given.is_empty() || given.len() > MAX_ITEMS {
        return Err(wrong("it must have 1 to 1000 items"));
    }
    given
        .into_iter()
        .map(|item| match item {
            Value::Object(map) => Ok(Fields::of_object(map, key)),
            _ => Err(wrong("an item is not of type 'object'")),
        })
        .collect()
}

/// 400 unless service and region exist.
pub(crate) async fn require(q: &mut impl Queries, service: &str, region: Option<&str>) -> Result<(), Fault> {
    if catalog::get_service(q, service).await?.is_none() {
        return Err(Fault::expecting("service_id", "registered_limit"));
    }
    if let Some(region) = region
        && catalog::get_region(q, region).await?.is_none()
    {
        return Err(Fault::expecting("region_id", "registered_limit"));
    }
    Ok(())
}

/// The name of a resource.
pub(crate) fn resource(fields: &mut Fields) -> Result<Option<String>, Fault> {
    match fields.text("resource_name")? {
        None => Ok(None),
        Some(Some(name)) if !name.is_empty() && name.chars().count() <= NAME => Ok(Some(name)),
        Some(_) => Err(Fault::BadRequest(
            "Invalid input for field 'resource_name': it must have 1 to 255 characters.".into(),
        )),
    }
}

fn amount(fields: &mut Fields) -> Result<Option<i64>, Fault> {
    match fields.int("default_limit", -1)? {
        Some(None) => Err(Fault::BadRequest(
            "Invalid input for field 'default_limit': None is not of type 'integer'.".into(),
        )),
        given => Ok(given.flatten()),
    }
}

fn read(mut fields: Fields) -> Result<RegisteredLimit, Fault> {
    let missing = |field: &str| {
        Fault::BadRequest(format!(
            "Invalid input for field '{field}': '{field}' is a required property."
        ))
    };
    let new = RegisteredLimit {
        id: new_id(),
        service_id: fields.required("service_id")?,
        region_id: fields.id("region_id")?.flatten(),
        resource_name: resource(&mut fields)?.ok_or_else(|| missing("resource_name"))?,
        default_limit: amount(&mut fields)?.ok_or_else(|| missing("default_limit"))?,
        description: fields.text("description")?.flatten(),
    };
    fields.nothing_else()?;
    Ok(new)
}

/// 409 in Keystone's words.
fn conflict(error: Fault) -> Fault {
    match error {
        Fault::State(StateError::Duplicate) => Fault::Conflict(
            "Conflict occurred attempting to store registered_limit - Duplicate entry.".into(),
        ),
        other => other,
    }
}

/// `POST /v3/registered_limits`: several at once, all or none.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.enforce("identity:create_registered_limits", Value::Null)?;
    let new: Vec<RegisteredLimit> = items(&ask, "registered_limits")?
        .into_iter()
        .map(read)
        .collect::<Result<_, _>>()?;
    let stored = transact!(ask.app.state, |tx| -> Result<(), Fault> {
        for r in &new {
            require(tx, &r.service_id, r.region_id.as_deref()).await?;
            limit::insert_registered(tx, r).await?;
            ask.note(tx, "registered limit", &r.id, "created").await?;
        }
        Ok(())
    });
    stored.map_err(conflict)?;
    reply::created("registered_limits", new.iter().map(|r| show(&ask, r)).collect())
}

fn in_use(id: &str) -> Fault {
    Fault::Forbidden(format!(
        "Unable to update or delete registered limit {id} because there are project limits associated with it."
    ))
}

/// `PATCH /v3/registered_limits/{id}`. What limits hang on does not change.
pub(crate) async fn update(ask: Ask) -> Reply {
    let before = found(&ask, "identity:update_registered_limit").await?;
    let mut r = before.clone();
    let mut fields = ask.fields("registered_limit")?;
    if let Some(Some(service)) = fields.text("service_id")? {
        r.service_id = service;
    }
    if let Some(region) = fields.id("region_id")? {
        r.region_id = region;
    }
    if let Some(name) = resource(&mut fields)? {
        r.resource_name = name;
    }
    if let Some(amount) = amount(&mut fields)? {
        r.default_limit = amount;
    }
    if let Some(description) = fields.text("description")? {
        r.description = description;
    }
    fields.nothing_else()?;
    let stored = transact!(ask.app.state, |tx| -> Result<(), Fault> {
        Fault::unless_same(limit::get_registered(tx, &r.id).await?.as_ref(), &before)?;
        require(tx, &r.service_id, r.region_id.as_deref()).await?;
        let limits = limit::list(tx).await?;
        if limits.iter().any(|l| l.registered_limit_id == r.id) {
            return Err(in_use(&r.id));
        }
        limit::update_registered(tx, &r).await?;
        Ok(ask.note(tx, "registered limit", &r.id, "updated").await?)
    });
    stored.map_err(conflict)?;
    reply::one("registered_limit", show(&ask, &r))
}

/// `DELETE /v3/registered_limits/{id}`.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let registered = found(&ask, "identity:delete_registered_limit").await?;
    let deleted = transact!(ask.app.state, |tx| -> Result<(), Fault> {
        limit::delete_registered(tx, &registered.id).await?;
        Ok(ask
            .note(tx, "registered limit", &registered.id, "deleted")
            .await?)
    });
    match deleted {
        Err(Fault::State(StateError::Reference)) => Err(in_use(&registered.id)),
        other => {
            other?;
            reply::nothing()
        }
    }
}
