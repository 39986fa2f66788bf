//! Accounts and containers over several nodes: replicas that differ become
//! equal, listings follow the ring, and what is deleted stays deleted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
mod cluster;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use cluster::{Cluster, WEEK, set, settings};
use virga_node::clock::Version;
use virga_object_server::config::WorkerSettings;
use virga_object_wire::listing::{ContainerInfo, MetaItem, ObjectRow};
use virga_object_wire::movement::RingName;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_was_away_hears_of_everything_it_missed_and_nothing_comes_back() {
    let mut cluster = Cluster::start(&[0, 1, 2], settings(50)).await;
    let all = [0, 1, 2];
    cluster.make_account(&all).await;
    for container in ["kept", "dead"] {
        cluster.make(&all, container).await;
        let rows = (0..5).map(|n| cluster.row(&format!("o{n}"))).collect();
        cluster.put_rows(&all, container, rows).await;
    }
    cluster.stop(1).await;
    let others = [0, 2];
    cluster
        .put_rows(
            &others,
            "kept",
            vec![cluster.row("new"), ObjectRow::deletion("o1", cluster.hlc.next())],
        )
        .await;
    let gone = (0..5).map(|n| ObjectRow::deletion(&format!("o{n}"), cluster.hlc.next()));
    cluster.put_rows(&others, "dead", gone.collect()).await;
    let (post, deletion) = (cluster.hlc.next(), cluster.hlc.next());
    for n in others {
        let item = MetaItem {
            name: "x-container-meta-color".into(),
            value: "red".into(),
            version: post,
        };
        let (kept, dead) = (cluster.at(n, Some("kept")), cluster.at(n, Some("dead")));
        cluster
            .node(n)
            .post_container(&kept, post, vec![item])
            .await
            .unwrap();
        cluster.node(n).delete_container(&dead, deletion).await.unwrap();
        cluster.make(&[n], "only here").await;
    }
    // What one device alone has heard of must not be lost either.
    cluster
        .put_rows(&[2], "kept", vec![cluster.row("one replica")])
        .await;
    cluster.restart(1).await;
    cluster.equal(&all).await;
    let kept = set(["o0", "o2", "o3", "o4", "new", "one replica"].map(str::to_owned));
    for n in all {
        assert_eq!(cluster.names(n, "kept").await, kept, "d{n}");
        assert_eq!(cluster.names(n, "dead").await, set([]), "d{n}");
        let (info, dead) = (cluster.info(n, "kept").await, cluster.info(n, "dead").await);
        assert_eq!((info.objects, info.meta[0].value.as_str()), (6, "red"));
        assert_eq!((dead.exists(), dead.deleted), (false, deletion));
        assert!(cluster.info(n, "only here").await.exists());
    }
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_disk_is_filled_again() {
    let mut cluster = Cluster::start(&[0, 1, 2], settings(50)).await;
    let all = [0, 1, 2];
    cluster.make_account(&all).await;
    for c in 0..12 {
        let container = format!("c{c}");
        cluster.make(&all, &container).await;
        let rows = (0..700).map(|n| cluster.row(&format!("{:03}", n * 31 % 997)));
        cluster.put_rows(&all, &container, rows.collect()).await;
    }
    cluster.equal(&all).await;
    cluster.stop(2).await;
    std::fs::remove_dir_all(cluster.folder(2)).unwrap();
    cluster.restart(2).await;
    cluster.equal(&all).await;
    for c in 0..12 {
        assert_eq!(cluster.names(2, &format!("c{c}")).await.len(), 700);
        assert_eq!(cluster.info(2, &format!("c{c}")).await.objects, 700);
    }
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_follow_the_ring_while_they_are_read_and_written() {
    let cluster = Cluster::start(&[0, 1, 2], settings(50)).await;
    let before = [0, 1, 2];
    cluster.make_account(&before).await;
    let mut names = Vec::new();
    for c in 0..10 {
        cluster.make(&before, &format!("c{c}")).await;
        let rows: Vec<_> = (0..50).map(|n| cluster.row(&format!("o{n}"))).collect();
        names = rows.iter().map(|row| row.name.clone()).collect();
        cluster.put_rows(&before, &format!("c{c}"), rows).await;
    }
    cluster.reconciled(&before).await;
    cluster.use_ring(&[1, 2, 3]);
    // Two of three stay: any two of the new primaries list everything, also
    // what is written meanwhile, whatever has arrived on the third.
    let mut round = 0;
    cluster
        .until("d0 is empty", async || {
            let late = vec![cluster.row(&format!("late{round}"))];
            names.push(format!("late{round}"));
            round += 1;
            cluster.put_rows(&[1, 2], "c0", late).await;
            for c in 0..10 {
                let expected = if c == 0 { names.len() } else { 50 };
                for pair in [[1, 3], [2, 3]] {
                    let mut seen = BTreeSet::new();
                    for n in pair {
                        seen.extend(cluster.names(n, &format!("c{c}")).await);
                    }
                    assert_eq!(seen.len(), expected, "c{c} on {pair:?}");
                }
            }
            cluster.sums(0).await.iter().all(|sum| *sum == 0)
        })
        .await;
    cluster.equal(&[1, 2, 3]).await;
    cluster.reconciled(&[0, 1, 2, 3]).await;
    assert_eq!(cluster.names(3, "c0").await, set(names));
    let left = cluster.movement(0, RingName::Container).await;
    assert_eq!(
        (left.partitions_own, left.partitions_foreign, left.partitions_left),
        (0, 0, 0)
    );
    // Whoever came first brought them: the device that leaves, or one that stays.
    let mut brought = 0;
    for n in [0, 1, 2] {
        let movement = cluster.movement(n, RingName::Container).await;
        let to = movement.pushed.into_iter().filter(|pushed| pushed.device == "d3");
        brought += to.map(|pushed| pushed.names).sum::<u64>();
    }
    assert!(brought > 0, "nobody says that it brought anything to d3");
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_while_a_device_was_out_of_the_ring_for_long_does_not_come_back_with_it() {
    let mut cluster = Cluster::start(&[0, 1, 2], settings(50)).await;
    let first = [0, 1, 2];
    cluster.make_account(&first).await;
    for container in ["c", "dead"] {
        cluster.make(&first, container).await;
        cluster
            .put_rows(&first, container, vec![cluster.row("gone"), cluster.row("kept")])
            .await;
    }
    cluster.reconciled(&first).await;
    cluster.stop(1).await;
    cluster.use_ring(&[0, 2, 3]);
    let now = [0, 2, 3];
    cluster.reconciled(&now).await;
    cluster
        .put_rows(&now, "c", vec![ObjectRow::deletion("gone", cluster.hlc.next())])
        .await;
    let dead = ["gone", "kept"].map(|name| ObjectRow::deletion(name, cluster.hlc.next()));
    cluster.put_rows(&now, "dead", dead.to_vec()).await;
    let deletion = cluster.hlc.next();
    for n in now {
        let at = cluster.at(n, Some("dead"));
        cluster.node(n).delete_container(&at, deletion).await.unwrap();
    }
    cluster.clock.advance(WEEK + Duration::from_secs(60));
    cluster.reconciled(&now).await;
    cluster
        .until("the deletions are forgotten", async || {
            let mut forgotten = true;
            for n in now {
                forgotten &= cluster.info(n, "dead").await == ContainerInfo::default();
                let horizon = cluster.movement(n, RingName::Container).await.horizon;
                forgotten &= horizon >= deletion;
            }
            forgotten
        })
        .await;
    cluster.use_ring(&[0, 1, 2]);
    cluster.restart(1).await;
    cluster.reconciled(&[0, 1, 2, 3]).await;
    cluster.equal(&[0, 1, 2]).await;
    for n in [0, 1, 2] {
        assert_eq!(cluster.names(n, "c").await, set(["kept".to_owned()]), "d{n}");
        assert_eq!(cluster.info(n, "dead").await.put, Version(0), "d{n}");
        assert_eq!(cluster.names(n, "dead").await, set([]), "d{n}");
    }
    let aside = cluster.movement(1, RingName::Container).await.set_aside;
    assert!(aside >= 4, "the rows, the head and its metadata: {aside}");
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_rows_that_differ_among_many_are_found_with_a_few_kilobytes() {
    let rows = if std::env::var_os("VIRGA_SOAK").is_some() {
        100_000
    } else {
        20_000
    };
    let cluster = Cluster::start(&[0, 1], settings(3_600_000)).await;
    cluster.make(&[0, 1], "c").await;
    let all: Vec<u32> = (0..rows).collect();
    for chunk in all.chunks(5000) {
        let row = |n: &u32| cluster.row(&format!("photos/{:08x}.jpg", n.wrapping_mul(0x9e37_79b9)));
        cluster
            .put_rows(&[0, 1], "c", chunk.iter().map(row).collect())
            .await;
    }
    let passed = || -> u64 {
        let doors = cluster.doors.iter();
        doors.map(|door| door.bytes.load(Ordering::SeqCst)).sum()
    };
    let sums = [cluster.sums(0).await, cluster.sums(1).await];
    assert_eq!(sums[0], sums[1]);
    for (n, name) in [(1, "photos/00"), (0, "photos/77"), (0, "photos/ff")] {
        cluster.put_rows(&[n], "c", vec![cluster.row(name)]).await;
    }
    let before = passed();
    // A ring that only counts further wakes everybody at once.
    cluster.use_ring(&[1, 0]);
    let node = |n: usize| &cluster.servers[n].as_ref().unwrap().progress;
    let done = |n: usize| -> u64 {
        let all = node(n).snapshot();
        let mine = all
            .into_iter()
            .filter(|worker| worker.worker == "reconcile containers");
        mine.map(|worker| worker.done).sum()
    };
    cluster
        .until("both have pushed what the other lacked", async || {
            done(0) >= 2 && done(1) >= 1
        })
        .await;
    let cost = passed() - before;
    cluster.equal(&[0, 1]).await;
    println!("{rows} rows, 3 of them new: {cost} bytes");
    assert!(cost < 64_000, "{cost} bytes");
    assert_eq!(
        (done(0), done(1)),
        (2, 1),
        "nothing but the three rows was pushed"
    );
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_heard_of_different_things_end_up_with_all_of_them() {
    let cluster = Cluster::start(&[0, 1, 2], settings(200)).await;
    let all = [0, 1, 2];
    cluster.make(&all, "c").await;
    let seed = uuid::Uuid::new_v4().as_u128() as u64;
    println!("seed {seed}");
    let mut state = seed | 1;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut newest: BTreeMap<String, bool> = BTreeMap::new();
    for _ in 0..12 {
        // Later rows are newer, so the last word on a name is what counts.
        let mut heard: [Vec<ObjectRow>; 3] = Default::default();
        for _ in 0..500 {
            let name = format!("{:04}", random(3000));
            let row = match random(4) {
                0 => ObjectRow::deletion(&name, cluster.hlc.next()),
                _ => cluster.row(&name),
            };
            newest.insert(name, row.deleted);
            // One of three hears of it, mostly two or three.
            let first = random(3) as usize;
            for n in 0..=random(3) as usize {
                heard[(first + n) % 3].push(row.clone());
            }
        }
        for (n, rows) in heard.into_iter().enumerate() {
            cluster.put_rows(&[n], "c", rows).await;
        }
    }
    cluster.reconciled(&all).await;
    cluster.equal(&all).await;
    let live = newest.into_iter().filter(|(_, deleted)| !deleted);
    let live: BTreeSet<String> = live.map(|(name, _)| name).collect();
    for n in all {
        assert_eq!(cluster.names(n, "c").await, live, "d{n}");
        assert_eq!(cluster.info(n, "c").await.objects, live.len() as u64, "d{n}");
    }
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_deleted_while_an_object_was_on_its_way_is_there_again() {
    let cluster = Cluster::start(&[0, 1, 2], settings(50)).await;
    let all = [0, 1, 2];
    cluster.make_account(&all).await;
    for container in ["raced", "really gone"] {
        cluster.make(&all, container).await;
    }
    let early = cluster.row("acknowledged");
    let deletion = cluster.hlc.next();
    for n in all {
        for container in ["raced", "really gone"] {
            let at = cluster.at(n, Some(container));
            cluster.node(n).delete_container(&at, deletion).await.unwrap();
        }
    }
    cluster.put_rows(&[0, 1], "raced", vec![early]).await;
    // One that had missed the deletion of a row brings nothing back.
    let row = cluster.row("deleted");
    let dead = ObjectRow::deletion("deleted", cluster.hlc.next());
    cluster.put_rows(&[0, 1], "really gone", vec![dead]).await;
    cluster.put_rows(&[2], "really gone", vec![row]).await;
    cluster
        .until("the container is there again", async || {
            let mut there = true;
            for n in all {
                let info = cluster.info(n, "raced").await;
                there &= info.exists() && info.objects == 1;
            }
            there
        })
        .await;
    cluster.reconciled(&all).await;
    cluster.equal(&all).await;
    cluster
        .until("the account lists it", async || {
            let mut listed = true;
            for n in all {
                listed &= cluster.containers(n).await == set(["raced".to_owned()]);
            }
            listed
        })
        .await;
    for n in all {
        assert!(!cluster.info(n, "really gone").await.exists(), "d{n}");
    }
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_whose_last_row_is_heard_to_be_deleted_while_it_is_looked_at_stays_deleted() {
    let cluster = Cluster::start(&[0, 1, 2], settings(50)).await;
    let all = [0, 1, 2];
    cluster.make_account(&all).await;
    let names: Vec<String> = (0..60).map(|n| format!("c{n}")).collect();
    for name in &names {
        cluster.make(&all, name).await;
        let deletion = cluster.hlc.next();
        for n in all {
            let at = cluster.at(n, Some(name));
            cluster.node(n).delete_container(&at, deletion).await.unwrap();
        }
    }
    cluster.equal(&all).await;
    // One replica alone missed that the row was deleted, and is told so while it
    // looks for containers that are to be made again.
    for round in 0..4 {
        let row = format!("o{round}");
        for name in &names {
            let (row, dead) = (cluster.row(&row), ObjectRow::deletion(&row, cluster.hlc.next()));
            cluster.put_rows(&[0, 1], name, vec![dead]).await;
            cluster.put_rows(&[2], name, vec![row]).await;
        }
        cluster.reconciled(&all).await;
        cluster.equal(&all).await;
    }
    for n in all {
        for name in &names {
            assert!(!cluster.info(n, name).await.exists(), "{name} on d{n} is back");
        }
    }
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_on_its_way_is_not_pushed_by_another_replica() {
    let settings = WorkerSettings {
        in_flight_ms: 60_000,
        ..settings(50)
    };
    let cluster = Cluster::start(&[0, 1, 2], settings).await;
    let all = [0, 1, 2];
    cluster.make_account(&all).await;
    cluster.make(&all, "hot").await;
    cluster.clock.advance(Duration::from_secs(120));
    cluster.reconciled(&all).await;
    let (old, new) = (cluster.row("old"), "new");
    cluster.clock.advance(Duration::from_secs(120));
    let new = cluster.row(new);
    cluster.put_rows(&[0, 1], "hot", vec![old, new]).await;
    cluster
        .until("the third replica has the row that should be there", async || {
            cluster.names(2, "hot").await.contains("old")
        })
        .await;
    assert!(!cluster.names(2, "hot").await.contains("new"));
    // Its time is over: now it is brought.
    cluster.clock.advance(Duration::from_secs(61));
    cluster.equal(&all).await;
    assert!(cluster.names(2, "hot").await.contains("new"));
    cluster.finish().await;
}
