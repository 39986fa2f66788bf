//! What can go wrong with records, sorted by what the caller can do about it.

/// Why an operation on records failed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A unique constraint refused the row: somebody else holds that name.
    #[error("a record with the same key exists")]
    Duplicate,
    /// A foreign key refused: the row points at, or is pointed at by, another.
    #[error("the record is referred to, or refers to one that is not there")]
    Reference,
    /// Another transaction was in the way; running again may succeed.
    #[error("another transaction was in the way")]
    Contended,
    /// No connection or writer turn came free in time.
    #[error("the database is busy")]
    Busy,
    /// A row did not have the column or the type that the caller expected.
    #[error("column {0} is missing or of another type")]
    Column(String),
    /// The database failed.
    #[error("the database failed: {0}")]
    Failed(#[source] sqlx::Error),
}

/// Why the records could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no engine that is built in.
    #[error("{0:?} is no database URL: use sqlite:PATH or postgres://USER@HOST/NAME")]
    Url(String),
    /// The engine refused to open or connect.
    #[error("cannot open the database: {0}")]
    Connect(#[source] sqlx::Error),
    /// A migration failed.
    #[error("migration {version} of {service} failed: {source}")]
    Migration {
        /// Whose migration.
        service: String,
        /// Its number.
        version: i64,
        /// What the database said.
        source: StateError,
    },
    /// The database was written by a newer release.
    #[error("the records of {service} are at version {found}, this release knows up to {known}")]
    TooNew {
        /// Whose records.
        service: String,
        /// The version in the database.
        found: i64,
        /// The newest version this release knows.
        known: i64,
    },
}

/// An error that may hide [`StateError::Contended`], so that a transaction
/// knows when to run again.
pub trait Conflicted {
    /// Whether running the transaction again may succeed.
    fn is_contended(&self) -> bool;
}

impl Conflicted for StateError {
    fn is_contended(&self) -> bool {
        matches!(self, Self::Contended)
    }
}

/// Whether another transaction was in the way.
pub(crate) fn is_contended(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(db) = error else {
        return false;
    };
    // PostgreSQL's own tables: two processes make the same thing at once. The
    // feed's: another process took the next position first, and where we waited
    // for its end we hear of the key, not of the serialization.
    let in_the_way = |name: &str| name.starts_with("pg_") || name == "state_change_pkey";
    let taken = db.constraint().is_some_and(in_the_way);
    match db.code().as_deref() {
        // SQLITE_BUSY with its extended forms; serialization failure and
        // deadlock of PostgreSQL, and a table (or its row type) or column that was
        // made between our look and our making.
        Some("5" | "261" | "517" | "773" | "40001" | "40P01" | "42P07" | "42701" | "42710") => true,
        // Two processes alter the same table at once.
        Some("XX000") => db.message().contains("concurrently"),
        _ => taken,
    }
}

impl From<sqlx::Error> for StateError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut => Self::Busy,
            sqlx::Error::Database(_) if is_contended(&error) => Self::Contended,
            sqlx::Error::Database(db) if db.is_unique_violation() => Self::Duplicate,
            sqlx::Error::Database(db) if db.is_foreign_key_violation() => Self::Reference,
            _ => Self::Failed(error),
        }
    }
}
