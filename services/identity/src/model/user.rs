//! Users.
use virga_state::{Queries, Row, StateError, Transaction, args};

use super::{Object, maybe_time, object, stored, text_of};
use virga_node::clock::Micros;

/// A user.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// The user's id.
    pub id: String,
    /// The domain the user belongs to.
    pub domain_id: String,
    /// Unique in the domain.
    pub name: String,
    /// Whether the user may authenticate.
    pub enabled: bool,
    /// Scope of tokens that ask for none.
    pub default_project_id: Option<String>,
    /// Argon2 or bcrypt; `None` if the user has no password.
    pub password_hash: Option<String>,
    /// When the password was set; `None` if that was before it was noted.
    pub password_set_at: Option<Micros>,
    /// When the password ends.
    pub password_expires_at: Option<Micros>,
    /// Wrong passwords in a row.
    pub failed_count: i64,
    /// When the last of them was shown.
    pub failed_at: Option<Micros>,
    /// When the user last signed in, to the day; noted only if accounts are
    /// disabled by inactivity.
    pub active_at: Option<Micros>,
    /// Resource options.
    pub options: Object,
    /// Whatever else clients stored: description, email, ...
    pub extra: Object,
}

const COLUMNS: &str = "id, domain_id, name, enabled, default_project_id, password_hash, password_set_at,
    password_expires_at, failed_count, failed_at, active_at, options, extra";

fn from_row(row: &Row) -> Result<User, StateError> {
    Ok(User {
        id: row.text("id")?,
        domain_id: row.text("domain_id")?,
        name: row.text("name")?,
        enabled: row.bool("enabled")?,
        default_project_id: row.maybe_text("default_project_id")?,
        password_hash: row.maybe_text("password_hash")?,
        password_set_at: maybe_time(row, "password_set_at")?,
        password_expires_at: maybe_time(row, "password_expires_at")?,
        failed_count: row.int("failed_count")?,
        failed_at: maybe_time(row, "failed_at")?,
        active_at: maybe_time(row, "active_at")?,
        options: object(row, "options")?,
        extra: object(row, "extra")?,
    })
}

/// The user with this id.
pub async fn get(q: &mut impl Queries, id: &str) -> Result<Option<User>, StateError> {
    let sql = format!("SELECT {COLUMNS} FROM identity_user WHERE id = $1");
    q.fetch_one(sql, args![id])
        .await?
        .map(|r| from_row(&r))
        .transpose()
}

/// The user of this name in a domain.
pub async fn by_name(q: &mut impl Queries, domain: &str, name: &str) -> Result<Option<User>, StateError> {
    let sql = format!("SELECT {COLUMNS} FROM identity_user WHERE domain_id = $1 AND name = $2");
    q.fetch_one(sql, args![domain, name])
        .await?
        .map(|r| from_row(&r))
        .transpose()
}

/// Users ordered by id, narrowed by domain, name and group.
pub async fn list(
    q: &mut impl Queries,
    domain: Option<&str>,
    name: Option<&str>,
    group: Option<&str>,
) -> Result<Vec<User>, StateError> {
    let mut sql = format!("SELECT {COLUMNS} FROM identity_user WHERE TRUE");
    let mut bound = args![];
    let in_group = "id IN (SELECT user_id FROM identity_membership WHERE group_id = $)";
    for (clause, value) in [("domain_id = $", domain), ("name = $", name), (in_group, group)] {
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

/// Stores a new user.
pub async fn insert(tx: &mut Transaction, u: &User) -> Result<(), StateError> {
    let sql = format!(
        "INSERT INTO identity_user ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
    );
    let bound = args![
        &u.id,
        &u.domain_id,
        &u.name,
        u.enabled,
        &u.default_project_id,
        &u.password_hash,
        u.password_set_at.map(stored),
        u.password_expires_at.map(stored),
        u.failed_count,
        u.failed_at.map(stored),
        u.active_at.map(stored),
        text_of(&u.options),
        text_of(&u.extra)
    ];
    tx.execute(sql, bound).await.map(drop)
}

/// Stores what may change of a user.
pub async fn update(tx: &mut Transaction, u: &User) -> Result<(), StateError> {
    let sql = "UPDATE identity_user SET name = $2, enabled = $3, default_project_id = $4, password_hash = $5,
               options = $6, extra = $7, password_set_at = $8, password_expires_at = $9, failed_count = $10,
               failed_at = $11, active_at = $12 WHERE id = $1";
    let bound = args![
        &u.id,
        &u.name,
        u.enabled,
        &u.default_project_id,
        &u.password_hash,
        text_of(&u.options),
        text_of(&u.extra),
        u.password_set_at.map(stored),
        u.password_expires_at.map(stored),
        u.failed_count,
        u.failed_at.map(stored),
        u.active_at.map(stored)
    ];
    tx.execute(sql, bound).await.map(drop)
}

/// Notes a sign-in attempt: how many failed in a row, when, and activity.
pub async fn note_attempt(tx: &mut Transaction, u: &User) -> Result<(), StateError> {
    let sql = "UPDATE identity_user SET failed_count = $2, failed_at = $3, active_at = $4 WHERE id = $1";
    let bound = args![
        &u.id,
        u.failed_count,
        u.failed_at.map(stored),
        u.active_at.map(stored)
    ];
    tx.execute(sql, bound).await.map(drop)
}

/// Deletes a user with assignments, memberships, credentials of every kind and
/// trusts given or received.
pub async fn delete(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    tx.execute("DELETE FROM identity_assignment WHERE actor_id = $1", args![id])
        .await?;
    tx.execute("DELETE FROM identity_credential WHERE user_id = $1", args![id])
        .await?;
    tx.execute("DELETE FROM identity_user WHERE id = $1", args![id])
        .await
        .map(drop)
}
