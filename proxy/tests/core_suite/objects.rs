//! Objects in and out while all is well, and what who asks for the newest is told
//! when it is not.
use std::time::Duration;

use virga_object_wire::checked::{BLOCK, EXTENT};
use virga_proxy::core::{GetOptions, NewObject, PutObjectError, ReadObjectError, Wanted};

use crate::cluster::{Cluster, bytes, object, pieces, settle, whole};

#[tokio::test]
async fn what_was_put_is_got_back_whatever_its_size() {
    let cluster = Cluster::new().await;
    for size in [
        0,
        1,
        4096,
        BLOCK,
        BLOCK + 1,
        EXTENT - 1,
        EXTENT,
        EXTENT + 1,
        3 * EXTENT + 5,
    ] {
        let (name, body) = (object(&format!("o{size}")), bytes(size));
        for piece in [EXTENT * 2, 70_000] {
            let new = NewObject {
                expected_size: Some(size as u64),
                ..NewObject::new("text/plain")
            };
            let stored = cluster
                .core
                .put_object(&name, new, pieces(&body, piece))
                .await
                .unwrap();
            assert_eq!(stored.size, size as u64);
            assert_eq!(
                cluster.get(&name).await.unwrap(),
                body,
                "{size} in pieces of {piece}"
            );
            let stat = cluster.core.head_object(&name, true).await.unwrap();
            assert_eq!((stat.size, stat.version), (size as u64, stored.version));
            assert_eq!(stat.meta.etag, stored.etag);
        }
    }
}

#[tokio::test]
async fn a_range_delivers_exactly_its_bytes() {
    let cluster = Cluster::new().await;
    let (name, body) = (object("o"), bytes(2 * EXTENT + 1000));
    cluster.put_in_pieces(&name, &body, 100_000).await;
    let size = body.len() as u64;
    for (wanted, from, to) in [
        (Wanted::Span(0, 1), 0, 1),
        (
            Wanted::Span(BLOCK as u64 - 1, BLOCK as u64 + 1),
            BLOCK - 1,
            BLOCK + 1,
        ),
        (Wanted::Span(5, EXTENT as u64 + 7), 5, EXTENT + 7),
        (Wanted::From(size - 3), body.len() - 3, body.len()),
        (Wanted::Last(EXTENT as u64), body.len() - EXTENT, body.len()),
        (Wanted::Last(size * 2), 0, body.len()),
        (Wanted::Span(size - 1, size * 2), body.len() - 1, body.len()),
        (Wanted::From(size), body.len(), body.len()),
    ] {
        let got = cluster.get_range(&name, wanted).await.unwrap();
        assert_eq!(got, body.slice(from..to), "{wanted:?}");
    }
    let stat = cluster.core.head_object(&name, false).await.unwrap();
    let read = cluster.core.read_range(&name, &stat, 7..BLOCK as u64 * 3);
    assert_eq!(read.collect(usize::MAX).await.unwrap(), body.slice(7..BLOCK * 3));
}

#[tokio::test]
async fn a_body_that_is_not_what_was_announced_leaves_nothing() {
    let cluster = Cluster::new().await;
    let name = object("o");
    for size in [100, EXTENT * 2] {
        let body = bytes(size);
        let announced = size as u64;
        let new = || NewObject::new("text/plain");
        let put = |new: NewObject| cluster.core.put_object(&name, new, pieces(&body, 50_000));
        let short = put(NewObject {
            expected_size: Some(announced + 1),
            ..new()
        })
        .await;
        assert_eq!(
            short,
            Err(PutObjectError::SizeMismatch {
                expected: announced + 1,
                got: announced
            })
        );
        let long = put(NewObject {
            expected_size: Some(announced - 1),
            ..new()
        })
        .await;
        assert!(
            matches!(long, Err(PutObjectError::SizeMismatch { .. })),
            "{long:?}"
        );
        let large = put(NewObject {
            max_size: announced - 1,
            ..new()
        })
        .await;
        assert_eq!(large, Err(PutObjectError::TooLarge { limit: announced - 1 }));
        let other = put(NewObject {
            expected_etag: Some("0".repeat(32)),
            ..new()
        })
        .await;
        assert!(
            matches!(other, Err(PutObjectError::EtagMismatch { .. })),
            "{other:?}"
        );
        cluster.settle().await;
        let gone = cluster.get(&name).await;
        assert_eq!(gone.unwrap_err(), ReadObjectError::NotFound { deleted: None });
    }
}

#[tokio::test]
async fn an_object_needs_a_container_and_may_be_made_only_if_absent() {
    let cluster = Cluster::new().await;
    let nowhere = virga_proxy::core::ObjectName::new("a", "nowhere", "o").unwrap();
    assert_eq!(cluster.put(&nowhere, "x").await, Err(PutObjectError::NoContainer));
    assert!(matches!(
        cluster.get(&nowhere).await,
        Err(ReadObjectError::NotFound { .. })
    ));
    let new = || NewObject {
        if_none_match_any: true,
        ..NewObject::new("text/plain")
    };
    let name = object("o");
    cluster.core.put_object(&name, new(), whole("1")).await.unwrap();
    assert_eq!(
        cluster.core.put_object(&name, new(), whole("2")).await,
        Err(PutObjectError::Exists)
    );
    cluster.core.delete_object(&name, None).await.unwrap();
    cluster.core.put_object(&name, new(), whole("3")).await.unwrap();
    assert_eq!(cluster.get(&name).await.unwrap(), "3");
}

#[tokio::test(start_paused = true)]
async fn a_read_of_the_newest_is_answered_by_a_quorum_of_members_or_not_at_all() {
    let cluster = Cluster::new().await;
    let name = object("o");
    cluster.put(&name, "old").await.unwrap();
    settle().await;
    let places = cluster.of_object(&name);
    // One of three misses the next write, and is then the only one in reach.
    places[2].0.set_down(true);
    let new = cluster.put(&name, "new").await.unwrap();
    settle().await;
    places[2].0.set_down(false);
    for (twin, _) in &places[..2] {
        twin.set_down(true);
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    // Whatever is in reach is served to who does not ask for the newest.
    let newest = |newest| GetOptions {
        newest,
        ..GetOptions::default()
    };
    assert!(cluster.core.get_object(&name, newest(false)).await.is_ok());
    for _ in 0..2 {
        let head = cluster.core.head_object(&name, true).await;
        assert!(matches!(head, Err(ReadObjectError::Unavailable(_))), "{head:?}");
        let got = cluster.core.get_object(&name, newest(true)).await.map(|_| ());
        assert!(matches!(got, Err(ReadObjectError::Unavailable(_))), "{got:?}");
    }
    // With one of the two back it is a quorum of those that belong to the name.
    places[0].0.set_down(false);
    tokio::time::advance(Duration::from_secs(60)).await;
    let stat = cluster.core.head_object(&name, true).await.unwrap();
    assert_eq!(stat.version, new.version);
}
