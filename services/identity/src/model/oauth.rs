//! Consumers of OAuth 1.0a. Their secrets are sealed before they come here.
use virga_state::{Queries, Row, StateError, Transaction, args};

use super::{Object, object, text_of};

/// A consumer.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumer {
    /// Its id.
    pub id: String,
    /// Free text.
    pub description: Option<String>,
    /// The secret it signs with, sealed.
    pub sealed_secret: String,
    /// Whatever else clients stored.
    pub extra: Object,
}

fn from_row(row: &Row) -> Result<Consumer, StateError> {
    Ok(Consumer {
        id: row.text("id")?,
        description: row.maybe_text("description")?,
        sealed_secret: row.text("sealed_secret")?,
        extra: object(row, "extra")?,
    })
}

/// All consumers, ordered by id.
pub async fn list(q: &mut impl Queries) -> Result<Vec<Consumer>, StateError> {
    let sql = "SELECT id, description, sealed_secret, extra FROM identity_consumer ORDER BY id";
    q.fetch(sql, args![]).await?.iter().map(from_row).collect()
}

/// The consumer with this id.
pub async fn get(q: &mut impl Queries, id: &str) -> Result<Option<Consumer>, StateError> {
    let sql = "SELECT id, description, sealed_secret, extra FROM identity_consumer WHERE id = $1";
    q.fetch_one(sql, args![id])
        .await?
        .map(|r| from_row(&r))
        .transpose()
}

/// Stores a consumer, new or changed.
pub async fn put(tx: &mut Transaction, c: &Consumer) -> Result<(), StateError> {
    let sql = "INSERT INTO identity_consumer (id, description, sealed_secret, extra) VALUES ($1, $2, $3, $4)
               ON CONFLICT (id) DO UPDATE SET description = excluded.description, extra = excluded.extra";
    let bound = args![&c.id, &c.description, &c.sealed_secret, text_of(&c.extra)];
    tx.execute(sql, bound).await.map(drop)
}

/// Deletes a consumer.
pub async fn delete(tx: &mut Transaction, id: &str) -> Result<(), StateError> {
    tx.execute("DELETE FROM identity_consumer WHERE id = $1", args![id])
        .await
        .map(drop)
}
