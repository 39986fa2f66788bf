//! A proxy that missed a ring change: nodes refuse it, it gets the newer ring
//! from them by itself, and its requests go on.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use virga_object_wire::fence::RingFence;
use virga_object_wire::listing::ListRequest;
use virga_object_wire::movement::RingName;
use virga_proxy::core::{
    BodyError, ContainerName, GetOptions, NewObject, ObjectName, PutObjectError, ReadObjectError, Unavailable,
};
use virga_ring::RingHandle;

use crate::fleet::{Chance, Fleet, Plan, settings};

const MIB: usize = 1 << 20;

fn container() -> ContainerName {
    ContainerName::new("a", "c").unwrap()
}

fn object(name: &str) -> ObjectName {
    ObjectName::new("a", "c", name).unwrap()
}

/// All nodes go by `plan` from now on, and honour no other ring.
fn move_nodes(fleet: &Fleet, plan: &Plan) {
    for id in 0..fleet.devices {
        let handle = Arc::new(RingHandle::new(plan.ring()));
        let rings = [RingName::Account, RingName::Container, RingName::Object(0)];
        let handles = || rings.map(|ring| (ring, Arc::clone(&handle)));
        let fence = RingFence::new(handles(), Duration::ZERO);
        fleet.twin(id).set_fence(fence, handles());
    }
}

/// Three proxies on the first ring that have made a container; nodes on the
/// next, in which device 0 has no part.
async fn left_behind(doors: usize) -> (Fleet, Plan) {
    let fleet = Fleet::new(6, &vec![0; doors], false, &settings());
    for door in &fleet.doors {
        door.core
            .put_container(&container(), None, Vec::new())
            .await
            .unwrap();
    }
    let next = Plan::first(6).without(0);
    move_nodes(&fleet, &next);
    (fleet, next)
}

fn body(bytes: Vec<u8>) -> impl futures_util::Stream<Item = Result<Bytes, BodyError>> {
    let pieces: Vec<_> = bytes
        .chunks(100_000)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    stream::iter(pieces)
}

async fn content(fleet: &Fleet, door: usize, name: &str) -> Vec<u8> {
    let core = &fleet.doors[door].core;
    let mut got = core
        .get_object(&object(name), GetOptions::default())
        .await
        .unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = got.body.next().await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    bytes
}

#[tokio::test(start_paused = true)]
async fn every_operation_of_a_proxy_that_was_left_behind_heals_it_and_goes_on() {
    // One proxy for each operation: the first that is refused heals.
    let (fleet, next) = left_behind(8).await;
    let cores: Vec<_> = fleet.doors.iter().map(|door| &door.core).collect();
    let small = |n: u8| vec![n; 4096];
    let large: Vec<u8> = (0..5 * MIB + 77).map(|n| (n / 9973) as u8).collect();
    let new = || NewObject::new("text/plain");

    cores[0]
        .put_object(&object("small"), new(), body(small(7)))
        .await
        .unwrap();
    cores[1]
        .put_object(&object("large"), new(), body(large.clone()))
        .await
        .unwrap();
    cores[2]
        .put_object(&object("middle"), new(), body(large[..2 * MIB].to_vec()))
        .await
        .unwrap();
    assert_eq!(content(&fleet, 3, "small").await, small(7));
    let stat = cores[4].head_object(&object("large"), true).await.unwrap();
    assert_eq!(stat.size, large.len() as u64);
    let list = ListRequest {
        limit: 100,
        ..ListRequest::default()
    };
    let listing = cores[5].list_container(&container(), list).await.unwrap();
    assert_eq!(listing.entries.len(), 3);
    assert!(
        cores[6]
            .delete_object(&object("middle"), None)
            .await
            .unwrap()
            .existed
    );
    let other = ContainerName::new("b", "c").unwrap();
    assert!(
        cores[7]
            .put_container(&other, None, Vec::new())
            .await
            .unwrap()
            .created
    );

    for door in &fleet.doors {
        assert_eq!(door.ring.current().version(), 2);
        assert_eq!(
            door.ring.in_use().previous.len(),
            1,
            "the ring before still counts"
        );
    }
    // What they wrote is where the next ring wants it, for one who knows that ring alone.
    let ring = next.ring();
    for name in ["small", "large"] {
        for id in fleet.primaries(&ring, &object(name)) {
            assert!(id != 0);
            let found = fleet.knows(id, &ring, &object(name)).await.unwrap();
            assert!(found.version().0 > 0, "{name} is not on device {id}");
        }
    }
    assert_eq!(content(&fleet, 0, "large").await, large);
}

#[tokio::test(start_paused = true)]
async fn while_one_node_knows_the_next_ring_an_old_proxy_goes_on_and_hears_of_it_in_passing() {
    let fleet = Fleet::new(6, &[0], false, &settings());
    let core = &fleet.doors[0].core;
    core.put_container(&container(), None, Vec::new()).await.unwrap();
    let next = Plan::first(6).without(0);
    let name = object("o");
    let first = fleet.primaries(&Plan::first(6).ring(), &name)[0];
    let handle = Arc::new(RingHandle::new(next.ring()));
    let rings = [(RingName::Object(0), Arc::clone(&handle))];
    let fence = RingFence::new(rings.clone(), Duration::ZERO);
    fleet.twin(first).set_fence(fence, rings);
    core.put_object(&name, NewObject::new("a/b"), body(vec![1; 10]))
        .await
        .unwrap();
    assert_eq!(content(&fleet, 0, "o").await, vec![1; 10]);
    for _ in 0..1000 {
        if fleet.doors[0].ring.current().version() == 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it has not heard of the ring");
}

#[tokio::test(start_paused = true)]
async fn a_garbled_ring_is_not_taken_and_the_client_hears_why_nothing_goes() {
    let (fleet, _) = left_behind(1).await;
    for id in 0..fleet.devices {
        fleet.twin(id).set_ring_file(vec![0x1f, 0x8b, 8, 0, 1, 2, 3]);
    }
    let core = &fleet.doors[0].core;
    // The container's info is known from before for a second.
    let put = core
        .put_object(&object("o"), NewObject::new("a/b"), body(vec![1; 10]))
        .await;
    let Err(PutObjectError::Unavailable(Unavailable::NoQuorum { why, .. })) = put else {
        panic!("{put:?}");
    };
    assert!(why.contains("given up for version 2"), "{why}");
    assert_eq!(fleet.doors[0].ring.current().version(), 1);
    let got = core.get_object(&object("o"), GetOptions::default()).await;
    assert!(matches!(got, Err(ReadObjectError::Unavailable(_))), "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_outlives_its_ring_is_brought_to_the_next() {
    let fleet = Fleet::new(6, &[0], false, &settings());
    let core = &fleet.doors[0].core;
    core.put_container(&container(), None, Vec::new()).await.unwrap();
    let next = Plan::first(6).next(&Chance::new(5)).without(0);
    let (sends, receives) = tokio::sync::mpsc::channel::<Result<Bytes, BodyError>>(1);
    let source = stream::unfold(receives, |mut receives| async {
        Some((receives.recv().await?, receives))
    });
    let name = object("long");
    let source = Box::pin(source);
    let upload = core.put_object(&name, NewObject::new("a/b"), source);
    let feed = async {
        for n in 0..6 {
            sends.send(Ok(Bytes::from(vec![n; MIB]))).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        // All nodes move on, and give the ring of the upload up.
        move_nodes(&fleet, &next);
        sends.send(Ok(Bytes::from(vec![9; MIB]))).await.unwrap();
        drop(sends);
    };
    let (stored, ()) = tokio::join!(upload, feed);
    let stored = stored.unwrap();
    let ring = next.ring();
    let mut have = 0;
    for id in fleet.primaries(&ring, &name) {
        let found = fleet.knows(id, &ring, &name).await.unwrap();
        have += usize::from(found.version() == stored.version);
    }
    assert!(have >= 2, "{have} of the new primaries have it");
    assert_eq!(content(&fleet, 0, "long").await.len(), 7 * MIB);
}
