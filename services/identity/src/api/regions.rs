//! `/v3/regions`.
use serde_json::{Value, json};
use virga_state::{StateError, transact};

use super::ask::Ask;
use super::reply::{self, Reply};
use crate::fault::Fault;
use crate::model::catalog::{self, Region};
use crate::model::new_id;

/// Longest id and description, in characters.
const MAX_ID: usize = 255;

fn show_region(ask: &Ask, r: &Region) -> Value {
    let mut shown = Value::Object(r.extra.clone());
    shown["id"] = json!(r.id);
    shown["parent_region_id"] = json!(r.parent_region_id);
    shown["description"] = json!(r.description);
    shown["links"] = json!({"self": ask.url(&format!("/v3/regions/{}", r.id))});
    shown
}

async fn found(ask: &Ask, action: &str) -> Result<Region, Fault> {
    ask.enforce(action, Value::Null)?;
    let id = ask.param("region_id");
    let found = catalog::get_region(&mut ask.app.state.reader(), id).await?;
    found.ok_or_else(|| Fault::not_found("region", id))
}

/// Stores one, new or changed from `before`.
async fn store(ask: &Ask, region: &Region, before: Option<&Region>) -> Result<(), Fault> {
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        let now = catalog::get_region(tx, &region.id).await?;
        if let Some(before) = before {
            Fault::unless_same(now.as_ref(), before)?;
        } else if now.is_some() {
            return Err(Fault::Conflict(format!(
                "Conflict occurred attempting to store region - Duplicate ID, {}.",
                region.id
            )));
        }
        let mut above = region.parent_region_id.clone();
        while let Some(id) = above {
            if id == region.id {
                return Err(Fault::BadRequest(format!("The region {id} would lie in itself.")));
            }
            let parent = catalog::get_region(tx, &id).await?;
            above = parent
                .ok_or_else(|| Fault::not_found("region", &id))?
                .parent_region_id;
        }
        catalog::put_region(tx, region).await?;
        Ok(ask
            .note(
                tx,
                "region",
                &region.id,
                if before.is_some() { "updated" } else { "created" },
            )
            .await?)
    })?;
    Ok(())
}

/// `GET /v3/regions`.
pub(crate) async fn list(ask: Ask) -> Reply {
    ask.enforce("identity:list_regions", Value::Null)?;
    let regions = catalog::regions(&mut ask.app.state.reader()).await?;
    let items = regions.iter().map(|r| show_region(&ask, r)).collect();
    reply::list(&ask, "regions", items, &["parent_region_id"])
}

/// `GET /v3/regions/{id}`.
pub(crate) async fn show(ask: Ask) -> Reply {
    let region = found(&ask, "identity:get_region").await?;
    reply::one("region", show_region(&ask, &region))
}

/// `POST /v3/regions`, and `PUT /v3/regions/{id}` with the id in the path.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.enforce("identity:create_region", Value::Null)?;
    let mut fields = ask.fields("region")?;
    let in_path = ask.param("region_id").to_owned();
    if !in_path.is_empty() {
        fields.same_id(&in_path)?;
    }
    let given = fields.text("id")?.flatten().filter(|id| !id.is_empty());
    let id = if in_path.is_empty() {
        given.unwrap_or_else(new_id)
    } else {
        in_path
    };
    if id.chars().count() > MAX_ID {
        return Err(Fault::BadRequest(format!(
            "Invalid input for field 'id': longer than {MAX_ID} characters."
        )));
    }
    let new = Region {
        id,
        parent_region_id: fields.id("parent_region_id")?.flatten(),
        description: fields
            .short_text("description", MAX_ID)?
            .flatten()
            .unwrap_or_default(),
        extra: fields.rest(),
    };
    store(&ask, &new, None).await?;
    reply::created("region", show_region(&ask, &new))
}

/// `PATCH /v3/regions/{id}`.
pub(crate) async fn update(ask: Ask) -> Reply {
    let before = found(&ask, "identity:update_region").await?;
    let mut region = before.clone();
    let mut fields = ask.changes("region")?;
    fields.same_id(&region.id)?;
    if let Some(parent) = fields.id("parent_region_id")? {
        region.parent_region_id = parent;
    }
    if let Some(description) = fields.short_text("description", MAX_ID)? {
        region.description = description.unwrap_or_default();
    }
    region.extra.extend(fields.rest());
    store(&ask, &region, Some(&before)).await?;
    reply::one("region", show_region(&ask, &region))
}

/// `DELETE /v3/regions/{id}`.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let region = found(&ask, "identity:delete_region").await?;
    let deleted = transact!(ask.app.state, |tx| -> Result<(), Fault> {
        catalog::delete_region(tx, &region.id).await?;
        Ok(ask.note(tx, "region", &region.id, "deleted").await?)
    });
    match deleted {
        Err(Fault::State(StateError::Reference)) => Err(Fault::Conflict(format!(
            "Unable to delete region {} because it or its child regions have associated endpoints.",
            region.id
        ))),
        other => {
            other?;
            reply::nothing()
        }
    }
}
