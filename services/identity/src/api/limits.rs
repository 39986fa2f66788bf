//! `/v3/limits`: what single projects and domains have instead of the
//! defaults; flat, or in two levels that hold together.
use serde_json::{Value, json};
use virga_identity_api::caller::Scope;
use virga_state::{Queries, StateError, Transaction, transact};

use super::ask::Ask;
use super::fields::Fields;
use super::registered_limits::{items, require, resource};
use super::reply::{self, Reply};
use crate::config::LimitModel;
use crate::fault::Fault;
use crate::model::limit::{self, Limit};
use crate::model::{new_id, project};

fn show(ask: &Ask, l: &Limit) -> Value {
    json!({
        "id": l.id,
        "project_id": l.project_id,
        "domain_id": l.domain_id,
        "service_id": l.service_id,
        "region_id": l.region_id,
        "resource_name": l.resource_name,
        "resource_limit": l.resource_limit,
        "description": l.description,
        "links": {"self": ask.url(&format!("/v3/limits/{}", l.id))},
    })
}

async fn target(q: &mut impl Queries, l: &Limit) -> Result<Value, Fault> {
    Ok(match (&l.project_id, &l.domain_id) {
        (Some(id), _) => {
            let domain = project::get(q, id).await?.and_then(|p| p.domain_id);
            json!({"limit": {"project_id": id, "project": {"domain_id": domain}}})
        }
        (None, domain) => json!({"limit": {"domain": {"id": domain}, "project_id": null}}),
    })
}

async fn found(ask: &Ask, action: &str) -> Result<Limit, Fault> {
    ask.caller()?;
    let id = ask.param("limit_id");
    let mut q = ask.app.state.reader();
    let found = limit::get(&mut q, id).await?;
    let target = match &found {
        Some(l) => target(&mut q, l).await?,
        None => json!({}),
    };
    ask.enforce(action, target)?;
    found.ok_or_else(|| Fault::NotFound(format!("Could not find limit for {id}.")))
}

/// `GET /v3/limits/model`.
pub(crate) async fn model(ask: Ask) -> Reply {
    ask.enforce("identity:get_limit_model", Value::Null)?;
    let model = match ask.app.config.limit_model {
        LimitModel::Flat => json!({
            "name": "flat",
            "description": "Limit enforcement and validation does not take project hierarchy into consideration.",
        }),
        LimitModel::StrictTwoLevel => json!({
            "name": "strict_two_level",
            "description": "This model requires project hierarchy never exceeds a depth of two: no limit of a \
                            project is above that of its domain.",
        }),
    };
    reply::one("model", model)
}

/// `GET /v3/limits`: those of the caller's project or domain; all for
/// administrators and readers of the cloud, and for services.
pub(crate) async fn list(ask: Ask) -> Reply {
    ask.enforce("identity:list_limits", Value::Null)?;
    let mut q = ask.app.state.reader();
    let caller = ask.caller()?;
    // Services read here what they enforce for the projects of others.
    let all = caller.scope == Scope::System || caller.has_role("admin") || caller.has_role("service");
    let mut shown = Vec::new();
    for l in limit::list(&mut q).await? {
        if all || ask.allowed("identity:get_limit", target(&mut q, &l).await?)? {
            shown.push(show(&ask, &l));
        }
    }
    let filters = [
        "service_id",
        "region_id",
        "resource_name",
        "project_id",
        "domain_id",
    ];
    reply::list(&ask, "limits", shown, &filters)
}

/// `GET /v3/limits/{id}`.
pub(crate) async fn show_one(ask: Ask) -> Reply {
    let limit = found(&ask, "identity:get_limit").await?;
    reply::one("limit", show(&ask, &limit))
}

fn amount(fields: &mut Fields) -> Result<Option<i64>, Fault> {
    match fields.int("resource_limit", -1)? {
        Some(None) => Err(Fault::BadRequest(
            "Invalid input for field 'resource_limit': None is not of type 'integer'.".into(),
        )),
        given => Ok(given.flatten()),
    }
}

fn read(mut fields: Fields) -> Result<Limit, Fault> {
    let missing = |field: &str| {
        Fault::BadRequest(format!(
            "Invalid input for field '{field}': '{field}' is a required property."
        ))
    };
    let both = fields.has("project_id") && fields.has("domain_id");
    let project_id = fields.id("project_id")?.flatten();
    let domain_id = fields.id("domain_id")?.flatten();
    if both || project_id.is_some() == domain_id.is_some() {
        return Err(Fault::BadRequest(
            "Invalid input for field 'limits': exactly one of project_id and domain_id is a required property.".into(),
        ));
    }
    let new = Limit {
        id: new_id(),
        registered_limit_id: String::new(),
        project_id,
        domain_id,
        service_id: fields.required("service_id")?,
        region_id: fields.id("region_id")?.flatten(),
        resource_name: resource(&mut fields)?.ok_or_else(|| missing("resource_name"))?,
        resource_limit: amount(&mut fields)?.ok_or_else(|| missing("resource_limit"))?,
        description: fields.text("description")?.flatten(),
    };
    fields.nothing_else()?;
    Ok(new)
}

/// Looks up what the limit refers to; a limit of a project that is a domain is
/// the domain's.
async fn resolve(tx: &mut Transaction, l: &mut Limit) -> Result<(), Fault> {
    require(tx, &l.service_id, l.region_id.as_deref()).await?;
    if let Some(id) = l.project_id.take() {
        match project::get(tx, &id).await? {
            None => return Err(Fault::expecting("project_id", "limit")),
            Some(p) if p.is_domain => l.domain_id = Some(id),
            Some(_) => l.project_id = Some(id),
        }
    }
    if let Some(id) = &l.domain_id
        && project::get(tx, id).await?.is_none_or(|d| !d.is_domain)
    {
        return Err(Fault::expecting("domain_id", "limit"));
    }
    let registered =
        limit::find_registered(tx, &l.service_id, l.region_id.as_deref(), &l.resource_name).await?;
    let registered = registered.ok_or_else(|| {
        Fault::Forbidden(format!(
            "Unable to create a limit that has no corresponding registered limit: {}.",
            l.resource_name
        ))
    })?;
    l.registered_limit_id = registered.id;
    Ok(())
}

/// 403 if the limit does not fit between that of the domain and those of its
/// projects. -1 is no limit.
async fn check_tree(tx: &mut Transaction, l: &Limit) -> Result<(), Fault> {
    let above = |a: i64, b: i64| b != -1 && (a == -1 || a > b);
    let fault = || {
        Fault::Forbidden(format!(
            "Invalid resource limit: The resource limit ({}, resource_name: {}, resource_limit: {}) doesn't satisfy \
             current hierarchy model.",
            l.project_id
                .as_ref()
                .or(l.domain_id.as_ref())
                .map_or("", String::as_str),
            l.resource_name,
            l.resource_limit
        ))
    };
    let value = async |tx: &mut Transaction, owner: &str| -> Result<Option<i64>, Fault> {
        let found = limit::of(tx, &l.registered_limit_id, owner).await?;
        Ok(found.map(|l| l.resource_limit))
    };
    if let Some(id) = &l.project_id {
        let domain = project::get(tx, id)
            .await?
            .and_then(|p| p.domain_id)
            .unwrap_or_default();
        let most = match value(tx, &domain).await? {
            Some(most) => Some(most),
            None => limit::get_registered(tx, &l.registered_limit_id)
                .await?
                .map(|r| r.default_limit),
        };
        return match most {
            Some(most) if above(l.resource_limit, most) => Err(fault()),
            _ => Ok(()),
        };
    }
    let domain = l.domain_id.as_deref().unwrap_or_default();
    for child in project::list(tx, false, Some(domain), None).await? {
        let of_child = value(tx, &child.id).await?;
        if of_child.is_some_and(|n| above(n, l.resource_limit)) {
            return Err(fault());
        }
    }
    Ok(())
}

fn conflict(error: Fault) -> Fault {
    match error {
        Fault::State(StateError::Duplicate) => {
            Fault::Conflict("Conflict occurred attempting to store limit - Duplicate entry.".into())
        }
        other => other,
    }
}

/// `POST /v3/limits`: several at once, all or none.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.enforce("identity:create_limits", Value::Null)?;
    let wanted: Vec<Limit> = items(&ask, "limits")?
        .into_iter()
        .map(read)
        .collect::<Result<_, _>>()?;
    let strict = ask.app.config.limit_model == LimitModel::StrictTwoLevel;
    let stored = transact!(ask.app.state, |tx| -> Result<Vec<Limit>, Fault> {
        let mut made = wanted.clone();
        for l in &mut made {
            resolve(tx, l).await?;
            limit::insert(tx, l).await?;
            ask.note(tx, "limit", &l.id, "created").await?;
        }
        // After all are there: a domain and its projects may come together.
        for l in made.iter().filter(|_| strict) {
            check_tree(tx, l).await?;
        }
        Ok(made)
    });
    let made = stored.map_err(conflict)?;
    reply::created("limits", made.iter().map(|l| show(&ask, l)).collect())
}

/// `PATCH /v3/limits/{id}`.
pub(crate) async fn update(ask: Ask) -> Reply {
    let before = found(&ask, "identity:update_limit").await?;
    let mut l = before.clone();
    let mut fields = ask.fields("limit")?;
    if let Some(amount) = amount(&mut fields)? {
        l.resource_limit = amount;
    }
    if let Some(description) = fields.text("description")? {
        l.description = description;
    }
    fields.nothing_else()?;
    let strict = ask.app.config.limit_model == LimitModel::StrictTwoLevel;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        Fault::unless_same(limit::get(tx, &l.id).await?.as_ref(), &before)?;
        limit::update(tx, &l).await?;
        if strict {
            check_tree(tx, &l).await?;
        }
        Ok(ask.note(tx, "limit", &l.id, "updated").await?)
    })?;
    reply::one("limit", show(&ask, &l))
}

/// `DELETE /v3/limits/{id}`.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let limit = found(&ask, "identity:delete_limit").await?;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        limit::delete(tx, &limit.id).await?;
        Ok(ask.note(tx, "limit", &limit.id, "deleted").await?)
    })?;
    reply::nothing()
}
