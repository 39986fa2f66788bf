//! Devices on real folders whose files are not what they should be: refused
//! with a sentence, or opened, and never served wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use support::{body, get, open_folder, put, request};
use virga_node::clock::{Clock, Hlc, SystemClock};
use virga_object_store::device::{Device, DeviceOptions, OpenError};
use virga_object_store::rounds::LastRound;
use virga_object_wire::error::NodeError;
use virga_object_wire::status::DeviceState;

fn open(path: &Path, device: u128) -> Result<Device, OpenError> {
    let options = DeviceOptions {
        segment_size: 2 << 20,
        upkeep: false,
        ..DeviceOptions::default()
    };
    open_folder(path, (1, device), options)
}

/// A closed device with objects of 100,000 bytes.
async fn filled(path: &Path, device: u128, objects: u64) -> BTreeMap<String, Bytes> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let hlc = Hlc::new(clock);
    let open = open(path, device).unwrap();
    let mut all = BTreeMap::new();
    for n in 0..objects {
        let (name, bytes) = (format!("o{n:02}"), body(100_000, n));
        put(&open, request(&name, hlc.next(), &bytes), &bytes)
            .await
            .unwrap();
        all.insert(name, bytes);
    }
    open.close().await.unwrap();
    all
}

/// Reads everything; how many objects are whole, how many are said to be
/// damaged, how many are unknown. Anything else is a failure.
async fn census(device: &Device, all: &BTreeMap<String, Bytes>) -> (usize, usize, usize) {
    let mut counts = (0, 0, 0);
    for (name, bytes) in all {
        match get(device, name).await {
            Ok(Some(found)) => {
                assert!(found == *bytes, "{name} is served wrong");
                counts.0 += 1;
            }
            Err(NodeError::Damaged | NodeError::Device(_)) => counts.1 += 1,
            Ok(None) => counts.2 += 1,
            Err(error) => panic!("{name}: {error}"),
        }
    }
    counts
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(path.join("seg")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// The segment in which these bytes begin somewhere before `upto`.
fn holder(path: &Path, bytes: &[u8], upto: usize) -> Option<PathBuf> {
    let start = &bytes[..64];
    segments(path).into_iter().find(|file| {
        let text = fs::read(file).unwrap();
        let text = &text[..text.len().min(upto)];
        text.windows(start.len()).any(|window| window == start)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_cut_short_costs_what_lay_behind_the_cut_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let all = filled(dir.path(), 2, 12).await;
    let file = holder(dir.path(), &all["o00"], usize::MAX).expect("the first object is in a segment");
    let half = fs::metadata(&file).unwrap().len() / 4;
    fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(half)
        .unwrap();
    let device = open(dir.path(), 2).unwrap();
    let (whole, damaged, unknown) = census(&device, &all).await;
    assert!(
        whole >= 4 && damaged >= 4 && unknown == 0,
        "{whole} whole, {damaged} damaged, {unknown} unknown"
    );
    drop(device);
    // Without the index it cannot even know what is missing; the other replicas do.
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let device = open(dir.path(), 2).unwrap();
    let again = census(&device, &all).await;
    assert_eq!(again.0, whole, "{again:?}");
    assert_eq!(again.1, 0, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_segment_cut_short_lacks_is_set_aside_and_the_device_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let all = filled(dir.path(), 2, 12).await;
    let device = open(dir.path(), 2).unwrap();
    let file = holder(dir.path(), &all["o03"], usize::MAX).unwrap();
    let cut = fs::OpenOptions::new().write(true).open(&file).unwrap();
    cut.set_len(450_000).unwrap();
    let (whole, damaged, unknown) = census(&device, &all).await;
    assert!(whole >= 4 && damaged >= 4 && unknown == 0, "{whole} {damaged}");
    assert!(damaged < 10, "so many make it sick");
    assert_eq!(device.status().state, DeviceState::Active);
    // Peers see that it lacks them, and bring them.
    assert_eq!(census(&device, &all).await, (whole, 0, damaged));
    for name in all.keys() {
        let lost = get(&device, name).await.unwrap().is_none();
        if lost {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            let bytes = &all[name];
            put(&device, request(name, Hlc::new(clock).next(), bytes), bytes)
                .await
                .unwrap();
        }
    }
    assert_eq!(census(&device, &all).await, (12, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_of_another_device_is_named_and_the_device_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let all = filled(&ours, 2, 3).await;
    filled(&theirs, 3, 3).await;
    let stray = ours.join("seg").join("00000000000000ff");
    fs::copy(&segments(&theirs)[0], &stray).unwrap();
    let refused = open(&ours, 2).err().unwrap().to_string();
    assert!(
        refused.contains("00000000000000ff belongs to another device"),
        "{refused}"
    );
    fs::remove_file(stray).unwrap();
    let device = open(&ours, 2).unwrap();
    assert_eq!(census(&device, &all).await, (3, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_gone_or_garbage_is_built_anew() {
    let dir = tempfile::tempdir().unwrap();
    let all = filled(dir.path(), 2, 25).await;
    let index = dir.path().join("index");
    fs::remove_dir_all(&index).unwrap();
    let device = open(dir.path(), 2).unwrap();
    assert_eq!(census(&device, &all).await, (25, 0, 0));
    assert_eq!(
        device.last_round(0).unwrap(),
        None,
        "it does not know its last round"
    );
    device.close().await.unwrap();
    drop(device);
    for file in fs::read_dir(&index).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("MANIFEST") || name.ends_with(".sst") {
            let length = fs::metadata(&path).unwrap().len() as usize;
            fs::write(&path, vec![0xa5; length]).unwrap();
        }
    }
    let device = open(dir.path(), 2).unwrap();
    assert_eq!(census(&device, &all).await, (25, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_full_of_noise_takes_nobody_elses_objects_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let all = filled(dir.path(), 2, 30).await;
    let file = holder(dir.path(), &all["o00"], usize::MAX).unwrap();
    let length = fs::metadata(&file).unwrap().len() as usize;
    fs::write(&file, body(length, 77)).unwrap();
    let device = open(dir.path(), 2).unwrap();
    let (whole, damaged, unknown) = census(&device, &all).await;
    // Unknown rather than damaged: so the other replicas see what is missing here.
    assert!(
        whole >= 8 && damaged == 0 && unknown >= 8,
        "{whole} whole, {damaged} damaged, {unknown} unknown"
    );
    device.close().await.unwrap();
    drop(device);
    // The same if somebody deletes the file.
    let file = holder(dir.path(), &all["o29"], usize::MAX).unwrap();
    fs::remove_file(file).unwrap();
    let device = open(dir.path(), 2).unwrap();
    let (left, damaged, _) = census(&device, &all).await;
    assert!(
        left < whole && damaged == 0,
        "{left} of {whole} whole, {damaged} damaged"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_built_anew_once_for_a_segment_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let hlc = Hlc::new(clock);
    let device = open(dir.path(), 2).unwrap();
    let mut all = BTreeMap::new();
    for n in 0..4 {
        let (name, bytes) = (format!("o{n:02}"), body(3 << 20, n));
        put(&device, request(&name, hlc.next(), &bytes), &bytes)
            .await
            .unwrap();
        all.insert(name, bytes);
    }
    let small = body(1000, 9);
    put(&device, request("small", hlc.next(), &small), &small)
        .await
        .unwrap();
    device.close().await.unwrap();
    drop(device);
    // Its extents are gone, their list is not.
    fs::remove_file(holder(dir.path(), &all["o00"], usize::MAX).unwrap()).unwrap();
    let round = LastRound::default();
    for opened in 0..3 {
        let device = open(dir.path(), 2).unwrap();
        // What stands in the index alone, and goes when it is built anew.
        assert_eq!(device.last_round(0).unwrap(), (opened > 0).then_some(round));
        device.note_round(0, round).unwrap();
        let (whole, damaged, unknown) = census(&device, &all).await;
        assert!(
            whole >= 2 && unknown >= 1 && damaged == 0,
            "{whole} {damaged} {unknown}"
        );
        assert_eq!(get(&device, "small").await.unwrap(), Some(small.clone()));
        device.flush_index().await.unwrap();
        // Not closed in peace, either.
        drop(device);
    }
}
