//! Regions, services and endpoints.
use virga_state::{Queries, Row, StateError, Transaction, args};

use super::{Object, object, text_of};

/// A region.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// Its id, which is its name.
    pub id: String,
    /// The region it lies in.
    pub parent_region_id: Option<String>,
    /// Free text.
    pub description: String,
    /// Whatever else clients stored.
    pub extra: Object,
}

/// A service of the catalog.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its id.
    pub id: String,
    /// What clients look for: "object-store".
    pub kind: String,
    /// Its project's name: "swift".
    pub name: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Whether it is shown in catalogs.
    pub enabled: bool,
    /// Whatever else clients stored.
    pub extra: Object,
}

/// Where a service is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Its id.
    pub id: String,
    /// The service.
    pub service_id: String,
    /// "public", "internal" or "admin".
    pub interface: String,
    /// The region it serves.
    pub region_id: Option<String>,
    /// A template: `%(project_id)s` stands for the token's project.
    pub url: String,
    /// Whether it is shown in catalogs.
    pub enabled: bool,
    /// Whether the first start made it; then its URL follows the
    /// configuration at every start.
    pub owned: bool,
    /// Whatever else clients stored.
    pub extra: Object,
}

fn region(row: &Row) -> Result<Region, StateError> {
    Ok(Region {
        id: row.text("id")?,
        parent_region_id: row.maybe_text("parent_region_id")?,
        description: row.text("description")?,
        extra: object(row, "extra")?,
    })
}

fn service(row: &Row) -> Result<Service, StateError> {
    Ok(Service {
        id: row.text("id")?,
        kind: row.text("type")?,
        name: row.maybe_text("name")?,
        description: row.maybe_text("description")?,
        enabled: row.bool("enabled")?,
        extra: object(row, "extra")?,
    })
}

fn endpoint(row: &Row) -> Result<Endpoint, StateError> {
    Ok(Endpoint {
        id: row.text("id")?,
        service_id: row.text("service_id")?,
        interface: row.text("interface")?,
        region_id: row.maybe_text("region_id")?,
        url: row.text("url")?,
        enabled: row.bool("enabled")?,
        owned: row.bool("owned")?,
        extra: object(row, "extra")?,
    })
}

const REGION: &str = "id, parent_region_id, description, extra";
const SERVICE: &str = "id, type, name, description, enabled, extra";
const ENDPOINT: &str = "id, service_id, interface, region_id, url, enabled, owned, extra";

/// All regions, ordered by id.
pub async fn regions(q: &mut impl Queries) -> Result<Vec<Region>, StateError> {
    q.fetch(
        format!("SELECT {REGION} FROM identity_region ORDER BY id"),
        args![],
    )
    .await?
    .iter()
    .map(region)
    .collect()
}

/// The region with this id.
pub async fn get_region(q: &mut impl Queries, id: &str) -> Result<Option<Region>, StateError> {
    let sql = format!("SELECT {REGION} FROM identity_region WHERE id = $1");
    q.fetch_one(sql, args![id]).await?.map(|r| region(&r)).transpose()
}

/// Stores a region, new or changed.
pub async fn put_region(tx: &mut Transaction, r: &Region) -> Result<(), StateError> {
    let sql = format!(
        "INSERT INTO identity_region ({REGION}) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO UPDATE SET
         parent_region_id = excluded.parent_region_id, description = excluded.description,
         extra = excluded.extra"
    );
    tx.execute(
        sql,
        args![&r.id, &r.parent_region_id, &r.description, text_of(&r.extra)],
    )
    .await
    .map(drop)
}

/// Deletes a region. Fails with [`StateError::Reference`] while others or
/// endpoints refer to it.
pub async fn delete_region(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    super::policy::forget_subject(tx, id).await?;
    tx.execute("DELETE FROM identity_region WHERE id = $1", args![id])
        .await
        .map(drop)
}

/// All services, ordered by id.
pub async fn services(q: &mut impl Queries) -> Result<Vec<Service>, StateError> {
    q.fetch(
        format!("SELECT {SERVICE} FROM identity_service ORDER BY id"),
        args![],
    )
    .await?
    .iter()
    .map(service)
    .collect()
}

/// The service with this id.
pub async fn get_service(q: &mut impl Queries, id: &str) -> Result<Option<Service>, StateError> {
    let sql = format!("SELECT {SERVICE} FROM identity_service WHERE id = $1");
    q.fetch_one(sql, args![id])
        .await?
        .map(|r| service(&r))
        .transpose()
}

/// Stores a service, new or changed.
pub async fn put_service(tx: &mut Transaction, s: &Service) -> Result<(), StateError> {
    let sql = format!(
        "INSERT INTO identity_service ({SERVICE}) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO UPDATE SET
         type = excluded.type, name = excluded.name, description = excluded.description,
         enabled = excluded.enabled, extra = excluded.extra"
    );
    let bound = args![
        &s.id,
        &s.kind,
        &s.name,
        &s.description,
        s.enabled,
        text_of(&s.extra)
    ];
    tx.execute(sql, bound).await.map(drop)
}

/// Deletes a service with its endpoints. Fails with [`StateError::Reference`]
/// while registered limits refer to it.
pub async fn delete_service(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    super::policy::forget_subject(tx, id).await?;
    tx.execute("DELETE FROM identity_service WHERE id = $1", args![id])
        .await
        .map(drop)
}

/// All endpoints, ordered by id.
pub async fn endpoints(q: &mut impl Queries) -> Result<Vec<Endpoint>, StateError> {
    q.fetch(
        format!("SELECT {ENDPOINT} FROM identity_endpoint ORDER BY id"),
        args![],
    )
    .await?
    .iter()
    .map(endpoint)
    .collect()
}

/// The endpoint with this id.
pub async fn get_endpoint(q: &mut impl Queries, id: &str) -> Result<Option<Endpoint>, StateError> {
    let sql = format!("SELECT {ENDPOINT} FROM identity_endpoint WHERE id = $1");
    q.fetch_one(sql, args![id])
        .await?
        .map(|r| endpoint(&r))
        .transpose()
}

/// Stores an endpoint, new or changed.
pub async fn put_endpoint(tx: &mut Transaction, e: &Endpoint) -> Result<(), StateError> {
    let sql = format!(
        "INSERT INTO identity_endpoint ({ENDPOINT}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (id) DO UPDATE SET service_id = excluded.service_id, interface = excluded.interface,
         region_id = excluded.region_id, url = excluded.url, enabled = excluded.enabled,
         owned = excluded.owned, extra = excluded.extra"
    );
    let bound = args![
        &e.id,
        &e.service_id,
        &e.interface,
        &e.region_id,
        &e.url,
        e.enabled,
        e.owned,
        text_of(&e.extra)
    ];
    tx.execute(sql, bound).await.map(drop)
}

/// Deletes an endpoint.
pub async fn delete_endpoint(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    super::policy::forget_subject(tx, id).await?;
    tx.execute("DELETE FROM identity_endpoint WHERE id = $1", args![id])
        .await
        .map(drop)
}
