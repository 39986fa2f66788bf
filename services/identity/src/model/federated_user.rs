//! Who the users are that identity providers vouch for, and the memberships
//! that they gave them for a time.
use sha2::{Digest, Sha256};
use virga_node::clock::Micros;
use virga_state::{Queries, StateError, Transaction, args};

use super::stored;

/// What an identity provider calls a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Id of the identity provider.
    pub provider_id: String,
    /// Id of the protocol.
    pub protocol_id: String,
    /// The provider's name for the user, which never changes.
    pub unique_id: String,
}

/// The id of a user whom a provider calls `unique_id`: the same every time, so
/// that a user who was deleted and comes again has the same id. As Keystone
/// makes it.
pub fn id_of(domain_id: &str, unique_id: &str) -> String {
    let mut hash = Sha256::new();
    for part in [domain_id, "user", unique_id] {
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}

/// The user whom a provider means.
pub async fn user_of(q: &mut impl Queries, link: &Link) -> Result<Option<String>, StateError> {
    let sql = "SELECT user_id FROM identity_federated_user WHERE provider_id = $1 AND protocol_id = $2
               AND unique_id = $3";
    let row = q
        .fetch_one(sql, args![&link.provider_id, &link.protocol_id, &link.unique_id])
        .await?;
    row.map(|r| r.text("user_id")).transpose()
}

/// What providers call a user.
pub async fn links_of(q: &mut impl Queries, user: &str) -> Result<Vec<Link>, StateError> {
    let sql = "SELECT provider_id, protocol_id, unique_id FROM identity_federated_user WHERE user_id = $1
               ORDER BY provider_id, protocol_id";
    let rows = q.fetch(sql, args![user]).await?;
    rows.iter()
        .map(|r| {
            Ok(Link {
                provider_id: r.text("provider_id")?,
                protocol_id: r.text("protocol_id")?,
                unique_id: r.text("unique_id")?,
            })
        })
        .collect()
}

/// Notes what a provider calls a user.
pub async fn put(tx: &mut Transaction, link: &Link, user: &str) -> Result<(), StateError> {
    let sql = "INSERT INTO identity_federated_user (provider_id, protocol_id, unique_id, user_id)
               VALUES ($1, $2, $3, $4)";
    let bound = args![&link.provider_id, &link.protocol_id, &link.unique_id, user];
    tx.execute(sql, bound).await.map(drop)
}

/// Users who came by this provider (by this protocol, if one is named).
pub async fn users_of(
    q: &mut impl Queries,
    provider: &str,
    protocol: Option<&str>,
) -> Result<Vec<String>, StateError> {
    let sql = "SELECT DISTINCT user_id FROM identity_federated_user WHERE provider_id = $1
               AND ($2 = '' OR protocol_id = $2) ORDER BY user_id";
    let rows = q
        .fetch(sql, args![provider, protocol.unwrap_or_default()])
        .await?;
    rows.iter().map(|r| r.text("user_id")).collect()
}

/// Ids of the users, in order, whom a provider calls so by a protocol; what is
/// `None` does not matter.
pub async fn users_called(
    q: &mut impl Queries,
    provider: Option<&str>,
    protocol: Option<&str>,
    unique: Option<&str>,
) -> Result<Vec<String>, StateError> {
    let mut sql = "SELECT DISTINCT user_id FROM identity_federated_user WHERE TRUE".to_owned();
    let mut bound = args![];
    for (column, value) in [
        ("provider_id", provider),
        ("protocol_id", protocol),
        ("unique_id", unique),
    ] {
        if let Some(value) = value {
            bound.push(value.into());
            sql.push_str(&format!(" AND {column} = ${}", bound.len()));
        }
    }
    let rows = q.fetch(sql, bound).await?;
    let ids: Result<Vec<String>, _> = rows.iter().map(|r| r.text("user_id")).collect();
    ids.map(|mut ids| {
        ids.sort_unstable();
        ids
    })
}

/// Those of [`users_of`] who have application credentials or trusts.
pub async fn delegating(
    q: &mut impl Queries,
    provider: &str,
    protocol: Option<&str>,
) -> Result<Vec<String>, StateError> {
    let sql = "SELECT DISTINCT user_id FROM identity_federated_user f WHERE provider_id = $1
               AND ($2 = '' OR protocol_id = $2) AND (
                 EXISTS (SELECT 1 FROM identity_application_credential c WHERE c.user_id = f.user_id)
                 OR EXISTS (SELECT 1 FROM identity_trust t
                            WHERE t.trustor_user_id = f.user_id OR t.trustee_user_id = f.user_id))
               ORDER BY user_id";
    let rows = q
        .fetch(sql, args![provider, protocol.unwrap_or_default()])
        .await?;
    rows.iter().map(|r| r.text("user_id")).collect()
}

/// Forgets what a provider calls its users (by this protocol, if one is named).
pub async fn forget(tx: &mut Transaction, provider: &str, protocol: Option<&str>) -> Result<(), StateError> {
    let sql = "DELETE FROM identity_federated_user WHERE provider_id = $1 AND ($2 = '' OR protocol_id = $2)";
    tx.execute(sql, args![provider, protocol.unwrap_or_default()])
        .await
        .map(drop)
}

/// Groups that a provider gave a user, whether they still count or not.
pub async fn given_groups(
    q: &mut impl Queries,
    user: &str,
    provider: &str,
) -> Result<Vec<String>, StateError> {
    let sql = "SELECT group_id FROM identity_expiring_membership WHERE user_id = $1 AND provider_id = $2
               ORDER BY group_id";
    let rows = q.fetch(sql, args![user, provider]).await?;
    rows.iter().map(|r| r.text("group_id")).collect()
}

/// Sets the groups that a provider gives a user as of `now`.
pub async fn give_groups(
    tx: &mut Transaction,
    user: &str,
    provider: &str,
    groups: &[String],
    now: Micros,
) -> Result<(), StateError> {
    let sql = "DELETE FROM identity_expiring_membership WHERE user_id = $1 AND provider_id = $2";
    tx.execute(sql, args![user, provider]).await?;
    for group in groups {
        let sql = "INSERT INTO identity_expiring_membership (group_id, user_id, provider_id, verified_at)
                   VALUES ($1, $2, $3, $4)";
        tx.execute(sql, args![group, user, provider, stored(now)]).await?;
    }
    Ok(())
}

/// Members whom providers gave this group, whether that still counts or not.
pub async fn members(q: &mut impl Queries, group: &str) -> Result<Vec<String>, StateError> {
    let sql =
        "SELECT DISTINCT user_id FROM identity_expiring_membership WHERE group_id = $1 ORDER BY user_id";
    let rows = q.fetch(sql, args![group]).await?;
    rows.iter().map(|r| r.text("user_id")).collect()
}
