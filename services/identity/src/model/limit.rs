//! Unified limits: defaults for resources of services (registered limits) and
//! what single projects and domains have instead.
use virga_state::{Queries, Row, StateError, Transaction, args};

use super::none_if_empty;

/// The default of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredLimit {
    /// Its id.
    pub id: String,
    /// The service that has the resource.
    pub service_id: String,
    /// The region, if it is for one only.
    pub region_id: Option<String>,
    /// The resource.
    pub resource_name: String,
    /// How much of it a project has that has no limit of its own.
    pub default_limit: i64,
    /// Free text.
    pub description: Option<String>,
}

/// The limit of one project or domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its id.
    pub id: String,
    /// The default it overrides.
    pub registered_limit_id: String,
    /// The project, or
    pub project_id: Option<String>,
    /// the domain.
    pub domain_id: Option<String>,
    /// Service of the default.
    pub service_id: String,
    /// Region of the default.
    pub region_id: Option<String>,
    /// Resource of the default.
    pub resource_name: String,
    /// How much there may be.
    pub resource_limit: i64,
    /// Free text.
    pub description: Option<String>,
}

fn registered(row: &Row) -> Result<RegisteredLimit, StateError> {
    Ok(RegisteredLimit {
        id: row.text("id")?,
        service_id: row.text("service_id")?,
        region_id: none_if_empty(row.text("region_id")?),
        resource_name: row.text("resource_name")?,
        default_limit: row.int("default_limit")?,
        description: row.maybe_text("description")?,
    })
}

fn limit(row: &Row) -> Result<Limit, StateError> {
    Ok(Limit {
        id: row.text("id")?,
        registered_limit_id: row.text("registered_limit_id")?,
        project_id: none_if_empty(row.text("project_id")?),
        domain_id: none_if_empty(row.text("domain_id")?),
        service_id: row.text("service_id")?,
        region_id: none_if_empty(row.text("region_id")?),
        resource_name: row.text("resource_name")?,
        resource_limit: row.int("resource_limit")?,
        description: row.maybe_text("description")?,
    })
}

const REGISTERED: &str = "id, service_id, region_id, resource_name, default_limit, description";
const LIMITS: &str =
    "SELECT l.id, l.registered_limit_id, l.project_id, l.domain_id, r.service_id, r.region_id,
    r.resource_name, l.resource_limit, l.description
    FROM identity_limit l JOIN identity_registered_limit r ON r.id = l.registered_limit_id";

/// All defaults, ordered by id.
pub async fn list_registered(q: &mut impl Queries) -> Result<Vec<RegisteredLimit>, StateError> {
    let sql = format!("SELECT {REGISTERED} FROM identity_registered_limit ORDER BY id");
    q.fetch(sql, args![]).await?.iter().map(registered).collect()
}

/// The default with this id.
pub async fn get_registered(q: &mut impl Queries, id: &str) -> Result<Option<RegisteredLimit>, StateError> {
    let sql = format!("SELECT {REGISTERED} FROM identity_registered_limit WHERE id = $1");
    q.fetch_one(sql, args![id])
        .await?
        .map(|r| registered(&r))
        .transpose()
}

/// The default of a resource.
pub async fn find_registered(
    q: &mut impl Queries,
    service: &str,
    region: Option<&str>,
    resource: &str,
) -> Result<Option<RegisteredLimit>, StateError> {
    let sql = format!(
        "SELECT {REGISTERED} FROM identity_registered_limit WHERE service_id = $1 AND region_id = $2
         AND resource_name = $3"
    );
    q.fetch_one(sql, args![service, region.unwrap_or_default(), resource])
        .await?
        .map(|r| registered(&r))
        .transpose()
}

/// Stores a new default.
pub async fn insert_registered(tx: &mut Transaction, r: &RegisteredLimit) -> Result<(), StateError> {
    let sql = format!("INSERT INTO identity_registered_limit ({REGISTERED}) VALUES ($1, $2, $3, $4, $5, $6)");
    let bound = args![
        &r.id,
        &r.service_id,
        r.region_id.clone().unwrap_or_default(),
        &r.resource_name,
        r.default_limit,
        &r.description
    ];
    tx.execute(sql, bound).await.map(drop)
}

/// Stores what may change of a default.
pub async fn update_registered(tx: &mut Transaction, r: &RegisteredLimit) -> Result<(), StateError> {
    let sql = "UPDATE identity_registered_limit SET service_id = $2, region_id = $3, resource_name = $4,
               default_limit = $5, description = $6 WHERE id = $1";
    let bound = args![
        &r.id,
        &r.service_id,
        r.region_id.clone().unwrap_or_default(),
        &r.resource_name,
        r.default_limit,
        &r.description
    ];
    tx.execute(sql, bound).await.map(drop)
}

/// Deletes a default. Fails with [`StateError::Reference`] while limits
/// override it.
pub async fn delete_registered(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    tx.execute("DELETE FROM identity_registered_limit WHERE id = $1", args![id])
        .await
        .map(drop)
}

/// All limits, ordered by id.
pub async fn list(q: &mut impl Queries) -> Result<Vec<Limit>, StateError> {
    let sql = format!("{LIMITS} ORDER BY l.id");
    q.fetch(sql, args![]).await?.iter().map(limit).collect()
}

/// The limit with this id.
pub async fn get(q: &mut impl Queries, id: &str) -> Result<Option<Limit>, StateError> {
    let sql = format!("{LIMITS} WHERE l.id = $1");
    q.fetch_one(sql, args![id]).await?.map(|r| limit(&r)).transpose()
}

/// The limit that a project or domain (either, by id) has over a default.
pub async fn of(q: &mut impl Queries, registered: &str, owner: &str) -> Result<Option<Limit>, StateError> {
    let sql =
        format!("{LIMITS} WHERE l.registered_limit_id = $1 AND (l.project_id = $2 OR l.domain_id = $2)");
    q.fetch_one(sql, args![registered, owner])
        .await?
        .map(|r| limit(&r))
        .transpose()
}

/// Stores a new limit.
pub async fn insert(tx: &mut Transaction, l: &Limit) -> Result<(), StateError> {
    let sql = "INSERT INTO identity_limit (id, registered_limit_id, project_id, domain_id, resource_limit,
               description) VALUES ($1, $2, $3, $4, $5, $6)";
    let bound = args![
        &l.id,
        &l.registered_limit_id,
        l.project_id.clone().unwrap_or_default(),
        l.domain_id.clone().unwrap_or_default(),
        l.resource_limit,
        &l.description
    ];
    tx.execute(sql, bound).await.map(drop)
}

/// Stores what may change of a limit.
pub async fn update(tx: &mut Transaction, l: &Limit) -> Result<(), StateError> {
    let sql = "UPDATE identity_limit SET resource_limit = $2, description = $3 WHERE id = $1";
    tx.execute(sql, args![&l.id, l.resource_limit, &l.description])
        .await
        .map(drop)
}

/// Deletes a limit.
pub async fn delete(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    tx.execute("DELETE FROM identity_limit WHERE id = $1", args![id])
        .await
        .map(drop)
}

/// Deletes the limits of a project or domain that is deleted.
pub async fn delete_of(tx: &mut Transaction, owner: &str) -> Result<(), StateError> {
    let sql = "DELETE FROM identity_limit WHERE project_id = $1 OR domain_id = $1";
    tx.execute(sql, args![owner]).await.map(drop)
}
