//! Objects while nodes are dead, stale, damaged, full or silent.
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use virga_object_wire::checked::{BLOCK, EXTENT};
use virga_object_wire::error::NodeError;
use virga_object_wire::node::ObjectNode;
use virga_object_wire::object::Found;
use virga_proxy::core::{
    GetOptions, NewObject, PutObjectError, ReadObjectError, Settings, Unavailable, Wanted,
};

use virga_object_wire::twin::MemoryNode;
use virga_proxy::core::ObjectName;

use crate::cluster::{Cluster, bytes, container, found, object, settle, whole};

/// Rings of three devices have no handoffs.
async fn three() -> Cluster {
    Cluster::with(3, 3, Settings::default()).await
}

#[tokio::test(start_paused = true)]
async fn with_one_of_three_nodes_down_everything_goes_on() {
    for dead in 0..3 {
        let cluster = three().await;
        let (name, large) = (object("o"), object("large"));
        cluster.put(&name, "old").await.unwrap();
        cluster.twins.all().nth(dead).unwrap().set_down(true);
        cluster.put(&name, "new").await.unwrap();
        assert_eq!(cluster.get(&name).await.unwrap(), "new");
        let body = bytes(EXTENT * 3);
        cluster.put_in_pieces(&large, &body, 60_000).await;
        assert_eq!(cluster.get(&large).await.unwrap(), body);
        assert!(cluster.core.delete_object(&name, None).await.unwrap().existed);
        assert!(matches!(
            cluster.get(&name).await,
            Err(ReadObjectError::NotFound { deleted: Some(_) })
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn with_two_of_three_nodes_down_nothing_is_acknowledged() {
    let cluster = three().await;
    let name = object("o");
    cluster.put(&name, "old").await.unwrap();
    for twin in cluster.twins.all().take(2) {
        twin.set_down(true);
    }
    for size in [3, EXTENT * 2] {
        let put = cluster
            .core
            .put_object(&name, NewObject::new("x/y"), whole(bytes(size)))
            .await;
        let no_quorum = matches!(
            put,
            Err(PutObjectError::Unavailable(Unavailable::NoQuorum {
                needed: 2,
                ..
            }))
        );
        assert!(no_quorum, "{size} bytes: {put:?}");
    }
    assert!(cluster.core.delete_object(&name, None).await.is_err());
    assert!(matches!(
        cluster.get(&name).await,
        Err(ReadObjectError::Unavailable(_))
    ));
}

/// Twelve devices, and an object none of whose replicas are on a device of its
/// container, with its primaries.
async fn apart() -> (Cluster, ObjectName, Vec<Arc<MemoryNode>>) {
    let cluster = Cluster::with(12, 3, Settings::default()).await;
    let of_container: Vec<_> = cluster.of_container(&container("c"));
    let is_apart = |name: &ObjectName| {
        let places = cluster.of_object(name);
        places[..3].iter().all(|(twin, _)| {
            of_container[..3]
                .iter()
                .all(|(other, _)| !Arc::ptr_eq(twin, other))
        })
    };
    let name = (0..100).map(|n| object(&format!("o{n}"))).find(is_apart).unwrap();
    let primaries = cluster.of_object(&name).into_iter().take(3);
    let primaries = primaries.map(|(twin, _)| twin).collect();
    (cluster, name, primaries)
}

fn is_unavailable<T>(result: &Result<T, ReadObjectError>) -> bool {
    matches!(result, Err(ReadObjectError::Unavailable(_)))
}

fn is_not_found<T>(result: &Result<T, ReadObjectError>) -> bool {
    matches!(result, Err(ReadObjectError::NotFound { .. }))
}

#[tokio::test(start_paused = true)]
async fn that_there_is_nothing_is_said_only_by_a_quorum_of_primaries_whatever_stand_ins_say() {
    let (cluster, name, primaries) = apart().await;
    for written in [false, true] {
        if written {
            // The first primary misses it and nobody has to stand in.
            primaries[0].set(|s| s.answer = Some(NodeError::Full));
            cluster.put(&name, "x").await.unwrap();
            settle().await;
            primaries[0].set(|s| s.answer = None);
            for (twin, at) in cluster.of_object(&name).iter().skip(3) {
                twin.forget(at);
            }
        }
        for away in [1..3, 0..3] {
            tokio::time::advance(Duration::from_secs(5)).await;
            primaries[away.clone()]
                .iter()
                .for_each(|twin| twin.set_down(true));
            for newest in [false, true] {
                let head = cluster.core.head_object(&name, newest).await;
                assert!(
                    is_unavailable(&head),
                    "{away:?} away, written: {written}: {head:?}"
                );
                let got = cluster.get(&name).await;
                assert!(is_unavailable(&got), "{away:?} away, written: {written}: {got:?}");
            }
            primaries.iter().for_each(|twin| twin.set_down(false));
        }
    }
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(cluster.get(&name).await.unwrap(), "x");
}

#[tokio::test(start_paused = true)]
async fn two_primaries_are_enough_to_say_that_there_is_nothing() {
    let (cluster, name, primaries) = apart().await;
    for away in &primaries {
        away.set_down(true);
        let head = cluster.core.head_object(&name, true).await;
        assert!(is_not_found(&head), "{head:?}");
        let got = cluster.get(&name).await;
        assert!(is_not_found(&got), "{got:?}");
        away.set_down(false);
        tokio::time::advance(Duration::from_secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_taken_with_the_help_of_stand_ins_is_told_while_the_same_primaries_are_away() {
    let (cluster, name, primaries) = apart().await;
    cluster.put(&name, "x").await.unwrap();
    settle().await;
    primaries[1].set_down(true);
    primaries[2].set_down(true);
    // One replica in reach: what it has is served.
    assert_eq!(cluster.get(&name).await.unwrap(), "x");
    assert!(cluster.core.delete_object(&name, None).await.unwrap().existed);
    settle().await;
    for _ in 0..3 {
        let got = cluster.get(&name).await;
        assert!(
            matches!(got, Err(ReadObjectError::NotFound { deleted: Some(_) })),
            "{got:?}"
        );
        tokio::time::advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_reaches_too_few_primaries_does_not_say_that_there_was_nothing() {
    let (cluster, name, primaries) = apart().await;
    primaries[0].set(|s| s.answer = Some(NodeError::Full));
    cluster.put(&name, "x").await.unwrap();
    settle().await;
    primaries[0].set(|s| s.answer = None);
    for (twin, at) in cluster.of_object(&name).iter().skip(3) {
        twin.forget(at);
    }
    tokio::time::advance(Duration::from_secs(5)).await;
    primaries[1].set_down(true);
    primaries[2].set_down(true);
    assert!(cluster.core.delete_object(&name, None).await.unwrap().existed);
}

#[tokio::test(start_paused = true)]
async fn primaries_that_only_take_their_time_are_waited_for_before_it_is_said_that_there_is_nothing() {
    let (cluster, name, primaries) = apart().await;
    for twin in &primaries {
        twin.set(|s| s.latency = Some(Arc::new(|| Duration::from_secs(1))));
    }
    for _ in 0..3 {
        let got = cluster.get(&name).await;
        assert!(is_not_found(&got), "{got:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_replica_is_never_believed_after_an_acknowledged_newer_write() {
    for stale in 0..3 {
        let cluster = three().await;
        let (name, gone) = (object("o"), object("gone"));
        cluster.put(&name, "old").await.unwrap();
        cluster.put(&gone, "old").await.unwrap();
        settle().await;
        let twin = Arc::clone(cluster.twins.all().nth(stale).unwrap());
        twin.set_down(true);
        cluster.put(&name, "new").await.unwrap();
        cluster.core.delete_object(&gone, None).await.unwrap();
        twin.set_down(false);
        for _ in 0..20 {
            assert_eq!(cluster.get(&name).await.unwrap(), "new");
            assert!(matches!(
                cluster.get(&gone).await,
                Err(ReadObjectError::NotFound { .. })
            ));
            tokio::time::advance(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_a_large_object_is_told_when_a_read_finds_a_replica_without_it() {
    let cluster = three().await;
    let (name, body) = (object("large"), bytes(EXTENT * 2));
    let twin = Arc::clone(cluster.twins.all().next().unwrap());
    twin.set_down(true);
    let new = NewObject::new("x/y");
    cluster
        .core
        .put_object(&name, new, whole(body.clone()))
        .await
        .unwrap();
    settle().await;
    twin.set_down(false);
    tokio::time::advance(Duration::from_secs(5)).await;
    // It is believed to be well again, and with another one away it is heard.
    cluster.put(&object("small"), "x").await.unwrap();
    settle().await;
    cluster.twins.all().nth(2).unwrap().set_down(true);
    twin.set(|s| s.full = true);
    let told = || cluster.twins.all().map(|twin| twin.calls("admin")).sum::<u64>();
    for _ in 0..5 {
        assert_eq!(cluster.get(&name).await.unwrap(), body);
    }
    assert_eq!(told(), 0, "it may be on its way there");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(told(), 1);
    assert_eq!(twin.calls("admin"), 0, "it has nothing to bring");
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(told(), 1, "once for all of these reads");
    assert_eq!(cluster.get(&name).await.unwrap(), body);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(told(), 2, "nobody has brought it");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_says_whether_there_was_an_object_also_when_a_replica_missed_what_came_before() {
    for stale in 0..3 {
        let cluster = three().await;
        let (gone, kept) = (object("gone"), object("kept"));
        cluster.put(&gone, "old").await.unwrap();
        settle().await;
        let twin = Arc::clone(cluster.twins.all().nth(stale).unwrap());
        twin.set_down(true);
        assert!(cluster.core.delete_object(&gone, None).await.unwrap().existed);
        cluster.put(&kept, "new").await.unwrap();
        settle().await;
        twin.set_down(false);
        tokio::time::advance(Duration::from_secs(5)).await;
        // The others are slower, so that the stale one is among those heard.
        for other in cluster.twins.all().filter(|other| !Arc::ptr_eq(other, &twin)) {
            other.set(|s| s.latency = Some(Arc::new(|| Duration::from_millis(5))));
        }
        assert!(!cluster.core.delete_object(&gone, None).await.unwrap().existed);
        assert!(cluster.core.delete_object(&kept, None).await.unwrap().existed);
        for name in [&gone, &kept] {
            assert!(!cluster.core.delete_object(name, None).await.unwrap().existed);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_handoff_stands_in_for_a_dead_primary_and_says_for_whom() {
    let cluster = Cluster::new().await;
    for size in [3, EXTENT * 2] {
        let name = object(&format!("o{size}"));
        let places = cluster.of_object(&name);
        places[0].0.set_down(true);
        let body = bytes(size);
        cluster
            .core
            .put_object(&name, NewObject::new("x/y"), whole(body.clone()))
            .await
            .unwrap();
        settle().await;
        let (twin, at) = &places[3];
        let id: u32 = places[0].1.device.trim_start_matches('d').parse().unwrap();
        assert_eq!(twin.handoff_for(at), Some(id));
        // R + W > N holds among those that are left, the handoff included.
        places[1].0.set_down(true);
        assert_eq!(cluster.get(&name).await.unwrap(), body);
        places[0].0.set_down(false);
        places[1].0.set_down(false);
        tokio::time::advance(Duration::from_secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_node_is_asked_seldom() {
    let cluster = three().await;
    let dead = Arc::clone(cluster.twins.all().next().unwrap());
    dead.set_down(true);
    let before = dead.calls("put");
    for i in 0..100 {
        cluster.put(&object(&format!("o{i}")), "x").await.unwrap();
    }
    assert!(
        dead.calls("put") - before <= 3,
        "{} calls",
        dead.calls("put") - before
    );
    dead.set_down(false);
    tokio::time::advance(Duration::from_secs(5)).await;
    for i in 0..10 {
        cluster.put(&object(&format!("p{i}")), "x").await.unwrap();
        settle().await;
    }
    assert!(dead.calls("put") - before >= 10, "it is back at work");
}

#[tokio::test(start_paused = true)]
async fn a_silent_replica_finishes_late_without_being_waited_for() {
    let cluster = three().await;
    let name = object("o");
    let places = cluster.of_object(&name);
    let gate = Arc::new(Notify::new());
    places[2].0.set(|s| s.delay_calls = Some(Arc::clone(&gate)));
    let started = tokio::time::Instant::now();
    cluster.put(&name, "x").await.unwrap();
    assert!(
        started.elapsed() < Duration::from_millis(100),
        "{:?}",
        started.elapsed()
    );
    places[2].0.set(|s| s.delay_calls = None);
    gate.notify_waiters();
    settle().await;
    assert!(
        matches!(found(&places[2]).await, Found::Object(_)),
        "it got the object in the background"
    );
}

#[tokio::test(start_paused = true)]
async fn a_read_that_gets_no_answer_is_asked_for_elsewhere() {
    let cluster = three().await;
    let name = object("o");
    cluster.put(&name, "x").await.unwrap();
    settle().await;
    let gate = Arc::new(Notify::new());
    for silent in cluster.of_object(&name) {
        silent.0.set(|s| s.delay_calls = Some(Arc::clone(&gate)));
        let started = tokio::time::Instant::now();
        assert_eq!(cluster.get(&name).await.unwrap(), "x");
        assert!(
            started.elapsed() < Duration::from_millis(100),
            "{:?}",
            started.elapsed()
        );
        silent.0.set(|s| s.delay_calls = None);
        gate.notify_waiters();
    }
}

#[tokio::test(start_paused = true)]
async fn damage_in_the_middle_of_a_body_is_not_noticed_by_the_reader() {
    let cluster = three().await;
    let name = object("o");
    let body = bytes(EXTENT * 4);
    cluster.put_in_pieces(&name, &body, 60_000).await;
    settle().await;
    let places = cluster.of_object(&name);
    // Every replica but one, each in another extent.
    assert!(places[0].0.corrupt(&places[0].1, EXTENT / BLOCK + 3));
    assert!(places[1].0.corrupt(&places[1].1, 2 * EXTENT / BLOCK));
    assert_eq!(cluster.get(&name).await.unwrap(), body);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_small_object_is_read_from_another_replica() {
    let cluster = three().await;
    let name = object("o");
    cluster.put(&name, "precious").await.unwrap();
    settle().await;
    let places = cluster.of_object(&name);
    for (twin, at) in &places[..2] {
        assert!(twin.corrupt(at, 0));
    }
    let got = cluster.get(&name).await;
    // Two of three records are set aside while it is read; the last serves.
    assert_eq!(got.unwrap(), "precious");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_in_the_middle_of_a_body_is_replaced() {
    let cluster = three().await;
    let name = object("o");
    let body = bytes(EXTENT * 4);
    cluster.put_in_pieces(&name, &body, 60_000).await;
    settle().await;
    let mut got = cluster
        .core
        .get_object(&name, GetOptions::default())
        .await
        .unwrap();
    let first = futures_util::StreamExt::next(&mut got.body)
        .await
        .unwrap()
        .unwrap();
    let twins: Vec<_> = cluster.of_object(&name);
    let serving = twins.iter().max_by_key(|(twin, _)| twin.calls("get")).unwrap();
    serving.0.set_down(true);
    let rest = got.body.collect(usize::MAX).await.unwrap();
    assert_eq!([first, rest].concat(), body);
}

#[tokio::test(start_paused = true)]
async fn full_devices_refuse_data_and_take_deletions() {
    let cluster = three().await;
    let name = object("o");
    cluster.put(&name, "x").await.unwrap();
    for twin in cluster.twins.all() {
        twin.set(|s| s.full = true);
    }
    for size in [1, EXTENT * 2] {
        let put = cluster
            .core
            .put_object(&object("p"), NewObject::new("x/y"), whole(bytes(size)))
            .await;
        assert_eq!(
            put,
            Err(PutObjectError::Unavailable(Unavailable::Full)),
            "{size} bytes"
        );
    }
    assert!(cluster.core.delete_object(&name, None).await.unwrap().existed);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answers_were_lost_is_not_acknowledged() {
    let cluster = three().await;
    for twin in cluster.twins.all().take(2) {
        twin.set(|s| s.drop_acks = true);
    }
    let put = cluster.put(&object("o"), "x").await;
    assert!(matches!(put, Err(PutObjectError::Unavailable(_))), "{put:?}");
}

#[tokio::test(start_paused = true)]
async fn newest_asks_every_replica_and_goes_on_without_a_dead_one() {
    let cluster = three().await;
    let name = object("o");
    cluster.put(&name, "x").await.unwrap();
    settle().await;
    let places = cluster.of_object(&name);
    let heads = |places: &[_]| -> u64 {
        let calls = |(twin, _): &(Arc<virga_object_wire::twin::MemoryNode>, _)| {
            twin.calls("head") + twin.calls("get")
        };
        places.iter().map(calls).sum()
    };
    let before = heads(&places);
    let options = GetOptions {
        wanted: Wanted::All,
        newest: true,
    };
    cluster.core.get_object(&name, options).await.unwrap();
    assert_eq!(heads(&places) - before, 3);
    places[1].0.set_down(true);
    cluster.core.get_object(&name, options).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_expired_object_is_gone() {
    let cluster = three().await;
    let name = object("o");
    let now = cluster.hlc.clock().now().as_secs();
    let new = |at| NewObject {
        delete_at: Some(at),
        ..NewObject::new("x/y")
    };
    cluster
        .core
        .put_object(&name, new(now + 1000), whole("x"))
        .await
        .unwrap();
    assert!(cluster.get(&name).await.is_ok());
    cluster
        .core
        .put_object(&name, new(now.saturating_sub(1)), whole("x"))
        .await
        .unwrap();
    assert!(matches!(
        cluster.get(&name).await,
        Err(ReadObjectError::NotFound { .. })
    ));
    assert!(cluster.core.head_object(&name, false).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_single_replica_is_its_own_quorum() {
    let cluster = Cluster::with(1, 1, Settings::default()).await;
    let name = object("o");
    cluster.put(&name, "x").await.unwrap();
    assert_eq!(cluster.get(&name).await.unwrap(), "x");
    let (twin, at) = cluster.of_object(&name).remove(0);
    twin.set(|s| s.answer = Some(NodeError::Unreachable("dead".into())));
    assert!(twin.head(&at).await.is_err());
    assert!(matches!(
        cluster.get(&name).await,
        Err(ReadObjectError::Unavailable(_))
    ));
}
