//! Replicas that missed acknowledged writes: what a quorum says together is
//! exact all the same, whichever of the three is away.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use virga_node::clock::Version;
use virga_object_wire::listing::{Entry, ListRequest, MetaItem, ObjectRow};
use virga_object_wire::node::ObjectNode;
use virga_object_wire::twin::MemoryNode;
use virga_proxy::core::{
    AccountName, DeleteContainerError, DeleteObjectError, ListError, PostMetaError, PutContainerError,
    PutObjectError, Settings,
};

use crate::cluster::{Cluster, container, object, settle};

fn all() -> ListRequest {
    ListRequest {
        limit: 10_000,
        ..ListRequest::default()
    }
}

/// One request, as a client makes it.
#[derive(Clone, Debug)]
enum Request {
    PutContainer(Option<u32>, Vec<(String, String)>),
    PostContainer(Vec<(String, String)>),
    DeleteContainer,
    PutObject(u8),
    DeleteObject(u8),
    PostAccount(Vec<(String, String)>),
    DeleteAccount,
}

/// Requests, each with the replica that misses it (3: none does).
fn history() -> impl Strategy<Value = Vec<(Request, usize)>> {
    let value = prop::sample::select(vec!["", "", ".r:*", "AUTH_x:*"]);
    let item = (prop::sample::select(vec!["x-read", "x-write"]), value);
    let item = item.prop_map(|(name, value)| (name.to_owned(), value.to_owned()));
    let meta = move || prop::collection::vec(item.clone(), 0..3).prop_map(distinct);
    let request = prop_oneof![
        3 => (prop::option::of(0u32..2), meta()).prop_map(|(policy, meta)| Request::PutContainer(policy, meta)),
        3 => meta().prop_map(Request::PostContainer),
        4 => Just(Request::DeleteContainer),
        3 => (0u8..2).prop_map(Request::PutObject),
        4 => (0u8..2).prop_map(Request::DeleteObject),
        1 => meta().prop_map(Request::PostAccount),
        1 => Just(Request::DeleteAccount),
    ];
    prop::collection::vec((request, 0usize..4), 1..24)
}

fn distinct(items: Vec<(String, String)>) -> Vec<(String, String)> {
    items
        .into_iter()
        .collect::<BTreeMap<_, _>>()
        .into_iter()
        .collect()
}

/// A container or account in the plainest words.
#[derive(Default)]
struct Life {
    exists: bool,
    meta: BTreeMap<String, String>,
}

impl Life {
    fn set(&mut self, items: &[(String, String)]) {
        self.meta.extend(items.iter().cloned());
        self.meta.retain(|_, value| !value.is_empty());
    }

    fn end(&mut self) {
        *self = Self::default();
    }

    fn check(&self, told: Option<Vec<MetaItem>>) -> Result<(), TestCaseError> {
        let told = told.map(|meta| meta.into_iter().map(|item| (item.name, item.value)).collect());
        prop_assert_eq!(told, self.exists.then(|| self.meta.clone()));
        Ok(())
    }
}

/// What clients were told, in order.
#[derive(Default)]
struct Model {
    container: Life,
    policy: u32,
    objects: BTreeSet<String>,
    account: Life,
    /// Whether the account was not deleted since the container's last PUT.
    listed: bool,
}

impl Model {
    /// Makes a request and expects the answer that the history before it asks for.
    async fn carry(&mut self, cluster: &Cluster, request: Request) -> Result<(), TestCaseError> {
        let (core, account) = (&cluster.core, AccountName::new("a").unwrap());
        let exists = self.container.exists;
        match request {
            Request::PutContainer(policy, meta) => {
                let put = core.put_container(&container("c"), policy, meta.clone()).await;
                if let Some(asked) = policy.filter(|asked| exists && *asked != self.policy) {
                    prop_assert_eq!(
                        put,
                        Err(PutContainerError::PolicyConflict(self.policy)),
                        "{}",
                        asked
                    );
                    return Ok(());
                }
                prop_assert_eq!(put.map(|put| put.created), Ok(!exists));
                if !exists {
                    self.policy = policy.unwrap_or(0);
                    self.account.exists = true;
                }
                (self.container.exists, self.listed) = (true, true);
                self.container.set(&meta);
            }
            Request::PostContainer(meta) => {
                let posted = core.post_container(&container("c"), meta.clone()).await;
                prop_assert_eq!(
                    posted,
                    if exists {
                        Ok(())
                    } else {
                        Err(PostMetaError::NotFound)
                    }
                );
                if exists {
                    self.container.set(&meta);
                }
            }
            Request::DeleteContainer => {
                let expected = match (exists, self.objects.is_empty()) {
                    (false, _) => Err(DeleteContainerError::NotFound),
                    (true, false) => Err(DeleteContainerError::NotEmpty),
                    (true, true) => Ok(()),
                };
                prop_assert_eq!(core.delete_container(&container("c")).await, expected.clone());
                if expected.is_ok() {
                    self.container.end();
                }
            }
            Request::PutObject(n) => {
                let put = cluster.put(&object(&format!("o{n}")), "x").await;
                if exists {
                    prop_assert!(put.is_ok(), "{put:?}");
                    self.objects.insert(format!("o{n}"));
                } else {
                    prop_assert_eq!(put, Err(PutObjectError::NoContainer));
                }
            }
            Request::DeleteObject(n) => {
                let deleted = core.delete_object(&object(&format!("o{n}")), None).await;
                if exists {
                    self.objects.remove(&format!("o{n}"));
                    prop_assert!(deleted.is_ok(), "{deleted:?}");
                } else {
                    prop_assert_eq!(deleted, Err(DeleteObjectError::NoContainer));
                }
            }
            Request::PostAccount(meta) => {
                prop_assert_eq!(core.post_account(&account, meta.clone()).await, Ok(()));
                self.account.exists = true;
                self.account.set(&meta);
            }
            Request::DeleteAccount => {
                let deleted = core.delete_account(&account).await;
                let expected = if self.account.exists {
                    Ok(())
                } else {
                    Err(PostMetaError::NotFound)
                };
                prop_assert_eq!(deleted, expected);
                if self.account.exists {
                    self.account.end();
                    self.listed = false;
                }
            }
        }
        Ok(())
    }

    /// What the cluster says now.
    async fn check(&self, cluster: &Cluster) -> Result<(), TestCaseError> {
        let (core, account) = (&cluster.core, AccountName::new("a").unwrap());
        let info = existing(core.head_container(&container("c")).await)?;
        if let Some(info) = &info {
            prop_assert_eq!(info.policy, self.policy);
        }
        self.container.check(info.map(|info| info.meta))?;
        let page = existing(core.list_container(&container("c"), all()).await)?;
        if let Some(page) = page {
            let names: BTreeSet<String> = page
                .entries
                .into_iter()
                .map(|row| name(row, |row| row.name))
                .collect();
            prop_assert_eq!(&names, &self.objects);
        }
        let info = existing(core.head_account(&account).await)?;
        self.account.check(info.map(|info| info.meta))?;
        let page = existing(core.list_account(&account, all()).await)?;
        if let Some(page) = page {
            let expected: &[&str] = if self.container.exists && self.listed {
                &["c"]
            } else {
                &[]
            };
            let names: Vec<String> = page
                .entries
                .into_iter()
                .map(|row| name(row, |row| row.name))
                .collect();
            prop_assert_eq!(names, expected);
        }
        Ok(())
    }
}

fn existing<T>(answer: Result<T, ListError>) -> Result<Option<T>, TestCaseError> {
    match answer {
        Ok(told) => Ok(Some(told)),
        Err(ListError::NotFound) => Ok(None),
        Err(error) => Err(TestCaseError::fail(error.to_string())),
    }
}

fn name<R>(entry: Entry<R>, name: impl Fn(R) -> String) -> String {
    match entry {
        Entry::Row(row) => name(row),
        Entry::Subdir(dir) => dir,
    }
}

/// Three replicas, and the container's nodes in the ring's order.
async fn three() -> (Cluster, Vec<Arc<MemoryNode>>) {
    let cluster = Cluster::with(3, 3, Settings::default()).await;
    settle().await;
    let twins = cluster.twins.all().cloned().collect();
    (cluster, twins)
}

/// Lets nodes that failed be asked again, and infos grow old.
async fn rested() {
    settle().await;
    tokio::time::advance(Duration::from_secs(3)).await;
    settle().await;
}

async fn history_is_exact(history: Vec<(Request, usize)>) -> Result<(), TestCaseError> {
    let (cluster, twins) = three().await;
    let mut model = Model::default();
    (model.container.exists, model.account.exists, model.listed) = (true, true, true);
    for (request, missed_by) in history {
        rested().await;
        if let Some(twin) = twins.get(missed_by) {
            twin.set_down(true);
        }
        model.carry(&cluster, request).await?;
        settle().await;
        twins.iter().for_each(|twin| twin.set_down(false));
    }
    for away in 0..=twins.len() {
        rested().await;
        if let Some(twin) = twins.get(away) {
            twin.set_down(true);
        }
        model.check(&cluster).await?;
        twins.iter().for_each(|twin| twin.set_down(false));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var_os("VIRGA_SOAK").is_some() { 5_000 } else { 96 },
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_quorum_says_exactly_what_was_acknowledged_though_each_write_was_missed_by_one_replica(history in history()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(history_is_exact(history))?;
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_only_one_replica_has_heard_of_keeps_its_container_and_no_deletion_is_sent() {
    let (cluster, twins) = three().await;
    let places = cluster.of_container(&container("c"));
    for alone in 0..3 {
        let mut row = ObjectRow::deletion(&format!("o{alone}"), cluster.hlc.next());
        row.deleted = false;
        places[alone]
            .0
            .put_object_rows(&places[alone].1, vec![row.clone()])
            .await
            .unwrap();
        rested().await;
        assert_eq!(
            cluster.core.delete_container(&container("c")).await,
            Err(DeleteContainerError::NotEmpty)
        );
        let gone = ObjectRow::deletion(&row.name, cluster.hlc.next());
        for (twin, at) in &places {
            twin.put_object_rows(at, vec![gone.clone()]).await.unwrap();
        }
    }
    assert!(twins.iter().all(|twin| twin.calls("delete_container") == 0));
    cluster.core.delete_container(&container("c")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_empty_container_goes_though_one_replica_missed_its_last_deletion_and_another_is_away() {
    let (cluster, twins) = three().await;
    cluster.put(&object("o"), "x").await.unwrap();
    rested().await;
    twins[0].set_down(true);
    cluster.core.delete_object(&object("o"), None).await.unwrap();
    rested().await;
    twins[0].set_down(false);
    twins[1].set_down(true);
    rested().await;
    cluster.core.delete_container(&container("c")).await.unwrap();
    rested().await;
    assert_eq!(
        cluster.core.head_container(&container("c")).await,
        Err(ListError::NotFound)
    );
}

#[tokio::test(start_paused = true)]
async fn a_row_that_comes_after_the_deletion_of_its_container_is_listed_when_it_is_made_again() {
    let (cluster, _) = three().await;
    let mut row = ObjectRow::deletion("late", cluster.hlc.next());
    row.deleted = false;
    cluster.core.delete_container(&container("c")).await.unwrap();
    for (twin, at) in &cluster.of_container(&container("c")) {
        twin.put_object_rows(at, vec![row.clone()]).await.unwrap();
    }
    rested().await;
    cluster
        .core
        .put_container(&container("c"), None, vec![])
        .await
        .unwrap();
    let page = cluster.core.list_container(&container("c"), all()).await.unwrap();
    assert_eq!((page.info.objects, page.entries), (1, vec![Entry::Row(row)]));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_comes_in_between_takes_its_container_back_with_its_metadata() {
    let (cluster, _) = three().await;
    let acl = vec![("x-container-read".to_owned(), "AUTH_x:*".to_owned())];
    cluster.core.post_container(&container("c"), acl).await.unwrap();
    rested().await;
    // Two replicas hear of the object after all were seen to be empty and
    // before the deletion reaches them.
    let places = cluster.of_container(&container("c"));
    let gates: Vec<_> = places
        .iter()
        .map(|_| Arc::new(tokio::sync::Notify::new()))
        .collect();
    for ((twin, _), gate) in places.iter().zip(&gates) {
        twin.set(|s| s.delay_calls = Some(Arc::clone(gate)));
    }
    let core = cluster.core.clone();
    let deleting = cluster
        .tasks
        .spawn(async move { core.delete_container(&container("c")).await });
    settle().await;
    gates.iter().for_each(|gate| gate.notify_one());
    settle().await;
    assert!(
        places
            .iter()
            .all(|(twin, _)| twin.calls("delete_container") == 1 && twin.waiting() == 1)
    );
    let mut row = ObjectRow::deletion("o", Version(cluster.hlc.next().0));
    row.deleted = false;
    for (twin, at) in &places[..2] {
        twin.set(|s| s.delay_calls = None);
        twin.put_object_rows(at, vec![row.clone()]).await.unwrap();
    }
    places[2].0.set(|s| s.delay_calls = None);
    gates[2].notify_one();
    settle().await;
    gates.iter().for_each(|gate| gate.notify_one());
    assert_eq!(deleting.await.unwrap(), Err(DeleteContainerError::NotEmpty));
    rested().await;
    let page = cluster.core.list_container(&container("c"), all()).await.unwrap();
    assert_eq!(
        (page.entries.len(), page.info.meta[0].value.as_str()),
        (1, "AUTH_x:*")
    );
}
