//! Application credentials: a secret of a user for one project, with a part of
//! the user's roles there.
use virga_node::clock::Micros;
use virga_state::{Queries, Row, StateError, Transaction, args};

use super::{maybe_time, stored};

/// An application credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationCredential {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// The project it is for.
    pub project_id: String,
    /// Unique for the user.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// Argon2 of the secret.
    pub secret_hash: String,
    /// When it ends.
    pub expires_at: Option<Micros>,
    /// Whether it may manage application credentials and trusts.
    pub unrestricted: bool,
}

const COLUMNS: &str = "id, user_id, project_id, name, description, secret_hash, expires_at, unrestricted";

fn from_row(row: &Row) -> Result<ApplicationCredential, StateError> {
    Ok(ApplicationCredential {
        id: row.text("id")?,
        user_id: row.text("user_id")?,
        project_id: row.text("project_id")?,
        name: row.text("name")?,
        description: row.maybe_text("description")?,
        secret_hash: row.text("secret_hash")?,
        expires_at: maybe_time(row, "expires_at")?,
        unrestricted: row.bool("unrestricted")?,
    })
}

/// The credential with this id.
pub async fn get(q: &mut impl Queries, id: &str) -> Result<Option<ApplicationCredential>, StateError> {
    let sql = format!("SELECT {COLUMNS} FROM identity_application_credential WHERE id = $1");
    q.fetch_one(sql, args![id])
        .await?
        .map(|r| from_row(&r))
        .transpose()
}

/// The user's credential of this name.
pub async fn by_name(
    q: &mut impl Queries,
    user: &str,
    name: &str,
) -> Result<Option<ApplicationCredential>, StateError> {
    let sql =
        format!("SELECT {COLUMNS} FROM identity_application_credential WHERE user_id = $1 AND name = $2");
    q.fetch_one(sql, args![user, name])
        .await?
        .map(|r| from_row(&r))
        .transpose()
}

/// The credentials of a user, ordered by id; `project` narrows the answer.
pub async fn list(
    q: &mut impl Queries,
    user: &str,
    project: Option<&str>,
) -> Result<Vec<ApplicationCredential>, StateError> {
    let mut sql = format!("SELECT {COLUMNS} FROM identity_application_credential WHERE user_id = $1");
    let mut bound = args![user];
    if let Some(project) = project {
        bound.push(project.into());
        sql.push_str(" AND project_id = $2");
    }
    sql.push_str(" ORDER BY id");
    q.fetch(sql, bound).await?.iter().map(from_row).collect()
}

/// Ids of the roles of a credential, in order.
pub async fn role_ids(q: &mut impl Queries, id: &str) -> Result<Vec<String>, StateError> {
    let sql =
        "SELECT role_id FROM identity_application_credential_role WHERE credential_id = $1 ORDER BY role_id";
    q.fetch(sql, args![id])
        .await?
        .iter()
        .map(|r| r.text("role_id"))
        .collect()
}

/// Stores a new credential with its roles and access rules, both by id.
pub async fn insert(
    tx: &mut Transaction,
    c: &ApplicationCredential,
    roles: &[String],
    rules: &[String],
) -> Result<(), StateError> {
    let sql = format!(
        "INSERT INTO identity_application_credential ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
    );
    let bound = args![
        &c.id,
        &c.user_id,
        &c.project_id,
        &c.name,
        &c.description,
        &c.secret_hash,
        c.expires_at.map(stored),
        c.unrestricted
    ];
    tx.execute(sql, bound).await?;
    for role in roles {
        let sql = "INSERT INTO identity_application_credential_role (credential_id, role_id) VALUES ($1, $2)
                   ON CONFLICT DO NOTHING";
        tx.execute(sql, args![&c.id, role]).await?;
    }
    for rule in rules {
        let sql = "INSERT INTO identity_application_credential_rule (credential_id, rule_id) VALUES ($1, $2)
                   ON CONFLICT DO NOTHING";
        tx.execute(sql, args![&c.id, rule]).await?;
    }
    Ok(())
}

/// Deletes a credential. Its access rules stay with the user.
pub async fn delete(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    tx.execute(
        "DELETE FROM identity_application_credential WHERE id = $1",
        args![id],
    )
    .await
    .map(drop)
}
