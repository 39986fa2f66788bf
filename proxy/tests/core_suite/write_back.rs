//! What one read has shown the next one shows, whomever it asks; and what it
//! costs, and what happens where that cannot be had.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use virga_node::clock::Version;
use virga_object_wire::checked::{Checked, EXTENT};
use virga_object_wire::movement::Push;
use virga_object_wire::node::ObjectNode;
use virga_object_wire::object::{At, Found, ObjectMeta, PostMeta, PutObject, Source};
use virga_object_wire::twin::MemoryNode;
use virga_proxy::core::{ObjectName, ReadObjectError, Settings};

use crate::cluster::{Cluster, bytes, found, object, settle};

type Place = (Arc<MemoryNode>, At);

/// Three replicas and no device beside them.
async fn three() -> (Cluster, ObjectName, Vec<Place>) {
    let cluster = Cluster::with(3, 3, Settings::default()).await;
    let name = object("o");
    let places = cluster.of_object(&name);
    (cluster, name, places)
}

/// A write that only this replica took, and nobody was told of.
#[derive(Clone, Copy, Debug)]
enum Write {
    Put(usize),
    Post,
    Typed,
    Delete,
}

fn headers(of: &str) -> Vec<(String, String)> {
    vec![("x-object-meta-of".into(), of.into())]
}

fn posted(content_type: Option<&str>) -> PostMeta {
    PostMeta {
        content_type: content_type.map(str::to_owned),
        delete_at: None,
        headers: headers("post"),
    }
}

impl Write {
    async fn carry(self, cluster: &Cluster, name: &ObjectName, (twin, at): &Place) {
        let version = cluster.hlc.next();
        match self {
            Self::Put(len) => put_at(twin, at, name, version, bytes(len)).await,
            Self::Post => drop(twin.post(at, version, posted(None)).await.unwrap()),
            Self::Typed => drop(twin.post(at, version, posted(Some("x/typed"))).await.unwrap()),
            Self::Delete => drop(twin.delete(at, version, name.path()).await.unwrap()),
        }
    }
}

async fn put_at(twin: &MemoryNode, at: &At, name: &ObjectName, version: Version, body: Bytes) {
    let put = PutObject {
        version,
        size: body.len() as u64,
        blake3: *blake3::hash(&body).as_bytes(),
        meta: ObjectMeta {
            path: name.path().to_owned(),
            headers: headers("put"),
            ..ObjectMeta::default()
        },
        handoff_for: None,
        source: Source::Client,
    };
    let mut stream = twin.begin_put(at).await.unwrap();
    for piece in body.chunks(EXTENT) {
        let piece = Checked::seal(Bytes::copy_from_slice(piece));
        stream.send(piece).await.unwrap();
    }
    stream.commit(put).await.unwrap();
}

/// Everything a reader sees, in one value.
async fn look(cluster: &Cluster, name: &ObjectName) -> Option<(Bytes, ObjectMeta)> {
    let got = cluster.core.get_object(name, Default::default()).await;
    match got {
        Ok(got) => {
            let meta = got.stat.meta.clone();
            Some((got.body.collect(usize::MAX).await.unwrap(), meta))
        }
        Err(ReadObjectError::NotFound { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_read_has_shown_the_next_one_shows_though_the_one_that_had_it_is_gone() {
    let writes = [
        Write::Put(10),
        Write::Put(2 * EXTENT + 5),
        Write::Post,
        Write::Typed,
        Write::Delete,
    ];
    for (write, alone) in writes
        .into_iter()
        .flat_map(|write| [(write, 0), (write, 1), (write, 2)])
    {
        let (cluster, name, places) = three().await;
        cluster.put(&name, "old").await.unwrap();
        settle().await;
        let old = look(&cluster, &name).await;
        write.carry(&cluster, &name, &places[alone]).await;
        // Whether it is shown depends on who is asked; once it was, it stays.
        let first = look(&cluster, &name).await;
        if alone == 0 {
            assert_ne!(first, old, "{write:?}: the first one asked has it");
        }
        if first == old {
            continue;
        }
        for (away, (twin, _)) in places.iter().enumerate() {
            twin.set_down(true);
            let again = look(&cluster, &name).await;
            assert_eq!(again, first, "{write:?} at {alone}, {away} is away");
            twin.set_down(false);
            tokio::time::advance(Duration::from_secs(5)).await;
        }
        assert_eq!(cluster.core.uncertain_reads(), 0, "{write:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn headers_and_type_of_two_updates_that_two_replicas_hold_are_brought_together() {
    let (cluster, name, places) = three().await;
    cluster.put(&name, "x").await.unwrap();
    settle().await;
    places[2].0.set_down(true);
    Write::Typed.carry(&cluster, &name, &places[0]).await;
    Write::Post.carry(&cluster, &name, &places[1]).await;
    let (_, meta) = look(&cluster, &name).await.unwrap();
    assert_eq!(
        (meta.content_type.as_str(), &meta.headers),
        ("x/typed", &headers("post"))
    );
    places[2].0.set_down(false);
    tokio::time::advance(Duration::from_secs(5)).await;
    for away in [0, 1] {
        places[away].0.set_down(true);
        let (_, again) = look(&cluster, &name).await.unwrap();
        assert_eq!(again, meta, "{away} is away");
        places[away].0.set_down(false);
        tokio::time::advance(Duration::from_secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_that_agree_are_asked_once_each_and_no_more_of_them_than_a_quorum() {
    let (cluster, name, places) = three().await;
    cluster.put(&name, "x").await.unwrap();
    settle().await;
    let calls = || -> u64 {
        let all = ["get", "head", "records", "put", "push"];
        let of = |(twin, _): &Place| all.iter().map(|call| twin.calls(call)).sum::<u64>();
        places.iter().map(of).sum()
    };
    let before = calls();
    look(&cluster, &name).await;
    assert_eq!(calls() - before, 2);
    cluster.core.head_object(&name, false).await.unwrap();
    assert_eq!(calls() - before, 4);
}

#[tokio::test(start_paused = true)]
async fn what_the_third_replica_knows_too_is_brought_nowhere_before_the_answer() {
    let (cluster, name, places) = three().await;
    cluster.put(&name, "old").await.unwrap();
    settle().await;
    // As after an acknowledged write that one replica missed: it takes nothing now.
    places[1].0.set(|s| s.full = true);
    cluster.put(&name, "new").await.unwrap();
    settle().await;
    let started = tokio::time::Instant::now();
    assert_eq!(cluster.get(&name).await.unwrap(), "new");
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(cluster.core.uncertain_reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_read_is_answered_soon_though_nobody_can_be_brought_what_it_found() {
    for slow in [false, true] {
        let (cluster, name, places) = three().await;
        cluster.put(&name, "old").await.unwrap();
        settle().await;
        Write::Put(10).carry(&cluster, &name, &places[0]).await;
        for (twin, _) in &places[1..] {
            if slow {
                let wait = Duration::from_millis(900);
                twin.set(|s| s.latency = Some(Arc::new(move || wait)));
            } else {
                twin.set(|s| s.full = true);
            }
        }
        let started = tokio::time::Instant::now();
        let shown = cluster.get(&name).await.unwrap();
        assert_eq!(
            shown,
            bytes(10),
            "an answer that may be taken back is better than none"
        );
        let bound = Duration::from_secs(3);
        assert!(started.elapsed() < bound, "{:?}", started.elapsed());
        assert_eq!(cluster.core.uncertain_reads(), u64::from(!slow));
    }
}

#[tokio::test(start_paused = true)]
async fn with_one_replica_in_reach_reads_are_answered_and_counted_as_uncertain() {
    let cluster = Cluster::with(6, 3, Settings::default()).await;
    let name = object("o");
    let places = cluster.of_object(&name);
    cluster.put(&name, "x").await.unwrap();
    settle().await;
    places[1].0.set_down(true);
    places[2].0.set_down(true);
    assert_eq!(cluster.get(&name).await.unwrap(), "x");
    assert_eq!(cluster.core.uncertain_reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_brought_an_object_owes_the_row_that_its_container_has_not_got() {
    let (cluster, name, places) = three().await;
    Write::Put(10).carry(&cluster, &name, &places[0]).await;
    let owes = |(twin, at): &Place| !twin.owed(&at.device).is_empty();
    assert!(owes(&places[0]));
    assert_eq!(cluster.get(&name).await.unwrap(), bytes(10));
    // The first may be a device that leaves, and forgets what it owes with the name.
    assert!(places[1..].iter().any(owes));
}

#[tokio::test(start_paused = true)]
async fn many_readers_of_one_name_bring_a_replica_up_once() {
    let (cluster, name, places) = three().await;
    cluster.put(&name, "old").await.unwrap();
    settle().await;
    places[2].0.set_down(true);
    Write::Put(3 * EXTENT).carry(&cluster, &name, &places[0]).await;
    let latency = Duration::from_millis(5);
    places[1].0.set(|s| s.latency = Some(Arc::new(move || latency)));
    let before = places[1].0.calls("begin_put");
    let reads = (0..20).map(|_| look(&cluster, &name));
    let shown = futures_util::future::join_all(reads).await;
    let is_new = |shown: &Option<(Bytes, ObjectMeta)>| {
        shown.as_ref().is_some_and(|(body, _)| body.len() == 3 * EXTENT)
    };
    assert!(shown.iter().all(is_new));
    assert_eq!(places[1].0.calls("begin_put") - before, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_brought_keeps_its_own_metadata_apart_from_what_was_posted_to_it() {
    let (cluster, name, places) = three().await;
    for (twin, at) in &places[..2] {
        put_at(twin, at, &name, Version(5), bytes(10)).await;
    }
    // Two of three have it and were posted to; the third is brought it by a POST.
    let meta = |of: &str| PostMeta {
        headers: headers(of),
        ..PostMeta::default()
    };
    places[2].0.set_down(true);
    cluster
        .core
        .post_object(&name, meta("first"), None)
        .await
        .unwrap();
    settle().await;
    places[2].0.set_down(false);
    tokio::time::advance(Duration::from_secs(5)).await;
    places[1].0.set_down(true);
    cluster
        .core
        .post_object(&name, meta("second"), None)
        .await
        .unwrap();
    let records = places[2].0.records(&places[2].1).await.unwrap();
    assert_eq!(records.object.unwrap().meta.headers, headers("put"));
    let Some(Push::Post { update, .. }) = records.post else {
        panic!("nothing was posted")
    };
    assert_eq!(update.meta.headers, headers("second"));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_has_expired_by_one_clock_alone_is_not_deleted_on_the_others() {
    let (cluster, name, places) = three().await;
    cluster.put(&name, "x").await.unwrap();
    settle().await;
    let now = cluster.hlc.clock().now().as_secs();
    let gone = PostMeta {
        delete_at: Some(now.saturating_sub(10)),
        ..PostMeta::default()
    };
    let (twin, at) = &places[0];
    twin.post(at, cluster.hlc.next(), gone).await.unwrap();
    for _ in 0..3 {
        look(&cluster, &name).await;
        settle().await;
    }
    for place in &places[1..] {
        let records = place.0.records(&place.1).await.unwrap();
        assert!(
            records.object.is_some() && records.deletion.is_none(),
            "{records:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_that_one_replica_took_is_not_said_to_have_found_nothing() {
    let (cluster, name, places) = three().await;
    // An upload that nobody was told of: one replica has it.
    Write::Put(10).carry(&cluster, &name, &places[0]).await;
    cluster.core.post_object(&name, posted(None), None).await.unwrap();
    for place in &places[1..] {
        if let Found::Object(stat) = found(place).await {
            assert_eq!(stat.meta.headers, headers("post"));
        }
    }
    let (_, meta) = look(&cluster, &name).await.unwrap();
    assert_eq!(meta.headers, headers("post"));
}
