//! Credentials other than passwords. Their content is sealed before it comes
//! here; this module never sees a secret.
use virga_state::{Queries, Row, StateError, Transaction, args};

use super::{Object, object, text_of};

/// A credential.
#[derive(Clone, Debug, PartialEq)]
pub struct Credential {
    /// Its id. For EC2 keys: SHA-256 of the access key, in hex.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// The project it is for.
    pub project_id: Option<String>,
    /// "ec2", "cert", "totp", ...
    pub kind: String,
    /// The content, sealed.
    pub sealed_blob: String,
    /// Whatever else clients stored.
    pub extra: Object,
}

const COLUMNS: &str = "id, user_id, project_id, type, sealed_blob, extra";

fn from_row(row: &Row) -> Result<Credential, StateError> {
    Ok(Credential {
        id: row.text("id")?,
        user_id: row.text("user_id")?,
        project_id: row.maybe_text("project_id")?,
        kind: row.text("type")?,
        sealed_blob: row.text("sealed_blob")?,
        extra: object(row, "extra")?,
    })
}

/// The credential with this id.
pub async fn get(q: &mut impl Queries, id: &str) -> Result<Option<Credential>, StateError> {
    let sql = format!("SELECT {COLUMNS} FROM identity_credential WHERE id = $1");
    q.fetch_one(sql, args![id])
        .await?
        .map(|r| from_row(&r))
        .transpose()
}

/// Credentials ordered by id, narrowed by user and type.
pub async fn list(
    q: &mut impl Queries,
    user: Option<&str>,
    kind: Option<&str>,
) -> Result<Vec<Credential>, StateError> {
    let mut sql = format!("SELECT {COLUMNS} FROM identity_credential WHERE TRUE");
    let mut bound = args![];
    for (column, value) in [("user_id", user), ("type", kind)] {
        if let Some(value) = value {
            bound.push(value.into());
            sql.push_str(&format!(" AND {column} = ${}", bound.len()));
        }
    }
    sql.push_str(" ORDER BY id");
    q.fetch(sql, bound).await?.iter().map(from_row).collect()
}

/// Stores a new credential.
pub async fn insert(tx: &mut Transaction, c: &Credential) -> Result<(), StateError> {
    let sql = format!("INSERT INTO identity_credential ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)");
    let bound = args![
        &c.id,
        &c.user_id,
        &c.project_id,
        &c.kind,
        &c.sealed_blob,
        text_of(&c.extra)
    ];
    tx.execute(sql, bound).await.map(drop)
}

/// Stores what may change of a credential.
pub async fn update(tx: &mut Transaction, c: &Credential) -> Result<(), StateError> {
    let sql = "UPDATE identity_credential SET user_id = $2, project_id = $3, type = $4, sealed_blob = $5,
               extra = $6 WHERE id = $1";
    let bound = args![
        &c.id,
        &c.user_id,
        &c.project_id,
        &c.kind,
        &c.sealed_blob,
        text_of(&c.extra)
    ];
    tx.execute(sql, bound).await.map(drop)
}

/// Deletes a credential.
pub async fn delete(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    tx.execute("DELETE FROM identity_credential WHERE id = $1", args![id])
        .await
        .map(drop)
}
