//! The node over real devices: the same answers as the reference in memory,
//! before and after a restart, and one device's failure is its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
mod behaviour;

use std::path::Path;
use std::sync::Arc;

use behaviour::{NOW, Step, at, bytes, carry, put, read, steps};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;
use virga_node::clock::{Clock, ManualClock};
use virga_object_server::Config;
use virga_object_server::config::{DeviceEntry, WorkerSettings};
use virga_object_server::local::LocalNode;
use virga_object_wire::checked::{Checked, EXTENT};
use virga_object_wire::error::NodeError;
use virga_object_wire::hold::Hold;
use virga_object_wire::node::ObjectNode;
use virga_object_wire::object::At;
use virga_object_wire::status::DeviceState;
use virga_object_wire::twin::MemoryNode;

fn config(root: &Path, devices: &[&str]) -> Config {
    let entry = |name: &&str| DeviceEntry {
        name: (*name).to_owned(),
        path: root.join(name),
    };
    Config {
        listen: Some("127.0.0.1:0".parse().unwrap()),
        advertise: None,
        cluster: Uuid::from_u128(7),
        secret: "the secret of these tests".into(),
        devices: devices.iter().map(entry).collect(),
        cache_bytes: 8 << 20,
        segment_bytes: Some(8 << 20),
        workers: WorkerSettings::default(),
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(NOW))
}

async fn open(config: &Config) -> LocalNode {
    LocalNode::open(config, &clock()).await
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var_os("VIRGA_SOAK").is_some() { 500 } else { 12 }, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn devices_answer_as_the_reference_does_across_restarts(
        lives in vec(vec(steps(), 1..60), 1..4),
        clean in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let root = tempfile::tempdir().unwrap();
            let config = config(root.path(), &["d1"]);
            let reference = MemoryNode::with_clock(["d1"], clock());
            for steps in lives {
                let node = open(&config).await;
                prop_assert!(node.failed().is_empty(), "{:?}", node.failed());
                let again = (0..3).map(|n| Step::Read { n, span: None });
                for (n, step) in again.clone().chain(steps).chain(again).enumerate() {
                    let expected = carry(&reference, step.clone()).await;
                    let got = carry(&node, step.clone()).await;
                    prop_assert_eq!(got, expected, "step {}: {:?}", n, step);
                }
                if clean {
                    node.close().await;
                }
            }
            Ok(())
        })?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_does_not_open_takes_no_other_with_it() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("d2"), b"a file where a folder should be").unwrap();
    let node = open(&config(root.path(), &["d1", "d2"])).await;
    assert_eq!(node.failed().len(), 1);
    let body = bytes(100, 1);
    let bad = At {
        device: "d2".into(),
        ..at(1)
    };
    let refused = node
        .put(&bad, put(1, &body), Checked::seal(body.clone().into()))
        .await;
    assert_eq!(refused, Err(NodeError::NoDevice("d2".into())));
    node.put(&at(1), put(1, &body), Checked::seal(body.into()))
        .await
        .unwrap();
    let states: Vec<_> = node
        .status()
        .await
        .unwrap()
        .into_iter()
        .map(|s| (s.device, s.state))
        .collect();
    assert_eq!(
        states,
        [
            ("d1".to_owned(), DeviceState::Active),
            ("d2".to_owned(), DeviceState::Failed)
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_survives_a_restart_without_a_clean_close() {
    let root = tempfile::tempdir().unwrap();
    let config = config(root.path(), &["d1"]);
    let body = bytes(3 * EXTENT + 12_345, 5);
    let before = {
        let node = open(&config).await;
        let mut stream = node.begin_put(&at(1)).await.unwrap();
        for piece in body.chunks(EXTENT) {
            stream.send(Checked::seal(piece.to_vec().into())).await.unwrap();
        }
        stream.commit(put(5, &body)).await.unwrap();
        read(&node, &at(1), None).await.unwrap()
    };
    let node = open(&config).await;
    assert_eq!(read(&node, &at(1), None).await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_held_by_one_at_a_time_and_only_where_its_device_works() {
    let root = tempfile::tempdir().unwrap();
    let node = open(&config(root.path(), &["d1"])).await;
    let [one, other] = [1, 2].map(|holder| Hold {
        holder,
        lease_ms: 60_000,
    });
    assert_eq!(node.hold(&at(1), one).await, Ok(true));
    assert_eq!(node.hold(&at(1), other).await, Ok(false));
    assert_eq!(node.hold(&at(2), other).await, Ok(true), "another name");
    let gone = Hold { lease_ms: 0, ..one };
    assert_eq!(node.hold(&at(1), gone).await, Ok(true));
    assert_eq!(node.hold(&at(1), other).await, Ok(true));
    let nowhere = At {
        device: "d2".into(),
        ..at(1)
    };
    let refused = node.hold(&nowhere, one).await;
    assert_eq!(refused, Err(NodeError::NoDevice("d2".into())));
}
