//! The engine that a test runs on: SQLite in the test's folder or, if
//! `VIRGA_TEST_POSTGRES` is the URL of a PostgreSQL server, a schema of its own
//! there. `tools/with-postgres COMMAND` starts such a server for a command.
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use sqlx::{Connection, Executor, PgConnection};
use virga_state::Config;

/// The records of the test in `dir`; the same ones for the same folder.
#[allow(clippy::expect_used, reason = "a failed test should panic")]
pub async fn config(dir: &Path) -> Config {
    let sqlite = Config::sqlite(&dir.join("state.db"));
    let Ok(server) = std::env::var("VIRGA_TEST_POSTGRES") else {
        return sqlite;
    };
    let mut hash = DefaultHasher::new();
    (dir, std::process::id()).hash(&mut hash);
    let schema = format!("t{:016x}", hash.finish());
    let mut admin = PgConnection::connect(&server).await.expect("the server answers");
    let make = format!("CREATE SCHEMA IF NOT EXISTS {schema}");
    admin
        .execute(sqlx::AssertSqlSafe(make))
        .await
        .expect("a schema is made");
    admin.close().await.expect("the connection ends");
    Config {
        url: format!("{server}&options[search_path]={schema}"),
        ..sqlite
    }
}
