//! Policies: texts that clients store here for other services, and which
//! endpoint, service or region each belongs to. Nothing here reads them.
use virga_state::{Queries, Row, StateError, Transaction, args};

use super::{Object, object, text_of};

/// A stored policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its id.
    pub id: String,
    /// MIME type of the text.
    pub kind: String,
    /// The text.
    pub blob: String,
    /// Whatever else clients stored.
    pub extra: Object,
}

fn from_row(row: &Row) -> Result<Policy, StateError> {
    Ok(Policy {
        id: row.text("id")?,
        kind: row.text("type")?,
        blob: row.text("blob")?,
        extra: object(row, "extra")?,
    })
}

/// All policies, ordered by id.
pub async fn list(q: &mut impl Queries) -> Result<Vec<Policy>, StateError> {
    let sql = "SELECT id, type, blob, extra FROM identity_policy ORDER BY id";
    q.fetch(sql, args![]).await?.iter().map(from_row).collect()
}

/// The policy with this id.
pub async fn get(q: &mut impl Queries, id: &str) -> Result<Option<Policy>, StateError> {
    let sql = "SELECT id, type, blob, extra FROM identity_policy WHERE id = $1";
    q.fetch_one(sql, args![id])
        .await?
        .map(|r| from_row(&r))
        .transpose()
}

/// Stores a policy, new or changed.
pub async fn put(tx: &mut Transaction, p: &Policy) -> Result<(), StateError> {
    let sql = "INSERT INTO identity_policy (id, type, blob, extra) VALUES ($1, $2, $3, $4) ON CONFLICT (id)
               DO UPDATE SET type = excluded.type, blob = excluded.blob, extra = excluded.extra";
    tx.execute(sql, args![&p.id, &p.kind, &p.blob, text_of(&p.extra)])
        .await
        .map(drop)
}

/// Deletes a policy with its associations.
pub async fn delete(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    tx.execute("DELETE FROM identity_policy WHERE id = $1", args![id])
        .await
        .map(drop)
}

/// What a policy belongs to: an endpoint, a service, or a service in a region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The endpoint, or empty.
    pub endpoint_id: String,
    /// The service, or empty.
    pub service_id: String,
    /// The region, or empty.
    pub region_id: String,
}

/// The policy that belongs to exactly this.
pub async fn of_subject(q: &mut impl Queries, s: &Subject) -> Result<Option<String>, StateError> {
    let sql = "SELECT policy_id FROM identity_policy_association WHERE endpoint_id = $1 AND service_id = $2
               AND region_id = $3";
    let row = q
        .fetch_one(sql, args![&s.endpoint_id, &s.service_id, &s.region_id])
        .await?;
    row.map(|r| r.text("policy_id")).transpose()
}

/// What a policy belongs to.
pub async fn subjects(q: &mut impl Queries, policy: &str) -> Result<Vec<Subject>, StateError> {
    let sql =
        "SELECT endpoint_id, service_id, region_id FROM identity_policy_association WHERE policy_id = $1";
    let rows = q.fetch(sql, args![policy]).await?;
    rows.iter()
        .map(|r| {
            Ok(Subject {
                endpoint_id: r.text("endpoint_id")?,
                service_id: r.text("service_id")?,
                region_id: r.text("region_id")?,
            })
        })
        .collect()
}

/// Makes the policy the one of `s`, in place of another.
pub async fn associate(tx: &mut Transaction, policy: &str, s: &Subject) -> Result<(), StateError> {
    let sql = "INSERT INTO identity_policy_association (policy_id, endpoint_id, service_id, region_id)
               VALUES ($1, $2, $3, $4) ON CONFLICT (endpoint_id, service_id, region_id)
               DO UPDATE SET policy_id = excluded.policy_id";
    let bound = args![policy, &s.endpoint_id, &s.service_id, &s.region_id];
    tx.execute(sql, bound).await.map(drop)
}

/// Ends that the policy is the one of `s`. Returns whether it was.
pub async fn dissociate(tx: &mut Transaction, policy: &str, s: &Subject) -> Result<bool, StateError> {
    let sql = "DELETE FROM identity_policy_association WHERE policy_id = $1 AND endpoint_id = $2
               AND service_id = $3 AND region_id = $4";
    let bound = args![policy, &s.endpoint_id, &s.service_id, &s.region_id];
    Ok(tx.execute(sql, bound).await? > 0)
}

/// Forgets what belonged to an endpoint, service or region that is deleted.
pub async fn forget_subject(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    let sql =
        "DELETE FROM identity_policy_association WHERE endpoint_id = $1 OR service_id = $1 OR region_id = $1";
    tx.execute(sql, args![id]).await.map(drop)
}
