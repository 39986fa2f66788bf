//! Several processes on the same records: each has a handle of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed test should panic"
)]
mod engine;

use std::sync::Arc;

use virga_node::clock::SystemClock;
use virga_node::task::Tasks;
use virga_state::{Change, Config, Migration, Queries, State, StateError, args, transact};

const COUNTER: Migration = Migration {
    version: 1,
    name: "counter",
    sql: "CREATE TABLE counter (id TEXT PRIMARY KEY, value BIGINT NOT NULL);
          INSERT INTO counter VALUES ('a', 0);",
};

async fn open(config: &Config) -> State {
    let state = State::open(config, Arc::new(SystemClock)).await.unwrap();
    state.migrate("counter", &[COUNTER]).await.unwrap();
    state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_at_once_make_the_tables_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = engine::config(dir.path()).await;
    let tasks = Tasks::new();
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let config = config.clone();
            tasks.spawn(async move { open(&config).await })
        })
        .collect();
    for start in starts {
        let mut reader = start.await.unwrap().reader();
        let rows = reader.fetch("SELECT value FROM counter", args![]).await.unwrap();
        assert_eq!(rows.len(), 1, "the script ran more than once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost_and_the_feed_has_no_hole() {
    const PROCESSES: i64 = 3;
    const WRITERS: i64 = 4;
    const TIMES: i64 = 5;
    let dir = tempfile::tempdir().unwrap();
    let config = engine::config(dir.path()).await;
    let tasks = Tasks::new();
    let mut writers = Vec::new();
    for process in 0..PROCESSES {
        let state = open(&config).await;
        for writer in 0..WRITERS {
            let state = state.clone();
            writers.push(tasks.spawn(async move {
                let id = format!("{process}-{writer}");
                for _ in 0..TIMES {
                    add_one(&state, &id).await.unwrap();
                }
            }));
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let total = PROCESSES * WRITERS * TIMES;
    let state = open(&config).await;
    let mut reader = state.reader();
    let row = reader.fetch_one("SELECT value FROM counter", args![]).await;
    assert_eq!(row.unwrap().unwrap().int("value").unwrap(), total);
    let feed = reader
        .fetch("SELECT sequence FROM state_change ORDER BY sequence", args![])
        .await
        .unwrap();
    let positions: Vec<i64> = feed.iter().map(|r| r.int("sequence").unwrap()).collect();
    assert_eq!(positions, (1..=total).collect::<Vec<_>>());
}

/// Reads and writes in two steps: only a serializable transaction loses nothing.
async fn add_one(state: &State, id: &str) -> Result<(), StateError> {
    transact!(state, |tx| -> Result<(), StateError> {
        let row = tx.fetch_one("SELECT value FROM counter", args![]).await?;
        let value = row.map_or(Ok(0), |r| r.int("value"))?;
        tx.execute("UPDATE counter SET value = $1", args![value + 1])
            .await?;
        tx.record(Change {
            service: "counter",
            kind: "counter",
            id,
            action: "updated",
            actor: None,
            detail: "",
        })
        .await
    })
}
