//! Listings as clients walk through them.
use super::door::Door;

async fn filled(names: &[&str]) -> Door {
    let door = Door::open().await;
    door.alice("PUT /v1/AUTH_p/c", &[], b"", 201).await;
    for name in names {
        door.alice(
            &format!("PUT /v1/AUTH_p/c/{name}"),
            &[("Content-Type", "a/b")],
            b"x",
            201,
        )
        .await;
    }
    door
}

async fn names(door: &Door, query: &str) -> Vec<String> {
    let reply = door
        .alice(&format!("GET /v1/AUTH_p/c?{query}"), &[], b"", 200)
        .await;
    reply.text().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn prefix_delimiter_markers_limit_and_reverse_cut_a_listing() {
    let door = filled(&["a", "b-&x", "b-&y", "b-z", "c"]).await;
    for (query, expected) in [
        ("", vec!["a", "b-&x", "b-&y", "b-z", "c"]),
        ("limit=2", vec!["a", "b-&x"]),
        ("marker=b-%26x", vec!["b-&y", "b-z", "c"]),
        ("end_marker=b-z", vec!["a", "b-&x", "b-&y"]),
        ("prefix=b", vec!["b-&x", "b-&y", "b-z"]),
        ("delimiter=-", vec!["a", "b-", "c"]),
        ("delimiter=-%26", vec!["a", "b-&", "b-z", "c"]),
        ("delimiter=-%26&reverse=on", vec!["c", "b-z", "b-&", "a"]),
        ("reverse=true&marker=b-z&limit=1", vec!["b-&y"]),
    ] {
        assert_eq!(names(&door, query).await, expected, "{query}");
    }
    door.alice("GET /v1/AUTH_p/c?limit=0", &[], b"", 204).await;
    door.alice("GET /v1/AUTH_p/c?marker=zzz", &[], b"", 204).await;
    door.alice("GET /v1/AUTH_p/c?limit=10001", &[], b"", 412).await;
    door.alice("GET /v1/AUTH_p/c?prefix=%ff", &[], b"", 400).await;
    door.alice("GET /v1/AUTH_p/c", &[("Accept", "image/png")], b"", 406)
        .await;
    door.alice("GET /v1/AUTH_p/c", &[("Accept", "nonsense")], b"", 400)
        .await;
}

#[tokio::test]
async fn a_path_shows_one_level_and_only_marked_directories() {
    let door = filled(&["dir/", "dir/a", "dir/sub/", "dir/sub/x", "dir/unmarked/y", "top"]).await;
    for (query, expected) in [
        ("path=dir", vec!["dir/a", "dir/sub/"]),
        ("path=dir/", vec!["dir/a", "dir/sub/"]),
        ("path=", vec!["dir/", "top"]),
        ("path=dir&limit=1", vec!["dir/a"]),
    ] {
        assert_eq!(names(&door, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn a_listing_says_what_its_objects_are() {
    let door = filled(&["o"]).await;
    let reply = door.alice("GET /v1/AUTH_p/c?format=json", &[], b"", 200).await;
    let item = &reply.json()[0];
    assert_eq!(item["hash"], "9dd4e461268c8034f5c8564e155c67a6");
    assert_eq!(
        (&item["bytes"], &item["content_type"]),
        (&1.into(), &"a/b".into())
    );
    assert_eq!(
        item["last_modified"].as_str().unwrap().len(),
        "2026-11-22T15:00:00.123456".len()
    );
    let xml = door
        .alice("GET /v1/AUTH_p/c", &[("Accept", "text/xml")], b"", 200)
        .await;
    assert!(
        xml.text()
            .contains("<object><name>o</name><hash>9dd4e461268c8034f5c8564e155c67a6</hash>")
    );
    assert_eq!(xml.header("content-type"), Some("text/xml; charset=utf-8"));
    assert_eq!(xml.header("vary"), Some("Accept"));
    let empty = door
        .alice("GET /v1/AUTH_p/c?format=json&prefix=none", &[], b"", 200)
        .await;
    assert_eq!(empty.text(), "[]");
}
