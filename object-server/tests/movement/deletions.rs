//! What was deleted stays deleted (I7).
use std::path::Path;
use std::time::Duration;

use virga_node::clock::Version;
use virga_object_wire::error::NodeError;
use virga_object_wire::object::{Found, PostMeta};
use virga_object_wire::status::{Cause, DeviceState};

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
    let (mut cluster, [gone, kept]) = a_device_about_to_return().await;
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

/// A device that left the ring with two objects, of which the first was deleted
/// and the deletion forgotten meanwhile, is in the ring again and about to start.
async fn a_device_about_to_return() -> (Cluster, [String; 2]) {
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
    (cluster, [gone, kept])
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_a_device_away_for_long_answers_nothing_before_it_is_in_step() {
    let (mut cluster, [name, _]) = a_device_about_to_return().await;
    // It cannot compare itself with everybody yet.
    cluster.stop(0).await;
    cluster.restart(3).await;
    let at = cluster.at(3, &name);
    let node = cluster.node(3);
    let refused = NodeError::Returning("d3".to_owned());
    assert_eq!(node.head(&at).await, Err(refused.clone()));
    assert_eq!(node.get(&at, None).await.err(), Some(refused.clone()));
    assert_eq!(
        node.post(&at, cluster.next_version(), PostMeta::default()).await,
        Err(refused.clone())
    );
    let status = node.status().await.unwrap().remove(0);
    assert_eq!(status.state, DeviceState::Returning);
    let reason = status
        .reasons
        .iter()
        .find(|reason| reason.cause == Cause::WasAway)
        .unwrap();
    assert!(reason.detail.contains("object (last round 8 days"), "{reason:?}");
    // What is new it takes all the same.
    let new = (0..)
        .map(|n| format!("new{n}"))
        .find(|new| cluster.primaries(new).contains(&3));
    let new = new.unwrap();
    cluster.put(&[3], &new, cluster.next_version(), b"new").await;
    until("it says what it waits for", async || {
        cluster
            .movement(3)
            .await
            .last_error
            .is_some_and(|error| error.contains("was away for long"))
    })
    .await;
    for n in [1, 2] {
        let found = cluster.head(n, &name).await.unwrap();
        assert!(!matches!(found, Found::Object(_)), "pushed to d{n}: {found:?}");
    }
    assert_eq!(node.head(&at).await, Err(refused));
    cluster.restart(0).await;
    until("it is in step", async || cluster.head(3, &name).await.is_ok()).await;
    assert_eq!(cluster.head(3, &name).await, Ok(Found::Absent));
    assert!(matches!(cluster.head(3, &new).await, Ok(Found::Object(_))));
    let status = node.status().await.unwrap().remove(0);
    assert_eq!((status.state, status.reasons), (DeviceState::Active, Vec::new()));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        match from.is_dir() {
            true => copy(&from, &to.join(name)),
            false => drop(std::fs::copy(&from, to.join(name)).unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_a_device_restored_from_an_old_copy_of_itself_is_not_believed_and_brings_nothing_back() {
    let mut cluster = Cluster::start(3, 3).await;
    let mut objects = cluster.fill(12).await;
    cluster.reconciled(&[0, 1, 2]).await;
    cluster.stop(2).await;
    let backup = tempfile::tempdir().unwrap();
    copy(&cluster.folder(2), backup.path());
    cluster.restart(2).await;
    let deleted = cluster.next_version();
    for n in 0..3 {
        let at = cluster.at(n, "o5");
        cluster.node(n).delete(&at, deleted, "a/c/o5").await.unwrap();
    }
    objects.remove("o5");
    cluster.reconciled(&[0, 1, 2]).await;
    cluster.clock.advance(Duration::from_secs(8 * 24 * 3600));
    for n in 0..3 {
        cluster.stop(n).await;
        cluster.forget_deletions(n).await;
    }
    // Everybody has forgotten it, this device too; and then it is as it was.
    std::fs::remove_dir_all(cluster.folder(2)).unwrap();
    copy(backup.path(), &cluster.folder(2));
    cluster.restart(0).await;
    cluster.restart(2).await;
    let refused = NodeError::Returning("d2".to_owned());
    assert_eq!(cluster.head(2, "o5").await, Err(refused));
    cluster.restart(1).await;
    cluster.reconciled(&[0, 1, 2]).await;
    for n in 0..3 {
        assert_eq!(cluster.head(n, "o5").await, Ok(Found::Absent), "d{n}");
    }
    assert_eq!(cluster.movement(2).await.set_aside, 1);
    for name in objects.keys() {
        let found = cluster.head(2, name).await.unwrap();
        assert!(matches!(found, Found::Object(_)), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_after_a_month_without_power_a_quorum_serves_at_once_and_what_was_deleted_stays_deleted() {
    let mut cluster = Cluster::start(3, 3).await;
    let mut objects = cluster.fill(12).await;
    cluster.reconciled(&[0, 1, 2]).await;
    // One of them misses a deletion, right before the power goes.
    cluster.stop(2).await;
    let deleted = cluster.next_version();
    for n in 0..2 {
        let at = cluster.at(n, "o5");
        cluster.node(n).delete(&at, deleted, "a/c/o5").await.unwrap();
    }
    objects.remove("o5");
    for n in 0..2 {
        cluster.stop(n).await;
    }
    cluster.clock.advance(Duration::from_secs(30 * 24 * 3600));
    // The disk of another one did not survive it.
    cluster.restart(2).await;
    assert_eq!(
        cluster.head(2, "o5").await,
        Err(NodeError::Returning("d2".to_owned()))
    );
    cluster.restart(0).await;
    for n in [0, 2] {
        until("it answers", async || cluster.head(n, "o5").await.is_ok()).await;
    }
    until("the deletion reaches who missed it", async || {
        cluster.head(2, "o5").await == Ok(Found::Deleted(deleted))
    })
    .await;
    cluster.restart(1).await;
    cluster.reconciled(&[0, 1, 2]).await;
    cluster.assert_in_place(&objects, &[0, 1, 2]).await;
    for n in 0..3 {
        assert_eq!(cluster.head(n, "o5").await, Ok(Found::Deleted(deleted)));
        assert_eq!(cluster.movement(n).await.set_aside, 0);
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
