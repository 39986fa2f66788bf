//! Space comes back, and nothing that lives is lost on the way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]
mod support;

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use support::{Bench, at, body, get, put, request};
use virga_disk::io::Disk;
use virga_object_store::rounds::LastRound;
use virga_object_wire::checked::{Checked, EXTENT};
use virga_object_wire::node::Read;
use virga_object_wire::object::{Found, PostMeta};

async fn store(bench: &Bench, name: &str, len: usize, seed: u64) -> Bytes {
    let bytes = body(len, seed);
    bench.store(name, &bytes).await;
    bytes
}

/// Writes and overwrites enough to seal the streams' current segments.
async fn churn(bench: &Bench, seed: u64) {
    for n in 0..20 {
        store(bench, "churn", 700_000, seed + n).await;
    }
    for n in 0..3 {
        store(bench, "large-churn", 3 * EXTENT, seed + n).await;
    }
}

/// Compacts until there is nothing to gain; says how many segments came back.
async fn compact(bench: &Bench) -> u32 {
    let mut released = 0;
    for _ in 0..100 {
        match bench.device().compact().await.unwrap() {
            Some(done) => released += u32::from(done.released),
            None => return released,
        }
    }
    panic!("compaction never comes to an end");
}

#[tokio::test]
async fn of_segments_that_are_as_empty_the_oldest_is_emptied_first() {
    let bench = Bench::small();
    // A segment a day, as seven of these do not fit into one.
    for day in 0..4 {
        for n in 0..6 {
            store(&bench, &format!("{day}-{n}"), 600_000, day * 10 + n).await;
        }
        bench.advance(Duration::from_secs(86_400));
    }
    for (day, n) in (0..3).flat_map(|day| (0..3).map(move |n| (day, n))) {
        let (name, version) = (format!("{day}-{n}"), bench.next_version());
        let path = format!("a/c/{name}");
        let deleted = bench.device().delete(&at(&name), version, &path).await;
        deleted.unwrap();
    }
    let mut emptied = Vec::new();
    while let Some(done) = bench.device().compact().await.unwrap() {
        assert!(done.released && done.moved == 3, "{done:?}");
        emptied.push(done.segment);
    }
    assert_eq!(emptied, [1, 2, 3]);
}

#[tokio::test]
async fn records_and_extents_survive_their_segments() {
    let mut bench = Bench::small();
    let small = store(&bench, "small", 3000, 1).await;
    let large = store(&bench, "large", 3 * EXTENT + 5000, 2).await;
    store(&bench, "dead", 3000, 3).await;
    let deleted = bench.next_version();
    bench
        .device()
        .delete(&at("dead"), deleted, "a/c/dead")
        .await
        .unwrap();
    let posted = bench.next_version();
    let post = PostMeta {
        headers: vec![("x-object-meta-a".into(), "1".into())],
        ..PostMeta::default()
    };
    bench.device().post(&at("small"), posted, post).await.unwrap();
    let mut digests = Vec::new();
    for n in 0..4 {
        let sums = bench.device().bucket_sums(0, virga_ring::Partition(n)).await;
        digests.push(sums.unwrap());
    }
    churn(&bench, 10).await;
    let files = bench.disk.list().unwrap().len();
    assert!(compact(&bench).await >= 3);
    churn(&bench, 100).await;
    assert!(compact(&bench).await >= 3);
    assert!(
        bench.disk.list().unwrap().len() <= files + 2,
        "files are used again"
    );
    for round in 0..4 {
        assert_eq!(
            get(bench.device(), "small").await.unwrap(),
            Some(small.clone()),
            "{round}"
        );
        assert_eq!(
            get(bench.device(), "large").await.unwrap(),
            Some(large.clone()),
            "{round}"
        );
        assert_eq!(
            bench.device().head(&at("dead")).await.unwrap(),
            Found::Deleted(deleted)
        );
        let Found::Object(stat) = bench.device().head(&at("small")).await.unwrap() else {
            panic!("gone")
        };
        assert_eq!((stat.meta_version, stat.meta.headers.len()), (posted, 1));
        assert_eq!(bench.device().stats().objects, 4);
        match round {
            0 => bench.crash(1),
            1 => bench.lose_index(2),
            2 => {
                // An index made anew from moved records is compacted on.
                churn(&bench, 200).await;
                compact(&bench).await;
                bench.lose_index(3);
            }
            _ => {}
        }
    }
    // Moving changes nothing that peers compare; only the churned names did.
    for (n, before) in digests.into_iter().enumerate() {
        let partition = virga_ring::Partition(u32::try_from(n).unwrap());
        let now = bench.device().bucket_sums(0, partition).await.unwrap();
        for bucket in before {
            let churned = ["churn", "large-churn"]
                .iter()
                .any(|name| at(name).partition == partition && at(name).hash.0[15] == bucket.0);
            assert!(churned || now.contains(&bucket), "bucket {} changed", bucket.0);
        }
    }
}

#[tokio::test]
async fn an_upload_that_is_not_committed_keeps_its_extents() {
    let bench = Bench::small();
    let bytes = body(5 * EXTENT, 7);
    let mut upload = bench.device().begin_put(&at("slow")).await.unwrap();
    for piece in bytes.chunks(EXTENT).take(4) {
        upload.send(Checked::seal(bytes.slice_ref(piece))).await.unwrap();
    }
    churn(&bench, 1).await;
    churn(&bench, 50).await;
    assert!(compact(&bench).await > 0);
    upload
        .send(Checked::seal(bytes.slice(4 * EXTENT..)))
        .await
        .unwrap();
    upload
        .commit(request("slow", bench.next_version(), &bytes))
        .await
        .unwrap();
    compact(&bench).await;
    assert_eq!(get(bench.device(), "slow").await.unwrap(), Some(bytes));
}

#[tokio::test]
async fn an_upload_given_up_leaves_nothing_behind() {
    let bench = Bench::small();
    for n in 0..6 {
        let bytes = body(4 * EXTENT, n);
        let mut upload = bench.device().begin_put(&at("never")).await.unwrap();
        for piece in bytes.chunks(EXTENT) {
            upload.send(Checked::seal(bytes.slice_ref(piece))).await.unwrap();
        }
        drop(upload);
    }
    churn(&bench, 1).await;
    assert!(compact(&bench).await >= 5, "the extents' segments come back");
    assert_eq!(bench.device().head(&at("never")).await.unwrap(), Found::Absent);
}

#[tokio::test]
async fn a_body_being_read_goes_on_while_its_object_is_overwritten_and_compacted() {
    let bench = Bench::small();
    let bytes = store(&bench, "o", 6 * EXTENT, 7).await;
    let Read::Object(mut read) = bench.device().get(&at("o"), None).await.unwrap() else {
        panic!("gone")
    };
    let mut got = read.body.next().await.unwrap().unwrap().into_data().to_vec();
    store(&bench, "o", 10, 8).await;
    churn(&bench, 1).await;
    compact(&bench).await;
    while let Some(piece) = read.body.next().await {
        got.extend_from_slice(piece.unwrap().data());
    }
    assert!(got == bytes, "the bytes of the version that was asked for");
    drop(read);
    assert!(compact(&bench).await > 0, "then its segments come back");
}

#[tokio::test]
async fn i7_tombstones_go_only_when_they_are_old_and_everybody_knows_them() {
    for (old, known) in [(false, false), (true, false), (false, true), (true, true)] {
        let bench = Bench::small();
        for n in 0..50 {
            let name = format!("o{n}");
            store(&bench, &name, 1000, n).await;
            bench
                .device()
                .delete(&at(&name), bench.next_version(), &format!("a/c/{name}"))
                .await
                .unwrap();
        }
        if old {
            bench.advance(Duration::from_secs(8 * 24 * 3600));
        }
        churn(&bench, 1).await;
        if known {
            // A round that began when all of it was in sealed segments.
            bench.advance(Duration::from_secs(1));
            let started = bench.next_version();
            let ring = virga_ring::RingId::default();
            bench.device().note_round(0, LastRound { started, ring }).unwrap();
        }
        assert!(compact(&bench).await > 0);
        let found = bench.device().head(&at("o7")).await.unwrap();
        assert_eq!(
            matches!(found, Found::Absent),
            old && known,
            "old {old}, known {known}: {found:?}"
        );
        // Whoever comes back with an older version is told what may be forgotten.
        let horizon = bench.device().horizon(0).unwrap();
        assert_eq!(horizon > virga_node::clock::Version(0), old && known);
    }
}

#[tokio::test]
async fn i6_two_devices_that_heard_the_same_in_another_order_have_the_same_digests() {
    let (one, other) = (Bench::small(), Bench::small());
    let writes: Vec<_> = (0..40u64)
        .map(|n| (format!("o{}", n % 10), one.next_version(), body(100, n)))
        .collect();
    for (name, version, bytes) in &writes {
        put(one.device(), request(name, *version, bytes), bytes)
            .await
            .unwrap();
    }
    for (name, version, bytes) in writes.iter().rev() {
        // The older ones are refused: the newer are there.
        let _ = put(other.device(), request(name, *version, bytes), bytes).await;
    }
    for partition in (0..4).map(virga_ring::Partition) {
        let sums = one.device().bucket_sums(0, partition).await.unwrap();
        assert_eq!(sums, other.device().bucket_sums(0, partition).await.unwrap());
    }
}
