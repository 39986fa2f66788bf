//! Static and dynamic large objects, and deletion in bulk.
use super::door::{Door, MALLORY};

async fn with_segments() -> Door {
    let door = Door::open().await;
    door.alice("PUT /v1/AUTH_p/c", &[], b"", 201).await;
    for (name, body) in [("s/1", "aaaa"), ("s/2", "bbbbbb"), ("s/3", "cc")] {
        door.alice(&format!("PUT /v1/AUTH_p/c/{name}"), &[], body.as_bytes(), 201)
            .await;
    }
    door
}

const MANIFEST: &str =
    r#"[{"path":"/c/s/1","size_bytes":4},{"path":"/c/s/2","range":"1-3"},{"data":"WFla"},{"path":"/c/s/3"}]"#;

async fn put_manifest(door: &Door) -> String {
    let headers = [("Content-Type", "v/x")];
    let line = "PUT /v1/AUTH_p/c/large?multipart-manifest=put";
    let put = door.alice(line, &headers, MANIFEST.as_bytes(), 201).await;
    put.header("etag").unwrap().to_owned()
}

#[tokio::test]
async fn a_static_large_object_reads_as_one() {
    let door = with_segments().await;
    let etag = put_manifest(&door).await;
    assert!(etag.starts_with('"') && etag.len() == 34, "{etag}");
    let got = door.alice("GET /v1/AUTH_p/c/large", &[], b"", 200).await;
    assert_eq!(got.text(), "aaaabbbXYZcc");
    for (name, value) in [
        ("etag", etag.as_str()),
        ("content-length", "12"),
        ("content-type", "v/x"),
        ("x-static-large-object", "True"),
    ] {
        assert_eq!(got.header(name), Some(value), "{name}");
        let head = door.alice("HEAD /v1/AUTH_p/c/large", &[], b"", 200).await;
        assert_eq!(head.header(name), Some(value), "{name}");
    }
    for (range, body) in [("bytes=3-5", "abb"), ("bytes=-3", "Zcc"), ("bytes=7-9", "XYZ")] {
        let got = door
            .alice("GET /v1/AUTH_p/c/large", &[("Range", range)], b"", 206)
            .await;
        assert_eq!(got.text(), body, "{range}");
    }
    door.alice("GET /v1/AUTH_p/c/large", &[("If-None-Match", &etag)], b"", 304)
        .await;
    door.alice("GET /v1/AUTH_p/c/large", &[("Range", "bytes=12-")], b"", 416)
        .await;
    let part = door
        .alice("GET /v1/AUTH_p/c/large?part-number=2", &[], b"", 206)
        .await;
    assert_eq!(
        (part.text().as_str(), part.header("x-parts-count")),
        ("bbb", Some("4"))
    );
    door.alice("GET /v1/AUTH_p/c/large?part-number=5", &[], b"", 416)
        .await;
    door.alice("GET /v1/AUTH_p/c/large?part-number=0", &[], b"", 400)
        .await;
    let listed = door
        .alice("GET /v1/AUTH_p/c?format=json&prefix=large", &[], b"", 200)
        .await
        .json();
    assert_eq!(
        (&listed[0]["bytes"], &listed[0]["slo_etag"]),
        (&12.into(), &etag.as_str().into())
    );
}

#[tokio::test]
async fn a_manifest_can_be_looked_at_sent_again_and_copied() {
    let door = with_segments().await;
    let etag = put_manifest(&door).await;
    let line = "GET /v1/AUTH_p/c/large?multipart-manifest=get";
    let manifest = door.alice(line, &[], b"", 200).await;
    assert_eq!(
        manifest.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    assert_eq!(manifest.json()[1]["range"], "1-3");
    let raw = door.alice(&format!("{line}&format=raw"), &[], b"", 200).await;
    assert_eq!(raw.json()[0]["path"], "/c/s/1");
    let again = "PUT /v1/AUTH_p/c/again?multipart-manifest=put";
    let put = door.alice(again, &[("Etag", &etag)], &raw.body, 201).await;
    assert_eq!(put.header("etag"), Some(etag.as_str()));
    let whole = [("Destination", "c/plain")];
    door.alice("COPY /v1/AUTH_p/c/large", &whole, b"", 201).await;
    let plain = door.alice("GET /v1/AUTH_p/c/plain", &[], b"", 200).await;
    assert_eq!(
        (plain.text().as_str(), plain.header("x-static-large-object")),
        ("aaaabbbXYZcc", None)
    );
    let copied = [("Destination", "c/copied")];
    door.alice(
        "COPY /v1/AUTH_p/c/large?multipart-manifest=get",
        &copied,
        b"",
        201,
    )
    .await;
    let copied = door.alice("GET /v1/AUTH_p/c/copied", &[], b"", 200).await;
    assert_eq!(
        (copied.text().as_str(), copied.header("x-static-large-object")),
        ("aaaabbbXYZcc", Some("True"))
    );
}

#[tokio::test]
async fn a_manifest_that_does_not_hold_is_refused_with_a_report() {
    let door = with_segments().await;
    let line = "PUT /v1/AUTH_p/c/large?multipart-manifest=put";
    let bad = r#"[{"path":"/c/none"},{"path":"/c/s/1","size_bytes":5},{"path":"/c/s/2","etag":"x"}]"#;
    for accept in ["application/json", "text/plain", "text/xml"] {
        let reply = door.alice(line, &[("Accept", accept)], bad.as_bytes(), 400).await;
        assert_eq!(reply.header("content-type"), Some(accept));
        for says in ["404 Not Found", "Size Mismatch", "Etag Mismatch"] {
            assert!(reply.text().contains(says), "{accept}: {}", reply.text());
        }
    }
    for (body, headers, status) in [
        ("[", vec![], 400),
        ("{}", vec![], 400),
        (MANIFEST, vec![("Etag", "wrong")], 422),
        (MANIFEST, vec![("X-Copy-From", "c/s/1")], 405),
    ] {
        door.alice(line, &headers, body.as_bytes(), status).await;
    }
    door.alice(
        "PUT /v1/AUTH_p/c/o",
        &[("X-Static-Large-Object", "True")],
        b"x",
        400,
    )
    .await;
    door.alice("GET /v1/AUTH_p/c/large", &[], b"", 404).await;
    let beat = door
        .alice(
            &format!("{line}&heartbeat=on"),
            &[("Accept", "application/json")],
            bad.as_bytes(),
            202,
        )
        .await;
    let report: serde_json::Value = serde_json::from_str(beat.text().trim()).unwrap();
    assert_eq!(report["Response Status"], "400 Bad Request");
    assert_eq!(report["Errors"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_segment_that_changed_makes_the_whole_unreadable_and_never_wrong() {
    let door = with_segments().await;
    put_manifest(&door).await;
    door.alice("PUT /v1/AUTH_p/c/s/1", &[], b"AAAA", 201).await;
    door.alice("GET /v1/AUTH_p/c/large", &[], b"", 409).await;
}

#[tokio::test]
async fn a_manifest_and_all_it_names_are_deleted_together() {
    let door = with_segments().await;
    put_manifest(&door).await;
    let outer = r#"[{"path":"/c/large"}]"#;
    door.alice(
        "PUT /v1/AUTH_p/c/outer?multipart-manifest=put",
        &[],
        outer.as_bytes(),
        201,
    )
    .await;
    let got = door
        .alice("GET /v1/AUTH_p/c/outer", &[("Range", "bytes=4-9")], b"", 206)
        .await;
    assert_eq!(got.text(), "bbbXYZ");
    let line = "DELETE /v1/AUTH_p/c/outer?multipart-manifest=delete";
    let report = door
        .alice(line, &[("Accept", "application/json")], b"", 200)
        .await
        .json();
    assert_eq!(
        (&report["Number Deleted"], &report["Response Status"]),
        (&5.into(), &"200 OK".into())
    );
    door.alice("GET /v1/AUTH_p/c", &[], b"", 204).await;
    door.alice("PUT /v1/AUTH_p/c/o", &[], b"x", 201).await;
    let line = "DELETE /v1/AUTH_p/c/o?multipart-manifest=delete";
    let report = door
        .alice(line, &[("Accept", "application/json")], b"", 200)
        .await
        .json();
    assert_eq!(report["Errors"][0][1], "Not an SLO manifest");
}

#[tokio::test]
async fn a_dynamic_large_object_is_whatever_its_prefix_finds() {
    let door = with_segments().await;
    let manifest = [("X-Object-Manifest", "c/s/"), ("Content-Type", "v/x")];
    door.alice("PUT /v1/AUTH_p/c/dyn", &manifest, b"own", 201).await;
    let got = door.alice("GET /v1/AUTH_p/c/dyn", &[], b"", 200).await;
    assert_eq!(
        (got.text().as_str(), got.header("x-object-manifest")),
        ("aaaabbbbbbcc", Some("c/s/"))
    );
    let got = door
        .alice("GET /v1/AUTH_p/c/dyn", &[("Range", "bytes=3-4")], b"", 206)
        .await;
    assert_eq!(got.text(), "ab");
    door.alice("PUT /v1/AUTH_p/c/s/4", &[], b"!", 201).await;
    assert_eq!(
        door.alice("GET /v1/AUTH_p/c/dyn", &[], b"", 200).await.text(),
        "aaaabbbbbbcc!"
    );
    let own = door
        .alice("GET /v1/AUTH_p/c/dyn?multipart-manifest=get", &[], b"", 200)
        .await;
    assert_eq!(own.text(), "own");
    door.alice("POST /v1/AUTH_p/c/dyn", &[], b"", 202).await;
    assert_eq!(
        door.alice("GET /v1/AUTH_p/c/dyn", &[], b"", 200).await.text(),
        "own"
    );
    for bad in ["c", "c/", "/s", "c/p?q"] {
        door.alice("PUT /v1/AUTH_p/c/bad", &[("X-Object-Manifest", bad)], b"", 400)
            .await;
    }
}

#[tokio::test]
async fn segments_elsewhere_are_read_only_by_those_who_may() {
    let door = with_segments().await;
    door.alice(
        "PUT /v1/AUTH_p/open",
        &[("X-Container-Read", ".r:*,.rlistings")],
        b"",
        201,
    )
    .await;
    let line = "PUT /v1/AUTH_p/open/slo?multipart-manifest=put";
    door.alice(line, &[], br#"[{"path":"/c/s/1"}]"#, 201).await;
    door.alice(
        "PUT /v1/AUTH_p/open/dlo",
        &[("X-Object-Manifest", "c/s/")],
        b"",
        201,
    )
    .await;
    assert_eq!(
        door.call("", "GET /v1/AUTH_p/open/slo", &[], b"").await.status,
        409
    );
    assert_eq!(
        door.call("", "GET /v1/AUTH_p/open/dlo", &[], b"").await.status,
        401
    );
    door.alice(
        "POST /v1/AUTH_p/c",
        &[("X-Container-Read", ".r:*,.rlistings")],
        b"",
        204,
    )
    .await;
    assert_eq!(
        door.call("", "GET /v1/AUTH_p/open/slo", &[], b"").await.text(),
        "aaaa"
    );
    assert_eq!(
        door.call("", "GET /v1/AUTH_p/open/dlo", &[], b"").await.text(),
        "aaaabbbbbbcc"
    );
}

#[tokio::test]
async fn many_names_are_deleted_in_one_request() {
    let door = with_segments().await;
    let names = "/c/s/1\nc%2Fs%2F2\n/c/none\n/c/s/3\n/c/%ff\n/c\n";
    let headers = [("Accept", "application/json"), ("Content-Type", "text/plain")];
    let report = door
        .alice("POST /v1/AUTH_p?bulk-delete", &headers, names.as_bytes(), 200)
        .await
        .json();
    assert_eq!(
        (&report["Number Deleted"], &report["Number Not Found"]),
        (&4.into(), &1.into())
    );
    assert_eq!(report["Errors"][0][1], "412 Precondition Failed");
    assert_eq!(report["Response Status"], "400 Bad Request");
    let report = door
        .alice("DELETE /v1/AUTH_p?bulk-delete", &headers, b"", 200)
        .await
        .json();
    assert_eq!(report["Response Body"], "Invalid bulk delete.");
    let refused = door
        .call(
            super::door::MALLORY,
            "POST /v1/AUTH_p?bulk-delete",
            &headers,
            b"/c/x",
        )
        .await
        .json();
    assert_eq!(refused["Errors"][0][1], "403 Forbidden");
    let wrong = [("Content-Type", "application/x")];
    let report = door
        .alice("POST /v1/AUTH_p?bulk-delete", &wrong, b"/c/x", 200)
        .await;
    assert!(report.text().contains("406 Not Acceptable"));
}

const LATER: &str = "DELETE /v1/AUTH_p/m/large?multipart-manifest=delete&async=yes";

/// A manifest in a container of its own over segments in "c".
async fn with_manifest_apart() -> Door {
    let door = with_segments().await;
    door.alice("PUT /v1/AUTH_p/m", &[], b"", 201).await;
    let line = "PUT /v1/AUTH_p/m/large?multipart-manifest=put";
    let twice = r#"[{"path":"/c/s/1"},{"path":"/c/s/2"},{"data":"WFla"},{"path":"/c/s/1"}]"#;
    door.alice(line, &[], twice.as_bytes(), 201).await;
    door
}

#[tokio::test]
async fn segments_that_are_to_be_deleted_later_end_at_once_and_are_left_to_the_expirer() {
    let door = with_manifest_apart().await;
    let info = door.alice("GET /info", &[], b"", 200).await.json();
    assert_eq!(info["slo"]["allow_async_delete"], true);
    let gone = door.alice(LATER, &[], b"", 204).await;
    assert_eq!(gone.text(), "");
    door.alice("GET /v1/AUTH_p/m/large?multipart-manifest=get", &[], b"", 404)
        .await;
    for segment in ["s/1", "s/2"] {
        door.alice(&format!("GET /v1/AUTH_p/c/{segment}"), &[], b"", 404)
            .await;
    }
    door.alice("GET /v1/AUTH_p/c/s/3", &[], b"", 200).await;
    // The listing shows them until the workers of the storage hosts come by.
    let listed = door.alice("GET /v1/AUTH_p/c", &[], b"", 200).await;
    assert_eq!(listed.text(), "s/1\ns/2\ns/3\n");
    door.alice(LATER, &[], b"", 404).await;
    // What is stored under their names from now on stays.
    door.alice("PUT /v1/AUTH_p/c/s/1", &[], b"new", 201).await;
    let head = door.alice("HEAD /v1/AUTH_p/c/s/1", &[], b"", 200).await;
    assert_eq!(head.header("x-delete-at"), None);
}

#[tokio::test]
async fn what_is_gone_already_does_not_hold_up_a_deletion_for_later() {
    let door = with_manifest_apart().await;
    door.alice("DELETE /v1/AUTH_p/c/s/1", &[], b"", 204).await;
    door.alice(LATER, &[], b"", 204).await;
    // A manifest of nothing but data, or over a container that is gone, goes alone.
    door.alice("PUT /v1/AUTH_p/d", &[], b"", 201).await;
    door.alice("PUT /v1/AUTH_p/d/s", &[], b"x", 201).await;
    let line = "PUT /v1/AUTH_p/m/large?multipart-manifest=put";
    door.alice(line, &[], br#"[{"path":"/d/s"}]"#, 201).await;
    for line in ["DELETE /v1/AUTH_p/d/s", "DELETE /v1/AUTH_p/d"] {
        door.alice(line, &[], b"", 204).await;
    }
    door.alice(LATER, &[], b"", 204).await;
}

#[tokio::test]
async fn what_cannot_be_deleted_later_is_refused_and_left_as_it_is() {
    let door = with_manifest_apart().await;
    let manifest = async |body: &str| {
        let line = "PUT /v1/AUTH_p/m/large?multipart-manifest=put";
        door.alice(line, &[], body.as_bytes(), 201).await
    };
    let refused = async |line: &str, status: u16| door.alice(line, &[], b"", status).await.text();
    assert_eq!(
        refused("DELETE /v1/AUTH_p/c/s/1?multipart-manifest=delete&async=1", 400).await,
        "Not an SLO manifest"
    );
    assert_eq!(
        refused("DELETE /v1/AUTH_p/m/none?multipart-manifest=delete&async=1", 404).await,
        "SLO manifest not found"
    );
    door.alice("PUT /v1/AUTH_p/d", &[], b"", 201).await;
    door.alice("PUT /v1/AUTH_p/d/s", &[], b"x", 201).await;
    manifest(r#"[{"path":"/c/s/1"},{"path":"/d/s"}]"#).await;
    assert_eq!(
        refused(LATER, 400).await,
        r#"All segments must be in one container. Found segments in "c", "d""#
    );
    door.alice(
        "PUT /v1/AUTH_p/c/sub?multipart-manifest=put",
        &[],
        br#"[{"path":"/c/s/1"}]"#,
        201,
    )
    .await;
    manifest(r#"[{"path":"/c/sub"}]"#).await;
    assert_eq!(refused(LATER, 400).await, "No segments may be large objects.");
    let got = door.alice("GET /v1/AUTH_p/m/large", &[], b"", 200).await;
    assert_eq!(got.text(), "aaaa");
}

#[tokio::test]
async fn who_may_not_delete_the_segments_deletes_nothing_later() {
    let door = with_manifest_apart().await;
    let all = [("X-Container-Read", "q:*"), ("X-Container-Write", "q:*")];
    let reads = [("X-Container-Read", "q:*")];
    for (who, own, segments, status) in [
        ("", &[][..], &[][..], 401),
        (MALLORY, &[], &[], 403),
        (MALLORY, &reads, &all, 403),
        (MALLORY, &all, &reads, 403),
        (MALLORY, &all, &all, 204),
    ] {
        let clear = [
            ("X-Remove-Container-Read", "x"),
            ("X-Remove-Container-Write", "x"),
        ];
        for (container, lists) in [("m", own), ("c", segments)] {
            let line = format!("POST /v1/AUTH_p/{container}");
            door.alice(&line, &clear, b"", 204).await;
            door.alice(&line, lists, b"", 204).await;
        }
        let reply = door.call(who, LATER, &[], b"").await;
        assert_eq!(reply.status, status, "{own:?} {segments:?}");
        let there = if status == 204 { 404 } else { 200 };
        door.alice("GET /v1/AUTH_p/c/s/1", &[], b"", there).await;
    }
}

#[tokio::test]
async fn segments_of_which_versions_are_kept_are_deleted_as_ever() {
    let door = with_manifest_apart().await;
    door.alice("POST /v1/AUTH_p/c", &[("X-Versions-Enabled", "true")], b"", 204)
        .await;
    door.alice("PUT /v1/AUTH_p/c/s/1", &[], b"aaaa", 201).await;
    door.alice(LATER, &[], b"", 204).await;
    door.alice("GET /v1/AUTH_p/c/s/1", &[], b"", 404).await;
    let versions = door
        .alice("GET /v1/AUTH_p/c?versions&prefix=s/1", &[], b"", 200)
        .await;
    let versions = versions.json();
    assert_eq!(versions.as_array().map(Vec::len), Some(3), "{versions}");
    assert_eq!(
        versions[0]["content_type"],
        "application/x-deleted;swift_versions_deleted=1"
    );
}
