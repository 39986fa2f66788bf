//! Control-plane records: pool, migrations, transactions, change feed.
//!
//! The engine, never the tables: each service owns its tables and brings its
//! migrations. SQLite (write-ahead log, full sync) is the engine inside one
//! process; a `postgres://` URL puts the same records outside. Services write
//! SQL in the subset both speak: TEXT, BIGINT, BOOLEAN, BYTEA (as BLOB on
//! SQLite), `$N`, `ON CONFLICT`, `RETURNING`, recursive `WITH`.
//!
//! Every change is an entry of the change feed, and the feed a chain of hashes
//! ([`chain`]). [`State::dry_run`] gives the same records for a rehearsal.
//!
//! What it leaves out: object listings and other data-plane records (RocksDB,
//! in `virga-disk`), and any knowledge of what a record means.
pub mod chain;
mod change;
mod engine;
mod error;
mod migrate;
mod recall;
mod row;
mod transaction;

pub use change::{Change, FeedEntry, Keep, Wanted};
pub use engine::{Config, Reader, State};
pub use error::{Conflicted, OpenError, StateError};
pub use migrate::Migration;
pub use row::{Arg, Row};
pub use transaction::{Answer, Attempts, Queries, Sql, Transaction};
