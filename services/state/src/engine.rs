//! The pool over SQLite or PostgreSQL.
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use tokio::sync::Semaphore;
use virga_node::clock::{Clock, Micros};

use crate::change::{self, Keep};
use crate::error::{OpenError, StateError, is_contended};
use crate::row::{self, Arg, Row};
use crate::transaction::{Answer, Queries, Sql};

/// How long a query waits for a connection, and a writer for its turn.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(10);
/// How long SQLite itself waits for a lock that another process holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a table is tried to be made while others make it too, and a file to
/// be opened while others open it.
const OPEN_TRIES: u32 = 20;
/// Between two tries of opening a file.
const OPEN_PAUSE: Duration = Duration::from_millis(50);

/// Where the records live.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/NAME`.
    pub url: String,
    /// Connections kept open at most.
    #[serde(default = "default_connections")]
    pub connections: u32,
    /// How long entries of the change feed are kept; the service that owns the
    /// records says it.
    #[serde(skip)]
    pub keep: Keep,
}

fn default_connections() -> u32 {
    4
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        f.debug_struct("Config")
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// SQLite in the file at `path`.
    pub fn sqlite(path: &std::path::Path) -> Self {
        Self {
            url: format!("sqlite:{}", path.display()),
            connections: default_connections(),
            keep: Keep::default(),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// The records: a cheap handle.
#[derive(Debug, Clone)]
pub struct State {
    pub(crate) pool: Pool,
    /// One writer of this process at a time: waiting here is fair and costs
    /// nothing, waiting inside SQLite polls and may starve. PostgreSQL would
    /// refuse all but one of those that append to the feed at once.
    pub(crate) writer: Arc<Semaphore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) keep: Keep,
    /// Whether nothing is ever committed; see [`State::dry_run`].
    pub(crate) dry: bool,
    /// How often records changed; see [`State::changed`].
    pub(crate) commits: Arc<AtomicU64>,
    /// Whether transactions leave that as it is; see [`State::aside`].
    pub(crate) aside: bool,
}

/// Connects to the file. Processes that start at once all switch a new file to
/// WAL, which SQLite refuses at once, without its own wait, while another does.
async fn connect_sqlite(options: &SqliteConnectOptions, connections: u32) -> Result<SqlitePool, OpenError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let pool = SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_LIMIT)
            .connect_with(options.clone());
        match pool.await {
            Err(error) if tries < OPEN_TRIES && is_contended(&error) => {
                tokio::time::sleep(OPEN_PAUSE).await;
            }
            done => return done.map_err(OpenError::Connect),
        }
    }
}

impl State {
    /// Opens (and for SQLite creates) the database and makes the feed's table.
    pub async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let connections = config.connections.max(1);
        let (pool, feed) = if let Some(path) = config.url.strip_prefix("sqlite:") {
            let options = SqliteConnectOptions::new()
                .filename(path.strip_prefix("//").unwrap_or(path))
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(BUSY_TIMEOUT);
            let pool = connect_sqlite(&options, connections).await?;
            (Pool::Sqlite(pool), change::SQLITE_TABLE)
        } else if config.url.starts_with("postgres://") || config.url.starts_with("postgresql://") {
            let options = PgConnectOptions::from_str(&config.url).map_err(OpenError::Connect)?;
            let pool = PgPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_LIMIT)
                .connect_with(options)
                .await
                .map_err(OpenError::Connect)?;
            (Pool::Postgres(pool), change::POSTGRES_TABLE)
        } else {
            // Only the scheme is shown: the rest may hold a password.
            let scheme = config.url.split("://").next().unwrap_or_default();
            return Err(OpenError::Url(scheme.chars().take(32).collect()));
        };
        let state = Self {
            pool,
            writer: Arc::new(Semaphore::new(1)),
            clock,
            keep: config.keep,
            dry: false,
            commits: Arc::default(),
            aside: false,
        };
        state.statement(feed).await?;
        if matches!(state.pool, Pool::Postgres(_)) {
            state.statement(change::POSTGRES_COUNTS_NO_MORE).await?;
        }
        state.migrate("state", change::MIGRATIONS).await?;
        let trimmed = crate::transact!(state, |tx| -> Result<u64, StateError> {
            change::trim(tx, config.keep).await
        });
        match trimmed {
            Ok(0) => {}
            Ok(entries) => tracing::info!(entries, "old entries of the change feed are gone"),
            // The next append tries again.
            Err(error) => tracing::warn!(%error, "old entries of the change feed could not be dropped"),
        }
        Ok(state)
    }

    pub(crate) async fn statement(&self, sql: &'static str) -> Result<(), OpenError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let done = match &self.pool {
                Pool::Sqlite(pool) => sqlx::query(sql).execute(pool).await.map(drop),
                Pool::Postgres(pool) => sqlx::query(sql).execute(pool).await.map(drop),
            };
            match done {
                // Another process makes the same table at this moment.
                Err(error) if tries < OPEN_TRIES && is_contended(&error) => {}
                done => return done.map_err(OpenError::Connect),
            }
        }
    }

    /// Reads outside a transaction: each statement sees what is committed.
    pub fn reader(&self) -> Reader {
        Reader {
            pool: self.pool.clone(),
        }
    }

    /// Now, by the clock the records were opened with.
    pub fn now(&self) -> Micros {
        self.clock.now()
    }

    pub(crate) async fn writer_turn(&self) -> Result<tokio::sync::OwnedSemaphorePermit, StateError> {
        match tokio::time::timeout(ACQUIRE_LIMIT, self.writer.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(StateError::Busy),
        }
    }

    /// The same records for a rehearsal: transactions run as always (with all
    /// constraints, and in turn with real ones) and are rolled back at their
    /// end, so that neither a record nor an entry of the feed stays. What a
    /// service keeps beside its records is its own to leave alone:
    /// [`State::is_dry_run`] says when.
    #[must_use]
    pub fn dry_run(&self) -> Self {
        Self {
            dry: true,
            ..self.clone()
        }
    }

    /// The same records, for what changes none that anybody remembers, such as
    /// entries of the feed alone: [`State::changed`] does not tell of it.
    #[must_use]
    pub fn aside(&self) -> Self {
        Self {
            aside: true,
            ..self.clone()
        }
    }

    /// How often this process has changed its records. Grows after every commit
    /// and before whoever asked for it hears of it, so that what was read at one
    /// number is still so while the number is the same; other processes have
    /// numbers of their own.
    pub fn changed(&self) -> u64 {
        self.commits.load(Ordering::Acquire)
    }

    /// Whether this handle is for a rehearsal.
    pub fn is_dry_run(&self) -> bool {
        self.dry
    }

    /// Closes the pool after what is in flight.
    pub async fn close(&self) {
        match &self.pool {
            Pool::Sqlite(pool) => pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }
}

/// Reads outside transactions; see [`State::reader`].
#[derive(Debug, Clone)]
pub struct Reader {
    pool: Pool,
}

impl Queries for Reader {
    fn rows(&mut self, sql: Sql, args: Vec<Arg>) -> Answer<'_, Vec<Row>> {
        let sql = sqlx::AssertSqlSafe(sql.0);
        Box::pin(async move {
            match &self.pool {
                Pool::Sqlite(pool) => {
                    let query = sqlx::query_with(sql, row::sqlite_arguments(args)?);
                    row::from_sqlite(query.fetch_all(pool).await?)
                }
                Pool::Postgres(pool) => {
                    let query = sqlx::query_with(sql, row::postgres_arguments(args)?);
                    row::from_postgres(query.fetch_all(pool).await?)
                }
            }
        })
    }
}
