//! Large objects put together from segments.
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use virga_object_wire::object::Listed;
use virga_proxy::core::manifest::{
    MAX_DEPTH, MayRead, Plan, SLO_FLAG, Segment, SloEntry, SloManifest, Source,
};
use virga_proxy::core::{BodyReadError, GetOptions, NewObject, ObjectName, SegmentError, Stored, Wanted};

use crate::cluster::{Cluster, bytes, container, object, whole};

fn everyone() -> MayRead {
    Arc::new(|_| true)
}

async fn segments(cluster: &Cluster, sizes: &[usize]) -> (Vec<SloEntry>, Bytes) {
    let all = bytes(sizes.iter().sum());
    let (mut entries, mut from) = (Vec::new(), 0);
    for (number, size) in sizes.iter().enumerate() {
        let name = object(&format!("seg/{number:03}"));
        let body = all.slice(from..from + size);
        let stored = cluster.put_in_pieces(&name, &body, 70_000).await;
        entries.push(entry(&name, &stored));
        from += size;
    }
    (entries, all)
}

fn entry(name: &ObjectName, stored: &Stored) -> SloEntry {
    SloEntry {
        name: Some(format!("/{}/{}", name.container(), name.object())),
        hash: Some(stored.etag.clone()),
        bytes: stored.size,
        ..SloEntry::default()
    }
}

/// Stores a manifest; returns the entry that another manifest names it by.
async fn put_slo(cluster: &Cluster, name: &ObjectName, entries: Vec<SloEntry>) -> SloEntry {
    let manifest = SloManifest { entries };
    let plan = manifest.plan("a").unwrap();
    let new = NewObject {
        sysmeta: vec![(SLO_FLAG.into(), "True".into())],
        listed: Some(Listed {
            size: plan.size(),
            etag: plan.etag(),
        }),
        ..NewObject::new("x/y")
    };
    cluster
        .core
        .put_object(name, new, whole(manifest.to_json().unwrap()))
        .await
        .unwrap();
    SloEntry {
        name: Some(format!("/{}/{}", name.container(), name.object())),
        hash: Some(plan.etag()),
        bytes: plan.size(),
        sub_slo: true,
        ..SloEntry::default()
    }
}

async fn plan_of(cluster: &Cluster, name: &ObjectName) -> Result<Plan, SegmentError> {
    let got = cluster
        .core
        .get_object(name, GetOptions::default())
        .await
        .unwrap();
    cluster.core.read_slo(name, got).await
}

async fn read(cluster: &Cluster, plan: Plan, wanted: Wanted) -> Result<Bytes, BodyReadError> {
    let range = wanted.within(plan.size());
    let body = cluster.core.open_segments(plan, range, everyone()).await?;
    body.collect(usize::MAX).await
}

#[tokio::test(start_paused = true)]
async fn a_static_large_object_is_put_together_from_parts_ranges_data_and_manifests() {
    let cluster = Cluster::new().await;
    let (entries, all) = segments(&cluster, &[3_000_000, 1, 70_000, 500]).await;
    let inner = put_slo(&cluster, &object("inner"), entries[..2].to_vec()).await;
    let part = SloEntry {
        range: Some("100-199".into()),
        ..entries[2].clone()
    };
    let of_inner = SloEntry {
        range: Some("2999990-3000000".into()),
        ..inner.clone()
    };
    let data = SloEntry {
        data: Some("AAEC".into()),
        ..SloEntry::default()
    };
    put_slo(
        &cluster,
        &object("outer"),
        vec![inner, part, data, of_inner, entries[3].clone()],
    )
    .await;
    let whole = [
        &all[..3_000_001],
        &all[3_000_101..3_000_201],
        &[0, 1, 2],
        &all[2_999_990..3_000_001],
        &all[3_070_001..],
    ]
    .concat();
    let plan = plan_of(&cluster, &object("outer")).await.unwrap();
    assert_eq!(plan.size(), whole.len() as u64);
    assert_eq!(read(&cluster, plan.clone(), Wanted::All).await.unwrap(), whole);
    for (from, to) in [
        (0, 1),
        (2_999_999, 3_000_150),
        (3_000_050, 3_000_104),
        (whole.len() - 3, whole.len()),
    ] {
        let got = read(&cluster, plan.clone(), Wanted::Span(from as u64, to as u64))
            .await
            .unwrap();
        assert_eq!(got, whole[from..to], "{from}..{to}");
    }
    assert_eq!(
        read(&cluster, plan, Wanted::From(1 << 40)).await.unwrap(),
        Bytes::new()
    );
}

#[tokio::test(start_paused = true)]
async fn a_dynamic_large_object_is_what_its_prefix_lists_static_ones_included() {
    let cluster = Cluster::new().await;
    let (entries, all) = segments(&cluster, &[100_000, 30, 4]).await;
    put_slo(&cluster, &object("seg/zzz"), entries[..2].to_vec()).await;
    cluster.put(&object("other"), "not part of it").await.unwrap();
    let plan = cluster.core.read_dlo(&container("c"), "seg/").await.unwrap();
    assert_eq!(plan.size(), all.len() as u64 + 100_030);
    let whole = [&all[..], &all[..100_030]].concat();
    assert_eq!(read(&cluster, plan, Wanted::All).await.unwrap(), whole);
    let none = virga_proxy::core::ContainerName::new("a", "none").unwrap();
    assert!(matches!(
        cluster.core.read_dlo(&none, "x").await,
        Err(SegmentError::Missing(_))
    ));
    let nothing = cluster.core.read_dlo(&container("c"), "nothing").await.unwrap();
    assert_eq!(read(&cluster, nothing, Wanted::All).await.unwrap(), Bytes::new());
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_is_not_what_the_manifest_says_is_told_before_or_in_the_middle() {
    let cluster = Cluster::new().await;
    let (entries, all) = segments(&cluster, &[1000, 1000, 1000]).await;
    put_slo(&cluster, &object("slo"), entries).await;
    let plan = plan_of(&cluster, &object("slo")).await.unwrap();
    cluster.put(&object("seg/001"), bytes(1001)).await.unwrap();
    let mut body = cluster
        .core
        .open_segments(plan.clone(), 0..3000, everyone())
        .await
        .unwrap();
    assert_eq!(body.next().await.unwrap().unwrap(), all[..1000]);
    let changed = SegmentError::Changed("a/c/seg/001".into());
    assert_eq!(
        body.next().await.unwrap(),
        Err(BodyReadError::Segment(changed.clone()))
    );
    assert!(body.next().await.is_none());
    let first = cluster
        .core
        .open_segments(plan.clone(), 1500..3000, everyone())
        .await;
    assert_eq!(first.unwrap_err(), changed);
    cluster
        .core
        .delete_object(&object("seg/002"), None)
        .await
        .unwrap();
    let missing = cluster.core.open_segments(plan, 2500..3000, everyone()).await;
    assert_eq!(missing.unwrap_err(), SegmentError::Missing("a/c/seg/002".into()));
}

#[tokio::test(start_paused = true)]
async fn segments_of_a_container_the_caller_may_not_read_are_refused() {
    let cluster = Cluster::new().await;
    let (entries, _) = segments(&cluster, &[10]).await;
    put_slo(&cluster, &object("slo"), entries).await;
    let plan = plan_of(&cluster, &object("slo")).await.unwrap();
    let nobody: MayRead = Arc::new(|info| info.container != "c");
    let refused = cluster.core.open_segments(plan, 0..10, nobody).await;
    assert_eq!(
        refused.unwrap_err(),
        SegmentError::Forbidden("a/c/seg/000".into())
    );
}

#[tokio::test(start_paused = true)]
async fn manifests_within_manifests_end_somewhere() {
    let cluster = Cluster::new().await;
    let (entries, all) = segments(&cluster, &[10]).await;
    let mut inner = entries[0].clone();
    for depth in 0..=MAX_DEPTH + 1 {
        let name = object(&format!("level{depth}"));
        inner = put_slo(&cluster, &name, vec![inner]).await;
        let plan = plan_of(&cluster, &name).await.unwrap();
        let read = read(&cluster, plan, Wanted::All).await;
        if depth <= MAX_DEPTH {
            assert_eq!(read.unwrap(), all, "depth {depth}");
        } else {
            let deep = BodyReadError::Segment(SegmentError::TooDeep(MAX_DEPTH));
            assert_eq!(read.unwrap_err(), deep, "depth {depth}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_manifest_is_broken() {
    let cluster = Cluster::new().await;
    cluster.put(&object("o"), "{\"not\": \"a list\"}").await.unwrap();
    assert!(matches!(
        plan_of(&cluster, &object("o")).await,
        Err(SegmentError::Broken { .. })
    ));
    let inline = Source::Inline(Bytes::from_static(b"abc"));
    let plan = Plan {
        segments: vec![Segment {
            source: inline,
            etag: None,
            size: 3,
            range: 0..3,
            nested: false,
        }],
    };
    assert_eq!(read(&cluster, plan, Wanted::Last(2)).await.unwrap(), "bc");
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_the_same_bytes_under_another_name() {
    let cluster = Cluster::new().await;
    let body = bytes(2_500_000);
    cluster.put_in_pieces(&object("from"), &body, 50_000).await;
    let source = cluster
        .core
        .get_object(&object("from"), GetOptions::default())
        .await
        .unwrap();
    let new = NewObject {
        expected_size: Some(source.stat.size),
        ..NewObject::new("x/y")
    };
    let etag = source.stat.meta.etag.clone();
    let stored = cluster
        .core
        .copy_object(source.body, &object("to"), new)
        .await
        .unwrap();
    assert_eq!(stored.etag, etag);
    assert_eq!(cluster.get(&object("to")).await.unwrap(), body);
}
