//! Bytes that come with the hash they were given in this process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]
mod support;

use bytes::Bytes;
use support::{Bench, at, body, get, request};
use virga_object_wire::checked::{Checked, EXTENT, Hashed};
use virga_object_wire::error::NodeError;
use virga_object_wire::object::{PutObject, SubtreesRequest};
use virga_object_wire::tree;

fn sealed(index: u64, extent: Bytes) -> Checked {
    let value = tree::extent(index, std::slice::from_ref(&extent));
    Checked::seal_hashed(extent, Hashed::Extent { index, value })
}

#[tokio::test]
async fn an_object_with_its_hash_is_stored_as_one_without() {
    let bench = Bench::small();
    for len in [0, 4096, EXTENT] {
        let (name, bytes) = (format!("o{len}"), body(len, 1));
        let put = request(&name, bench.next_version(), &bytes);
        let with = Checked::seal_hashed(bytes.clone(), Hashed::Object(put.blake3));
        bench.device().put(&at(&name), put, with).await.unwrap();
        assert_eq!(get(bench.device(), &name).await.unwrap(), Some(bytes), "{len}");
    }
}

#[tokio::test]
async fn a_hash_that_is_not_the_announced_one_is_not_believed() {
    let bench = Bench::small();
    let bytes = body(4096, 2);
    let put = request("o", bench.next_version(), &bytes);
    // Of an extent: says nothing of an object, so the bytes are hashed, and are fine.
    let extent = sealed(0, bytes.clone());
    bench.device().put(&at("o"), put.clone(), extent).await.unwrap();
    let lie = PutObject {
        blake3: [9; 32],
        version: bench.next_version(),
        ..put.clone()
    };
    let honest = Checked::seal_hashed(bytes.clone(), Hashed::Object(put.blake3));
    let refused = bench.device().put(&at("o"), lie, honest).await;
    assert_eq!(refused, Err(NodeError::Garbled));
    assert_eq!(get(bench.device(), "o").await.unwrap(), Some(bytes));
}

#[tokio::test]
async fn extents_with_and_without_their_values_make_the_same_object() {
    let bench = Bench::small();
    let bytes = body(5 * EXTENT + 777, 3);
    let extent = |index: usize| bytes.slice(index * EXTENT..bytes.len().min((index + 1) * EXTENT));
    let mut stream = bench.device().begin_put(&at("o")).await.unwrap();
    stream.send(sealed(0, extent(0))).await.unwrap();
    stream.send(Checked::seal(extent(1))).await.unwrap();
    // In two pieces, each of which claims to be something whole.
    let (left, right) = (extent(2).slice(..EXTENT / 2), extent(2).slice(EXTENT / 2..));
    stream.send(sealed(2, left)).await.unwrap();
    stream.send(sealed(2, right)).await.unwrap();
    // The value of another place in the object.
    let elsewhere = Hashed::Extent {
        index: 7,
        value: [7; 32],
    };
    let misplaced = Checked::seal_hashed(extent(3), elsewhere);
    stream.send(misplaced).await.unwrap();
    stream.send(sealed(4, extent(4))).await.unwrap();
    stream.send(sealed(5, extent(5))).await.unwrap();
    let put = request("o", bench.next_version(), &bytes);
    stream.commit(put.clone()).await.unwrap();
    assert_eq!(get(bench.device(), "o").await.unwrap(), Some(bytes.clone()));
    let wanted = SubtreesRequest {
        version: put.version,
        blake3: put.blake3,
        first: 0,
        count: 6,
    };
    let stored = bench.device().subtrees(&at("o"), wanted).await.unwrap();
    let values: Vec<_> = (0..6)
        .map(|index| tree::extent(index as u64, &[extent(index)]))
        .collect();
    assert_eq!(stored, values);
}

#[tokio::test]
async fn extents_that_do_not_make_the_announced_hash_are_refused() {
    let bench = Bench::small();
    let bytes = body(2 * EXTENT, 4);
    let mut stream = bench.device().begin_put(&at("o")).await.unwrap();
    stream.send(sealed(0, bytes.slice(..EXTENT))).await.unwrap();
    let wrong = Hashed::Extent {
        index: 1,
        value: [1; 32],
    };
    let second = Checked::seal_hashed(bytes.slice(EXTENT..), wrong);
    stream.send(second).await.unwrap();
    let put = request("o", bench.next_version(), &bytes);
    assert_eq!(stream.commit(put).await, Err(NodeError::Garbled));
    assert_eq!(get(bench.device(), "o").await, Ok(None));
}
