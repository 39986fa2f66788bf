//! Symbolic links: where they lead, whom they let through, what they cannot do.
use super::door::{Door, MALLORY};

const EMPTY: &str = "d41d8cd98f00b204e9800998ecf8427e";
/// MD5 of "bytes".
const BYTES: &str = "4b3a6218bb3e3a7303e8a171a60fcf92";

/// Containers `c` and `d`, an object `c/o`, and a link `d/link` to it.
async fn linked() -> Door {
    let door = Door::open().await;
    for container in ["c", "d"] {
        door.alice(&format!("PUT /v1/AUTH_p/{container}"), &[], b"", 201)
            .await;
    }
    let kind = [("Content-Type", "text/x"), ("X-Object-Meta-Color", "red")];
    door.alice("PUT /v1/AUTH_p/c/o", &kind, b"bytes", 201).await;
    link(&door, "d/link", "c/o").await;
    door
}

async fn link(door: &Door, name: &str, to: &str) {
    let line = format!("PUT /v1/AUTH_p/{name}");
    door.alice(&line, &[("X-Symlink-Target", to)], b"", 201).await;
}

#[tokio::test]
async fn a_link_reads_like_its_target_and_says_where_that_is() {
    let door = linked().await;
    let reply = door.alice("GET /v1/AUTH_p/d/link", &[], b"", 200).await;
    assert_eq!(reply.text(), "bytes");
    for (name, value) in [
        ("etag", BYTES),
        ("content-type", "text/x"),
        ("x-object-meta-color", "red"),
        ("content-location", "/v1/AUTH_p/c/o"),
    ] {
        assert_eq!(reply.header(name), Some(value));
    }
    assert_eq!(reply.header("x-symlink-target"), None);
    let range = [("Range", "bytes=1-2")];
    let part = door.alice("GET /v1/AUTH_p/d/link", &range, b"", 206).await;
    assert_eq!(part.text(), "yt");
    let direct = door.alice("GET /v1/AUTH_p/c/o", &[], b"", 200).await;
    assert_eq!(direct.header("content-location"), None);
    let itself = door
        .alice("GET /v1/AUTH_p/d/link?symlink=get", &[], b"", 200)
        .await;
    assert_eq!((itself.text().as_str(), itself.header("etag")), ("", Some(EMPTY)));
    assert_eq!(itself.header("x-symlink-target"), Some("c/o"));
    assert_eq!(itself.header("content-type"), Some("application/symlink"));
    door.alice("DELETE /v1/AUTH_p/c/o", &[], b"", 204).await;
    let gone = door.alice("HEAD /v1/AUTH_p/d/link", &[], b"", 404).await;
    assert_eq!(gone.header("content-location"), Some("/v1/AUTH_p/c/o"));
    door.alice("DELETE /v1/AUTH_p/d/link", &[], b"", 204).await;
    door.alice("HEAD /v1/AUTH_p/d/link?symlink=get", &[], b"", 404)
        .await;
}

#[tokio::test]
async fn names_in_links_are_percent_encoded_and_come_back_so() {
    let door = linked().await;
    door.alice("PUT /v1/AUTH_p/c/a%20%C3%BC", &[], b"odd", 201).await;
    link(&door, "d/odd", "c/a%20%c3%bc").await;
    let reply = door.alice("GET /v1/AUTH_p/d/odd", &[], b"", 200).await;
    assert_eq!(reply.text(), "odd");
    assert_eq!(reply.header("content-location"), Some("/v1/AUTH_p/c/a%20%C3%BC"));
}

#[tokio::test]
async fn so_many_links_are_followed_and_no_more() {
    let door = linked().await;
    link(&door, "d/two", "d/link").await;
    link(&door, "d/three", "d/two").await;
    door.alice("GET /v1/AUTH_p/d/two", &[], b"", 200).await;
    let reply = door.alice("GET /v1/AUTH_p/d/three", &[], b"", 409).await;
    assert_eq!(
        reply.text(),
        "Too many levels of symbolic links, maximum allowed is 2"
    );
    link(&door, "d/tick", "d/tock").await;
    link(&door, "d/tock", "d/tick").await;
    door.alice("HEAD /v1/AUTH_p/d/tick", &[], b"", 409).await;
}

#[tokio::test]
async fn a_link_with_an_etag_is_good_for_exactly_that_object() {
    let door = linked().await;
    let put =
        |to: &'static str, etag: &'static str| [("X-Symlink-Target", to), ("X-Symlink-Target-Etag", etag)];
    for (to, etag, status) in [
        ("c/o", "wrong", 409),
        ("c/none", BYTES, 409),
        ("c/o", "a;b", 400),
        ("d/link", EMPTY, 201),
        ("c/o", BYTES, 201),
    ] {
        door.alice("PUT /v1/AUTH_p/d/static", &put(to, etag), b"", status)
            .await;
    }
    let reply = door.alice("GET /v1/AUTH_p/d/static", &[], b"", 200).await;
    assert_eq!(reply.text(), "bytes");
    let listing = door.alice("GET /v1/AUTH_p/d?format=json", &[], b"", 200).await;
    let listing = listing.json();
    for (row, name, etag, bytes, kind) in [
        (0, "link", None, None, "application/symlink"),
        (1, "static", Some(BYTES), Some(5), "text/x"),
    ] {
        let row = &listing[row];
        assert_eq!(
            (row["name"].as_str(), row["hash"].as_str()),
            (Some(name), Some(EMPTY))
        );
        assert_eq!(row["symlink_path"], "/v1/AUTH_p/c/o");
        assert_eq!(row["symlink_etag"].as_str(), etag);
        assert_eq!(row["symlink_bytes"].as_u64(), bytes);
        assert_eq!(
            (row["bytes"].as_u64(), row["content_type"].as_str()),
            (Some(0), Some(kind))
        );
    }
    door.alice("PUT /v1/AUTH_p/c/o", &[], b"others", 201).await;
    for method in ["GET", "HEAD"] {
        let line = format!("{method} /v1/AUTH_p/d/static");
        let reply = door.alice(&line, &[], b"", 409).await;
        assert_eq!(reply.header("content-location"), Some("/v1/AUTH_p/c/o"));
    }
    door.alice("GET /v1/AUTH_p/d/link", &[], b"", 200).await;
}

#[tokio::test]
async fn links_that_make_no_sense_are_refused() {
    let door = linked().await;
    for (to, body, status) in [
        ("c", &b""[..], 412),
        ("/c/o", b"", 412),
        ("", b"", 412),
        ("d/new", b"", 400),
        ("c/o", b"x", 400),
    ] {
        let asked = [("X-Symlink-Target", to)];
        door.alice("PUT /v1/AUTH_p/d/new", &asked, body, status).await;
        door.alice("HEAD /v1/AUTH_p/d/new?symlink=get", &[], b"", 404)
            .await;
    }
    let chunked = [("X-Symlink-Target", "c/o"), ("Transfer-Encoding", "chunked")];
    door.alice("PUT /v1/AUTH_p/d/new", &chunked, b"1\r\nx\r\n0\r\n\r\n", 400)
        .await;
    door.alice("PUT /v1/AUTH_p/d/new", &chunked, b"0\r\n\r\n", 201)
        .await;
    let target = [("X-Symlink-Target", "c/o")];
    door.alice("POST /v1/AUTH_p/c/o", &target, b"", 400).await;
}

#[tokio::test]
async fn a_post_changes_the_link_and_points_to_the_target() {
    let door = linked().await;
    let color = [("X-Object-Meta-Color", "blue")];
    let reply = door.alice("POST /v1/AUTH_p/d/link", &color, b"", 307).await;
    assert_eq!(reply.header("location"), Some("/v1/AUTH_p/c/o"));
    for (path, color) in [("d/link?symlink=get", "blue"), ("d/link", "red"), ("c/o", "red")] {
        let reply = door
            .alice(&format!("HEAD /v1/AUTH_p/{path}"), &[], b"", 200)
            .await;
        assert_eq!(reply.header("x-object-meta-color"), Some(color), "{path}");
    }
}

#[tokio::test]
async fn a_copy_is_of_the_target_unless_the_link_is_meant() {
    let door = linked().await;
    for (query, to, location) in [
        ("", "d/copy", None),
        ("?symlink=get", "d/again", Some("/v1/AUTH_p/c/o")),
    ] {
        let line = format!("COPY /v1/AUTH_p/d/link{query}");
        door.alice(&line, &[("Destination", to)], b"", 201).await;
        let reply = door.alice(&format!("GET /v1/AUTH_p/{to}"), &[], b"", 200).await;
        assert_eq!(reply.text(), "bytes");
        assert_eq!(reply.header("content-location"), location, "{to}");
    }
}

#[tokio::test]
async fn a_link_opens_nothing_that_its_reader_may_not_read() {
    let door = linked().await;
    let all = [("X-Container-Read", "q:mallory")];
    door.alice("POST /v1/AUTH_p/d", &all, b"", 204).await;
    let reply = door.call(MALLORY, "GET /v1/AUTH_p/d/link", &[], b"").await;
    assert_eq!((reply.status, reply.text().contains("bytes")), (403, false));
    let own = door.call(MALLORY, "PUT /v1/AUTH_q/c", &[], b"").await;
    assert_eq!(own.status, 201);
    let there = [
        ("X-Symlink-Target", "c/o"),
        ("X-Symlink-Target-Account", "AUTH_p"),
    ];
    let put = door.call(MALLORY, "PUT /v1/AUTH_q/c/link", &there, b"").await;
    assert_eq!(put.status, 201);
    let etag = [there[0], there[1], ("X-Symlink-Target-Etag", BYTES)];
    let put = door.call(MALLORY, "PUT /v1/AUTH_q/c/static", &etag, b"").await;
    assert_eq!(put.status, 403, "an ETag cannot be guessed by linking");
    assert_eq!(
        door.call(MALLORY, "GET /v1/AUTH_q/c/link", &[], b"").await.status,
        403
    );
    let copy = [("Destination", "c/stolen")];
    assert_eq!(
        door.call(MALLORY, "COPY /v1/AUTH_q/c/link", &copy, b"")
            .await
            .status,
        403
    );
    door.alice("POST /v1/AUTH_p/c", &all, b"", 204).await;
    let reply = door.call(MALLORY, "GET /v1/AUTH_q/c/link", &[], b"").await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "bytes"));
    assert_eq!(reply.header("content-location"), Some("/v1/AUTH_p/c/o"));
}

#[tokio::test]
async fn segments_may_be_links_and_links_may_lead_to_large_objects() {
    let door = linked().await;
    let manifest = br#"[{"path":"/d/link"},{"path":"/c/o","range":"1-2"}]"#;
    let put = "PUT /v1/AUTH_p/c/large?multipart-manifest=put";
    door.alice(put, &[], manifest, 201).await;
    link(&door, "d/large", "c/large").await;
    let nested = br#"[{"path":"/d/large"},{"path":"/d/link","range":"0-0"}]"#;
    let put = "PUT /v1/AUTH_p/c/nested?multipart-manifest=put";
    door.alice(put, &[], nested, 201).await;
    for (path, text) in [
        ("c/large", "bytesyt"),
        ("d/large", "bytesyt"),
        ("c/nested", "bytesytb"),
    ] {
        let line = format!("GET /v1/AUTH_p/{path}");
        assert_eq!(door.alice(&line, &[], b"", 200).await.text(), text, "{path}");
        let range = [("Range", "bytes=3-5")];
        assert_eq!(door.alice(&line, &range, b"", 206).await.text(), "esy", "{path}");
    }
    door.alice("PUT /v1/AUTH_p/c/o", &[], b"other", 201).await;
    door.alice("GET /v1/AUTH_p/c/large", &[], b"", 409).await;
    let line = "DELETE /v1/AUTH_p/c/large?multipart-manifest=delete";
    door.alice(line, &[], b"", 200).await;
    door.alice("GET /v1/AUTH_p/d/link?symlink=get", &[], b"", 404)
        .await;
}
