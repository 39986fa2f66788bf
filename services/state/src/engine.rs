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
use crate::recall::{Memory, Question};
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
    /// What was read lately; see [`State::recalling`].
    pub(crate) memory: Arc<Memory>,
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
            memory: Arc::new(Memory::new()),
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
            clock: self.clock.clone(),
            commits: self.commits.clone(),
            memory: self.memory.clone(),
            recalls: false,
            recalled: false,
            as_of: None,
        }
    }

    /// As [`State::reader`], but what was answered lately is answered again
    /// from memory while no record changed, as far as this process knows
    /// ([`State::confirm`]). For questions that are asked over and over and
    /// whose arguments hold no time.
    pub fn recalling(&self) -> Reader {
        Reader {
            recalls: true,
            ..self.reader()
        }
    }

    /// Says that another process changed records: nothing that was read before
    /// is remembered any more, and [`State::changed`] grows.
    pub fn heard_of_changes(&self) {
        self.commits.fetch_add(1, Ordering::AcqRel);
    }

    /// Says that other processes had by `at` (of [`State::settled`]) changed
    /// nothing but what [`State::heard_of_changes`] has told of.
    pub fn confirm(&self, at: Micros) {
        self.memory.confirm(at);
    }

    /// As of when something holds that was read at `at` (of [`State::settled`]),
    /// when [`State::changed`] was `stamp`; `None` if it may not hold any more.
    pub fn still_holds(&self, stamp: u64, at: Micros) -> Option<Micros> {
        let same = stamp == self.changed();
        same.then(|| self.memory.still(at, self.clock.now())).flatten()
    }

    /// The latest time up to which every change of this process is either done
    /// or not begun: now, or when the open transaction began.
    pub fn settled(&self) -> Micros {
        self.memory.settled(self.clock.now())
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

    /// How often records changed, as far as this process knows. Grows after every commit
    /// and before whoever asked for it hears of it, so that what was read at one
    /// number is still so while the number is the same; changes of other
    /// processes count when they are heard of.
    pub fn changed(&self) -> u64 {
        self.commits.load(Ordering::Acquire)
    }

    /// Whether processes of other hosts may have the same records open.
    pub fn is_shared(&self) -> bool {
        matches!(self.pool, Pool::Postgres(_))
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

/// Reads outside transactions; see [`State::reader`] and [`State::recalling`].
#[derive(Debug, Clone)]
pub struct Reader {
    pool: Pool,
    clock: Arc<dyn Clock>,
    commits: Arc<AtomicU64>,
    memory: Arc<Memory>,
    /// Whether answers may come from memory.
    recalls: bool,
    /// Whether one did.
    recalled: bool,
    as_of: Option<Micros>,
}

impl Reader {
    /// As of when all that was answered so far held: what changed since may be
    /// missing, what changed before is in it. Now, if nothing was asked.
    pub fn as_of(&self) -> Micros {
        self.as_of
            .unwrap_or_else(|| self.memory.settled(self.clock.now()))
    }

    /// Counts something that was read elsewhere and holds as of `at` among the
    /// answers.
    pub fn stands_on(&mut self, at: Micros) {
        self.as_of = Some(self.as_of.map_or(at, |known| known.min(at)));
    }

    /// Whether answers may come from memory.
    pub fn recalls(&self) -> bool {
        self.recalls
    }

    /// Asks the records themselves from now on. Returns whether an answer so
    /// far came from memory; those are to be asked for again.
    pub fn renew(&mut self) -> bool {
        let had = std::mem::take(&mut self.recalled);
        self.recalls = false;
        if had {
            self.as_of = None;
        }
        had
    }

    async fn ask(&self, sql: std::borrow::Cow<'static, str>, args: Vec<Arg>) -> Result<Vec<Row>, StateError> {
        let sql = sqlx::AssertSqlSafe(sql);
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
    }

    async fn ask_or_recall(&mut self, question: Question) -> Result<Vec<Row>, StateError> {
        // Taken before reading: what changes meanwhile makes the answer stale.
        let stamp = self.commits.load(Ordering::Acquire);
        let now = self.clock.now();
        let at = self.memory.settled(now);
        if let Some((rows, at)) = self.memory.recall(&question, stamp, now) {
            self.recalled = true;
            self.stands_on(at);
            return Ok(rows.to_vec());
        }
        let rows = Arc::new(self.ask(question.sql.clone(), question.args.clone()).await?);
        self.stands_on(at);
        self.memory.remember(question, stamp, at, &rows);
        Ok(rows.to_vec())
    }
}

impl Queries for Reader {
    fn rows(&mut self, sql: Sql, args: Vec<Arg>) -> Answer<'_, Vec<Row>> {
        Box::pin(async move {
            if self.recalls {
                return self.ask_or_recall(Question { sql: sql.0, args }).await;
            }
            let at = self.memory.settled(self.clock.now());
            self.stands_on(at);
            self.ask(sql.0, args).await
        })
    }
}
