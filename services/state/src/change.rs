//! The change feed: what changed, in the order it was committed.
//!
//! Every change of a record appends one entry in the same transaction. Audit,
//! notifications and metering read it; nothing here knows who does.
use crate::error::StateError;
use crate::row::Row;

/// One change of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// The service that owns the record: "identity".
    pub service: &'a str,
    /// The kind of record: "user".
    pub kind: &'a str,
    /// Id of the record.
    pub id: &'a str,
    /// What happened: "created", "updated", "deleted", or the service's own word.
    pub action: &'a str,
    /// Id of the user who asked for it; `None` when the service did it itself.
    pub actor: Option<&'a str>,
}

/// A [`Change`] as read back from the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// Position in the feed; grows, may have gaps.
    pub sequence: i64,
    /// When, in microseconds since the epoch.
    pub at: i64,
    /// See [`Change::service`].
    pub service: String,
    /// See [`Change::kind`].
    pub kind: String,
    /// See [`Change::id`].
    pub id: String,
    /// See [`Change::action`].
    pub action: String,
    /// See [`Change::actor`].
    pub actor: Option<String>,
}

pub(crate) const SQLITE_TABLE: &str = "CREATE TABLE IF NOT EXISTS state_change (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, at BIGINT NOT NULL, service TEXT NOT NULL,
    kind TEXT NOT NULL, id TEXT NOT NULL, action TEXT NOT NULL, actor TEXT)";

pub(crate) const POSTGRES_TABLE: &str = "CREATE TABLE IF NOT EXISTS state_change (
    sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at BIGINT NOT NULL, service TEXT NOT NULL,
    kind TEXT NOT NULL, id TEXT NOT NULL, action TEXT NOT NULL, actor TEXT)";

pub(crate) const APPEND: &str =
    "INSERT INTO state_change (at, service, kind, id, action, actor) VALUES ($1, $2, $3, $4, $5, $6)";

pub(crate) const READ: &str = "SELECT sequence, at, service, kind, id, action, actor FROM state_change
    WHERE sequence > $1 ORDER BY sequence LIMIT $2";

pub(crate) const TRIM: &str = "DELETE FROM state_change WHERE at < $1";

pub(crate) fn entry(row: &Row) -> Result<FeedEntry, StateError> {
    Ok(FeedEntry {
        sequence: row.int("sequence")?,
        at: row.int("at")?,
        service: row.text("service")?,
        kind: row.text("kind")?,
        id: row.text("id")?,
        action: row.text("action")?,
        actor: row.maybe_text("actor")?,
    })
}
