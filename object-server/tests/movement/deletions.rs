//! What was deleted stays deleted (I7).
use std::time::Duration;

use virga_node::clock::Version;
use virga_object_wire::object::Found;

use crate::cluster::{Cluster, until};

/// Overwrites one object until segments are mostly dead, so that compaction
/// goes over them.
async fn churn(cluster: &Cluster, devices: &[usize]) {
    let body = vec![7; 900_000];
    for n in 0..8 {
        let mut body = body.clone();
        body[0] = n;
        for device in devices {
            // Anywhere: this is about segments, not places.
            cluster
                .put(&[*device], "churn", cluster.next_version(), &body)
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_a_device_away_longer_than_deletions_live_brings_nothing_back() {
    let mut cluster = Cluster::start(4, 4).await;
    let mut names = (0..).map(|n| format!("o{n}"));
    let mut on_it = names.by_ref().filter(|name| cluster.primaries(name).contains(&3));
    let (gone, kept) = (on_it.next().unwrap(), on_it.next().unwrap());
    for name in [&gone, &kept] {
        let on = cluster.primaries(name);
        cluster
            .put(&on, name, cluster.next_version(), b"still here")
            .await;
    }
    cluster.reconciled(&[0, 1, 2, 3]).await;
    cluster.clock.advance(Duration::from_secs(60));
    // It dies, leaves the ring, and does not hear of the deletion.
    let on = cluster.primaries(&gone);
    cluster.stop(3).await;
    let deleted = cluster.next_version();
    for n in on.into_iter().filter(|n| *n != 3) {
        let at = cluster.at(n, &gone);
        let path = format!("a/c/{gone}");
        cluster.node(n).delete(&at, deleted, &path).await.unwrap();
    }
    cluster.change(|builder, _| {
        let dead = builder.devices().find(|device| device.device == "d3").unwrap().id;
        builder.remove(dead).unwrap();
    });
    cluster.reconciled(&[0, 1, 2]).await;
    cluster.clock.advance(Duration::from_secs(8 * 24 * 3600));
    for n in 0..3 {
        cluster.stop(n).await;
        cluster.forget_deletions(n).await;
        cluster.restart(n).await;
        assert_eq!(cluster.head(n, &gone).await, Ok(Found::Absent), "d{n}");
        assert!(cluster.movement(n).await.horizon >= deleted, "d{n}");
    }
    // Months later somebody plugs it in again.
    cluster.change(|builder, new| {
        builder.add(new(3)).unwrap();
    });
    cluster.restart(3).await;
    cluster.reconciled(&[0, 1, 2, 3]).await;
    for n in 0..4 {
        let found = cluster.head(n, &gone).await.unwrap();
        assert_eq!(found, Found::Absent, "it came back on d{n}");
    }
    let movement = cluster.movement(3).await;
    assert_eq!(movement.set_aside, 1);
    let aside: Vec<_> = std::fs::read_dir(cluster.folder(3).join("stale"))
        .unwrap()
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect();
    let text = String::from_utf8_lossy(&aside[0]);
    assert!(text.contains(&gone) && text.ends_with("still here"), "{text}");
    cluster
        .assert_in_place(&[(kept, b"still here".to_vec())].into(), &[0, 1, 2, 3])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_a_cluster_that_slept_for_months_forgets_nothing_and_sets_nothing_aside() {
    let mut cluster = Cluster::start(3, 3).await;
    let mut objects = cluster.fill(20).await;
    let deleted = cluster.next_version();
    for n in 0..3 {
        let at = cluster.at(n, "o5");
        cluster.node(n).delete(&at, deleted, "a/c/o5").await.unwrap();
    }
    objects.remove("o5");
    for n in 0..3 {
        cluster.stop(n).await;
    }
    cluster.clock.advance(Duration::from_secs(90 * 24 * 3600));
    for n in 0..3 {
        cluster.restart(n).await;
    }
    cluster.reconciled(&[0, 1, 2]).await;
    cluster.assert_in_place(&objects, &[0, 1, 2]).await;
    for n in 0..3 {
        let movement = cluster.movement(n).await;
        assert_eq!((movement.set_aside, movement.horizon), (0, Version(0)));
        assert_eq!(cluster.head(n, "o5").await, Ok(Found::Deleted(deleted)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_a_deletion_is_kept_while_a_primary_is_away() {
    let mut cluster = Cluster::start(3, 3).await;
    cluster
        .put(&[0, 1, 2], "o", cluster.next_version(), b"to be deleted")
        .await;
    cluster.reconciled(&[0, 1, 2]).await;
    cluster.stop(2).await;
    cluster.clock.advance(Duration::from_secs(60));
    let deleted = cluster.next_version();
    for n in 0..2 {
        let at = cluster.at(n, "o");
        cluster.node(n).delete(&at, deleted, "a/c/o").await.unwrap();
    }
    churn(&cluster, &[0, 1]).await;
    cluster.clock.advance(Duration::from_secs(30 * 24 * 3600));
    churn(&cluster, &[0, 1]).await;
    cluster.restart(2).await;
    cluster.settle();
    until("it hears of the deletion", async || {
        !matches!(cluster.head(2, "o").await, Ok(Found::Object(_)))
    })
    .await;
    for n in 0..2 {
        let found = cluster.head(n, "o").await.unwrap();
        assert!(!matches!(found, Found::Object(_)), "d{n}: {found:?}");
    }
}
