//! `/v3/OS-FEDERATION/mappings`: rules that say who somebody is here by what an
//! identity provider says.
use serde_json::{Value, json};
use virga_identity_api::revocation::Revocation;
use virga_state::{StateError, Transaction, transact};

use super::ask::Ask;
use super::identity_providers::check_id;
use super::reply::{self, Reply};
use crate::fault::Fault;
use crate::federation::mapping::{Rules, Version};
use crate::model::federation::{self, Mapping};

/// Version of rules that name none.
const DEFAULT_VERSION: &str = "1.0";

fn show(ask: &Ask, m: &Mapping) -> Value {
    json!({
        "id": m.id, "rules": m.rules, "schema_version": m.schema_version,
        "links": {"self": ask.url(&format!("/v3/OS-FEDERATION/mappings/{}", m.id))},
    })
}

async fn found(ask: &Ask, action: &str) -> Result<Mapping, Fault> {
    ask.enforce(action, Value::Null)?;
    let id = ask.param("mapping_id");
    let found = federation::get_mapping(&mut ask.app.state.reader(), id).await?;
    found.ok_or_else(|| Fault::not_found("mapping", id))
}

/// `GET …/mappings`.
pub(crate) async fn list(ask: Ask) -> Reply {
    ask.enforce("identity:list_mappings", Value::Null)?;
    let all = federation::mappings(&mut ask.app.state.reader()).await?;
    let items = all.iter().map(|m| show(&ask, m)).collect();
    reply::list(&ask, "mappings", items, &[])
}

/// `GET …/mappings/{id}`.
pub(crate) async fn show_one(ask: Ask) -> Reply {
    let mapping = found(&ask, "identity:get_mapping").await?;
    reply::one("mapping", show(&ask, &mapping))
}

/// The mapping that the body holds, checked.
fn read(ask: &Ask, id: &str) -> Result<Mapping, Fault> {
    let mut fields = ask.fields("mapping")?;
    fields.same_id(id)?;
    let version = fields.text("schema_version")?.flatten();
    let schema_version = version
        .filter(|v| !v.is_empty())
        .unwrap_or_else(|| DEFAULT_VERSION.to_owned());
    let Some(version) = Version::named(&schema_version) else {
        return Err(Fault::BadRequest(format!(
            "Invalid input for field 'schema_version': {schema_version:?} is not one of 1.0, 2.0, 3.0."
        )));
    };
    let rules = fields
        .take("rules")
        .ok_or_else(|| Fault::BadRequest("'rules' is a required property".into()))?;
    Rules::read(&rules, version).map_err(Fault::BadRequest)?;
    Ok(Mapping {
        id: id.to_owned(),
        rules,
        schema_version,
    })
}

/// `PUT …/mappings/{id}`.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.enforce("identity:create_mapping", Value::Null)?;
    let id = ask.param("mapping_id");
    check_id(id)?;
    let new = read(&ask, id)?;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        if federation::get_mapping(tx, id).await?.is_some() {
            return Err(Fault::Conflict(format!(
                "Conflict occurred attempting to store mapping - Duplicate entry found with ID {id}."
            )));
        }
        federation::put_mapping(tx, &new).await?;
        Ok(ask.note(tx, "mapping", id, "created").await?)
    })?;
    reply::created("mapping", show(&ask, &new))
}

/// Revocations of the tokens of users who came by the mapping.
async fn ended(ask: &Ask, tx: &mut Transaction, mapping: &str) -> Result<Vec<Revocation>, StateError> {
    let mut events = Vec::new();
    for protocol in federation::protocols(tx, None, Some(mapping)).await? {
        let of = ask
            .app
            .tokens_of_provider(tx, &protocol.provider_id, Some(&protocol.id));
        events.extend(of.await?);
    }
    ask.app.store_revocations(tx, &events).await?;
    Ok(events)
}

/// `PATCH …/mappings/{id}`: who came by other rules has to come again.
pub(crate) async fn update(ask: Ask) -> Reply {
    let before = found(&ask, "identity:update_mapping").await?;
    let mapping = read(&ask, &before.id)?;
    let events = transact!(ask.app.state, |tx| -> Result<Vec<Revocation>, Fault> {
        let now = federation::get_mapping(tx, &mapping.id).await?;
        Fault::unless_same(now.as_ref(), &before)?;
        federation::put_mapping(tx, &mapping).await?;
        let events = if mapping == before {
            Vec::new()
        } else {
            ended(&ask, tx, &mapping.id).await?
        };
        ask.note(tx, "mapping", &mapping.id, "updated").await?;
        Ok(events)
    })?;
    ask.app.announce(events);
    reply::one("mapping", show(&ask, &mapping))
}

/// `DELETE …/mappings/{id}`: nobody gets in by it any more.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let mapping = found(&ask, "identity:delete_mapping").await?;
    let events = transact!(ask.app.state, |tx| -> Result<Vec<Revocation>, StateError> {
        federation::delete_mapping(tx, &mapping.id).await?;
        let events = ended(&ask, tx, &mapping.id).await?;
        ask.note(tx, "mapping", &mapping.id, "deleted").await?;
        Ok(events)
    })?;
    ask.app.announce(events);
    reply::nothing()
}
