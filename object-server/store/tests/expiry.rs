//! Objects whose time is over: gone for readers, listed for deletion, and until
//! then there for those who ask for them all the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]
mod support;

use std::time::Duration;

use futures_util::StreamExt;
use support::{Bench, START, at, body, get, put, request};
use virga_node::clock::Version;
use virga_object_wire::checked::EXTENT;
use virga_object_wire::error::NodeError;
use virga_object_wire::node::{Read, Span};
use virga_object_wire::object::{Found, PostMeta};

#[tokio::test]
async fn an_expired_object_is_gone_at_once_and_listed_for_deletion() {
    let bench = Bench::small();
    let bytes = body(10, 5);
    let version = bench.next_version();
    let mut wanted = request("o", version, &bytes);
    wanted.meta.delete_at = Some(START + 100);
    put(bench.device(), wanted, &bytes).await.unwrap();
    assert!(bench.device().expired(10, 0).await.unwrap().is_empty());
    bench.advance(Duration::from_secs(100));
    assert_eq!(get(bench.device(), "o").await.unwrap(), None);
    assert!(bench.device().expired(10, 1).await.unwrap().is_empty());
    assert_eq!(
        bench.device().head(&at("o")).await.unwrap(),
        Found::Deleted(version)
    );
    let post = bench
        .device()
        .post(&at("o"), bench.next_version(), PostMeta::default())
        .await;
    assert_eq!(post, Err(NodeError::NotFound));
    let expired = bench.device().expired(10, 0).await.unwrap();
    assert_eq!((expired.len(), expired[0].path.as_str()), (1, "a/c/o"));
    let tombstone = Version(expired[0].stat.meta_version.0 + 1);
    let deleted = bench
        .device()
        .delete(&expired[0].at, tombstone, &expired[0].path)
        .await
        .unwrap();
    assert!(!deleted.existed, "readers saw it gone already");
    assert!(bench.device().expired(10, 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_expired_object_is_opened_and_made_to_last_until_it_is_deleted() {
    let bench = Bench::small();
    for (len, over) in [(10, START + 100), (EXTENT + 1000, START + 250)] {
        let (name, bytes) = (format!("o{len}"), body(len, 5));
        let mut wanted = request(&name, bench.next_version(), &bytes);
        wanted.meta.delete_at = Some(over);
        put(bench.device(), wanted, &bytes).await.unwrap();
        bench.advance(Duration::from_secs(150));
        let device = bench.device();
        assert_eq!(get(device, &name).await.unwrap(), None);
        let Read::Object(mut read) = device.get_expired_too(&at(&name), None).await.unwrap() else {
            panic!("{name} is not there")
        };
        assert_eq!(
            (read.stat.size, read.stat.meta.delete_at),
            (len as u64, Some(over))
        );
        let mut all = Vec::new();
        while let Some(piece) = read.body.next().await {
            all.extend_from_slice(piece.unwrap().data());
        }
        assert!(all == bytes, "{name}");
        let nothing = Some(Span { start: 0, end: 0 });
        let Read::Object(mut head) = device.get_expired_too(&at(&name), nothing).await.unwrap() else {
            panic!("{name} has no head")
        };
        assert!(
            head.body
                .next()
                .await
                .is_none_or(|piece| piece.unwrap().is_empty())
        );
        let last = PostMeta::default();
        let version = bench.next_version();
        let stat = device.post_expired_too(&at(&name), version, last).await.unwrap();
        assert_eq!((stat.meta_version, stat.meta.delete_at), (version, None));
        assert_eq!(get(device, &name).await.unwrap(), Some(bytes));
        device
            .delete(&at(&name), bench.next_version(), "a/c/o")
            .await
            .unwrap();
        let gone = device.get_expired_too(&at(&name), None).await.unwrap();
        assert!(matches!(gone, Read::Gone(Some(_))));
        let refused = device
            .post_expired_too(&at(&name), bench.next_version(), PostMeta::default())
            .await;
        assert_eq!(refused, Err(NodeError::NotFound));
    }
}

#[tokio::test]
async fn a_post_moves_the_expiry() {
    let bench = Bench::small();
    let bytes = body(10, 5);
    let mut wanted = request("o", bench.next_version(), &bytes);
    wanted.meta.delete_at = Some(START + 100);
    put(bench.device(), wanted, &bytes).await.unwrap();
    let later = PostMeta {
        delete_at: Some(START + 200),
        ..PostMeta::default()
    };
    bench
        .device()
        .post(&at("o"), bench.next_version(), later)
        .await
        .unwrap();
    bench.advance(Duration::from_secs(150));
    assert!(get(bench.device(), "o").await.unwrap().is_some());
    assert!(bench.device().expired(10, 0).await.unwrap().is_empty());
    let (never, version) = (PostMeta::default(), bench.next_version());
    bench.device().post(&at("o"), version, never).await.unwrap();
    bench.advance(Duration::from_secs(1000));
    assert!(get(bench.device(), "o").await.unwrap().is_some());
}
