//! The engine by its behaviour, on SQLite.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
use std::sync::Arc;

use virga_node::clock::{ManualClock, Micros};
use virga_state::{Change, Config, Migration, OpenError, Queries, State, StateError, args, transact};

const FIRST: Migration = Migration {
    version: 1,
    name: "pets",
    sql: "CREATE TABLE pet (id TEXT PRIMARY KEY, age BIGINT, good BOOLEAN NOT NULL, photo BYTEA);
          CREATE TABLE toy (id TEXT PRIMARY KEY, pet_id TEXT NOT NULL REFERENCES pet (id));",
};

async fn open(dir: &tempfile::TempDir) -> State {
    let clock = Arc::new(ManualClock::new(Micros(1_000)));
    State::open(&Config::sqlite(&dir.path().join("state.db")), clock)
        .await
        .unwrap()
}

#[tokio::test]
async fn every_type_and_its_null_survive_the_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir).await;
    state.migrate("pets", &[FIRST]).await.unwrap();
    transact!(state, |tx| -> Result<_, StateError> {
        tx.execute(
            "INSERT INTO pet VALUES ($1, $2, $3, $4)",
            args!["rex", 7, true, vec![1u8, 2]],
        )
        .await?;
        tx.execute(
            "INSERT INTO pet VALUES ($1, $2, $3, NULL)",
            args!["tom", None::<i64>, false],
        )
        .await
    })
    .unwrap();
    let rows = state
        .reader()
        .fetch("SELECT * FROM pet ORDER BY id", args![])
        .await
        .unwrap();
    assert_eq!(rows[0].text("id").unwrap(), "rex");
    assert_eq!(rows[0].int("age").unwrap(), 7);
    assert!(rows[0].bool("good").unwrap());
    assert_eq!(rows[0].bytes("photo").unwrap(), [1, 2]);
    assert_eq!(rows[1].maybe_int("age").unwrap(), None);
    assert!(!rows[1].bool("good").unwrap());
    assert!(matches!(rows[1].int("age"), Err(StateError::Column(_))));
    assert!(matches!(rows[1].text("nothing"), Err(StateError::Column(_))));
}

#[tokio::test]
async fn a_failed_transaction_leaves_no_record_and_no_feed_entry() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir).await;
    state.migrate("pets", &[FIRST]).await.unwrap();
    let change = |action| Change {
        service: "pets",
        kind: "pet",
        id: "rex",
        action,
        actor: Some("me"),
    };
    let add = "INSERT INTO pet (id, good) VALUES ($1, $2)";
    transact!(state, |tx| -> Result<_, StateError> {
        tx.execute(add, args!["rex", true]).await?;
        tx.record(change("created")).await
    })
    .unwrap();
    let second = transact!(state, |tx| -> Result<_, StateError> {
        tx.record(change("created again")).await?;
        tx.execute(add, args!["tom", true]).await?;
        tx.execute(add, args!["rex", true]).await
    });
    assert!(matches!(second, Err(StateError::Duplicate)));
    let feed = state.changes(0, 10).await.unwrap();
    assert_eq!(feed.len(), 1);
    assert_eq!(
        (feed[0].action.as_str(), feed[0].at, feed[0].actor.as_deref()),
        ("created", 1_000, Some("me"))
    );
    assert_eq!(
        state
            .reader()
            .fetch("SELECT id FROM pet", args![])
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(state.changes(feed[0].sequence, 10).await.unwrap(), []);
    assert_eq!(state.trim_changes(Micros(1_001)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_dangling_reference_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir).await;
    state.migrate("pets", &[FIRST]).await.unwrap();
    let toy = transact!(state, |tx| -> Result<_, StateError> {
        tx.execute("INSERT INTO toy VALUES ($1, $2)", args!["ball", "nobody"])
            .await
    });
    assert!(matches!(toy, Err(StateError::Reference)), "{toy:?}");
}

#[tokio::test]
async fn migrations_run_once_and_a_newer_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let second = Migration {
        version: 2,
        name: "colour",
        sql: "ALTER TABLE pet ADD COLUMN colour TEXT",
    };
    open(&dir).await.migrate("pets", &[FIRST]).await.unwrap();
    let state = open(&dir).await;
    state.migrate("pets", &[FIRST, second]).await.unwrap();
    state.migrate("pets", &[FIRST, second]).await.unwrap();
    state
        .reader()
        .fetch("SELECT colour FROM pet", args![])
        .await
        .unwrap();
    let older = open(&dir).await.migrate("pets", &[FIRST]).await;
    assert!(matches!(
        older,
        Err(OpenError::TooNew {
            found: 2,
            known: 1,
            ..
        })
    ));
    let broken = Migration {
        version: 3,
        name: "typo",
        sql: "CREATE TABLE half (id TEXT); CREATE TABEL x",
    };
    let failed = open(&dir).await.migrate("pets", &[FIRST, second, broken]).await;
    assert!(
        matches!(failed, Err(OpenError::Migration { version: 3, .. })),
        "{failed:?}"
    );
    assert!(
        state.reader().fetch("SELECT * FROM half", args![]).await.is_err(),
        "half a migration stayed"
    );
}

#[tokio::test]
async fn concurrent_writers_all_get_their_turn() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir).await;
    state.migrate("pets", &[FIRST]).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..20 {
        let state = state.clone();
        // Also the proof that the transaction's future may move between threads.
        writers.spawn(async move {
            transact!(state, |tx| -> Result<_, StateError> {
                let seen = tx.fetch("SELECT id FROM pet", args![]).await?.len();
                tx.execute(
                    "INSERT INTO pet (id, age, good) VALUES ($1, $2, $3)",
                    args![format!("pet-{n}"), i64::try_from(seen).unwrap(), true],
                )
                .await
            })
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap().unwrap();
    }
    let rows = state
        .reader()
        .fetch("SELECT age FROM pet ORDER BY age", args![])
        .await
        .unwrap();
    let ages: Vec<_> = rows.iter().map(|r| r.int("age").unwrap()).collect();
    assert_eq!(
        ages,
        (0..20).collect::<Vec<i64>>(),
        "a writer did not see the one before it"
    );
}

#[tokio::test]
async fn an_unknown_engine_is_refused_without_showing_the_password() {
    let clock = Arc::new(ManualClock::new(Micros(0)));
    let config = Config {
        url: "mysql://root:secret@host/db".into(),
        connections: 1,
    };
    let error = State::open(&config, clock).await.unwrap_err().to_string();
    assert!(error.contains("mysql") && !error.contains("secret"), "{error}");
}
