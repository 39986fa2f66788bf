//! Writes that meet: slow clocks, overtaking, clients that go away, and the
//! bound on what an upload holds.
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::{Notify, mpsc};
use virga_node::clock::Version;
use virga_object_wire::checked::{Checked, EXTENT};
use virga_object_wire::node::ObjectNode;
use virga_object_wire::object::{At, Found, PostMeta, PutObject, Source};
use virga_object_wire::twin::MemoryNode;
use virga_proxy::core::{
    BodyError, DeleteObjectError, NewObject, PostObjectError, PutObjectError, ReadObjectError, Settings,
};

use crate::cluster::{Cluster, bytes, found, object, pieces, settle, whole};

/// A version half a minute ahead, as a proxy with a fast clock gives out.
fn ahead(cluster: &Cluster) -> Version {
    Version::at(cluster.hlc.clock().now().plus(Duration::from_secs(30)))
}

fn at_version(version: Version) -> NewObject {
    NewObject {
        version: Some(version),
        ..NewObject::new("text/plain")
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_clock_does_not_lose_an_acknowledged_write() {
    let cluster = Cluster::new().await;
    for (size, name) in [(10, object("small")), (EXTENT * 2, object("large"))] {
        let fast = ahead(&cluster);
        cluster
            .core
            .put_object(&name, at_version(fast), whole("from the fast clock"))
            .await
            .unwrap();
        settle().await;
        let body = bytes(size);
        let stored = cluster.put_in_pieces(&name, &body, 60_000).await;
        assert!(stored.version > fast, "restamped");
        assert_eq!(cluster.get(&name).await.unwrap(), body);
        let deleted = cluster.core.delete_object(&name, None).await.unwrap();
        assert!(deleted.existed && deleted.version > fast);
        assert!(cluster.get(&name).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_was_asked_for_is_not_restamped() {
    let cluster = Cluster::new().await;
    for size in [10, EXTENT * 2] {
        let name = object(&format!("o{size}"));
        let newer = cluster.hlc.next();
        let old = Version::at(cluster.hlc.clock().now().plus(Duration::from_secs(1)));
        let new = ahead(&cluster);
        assert!(newer < old && old < new);
        cluster
            .core
            .put_object(&name, at_version(new), whole("new"))
            .await
            .unwrap();
        settle().await;
        let put = cluster
            .core
            .put_object(&name, at_version(old), pieces(&bytes(size), 60_000))
            .await;
        assert_eq!(put, Err(PutObjectError::Newer(new)));
        assert_eq!(
            cluster.core.delete_object(&name, Some(old)).await,
            Err(DeleteObjectError::Newer(new))
        );
        let post = cluster
            .core
            .post_object(&name, PostMeta::default(), Some(old))
            .await;
        assert_eq!(post.unwrap_err(), PostObjectError::Newer(new));
        assert_eq!(cluster.get(&name).await.unwrap(), "new");
    }
}

/// Puts an object onto a node as another proxy would.
async fn put_at(node: &(Arc<MemoryNode>, At), version: Version, body: &'static [u8]) {
    let Found::Object(stat) = node.0.head(&node.1).await.unwrap() else {
        panic!("no object")
    };
    let put = PutObject {
        version,
        size: body.len() as u64,
        blake3: *blake3::hash(body).as_bytes(),
        meta: stat.meta,
        handoff_for: None,
        source: Source::Client,
    };
    let body = Checked::seal(Bytes::from_static(body));
    node.0.put(&node.1, put, body).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_write_overtaken_twice_counts_as_done() {
    for size in [0, 10, 2 * EXTENT + 10] {
        let cluster = Cluster::new().await;
        let name = object("o");
        let places = cluster.of_object(&name);
        let fast = ahead(&cluster);
        let first = cluster.core.put_object(&name, at_version(fast), whole("first"));
        first.await.unwrap();
        settle().await;
        let (sends, body) = mpsc::channel(1);
        let body = stream::unfold(body, |mut body: mpsc::Receiver<_>| async {
            body.recv().await.map(|piece| (piece, body))
        });
        let (core, of) = (cluster.core.clone(), name.clone());
        let slow = cluster
            .tasks
            .spawn(async move { core.put_object(&of, NewObject::new("x/y"), body).await });
        for piece in bytes(size).chunks(EXTENT) {
            sends.send(Ok(Bytes::copy_from_slice(piece))).await.unwrap();
            settle().await;
        }
        let writes = |twin: &MemoryNode| twin.calls("put") + twin.calls("commit");
        let gated: Vec<_> = places
            .iter()
            .map(|(twin, _)| {
                let gate = Arc::new(Notify::new());
                twin.set(|s| s.delay_calls = Some(Arc::clone(&gate)));
                (twin, gate, writes(twin))
            })
            .collect();
        drop(sends);
        // Lets everything pass until the write waits at all nodes for the nth time.
        let at_nodes = async |number: u64| {
            for _ in 0..300 {
                let mut there = 0;
                for (twin, gate, before) in &gated[..3] {
                    if writes(twin) - before < number {
                        gate.notify_waiters();
                    } else if twin.waiting() > 0 {
                        there += 1;
                    }
                }
                if there == 3 {
                    return true;
                }
                // Time goes on by itself only when no thread hashes any more.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            false
        };
        assert!(at_nodes(1).await, "the first try is at the nodes");
        // It learns that it comes too late, and the second is overtaken on its way.
        assert!(at_nodes(2).await, "the second try is at the nodes");
        for place in &places[..3] {
            place.0.set(|s| s.delay_calls = None);
            put_at(place, Version(fast.0 + (1 << 30)), b"win").await;
        }
        for _ in 0..10 {
            gated.iter().for_each(|(_, gate, _)| gate.notify_waiters());
            settle().await;
        }
        slow.await.unwrap().unwrap();
        assert_eq!(cluster.get(&name).await.unwrap(), "win", "{size}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_readers_may_have_seen_is_not_stamped_anew() {
    for size in [10, EXTENT * 2] {
        let cluster = Cluster::with(3, 3, Settings::default()).await;
        let name = object("o");
        cluster.put(&name, "old").await.unwrap();
        settle().await;
        let places = cluster.of_object(&name);
        let newer = ahead(&cluster);
        put_at(&places[1], newer, b"newer").await;
        places[2]
            .0
            .set(|s| s.latency = Some(Arc::new(|| Duration::from_secs(600))));
        let put = cluster
            .core
            .put_object(&name, NewObject::new("x/y"), pieces(&bytes(size), 60_000))
            .await;
        assert!(matches!(put, Err(PutObjectError::Unavailable(_))), "{put:?}");
        places[2].0.set(|s| s.latency = None);
        let Found::Object(stat) = found(&places[0]).await else {
            panic!("gone")
        };
        assert_eq!(stat.size, size as u64, "one replica took it");
        assert!(stat.version < newer, "under its first version only");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(cluster.get(&name).await.unwrap(), "newer");
    }
}

#[tokio::test(start_paused = true)]
async fn metadata_of_older_data_does_not_stand_in_the_way_of_a_write() {
    for deletes in [false, true] {
        let cluster = Cluster::with(3, 3, Settings::default()).await;
        let name = object("o");
        cluster.put(&name, "first").await.unwrap();
        settle().await;
        let newer = ahead(&cluster);
        // Two of three, as after a POST that was acknowledged.
        for (twin, at) in &cluster.of_object(&name)[1..] {
            let meta = PostMeta {
                headers: vec![("x-object-meta-a".into(), "1".into())],
                ..PostMeta::default()
            };
            twin.post(at, newer, meta).await.unwrap();
        }
        if deletes {
            let deleted = cluster.core.delete_object(&name, None).await.unwrap();
            assert!(deleted.version < newer, "by its first version");
            let gone = cluster.get(&name).await;
            assert!(matches!(gone, Err(ReadObjectError::NotFound { .. })), "{gone:?}");
        } else {
            let stored = cluster.put(&name, "second").await.unwrap();
            assert!(stored.version < newer, "by its first version");
            let stat = cluster.core.head_object(&name, true).await.unwrap();
            assert_eq!(
                (stat.version, stat.meta_version),
                (stored.version, stored.version)
            );
            assert_eq!(stat.meta.headers, []);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_brings_the_newest_data_to_replicas_that_missed_it() {
    let cluster = Cluster::with(3, 3, Settings::default()).await;
    let name = object("o");
    cluster.put(&name, "old").await.unwrap();
    settle().await;
    let stale = cluster.of_object(&name).remove(1);
    stale.0.set_down(true);
    cluster.put(&name, "new").await.unwrap();
    settle().await;
    stale.0.set_down(false);
    // The stale one is among the two that answer first.
    let slow = cluster.of_object(&name).remove(2).0;
    slow.set(|s| s.latency = Some(Arc::new(|| Duration::from_millis(300))));
    tokio::time::advance(Duration::from_secs(5)).await;
    let meta = PostMeta {
        headers: vec![("x-object-meta-a".into(), "1".into())],
        ..PostMeta::default()
    };
    cluster.core.post_object(&name, meta.clone(), None).await.unwrap();
    let Found::Object(stat) = found(&stale).await else {
        panic!("gone")
    };
    assert_eq!(
        (stat.blake3, stat.meta.headers),
        (*blake3::hash(b"new").as_bytes(), meta.headers)
    );
}

#[tokio::test(start_paused = true)]
async fn a_post_whose_clock_is_behind_is_done_where_a_replica_missed_the_object() {
    for missed in 0..3 {
        let cluster = Cluster::with(3, 3, Settings::default()).await;
        let name = object("o");
        let stale = cluster.of_object(&name).remove(missed).0;
        stale.set_down(true);
        let put = at_version(ahead(&cluster));
        cluster.core.put_object(&name, put, whole("x")).await.unwrap();
        settle().await;
        stale.set_down(false);
        tokio::time::advance(Duration::from_secs(5)).await;
        cluster.core.post_object(&name, posted("1"), None).await.unwrap();
        settle().await;
        let seen = cluster.core.head_object(&name, true).await.unwrap();
        assert_eq!(seen.meta.headers, posted("1").headers, "{missed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_in_the_middle_leaves_nothing() {
    let cluster = Cluster::new().await;
    let name = object("o");
    for before in [EXTENT / 2, EXTENT * 3] {
        let (sends, body) = mpsc::channel(1);
        let body = stream::unfold(body, |mut body: mpsc::Receiver<_>| async {
            body.recv().await.map(|piece| (piece, body))
        });
        let core = cluster.core.clone();
        let of = name.clone();
        let put = cluster
            .tasks
            .spawn(async move { core.put_object(&of, NewObject::new("x/y"), body.boxed()).await });
        for piece in bytes(before).chunks(EXTENT / 2) {
            sends.send(Ok(Bytes::copy_from_slice(piece))).await.unwrap();
        }
        sends.send(Err(BodyError::Disconnected)).await.unwrap();
        assert_eq!(
            put.await.unwrap(),
            Err(PutObjectError::Body(BodyError::Disconnected))
        );
        settle().await;
        for place in cluster.of_object(&name) {
            assert_eq!(found(&place).await, Found::Absent);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_in_the_middle_of_its_body_leaves_nothing() {
    let cluster = Cluster::new().await;
    let name = object("o");
    let body = stream::iter([Ok(bytes(EXTENT * 2))]).chain(stream::pending());
    let put = cluster
        .core
        .put_object(&name, NewObject::new("x/y"), body.boxed());
    assert!(tokio::time::timeout(Duration::from_secs(1), put).await.is_err());
    settle().await;
    for place in cluster.of_object(&name) {
        assert_eq!(found(&place).await, Found::Absent);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_after_its_last_byte_ends_the_same_on_every_replica() {
    let cluster = Cluster::new().await;
    let name = object("o");
    let places = cluster.of_object(&name);
    let gate = Arc::new(Notify::new());
    cluster.core.container_info(&name.container_name()).await.unwrap();
    for (twin, _) in &places[..3] {
        twin.set(|s| s.delay_calls = Some(Arc::clone(&gate)));
    }
    let put = cluster.put(&name, "whole");
    assert!(
        tokio::time::timeout(Duration::from_millis(10), put)
            .await
            .is_err()
    );
    for (twin, _) in &places[..3] {
        twin.set(|s| s.delay_calls = None);
    }
    gate.notify_waiters();
    settle().await;
    for place in &places[..3] {
        assert!(matches!(found(place).await, Found::Object(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_is_given_up() {
    let cluster = Cluster::new().await;
    let body = stream::iter([Ok(bytes(10))]).chain(stream::pending());
    let put = cluster
        .core
        .put_object(&object("o"), NewObject::new("x/y"), body.boxed())
        .await;
    assert_eq!(put, Err(PutObjectError::Body(BodyError::TooSlow)));
}

/// Counts the bytes of a body that somebody still holds.
struct Held(Arc<AtomicUsize>, Bytes);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1.len(), Ordering::SeqCst);
    }
}

/// A long body that counts what of it is alive.
struct Counted {
    left: usize,
    piece: Bytes,
    alive: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Stream for Counted {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        let alive = self.alive.fetch_add(self.piece.len(), Ordering::SeqCst) + self.piece.len();
        self.most.fetch_max(alive, Ordering::SeqCst);
        let piece = Bytes::from_owner(Held(Arc::clone(&self.alive), self.piece.clone()));
        Poll::Ready(Some(Ok(piece)))
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_reads_no_further_ahead_than_its_slowest_live_replica() {
    let settings = Settings {
        stall: Duration::from_secs(100),
        node_timeout: Duration::from_secs(1000),
        ..Settings::default()
    };
    let cluster = Cluster::with(3, 3, settings).await;
    let name = object("o");
    let gate = Arc::new(Notify::new());
    let slow = cluster.of_object(&name).remove(0).0;
    let (alive, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let body = Counted {
        left: 64,
        piece: bytes(EXTENT),
        alive: Arc::clone(&alive),
        most: Arc::clone(&most),
    };
    let core = cluster.core.clone();
    cluster.core.container_info(&name.container_name()).await.unwrap();
    slow.set(|s| s.delay_calls = Some(Arc::clone(&gate)));
    let put = cluster
        .tasks
        .spawn(async move { core.put_object(&name, NewObject::new("x/y"), body).await });
    // Hashing runs on real threads: wait for it to come to rest.
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        settle().await;
        let now = most.load(Ordering::SeqCst);
        if now == last && slow.waiting() > 0 {
            break;
        }
        last = now;
    }
    assert!(last <= 7 * EXTENT, "{} extents in flight", last / EXTENT);
    slow.set(|s| s.delay_calls = None);
    gate.notify_waiters();
    put.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_stalls_an_upload_is_left_out() {
    let cluster = Cluster::with(3, 3, Settings::default()).await;
    let name = object("o");
    let slow = cluster.of_object(&name).remove(0);
    let body = bytes(EXTENT * 8);
    cluster.core.container_info(&name.container_name()).await.unwrap();
    slow.0.set(|s| s.delay_calls = Some(Arc::new(Notify::new())));
    let started = tokio::time::Instant::now();
    cluster.put_in_pieces(&name, &body, 100_000).await;
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    slow.0.set(|s| s.delay_calls = None);
    assert_eq!(cluster.get(&name).await.unwrap(), body);
    assert_eq!(found(&slow).await, Found::Absent);
}

#[tokio::test(start_paused = true)]
async fn a_post_replaces_metadata_and_is_seen_with_one_replica_stale() {
    let cluster = Cluster::with(3, 3, Settings::default()).await;
    let name = object("o");
    cluster.put(&name, "x").await.unwrap();
    settle().await;
    let stale = cluster.of_object(&name).remove(0).0;
    stale.set_down(true);
    let meta = PostMeta {
        content_type: Some("image/png".into()),
        delete_at: None,
        headers: vec![("x-object-meta-a".into(), "1".into())],
    };
    cluster.core.post_object(&name, meta.clone(), None).await.unwrap();
    stale.set_down(false);
    for _ in 0..20 {
        tokio::time::advance(Duration::from_millis(300)).await;
        let got = cluster
            .core
            .get_object(&name, virga_proxy::core::GetOptions::default())
            .await
            .unwrap();
        assert_eq!(got.stat.meta.headers, meta.headers);
        assert_eq!(got.stat.meta.content_type, "image/png");
    }
    let missing = cluster.core.post_object(&object("none"), meta, None).await;
    assert_eq!(missing.unwrap_err(), PostObjectError::NotFound);
    assert!(matches!(
        cluster.get(&object("none")).await,
        Err(ReadObjectError::NotFound { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn stand_ins_that_do_not_have_an_object_do_not_say_that_there_is_none() {
    let cluster = Cluster::with(6, 3, Settings::default()).await;
    let name = object("o");
    cluster.put(&name, "x").await.unwrap();
    settle().await;
    for away in 2..=3 {
        let primaries = cluster.of_object(&name).into_iter().take(away);
        let primaries: Vec<_> = primaries.map(|(twin, _)| twin).collect();
        primaries.iter().for_each(|twin| twin.set_down(true));
        let posted = cluster.core.post_object(&name, PostMeta::default(), None).await;
        assert!(
            matches!(posted, Err(PostObjectError::Unavailable(_))),
            "{away} away: {posted:?}"
        );
        primaries.iter().for_each(|twin| twin.set_down(false));
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    cluster
        .core
        .post_object(&name, PostMeta::default(), None)
        .await
        .unwrap();
}

fn posted(value: &str) -> PostMeta {
    PostMeta {
        content_type: None,
        delete_at: None,
        headers: vec![("x-object-meta-a".into(), value.into())],
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_beside_the_first_put_of_a_name_hears_the_one_replica_that_has_it_already() {
    let cluster = Cluster::with(3, 3, Settings::default()).await;
    let name = object("o");
    let places = cluster.of_object(&name);
    // As if the PUT had come no further yet.
    cluster.put(&name, "x").await.unwrap();
    settle().await;
    places[..2].iter().for_each(|(twin, at)| twin.forget(at));
    let gate = Arc::new(Notify::new());
    places[2].0.set(|s| s.delay_calls = Some(Arc::clone(&gate)));
    let (core, of) = (cluster.core.clone(), name.clone());
    let post = cluster
        .tasks
        .spawn(async move { core.post_object(&of, posted("1"), None).await });
    settle().await;
    assert!(!post.is_finished(), "two of three do not have it yet");
    places[2].0.set(|s| s.delay_calls = None);
    gate.notify_waiters();
    post.await.unwrap().unwrap();
    settle().await;
    for place in &places {
        let Found::Object(stat) = found(place).await else {
            panic!("a replica lacks the object");
        };
        assert_eq!(stat.meta.headers, posted("1").headers);
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_hangs_holds_up_a_404_no_longer_than_a_stall() {
    let settings = Settings::default();
    let cluster = Cluster::with(3, 3, settings.clone()).await;
    let name = object("none");
    cluster.core.container_info(&name.container_name()).await.unwrap();
    let hung = cluster.of_object(&name).remove(2).0;
    hung.set(|s| s.delay_calls = Some(Arc::new(Notify::new())));
    let started = tokio::time::Instant::now();
    let post = cluster.core.post_object(&name, posted("1"), None).await;
    assert_eq!(post.unwrap_err(), PostObjectError::NotFound);
    assert_eq!(started.elapsed().as_secs(), settings.stall.as_secs());
    // It is known to be silent now, and is not waited for again.
    settle().await;
    let started = tokio::time::Instant::now();
    let post = cluster.core.post_object(&name, posted("1"), None).await;
    assert_eq!(post.unwrap_err(), PostObjectError::NotFound);
    assert_eq!(started.elapsed(), Duration::ZERO);
    hung.set(|s| s.delay_calls = None);
}
