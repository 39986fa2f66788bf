//! What a device does when its disk fails it (I1, I3, I4, I8, I10).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]
mod support;

use futures_util::StreamExt;
use futures_util::future::join_all;
use support::{Bench, at, body, get, put, request};
use virga_disk::io::Disk;
use virga_disk::io::fault::Fault;
use virga_disk::log::QUEUE_BYTES;
use virga_object_wire::checked::{Checked, EXTENT};
use virga_object_wire::error::NodeError;
use virga_object_wire::node::Read;
use virga_object_wire::object::Found;
use virga_object_wire::status::DeviceState;

async fn store(bench: &Bench, name: &str, len: usize) -> bytes::Bytes {
    let bytes = body(len, at(name).hash.leading().into());
    bench.store(name, &bytes).await;
    bytes
}

#[tokio::test]
async fn i1_i4_a_write_whose_sync_failed_is_written_elsewhere_before_it_is_acknowledged() {
    let mut bench = Bench::small();
    let before = store(&bench, "before", 5000).await;
    bench.disk.inject(Fault::SyncFails, 0);
    let after = store(&bench, "after", 5000).await;
    assert_eq!(bench.disk.violations(), 0);
    bench.crash(3);
    assert_eq!(get(bench.device(), "before").await.unwrap(), Some(before));
    assert_eq!(get(bench.device(), "after").await.unwrap(), Some(after));
}

#[tokio::test]
async fn i1_a_device_whose_syncs_keep_failing_takes_nothing_more_and_still_serves() {
    let mut bench = Bench::small();
    let before = store(&bench, "before", 5000).await;
    for _ in 0..20 {
        bench.disk.inject(Fault::SyncFails, 0);
    }
    let bytes = body(10, 1);
    for round in 0..20 {
        let answer = put(bench.device(), request("o", bench.next_version(), &bytes), &bytes).await;
        if answer.is_err() {
            break;
        }
        assert!(round < 19, "no failure was noticed");
    }
    assert_eq!(bench.device().status().state, DeviceState::ReadOnly);
    let refused = put(bench.device(), request("p", bench.next_version(), &bytes), &bytes).await;
    assert!(matches!(refused, Err(NodeError::Device(_))), "{refused:?}");
    assert_eq!(get(bench.device(), "before").await.unwrap(), Some(before.clone()));
    bench.crash(4);
    assert_eq!(bench.device().status().state, DeviceState::Active);
    assert_eq!(get(bench.device(), "before").await.unwrap(), Some(before));
}

#[tokio::test]
async fn i3_a_rotten_record_is_refused_set_aside_and_its_neighbours_are_served() {
    let bench = Bench::small();
    let left = store(&bench, "left", 5000).await;
    let rotten = store(&bench, "rotten", 5000).await;
    let right = store(&bench, "right", 5000).await;
    let digests = bench
        .device()
        .bucket_sums(0, at("rotten").partition)
        .await
        .unwrap();
    assert_eq!(bench.rot(&rotten[100..164]), 1);
    assert_eq!(get(bench.device(), "rotten").await, Err(NodeError::Damaged));
    assert_eq!(bench.device().head(&at("rotten")).await.unwrap(), Found::Absent);
    assert_ne!(
        bench
            .device()
            .bucket_sums(0, at("rotten").partition)
            .await
            .unwrap(),
        digests,
        "peers must see the loss"
    );
    assert_eq!(bench.device().stats().quarantined, 1);
    assert_eq!(bench.device().stats().objects, 2);
    assert_eq!(get(bench.device(), "left").await.unwrap(), Some(left));
    assert_eq!(get(bench.device(), "right").await.unwrap(), Some(right));
    // The peers' copy comes back under the very version that was lost.
    let again = store(&bench, "rotten", 5000).await;
    assert_eq!(get(bench.device(), "rotten").await.unwrap(), Some(again));
}

#[tokio::test]
async fn i3_rot_in_a_later_extent_ends_the_body_with_damaged() {
    let bench = Bench::small();
    let bytes = store(&bench, "large", 4 * EXTENT).await;
    let spot = 3 * EXTENT + 500;
    assert_eq!(bench.rot(&bytes[spot..spot + 64]), 1);
    let Read::Object(mut read) = bench.device().get(&at("large"), None).await.unwrap() else {
        panic!("not found")
    };
    for extent in 0..3 {
        let piece = read.body.next().await.unwrap().unwrap();
        assert_eq!(piece.data()[..], bytes[extent * EXTENT..(extent + 1) * EXTENT]);
    }
    assert_eq!(read.body.next().await, Some(Err(NodeError::Damaged)));
    assert_eq!(bench.device().head(&at("large")).await.unwrap(), Found::Absent);
}

#[tokio::test]
async fn i3_a_bit_that_flips_on_the_way_only_is_read_again() {
    let bench = Bench::small();
    let bytes = store(&bench, "o", 50_000).await;
    for _ in 0..10 {
        bench.disk.inject(Fault::ReadFlips, 0);
        assert_eq!(get(bench.device(), "o").await.unwrap(), Some(bytes.clone()));
    }
    assert_eq!(bench.device().stats().quarantined, 0);
}

#[tokio::test]
async fn many_damaged_records_make_the_device_read_only() {
    let bench = Bench::small();
    for n in 0..10 {
        let bytes = store(&bench, &format!("o{n}"), 2000).await;
        assert_eq!(bench.rot(&bytes[10..74]), 1);
        assert_eq!(bench.device().status().state, DeviceState::Active, "after {n}");
        assert_eq!(
            get(bench.device(), &format!("o{n}")).await,
            Err(NodeError::Damaged)
        );
    }
    assert_eq!(bench.device().status().state, DeviceState::ReadOnly);
}

/// Names and bodies that fill some segments of `hot` to the brim.
async fn fill(bench: &Bench, from: u64, objects: u64) -> Vec<(String, bytes::Bytes)> {
    let mut stored = Vec::new();
    for n in from..from + objects {
        let name = format!("o{n}");
        let bytes = store(bench, &name, 250_000).await;
        stored.push((name, bytes));
    }
    stored
}

#[tokio::test]
async fn three_damaged_records_in_a_segment_have_the_others_moved_out_of_it() {
    let bench = Bench::small();
    let stored = fill(&bench, 0, 40).await;
    assert_eq!(bench.device().compact().await.unwrap(), None, "nothing is dead");
    for (nth, (name, bytes)) in stored[..3].iter().enumerate() {
        assert_eq!(bench.device().status().work, [], "after {nth}");
        assert_eq!(bench.device().compact().await.unwrap(), None, "after {nth}");
        assert_eq!(bench.rot(&bytes[5000..5064]), 1);
        assert_eq!(get(bench.device(), name).await, Err(NodeError::Damaged));
    }
    let work = bench.device().status().work;
    assert_eq!(
        (work[0].duty.as_str(), work[0].left),
        ("empty damaged segments", 1)
    );
    assert_eq!(bench.device().status().state, DeviceState::Active);
    let files = bench.disk.list().unwrap();
    let done = bench.device().compact().await.unwrap().unwrap();
    assert!(done.moved >= 10 && done.released, "{done:?}");
    assert_eq!(bench.device().status().work, []);
    let left = bench.disk.list().unwrap();
    assert!(
        files.iter().any(|file| !left.contains(file)),
        "its file is not used again"
    );
    for (name, bytes) in &stored[3..] {
        assert_eq!(
            get(bench.device(), name).await.unwrap(),
            Some(bytes.clone()),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_damaged_segment_that_is_being_written_is_left_by_its_stream() {
    let bench = Bench::small();
    let stored = fill(&bench, 0, 5).await;
    for (name, bytes) in &stored[..3] {
        assert_eq!(bench.rot(&bytes[5000..5064]), 1);
        assert_eq!(get(bench.device(), name).await, Err(NodeError::Damaged));
    }
    assert_eq!(bench.device().compact().await.unwrap(), None, "it is in use");
    let next = fill(&bench, 5, 1).await;
    let done = bench.device().compact().await.unwrap().unwrap();
    assert_eq!((done.moved, done.released), (2, true));
    for (name, bytes) in stored[3..].iter().chain(&next) {
        assert_eq!(
            get(bench.device(), name).await.unwrap(),
            Some(bytes.clone()),
            "{name}"
        );
    }
    assert_eq!(bench.device().compact().await.unwrap(), None);
}

#[tokio::test]
async fn what_the_scrub_finds_rotten_and_can_still_save_wears_a_segment_too() {
    let bench = Bench::small();
    let stored = fill(&bench, 0, 40).await;
    for (_, bytes) in &stored[..3] {
        assert_eq!(bench.rot(&bytes[5000..5064]), 1);
    }
    while !bench.device().scrub().await.unwrap().unwrap().pass_done {}
    let done = bench.device().compact().await.unwrap().unwrap();
    assert!(done.moved >= 10 && done.released, "{done:?}");
    for (name, bytes) in &stored[3..] {
        assert_eq!(
            get(bench.device(), name).await.unwrap(),
            Some(bytes.clone()),
            "{name}"
        );
    }
}

#[tokio::test]
async fn i8_a_full_device_refuses_data_takes_deletes_and_recovers_by_compaction() {
    const SEGMENT: u64 = 4 << 20;
    let bench = Bench::new(16 * SEGMENT, SEGMENT, 9);
    let mut stored = Vec::new();
    for n in 0..200 {
        let name = format!("o{n}");
        let bytes = body(400_000, n);
        match put(
            bench.device(),
            request(&name, bench.next_version(), &bytes),
            &bytes,
        )
        .await
        {
            Ok(()) => stored.push((name, bytes)),
            Err(NodeError::Full) => break,
            Err(error) => panic!("{error}"),
        }
        bench.device().measure().unwrap();
    }
    assert!((40..200).contains(&stored.len()), "{} fitted", stored.len());
    assert_eq!(bench.device().status().state, DeviceState::ReadOnly);
    let begin = bench.device().begin_put(&at("large")).await;
    assert!(matches!(begin, Err(NodeError::Full)));
    let doomed = stored.split_off(5);
    for (name, _) in &doomed {
        let path = format!("a/c/{name}");
        assert!(
            bench
                .device()
                .delete(&at(name), bench.next_version(), &path)
                .await
                .unwrap()
                .existed
        );
    }
    let mut released = 0;
    while let Some(done) = bench.device().compact().await.unwrap() {
        released += u32::from(done.released);
    }
    assert!(released >= 4, "{released} segments came back");
    bench.device().measure().unwrap();
    assert_eq!(bench.device().status().state, DeviceState::Active);
    store(&bench, "new", 400_000).await;
    for (name, bytes) in stored {
        assert_eq!(get(bench.device(), &name).await.unwrap(), Some(bytes), "{name}");
    }
}

#[tokio::test]
async fn i10_what_is_queued_stays_within_its_bound_however_many_come() {
    let bench = Bench::new(512 << 20, 16 << 20, 5);
    let bytes = body(EXTENT, 1);
    let most = std::sync::atomic::AtomicU64::new(0);
    let puts = (0..64).map(|n| {
        let (bench, bytes, most) = (&bench, bytes.clone(), &most);
        async move {
            let name = format!("o{n}");
            bench.store(&name, &bytes).await;
            most.fetch_max(
                bench.device().stats().queued,
                std::sync::atomic::Ordering::Relaxed,
            );
        }
    });
    let mut large = bench.device().begin_put(&at("large")).await.unwrap();
    let upload = async {
        for _ in 0..40 {
            large.send(Checked::seal(bytes.clone())).await.unwrap();
            most.fetch_max(
                bench.device().stats().queued,
                std::sync::atomic::Ordering::Relaxed,
            );
        }
    };
    tokio::join!(join_all(puts), upload);
    let most = most.into_inner();
    // The hot queue is bounded in bytes; one upload has at most 8 extents and
    // their descriptors under way. One record may pass the line.
    let bound = (QUEUE_BYTES + 10 * (EXTENT + 4096)) as u64;
    assert!(most > 0 && most <= bound, "{most} bytes queued, bound {bound}");
    assert_eq!(bench.device().stats().objects, 64);
    assert!(bench.disk.syncs() > 0 && bench.disk.list().unwrap().len() > 1);
}
