//! The engine by its behaviour, on SQLite or PostgreSQL (`engine`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed test should panic"
)]
mod engine;

use std::sync::Arc;
use std::time::Duration;

use virga_node::clock::{ManualClock, Micros};
use virga_state::chain::Broken;
use virga_state::{
    Change, Config, Keep, Migration, OpenError, Queries, State, StateError, Wanted, args, transact,
};

const FIRST: Migration = Migration {
    version: 1,
    name: "pets",
    sql: "CREATE TABLE pet (id TEXT PRIMARY KEY, age BIGINT, good BOOLEAN NOT NULL, photo BYTEA);
          CREATE TABLE toy (id TEXT PRIMARY KEY, pet_id TEXT NOT NULL REFERENCES pet (id));",
};

async fn open(dir: &tempfile::TempDir) -> State {
    let clock = Arc::new(ManualClock::new(Micros(1_000)));
    State::open(&engine::config(dir.path()).await, clock)
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
        detail: "{}",
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
    let feed = state.reader().changes(&Wanted::default(), 10).await.unwrap();
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
        keep: Keep::default(),
    };
    let error = State::open(&config, clock).await.unwrap_err().to_string();
    assert!(error.contains("mysql") && !error.contains("secret"), "{error}");
}

fn change<'a>(id: &'a str, detail: &'a str) -> Change<'a> {
    Change {
        service: "pets",
        kind: "pet",
        id,
        action: "fed",
        actor: Some("me"),
        detail,
    }
}

async fn record(state: &State, id: &str) -> Result<(), StateError> {
    transact!(state, |tx| -> Result<(), StateError> {
        tx.record(change(id, "{}")).await
    })
}

#[tokio::test]
async fn the_feed_is_a_chain_in_which_holes_and_edits_show() {
    for (harm, broken) in [
        (
            "UPDATE state_change SET actor = 'you' WHERE sequence = 2",
            Broken::Changed { sequence: 2 },
        ),
        (
            "DELETE FROM state_change WHERE sequence = 3",
            Broken::Hole { after: 2, found: 4 },
        ),
        (
            "DELETE FROM state_change WHERE sequence = 4",
            Broken::End { found: 3, wanted: 4 },
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let state = open(&dir).await;
        for id in ["a", "b", "c", "d"] {
            record(&state, id).await.unwrap();
        }
        let verdict = state.verify_changes(None).await.unwrap();
        assert!(verdict.is_intact() && verdict.entries == 4, "{verdict:?}");
        transact!(state, |tx| -> Result<_, StateError> {
            tx.execute(harm, args![]).await
        })
        .unwrap();
        assert_eq!(state.verify_changes(None).await.unwrap().broken, Some(broken));
    }
}

#[tokio::test]
async fn entries_that_are_appended_together_are_all_there_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir).await;
    let mut wanted = Vec::new();
    // Fewer and more than go with one statement.
    for count in [0, 1, 3, 21, 150] {
        let ids: Vec<String> = (0..count).map(|n| format!("{count}-{n}")).collect();
        let all: Vec<Change> = ids.iter().map(|id| change(id, "{}")).collect();
        transact!(state, |tx| -> Result<(), StateError> {
            tx.record_all(&all).await
        })
        .unwrap();
        wanted.extend(ids);
    }
    let found = state.reader().changes(&Wanted::default(), 1000).await.unwrap();
    let found: Vec<String> = found.into_iter().map(|entry| entry.id).collect();
    assert_eq!(found, wanted);
    let verdict = state.verify_changes(None).await.unwrap();
    assert!(verdict.is_intact() && verdict.entries == 175, "{verdict:?}");
}

#[tokio::test]
async fn old_entries_go_and_the_chain_is_whole_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Micros(1_000)));
    let config = Config {
        keep: Keep { days: 1, entries: 0 },
        ..engine::config(dir.path()).await
    };
    let state = State::open(&config, clock.clone()).await.unwrap();
    for _ in 0..300 {
        record(&state, "early").await.unwrap();
    }
    clock.advance(Duration::from_secs(2 * 24 * 3600));
    for _ in 0..300 {
        record(&state, "late").await.unwrap();
    }
    let verdict = state.verify_changes(None).await.unwrap();
    assert!(verdict.is_intact(), "{verdict:?}");
    assert_eq!((verdict.anchor.sequence, verdict.entries), (300, 300));
    clock.advance(Duration::from_secs(2 * 24 * 3600));
    drop(state);
    let again = State::open(&config, clock).await.unwrap();
    let verdict = again.verify_changes(None).await.unwrap();
    assert_eq!((verdict.anchor.sequence, verdict.entries), (600, 0));
    assert!(verdict.is_intact());
    record(&again, "later").await.unwrap();
    assert!(again.verify_changes(None).await.unwrap().is_intact());
}

#[tokio::test]
async fn a_database_from_before_the_chain_gets_one_and_keeps_its_entries() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir).await;
    record(&state, "old").await.unwrap();
    transact!(state, |tx| -> Result<(), StateError> {
        for sql in [
            "DROP TABLE state_chain",
            "DROP INDEX state_change_time",
            "DROP INDEX state_change_actor",
            "DROP INDEX state_change_record",
            "ALTER TABLE state_change DROP COLUMN detail",
            "ALTER TABLE state_change DROP COLUMN hash",
            "DELETE FROM state_migration",
        ] {
            tx.execute(sql, args![]).await?;
        }
        Ok(())
    })
    .unwrap();
    drop(state);
    let state = open(&dir).await;
    record(&state, "new").await.unwrap();
    assert_eq!(
        state
            .reader()
            .changes(&Wanted::default(), 10)
            .await
            .unwrap()
            .len(),
        2
    );
    let verdict = state.verify_changes(None).await.unwrap();
    assert!(verdict.is_intact() && verdict.entries == 1, "{verdict:?}");
}

#[tokio::test]
async fn a_rehearsal_meets_every_constraint_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir).await;
    state.migrate("pets", &[FIRST]).await.unwrap();
    let add = "INSERT INTO pet (id, good) VALUES ($1, $2)";
    let dry = state.dry_run();
    assert!(dry.is_dry_run() && !state.is_dry_run());
    for _ in 0..2 {
        let made = transact!(dry, |tx| -> Result<u64, StateError> {
            tx.record(change("rex", "{}")).await?;
            tx.execute(add, args!["rex", true]).await
        });
        assert_eq!(made.unwrap(), 1);
    }
    let twice = transact!(dry, |tx| -> Result<u64, StateError> {
        tx.execute(add, args!["rex", true]).await?;
        tx.execute(add, args!["rex", true]).await
    });
    assert!(matches!(twice, Err(StateError::Duplicate)));
    let mut q = state.reader();
    assert!(q.fetch("SELECT * FROM pet", args![]).await.unwrap().is_empty());
    assert_eq!(q.changes(&Wanted::default(), 10).await.unwrap(), []);
}

#[tokio::test]
async fn the_feed_is_asked_by_time_actor_record_and_action() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Micros(1_000)));
    let state = State::open(&engine::config(dir.path()).await, clock.clone())
        .await
        .unwrap();
    for id in ["a", "b", "me", "a"] {
        record(&state, id).await.unwrap();
        clock.advance(Duration::from_micros(10));
    }
    let found = async |wanted: Wanted| -> Vec<i64> {
        let entries = state.reader().changes(&wanted, 10).await.unwrap();
        entries.iter().map(|e| e.sequence).collect()
    };
    let all = Wanted::default;
    assert_eq!(
        found(Wanted {
            newest_first: true,
            ..all()
        })
        .await,
        [4, 3, 2, 1]
    );
    assert_eq!(
        found(Wanted {
            id: Some("a".into()),
            ..all()
        })
        .await,
        [1, 4]
    );
    assert_eq!(
        found(Wanted {
            user: Some("me".into()),
            ..all()
        })
        .await,
        [1, 2, 3, 4]
    );
    assert_eq!(
        found(Wanted {
            user: Some("b".into()),
            ..all()
        })
        .await,
        [2]
    );
    assert_eq!(
        found(Wanted {
            since: Some(1_010),
            until: Some(1_030),
            ..all()
        })
        .await,
        [2, 3]
    );
    assert_eq!(
        found(Wanted {
            after: Some(1),
            before: Some(4),
            action: Some("fed".into()),
            ..all()
        })
        .await,
        [2, 3]
    );
    assert!(
        found(Wanted {
            kind: Some("toy".into()),
            ..all()
        })
        .await
        .is_empty()
    );
}

async fn ages(q: &mut virga_state::Reader) -> Vec<i64> {
    let rows = q.fetch("SELECT age FROM pet ORDER BY id", args![]).await.unwrap();
    rows.iter().map(|row| row.int("age").unwrap()).collect()
}

async fn grow(state: &State, age: i64) {
    transact!(state, |tx| -> Result<_, StateError> {
        tx.execute("UPDATE pet SET age = $1", args![age]).await
    })
    .unwrap();
}

#[tokio::test]
async fn an_answer_is_remembered_until_a_change_is_made_or_heard_of() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (open(&dir).await, open(&dir).await);
    here.migrate("pets", &[FIRST]).await.unwrap();
    transact!(here, |tx| -> Result<_, StateError> {
        tx.execute("INSERT INTO pet VALUES ('rex', 1, TRUE, NULL)", args![])
            .await
    })
    .unwrap();
    assert_eq!(ages(&mut here.recalling()).await, [1]);
    // What this process changes counts at once, a rehearsal not at all.
    grow(&here, 2).await;
    grow(&here.dry_run(), 3).await;
    assert_eq!(ages(&mut here.recalling()).await, [2]);
    // What another one changes counts when it is heard of, or when asked for.
    grow(&there, 4).await;
    let mut q = here.recalling();
    assert_eq!(ages(&mut q).await, [2]);
    assert!(q.renew(), "that came from memory");
    assert_eq!(ages(&mut q).await, [4]);
    assert!(!q.renew());
    assert_eq!(ages(&mut here.reader()).await, [4]);
    assert_eq!(ages(&mut here.recalling()).await, [2]);
    here.heard_of_changes();
    assert_eq!(ages(&mut here.recalling()).await, [4]);
}

#[tokio::test]
async fn an_answer_is_dated_by_when_it_was_last_known_to_hold() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Micros(1_000)));
    let config = engine::config(dir.path()).await;
    let state = State::open(&config, clock.clone()).await.unwrap();
    state.migrate("pets", &[FIRST]).await.unwrap();
    let dated = async || {
        let mut q = state.recalling();
        ages(&mut q).await;
        (q.as_of().0, q.renew())
    };
    assert_eq!(dated().await, (1_000, false));
    clock.advance(Duration::from_millis(1));
    assert_eq!(dated().await, (1_000, true));
    state.confirm(Micros(1_500));
    assert_eq!(dated().await, (1_500, true));
    // Nobody confirms it any more.
    clock.advance(Duration::from_secs(1));
    assert_eq!(dated().await, (1_002_000, false));
    // What is read while a transaction is open may be from before it.
    let mut attempts = state.attempts();
    let open = attempts.begin().await.unwrap();
    clock.advance(Duration::from_millis(1));
    state.heard_of_changes();
    assert_eq!(dated().await, (1_002_000, false));
    attempts.finish(open, Ok::<_, StateError>(())).await;
    assert_eq!(dated().await, (1_003_000, false));
}
