//! Revocations on disk, so that a restart forgets none.
use virga_identity_api::revocation::Revocation;
use virga_node::clock::Micros;
use virga_state::{Queries, Row, StateError, Transaction, args};

use super::{micros, stored};

fn from_row(row: &Row) -> Result<Revocation, StateError> {
    Ok(Revocation {
        issued_before: micros(row.int("issued_before")?),
        keep_until: micros(row.int("keep_until")?),
        audit_id: row.maybe_text("audit_id")?,
        audit_chain_id: row.maybe_text("audit_chain_id")?,
        user_id: row.maybe_text("user_id")?,
        project_id: row.maybe_text("project_id")?,
        domain_id: row.maybe_text("domain_id")?,
        system: row.bool("system")?,
        role: row.maybe_text("role")?,
        delegation_id: row.maybe_text("delegation_id")?,
        group_id: row.maybe_text("group_id")?,
        identity_provider_id: row.maybe_text("identity_provider_id")?,
        protocol_id: row.maybe_text("protocol_id")?,
    })
}

/// Events that still matter at `now` and ended no token before `since` only.
pub async fn list(q: &mut impl Queries, since: Micros, now: Micros) -> Result<Vec<Revocation>, StateError> {
    let sql = "SELECT issued_before, keep_until, audit_id, audit_chain_id, user_id, project_id, domain_id,
               system, role, delegation_id, group_id, identity_provider_id, protocol_id
               FROM identity_revocation WHERE keep_until > $1 AND issued_before >= $2 ORDER BY issued_before";
    q.fetch(sql, args![stored(now), stored(since)])
        .await?
        .iter()
        .map(from_row)
        .collect()
}

/// Stores an event and drops those whose time is over.
pub async fn insert(tx: &mut Transaction, e: &Revocation) -> Result<(), StateError> {
    let now = tx.now();
    tx.execute(
        "DELETE FROM identity_revocation WHERE keep_until <= $1",
        args![now],
    )
    .await?;
    let sql =
        "INSERT INTO identity_revocation (id, issued_before, keep_until, audit_id, audit_chain_id, user_id,
               project_id, domain_id, system, role, delegation_id, group_id, identity_provider_id, protocol_id)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    let bound = args![
        super::new_id(),
        stored(e.issued_before),
        stored(e.keep_until),
        &e.audit_id,
        &e.audit_chain_id,
        &e.user_id,
        &e.project_id,
        &e.domain_id,
        e.system,
        &e.role,
        &e.delegation_id,
        &e.group_id,
        &e.identity_provider_id,
        &e.protocol_id
    ];
    tx.execute(sql, bound).await.map(drop)
}
