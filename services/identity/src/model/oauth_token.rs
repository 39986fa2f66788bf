//! Request tokens and access tokens of OAuth 1.0a.
use serde_json::{Value, json};
use virga_node::clock::Micros;
use virga_state::{Queries, Row, StateError, Transaction, args};

use super::{maybe_time, stored};

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To be authorized, and exchanged for the other kind.
    Request,
    /// To sign in with.
    Access,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Access => "access",
        }
    }
}

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub struct OauthToken {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub consumer_id: String,
    /// The secret it signs with, sealed.
    pub sealed_secret: String,
    /// What it is good for.
    pub project_id: String,
    /// Who authorized it; `None` while nobody has.
    pub user_id: Option<String>,
    /// What the user hands over, of a request token that is authorized.
    pub verifier: Option<String>,
    /// Ids of the roles that it was authorized for.
    pub role_ids: Vec<String>,
    /// When it ends.
    pub expires_at: Micros,
}

const COLUMNS: &str = "id, consumer_id, sealed_secret, project_id, user_id, verifier, role_ids, expires_at";

fn from_row(row: &Row) -> Result<OauthToken, StateError> {
    let roles = serde_json::from_str(&row.text("role_ids")?);
    Ok(OauthToken {
        id: row.text("id")?,
        consumer_id: row.text("consumer_id")?,
        sealed_secret: row.text("sealed_secret")?,
        project_id: row.text("project_id")?,
        user_id: row.maybe_text("user_id")?,
        verifier: row.maybe_text("verifier")?,
        role_ids: roles.map_err(|_| StateError::Column("role_ids".into()))?,
        expires_at: maybe_time(row, "expires_at")?.unwrap_or_default(),
    })
}

/// The token of this kind and id, if it has not ended.
pub async fn get(
    q: &mut impl Queries,
    kind: Kind,
    id: &str,
    now: Micros,
) -> Result<Option<OauthToken>, StateError> {
    let sql =
        format!("SELECT {COLUMNS} FROM identity_oauth_token WHERE id = $1 AND kind = $2 AND expires_at > $3");
    let bound = args![id, kind.word(), stored(now)];
    q.fetch_one(sql, bound).await?.map(|r| from_row(&r)).transpose()
}

/// Access tokens that `user` authorized, or those of `consumer`, ordered by id.
pub async fn list(
    q: &mut impl Queries,
    (user, consumer): (Option<&str>, Option<&str>),
    now: Micros,
) -> Result<Vec<OauthToken>, StateError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM identity_oauth_token WHERE kind = 'access' AND expires_at > $1
         AND (user_id = $2 OR consumer_id = $3) ORDER BY id"
    );
    let bound = args![stored(now), user.map(str::to_owned), consumer.map(str::to_owned)];
    q.fetch(sql, bound).await?.iter().map(from_row).collect()
}

/// Stores a new token, and drops those that have ended.
pub async fn insert(tx: &mut Transaction, kind: Kind, t: &OauthToken, now: Micros) -> Result<(), StateError> {
    let ended = "DELETE FROM identity_oauth_token WHERE expires_at <= $1";
    tx.execute(ended, args![stored(now)]).await?;
    let sql = format!(
        "INSERT INTO identity_oauth_token ({COLUMNS}, kind) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
    );
    let roles: Value = json!(t.role_ids);
    let bound = args![
        &t.id,
        &t.consumer_id,
        &t.sealed_secret,
        &t.project_id,
        &t.user_id,
        &t.verifier,
        roles.to_string(),
        stored(t.expires_at),
        kind.word()
    ];
    tx.execute(sql, bound).await.map(drop)
}

/// Deletes a token. Returns whether it was there.
pub async fn delete(tx: &mut Transaction, id: &str) -> Result<bool, StateError> {
    let sql = "DELETE FROM identity_oauth_token WHERE id = $1";
    Ok(tx.execute(sql, args![id]).await? > 0)
}
