//! `/v3/OS-EP-FILTER`: which endpoints the catalog of a project shows.
use serde_json::{Value, json};
use virga_state::transact;

use super::ask::Ask;
use super::endpoints::show_endpoint;
use super::fields::{Fields, NAME};
use super::projects::show_project;
use super::reply::{self, Reply};
use crate::fault::Fault;
use crate::model::catalog::{self, Endpoint};
use crate::model::endpoint_filter::{self, EndpointGroup, Member};
use crate::model::project::{self, Project};
use crate::model::{Object, new_id};

const FILTERS: [&str; 4] = ["service_id", "region_id", "interface", "enabled"];

fn show(ask: &Ask, g: &EndpointGroup) -> Value {
    json!({
        "id": g.id,
        "name": g.name,
        "description": g.description,
        "filters": g.filters,
        "links": {"self": ask.url(&format!("/v3/OS-EP-FILTER/endpoint_groups/{}", g.id))},
    })
}

async fn project_of(ask: &Ask) -> Result<Project, Fault> {
    let id = ask.param("project_id");
    let found = project::get(&mut ask.app.state.reader(), id).await?;
    found.ok_or_else(|| Fault::not_found("project", id))
}

async fn endpoint_of(ask: &Ask) -> Result<Endpoint, Fault> {
    let id = ask.param("endpoint_id");
    let found = catalog::get_endpoint(&mut ask.app.state.reader(), id).await?;
    found.ok_or_else(|| Fault::not_found("endpoint", id))
}

async fn group_of(ask: &Ask) -> Result<EndpointGroup, Fault> {
    let id = ask.param("endpoint_group_id");
    let found = endpoint_filter::get_group(&mut ask.app.state.reader(), id).await?;
    found.ok_or_else(|| Fault::not_found("endpoint group", id))
}

async fn found(ask: &Ask, action: &str) -> Result<EndpointGroup, Fault> {
    ask.enforce(action, Value::Null)?;
    group_of(ask).await
}

/// `GET /v3/OS-EP-FILTER/endpoint_groups`.
pub(crate) async fn list(ask: Ask) -> Reply {
    ask.enforce("identity:list_endpoint_groups", Value::Null)?;
    let all = endpoint_filter::groups(&mut ask.app.state.reader()).await?;
    let items = all.iter().map(|g| show(&ask, g)).collect();
    reply::list(&ask, "endpoint_groups", items, &["name"])
}

/// `GET /v3/OS-EP-FILTER/endpoint_groups/{id}`.
pub(crate) async fn show_one(ask: Ask) -> Reply {
    let group = found(&ask, "identity:get_endpoint_group").await?;
    reply::one("endpoint_group", show(&ask, &group))
}

/// The filters of a body: all known.
fn filters(fields: &mut Fields) -> Result<Option<Object>, Fault> {
    let given = match fields.take("filters") {
        None => return Ok(None),
        Some(Value::Object(given)) => given,
        Some(_) => {
            return Err(Fault::BadRequest(
                "Invalid input for field 'filters': it is not of type 'object'.".into(),
            ));
        }
    };
    let known = |name: &str, value: &Value| match name {
        "enabled" => value.is_boolean(),
        "interface" => ["public", "internal", "admin"].contains(&value.as_str().unwrap_or_default()),
        _ => FILTERS.contains(&name) && value.is_string(),
    };
    match given.iter().find(|(name, value)| !known(name, value)) {
        Some((name, _)) => Err(Fault::BadRequest(format!(
            "Invalid input for field 'filters': '{name}' is not a filter, or has a wrong value."
        ))),
        None => Ok(Some(given)),
    }
}

async fn store(ask: &Ask, g: &EndpointGroup, before: Option<&EndpointGroup>) -> Result<(), Fault> {
    let action = if before.is_some() { "updated" } else { "created" };
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        if let Some(before) = before {
            Fault::unless_same(endpoint_filter::get_group(tx, &g.id).await?.as_ref(), before)?;
        }
        endpoint_filter::put_group(tx, g).await?;
        Ok(ask.note(tx, "endpoint group", &g.id, action).await?)
    })?;
    Ok(())
}

/// `POST /v3/OS-EP-FILTER/endpoint_groups`.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.enforce("identity:create_endpoint_group", Value::Null)?;
    let mut fields = ask.fields("endpoint_group")?;
    let new = EndpointGroup {
        id: new_id(),
        name: fields.name(NAME)?,
        description: fields.text("description")?.flatten(),
        filters: filters(&mut fields)?
            .filter(|given| !given.is_empty())
            .ok_or_else(|| Fault::expecting("filters", "endpoint_group"))?,
    };
    fields.nothing_else()?;
    store(&ask, &new, None).await?;
    reply::created("endpoint_group", show(&ask, &new))
}

/// `PATCH /v3/OS-EP-FILTER/endpoint_groups/{id}`.
pub(crate) async fn update(ask: Ask) -> Reply {
    let before = found(&ask, "identity:update_endpoint_group").await?;
    let mut group = before.clone();
    let mut fields = ask.changes("endpoint_group")?;
    if let Some(name) = fields.maybe_name(NAME)? {
        group.name = name;
    }
    if let Some(description) = fields.text("description")? {
        group.description = description;
    }
    if let Some(filters) = filters(&mut fields)? {
        group.filters = filters;
    }
    fields.nothing_else()?;
    store(&ask, &group, Some(&before)).await?;
    reply::one("endpoint_group", show(&ask, &group))
}

/// `DELETE /v3/OS-EP-FILTER/endpoint_groups/{id}`.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let group = found(&ask, "identity:delete_endpoint_group").await?;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        endpoint_filter::delete_group(tx, &group.id).await?;
        Ok(ask.note(tx, "endpoint group", &group.id, "deleted").await?)
    })?;
    reply::nothing()
}

/// `GET …/endpoint_groups/{id}/endpoints`.
pub(crate) async fn endpoints_in(ask: Ask) -> Reply {
    let group = found(&ask, "identity:list_endpoints_associated_with_endpoint_group").await?;
    let all = catalog::endpoints(&mut ask.app.state.reader()).await?;
    let held = all.iter().filter(|e| group.holds(e));
    let items = held.map(|e| show_endpoint(&ask, e)).collect();
    reply::list(&ask, "endpoints", items, &[])
}

/// The projects that have `member`, as the API shows them.
async fn projects_with(ask: &Ask, kind: Member, member: &str) -> Result<Vec<Value>, Fault> {
    let mut q = ask.app.state.reader();
    let mut shown = Vec::new();
    for (project, _) in endpoint_filter::associations(&mut q, kind)
        .await?
        .iter()
        .filter(|(_, m)| m == member)
    {
        if let Some(p) = project::get(&mut q, project).await? {
            shown.push(show_project(ask, &p, &project::tags(&mut q, &p.id).await?));
        }
    }
    Ok(shown)
}

/// `GET …/endpoint_groups/{id}/projects`.
pub(crate) async fn projects_of_group(ask: Ask) -> Reply {
    let group = found(&ask, "identity:list_projects_associated_with_endpoint_group").await?;
    let items = projects_with(&ask, Member::Group, &group.id).await?;
    reply::list(&ask, "projects", items, &[])
}

/// `GET …/endpoints/{id}/projects`.
pub(crate) async fn projects_of_endpoint(ask: Ask) -> Reply {
    ask.enforce("identity:list_projects_for_endpoint", Value::Null)?;
    let endpoint = endpoint_of(&ask).await?;
    let items = projects_with(&ask, Member::Endpoint, &endpoint.id).await?;
    reply::list(&ask, "projects", items, &[])
}

/// `GET …/projects/{id}/endpoint_groups`.
pub(crate) async fn groups_of_project(ask: Ask) -> Reply {
    ask.enforce("identity:list_endpoint_groups_for_project", Value::Null)?;
    let project = project_of(&ask).await?;
    let mut q = ask.app.state.reader();
    let pairs = endpoint_filter::associations(&mut q, Member::Group).await?;
    let all = endpoint_filter::groups(&mut q).await?;
    let mine = all
        .iter()
        .filter(|g| pairs.iter().any(|(p, m)| *p == project.id && *m == g.id));
    let items = mine.map(|g| show(&ask, g)).collect();
    reply::list(&ask, "endpoint_groups", items, &[])
}

/// `GET …/projects/{id}/endpoints`: associated directly or by group.
pub(crate) async fn endpoints_of_project(ask: Ask) -> Reply {
    ask.enforce("identity:list_endpoints_for_project", Value::Null)?;
    let project = project_of(&ask).await?;
    let mut q = ask.app.state.reader();
    let single = endpoint_filter::associations(&mut q, Member::Endpoint).await?;
    let pairs = endpoint_filter::associations(&mut q, Member::Group).await?;
    let mut groups = endpoint_filter::groups(&mut q).await?;
    groups.retain(|g| pairs.iter().any(|(p, m)| *p == project.id && *m == g.id));
    let mine = |e: &Endpoint| single.iter().any(|(p, m)| *p == project.id && *m == e.id);
    let all = catalog::endpoints(&mut q).await?;
    let seen = all
        .iter()
        .filter(|e| mine(e) || groups.iter().any(|g| g.holds(e)));
    let items = seen.map(|e| show_endpoint(&ask, e)).collect();
    reply::list(&ask, "endpoints", items, &[])
}

/// The project and member that the path names; both must exist.
async fn pair(ask: &Ask, kind: Member) -> Result<(String, String), Fault> {
    let member = match kind {
        Member::Endpoint => endpoint_of(ask).await?.id,
        Member::Group => group_of(ask).await?.id,
    };
    Ok((project_of(ask).await?.id, member))
}

async fn associate(ask: &Ask, kind: Member) -> Reply {
    let (project, member) = pair(ask, kind).await?;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        endpoint_filter::associate(tx, kind, &project, &member).await?;
        Ok(ask.note(tx, "endpoint filter", &project, "created").await?)
    })?;
    reply::nothing()
}

fn no_association(pair: &(String, String)) -> Fault {
    Fault::NotFound(format!(
        "Could not find association of project {} with {}.",
        pair.0, pair.1
    ))
}

async fn dissociate(ask: &Ask, kind: Member) -> Reply {
    let pair = pair(ask, kind).await?;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        if !endpoint_filter::dissociate(tx, kind, &pair.0, &pair.1).await? {
            return Err(no_association(&pair));
        }
        Ok(ask.note(tx, "endpoint filter", &pair.0, "deleted").await?)
    })?;
    reply::nothing()
}

async fn check(ask: &Ask, kind: Member) -> Result<(), Fault> {
    let pair = pair(ask, kind).await?;
    let all = endpoint_filter::associations(&mut ask.app.state.reader(), kind).await?;
    if all.contains(&pair) {
        Ok(())
    } else {
        Err(no_association(&pair))
    }
}

/// `PUT …/projects/{id}/endpoints/{id}`.
pub(crate) async fn add_endpoint(ask: Ask) -> Reply {
    ask.enforce("identity:add_endpoint_to_project", Value::Null)?;
    associate(&ask, Member::Endpoint).await
}

/// `GET` and `HEAD …/projects/{id}/endpoints/{id}`.
pub(crate) async fn check_endpoint(ask: Ask) -> Reply {
    ask.enforce("identity:check_endpoint_in_project", Value::Null)?;
    check(&ask, Member::Endpoint).await?;
    reply::nothing()
}

/// `DELETE …/projects/{id}/endpoints/{id}`.
pub(crate) async fn remove_endpoint(ask: Ask) -> Reply {
    ask.enforce("identity:remove_endpoint_from_project", Value::Null)?;
    dissociate(&ask, Member::Endpoint).await
}

/// `PUT …/endpoint_groups/{id}/projects/{id}`.
pub(crate) async fn add_group(ask: Ask) -> Reply {
    ask.enforce("identity:add_endpoint_group_to_project", Value::Null)?;
    associate(&ask, Member::Group).await
}

/// `GET` and `HEAD …/endpoint_groups/{id}/projects/{id}`.
pub(crate) async fn check_group(ask: Ask) -> Reply {
    ask.enforce("identity:get_endpoint_group_in_project", Value::Null)?;
    check(&ask, Member::Group).await?;
    let group = group_of(&ask).await?;
    reply::one("endpoint_group", show(&ask, &group))
}

/// `DELETE …/endpoint_groups/{id}/projects/{id}`.
pub(crate) async fn remove_group(ask: Ask) -> Reply {
    ask.enforce("identity:remove_endpoint_group_from_project", Value::Null)?;
    dissociate(&ask, Member::Group).await
}
