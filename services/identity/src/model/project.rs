//! Projects, and domains, which are projects with `is_domain`.
use virga_state::{Queries, Row, StateError, Transaction, args};

use super::assignment::Actors;
use super::{Object, none_if_empty, object, text_of};

/// A project or a domain.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// Its id.
    pub id: String,
    /// The domain it is in; `None` for a domain.
    pub domain_id: Option<String>,
    /// The project or domain right above; `None` for a domain.
    pub parent_id: Option<String>,
    /// Unique in the domain (for domains: among domains).
    pub name: String,
    /// Free text.
    pub description: String,
    /// Whether tokens may be scoped to it.
    pub enabled: bool,
    /// Whether it is a domain.
    pub is_domain: bool,
    /// Resource options: `immutable`.
    pub options: Object,
    /// Whatever else clients stored.
    pub extra: Object,
}

const COLUMNS: &str = "id, domain_id, parent_id, name, description, enabled, is_domain, options, extra";

fn from_row(row: &Row) -> Result<Project, StateError> {
    Ok(Project {
        id: row.text("id")?,
        domain_id: none_if_empty(row.text("domain_id")?),
        parent_id: row.maybe_text("parent_id")?,
        name: row.text("name")?,
        description: row.text("description")?,
        enabled: row.bool("enabled")?,
        is_domain: row.bool("is_domain")?,
        options: object(row, "options")?,
        extra: object(row, "extra")?,
    })
}

/// The project or domain with this id.
pub async fn get(q: &mut impl Queries, id: &str) -> Result<Option<Project>, StateError> {
    let sql = format!("SELECT {COLUMNS} FROM identity_project WHERE id = $1");
    q.fetch_one(sql, args![id])
        .await?
        .map(|r| from_row(&r))
        .transpose()
}

/// The project of this name in a domain.
pub async fn by_name(q: &mut impl Queries, domain: &str, name: &str) -> Result<Option<Project>, StateError> {
    let sql = format!("SELECT {COLUMNS} FROM identity_project WHERE domain_id = $1 AND name = $2");
    q.fetch_one(sql, args![domain, name])
        .await?
        .map(|r| from_row(&r))
        .transpose()
}

/// The domain of this name.
pub async fn domain_by_name(q: &mut impl Queries, name: &str) -> Result<Option<Project>, StateError> {
    by_name(q, "", name).await
}

/// All projects (or all domains), ordered by id. `domain` and `name` narrow
/// the answer.
pub async fn list(
    q: &mut impl Queries,
    is_domain: bool,
    domain: Option<&str>,
    name: Option<&str>,
) -> Result<Vec<Project>, StateError> {
    let mut sql = format!("SELECT {COLUMNS} FROM identity_project WHERE is_domain = $1");
    let mut bound = args![is_domain];
    for (column, value) in [("domain_id", domain), ("name", name)] {
        if let Some(value) = value {
            bound.push(value.into());
            sql.push_str(&format!(" AND {column} = ${}", bound.len()));
        }
    }
    sql.push_str(" ORDER BY id");
    q.fetch(sql, bound).await?.iter().map(from_row).collect()
}

/// Projects (or domains) that a user has a role on, by an own assignment, a
/// group's, or one that is inherited from above.
pub async fn list_for_user(
    q: &mut impl Queries,
    actors: &Actors,
    domains: bool,
) -> Result<Vec<Project>, StateError> {
    let (of_user, bound) = actors.condition(domains.into());
    let sql = format!(
        "WITH RECURSIVE granted (target_id, inherited) AS (
            SELECT target_id, inherited FROM identity_assignment WHERE {of_user}),
         below (id) AS (
            SELECT p.id FROM identity_project p JOIN granted g ON p.parent_id = g.target_id WHERE g.inherited
            UNION SELECT p.id FROM identity_project p JOIN below b ON p.parent_id = b.id)
         SELECT {COLUMNS} FROM identity_project
         WHERE is_domain = $1 AND (id IN (SELECT target_id FROM granted WHERE NOT inherited)
            OR id IN (SELECT id FROM below)) ORDER BY id"
    );
    q.fetch(sql, bound).await?.iter().map(from_row).collect()
}

/// The project itself and everything above it, nearest first, its domain last.
pub async fn ancestry(q: &mut impl Queries, id: &str) -> Result<Vec<Project>, StateError> {
    let mut chain = Vec::new();
    let mut next = Some(id.to_owned());
    // Depth is bounded when projects are made; the bound here only guards
    // against a circle in damaged records.
    while let (Some(id), true) = (next, chain.len() < 64) {
        let Some(project) = get(q, &id).await? else { break };
        next = project.parent_id.clone();
        chain.push(project);
    }
    Ok(chain)
}

/// Everything below the project, any depth, ordered by id.
pub async fn subtree(q: &mut impl Queries, id: &str) -> Result<Vec<Project>, StateError> {
    let sql = format!(
        "WITH RECURSIVE below (below_id) AS (
            SELECT id FROM identity_project WHERE parent_id = $1
            UNION SELECT p.id FROM identity_project p JOIN below ON p.parent_id = below_id)
         SELECT {COLUMNS} FROM identity_project WHERE id IN (SELECT below_id FROM below) ORDER BY id"
    );
    q.fetch(sql, args![id]).await?.iter().map(from_row).collect()
}

/// Stores a new project or domain.
pub async fn insert(tx: &mut Transaction, p: &Project) -> Result<(), StateError> {
    let sql = format!("INSERT INTO identity_project ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    let domain = p.domain_id.clone().unwrap_or_default();
    let bound = args![
        &p.id,
        domain,
        &p.parent_id,
        &p.name,
        &p.description,
        p.enabled,
        p.is_domain,
        text_of(&p.options),
        text_of(&p.extra)
    ];
    tx.execute(sql, bound).await.map(drop)
}

/// Stores what may change of a project or domain.
pub async fn update(tx: &mut Transaction, p: &Project) -> Result<(), StateError> {
    let sql =
        "UPDATE identity_project SET name = $2, description = $3, enabled = $4, options = $5, extra = $6
               WHERE id = $1";
    let bound = args![
        &p.id,
        &p.name,
        &p.description,
        p.enabled,
        text_of(&p.options),
        text_of(&p.extra)
    ];
    tx.execute(sql, bound).await.map(drop)
}

/// Deletes a project or empty domain with what hangs on it: tags,
/// assignments, credentials, limits, trusts.
pub async fn delete(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    tx.execute("DELETE FROM identity_assignment WHERE target_id = $1", args![id])
        .await?;
    tx.execute("DELETE FROM identity_credential WHERE project_id = $1", args![id])
        .await?;
    super::limit::delete_of(tx, id).await?;
    let forget = "UPDATE identity_user SET default_project_id = NULL WHERE default_project_id = $1";
    tx.execute(forget, args![id]).await?;
    tx.execute("DELETE FROM identity_project WHERE id = $1", args![id])
        .await
        .map(drop)
}

/// The tags of one project, in order.
pub async fn tags(q: &mut impl Queries, id: &str) -> Result<Vec<String>, StateError> {
    let sql = "SELECT name FROM identity_project_tag WHERE project_id = $1 ORDER BY name";
    q.fetch(sql, args![id])
        .await?
        .iter()
        .map(|r| r.text("name"))
        .collect()
}

/// All tags as pairs of project id and tag.
pub async fn all_tags(q: &mut impl Queries) -> Result<Vec<(String, String)>, StateError> {
    let sql = "SELECT project_id, name FROM identity_project_tag ORDER BY project_id, name";
    let rows = q.fetch(sql, args![]).await?;
    rows.iter()
        .map(|r| Ok((r.text("project_id")?, r.text("name")?)))
        .collect()
}

/// Replaces the tags of a project.
pub async fn set_tags(tx: &mut Transaction, id: &str, tags: &[String]) -> Result<(), StateError> {
    tx.execute(
        "DELETE FROM identity_project_tag WHERE project_id = $1",
        args![id],
    )
    .await?;
    for tag in tags {
        let sql =
            "INSERT INTO identity_project_tag (project_id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        tx.execute(sql, args![id, tag]).await?;
    }
    Ok(())
}
