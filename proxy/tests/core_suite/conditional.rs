//! Conditional writes through several proxies, and the names that they hold.
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};
use virga_object_wire::checked::EXTENT;
use virga_object_wire::hold::Hold;
use virga_object_wire::node::ObjectNode;
use virga_proxy::core::{NewObject, ObjectName, PutObjectError, Unavailable};

use crate::cluster::{Cluster, bytes, container, object, pieces, settle};
use crate::fleet::{Chance, Fleet, settings};

const SECOND: Duration = Duration::from_secs(1);

fn only_if_absent() -> NewObject {
    NewObject {
        if_none_match_any: true,
        ..NewObject::new("text/plain")
    }
}

/// Three proxies over four nodes that take their time.
async fn fleet(seed: u64) -> (Arc<Fleet>, Arc<Chance>) {
    let chance = Arc::new(Chance::new(seed));
    // The clocks differ: the later writer may have the older version.
    let fleet = Fleet::new(4, &[0, 20, -20], true, &settings());
    let core = &fleet.doors[0].core;
    core.put_container(&container("c"), None, Vec::new())
        .await
        .unwrap();
    fleet.slow_down(&chance, Duration::from_millis(5), Duration::from_millis(50));
    (Arc::new(fleet), chance)
}

#[tokio::test(start_paused = true)]
async fn of_writes_that_want_to_be_the_first_through_several_proxies_one_is() {
    let seed = uuid::Uuid::new_v4().as_u128() as u64;
    println!("seed {seed}");
    let (fleet, chance) = fleet(seed).await;
    for round in 0..12 {
        let name = object(&format!("o{round}"));
        let size = *chance.pick(&[0, 100, EXTENT, 2 * EXTENT + 5]);
        let writers = (0..9).map(|writer| {
            let (fleet, chance, name) = (Arc::clone(&fleet), Arc::clone(&chance), name.clone());
            fleet.tasks.clone().spawn(async move {
                chance.sleep(Duration::from_millis(20)).await;
                let core = &fleet.doors[writer % 3].core;
                let body = bytes(size + writer);
                let stored = core.put_object(&name, only_if_absent(), pieces(&body, 100_000));
                (size + writer, stored.await)
            })
        });
        let ended: Vec<_> = join_all(writers).await.into_iter().map(Result::unwrap).collect();
        let won: Vec<usize> = ended
            .iter()
            .filter_map(|(size, stored)| stored.is_ok().then_some(*size))
            .collect();
        let [won] = won[..] else {
            panic!("{name:?}: {ended:?}");
        };
        for (_, lost) in ended.iter().filter(|(size, _)| *size != won) {
            assert_eq!(*lost, Err(PutObjectError::Exists));
        }
        for door in &fleet.doors {
            let head = door.core.head_object(&name, true).await.unwrap();
            assert_eq!(head.size, won as u64);
        }
    }
}

/// A second holder beside the first.
async fn hold(cluster: &Cluster, name: &ObjectName) -> Result<virga_proxy::core::HeldName, Unavailable> {
    Ok(cluster.core.hold_object(name).await?.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_name_is_held_for_as_long_as_it_takes_and_free_at_once_afterwards() {
    let cluster = Cluster::new().await;
    let (name, other) = (object("o"), object("other"));
    let held = hold(&cluster, &name).await.unwrap();
    tokio::time::sleep(60 * SECOND).await;
    assert!(timeout(10 * SECOND, hold(&cluster, &name)).await.is_err());
    timeout(SECOND, hold(&cluster, &other)).await.unwrap().unwrap();
    let refused = hold(&cluster, &name).await.unwrap_err();
    assert!(refused.to_string().contains("under a condition"), "{refused}");
    drop(held);
    settle().await;
    let started = Instant::now();
    hold(&cluster, &name).await.unwrap();
    assert!(started.elapsed() < SECOND / 10, "{:?}", started.elapsed());
    let nowhere = ObjectName::new("a", "nowhere", "o").unwrap();
    assert!(cluster.core.hold_object(&nowhere).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_goes_away_while_it_waits_for_a_name_leaves_nothing_held() {
    let cluster = Cluster::new().await;
    let name = object("o");
    // A part of the name is another's for ever, so that the rest does not suffice.
    let places = cluster.of_object(&name);
    let hers = Hold {
        holder: 7,
        lease_ms: 60_000,
    };
    for (twin, at) in &places[..2] {
        assert!(twin.hold(at, hers).await.unwrap());
    }
    assert!(timeout(SECOND, hold(&cluster, &name)).await.is_err());
    settle().await;
    let third = Hold { holder: 8, ..hers };
    assert!(places[2].0.hold(&places[2].1, third).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_name_of_a_proxy_that_died_is_free_when_its_lease_is_over() {
    let cluster = Cluster::new().await;
    let name = object("o");
    let dead = Hold {
        holder: 7,
        lease_ms: 15_000,
    };
    for (twin, at) in &cluster.of_object(&name)[..3] {
        assert!(twin.hold(at, dead).await.unwrap());
    }
    let started = Instant::now();
    let body = bytes(10);
    let stored = cluster
        .core
        .put_object(&name, only_if_absent(), pieces(&body, 10));
    stored.await.unwrap();
    assert!(started.elapsed() >= 15 * SECOND, "{:?}", started.elapsed());
    assert_eq!(cluster.get(&name).await.unwrap(), body);
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_too_few_can_decide_is_not_decided() {
    let cluster = Cluster::new().await;
    let name = object("o");
    cluster.core.container_info(&name.container_name()).await.unwrap();
    let places = cluster.of_object(&name);
    places[0].0.set_down(true);
    drop(hold(&cluster, &name).await.unwrap());
    places[1].0.set_down(true);
    let refused = hold(&cluster, &name).await.unwrap_err();
    assert!(
        matches!(
            refused,
            Unavailable::NoQuorum {
                reached: 1,
                needed: 2,
                ..
            }
        ),
        "{refused:?}"
    );
    let body = bytes(10);
    let stored = cluster
        .core
        .put_object(&name, only_if_absent(), pieces(&body, 10))
        .await;
    assert!(
        matches!(stored, Err(PutObjectError::Unavailable(_))),
        "{stored:?}"
    );
}
