//! The scrub finds rot before a reader does, and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]
mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use support::{Bench, at, body, get, put, request};
use virga_disk::threads::{Driver, Job, Threads, Work};
use virga_node::clock::Clock;
use virga_node::task::Tasks;
use virga_object_store::scrub::Scrubbed;
use virga_object_wire::checked::EXTENT;
use virga_object_wire::object::Found;

async fn store(bench: &Bench, name: &str, len: usize) -> Bytes {
    let bytes = body(len, at(name).hash.leading().into());
    let request = request(name, bench.next_version(), &bytes);
    put(bench.device(), request, &bytes).await.unwrap();
    bytes
}

/// Scrubs to the end of the pass; the number of damaged records.
async fn pass(bench: &Bench) -> u64 {
    let mut damaged = 0;
    loop {
        let done = bench.device().scrub().await.unwrap().unwrap();
        damaged += done.damaged;
        if done.pass_done {
            return damaged;
        }
    }
}

#[tokio::test]
async fn rot_is_found_and_set_aside_without_a_reader() {
    let bench = Bench::small();
    let left = store(&bench, "left", 5000).await;
    let rotten = store(&bench, "rotten", 150_000).await;
    let right = store(&bench, "right", 5000).await;
    assert_eq!(pass(&bench).await, 0);
    assert_eq!(bench.rot(&rotten[100_000..100_064]), 1);
    assert_eq!(pass(&bench).await, 1);
    assert_eq!(bench.device().head(&at("rotten")).await.unwrap(), Found::Absent);
    assert_eq!(bench.device().stats().quarantined, 1);
    assert_eq!(get(bench.device(), "left").await.unwrap(), Some(left));
    assert_eq!(get(bench.device(), "right").await.unwrap(), Some(right));
    assert_eq!(pass(&bench).await, 0, "what is set aside is not found again");
}

#[tokio::test]
async fn the_scrub_says_how_far_it_is() {
    let bench = Bench::small();
    for n in 0..12 {
        store(&bench, &format!("o{n}"), 900_000).await;
    }
    let status = || bench.device().scrub_status().unwrap();
    let segments = status().segments;
    assert!(segments > 2, "{segments}");
    for left in (1..=segments).rev() {
        let now = status();
        assert_eq!((now.segments, now.left), (segments, left));
        let done = bench.device().scrub().await.unwrap().unwrap();
        assert_eq!(done.pass_done, left == 1, "{left}");
    }
    assert_eq!(status().left, segments, "the next pass has all before it");
}

#[tokio::test]
async fn a_pass_that_is_asked_for_begins_at_once_and_what_the_last_one_found_stays_known() {
    let bench = Bench::small();
    let rotten = store(&bench, "rotten", 150_000).await;
    assert_eq!(bench.rot(&rotten[100_000..100_064]), 1);
    assert_eq!(pass(&bench).await, 1);
    let status = || bench.device().scrub_status().unwrap();
    let last = status();
    assert!(last.last_damaged == 1 && last.pass_ended.is_some(), "{last:?}");
    for n in 0..12 {
        store(&bench, &format!("o{n}"), 900_000).await;
    }
    bench.device().scrub().await.unwrap();
    bench.advance(Duration::from_secs(60));
    bench.device().scrub_now().await.unwrap();
    let now = status();
    assert!(now.hurried && now.left == now.segments, "{now:?}");
    assert_eq!((now.records, now.damaged), (0, 0));
    assert_eq!(now.began, Some(bench.clock.now()));
    assert_eq!((now.last_damaged, now.pass_ended), (1, last.pass_ended));
    assert_eq!(pass(&bench).await, 0);
    let done = status();
    assert!(!done.hurried && done.last_damaged == 0, "{done:?}");
}

/// Work as tasks of the test's runtime.
struct OnRuntime(Tasks);

impl Driver for OnRuntime {
    fn takes(&self, _: Work) -> Duration {
        Duration::ZERO
    }

    fn spawn(&self, job: Job) {
        drop(self.0.spawn(job));
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_whose_work_runs_as_tasks_of_one_runtime_is_mended_as_well() {
    let mut bench = Bench::small();
    bench.options.threads = Threads::Tasks(Arc::new(OnRuntime(Tasks::new())));
    bench.restart().await;
    let kept = store(&bench, "kept", 5000).await;
    let rotten = store(&bench, "rotten", 150_000).await;
    assert_eq!(bench.rot(&rotten[100_000..100_064]), 1);
    assert_eq!(pass(&bench).await, 1);
    assert_eq!(bench.device().head(&at("rotten")).await.unwrap(), Found::Absent);
    assert_eq!(get(bench.device(), "kept").await.unwrap(), Some(kept));
    bench.close().await;
}

#[tokio::test]
async fn rot_in_one_extent_of_a_large_object_is_found() {
    let bench = Bench::small();
    let large = store(&bench, "large", 6 * EXTENT + 5).await;
    let spared = store(&bench, "spared", 3 * EXTENT).await;
    assert_eq!(pass(&bench).await, 0);
    let spot = 4 * EXTENT + 777;
    assert_eq!(bench.rot(&large[spot..spot + 64]), 1);
    assert_eq!(pass(&bench).await, 1);
    assert_eq!(bench.device().head(&at("large")).await.unwrap(), Found::Absent);
    assert_eq!(get(bench.device(), "spared").await.unwrap(), Some(spared));
}

#[tokio::test]
async fn records_whose_own_description_rotted_are_found_by_the_index() {
    let bench = Bench::small();
    let mut kept = Vec::new();
    for n in 0..12 {
        let name = format!("o{n}");
        kept.push((name.clone(), store(&bench, &name, 900_000).await));
    }
    // The path stands in the descriptor: with it rotten, the segment cannot say
    // whose record this was.
    assert_eq!(
        bench.rot(b"a/c/o1\x0atext"),
        1,
        "the segment of o1 is sealed and holds its name once"
    );
    assert_eq!(pass(&bench).await, 1);
    for (name, bytes) in kept {
        let expected = (name != "o1").then_some(bytes);
        assert_eq!(get(bench.device(), &name).await.unwrap(), expected, "{name}");
    }
}

#[tokio::test]
async fn rot_in_what_nobody_needs_any_more_is_no_finding() {
    let bench = Bench::small();
    let old = store(&bench, "o", 5000).await;
    let new = body(6000, 99);
    put(bench.device(), request("o", bench.next_version(), &new), &new)
        .await
        .unwrap();
    assert_eq!(bench.rot(&old[100..164]), 1);
    assert_eq!(pass(&bench).await, 0);
    assert_eq!(get(bench.device(), "o").await.unwrap(), Some(new));
}

#[tokio::test]
async fn a_restart_goes_on_where_the_scrub_was() {
    let mut bench = Bench::small();
    for n in 0..20 {
        store(&bench, &format!("o{n}"), 900_000).await;
    }
    let first = bench.device().scrub().await.unwrap().unwrap();
    assert!(!first.pass_done);
    let cursor = bench.device().scrub_cursor().unwrap();
    assert_eq!((cursor.segment, cursor.pass_ended), (first.segment, None));
    bench.restart().await;
    let second: Scrubbed = bench.device().scrub().await.unwrap().unwrap();
    assert!(second.segment > first.segment);
    pass(&bench).await;
    let cursor = bench.device().scrub_cursor().unwrap();
    assert_eq!(cursor.segment, 0, "the next pass begins at the first segment");
    assert!(cursor.pass_ended.is_some());
}

#[tokio::test]
async fn a_scrub_beside_writers_and_compaction_finds_nothing_and_loses_nothing() {
    let bench = Bench::small();
    let mut kept = Vec::new();
    for n in 0..60_u64 {
        let name = format!("o{}", n % 25);
        let bytes = body(300_000, n);
        let wrote = put(
            bench.device(),
            request(&name, bench.next_version(), &bytes),
            &bytes,
        );
        let (wrote, scrubbed) = tokio::join!(wrote, bench.device().scrub());
        wrote.unwrap();
        assert_eq!(scrubbed.unwrap().map_or(0, |done| done.damaged), 0);
        if n % 10 == 9 {
            while bench.device().compact().await.unwrap().is_some() {}
        }
        kept.retain(|(other, _)| *other != name);
        kept.push((name, bytes));
    }
    assert_eq!(bench.device().stats().quarantined, 0);
    for (name, bytes) in kept {
        assert_eq!(get(bench.device(), &name).await.unwrap(), Some(bytes), "{name}");
    }
}
