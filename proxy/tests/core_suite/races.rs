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
use virga_object_wire::checked::EXTENT;
use virga_object_wire::node::ObjectNode;
use virga_object_wire::object::{Found, PostMeta};
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
        let stored = cluster
            .core
            .put_object(&name, NewObject::new("x/y"), pieces(&body, 60_000))
            .await
            .unwrap();
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

#[tokio::test(start_paused = true)]
async fn a_write_overtaken_twice_counts_as_done() {
    let cluster = Cluster::new().await;
    let name = object("o");
    let places = cluster.of_object(&name);
    let gate = Arc::new(Notify::new());
    let fast = ahead(&cluster);
    cluster
        .core
        .put_object(&name, at_version(fast), whole("first"))
        .await
        .unwrap();
    settle().await;
    cluster.core.container_info(&name.container_name()).await.unwrap();
    for (twin, _) in &places {
        twin.set(|s| s.delay_calls = Some(Arc::clone(&gate)));
    }
    let core = cluster.core.clone();
    let of = name.clone();
    let slow = cluster
        .tasks
        .spawn(async move { core.put_object(&of, NewObject::new("x/y"), whole("slow")).await });
    settle().await;
    // The first try learns that it comes too late ...
    gate.notify_waiters();
    settle().await;
    assert!(
        places[..3].iter().all(|(twin, _)| twin.waiting() > 0),
        "the second try is at the nodes"
    );
    // ... and the second is overtaken on its way.
    let newest = Version(fast.0 + (1 << 30));
    for (twin, at) in &places[..3] {
        twin.set(|s| s.delay_calls = None);
        let Found::Object(stat) = twin.head(at).await.unwrap() else {
            panic!("no object")
        };
        let put = virga_object_wire::object::PutObject {
            version: newest,
            size: 3,
            blake3: *blake3::hash(b"win").as_bytes(),
            meta: stat.meta,
            handoff_for: None,
            source: virga_object_wire::object::Source::Client,
        };
        let body = virga_object_wire::checked::Checked::seal(Bytes::from_static(b"win"));
        twin.put(at, put, body).await.unwrap();
    }
    gate.notify_waiters();
    slow.await.unwrap().unwrap();
    assert_eq!(cluster.get(&name).await.unwrap(), "win");
}

#[tokio::test(start_paused = true)]
async fn a_write_overtaken_by_newer_metadata_alone_is_not_taken_for_done_before_it_is() {
    for deletes in [false, true] {
        let cluster = Cluster::with(3, 3, Settings::default()).await;
        let name = object("o");
        let places = cluster.of_object(&name);
        let gate = Arc::new(Notify::new());
        let fast = ahead(&cluster);
        let first = cluster
            .core
            .put_object(&name, at_version(fast), whole("first"))
            .await;
        first.unwrap();
        settle().await;
        cluster.core.container_info(&name.container_name()).await.unwrap();
        for (twin, _) in &places {
            twin.set(|s| s.delay_calls = Some(Arc::clone(&gate)));
        }
        let (core, of, body) = (cluster.core.clone(), name.clone(), bytes(10));
        let sent = body.clone();
        let slow = cluster.tasks.spawn(async move {
            match deletes {
                true => core.delete_object(&of, None).await.map(|_| ()).is_ok(),
                false => core
                    .put_object(&of, NewObject::new("x/y"), whole(sent))
                    .await
                    .is_ok(),
            }
        });
        settle().await;
        // The first try learns that it comes too late ...
        gate.notify_waiters();
        settle().await;
        assert!(
            places.iter().all(|(twin, _)| twin.waiting() > 0),
            "the second try is at the nodes"
        );
        // ... and the second meets newer metadata of the old data.
        let newest = Version(fast.0 + (1 << 30));
        for (twin, at) in &places {
            twin.set(|s| s.delay_calls = None);
            twin.post(at, newest, PostMeta::default()).await.unwrap();
        }
        for _ in 0..10 {
            gate.notify_waiters();
            settle().await;
        }
        assert!(slow.await.unwrap());
        match deletes {
            true => assert!(matches!(
                cluster.get(&name).await,
                Err(ReadObjectError::NotFound { .. })
            )),
            false => assert_eq!(cluster.get(&name).await.unwrap(), body),
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
    cluster
        .core
        .put_object(&name, NewObject::new("x/y"), pieces(&body, 100_000))
        .await
        .unwrap();
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
