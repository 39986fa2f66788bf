//! Hashes of passwords that a user had before, so that none comes back too
//! soon.
use virga_node::clock::Micros;
use virga_state::{Queries, StateError, Transaction, args};

use super::{new_id, stored};

/// The hashes of the last `count` earlier passwords, newest first.
pub async fn last(q: &mut impl Queries, user: &str, count: i64) -> Result<Vec<String>, StateError> {
    let sql =
        "SELECT password_hash FROM identity_old_password WHERE user_id = $1 ORDER BY set_at DESC LIMIT $2";
    q.fetch(sql, args![user, count])
        .await?
        .iter()
        .map(|r| r.text("password_hash"))
        .collect()
}

/// Remembers a password that is no longer in use, and forgets all but the last
/// `keep`.
pub async fn remember(
    tx: &mut Transaction,
    user: &str,
    hash: &str,
    at: Micros,
    keep: i64,
) -> Result<(), StateError> {
    // Two within one tick keep their order.
    let latest = "SELECT COALESCE(MAX(set_at), 0) AS set_at FROM identity_old_password WHERE user_id = $1";
    let latest = tx.fetch_one(latest, args![user]).await?;
    let at = stored(at).max(latest.map_or(Ok(0), |r| r.int("set_at"))? + 1);
    let sql =
        "INSERT INTO identity_old_password (id, user_id, set_at, password_hash) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, args![new_id(), user, at, hash]).await?;
    let sql = "DELETE FROM identity_old_password WHERE user_id = $1 AND id NOT IN (
               SELECT id FROM identity_old_password WHERE user_id = $1 ORDER BY set_at DESC LIMIT $2)";
    tx.execute(sql, args![user, keep]).await.map(drop)
}
