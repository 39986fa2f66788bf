//! Reads of objects whose container has no quorum.
use std::sync::Arc;
use std::time::Duration;

use virga_object_wire::listing::ListRequest;
use virga_object_wire::twin::MemoryNode;
use virga_proxy::core::{
    ContainerForReading, NewObject, ObjectName, PutObjectError, ReadObjectError, Settings, Wanted,
};

use crate::cluster::{Cluster, container, object, settle, whole};

/// Longer than what a quorum said is used when it cannot be asked.
const LONG: Duration = Duration::from_secs(61);

struct Away {
    cluster: Cluster,
    /// Two of the three nodes that hold the container.
    two: Vec<Arc<MemoryNode>>,
    /// An object that two nodes hold which are there.
    name: ObjectName,
}

impl Away {
    async fn new() -> Self {
        let cluster = Cluster::with(6, 3, Settings::default()).await;
        let holders = cluster.of_container(&container("c")).into_iter();
        let two: Vec<_> = holders.take(2).map(|(node, _)| node).collect();
        let there = |name: &ObjectName| {
            let holders = cluster.of_object(name).into_iter().take(3);
            let away = holders.filter(|(node, _)| two.iter().any(|other| Arc::ptr_eq(node, other)));
            away.count() < 2
        };
        let mut names = (0..).map(|n| object(&format!("o{n}")));
        let name = names.find(there).unwrap();
        cluster.put(&name, "bytes").await.unwrap();
        settle().await;
        Self { cluster, two, name }
    }

    fn set_down(&self, down: bool) {
        self.two.iter().for_each(|node| node.set_down(down));
    }

    async fn seen(&self) -> ContainerForReading {
        let name = container("c");
        self.cluster.core.container_for_reading(&name).await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn objects_are_read_while_two_of_three_replicas_of_their_container_are_away() {
    let away = Away::new().await;
    let core = &away.cluster.core;
    away.set_down(true);
    tokio::time::advance(LONG).await;
    for _ in 0..10 {
        assert_eq!(away.cluster.get(&away.name).await.unwrap(), "bytes");
        let tail = away.cluster.get_range(&away.name, Wanted::Last(2)).await.unwrap();
        assert_eq!(tail, "es");
        let stat = core.head_object(&away.name, false).await.unwrap();
        let range = core.read_range(&away.name, &stat, 1..3);
        assert_eq!(range.collect(9).await.unwrap(), "yt");
        assert_eq!(
            core.prove(&away.name, &stat, 0..5).await.unwrap().root(),
            stat.blake3
        );
        tokio::time::advance(Duration::from_millis(700)).await;
    }
    let put = core
        .put_object(&away.name, NewObject::new("x/y"), whole("new"))
        .await;
    assert!(matches!(put, Err(PutObjectError::Unavailable(_))), "{put:?}");
    assert!(
        core.list_container(&container("c"), ListRequest::default())
            .await
            .is_err()
    );
    assert!(core.container_info(&container("c")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_not_found_without_the_containers_quorum_is_not_said_to_be_none() {
    let away = Away::new().await;
    let gone = away.name.clone();
    away.cluster.core.delete_object(&gone, None).await.unwrap();
    settle().await;
    away.set_down(true);
    tokio::time::advance(LONG).await;
    for found in [
        away.cluster.get(&gone).await.map(drop),
        away.cluster.core.head_object(&gone, true).await.map(drop),
    ] {
        assert!(matches!(found, Err(ReadObjectError::Unavailable(_))), "{found:?}");
    }
    away.set_down(false);
    tokio::time::advance(LONG).await;
    let found = away.cluster.get(&gone).await;
    assert!(
        matches!(found, Err(ReadObjectError::NotFound { .. })),
        "{found:?}"
    );
    // A container that nobody in reach has heard of may be there all the same.
    away.set_down(true);
    tokio::time::advance(LONG).await;
    let holder = away.cluster.of_container(&container("c")).remove(2).0;
    holder.set_down(true);
    assert!(
        away.cluster
            .core
            .container_for_reading(&container("c"))
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_quorum_said_decides_for_a_minute_and_no_permission_comes_from_less() {
    let away = Away::new().await;
    let set = |value: &str| vec![("x-container-read".to_owned(), value.to_owned())];
    let core = &away.cluster.core;
    core.post_container(&container("c"), set(".r:*")).await.unwrap();
    let ContainerForReading::Known(Some(info)) = away.seen().await else {
        panic!("not known with all there")
    };
    assert_eq!(info.meta.len(), 1);
    away.set_down(true);
    tokio::time::advance(Duration::from_secs(50)).await;
    let ContainerForReading::Known(Some(info)) = away.seen().await else {
        panic!("not known after 50 s")
    };
    assert_eq!(info.meta.len(), 1);
    tokio::time::advance(Duration::from_secs(20)).await;
    let ContainerForReading::Unsure { info, .. } = away.seen().await else {
        panic!("known after 70 s")
    };
    assert!(info.meta.is_empty() && info.exists());
    // Back again; the permission is taken back while the third is away, and
    // then the third alone is there: it still has the permission.
    away.set_down(false);
    tokio::time::advance(LONG).await;
    let third = away.cluster.of_container(&container("c")).remove(2).0;
    third.set_down(true);
    core.post_container(&container("c"), set("")).await.unwrap();
    third.set_down(false);
    away.set_down(true);
    tokio::time::advance(Duration::from_secs(5)).await;
    let ContainerForReading::Unsure { info, .. } = away.seen().await else {
        panic!("a change of one's own makes what was known before it worthless")
    };
    assert!(info.meta.is_empty());
}
