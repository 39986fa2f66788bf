//! Devices that rot, are replaced, or change places.
use uuid::Uuid;
use virga_disk::device::{Description, Device as Folder};
use virga_object_wire::error::NodeError;
use virga_object_wire::object::Found;

use crate::cluster::{Cluster, rot, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_rots_is_healed_from_another_replica() {
    let mut cluster = Cluster::start(3, 3).await;
    let mut objects = cluster.fill(10).await;
    let body: Vec<u8> = (0..5000_u32).flat_map(|n| (n * 77).to_le_bytes()).collect();
    cluster
        .put(&[0, 1, 2], "rotten", cluster.next_version(), &body)
        .await;
    objects.insert("rotten".into(), body.clone());
    cluster.stop(1).await;
    assert_eq!(rot(&cluster.folder(1).join("seg"), &body[1000..1064]), 1);
    cluster.restart(1).await;
    cluster.settle();
    let read = cluster.read(1, "rotten").await;
    assert!(matches!(read, Err(NodeError::Damaged)), "{read:?}");
    until("it is healed", async || {
        cluster.read(1, "rotten").await == Ok(Some(body.clone()))
    })
    .await;
    cluster.assert_in_place(&objects, &[0, 1, 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_device_in_place_of_a_dead_one_gets_everything() {
    let mut cluster = Cluster::start(4, 4).await;
    let objects = cluster.fill(60).await;
    let (name, deleted) = ("o3", cluster.next_version());
    for n in cluster.primaries(name) {
        let at = cluster.at(n, name);
        cluster.node(n).delete(&at, deleted, "a/c/o3").await.unwrap();
    }
    cluster.stop(2).await;
    std::fs::remove_dir_all(cluster.folder(2)).unwrap();
    cluster.restart(2).await;
    cluster.reconciled(&[0, 1, 2, 3]).await;
    let living = objects.into_iter().filter(|(other, _)| other != name).collect();
    cluster.assert_in_place(&living, &[0, 1, 2, 3]).await;
    for n in cluster.primaries(name) {
        assert_eq!(cluster.head(n, name).await, Ok(Found::Deleted(deleted)), "d{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_in_each_others_place_are_refused_until_they_are_put_back() {
    let mut cluster = Cluster::start(4, 4).await;
    let objects = cluster.fill(60).await;
    cluster.stop(0).await;
    cluster.stop(1).await;
    let aside = cluster.folder(9);
    std::fs::rename(cluster.folder(0), &aside).unwrap();
    std::fs::rename(cluster.folder(1), cluster.folder(0)).unwrap();
    std::fs::rename(&aside, cluster.folder(1)).unwrap();
    for n in 0..2 {
        let asked = Description::new(Uuid::from_u128(7), Uuid::from_u128(1), [0; 8]).named(&format!("d{n}"));
        let why = Folder::open(&cluster.folder(n), asked).err().unwrap().to_string();
        assert!(why.contains(&format!("is d{}, not d{n}", 1 - n)), "{why}");
    }
    std::fs::rename(cluster.folder(0), &aside).unwrap();
    std::fs::rename(cluster.folder(1), cluster.folder(0)).unwrap();
    std::fs::rename(&aside, cluster.folder(1)).unwrap();
    cluster.restart(0).await;
    cluster.restart(1).await;
    cluster.reconciled(&[0, 1, 2, 3]).await;
    cluster.assert_in_place(&objects, &[0, 1, 2, 3]).await;
}
