//! What one device does with objects, operation by operation.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]
mod support;

use std::time::Duration;

use blake3::hazmat::HasherExt;
use futures_util::StreamExt;
use support::{Bench, START, at, body, get, get_span, put, request};
use virga_node::clock::Version;
use virga_object_wire::checked::{BLOCK, Checked, EXTENT};
use virga_object_wire::error::NodeError;
use virga_object_wire::movement::Push;
use virga_object_wire::node::{Read, Span};
use virga_object_wire::object::{At, Found, PostMeta, PutObject, Source, SubtreesRequest};

#[tokio::test]
async fn an_object_reads_back_with_its_metadata() {
    let bench = Bench::small();
    for len in [0, 1, 4096, BLOCK, BLOCK + 1, EXTENT, EXTENT + 1, 3 * EXTENT + 77] {
        let name = format!("o{len}");
        let (version, bytes) = (bench.next_version(), body(len, 1));
        let wanted = request(&name, version, &bytes);
        put(bench.device(), wanted.clone(), &bytes).await.unwrap();
        assert_eq!(get(bench.device(), &name).await.unwrap(), Some(bytes), "{len}");
        let Found::Object(stat) = bench.device().head(&at(&name)).await.unwrap() else {
            panic!("no head")
        };
        assert_eq!(
            (stat.version, stat.meta_version, stat.size),
            (version, version, len as u64)
        );
        assert_eq!((stat.blake3, stat.meta), (wanted.blake3, wanted.meta));
    }
    assert_eq!(bench.device().stats().objects, 8);
    assert_eq!(bench.device().head(&at("other")).await.unwrap(), Found::Absent);
}

#[tokio::test]
async fn any_span_reads_as_that_part_of_the_body() {
    let bench = Bench::small();
    for len in [200_000, 2 * EXTENT + 1000] {
        let bytes = body(len, 2);
        bench.store("o", &bytes).await;
        let spots = [
            0,
            1,
            BLOCK - 1,
            BLOCK,
            BLOCK + 1,
            EXTENT - 1,
            EXTENT,
            EXTENT + 1,
            len - 1,
            len,
            len + 9,
        ];
        for start in spots {
            for end in spots {
                let span = Span {
                    start: start as u64,
                    end: end as u64,
                };
                let found = get_span(bench.device(), "o", Some(span)).await.unwrap().unwrap();
                let (from, to) = (start.min(len), end.min(len).max(start.min(len)));
                assert_eq!(found, bytes.slice(from..to), "{start}..{end} of {len}");
            }
        }
    }
}

#[tokio::test]
async fn an_older_write_is_refused_and_the_same_one_is_accepted_again() {
    let bench = Bench::small();
    let (old, new) = (bench.next_version(), bench.next_version());
    let bytes = body(10, 3);
    put(bench.device(), request("o", new, &bytes), &bytes)
        .await
        .unwrap();
    assert_eq!(
        put(bench.device(), request("o", new, &bytes), &bytes).await,
        Ok(())
    );
    assert_eq!(
        put(bench.device(), request("o", old, &bytes), &bytes).await,
        Err(NodeError::Newer(new))
    );
    assert_eq!(
        bench.device().delete(&at("o"), old, "a/c/o").await,
        Err(NodeError::Newer(new))
    );
    let post = bench.device().post(&at("o"), old, PostMeta::default()).await;
    assert_eq!(post, Err(NodeError::Newer(new)));
    assert_eq!(bench.device().stats().objects, 1);
}

#[tokio::test]
async fn of_two_writes_of_one_version_at_the_same_time_one_is_told_to_be_stamped_anew() {
    for seed in 1..=8 {
        let bench = Bench::small();
        let (one, other) = (body(10, seed), body(12, 100 + seed));
        let version = bench.next_version();
        let (first, second) = tokio::join!(
            put(bench.device(), request("o", version, &one), &one),
            put(bench.device(), request("o", version, &other), &other),
        );
        assert_eq!(
            (first, second),
            (Ok(()), Err(NodeError::Newer(version))),
            "{seed}"
        );

        let version = bench.next_version();
        let colour = |value: &str| PostMeta {
            headers: vec![("x-object-meta-color".into(), format!("{value}{seed}"))],
            ..PostMeta::default()
        };
        let (name, red, blue) = (at("o"), colour("red"), colour("blue"));
        let (first, second) = tokio::join!(
            bench.device().post(&name, version, red),
            bench.device().post(&name, version, blue),
        );
        let second = second.map(|stat| stat.meta_version);
        assert_eq!(
            (first.map(|stat| stat.meta_version), second),
            (Ok(version), Err(NodeError::Newer(version))),
            "{seed}"
        );
    }
}

#[tokio::test]
async fn a_deleted_object_is_gone_and_an_older_put_does_not_bring_it_back() {
    let bench = Bench::small();
    let bytes = body(10, 3);
    let (first, late, deleted) = (bench.next_version(), bench.next_version(), bench.next_version());
    put(bench.device(), request("o", first, &bytes), &bytes)
        .await
        .unwrap();
    assert!(
        bench
            .device()
            .delete(&at("o"), deleted, "a/c/o")
            .await
            .unwrap()
            .existed
    );
    assert!(
        !bench
            .device()
            .delete(&at("o"), deleted, "a/c/o")
            .await
            .unwrap()
            .existed
    );
    assert_eq!(
        bench.device().head(&at("o")).await.unwrap(),
        Found::Deleted(deleted)
    );
    assert!(
        matches!(bench.device().get(&at("o"), None).await.unwrap(), Read::Gone(Some(at)) if at == deleted)
    );
    assert_eq!(
        put(bench.device(), request("o", late, &bytes), &bytes).await,
        Err(NodeError::Newer(deleted))
    );
    let unknown = bench.next_version();
    assert!(
        !bench
            .device()
            .delete(&at("never"), unknown, "a/c/never")
            .await
            .unwrap()
            .existed
    );
    assert_eq!(
        bench.device().head(&at("never")).await.unwrap(),
        Found::Deleted(unknown)
    );
    assert_eq!(bench.device().stats().objects, 0);
}

#[tokio::test]
async fn a_post_replaces_headers_and_keeps_type_and_bytes() {
    let bench = Bench::small();
    let bytes = body(EXTENT + 5, 4);
    let version = bench.next_version();
    put(bench.device(), request("o", version, &bytes), &bytes)
        .await
        .unwrap();
    let header = |value: &str| vec![("x-object-meta-color".to_owned(), value.to_owned())];
    let typed = PostMeta {
        content_type: Some("image/png".into()),
        delete_at: None,
        headers: header("red"),
    };
    let first = bench.next_version();
    bench.device().post(&at("o"), first, typed.clone()).await.unwrap();
    let again = bench.device().post(&at("o"), first, typed).await.unwrap();
    assert_eq!(again.meta_version, first, "the same POST twice is one");
    let second = bench.next_version();
    let plain = PostMeta {
        content_type: None,
        delete_at: None,
        headers: header("blue"),
    };
    let said = bench
        .device()
        .post(&at("o"), second, plain.clone())
        .await
        .unwrap();
    assert_eq!(
        bench.device().post(&at("o"), second, plain).await,
        Ok(said.clone())
    );
    let Found::Object(stat) = bench.device().head(&at("o")).await.unwrap() else {
        panic!("no head")
    };
    assert_eq!(stat, said);
    assert_eq!((stat.version, stat.meta_version), (version, second));
    assert_eq!(stat.meta.headers, header("blue"));
    assert_eq!(stat.meta.content_type, "image/png", "an earlier POST set it");
    assert_eq!(get(bench.device(), "o").await.unwrap(), Some(bytes));
    let missing = bench
        .device()
        .post(&at("none"), bench.next_version(), PostMeta::default())
        .await;
    assert_eq!(missing, Err(NodeError::NotFound));
}

#[tokio::test]
async fn bodies_that_are_not_what_they_claim_are_refused() {
    let bench = Bench::small();
    let bytes = body(100_000, 6);
    let version = bench.next_version();
    let good = request("o", version, &bytes);
    let wrong_hash = PutObject {
        blake3: [1; 32],
        ..good.clone()
    };
    let wrong_size = PutObject {
        size: 5,
        ..good.clone()
    };
    let bad_crc = Checked::unverified(bytes.clone(), vec![0, 0]);
    let seal = || Checked::seal(bytes.clone());
    assert_eq!(
        bench.device().put(&at("o"), wrong_hash, seal()).await,
        Err(NodeError::Garbled)
    );
    let wrong = bench.device().put(&at("o"), wrong_size, seal()).await;
    assert!(matches!(wrong, Err(NodeError::Invalid(_))));
    assert_eq!(
        bench.device().put(&at("o"), good.clone(), bad_crc).await,
        Err(NodeError::Garbled)
    );
    let ahead = Version::at(virga_node::clock::Micros((START + 120) * 1_000_000));
    let ahead = bench
        .device()
        .put(
            &at("o"),
            PutObject {
                version: ahead,
                ..good
            },
            seal(),
        )
        .await;
    assert!(matches!(ahead, Err(NodeError::Ahead(110..=120))), "{ahead:?}");
    assert_eq!(bench.device().head(&at("o")).await.unwrap(), Found::Absent);
}

#[tokio::test]
async fn a_large_object_is_invisible_until_it_is_committed() {
    let bench = Bench::small();
    let bytes = body(2 * EXTENT + 9, 7);
    let mut stream = bench.device().begin_put(&at("o")).await.unwrap();
    for chunk in bytes.chunks(BLOCK * 3) {
        stream.send(Checked::seal(bytes.slice_ref(chunk))).await.unwrap();
    }
    assert_eq!(bench.device().head(&at("o")).await.unwrap(), Found::Absent);
    let version = bench.next_version();
    let lie = PutObject {
        blake3: [9; 32],
        ..request("o", version, &bytes)
    };
    assert_eq!(stream.commit(lie).await, Err(NodeError::Garbled));
    assert_eq!(bench.device().head(&at("o")).await.unwrap(), Found::Absent);
    // Meanwhile somebody else writes: the commit is told, and asks again.
    let other = bench.next_version();
    put(bench.device(), request("o", other, &body(5, 1)), &body(5, 1))
        .await
        .unwrap();
    let late = stream.commit(request("o", version, &bytes)).await;
    assert_eq!(late, Err(NodeError::Newer(other)));
    stream
        .commit(request("o", bench.next_version(), &bytes))
        .await
        .unwrap();
    assert_eq!(get(bench.device(), "o").await.unwrap(), Some(bytes));
}

#[tokio::test]
async fn the_subtree_values_of_a_large_object_are_had_without_its_bytes_and_make_its_root() {
    let bench = Bench::small();
    let bytes = body(4 * EXTENT + 9, 7);
    let version = bench.next_version();
    let mut stream = bench.device().begin_put(&at("o")).await.unwrap();
    for chunk in bytes.chunks(EXTENT) {
        stream.send(Checked::seal(bytes.slice_ref(chunk))).await.unwrap();
    }
    let put_large = request("o", version, &bytes);
    let blake3 = put_large.blake3;
    stream.commit(put_large).await.unwrap();
    let wanted = |first, count| SubtreesRequest {
        version,
        blake3,
        first,
        count,
    };
    let all = bench.device().subtrees(&at("o"), wanted(0, 100)).await.unwrap();
    let expected: Vec<[u8; 32]> = (0u64..)
        .zip(bytes.chunks(EXTENT))
        .map(|(n, chunk)| {
            let mut hasher = blake3::Hasher::new();
            hasher
                .set_input_offset(n * EXTENT as u64)
                .update(chunk)
                .finalize_non_root()
        })
        .collect();
    assert_eq!(all, expected);
    let some = bench.device().subtrees(&at("o"), wanted(1, 2)).await.unwrap();
    assert_eq!(some, expected[1..3]);
    assert!(
        bench
            .device()
            .subtrees(&at("o"), wanted(5, 1))
            .await
            .unwrap()
            .is_empty()
    );
    for (at_name, bad, expected) in [
        ("o", wanted(0, 0), "1 to 1024"),
        ("o", wanted(0, 1025), "1 to 1024"),
        (
            "o",
            SubtreesRequest {
                blake3: [0; 32],
                ..wanted(0, 1)
            },
            "not found",
        ),
        ("p", wanted(0, 1), "not found"),
    ] {
        let error = bench
            .device()
            .subtrees(&at(at_name), bad)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
    let small = body(EXTENT, 1);
    let put_small = request("s", bench.next_version(), &small);
    let (version, blake3) = (put_small.version, put_small.blake3);
    put(bench.device(), put_small, &small).await.unwrap();
    let asked = SubtreesRequest {
        version,
        blake3,
        first: 0,
        count: 1,
    };
    let error = bench.device().subtrees(&at("s"), asked).await;
    assert_eq!(error, Err(SubtreesRequest::too_small()));
}

#[tokio::test]
async fn every_change_owes_a_row_until_it_is_settled() {
    let mut bench = Bench::small();
    let bytes = body(10, 8);
    let all = Version(u64::MAX);
    bench.store("x/1", &bytes).await;
    let deleted = bench.next_version();
    bench
        .device()
        .delete(&at("x/2"), deleted, "a/c/x/2")
        .await
        .unwrap();
    let posted = bench.next_version();
    bench
        .device()
        .post(&at("x/1"), posted, PostMeta::default())
        .await
        .unwrap();
    let mut owed = bench.device().owed(10, all).await.unwrap();
    owed.sort_by(|a, b| (&a.path, a.settled.version).cmp(&(&b.path, b.settled.version)));
    let paths: Vec<_> = owed.iter().map(|owed| owed.path.as_str()).collect();
    assert_eq!(paths, ["a/c/x/1", "a/c/x/1", "a/c/x/2"]);
    assert_eq!(
        (owed[1].row.name.as_str(), owed[1].row.meta_version),
        ("x/1", posted)
    );
    assert!(owed[2].row.deleted);
    assert!(
        bench.device().owed(10, Version(0)).await.unwrap().is_empty(),
        "none is that old"
    );
    bench
        .device()
        .settle(owed.into_iter().map(|owed| owed.settled).collect())
        .await
        .unwrap();
    assert!(bench.device().owed(10, all).await.unwrap().is_empty());
    bench.restart().await;
    assert!(bench.device().owed(10, all).await.unwrap().is_empty());
}

#[tokio::test]
async fn rows_that_nobody_takes_do_not_hide_the_others() {
    let bench = Bench::small();
    let bytes = body(10, 8);
    for n in 0..20 {
        let name = format!("o{n}");
        bench.store(&name, &bytes).await;
    }
    let mut seen = std::collections::HashSet::new();
    for _ in 0..8 {
        for owed in bench.device().owed(3, Version(u64::MAX)).await.unwrap() {
            seen.insert(owed.path);
        }
    }
    assert_eq!(seen.len(), 20);
}

#[tokio::test]
async fn policies_that_share_a_partition_and_a_hash_keep_their_objects_apart() {
    let mut bench = Bench::small();
    let (one, other) = (body(100, 1), body(100, 2));
    let there = At { policy: 1, ..at("o") };
    put(bench.device(), request("o", bench.next_version(), &one), &one)
        .await
        .unwrap();
    let wanted = request("o", bench.next_version(), &other);
    let sealed = Checked::seal(other.clone());
    bench.device().put(&there, wanted, sealed).await.unwrap();
    // An index made anew knows the policies from the log.
    bench.lose_index(1);
    assert_eq!(get(bench.device(), "o").await, Ok(Some(one)));
    let Ok(Read::Object(mut read)) = bench.device().get(&there, None).await else {
        panic!("nothing there");
    };
    assert_eq!(read.body.next().await.unwrap().unwrap().data(), &other);
    let partition = vec![there.partition];
    for policy in [0, 1, 2] {
        let sums = bench.device().sums(policy, partition.clone()).await.unwrap();
        assert_eq!(sums[0].count, u64::from(policy < 2));
        let held = bench.device().held(policy).await.unwrap();
        assert_eq!(held.len(), usize::from(policy < 2));
    }
    bench
        .device()
        .delete(&there, bench.next_version(), "a/c/o")
        .await
        .unwrap();
    assert_eq!(bench.device().stats().objects, 1, "the other one lives");
}

#[tokio::test]
async fn a_copy_from_a_replica_owes_the_row_exactly_if_that_one_does() {
    let mut bench = Bench::small();
    let bytes = body(100, 1);
    for (name, row_owed) in [("settled", false), ("owed", true)] {
        let copy = PutObject {
            source: Source::Replica { row_owed },
            ..request(name, bench.next_version(), &bytes)
        };
        put(bench.device(), copy, &bytes).await.unwrap();
        let deletion = Push::Deletion {
            version: bench.next_version(),
            path: format!("a/c/deleted-{name}"),
            row_owed,
        };
        let place = at(&format!("deleted-{name}"));
        bench.device().push(&place, deletion).await.unwrap();
        // And whoever is sent it next hears the same.
        let told = bench.device().records(&at(name)).await.unwrap();
        assert_eq!(told.object.unwrap().source, Source::Replica { row_owed });
        let told = bench.device().records(&place).await.unwrap();
        let Some(Push::Deletion { row_owed: said, .. }) = told.deletion else {
            panic!("no deletion of {name}");
        };
        assert_eq!(said, row_owed);
    }
    for _ in 0..2 {
        let owed = bench.device().owed(10, Version(u64::MAX)).await.unwrap();
        let mut paths: Vec<_> = owed.into_iter().map(|owed| owed.path).collect();
        paths.sort();
        assert_eq!(paths, ["a/c/deleted-owed", "a/c/owed"]);
        bench.kill();
    }
}

#[tokio::test]
async fn expired_objects_that_cannot_be_deleted_yet_do_not_hide_the_others() {
    let bench = Bench::small();
    let bytes = body(10, 1);
    for n in 0..5 {
        let mut wanted = request(&format!("o{n}"), bench.next_version(), &bytes);
        wanted.meta.delete_at = Some(START + 1);
        put(bench.device(), wanted, &bytes).await.unwrap();
    }
    bench.advance(Duration::from_secs(10));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        for expired in bench.device().expired(2, 0).await.unwrap() {
            seen.insert(expired.path);
        }
    }
    assert_eq!(seen.len(), 5, "all of them, two at a time");
    assert_eq!(
        bench.device().expired(2, 0).await.unwrap().len(),
        2,
        "and from the start again"
    );
}
