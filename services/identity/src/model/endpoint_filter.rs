//! Which endpoints the catalog of a project shows: single endpoints, and
//! groups of endpoints found by what they have in common.
use virga_state::{Queries, Row, StateError, Transaction, args};

use super::catalog::Endpoint;
use super::{Object, object, text_of};

/// Endpoints that have something in common.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointGroup {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// What they have in common: `service_id`, `region_id`, `interface`,
    /// `enabled`.
    pub filters: Object,
}

impl EndpointGroup {
    /// Whether the endpoint is in the group.
    pub fn holds(&self, e: &Endpoint) -> bool {
        self.filters.iter().all(|(field, wanted)| match field.as_str() {
            "service_id" => wanted.as_str() == Some(&e.service_id),
            "region_id" => wanted.as_str() == e.region_id.as_deref(),
            "interface" => wanted.as_str() == Some(&e.interface),
            "enabled" => wanted.as_bool() == Some(e.enabled),
            _ => false,
        })
    }
}

fn group(row: &Row) -> Result<EndpointGroup, StateError> {
    Ok(EndpointGroup {
        id: row.text("id")?,
        name: row.text("name")?,
        description: row.maybe_text("description")?,
        filters: object(row, "filters")?,
    })
}

/// All groups, ordered by id.
pub async fn groups(q: &mut impl Queries) -> Result<Vec<EndpointGroup>, StateError> {
    let sql = "SELECT id, name, description, filters FROM identity_endpoint_group ORDER BY id";
    q.fetch(sql, args![]).await?.iter().map(group).collect()
}

/// The group with this id.
pub async fn get_group(q: &mut impl Queries, id: &str) -> Result<Option<EndpointGroup>, StateError> {
    let sql = "SELECT id, name, description, filters FROM identity_endpoint_group WHERE id = $1";
    q.fetch_one(sql, args![id]).await?.map(|r| group(&r)).transpose()
}

/// Stores a group, new or changed.
pub async fn put_group(tx: &mut Transaction, g: &EndpointGroup) -> Result<(), StateError> {
    let sql = "INSERT INTO identity_endpoint_group (id, name, description, filters) VALUES ($1, $2, $3, $4)
               ON CONFLICT (id) DO UPDATE SET name = excluded.name, description = excluded.description,
               filters = excluded.filters";
    let bound = args![&g.id, &g.name, &g.description, text_of(&g.filters)];
    tx.execute(sql, bound).await.map(drop)
}

/// Deletes a group.
pub async fn delete_group(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    tx.execute("DELETE FROM identity_endpoint_group WHERE id = $1", args![id])
        .await
        .map(drop)
}

/// What is associated with projects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// Single endpoints.
    Endpoint,
    /// Groups of endpoints.
    Group,
}

impl Member {
    fn table(self) -> (&'static str, &'static str) {
        match self {
            Self::Endpoint => ("identity_project_endpoint", "endpoint_id"),
            Self::Group => ("identity_project_endpoint_group", "endpoint_group_id"),
        }
    }
}

/// All associations, as pairs of project id and id of the member.
pub async fn associations(q: &mut impl Queries, kind: Member) -> Result<Vec<(String, String)>, StateError> {
    let (table, column) = kind.table();
    let sql = format!("SELECT project_id, {column} AS member FROM {table} ORDER BY project_id, {column}");
    let rows = q.fetch(sql, args![]).await?;
    rows.iter()
        .map(|r| Ok((r.text("project_id")?, r.text("member")?)))
        .collect()
}

/// Associates a member with a project. Asking twice changes nothing.
pub async fn associate(
    tx: &mut Transaction,
    kind: Member,
    project: &str,
    member: &str,
) -> Result<(), StateError> {
    let (table, column) = kind.table();
    let sql = format!("INSERT INTO {table} (project_id, {column}) VALUES ($1, $2) ON CONFLICT DO NOTHING");
    tx.execute(sql, args![project, member]).await.map(drop)
}

/// Ends an association. Returns whether there was one.
pub async fn dissociate(
    tx: &mut Transaction,
    kind: Member,
    project: &str,
    member: &str,
) -> Result<bool, StateError> {
    let (table, column) = kind.table();
    let sql = format!("DELETE FROM {table} WHERE project_id = $1 AND {column} = $2");
    Ok(tx.execute(sql, args![project, member]).await? > 0)
}
