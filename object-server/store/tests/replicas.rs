//! Three devices as replicas of one name: whatever each of them heard of its
//! PUTs, POSTs and DELETEs, and in whatever order they bring each other what
//! they know, all end with the newest data, with the newest metadata that was
//! posted to it, and with the content type of the newest write of that data that
//! named one. A failing case prints its smallest history.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]
mod support;

use std::cell::Cell;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use support::{Bench, at, body, get, put, request};
use virga_node::clock::Version;
use virga_object_store::device::Device;
use virga_object_store::keys::NameKey;
use virga_object_wire::error::NodeError;
use virga_object_wire::movement::{Buckets, NameState, NamesRequest, Push};
use virga_object_wire::object::{Found, PostMeta, PutObject, Source};
use virga_object_wire::posted::Posted;

const REPLICAS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Change {
    Put { seed: u64 },
    Post { typed: bool },
    Delete,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Clients' requests come in any order of versions, each to some replicas.
    Heard { change: Change, version: u64, by: u8 },
    /// One replica brings another what it knows.
    Brought { from: usize, to: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = prop_oneof![
        3 => (0..3_u64).prop_map(|seed| Change::Put { seed }),
        4 => any::<bool>().prop_map(|typed| Change::Post { typed }),
        1 => Just(Change::Delete),
    ];
    let heard = (change, 1..24_u64, 1..8_u8);
    let heard = heard.prop_map(|(change, version, by)| Step::Heard { change, version, by });
    let brought = (0..REPLICAS, 1..REPLICAS);
    let brought = brought.prop_map(|(from, on)| Step::Brought {
        from,
        to: (from + on) % REPLICAS,
    });
    proptest::collection::vec(prop_oneof![4 => heard, 1 => brought], 1..20)
}

/// What decides between data records and deletions.
type Rank = (Version, [u8; 32]);
/// An object as it was stored.
type Content = (PutObject, Bytes);

/// What one client after the other would have left, each at the time that its
/// version says.
#[derive(Debug, Default)]
struct Model {
    /// The newest data or deletion, and the data.
    data: Option<(Rank, Option<Content>)>,
    /// Every update that a replica took: the data it was made over, its version,
    /// whether it named a type.
    posts: Vec<(Version, Version, bool)>,
}

impl Model {
    fn data(&mut self, rank: Rank, content: Option<Content>) {
        if self.data.as_ref().is_none_or(|(old, _)| *old < rank) {
            self.data = Some((rank, content));
        }
    }

    /// The newest metadata update of the data; with `typed`, that named a type.
    fn post(&self, typed: bool) -> Option<Version> {
        let data = self.data.as_ref().map(|((version, _), _)| *version);
        let posts = self.posts.iter().filter(|(over, _, _)| Some(*over) == data);
        let posts = posts.filter(|(_, _, named)| *named || !typed);
        posts.map(|(_, version, _)| *version).max()
    }
}

fn headers(version: Version) -> Vec<(String, String)> {
    vec![("x-object-meta-of".to_owned(), version.0.to_string())]
}

fn posted_type(version: Version) -> String {
    format!("image/{}", version.0)
}

fn put_of(name: &str, version: Version, seed: u64) -> Content {
    let body = body(300, seed);
    let mut put = request(name, version, &body);
    put.meta.content_type = format!("text/{}-{seed}", version.0);
    put.meta.headers = headers(version);
    (put, body)
}

/// A request to one replica; whether it took it.
async fn hear(device: &Device, name: &str, change: Change, version: Version) -> bool {
    let at = at(name);
    let answer = match change {
        Change::Put { seed } => {
            let (request, body) = put_of(name, version, seed);
            put(device, request, &body).await
        }
        Change::Post { typed } => {
            let meta = PostMeta {
                content_type: typed.then(|| posted_type(version)),
                headers: headers(version),
                ..PostMeta::default()
            };
            device.post(&at, version, meta).await.map(|_| ())
        }
        Change::Delete => {
            let path = format!("a/c/{name}");
            device.delete(&at, version, &path).await.map(|_| ())
        }
    };
    let expected = matches!(answer, Ok(()) | Err(NodeError::Newer(_) | NodeError::NotFound));
    assert!(expected, "{change:?}: {answer:?}");
    answer.is_ok()
}

async fn state(device: &Device, name: &str) -> Option<NameState> {
    let at = at(name);
    let wanted = NamesRequest {
        policy: at.policy,
        partition: at.partition,
        buckets: Buckets::ALL,
        after: None,
        limit: 1000,
    };
    let page = device.names(wanted).await.unwrap();
    page.names.into_iter().find(|state| state.hash == at.hash)
}

/// Brings `to` what `from` knows, record by record.
async fn bring(from: &Device, to: &Device, name: &str) {
    let Some(known) = state(from, name).await else {
        return;
    };
    let at = at(name);
    let copy = from.copy_for_replica(&NameKey::of(&at), &known, true, true).await;
    let copy = copy.unwrap().unwrap();
    // A reader's repair goes by the records, and must bring the same.
    let records = from.records(&at).await.unwrap();
    assert_eq!(records.object.as_ref(), copy.object.as_ref().map(|(put, _)| put));
    assert_eq!((&records.deletion, &records.post), (&copy.deletion, &copy.post));
    if let Some((request, mut pieces)) = copy.object {
        let piece = futures_util::StreamExt::next(&mut pieces).await.unwrap().unwrap();
        to.put(&at, request, piece).await.unwrap();
    }
    for push in copy.deletion.into_iter().chain(copy.post) {
        to.push(&at, push).await.unwrap();
    }
}

async fn check(devices: &[&Device], name: &str, model: &Model) -> Result<(), TestCaseError> {
    let first = state(devices[0], name).await;
    for device in devices {
        prop_assert_eq!(state(device, name).await, first, "replicas know the same");
        let found = device.head(&at(name)).await.unwrap();
        match &model.data {
            None => prop_assert_eq!(found, Found::Absent),
            Some(((version, _), None)) => prop_assert_eq!(found, Found::Deleted(*version)),
            Some(((version, blake3), Some((put, bytes)))) => {
                let Found::Object(stat) = found else {
                    return Err(TestCaseError::fail(format!("{found:?} for {put:?}")));
                };
                prop_assert_eq!((stat.version, stat.blake3), (*version, *blake3));
                let meta_version = model.post(false).unwrap_or(*version);
                prop_assert_eq!(stat.meta_version, meta_version);
                prop_assert_eq!(stat.meta.headers, headers(meta_version));
                let named = model.post(true);
                let content_type = named.map_or(put.meta.content_type.clone(), posted_type);
                prop_assert_eq!(&stat.meta.content_type, &content_type);
                prop_assert_eq!(stat.type_version, named.unwrap_or(*version));
                let served = get(device, name).await.unwrap();
                prop_assert_eq!(served.as_ref(), Some(bytes));
            }
        }
    }
    Ok(())
}

async fn history(benches: &[Bench], name: &str, steps: &[Step]) -> Result<(), TestCaseError> {
    let devices: Vec<&Device> = benches.iter().map(Bench::device).collect();
    let start = benches[0].next_version();
    let mut model = Model::default();
    for step in steps {
        match *step {
            Step::Brought { from, to } => bring(devices[from], devices[to], name).await,
            Step::Heard { change, version, by } => {
                let version = Version(start.0 + version);
                let mut taken = false;
                for (n, device) in devices.iter().enumerate() {
                    if by & 1 << n == 0 {
                        continue;
                    }
                    let over = state(device, name).await.and_then(|state| state.data);
                    let took = hear(device, name, change, version).await;
                    if let (Change::Post { typed }, Some(over), true) = (change, over, took) {
                        model.posts.push((over.rank.version, version, typed));
                    }
                    taken |= took;
                }
                match change {
                    _ if !taken => {}
                    Change::Post { .. } => {}
                    Change::Delete => model.data((version, [0; 32]), None),
                    Change::Put { seed } => {
                        let (put, body) = put_of(name, version, seed);
                        model.data((version, put.blake3), Some((put, body)));
                    }
                }
            }
        }
    }
    // Everybody hears from everybody: twice round, as the last may have had
    // what the first lacks; and once more for what two made of it together.
    for n in 0..3 * REPLICAS {
        bring(devices[n % REPLICAS], devices[(n + 1) % REPLICAS], name).await;
    }
    check(&devices, name, &model).await
}

#[test]
fn i6_replicas_that_bring_each_other_what_they_know_end_with_the_newest_data_metadata_and_type() {
    let benches: Vec<Bench> = (0..REPLICAS).map(|_| Bench::small()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = ProptestConfig {
        cases: if std::env::var_os("VIRGA_SOAK").is_some() {
            5_000
        } else {
            256
        },
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let names = Cell::new(0);
    let ran = TestRunner::new(config).run(&steps(), |steps| {
        names.set(names.get() + 1);
        let name = format!("o{}", names.get());
        runtime.block_on(history(&benches, &name, &steps))
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
}

#[tokio::test]
async fn what_was_posted_to_data_that_others_had_replaced_before_goes_with_it() {
    let benches = [Bench::small(), Bench::small()];
    let [stale, good] = [benches[0].device(), benches[1].device()];
    let version = |n: u64| Version(benches[0].next_version().0 + 100 * n);
    let [one, early, two, late] = [version(1), version(2), version(3), version(4)];
    for device in [stale, good] {
        assert!(hear(device, "o", Change::Put { seed: 1 }, one).await);
    }
    // Two updates on the data that it should no longer have.
    let plain = Change::Post { typed: false };
    assert!(hear(stale, "o", plain, early).await);
    assert!(hear(good, "o", Change::Put { seed: 2 }, two).await);
    assert!(hear(stale, "o", plain, late).await);
    bring(stale, good, "o").await;
    bring(good, stale, "o").await;
    let (put, body) = put_of("o", two, 2);
    let model = |posts| Model {
        data: Some(((two, put.blake3), Some((put.clone(), body.clone())))),
        posts,
    };
    check(&[stale, good], "o", &model(vec![])).await.unwrap();
    // Posted to the data that is there now, it stays.
    assert!(hear(good, "o", plain, late).await);
    bring(good, stale, "o").await;
    let posts = vec![(two, late, false)];
    check(&[stale, good], "o", &model(posts)).await.unwrap();
}

#[tokio::test]
async fn a_type_posted_before_other_metadata_is_not_lost_with_the_record_it_came_in() {
    let benches = [Bench::small(), Bench::small()];
    let [one, other] = [benches[0].device(), benches[1].device()];
    let start = benches[0].next_version();
    let version = |n: u64| Version(start.0 + 100 + n);
    for device in [one, other] {
        assert!(hear(device, "o", Change::Put { seed: 1 }, version(1)).await);
    }
    let (typed, plain) = (Change::Post { typed: true }, Change::Post { typed: false });
    // Each has missed one, and the one with the older type has the newer headers.
    assert!(hear(one, "o", typed, version(2)).await);
    assert!(hear(one, "o", plain, version(4)).await);
    assert!(hear(other, "o", typed, version(3)).await);
    bring(one, other, "o").await;
    bring(other, one, "o").await;
    let (put, body) = put_of("o", version(1), 1);
    let model = Model {
        data: Some(((version(1), put.blake3), Some((put, body)))),
        posts: vec![(version(1), version(3), true), (version(1), version(4), false)],
    };
    check(&[one, other], "o", &model).await.unwrap();
}

#[tokio::test]
async fn a_content_type_that_one_replica_was_posted_reaches_those_that_took_only_the_next_post() {
    let benches = [Bench::small(), Bench::small()];
    let [knows, missed] = [benches[0].device(), benches[1].device()];
    let put = benches[0].next_version();
    // Many, as hashes must not decide between the updates.
    for n in 0..20 {
        let name = format!("o{n}");
        let version = |n: u64| Version(put.0 + 100 + n);
        for device in [knows, missed] {
            assert!(hear(device, &name, Change::Put { seed: n }, version(1)).await);
        }
        let typed = PostMeta {
            content_type: Some("image/png".into()),
            ..PostMeta::default()
        };
        knows.post(&at(&name), version(2), typed).await.unwrap();
        for device in [missed, knows] {
            assert!(hear(device, &name, Change::Post { typed: false }, version(3 + n)).await);
            // The same request once more is the same update.
            assert!(hear(device, &name, Change::Post { typed: false }, version(3 + n)).await);
        }
        bring(missed, knows, &name).await;
        bring(knows, missed, &name).await;
        assert_eq!(state(knows, &name).await, state(missed, &name).await);
        for device in [knows, missed] {
            let Found::Object(stat) = device.head(&at(&name)).await.unwrap() else {
                panic!("gone")
            };
            assert_eq!(stat.meta.content_type, "image/png");
            assert_eq!(stat.meta.headers, headers(version(3 + n)));
            assert!(hear(device, &name, Change::Post { typed: false }, version(3 + n)).await);
        }
    }
}

#[tokio::test]
async fn newer_data_takes_the_place_of_older_data_with_all_that_was_posted_to_it() {
    let bench = Bench::small();
    let (old, new) = (body(100, 1), body(100, 2));
    // Not one right behind the other, as an update of the old format would be.
    let versions: Vec<Version> = (0..8).map(|_| bench.next_version()).step_by(2).collect();
    put(bench.device(), request("o", versions[0], &old), &old)
        .await
        .unwrap();
    let update = PostMeta {
        headers: vec![("x-object-meta-a".into(), "1".into())],
        ..PostMeta::default()
    };
    let (device, place) = (bench.device(), at("o"));
    device.post(&place, versions[3], update.clone()).await.unwrap();
    // Stamped before the update, it is newer than the data that this is of.
    let late = request("o", versions[1], &new);
    put(bench.device(), late.clone(), &new).await.unwrap();
    let head = async || {
        let Found::Object(stat) = bench.device().head(&at("o")).await.unwrap() else {
            panic!("gone");
        };
        (stat.version, stat.meta_version, stat.meta.headers)
    };
    assert_eq!(
        head().await,
        (versions[1], versions[1], late.meta.headers.clone())
    );
    // Brought by another replica, an update finds the data it was made over, or
    // newer data, or waits for it.
    let push = |over: Version| Push::Post {
        update: Posted::asked(versions[3], update.clone(), over, None),
        row_owed: false,
    };
    device.push(&place, push(versions[0])).await.unwrap();
    assert_eq!(head().await.1, versions[1]);
    device.push(&place, push(versions[2])).await.unwrap();
    assert_eq!(
        head().await,
        (versions[1], versions[1], late.meta.headers.clone()),
        "what waits for its data is not shown with other data"
    );
    let copy = PutObject {
        source: Source::Replica { row_owed: false },
        version: versions[2],
        ..late
    };
    put(bench.device(), copy.clone(), &new).await.unwrap();
    let (version, meta_version, headers) = head().await;
    assert_eq!((version, meta_version), (versions[2], versions[3]));
    assert_eq!(headers, update.headers);
    // And what is older than what is here changes nothing.
    let older = PutObject {
        version: versions[0],
        ..copy
    };
    put(bench.device(), older, &new).await.unwrap();
    assert_eq!(get(bench.device(), "o").await, Ok(Some(new)));
}
