//! Objects sealed at rest: what nodes hold is not what clients sent, and only
//! who may open it gets it back.
use std::sync::Arc;

use bytes::Bytes;
use md5::{Digest, Md5};
use virga_object_wire::checked::EXTENT;
use virga_proxy::core::manifest::{SLO_FLAG, SloEntry, SloManifest};
use virga_proxy::core::sealing::{CLOUD, ClientKey, CloudKeys, DEFAULT, Seal, Sealed};
use virga_proxy::core::{
    Core, GetOptions, NewObject, ObjectName, ProveError, PutObjectError, ReadObjectError, SegmentError,
    Stored, Unavailable, Wanted,
};
use zeroize::Zeroizing;

use crate::cluster::{Cluster, bytes, container, object, pieces, whole};

/// Wraps keys by turning their bits over: that the core uses what it is given
/// is all that is tested here.
struct Turned(u8);

impl CloudKeys for Turned {
    fn wrap(&self, key: &[u8; 32]) -> Option<String> {
        Some(format!("{}:{}", self.0, hex::encode(key.map(|byte| !byte))))
    }

    fn unwrap(&self, wrapped: &str) -> Option<Zeroizing<[u8; 32]>> {
        let (by, key) = wrapped.split_once(':')?;
        let key: [u8; 32] = hex::decode(key).ok()?.try_into().ok()?;
        (by == self.0.to_string()).then(|| Zeroizing::new(key.map(|byte| !byte)))
    }
}

fn sealing(cluster: &Cluster) -> Core {
    cluster.core.clone().with_cloud_keys(Arc::new(Turned(1)))
}

fn sealed_with(seal: Seal) -> NewObject {
    NewObject {
        seal: Some(seal),
        ..NewObject::new("text/plain")
    }
}

async fn put(core: &Core, name: &ObjectName, seal: Seal, body: &Bytes) -> Stored {
    let new = sealed_with(seal);
    core.put_object(name, new, pieces(body, 70_000)).await.unwrap()
}

async fn get(core: &Core, name: &ObjectName, wanted: Wanted) -> Result<Bytes, ReadObjectError> {
    let options = GetOptions {
        wanted,
        newest: false,
    };
    let got = core.get_object(name, options).await?;
    Ok(got.body.collect(usize::MAX).await.unwrap())
}

fn md5(bytes: &Bytes) -> String {
    hex::encode(Md5::digest(bytes))
}

#[tokio::test]
async fn what_the_cloud_sealed_reads_as_it_was_written_in_any_range() {
    let cluster = Cluster::new().await;
    let core = sealing(&cluster);
    for size in [0, 1, 5000, EXTENT, 2 * EXTENT + 77] {
        let (name, body) = (object(&format!("o{size}")), bytes(size));
        let stored = put(&core, &name, Seal::Cloud, &body).await;
        assert_eq!((stored.etag, stored.size), (md5(&body), size as u64));
        let stat = core.head_object(&name, true).await.unwrap();
        assert_eq!((stat.meta.etag.clone(), stat.size), (md5(&body), size as u64));
        assert_eq!(get(&core, &name, Wanted::All).await.unwrap(), body, "{size}");
        let raw = get(&core.as_stored(), &name, Wanted::All).await.unwrap();
        assert_eq!(raw.len(), size);
        assert!(size == 0 || raw != body, "{size}: the nodes hold the plain bytes");
        let (from, to) = (size / 3, size / 3 * 2);
        let part = get(&core, &name, Wanted::Span(from as u64, to as u64)).await;
        assert_eq!(part.unwrap(), body.slice(from..to), "{size}");
        let read = core.read_range(&name, &stat, from as u64..to as u64);
        assert_eq!(
            read.collect(usize::MAX).await.unwrap(),
            body.slice(from..to),
            "{size}"
        );
    }
}

#[tokio::test]
async fn without_the_clouds_keys_nothing_sealed_is_shown_or_taken() {
    let cluster = Cluster::new().await;
    let (core, name) = (sealing(&cluster), object("o"));
    put(&core, &name, Seal::Cloud, &bytes(100)).await;
    for other in [
        cluster.core.clone(),
        cluster.core.clone().with_cloud_keys(Arc::new(Turned(2))),
    ] {
        let got = get(&other, &name, Wanted::All).await;
        assert!(
            matches!(got, Err(ReadObjectError::Unavailable(Unavailable::NoKey(_)))),
            "{got:?}"
        );
        let stat = other.head_object(&name, false).await.unwrap();
        let read = other.read_range(&name, &stat, 0..100);
        assert!(read.collect(usize::MAX).await.is_err());
    }
    let refused = cluster
        .core
        .put_object(&object("p"), sealed_with(Seal::Cloud), whole(bytes(1)))
        .await;
    assert!(
        matches!(refused, Err(PutObjectError::Unavailable(Unavailable::NoKey(_)))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_a_client_sealed_opens_with_its_key_alone() {
    let cluster = Cluster::new().await;
    let (key, other) = (ClientKey::new([7; 32]), ClientKey::new([8; 32]));
    let (core, name, body) = (sealing(&cluster), object("o"), bytes(EXTENT + 5));
    let stored = put(&core, &name, Seal::Client(key.clone()), &body).await;
    assert_ne!(stored.etag, md5(&body), "the ETag tells nothing of the bytes");
    let same = put(&core, &object("p"), Seal::Client(key.clone()), &body).await;
    assert_ne!(stored.etag, same.etag, "nor that two objects are the same");
    let with = core.with_client_key(key);
    assert_eq!(get(&with, &name, Wanted::All).await.unwrap(), body);
    let last = get(&with, &name, Wanted::Last(9)).await.unwrap();
    assert_eq!(last, body.slice(body.len() - 9..));
    assert_eq!(
        get(&core, &name, Wanted::All).await,
        Err(ReadObjectError::Sealed { given: false })
    );
    assert_eq!(
        get(&core.with_client_key(other), &name, Wanted::All).await,
        Err(ReadObjectError::Sealed { given: true })
    );
    let stat = core.head_object(&name, false).await.unwrap();
    assert_eq!(core.prove(&name, &stat, 0..1).await, Err(ProveError::Sealed));
    // A key shown for an object that needs none changes nothing.
    cluster.put(&object("plain"), body.clone()).await.unwrap();
    assert_eq!(get(&with, &object("plain"), Wanted::All).await.unwrap(), body);
}

#[tokio::test]
async fn an_announced_md5_is_that_of_the_plain_bytes() {
    let cluster = Cluster::new().await;
    let (core, name) = (sealing(&cluster), object("o"));
    for body in [bytes(100), bytes(2 * EXTENT)] {
        for seal in [Seal::Cloud, Seal::Client(ClientKey::new([1; 32]))] {
            let announced = |etag: String| NewObject {
                expected_etag: Some(etag),
                ..sealed_with(seal.clone())
            };
            let wrong = core.put_object(&name, announced(md5(&bytes(1))), whole(body.clone()));
            let wrong = wrong.await.unwrap_err();
            assert_eq!(wrong, PutObjectError::EtagMismatch { got: md5(&body) });
            let right = core.put_object(&name, announced(md5(&body)), whole(body.clone()));
            right.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_container_may_ask_for_it_and_copies_keep_it() {
    let cluster = Cluster::new().await;
    let core = sealing(&cluster);
    let change = vec![(DEFAULT.to_owned(), CLOUD.to_owned())];
    core.put_container(&container("safe"), None, change)
        .await
        .unwrap();
    let (name, body) = (ObjectName::new("a", "safe", "o").unwrap(), bytes(1000));
    core.put_object(&name, NewObject::new("x/y"), whole(body.clone()))
        .await
        .unwrap();
    let stat = core.head_object(&name, false).await.unwrap();
    assert!(matches!(Sealed::of(&stat), Some(Sealed::Cloud { .. })));
    // A copy to where nobody asks for it, as dialects make them.
    let got = core.get_object(&name, GetOptions::default()).await.unwrap();
    let new = NewObject {
        sysmeta: got.stat.meta.sysmeta.clone(),
        expected_etag: Some(got.stat.meta.etag.clone()),
        ..NewObject::new("x/y")
    };
    core.copy_object(got.body, &object("copy"), new).await.unwrap();
    let copy = core.head_object(&object("copy"), false).await.unwrap();
    assert_ne!(Sealed::of(&copy), Sealed::of(&stat), "with a key of its own");
    assert_eq!(get(&core, &object("copy"), Wanted::All).await.unwrap(), body);
    let raw = get(&core.as_stored(), &object("copy"), Wanted::All)
        .await
        .unwrap();
    assert_ne!(raw, body);
}

#[tokio::test]
async fn what_is_copied_as_stored_opens_like_the_original() {
    let cluster = Cluster::new().await;
    let (core, key, body) = (sealing(&cluster), ClientKey::new([3; 32]), bytes(EXTENT + 1));
    for (name, seal) in [("cloud", Seal::Cloud), ("client", Seal::Client(key.clone()))] {
        let stored = put(&core, &object(name), seal, &body).await;
        let raw = core.as_stored();
        let got = raw
            .get_object(&object(name), GetOptions::default())
            .await
            .unwrap();
        let new = NewObject {
            sysmeta: got.stat.meta.sysmeta.clone(),
            expected_etag: Some(got.stat.meta.etag.clone()),
            ..NewObject::new("x/y")
        };
        let copy = raw.copy_object(got.body, &object("copy"), new).await.unwrap();
        assert_eq!(copy.etag, stored.etag, "{name}");
        let with = core.with_client_key(key.clone());
        assert_eq!(
            get(&with, &object("copy"), Wanted::All).await.unwrap(),
            body,
            "{name}"
        );
    }
}

#[tokio::test]
async fn segments_are_opened_one_by_one() {
    let cluster = Cluster::new().await;
    let (core, key) = (sealing(&cluster), ClientKey::new([4; 32]));
    let all = bytes(3000);
    for (seal, with) in [
        (Seal::Cloud, core.clone()),
        (Seal::Client(key.clone()), core.with_client_key(key)),
    ] {
        let mut manifest = SloManifest::default();
        for (number, from) in [0, 1000, 2000].into_iter().enumerate() {
            let name = object(&format!("s{number}"));
            let stored = put(&core, &name, seal.clone(), &all.slice(from..from + 1000)).await;
            manifest.entries.push(SloEntry {
                name: Some(format!("/c/{}", name.object())),
                hash: Some(stored.etag),
                bytes: stored.size,
                ..SloEntry::default()
            });
        }
        let new = NewObject {
            sysmeta: vec![(SLO_FLAG.into(), "True".into())],
            ..sealed_with(Seal::Cloud)
        };
        let document = whole(manifest.to_json().unwrap());
        core.put_object(&object("large"), new, document).await.unwrap();
        let plan = async |core: &Core| {
            let got = core.get_object(&object("large"), GetOptions::default()).await;
            core.read_slo(&object("large"), got.unwrap()).await.unwrap()
        };
        let opened = with.open_segments(plan(&with).await, 500..2500, Arc::new(|_| true));
        let opened = opened.await.unwrap().collect(usize::MAX).await.unwrap();
        assert_eq!(opened, all.slice(500..2500));
        if let Seal::Client(_) = seal {
            let without = core.open_segments(plan(&core).await, 0..3000, Arc::new(|_| true));
            assert!(matches!(without.await, Err(SegmentError::Forbidden(_))));
        }
    }
}
