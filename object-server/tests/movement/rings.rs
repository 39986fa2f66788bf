//! Rings that change.
use virga_object_wire::object::PostMeta;
use virga_ring::Ring;

use crate::cluster::{Cluster, until};

/// How many names of objects have to go to another device for the ring to
/// become `after`, by the number of replicas that move.
fn planned(cluster: &Cluster, before: &Ring, after: &Ring, names: impl Iterator<Item = String>) -> u64 {
    let mut moves = 0;
    for name in names {
        let partition = after.partition(&cluster.hash(&name));
        let of = |ring: &Ring| -> Vec<u32> { ring.primaries(partition).map(|(_, d)| d.id.0).collect() };
        let old = of(before);
        moves += of(after).iter().filter(|id| !old.contains(id)).count() as u64;
    }
    moves
}

async fn pushed(cluster: &Cluster, devices: &[usize]) -> u64 {
    let mut names = 0;
    for n in devices {
        let movement = cluster.movement(*n).await;
        names += movement.pushed.iter().map(|pushed| pushed.names).sum::<u64>();
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_device_gets_its_share_and_no_byte_twice() {
    let mut cluster = Cluster::start(4, 3).await;
    let objects = cluster.fill(120).await;
    cluster.reconciled(&[0, 1, 2]).await;
    assert_eq!(
        pushed(&cluster, &[0, 1, 2]).await,
        0,
        "everything was in its place"
    );
    let before = cluster.ring();
    cluster.change(|builder, new| {
        builder.add(new(3)).unwrap();
    });
    cluster.reconciled(&[0, 1, 2, 3]).await;
    // Those who gave something away have forgotten it in the same rounds.
    cluster.assert_in_place(&objects, &[0, 1, 2, 3]).await;
    let planned = planned(&cluster, &before, &cluster.ring(), objects.keys().cloned());
    assert!(planned > 0, "the ring gives the device nothing");
    assert_eq!(
        pushed(&cluster, &[0, 1, 2, 3]).await,
        planned,
        "moved what the plan says"
    );
    for n in 0..4 {
        let movement = cluster.movement(n).await;
        assert_eq!(
            (movement.partitions_foreign, movement.partitions_left),
            (0, 0),
            "d{n}"
        );
        assert_eq!(movement.using, cluster.rings.object[0].1.id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_leaves_the_ring_gives_everything_away() {
    let mut cluster = Cluster::start(4, 4).await;
    let objects = cluster.fill(80).await;
    let before = cluster.ring();
    cluster.change(|builder, _| {
        let leaves = builder.devices().find(|device| device.device == "d1").unwrap().id;
        builder.remove(leaves).unwrap();
    });
    cluster.reconciled(&[0, 1, 2, 3]).await;
    cluster.assert_in_place(&objects, &[0, 1, 2, 3]).await;
    let planned = planned(&cluster, &before, &cluster.ring(), objects.keys().cloned());
    assert_eq!(pushed(&cluster, &[0, 1, 2, 3]).await, planned);
    let movement = cluster.movement(1).await;
    assert_eq!((movement.partitions_own, movement.partitions_foreign), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_copies_of_a_device_that_leaves_are_not_lost() {
    let mut cluster = Cluster::start(4, 4).await;
    // On one device alone, as if the two others had lost it.
    let mut names = (0..).map(|n| format!("o{n}"));
    let name = names.find(|name| cluster.primaries(name).contains(&1)).unwrap();
    cluster
        .put(&[1], &name, cluster.next_version(), b"the only copy")
        .await;
    cluster.change(|builder, _| {
        let leaves = builder.devices().find(|device| device.device == "d1").unwrap().id;
        builder.remove(leaves).unwrap();
    });
    cluster.reconciled(&[0, 1, 2, 3]).await;
    let objects = [(name, b"the only copy".to_vec())].into();
    cluster.assert_in_place(&objects, &[0, 1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_took_while_others_were_away_comes_to_them_updates_and_deletions_too() {
    let mut cluster = Cluster::start(5, 5).await;
    let mut names = (0..).map(|n| format!("o{n}"));
    let mut two = names
        .by_ref()
        .filter(|name| !cluster.primaries(name).contains(&4));
    let (kept, deleted) = (two.next().unwrap(), two.next().unwrap());
    let away = cluster.primaries(&kept)[0];
    for name in [&kept, &deleted] {
        let on = cluster.primaries(name);
        cluster.put(&on, name, cluster.next_version(), b"before").await;
    }
    cluster.stop(away).await;
    // d4 stands in: it hears of a new object, an update and a deletion.
    cluster.put(&[4], &kept, cluster.next_version(), b"after").await;
    let (updated, gone) = (cluster.next_version(), cluster.next_version());
    let update = PostMeta {
        headers: vec![("x-object-meta-new".into(), "1".into())],
        ..PostMeta::default()
    };
    let stand_in = cluster.node(4);
    stand_in
        .post(&cluster.at(4, &kept), updated, update)
        .await
        .unwrap();
    let path = format!("a/c/{deleted}");
    stand_in
        .delete(&cluster.at(4, &deleted), gone, &path)
        .await
        .unwrap();
    cluster.restart(away).await;
    cluster.reconciled(&[0, 1, 2, 3, 4]).await;
    cluster
        .assert_in_place(&[(kept.clone(), b"after".to_vec())].into(), &[0, 1, 2, 3, 4])
        .await;
    for n in cluster.primaries(&kept) {
        let found = cluster.head(n, &kept).await.unwrap();
        assert_eq!(found.version(), updated, "the update is on d{n}");
    }
    for n in cluster.primaries(&deleted) {
        let found = cluster.head(n, &deleted).await.unwrap();
        assert_eq!(found, virga_object_wire::object::Found::Deleted(gone), "d{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_primary_is_away_nothing_is_forgotten_and_the_rest_goes_on() {
    let mut cluster = Cluster::start(4, 3).await;
    let objects = cluster.fill(40).await;
    cluster.settle();
    cluster.stop(2).await;
    cluster.change(|builder, new| {
        builder.add(new(3)).unwrap();
    });
    let (name, body) = objects
        .iter()
        .find(|(name, _)| {
            let primaries = cluster.primaries(name);
            primaries.contains(&3) && primaries.contains(&2)
        })
        .unwrap();
    until("the new device has what others could give", async || {
        cluster.read(3, name).await == Ok(Some(body.clone()))
    })
    .await;
    let leaver = (0..2).find(|n| !cluster.primaries(name).contains(n)).unwrap();
    until("the round ended", async || {
        cluster.movement(leaver).await.last_error.is_some()
    })
    .await;
    let movement = cluster.movement(leaver).await;
    assert!(movement.partitions_foreign > 0 && movement.partitions_left > 0);
    assert!(movement.last_error.unwrap().contains("d2"), "it says who is away");
    assert_ne!(movement.reconciled, Some(movement.using));
    assert_eq!(cluster.read(leaver, name).await, Ok(Some(body.clone())));
    cluster.restart(2).await;
    cluster.reconciled(&[0, 1, 2, 3]).await;
    cluster.assert_in_place(&objects, &[0, 1, 2, 3]).await;
}
