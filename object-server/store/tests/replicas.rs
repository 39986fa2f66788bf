//! Three devices as replicas of one name: whatever each of them heard of its
//! PUTs, POSTs and DELETEs, and in whatever order they bring each other what
//! they know, all end with the newest data and with the newest metadata that is
//! newer than that data. A failing case prints its smallest history.
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
use virga_object_wire::movement::{Buckets, NameState, NamesRequest};
use virga_object_wire::object::{Found, PostMeta, PutObject};

const REPLICAS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Change {
    Put { seed: u64 },
    Post,
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
        3 => Just(Change::Post),
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
    post: Option<Version>,
}

impl Model {
    fn data(&mut self, rank: Rank, content: Option<Content>) {
        if self.data.as_ref().is_none_or(|(old, _)| *old < rank) {
            self.data = Some((rank, content));
        }
    }

    /// The newest metadata update, if it is newer than the data.
    fn post(&self) -> Option<Version> {
        let data = self.data.as_ref().map(|((version, _), _)| *version);
        self.post.filter(|post| Some(*post) > data)
    }
}

fn headers(version: Version) -> Vec<(String, String)> {
    vec![("x-object-meta-of".to_owned(), version.0.to_string())]
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
        Change::Post => {
            let meta = PostMeta {
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
                let meta_version = model.post().unwrap_or(*version);
                prop_assert_eq!(stat.meta_version, meta_version);
                prop_assert_eq!(stat.meta.headers, headers(meta_version));
                prop_assert_eq!(&stat.meta.content_type, &put.meta.content_type);
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
                    if by & 1 << n != 0 {
                        taken |= hear(device, name, change, version).await;
                    }
                }
                match change {
                    _ if !taken => {}
                    Change::Post => model.post = model.post.max(Some(version)),
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
    // what the first lacks.
    for n in 0..2 * REPLICAS {
        bring(devices[n % REPLICAS], devices[(n + 1) % REPLICAS], name).await;
    }
    check(&devices, name, &model).await
}

#[test]
fn i6_replicas_that_bring_each_other_what_they_know_end_with_the_newest_data_and_metadata() {
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
async fn a_replica_that_missed_a_put_and_took_a_later_post_ends_with_the_put_s_data_and_type() {
    let benches = [Bench::small(), Bench::small()];
    let [stale, good] = [benches[0].device(), benches[1].device()];
    let version = |n: u64| Version(benches[0].next_version().0 + 100 * n);
    let [one, early, two, late] = [version(1), version(2), version(3), version(4)];
    for device in [stale, good] {
        assert!(hear(device, "o", Change::Put { seed: 1 }, one).await);
    }
    // Two updates on the data that it should no longer have.
    assert!(hear(stale, "o", Change::Post, early).await);
    assert!(hear(good, "o", Change::Put { seed: 2 }, two).await);
    for device in [stale, good] {
        assert!(hear(device, "o", Change::Post, late).await);
    }
    bring(good, stale, "o").await;
    bring(stale, good, "o").await;
    let (put, body) = put_of("o", two, 2);
    let model = Model {
        data: Some(((two, put.blake3), Some((put, body)))),
        post: Some(late),
    };
    check(&[stale, good], "o", &model).await.unwrap();
}

#[tokio::test]
async fn a_content_type_that_one_replica_was_posted_reaches_those_that_took_only_the_next_post() {
    let benches = [Bench::small(), Bench::small()];
    let [knows, missed] = [benches[0].device(), benches[1].device()];
    let put = benches[0].next_version();
    // Many, as hashes decide between the updates.
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
            assert!(hear(device, &name, Change::Post, version(3 + n)).await);
            // The same request once more is the same update.
            assert!(hear(device, &name, Change::Post, version(3 + n)).await);
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
            assert!(hear(device, &name, Change::Post, version(3 + n)).await);
        }
    }
}
