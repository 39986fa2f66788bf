//! Metadata updates, and the data that they are made over.
use std::sync::Arc;
use std::time::Duration;

use virga_object_wire::object::{Found, PostMeta};
use virga_proxy::core::Settings;

use crate::cluster::{Cluster, found, object, settle};

#[tokio::test(start_paused = true)]
async fn a_post_belongs_to_the_newest_data_of_a_replica_that_answers_a_little_later() {
    let cluster = Cluster::with(3, 3, Settings::default()).await;
    let name = object("o");
    cluster.put(&name, "old").await.unwrap();
    settle().await;
    let places = cluster.of_object(&name);
    // What is left of a PUT that failed.
    places[..2].iter().for_each(|(twin, _)| twin.set_down(true));
    cluster.put(&name, "newer").await.unwrap_err();
    settle().await;
    places[..2].iter().for_each(|(twin, _)| twin.set_down(false));
    tokio::time::advance(Duration::from_secs(60)).await;

    let late: Arc<dyn Fn() -> Duration + Send + Sync> = Arc::new(|| Duration::from_millis(3));
    places[2].0.set(|switches| switches.latency = Some(late));
    let meta = PostMeta {
        content_type: None,
        delete_at: None,
        headers: vec![("x-object-meta-a".into(), "1".into())],
    };
    cluster.core.post_object(&name, meta.clone(), None).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for place in &places {
        let Found::Object(stat) = found(place).await else {
            panic!("a replica lacks the object");
        };
        assert_eq!((stat.size, stat.meta.headers), (5, meta.headers.clone()));
    }
}
