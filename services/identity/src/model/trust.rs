//! Trusts: a user (the trustor) lets another (the trustee) act with some of
//! the trustor's roles on a project.
use virga_node::clock::Micros;
use virga_state::{Queries, Row, StateError, Transaction, args};

use super::{Object, maybe_time, object, stored, text_of};

/// A trust.
#[derive(Clone, Debug, PartialEq)]
pub struct Trust {
    /// Its id.
    pub id: String,
    /// Who gives.
    pub trustor_user_id: String,
    /// Who receives.
    pub trustee_user_id: String,
    /// On which project; without one there are no roles either.
    pub project_id: Option<String>,
    /// Whether tokens are the trustor's and not the trustee's.
    pub impersonation: bool,
    /// When it ends.
    pub expires_at: Option<Micros>,
    /// How many tokens may still be made; `None` for any number.
    pub remaining_uses: Option<i64>,
    /// How many times it may be handed on.
    pub redelegation_count: i64,
    /// The trust that this one hands on.
    pub redelegated_trust_id: Option<String>,
    /// Whatever else clients stored.
    pub extra: Object,
}

const COLUMNS: &str = "id, trustor_user_id, trustee_user_id, project_id, impersonation, expires_at,
    remaining_uses, redelegation_count, redelegated_trust_id, extra";

fn from_row(row: &Row) -> Result<Trust, StateError> {
    Ok(Trust {
        id: row.text("id")?,
        trustor_user_id: row.text("trustor_user_id")?,
        trustee_user_id: row.text("trustee_user_id")?,
        project_id: row.maybe_text("project_id")?,
        impersonation: row.bool("impersonation")?,
        expires_at: maybe_time(row, "expires_at")?,
        remaining_uses: row.maybe_int("remaining_uses")?,
        redelegation_count: row.int("redelegation_count")?,
        redelegated_trust_id: row.maybe_text("redelegated_trust_id")?,
        extra: object(row, "extra")?,
    })
}

/// The trust with this id.
pub async fn get(q: &mut impl Queries, id: &str) -> Result<Option<Trust>, StateError> {
    let sql = format!("SELECT {COLUMNS} FROM identity_trust WHERE id = $1");
    q.fetch_one(sql, args![id])
        .await?
        .map(|r| from_row(&r))
        .transpose()
}

/// Trusts ordered by id, narrowed by who gives and who receives.
pub async fn list(
    q: &mut impl Queries,
    trustor: Option<&str>,
    trustee: Option<&str>,
) -> Result<Vec<Trust>, StateError> {
    let mut sql = format!("SELECT {COLUMNS} FROM identity_trust WHERE TRUE");
    let mut bound = args![];
    for (column, value) in [("trustor_user_id", trustor), ("trustee_user_id", trustee)] {
        if let Some(value) = value {
            bound.push(value.into());
            sql.push_str(&format!(" AND {column} = ${}", bound.len()));
        }
    }
    sql.push_str(" ORDER BY id");
    q.fetch(sql, bound).await?.iter().map(from_row).collect()
}

/// The trust itself and those it hands on, nearest first, the first of the
/// chain last.
pub async fn pedigree(q: &mut impl Queries, trust: &Trust) -> Result<Vec<Trust>, StateError> {
    let mut chain = vec![trust.clone()];
    // The count of redelegations bounds the chain; this guards against a
    // circle in damaged records.
    while let (Some(id), true) = (
        chain.last().and_then(|t| t.redelegated_trust_id.clone()),
        chain.len() < 64,
    ) {
        let Some(above) = get(q, &id).await? else { break };
        chain.push(above);
    }
    Ok(chain)
}

/// Ids of trusts that `user` gave or received, and of all that hand those on.
pub async fn touching(q: &mut impl Queries, user: &str) -> Result<Vec<String>, StateError> {
    let sql = "WITH RECURSIVE touched (id) AS (
            SELECT id FROM identity_trust WHERE trustor_user_id = $1 OR trustee_user_id = $1
            UNION SELECT t.id FROM identity_trust t JOIN touched ON t.redelegated_trust_id = touched.id)
         SELECT id FROM touched";
    q.fetch(sql, args![user])
        .await?
        .iter()
        .map(|r| r.text("id"))
        .collect()
}

/// Ids of a trust and of all that hand it on.
pub async fn descent(q: &mut impl Queries, id: &str) -> Result<Vec<String>, StateError> {
    let sql = "WITH RECURSIVE touched (id) AS (
            SELECT id FROM identity_trust WHERE id = $1
            UNION SELECT t.id FROM identity_trust t JOIN touched ON t.redelegated_trust_id = touched.id)
         SELECT id FROM touched";
    q.fetch(sql, args![id])
        .await?
        .iter()
        .map(|r| r.text("id"))
        .collect()
}

/// Ids of the roles of a trust, in order.
pub async fn role_ids(q: &mut impl Queries, id: &str) -> Result<Vec<String>, StateError> {
    let sql = "SELECT role_id FROM identity_trust_role WHERE trust_id = $1 ORDER BY role_id";
    q.fetch(sql, args![id])
        .await?
        .iter()
        .map(|r| r.text("role_id"))
        .collect()
}

/// Stores a new trust with the ids of its roles.
pub async fn insert(tx: &mut Transaction, t: &Trust, roles: &[String]) -> Result<(), StateError> {
    let sql =
        format!("INSERT INTO identity_trust ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)");
    let bound = args![
        &t.id,
        &t.trustor_user_id,
        &t.trustee_user_id,
        &t.project_id,
        t.impersonation,
        t.expires_at.map(stored),
        t.remaining_uses,
        t.redelegation_count,
        &t.redelegated_trust_id,
        text_of(&t.extra)
    ];
    tx.execute(sql, bound).await?;
    for role in roles {
        let sql =
            "INSERT INTO identity_trust_role (trust_id, role_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        tx.execute(sql, args![&t.id, role]).await?;
    }
    Ok(())
}

/// Takes one use. Returns whether there was one left (or no count is kept).
pub async fn use_once(tx: &mut Transaction, id: &str) -> Result<bool, StateError> {
    let sql = "UPDATE identity_trust SET remaining_uses = remaining_uses - 1
               WHERE id = $1 AND (remaining_uses IS NULL OR remaining_uses > 0)";
    Ok(tx.execute(sql, args![id]).await? > 0)
}

/// Deletes a trust and all that hand it on.
pub async fn delete(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    tx.execute("DELETE FROM identity_trust WHERE id = $1", args![id])
        .await
        .map(drop)
}
