//! Transactions that run again when another one was in the way.
use std::borrow::Cow;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use crate::change::{self, Change, Keep};
use crate::engine::{Pool, State};
use crate::error::{Conflicted, StateError};
use crate::recall::Writing;
use crate::row::{self, Arg, Row};

/// How often a contended transaction is run before its error is handed on.
const ATTEMPTS: u32 = 12;
/// First and longest wait before running again; doubles each time. Half of it
/// is chance, so that processes that met once do not meet again.
const WAITS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(320));

/// The text of a statement: constant, or put together from constants and
/// column lists in code. Everything a client sends is bound, never in here.
#[derive(Debug)]
pub struct Sql(pub(crate) Cow<'static, str>);

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<String> for Sql {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

/// A boxed answer: keeps the futures of callers simple enough for the compiler
/// to see that they may move between threads.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StateError>> + Send + 'a>>;

/// What reads and transactions have in common, so that a record's queries are
/// written once for both.
pub trait Queries: Send {
    /// All rows of a query.
    fn rows(&mut self, sql: Sql, args: Vec<Arg>) -> Answer<'_, Vec<Row>>;

    /// All rows of a query.
    fn fetch(&mut self, sql: impl Into<Sql>, args: Vec<Arg>) -> Answer<'_, Vec<Row>> {
        self.rows(sql.into(), args)
    }

    /// The first row of a query, if there is one.
    fn fetch_one(&mut self, sql: impl Into<Sql>, args: Vec<Arg>) -> Answer<'_, Option<Row>> {
        let rows = self.rows(sql.into(), args);
        Box::pin(async move { Ok(rows.await?.into_iter().next()) })
    }
}

enum Inner {
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

/// An open transaction. Dropped without commit it is rolled back.
pub struct Transaction {
    inner: Inner,
    now: i64,
    keep: Keep,
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}

impl Transaction {
    /// Runs a statement; returns the number of rows it touched.
    pub fn execute(&mut self, sql: impl Into<Sql>, args: Vec<Arg>) -> Answer<'_, u64> {
        let sql = sqlx::AssertSqlSafe(sql.into().0);
        Box::pin(async move {
            Ok(match &mut self.inner {
                Inner::Sqlite(tx) => {
                    let query = sqlx::query_with(sql, row::sqlite_arguments(args)?);
                    query.execute(&mut **tx).await?.rows_affected()
                }
                Inner::Postgres(tx) => {
                    let query = sqlx::query_with(sql, row::postgres_arguments(args)?);
                    query.execute(&mut **tx).await?.rows_affected()
                }
            })
        })
    }

    /// Runs several statements separated by semicolons, without arguments.
    pub(crate) async fn script(&mut self, sql: &'static str) -> Result<(), StateError> {
        match &mut self.inner {
            Inner::Sqlite(tx) => sqlx::raw_sql(sql).execute(&mut **tx).await.map(drop)?,
            Inner::Postgres(tx) => sqlx::raw_sql(sql).execute(&mut **tx).await.map(drop)?,
        }
        Ok(())
    }

    /// Appends to the change feed, in this transaction.
    pub fn record<'a>(&'a mut self, change: Change<'a>) -> Answer<'a, ()> {
        let keep = self.keep;
        Box::pin(async move { change::append(self, &[change], keep).await })
    }

    /// As [`Transaction::record`], for several entries in this order.
    pub fn record_all<'a>(&'a mut self, changes: &'a [Change<'a>]) -> Answer<'a, ()> {
        let keep = self.keep;
        Box::pin(change::append(self, changes, keep))
    }

    /// When the transaction began, in microseconds since the epoch.
    pub fn now(&self) -> i64 {
        self.now
    }

    async fn rollback(self) -> Result<(), StateError> {
        match self.inner {
            Inner::Sqlite(tx) => tx.rollback().await?,
            Inner::Postgres(tx) => tx.rollback().await?,
        }
        Ok(())
    }

    async fn commit(self) -> Result<(), StateError> {
        match self.inner {
            Inner::Sqlite(tx) => tx.commit().await?,
            Inner::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}

impl Queries for Transaction {
    fn rows(&mut self, sql: Sql, args: Vec<Arg>) -> Answer<'_, Vec<Row>> {
        let sql = sqlx::AssertSqlSafe(sql.0);
        Box::pin(async move {
            match &mut self.inner {
                Inner::Sqlite(tx) => {
                    let query = sqlx::query_with(sql, row::sqlite_arguments(args)?);
                    row::from_sqlite(query.fetch_all(&mut **tx).await?)
                }
                Inner::Postgres(tx) => {
                    let query = sqlx::query_with(sql, row::postgres_arguments(args)?);
                    row::from_postgres(query.fetch_all(&mut **tx).await?)
                }
            }
        })
    }
}

impl State {
    async fn begin(&self) -> Result<Transaction, StateError> {
        let inner = match &self.pool {
            // Takes the write lock at once: a read lock that has to grow later
            // can only fail.
            Pool::Sqlite(pool) => Inner::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?),
            Pool::Postgres(pool) => {
                Inner::Postgres(pool.begin_with("BEGIN ISOLATION LEVEL SERIALIZABLE").await?)
            }
        };
        Ok(Transaction {
            inner,
            now: i64::try_from(self.clock.now().0).unwrap_or(i64::MAX),
            keep: self.keep,
        })
    }

    /// The attempts at one transaction; [`transact!`](crate::transact) is the
    /// usual way to use them.
    pub fn attempts(&self) -> Attempts<'_> {
        Attempts {
            state: self,
            made: 0,
            wait: WAITS.0,
            writing: None,
            turn: None,
        }
    }
}

/// From 0 to 1. Needs no quality, only to differ between processes.
fn chance() -> f64 {
    f64::from(u16::try_from(RandomState::new().hash_one(0) >> 48).unwrap_or(0)) / f64::from(u16::MAX)
}

/// The attempts at one serializable transaction; see [`State::attempts`].
#[derive(Debug)]
pub struct Attempts<'s> {
    state: &'s State,
    made: u32,
    wait: Duration,
    /// Before the turn, which is given back last.
    writing: Option<Writing>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Attempts<'_> {
    /// Opens the transaction, waiting for the writer's turn.
    pub async fn begin(&mut self) -> Result<Transaction, StateError> {
        if self.made > 0 {
            tokio::time::sleep(self.wait.mul_f64(0.5 + chance() / 2.0)).await;
            self.wait = (self.wait * 2).min(WAITS.1);
        }
        self.made += 1;
        self.turn = Some(self.state.writer_turn().await?);
        if !self.state.aside {
            let (memory, changes) = (&self.state.memory, &self.state.commits);
            self.writing = Some(Writing::since(memory, changes, self.state.clock.now()));
        }
        self.state.begin().await
    }

    /// Commits if `outcome` is good, rolls back if not, or if the records are
    /// for a rehearsal. `None` means that another transaction was in the way
    /// and everything is to run again.
    pub async fn finish<T, E>(&mut self, tx: Transaction, outcome: Result<T, E>) -> Option<Result<T, E>>
    where
        E: From<StateError> + Conflicted,
    {
        let commits = outcome.is_ok() && !self.state.dry;
        let outcome = match outcome {
            Ok(value) if self.state.dry => tx.rollback().await.map(|()| value).map_err(E::from),
            Ok(value) => tx.commit().await.map(|()| value).map_err(E::from),
            Err(error) => tx.rollback().await.map_err(E::from).and(Err(error)),
        };
        if let Some(writing) = self.writing.take() {
            // Also if the commit failed: it may have been kept all the same.
            writing.done(commits);
        }
        self.turn = None;
        match outcome {
            Err(error) if error.is_contended() && self.made < ATTEMPTS => {
                tracing::debug!(
                    attempt = self.made,
                    "a transaction was contended, running it again"
                );
                None
            }
            done => Some(done),
        }
    }
}

/// Runs a block in a serializable transaction and commits it. When another
/// transaction was in the way everything is rolled back and the block runs
/// again, so it must do nothing but read and write records.
///
/// `transact!(state, |tx| -> Result<T, E> { ... })` evaluates to `Result<T, E>`;
/// `?` in the block ends the block.
#[macro_export]
macro_rules! transact {
    ($state:expr, |$tx:ident| -> $outcome:ty $body:block) => {{
        let mut attempts = $state.attempts();
        loop {
            let mut open = match attempts.begin().await {
                Ok(open) => open,
                Err(error) => break <$outcome>::Err(error.into()),
            };
            let outcome: $outcome = async {
                let $tx = &mut open;
                $body
            }
            .await;
            if let Some(done) = attempts.finish(open, outcome).await {
                break done;
            }
        }
    }};
}
