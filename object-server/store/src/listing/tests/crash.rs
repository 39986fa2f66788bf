//! Invariant I1: what was acknowledged is there after `kill -9`.
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;

/// Set in the child: the folder it writes to.
const FOLDER: &str = "VIRGA_TEST_LISTING_FOLDER";
/// Rows acknowledged before the child is killed.
const ROWS: usize = 400;

#[test]
fn every_acknowledged_row_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for _ in 0..2 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "listing::tests::crash::the_child_that_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        let rows = lines.filter_map(|line| line.strip_prefix("row ").map(str::to_owned));
        acknowledged.extend(rows.take(ROWS));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(acknowledged.len(), 2 * ROWS);
    let clock = Arc::new(ManualClock::new(START));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let listings = open(folder.path(), &clock);
    let mut found = std::collections::HashSet::new();
    let mut list = all();
    loop {
        let page = runtime
            .block_on(listings.list_container(&at("c"), list.clone()))
            .unwrap();
        found.extend(page.entries.iter().map(|entry| match entry {
            virga_object_wire::listing::Entry::Row(row) => row.name.clone(),
            other => panic!("{other:?}"),
        }));
        match page.complete_to {
            Some(name) => list.marker = name,
            None => {
                assert_eq!(
                    page.info.objects as usize,
                    found.len(),
                    "totals and rows are of one moment"
                );
                break;
            }
        }
    }
    super::replicas::check_listings(&listings);
    for name in &acknowledged {
        assert!(found.contains(name), "{name} was acknowledged and is gone");
    }
}

/// Not a test: writes rows from many tasks until it is killed.
#[test]
#[ignore = "started by every_acknowledged_row_survives_kill_9"]
fn the_child_that_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let clock = Arc::new(ManualClock::new(START));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let listings = open(folder.as_ref(), &clock);
    let (at, pid) = (at("c"), std::process::id());
    runtime.block_on(async {
        listings.put_container(&at, container("c", 1)).await.unwrap();
        let writers = (0..32).map(|writer| {
            let (at, listings) = (&at, &listings);
            async move {
                for n in 0..100_000 {
                    let name = format!("{pid}-{writer}-{n}");
                    listings
                        .put_object_rows(at, vec![object(&name, 2, 1)])
                        .await
                        .unwrap();
                    let mut out = std::io::stdout().lock();
                    // The reader is gone once it has seen enough.
                    if writeln!(out, "row {name}").and_then(|()| out.flush()).is_err() {
                        return;
                    }
                }
            }
        });
        futures_util::future::join_all(writers).await;
    });
}
