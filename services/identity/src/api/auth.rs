//! `/v3/auth/…`: what the caller's token opens.
use serde_json::{Value, json};
use virga_identity_api::caller::Scope;

use super::ask::Ask;
use super::domains::show_domain;
use super::projects::{show_project, tags_of};
use super::reply::{self, Reply};
use super::token_body;
use crate::fault::Fault;
use crate::model::assignment::Actors;
use crate::model::project::{self, Project};

/// `GET /v3/auth/catalog`.
pub(crate) async fn catalog(ask: Ask) -> Reply {
    ask.enforce("identity:get_auth_catalog", Value::Null)?;
    let caller = ask.caller()?;
    if caller.scope == Scope::Unscoped {
        return Err(Fault::Denied("identity:get_auth_catalog".into()));
    }
    let records = ask.app.catalog_records().await?;
    let catalog = token_body::catalog(&records, caller.project_id(), &caller.user_id);
    let links = json!({"self": ask.self_url(), "previous": null, "next": null});
    Ok(axum::response::IntoResponse::into_response(axum::Json(
        json!({"catalog": catalog, "links": links}),
    )))
}

/// Projects or domains on which the caller has a role, with the tags of all.
async fn mine(ask: &Ask, domains: bool) -> Result<(Vec<Project>, Vec<(String, String)>), Fault> {
    let mut q = ask.app.state.reader();
    let groups = ask.groups()?;
    let now = ask.app.clock.now();
    let actors = Actors::of(&mut q, &ask.caller()?.user_id, &groups, now).await?;
    let mut found = project::list_for_user(&mut q, &actors, domains).await?;
    found.retain(|p| p.enabled);
    Ok((found, project::all_tags(&mut q).await?))
}

/// `GET /v3/auth/projects`.
pub(crate) async fn projects(ask: Ask) -> Reply {
    ask.enforce("identity:get_auth_projects", Value::Null)?;
    let (found, tags) = mine(&ask, false).await?;
    let shown = |p: &Project| show_project(&ask, p, &tags_of(&tags, &p.id));
    reply::list(&ask, "projects", found.iter().map(shown).collect(), &[])
}

/// `GET /v3/auth/domains`.
pub(crate) async fn domains(ask: Ask) -> Reply {
    ask.enforce("identity:get_auth_domains", Value::Null)?;
    let (found, tags) = mine(&ask, true).await?;
    let shown = |d: &Project| show_domain(&ask, d, &tags_of(&tags, &d.id));
    reply::list(&ask, "domains", found.iter().map(shown).collect(), &[])
}

/// `GET /v3/auth/system`.
pub(crate) async fn system(ask: Ask) -> Reply {
    ask.enforce("identity:get_auth_system", Value::Null)?;
    let roles = ask
        .app
        .roles
        .effective(
            &mut ask.app.state.reader(),
            &ask.caller()?.user_id,
            &ask.groups()?,
            &Scope::System,
        )
        .await?;
    let system = if roles.is_empty() {
        vec![]
    } else {
        vec![json!({"all": true})]
    };
    reply::list(&ask, "system", system, &[])
}
