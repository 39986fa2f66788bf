//! `/v3/projects` and their tags.
use axum::response::IntoResponse;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use virga_identity_api::caller::Scope;
use virga_state::{Queries, StateError, Transaction, transact};

use super::ask::Ask;
use super::fields::{Fields, SHORT_NAME, merge_options};
use super::reply::{self, Reply};
use crate::app::App;
use crate::fault::Fault;
use crate::model::assignment::Actors;
use crate::model::new_id;
use crate::model::project::{self, Project};
use virga_identity_api::revocation::Revocation;

/// Tags of one project at most, as in Keystone.
const MAX_TAGS: usize = 80;
/// Longest tag, in characters.
const MAX_TAG: usize = 255;

/// A project as the API shows it.
pub(crate) fn show_project(ask: &Ask, p: &Project, tags: &[String]) -> Value {
    let mut shown = Value::Object(p.extra.clone());
    shown["id"] = json!(p.id);
    shown["name"] = json!(p.name);
    shown["domain_id"] = json!(p.domain_id);
    shown["description"] = json!(p.description);
    shown["enabled"] = json!(p.enabled);
    shown["parent_id"] = json!(p.parent_id);
    shown["is_domain"] = json!(p.is_domain);
    shown["tags"] = json!(tags);
    shown["options"] = Value::Object(p.options.clone());
    shown["links"] = json!({"self": ask.url(&format!("/v3/projects/{}", p.id))});
    shown
}

/// A project as policy rules see it.
pub(crate) fn target(p: Option<&Project>) -> Value {
    match p {
        Some(p) => json!({"project": {"id": p.id, "domain_id": p.domain_id, "name": p.name}}),
        None => json!({}),
    }
}

/// The project of the path, after asking policy. Who may not see it learns
/// nothing about whether it exists.
async fn found(ask: &Ask, action: &str) -> Result<Project, Fault> {
    ask.caller()?;
    let id = ask.param("project_id");
    let found = project::get(&mut ask.app.state.reader(), id).await?;
    ask.enforce(action, target(found.as_ref()))?;
    found.ok_or_else(|| Fault::not_found("project", id))
}

/// The domain that lists are limited to: that of a domain's token.
pub(crate) fn listing_domain(ask: &Ask) -> Result<Option<String>, Fault> {
    Ok(match &ask.caller()?.scope {
        Scope::Domain(id) => Some(id.clone()),
        _ => None,
    })
}

/// Something new as policy rules see it: with the domain that the client names,
/// as in Keystone. Who manages a domain must name it, though it would be taken
/// from the token.
pub(crate) fn named_domain(given: &Option<Option<String>>) -> Value {
    match given {
        Some(Some(id)) => json!({ "domain_id": id }),
        _ => json!({}),
    }
}

/// The domain for something new that names none: that of the token.
pub(crate) async fn domain_for_new(ask: &Ask, given: Option<Option<String>>) -> Result<String, Fault> {
    if let Some(Some(id)) = given {
        return Ok(id);
    }
    let of_token = match &ask.caller()?.scope {
        Scope::Domain(id) => Some(id.clone()),
        Scope::Project(id) => ask.app.domain_of_project(id).await?,
        Scope::System | Scope::Unscoped => None,
    };
    Ok(of_token.unwrap_or_else(|| crate::bootstrap::DEFAULT_DOMAIN.to_owned()))
}

/// 404 unless a domain of this id exists.
pub(crate) async fn require_domain(q: &mut impl Queries, id: &str) -> Result<Project, Fault> {
    match project::get(q, id).await? {
        Some(domain) if domain.is_domain => Ok(domain),
        _ => Err(Fault::not_found("domain", id)),
    }
}

/// 409 in Keystone's words, if it was a duplicate.
pub(crate) fn duplicate(error: Fault, kind: &str, name: &str, domain: Option<&str>) -> Fault {
    match (error, domain) {
        (Fault::State(StateError::Duplicate), Some(domain)) => Fault::Conflict(format!(
            "Conflict occurred attempting to store {kind} - Duplicate entry found with name {name} at domain ID \
             {domain}."
        )),
        (Fault::State(StateError::Duplicate), None) => Fault::Conflict(format!(
            "Conflict occurred attempting to store {kind} - Duplicate entry found with name {name}."
        )),
        (other, _) => other,
    }
}

/// `GET /v3/projects`.
pub(crate) async fn list(ask: Ask) -> Reply {
    let mine = listing_domain(&ask)?;
    ask.enforce("identity:list_projects", json!({"domain_id": mine}))?;
    let is_domain = ask.flag("is_domain");
    let mut q = ask.app.state.reader();
    let domain = mine.as_deref().filter(|_| !is_domain).or(ask.query("domain_id"));
    let mut projects = project::list(&mut q, is_domain, domain, ask.query("name")).await?;
    if let (true, Some(mine)) = (is_domain, &mine) {
        projects.retain(|p| p.id == *mine);
    }
    let tags = project::all_tags(&mut q).await?;
    let items = projects.iter().filter_map(|p| {
        let of_project = tags_of(&tags, &p.id);
        tags_match(&ask, &of_project).then(|| show_project(&ask, p, &of_project))
    });
    reply::list(
        &ask,
        "projects",
        items.collect(),
        &["domain_id", "enabled", "name", "parent_id"],
    )
}

/// Those of `all` (pairs of project and tag) that are of this project.
pub(crate) fn tags_of(all: &[(String, String)], id: &str) -> Vec<String> {
    let mine = all.iter().filter(|(of, _)| of == id);
    mine.map(|(_, tag)| tag.clone()).collect()
}

fn tags_match(ask: &Ask, have: &[String]) -> bool {
    let has = |tag: &str| have.iter().any(|t| t == tag);
    let all = |list: &str| list.split(',').all(has);
    let any = |list: &str| list.split(',').any(has);
    ask.query("tags").is_none_or(all)
        && ask.query("tags-any").is_none_or(any)
        && ask.query("not-tags").is_none_or(|list| !all(list))
        && ask.query("not-tags-any").is_none_or(|list| !any(list))
}

/// `GET /v3/projects/{id}`, with the tree around it if asked for.
pub(crate) async fn show(ask: Ask) -> Reply {
    let project = found(&ask, "identity:get_project").await?;
    let mut q = ask.app.state.reader();
    let tags = project::tags(&mut q, &project.id).await?;
    let mut shown = show_project(&ask, &project, &tags);
    let parents = shape(&ask, "parents")?;
    let subtree = shape(&ask, "subtree")?;
    if let Some(shape) = parents {
        let above = project::ancestry(&mut q, &project.id).await?;
        let above = &above[1.min(above.len())..];
        shown["parents"] = match shape {
            Shape::Ids => above
                .iter()
                .rev()
                .fold(Value::Null, |inner, p| json!({&*p.id: inner})),
            Shape::List => listed(&ask, above).await?,
        };
    }
    if let Some(shape) = subtree {
        let below = project::subtree(&mut q, &project.id).await?;
        shown["subtree"] = match shape {
            Shape::Ids => ids_below(&below, &project.id),
            Shape::List => listed(&ask, &below).await?,
        };
    }
    reply::one("project", shown)
}

/// How the tree around a project is to be shown.
#[derive(Clone, Copy)]
enum Shape {
    Ids,
    List,
}

/// What the query says of `part` of the tree; 400 if it says two things.
fn shape(ask: &Ask, part: &str) -> Result<Option<Shape>, Fault> {
    let [list, ids] = ["list", "ids"].map(|how| format!("{part}_as_{how}"));
    match (ask.flag(&list), ask.flag(&ids)) {
        (true, true) => Err(Fault::BadRequest(format!(
            "Cannot use {list} and {ids} query params at the same time."
        ))),
        (true, false) => Ok(Some(Shape::List)),
        (false, true) => Ok(Some(Shape::Ids)),
        (false, false) => Ok(None),
    }
}

/// Those of the projects on which the caller has a role, whole.
async fn listed(ask: &Ask, projects: &[Project]) -> Result<Value, Fault> {
    let mut q = ask.app.state.reader();
    let actors = Actors::of(
        &mut q,
        &ask.caller()?.user_id,
        &ask.groups()?,
        ask.app.clock.now(),
    )
    .await?;
    let mine = project::list_for_user(&mut q, &actors, false).await?;
    let tags = project::all_tags(&mut q).await?;
    let seen = projects.iter().filter(|p| mine.iter().any(|m| m.id == p.id));
    let shown = seen.map(|p| json!({"project": show_project(ask, p, &tags_of(&tags, &p.id))}));
    Ok(shown.collect())
}

/// Ids as a tree of objects; null where it ends.
fn ids_below(all: &[Project], id: &str) -> Value {
    let children = all.iter().filter(|p| p.parent_id.as_deref() == Some(id));
    let tree: serde_json::Map<String, Value> =
        children.map(|p| (p.id.clone(), ids_below(all, &p.id))).collect();
    if tree.is_empty() {
        Value::Null
    } else {
        Value::Object(tree)
    }
}

pub(crate) fn check_tags(tags: &[String]) -> Result<(), Fault> {
    if tags.len() > MAX_TAGS {
        return Err(Fault::BadRequest(format!(
            "A project has at most {MAX_TAGS} tags."
        )));
    }
    for tag in tags {
        let fits = !tag.is_empty() && tag.chars().count() <= MAX_TAG && !tag.contains(['/', ',']);
        if !fits {
            return Err(Fault::BadRequest(
                "Invalid input for field 'tags': a tag is 1 to 255 characters without '/' and ','.".into(),
            ));
        }
    }
    let mut sorted: Vec<_> = tags.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() != tags.len() {
        return Err(Fault::BadRequest(
            "Invalid input for field 'tags': it has non-unique elements.".into(),
        ));
    }
    Ok(())
}

/// `POST /v3/projects`.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.caller()?;
    let mut fields = ask.fields("project")?;
    let is_domain = fields.bool("is_domain")?.unwrap_or(false);
    fields.not_null(&["tags"])?;
    let parent = fields.id("parent_id")?.flatten();
    let given = fields.id("domain_id")?;
    let name = fields.name(SHORT_NAME)?.trim().to_owned();
    let action = if is_domain {
        "identity:create_domain"
    } else {
        "identity:create_project"
    };
    ask.enforce(action, json!({"project": named_domain(&given)}))?;
    let domain = match (&parent, &given, is_domain) {
        (_, _, true) => None,
        (Some(parent), None | Some(None), false) => {
            let above = project::get(&mut ask.app.state.reader(), parent).await?;
            let above = above.ok_or_else(|| no_place("project", parent))?;
            Some(above.domain_id.unwrap_or(above.id))
        }
        _ => Some(domain_for_new(&ask, given).await?),
    };
    let tags = fields.texts("tags")?.unwrap_or_default();
    check_tags(&tags)?;
    let new = Project {
        id: new_id(),
        parent_id: if is_domain {
            None
        } else {
            parent.or_else(|| domain.clone())
        },
        domain_id: domain,
        name,
        description: fields.text("description")?.flatten().unwrap_or_default(),
        enabled: fields.bool("enabled")?.unwrap_or(true),
        is_domain,
        options: fields.options(&["immutable"], &[])?,
        extra: fields.rest(),
    };
    let levels = ask.app.config.project_levels();
    let stored = transact!(ask.app.state, |tx| -> Result<(), Fault> {
        check_parent(tx, &new, levels).await?;
        project::insert(tx, &new).await?;
        project::set_tags(tx, &new.id, &tags).await?;
        ask.note(tx, "project", &new.id, "created").await?;
        Ok(())
    });
    stored.map_err(|e| duplicate(e, "project", &new.name, new.domain_id.as_deref()))?;
    reply::created("project", show_project(&ask, &new, &tags))
}

/// 400: where a new project is to be there is nothing.
fn no_place(kind: &str, id: &str) -> Fault {
    Fault::BadRequest(Fault::not_found(kind, id).to_string())
}

async fn check_parent(tx: &mut Transaction, new: &Project, levels: usize) -> Result<(), Fault> {
    let Some(parent) = &new.parent_id else {
        return Ok(());
    };
    let domain = new.domain_id.as_deref().unwrap_or_default();
    if !project::get(tx, domain).await?.is_some_and(|d| d.is_domain) {
        return Err(no_place("domain", domain));
    }
    let above = project::ancestry(tx, parent).await?;
    let Some(nearest) = above.first() else {
        return Err(no_place("project", parent));
    };
    if nearest.domain_id.as_deref().unwrap_or(&nearest.id) != domain {
        return Err(Fault::BadRequest(format!(
            "Cannot create project, the parent {parent} is not in the domain {domain}."
        )));
    }
    // The domain is among those above, and no level of projects.
    if above.len() > levels {
        return Err(Fault::Forbidden(format!(
            "Max hierarchy depth reached for {parent} branch."
        )));
    }
    if above.iter().any(|p| !p.enabled) {
        return Err(Fault::Forbidden(format!(
            "Cannot create project: {parent} or one above it is disabled."
        )));
    }
    Ok(())
}

/// 403 if the record is protected by its option and this does not lift it.
pub(crate) fn check_immutable(
    options: &crate::model::Object,
    lifted: bool,
    kind: &str,
    id: &str,
) -> Result<(), Fault> {
    if options.get("immutable") == Some(&json!(true)) && !lifted {
        return Err(Fault::Forbidden(format!(
            "Cannot change the {kind} {id}: it is immutable (options.immutable). Set that to false first."
        )));
    }
    Ok(())
}

/// Applies a PATCH to a project or domain. Returns whether it was disabled.
pub(crate) async fn change(
    tx: &mut Transaction,
    p: &mut Project,
    fields: &mut Fields,
) -> Result<bool, Fault> {
    let options = fields.options(&["immutable"], &[])?;
    let lifted = options.get("immutable").is_some_and(|v| v != &json!(true));
    let kind = if p.is_domain { "domain" } else { "project" };
    check_immutable(&p.options, lifted, kind, &p.id)?;
    merge_options(&mut p.options, options);
    if let Some(name) = fields.maybe_name(SHORT_NAME)? {
        name.trim().clone_into(&mut p.name);
    }
    if let Some(description) = fields.text("description")? {
        p.description = description.unwrap_or_default();
    }
    let was = p.enabled;
    p.enabled = fields.bool("enabled")?.unwrap_or(was);
    if was && !p.enabled && !p.is_domain && project::subtree(tx, &p.id).await?.iter().any(|c| c.enabled) {
        return Err(Fault::Forbidden(format!(
            "Cannot disable project {} since its subtree contains enabled projects.",
            p.id
        )));
    }
    if !was
        && p.enabled
        && project::ancestry(tx, &p.id)
            .await?
            .iter()
            .skip(1)
            .any(|a| !a.enabled)
    {
        return Err(Fault::Forbidden(format!(
            "Cannot enable project {} since it has disabled parents.",
            p.id
        )));
    }
    Ok(was && !p.enabled)
}

/// Revocations for a project that is disabled or deleted.
pub(crate) fn tokens_of_project(app: &App, id: &str) -> Revocation {
    Revocation {
        project_id: Some(id.to_owned()),
        ..app.revocation()
    }
}

/// `PATCH /v3/projects/{id}`.
pub(crate) async fn update(ask: Ask) -> Reply {
    let before = found(&ask, "identity:update_project").await?;
    let mut checked = ask.fields("project")?;
    checked.not_null(&["tags"])?;
    checked.same_id(&before.id)?;
    if checked
        .text("parent_id")?
        .is_some_and(|given| given != before.parent_id)
    {
        return Err(Fault::Forbidden("Update of `parent_id` is not allowed.".into()));
    }
    if checked
        .text("domain_id")?
        .is_some_and(|given| given != before.domain_id)
    {
        return Err(Fault::BadRequest("Cannot change Domain ID.".into()));
    }
    if checked
        .bool("is_domain")?
        .is_some_and(|given| given != before.is_domain)
    {
        return Err(Fault::BadRequest("Update of `is_domain` is not allowed.".into()));
    }
    let tags = checked.texts("tags")?;
    check_tags(tags.as_deref().unwrap_or_default())?;
    let app = &ask.app;
    let stored = transact!(app.state, |tx| -> Result<
        (Project, Vec<String>, Vec<Revocation>),
        Fault,
    > {
        let mut fields = ask.fields("project")?;
        for taken in ["id", "parent_id", "domain_id", "is_domain", "tags"] {
            fields.drop(taken);
        }
        let id = &before.id;
        let mut p = project::get(tx, id)
            .await?
            .ok_or_else(|| Fault::not_found("project", id))?;
        let disabled = change(tx, &mut p, &mut fields).await?;
        p.extra.extend(fields.rest());
        project::update(tx, &p).await?;
        if let Some(tags) = &tags {
            project::set_tags(tx, id, tags).await?;
        }
        let ended = disabled.then(|| tokens_of_project(app, id));
        let events: Vec<Revocation> = ended.into_iter().collect();
        app.store_revocations(tx, &events).await?;
        ask.note(tx, "project", id, "updated").await?;
        let tags = project::tags(tx, id).await?;
        Ok((p, tags, events))
    });
    let (project, tags, events) =
        stored.map_err(|e| duplicate(e, "project", &before.name, before.domain_id.as_deref()))?;
    app.announce(events);
    reply::one("project", show_project(&ask, &project, &tags))
}

/// `DELETE /v3/projects/{id}`.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let project = found(&ask, "identity:delete_project").await?;
    if project.is_domain {
        return super::domains::delete_found(&ask, project).await;
    }
    check_immutable(&project.options, false, "project", &project.id)?;
    let app = &ask.app;
    let events = transact!(app.state, |tx| -> Result<Vec<Revocation>, Fault> {
        let id = &*project.id;
        if !project::subtree(tx, id).await?.is_empty() {
            return Err(Fault::Forbidden(format!(
                "Cannot delete the project {id} since it is not a leaf in the hierarchy."
            )));
        }
        project::delete(tx, id).await?;
        let events = vec![tokens_of_project(app, id)];
        app.store_revocations(tx, &events).await?;
        ask.note(tx, "project", id, "deleted").await?;
        Ok(events)
    })?;
    app.announce(events);
    reply::nothing()
}

/// `GET …/tags`.
pub(crate) async fn tags(ask: Ask) -> Reply {
    let project = found(&ask, "identity:list_project_tags").await?;
    let tags = project::tags(&mut ask.app.state.reader(), &project.id).await?;
    Ok(
        axum::Json(json!({"tags": tags, "links": {"self": ask.self_url(), "previous": null, "next": null}}))
            .into_response(),
    )
}

async fn store_tags(ask: &Ask, project: &Project, tags: &[String]) -> Result<(), Fault> {
    check_tags(tags)?;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        let now = project::get(tx, &project.id).await?;
        let options = now.map(|p| p.options).unwrap_or_default();
        check_immutable(&options, false, "project", &project.id)?;
        project::set_tags(tx, &project.id, tags).await?;
        ask.note(tx, "project", &project.id, "updated").await?;
        Ok(())
    })
}

/// `PUT …/tags`: replaces them.
pub(crate) async fn set_tags(ask: Ask) -> Reply {
    let project = found(&ask, "identity:update_project_tags").await?;
    let body = ask.json()?;
    let wrapped = json!({"project": {"tags": body.get("tags").cloned().unwrap_or(Value::Null)}});
    let Some(tags) = Fields::of_body(wrapped, "project")?.texts("tags")? else {
        return Err(Fault::expecting("tags", "the request body"));
    };
    let other = |name: &&String| name.as_str() != "tags";
    if let Some(name) = body.as_object().and_then(|map| map.keys().find(other)) {
        return Err(Fault::BadRequest(format!(
            "Additional properties are not allowed ('{name}' was unexpected)"
        )));
    }
    store_tags(&ask, &project, &tags).await?;
    Ok(
        axum::Json(json!({"tags": tags, "links": {"self": ask.self_url(), "previous": null, "next": null}}))
            .into_response(),
    )
}

/// `DELETE …/tags`.
pub(crate) async fn clear_tags(ask: Ask) -> Reply {
    let project = found(&ask, "identity:delete_project_tags").await?;
    store_tags(&ask, &project, &[]).await?;
    reply::nothing()
}

async fn current_tags(ask: &Ask, project: &Project) -> Result<Vec<String>, Fault> {
    Ok(project::tags(&mut ask.app.state.reader(), &project.id).await?)
}

/// `GET …/tags/{tag}`.
pub(crate) async fn has_tag(ask: Ask) -> Reply {
    let project = found(&ask, "identity:get_project_tag").await?;
    let tag = ask.param("tag");
    if current_tags(&ask, &project).await?.iter().any(|t| t == tag) {
        return reply::nothing();
    }
    Err(Fault::not_found("project tag", tag))
}

/// `PUT …/tags/{tag}`.
pub(crate) async fn add_tag(ask: Ask) -> Reply {
    let project = found(&ask, "identity:create_project_tag").await?;
    let mut tags = current_tags(&ask, &project).await?;
    let tag = ask.param("tag").to_owned();
    if !tags.contains(&tag) {
        tags.push(tag);
        store_tags(&ask, &project, &tags).await?;
    }
    let location = HeaderValue::from_str(&ask.self_url()).map_err(|e| Fault::Unexpected(e.to_string()))?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

/// `DELETE …/tags/{tag}`.
pub(crate) async fn remove_tag(ask: Ask) -> Reply {
    let project = found(&ask, "identity:delete_project_tag").await?;
    let mut tags = current_tags(&ask, &project).await?;
    let tag = ask.param("tag");
    let before = tags.len();
    tags.retain(|t| t != tag);
    if tags.len() == before {
        return Err(Fault::not_found("project tag", tag));
    }
    store_tags(&ask, &project, &tags).await?;
    reply::nothing()
}
