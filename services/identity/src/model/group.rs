//! Groups and their members.
use virga_state::{Queries, Row, StateError, Transaction, args};

use super::{Object, maybe_time, object, text_of};
use virga_node::clock::Micros;

/// A group of users.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its id.
    pub id: String,
    /// The domain it belongs to.
    pub domain_id: String,
    /// Unique in the domain.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Whatever else clients stored.
    pub extra: Object,
}

const COLUMNS: &str = "id, domain_id, name, description, extra";

fn from_row(row: &Row) -> Result<Group, StateError> {
    Ok(Group {
        id: row.text("id")?,
        domain_id: row.text("domain_id")?,
        name: row.text("name")?,
        description: row.text("description")?,
        extra: object(row, "extra")?,
    })
}

/// The group with this id.
pub async fn get(q: &mut impl Queries, id: &str) -> Result<Option<Group>, StateError> {
    let sql = format!("SELECT {COLUMNS} FROM identity_group WHERE id = $1");
    q.fetch_one(sql, args![id])
        .await?
        .map(|r| from_row(&r))
        .transpose()
}

/// Groups ordered by id, narrowed by domain, name and member.
pub async fn list(
    q: &mut impl Queries,
    domain: Option<&str>,
    name: Option<&str>,
    member: Option<&str>,
) -> Result<Vec<Group>, StateError> {
    let mut sql = format!("SELECT {COLUMNS} FROM identity_group WHERE TRUE");
    let mut bound = args![];
    let of_member = "id IN (SELECT group_id FROM identity_membership WHERE user_id = $)";
    for (clause, value) in [("domain_id = $", domain), ("name = $", name), (of_member, member)] {
        if let Some(value) = value {
            bound.push(value.into());
            sql.push_str(&format!(
                " AND {}",
                clause.replace('$', &format!("${}", bound.len()))
            ));
        }
    }
    sql.push_str(" ORDER BY id");
    q.fetch(sql, bound).await?.iter().map(from_row).collect()
}

/// Stores a new group.
pub async fn insert(tx: &mut Transaction, g: &Group) -> Result<(), StateError> {
    let sql = format!("INSERT INTO identity_group ({COLUMNS}) VALUES ($1, $2, $3, $4, $5)");
    let bound = args![&g.id, &g.domain_id, &g.name, &g.description, text_of(&g.extra)];
    tx.execute(sql, bound).await.map(drop)
}

/// Stores what may change of a group.
pub async fn update(tx: &mut Transaction, g: &Group) -> Result<(), StateError> {
    let sql = "UPDATE identity_group SET name = $2, description = $3, extra = $4 WHERE id = $1";
    tx.execute(sql, args![&g.id, &g.name, &g.description, text_of(&g.extra)])
        .await
        .map(drop)
}

/// Deletes a group with memberships and assignments.
pub async fn delete(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    tx.execute("DELETE FROM identity_assignment WHERE actor_id = $1", args![id])
        .await?;
    tx.execute("DELETE FROM identity_group WHERE id = $1", args![id])
        .await
        .map(drop)
}

/// Whether the user is a member.
pub async fn has_member(q: &mut impl Queries, group: &str, user: &str) -> Result<bool, StateError> {
    let sql = "SELECT user_id FROM identity_membership WHERE group_id = $1 AND user_id = $2";
    Ok(q.fetch_one(sql, args![group, user]).await?.is_some())
}

/// All memberships as pairs of group id and user id.
pub async fn memberships(q: &mut impl Queries) -> Result<Vec<(String, String)>, StateError> {
    let rows = q
        .fetch("SELECT group_id, user_id FROM identity_membership", args![])
        .await?;
    rows.iter()
        .map(|r| Ok((r.text("group_id")?, r.text("user_id")?)))
        .collect()
}

/// Makes the user a member. Asking twice changes nothing.
pub async fn add_member(tx: &mut Transaction, group: &str, user: &str) -> Result<(), StateError> {
    let sql = "INSERT INTO identity_membership (group_id, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    tx.execute(sql, args![group, user]).await.map(drop)
}

/// Ends a membership. Returns whether there was one.
pub async fn remove_member(tx: &mut Transaction, group: &str, user: &str) -> Result<bool, StateError> {
    let sql = "DELETE FROM identity_membership WHERE group_id = $1 AND user_id = $2";
    Ok(tx.execute(sql, args![group, user]).await? > 0)
}

/// That a user is in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Id of the group.
    pub group_id: String,
    /// When it comes to an end, if an identity provider gave it.
    pub ends: Option<Micros>,
}

/// The memberships of a user, those that have ended included: own ones, and
/// those that an enabled identity provider gave, which count as long after the
/// last sign-in as the provider says. The question holds no time, so its answer
/// can be remembered.
pub async fn memberships_of(q: &mut impl Queries, user: &str) -> Result<Vec<Membership>, StateError> {
    let sql = "SELECT group_id, CAST(NULL AS BIGINT) AS ends FROM identity_membership WHERE user_id = $1
               UNION ALL SELECT m.group_id, m.verified_at + p.authorization_ttl * 60000000
               FROM identity_expiring_membership m JOIN identity_provider p ON p.id = m.provider_id
               WHERE m.user_id = $1 AND p.enabled AND p.authorization_ttl IS NOT NULL";
    let rows = q.fetch(sql, args![user]).await?;
    rows.iter()
        .map(|row| {
            Ok(Membership {
                group_id: row.text("group_id")?,
                ends: maybe_time(row, "ends")?,
            })
        })
        .collect()
}

/// When the first membership that counts at `now` will count no more.
pub async fn next_end(q: &mut impl Queries, user: &str, now: Micros) -> Result<Option<Micros>, StateError> {
    let ends = memberships_of(q, user).await?.into_iter().filter_map(|m| m.ends);
    Ok(ends.filter(|end| *end > now).min())
}
