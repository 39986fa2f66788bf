//! Ring changes step by step: when one is over, whom it bothers, many of them
//! under load, and what affinity says.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use virga_node::clock::Version;
use virga_object_wire::movement::{Movement, RingName};
use virga_object_wire::object::PostMeta;
use virga_proxy::core::{Affinity, GetOptions, NewObject, ObjectName, ReadObjectError, Settings};
use virga_ring::{ReadAffinity, RingId, WriteAffinity};

use crate::cluster::{container, object, settle, whole};
use crate::fleet::{Chance, Fleet, settings};

/// Has every node say that its devices are done with the newest ring, as of now.
fn report(fleet: &Fleet, using: RingId, reconciled: Option<RingId>, started: Version) {
    for id in 0..fleet.devices {
        let of = |ring| Movement {
            device: format!("d{id}"),
            ring,
            using,
            reconciled,
            round_started: started,
            horizon: Version(0),
            partitions_own: 1,
            partitions_foreign: 0,
            partitions_left: 3,
            set_aside: 0,
            pushed: Vec::new(),
            last_error: None,
        };
        let rings = [RingName::Account, RingName::Container, RingName::Object(0)];
        fleet.twin(id).set_movement(rings.map(of).into());
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_over_when_every_device_has_looked_through_everything_after_the_grace() {
    let settings = Settings {
        ring_grace: Duration::from_secs(30),
        ..settings()
    };
    let fleet = Fleet::new(6, &[0], false, &settings);
    let (chance, door) = (Chance::new(1), &fleet.doors[0]);
    let first = door.ring.id();
    door.core.watch_rings();
    let look = Duration::from_secs(3);
    tokio::time::sleep(look).await;
    assert_eq!(door.core.ring_changes(), []);
    let next = fleet.plan.lock().unwrap().next(&chance);
    door.ring.swap(next.ring());
    let now = door.core.hlc().clock().now();
    let late = Version::at(now.plus(Duration::from_secs(40)));
    for (using, reconciled, started, why) in [
        (first, Some(first), late, "uses ring version 1"),
        (door.ring.id(), Some(first), late, "3 partitions left"),
        (
            door.ring.id(),
            Some(door.ring.id()),
            Version::at(now),
            "3 partitions left",
        ),
    ] {
        report(&fleet, using, reconciled, started);
        tokio::time::sleep(look).await;
        let changes = door.core.ring_changes();
        assert_eq!(changes.len(), 3, "{changes:?}");
        let object = changes.iter().find(|change| change.ring == "object").unwrap();
        assert_eq!((object.version, &object.from[..], object.done), (2, &[1][..], 0));
        assert!(object.waiting[0].contains(why), "{object}");
        assert!(door.ring.in_use().is_moving());
    }
    report(&fleet, door.ring.id(), Some(door.ring.id()), late);
    let owner = next
        .ring()
        .primaries(virga_ring::Partition(0))
        .next()
        .unwrap()
        .1
        .id
        .0;
    fleet.fail(Some(owner));
    tokio::time::sleep(look * 30).await;
    let changes = door.core.ring_changes();
    assert!(changes[0].waiting[0].contains("unreachable"), "{changes:?}");
    assert!(
        door.ring.in_use().is_moving(),
        "a device of the ring is waited for"
    );
    fleet.fail(None);
    tokio::time::sleep(look).await;
    assert_eq!(door.core.ring_changes(), []);
    assert!(!door.ring.in_use().is_moving());
}

#[tokio::test(start_paused = true)]
async fn a_device_that_left_the_ring_and_is_dead_is_not_waited_for() {
    let settings = Settings {
        ring_grace: Duration::from_secs(1),
        gone_after: Duration::from_secs(60),
        ..settings()
    };
    let fleet = Fleet::new(6, &[0], false, &settings);
    let door = &fleet.doors[0];
    door.core.watch_rings();
    let leaver = 2;
    let next = fleet.plan.lock().unwrap().without(leaver);
    fleet.fail(Some(leaver));
    door.ring.swap(next.ring());
    let late = Version::at(door.core.hlc().clock().now().plus(Duration::from_secs(40)));
    report(&fleet, door.ring.id(), Some(door.ring.id()), late);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(door.ring.in_use().is_moving(), "it may come back with something");
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(!door.ring.in_use().is_moving());
}

#[tokio::test(start_paused = true)]
async fn during_a_change_the_device_that_leaves_is_asked_only_when_a_quorum_needs_it() {
    let fleet = Fleet::new(6, &[0], true, &settings());
    let door = &fleet.doors[0];
    door.core
        .put_container(&container("c"), None, Vec::new())
        .await
        .unwrap();
    let name = object("o");
    let old = door.ring.current();
    let leaver = fleet.primaries(&old, &name)[0];
    let next = fleet.plan.lock().unwrap().without(leaver);
    door.core
        .put_object(&name, NewObject::new("x/y"), whole("before"))
        .await
        .unwrap();
    settle().await;
    let calls = |id: u32| {
        ["get", "head", "put", "delete", "post"]
            .iter()
            .map(|call| fleet.twin(id).calls(call))
            .sum::<u64>()
    };
    let before = calls(leaver);
    door.ring.swap(next.ring());
    let get = async || {
        let got = door.core.get_object(&name, GetOptions::default()).await?;
        Ok::<_, ReadObjectError>(got.body.collect(usize::MAX).await.unwrap())
    };
    assert_eq!(get().await.unwrap(), "before");
    door.core
        .put_object(&name, NewObject::new("x/y"), whole("during"))
        .await
        .unwrap();
    settle().await;
    assert_eq!(get().await.unwrap(), "during");
    assert_eq!(
        calls(leaver),
        before,
        "the two that stay are a quorum of both rings"
    );
    // One of those two dies: now it is needed, and nothing is refused.
    fleet.fail(Some(fleet.primaries(&old, &name)[1]));
    let posted = door
        .core
        .post_object(&name, PostMeta::default(), None)
        .await
        .unwrap();
    assert_eq!(get().await.unwrap(), "during");
    door.core
        .put_object(&name, NewObject::new("x/y"), whole("after"))
        .await
        .unwrap();
    assert_eq!(get().await.unwrap(), "after");
    assert!(calls(leaver) > before);
    let deleted = door.core.delete_object(&name, None).await.unwrap();
    assert!(deleted.existed && deleted.version > posted.meta_version);
    assert!(matches!(get().await, Err(ReadObjectError::NotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn rings_swapped_hundreds_of_times_under_load_lose_and_refuse_nothing() {
    let fleet = Arc::new(Fleet::new(6, &[0, 0], true, &settings()));
    let chance = Arc::new(Chance::new(7));
    fleet.doors[0]
        .core
        .put_container(&container("c"), None, Vec::new())
        .await
        .unwrap();
    fleet.slow_down(&chance, Duration::from_millis(3), Duration::from_millis(20));
    let names: Vec<ObjectName> = (0..8).map(|n| object(&format!("o{n}"))).collect();
    let over = Arc::new(AtomicBool::new(false));
    // Each client has names of its own, so it knows what it must read.
    let client = |which: usize| {
        let (fleet, chance, over) = (Arc::clone(&fleet), Arc::clone(&chance), Arc::clone(&over));
        let names = names[which * 2..which * 2 + 2].to_vec();
        async move {
            let (mut count, mut last) = (0u64, vec![None; 2]);
            while !over.load(Ordering::SeqCst) {
                let at = chance.below(2) as usize;
                chance.sleep(Duration::from_millis(40)).await;
                let core = &chance.pick(&fleet.doors).core;
                if chance.below(2) == 0 {
                    count += 1;
                    let body = format!("{which} {count}");
                    core.put_object(&names[at], NewObject::new("x/y"), whole(body.clone()))
                        .await
                        .unwrap();
                    last[at] = Some(body);
                } else {
                    let got = core.get_object(&names[at], GetOptions::default()).await;
                    let got = match got {
                        Ok(got) => Some(got.body.collect(usize::MAX).await.unwrap()),
                        Err(ReadObjectError::NotFound { .. }) => None,
                        Err(error) => panic!("{error}"),
                    };
                    assert_eq!(got, last[at].clone().map(Bytes::from));
                }
            }
            count
        }
    };
    let clients: Vec<_> = (0..4).map(|which| fleet.tasks.spawn(client(which))).collect();
    for _ in 0..200 {
        let next = fleet.plan.lock().unwrap().next(&chance);
        *fleet.plan.lock().unwrap() = next.clone();
        for door in &fleet.doors {
            door.ring.swap(next.ring());
            chance.sleep(Duration::from_millis(20)).await;
        }
        // Longer than any request of these takes.
        tokio::time::sleep(Duration::from_millis(100)).await;
        while !fleet.round(&next.ring(), &names).await {}
        for door in &fleet.doors {
            assert!(door.ring.retire(door.ring.id()).unwrap());
        }
    }
    over.store(true, Ordering::SeqCst);
    let mut writes = 0;
    for client in clients {
        writes += client.await.unwrap();
    }
    assert!(writes > 200, "{writes} writes");
}

#[tokio::test(start_paused = true)]
async fn affinity_says_whom_to_read_from_and_who_stands_in_but_not_what_is_acknowledged() {
    let name = object("o");
    let all = Fleet::new(6, &[0], true, &settings());
    let primaries = all.primaries(&all.doors[0].ring.current(), &name);
    let (last, away) = (primaries[2], primaries[0]);
    let far = (0..6).rev().find(|id| !primaries.contains(id)).unwrap();
    // Devices are zones of their own here.
    let affinity = Affinity {
        read_affinity: ReadAffinity::parse(&format!("r1z{last}=1")).unwrap(),
        write_affinity: WriteAffinity::parse(&format!("r1z{far}")).unwrap(),
        ..Affinity::default()
    };
    let settings = Settings {
        policy_affinity: [(0, affinity)].into(),
        ..settings()
    };
    let fleet = Fleet::new(6, &[0], true, &settings);
    let core = &fleet.doors[0].core;
    core.put_container(&container("c"), None, Vec::new())
        .await
        .unwrap();
    core.put_object(&name, NewObject::new("x/y"), whole("one"))
        .await
        .unwrap();
    settle().await;
    for _ in 0..5 {
        let got = core.get_object(&name, GetOptions::default()).await.unwrap();
        assert_eq!(got.body.collect(usize::MAX).await.unwrap(), "one");
    }
    assert_eq!(fleet.twin(last).calls("get"), 5);
    assert_eq!(
        fleet.twin(far).calls("put"),
        0,
        "primaries first, wherever they are"
    );
    fleet.fail(Some(away));
    core.put_object(&name, NewObject::new("x/y"), whole("two"))
        .await
        .unwrap();
    settle().await;
    assert_eq!(fleet.twin(far).calls("put"), 1, "the local device stands in");
}
