//! A device on a real folder, with its own threads.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]
mod support;

use std::path::Path;
use std::sync::Arc;

use support::{at, body, get, open_folder, put, request};
use virga_disk::device::OpenDeviceError;
use virga_node::clock::{Clock, Hlc, SystemClock};
use virga_object_store::device::{Device, DeviceOptions, OpenError};
use virga_object_wire::checked::EXTENT;
use virga_object_wire::error::NodeError;
use virga_object_wire::status::DeviceState;

fn open(path: &Path, cluster: u128) -> Result<Device, OpenError> {
    let options = DeviceOptions {
        segment_size: 8 << 20,
        ..DeviceOptions::default()
    };
    open_folder(path, (cluster, 2), options)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_device_has_everything_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let hlc = Hlc::new(clock);
    let device = open(dir.path(), 1).unwrap();
    let (small, large) = (body(5000, 1), body(2 * EXTENT + 3, 2));
    put(&device, request("small", hlc.next(), &small), &small)
        .await
        .unwrap();
    put(&device, request("large", hlc.next(), &large), &large)
        .await
        .unwrap();
    device.delete(&at("gone"), hlc.next(), "a/c/gone").await.unwrap();
    let in_use = open(dir.path(), 1).err();
    assert!(
        matches!(in_use, Some(OpenError::Folder(OpenDeviceError::InUse(_)))),
        "{in_use:?}"
    );
    device.close().await.unwrap();
    let late = put(&device, request("late", hlc.next(), &small), &small).await;
    assert!(matches!(late, Err(NodeError::Device(_))), "{late:?}");
    let stats = device.stats();
    drop(device);
    let other = open(dir.path(), 9).err();
    assert!(
        matches!(
            other,
            Some(OpenError::Folder(OpenDeviceError::OtherCluster { .. }))
        ),
        "{other:?}"
    );
    let device = open(dir.path(), 1).unwrap();
    assert_eq!(device.stats(), stats);
    assert_eq!(get(&device, "small").await.unwrap(), Some(small));
    assert_eq!(get(&device, "large").await.unwrap(), Some(large));
    assert_eq!(device.status().state, DeviceState::Active);
}
