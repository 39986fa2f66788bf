//! What picky clients send: empty values, headers twice, bodies that break off.
use super::door::{ALICE, Door, MALLORY};

async fn filled() -> Door {
    let door = Door::open().await;
    door.alice("PUT /v1/AUTH_p/c", &[], b"", 201).await;
    door.alice("PUT /v1/AUTH_p/c/o", &[], b"abc", 201).await;
    door
}

#[tokio::test]
async fn the_owner_of_a_public_container_sees_its_lists_and_keys() {
    let door = filled().await;
    let asked = [
        ("X-Container-Read", ".r:*,.rlistings"),
        ("X-Container-Write", "q:mallory"),
        ("X-Container-Meta-Temp-URL-Key", "secret"),
    ];
    door.alice("POST /v1/AUTH_p/c", &asked, b"", 204).await;
    for line in ["HEAD /v1/AUTH_p/c", "GET /v1/AUTH_p/c"] {
        let seen = door.alice(line, &[], b"", 0).await;
        for (name, value) in asked {
            assert_eq!(seen.header(&name.to_lowercase()), Some(value), "{line} {name}");
        }
        for stranger in ["", MALLORY] {
            let seen = door.call(stranger, line, &[], b"").await;
            assert!(seen.status < 300, "{line} {stranger}: {}", seen.status);
            assert!(
                asked
                    .iter()
                    .all(|(name, _)| seen.header(&name.to_lowercase()).is_none()),
                "{line}"
            );
        }
    }
    // A list that names the owner makes them no less.
    door.alice(
        "POST /v1/AUTH_p/c",
        &[("X-Container-Read", "p:alice,*:*")],
        b"",
        204,
    )
    .await;
    let seen = door.alice("HEAD /v1/AUTH_p/c", &[], b"", 204).await;
    assert_eq!(seen.header("x-container-read"), Some("p:alice,*:*"));
}

#[tokio::test]
async fn a_header_that_comes_twice_counts_as_one_list() {
    let door = filled().await;
    let twice = [("X-Object-Meta-A", "1"), ("x-object-meta-a", "2")];
    door.alice("PUT /v1/AUTH_p/c/o", &twice, b"abc", 201).await;
    let head = door.alice("HEAD /v1/AUTH_p/c/o", &[], b"", 200).await;
    assert_eq!(head.header("x-object-meta-a"), Some("1,2"));
    let tag = "\"900150983cd24fb0d6963f7d28e17f72\"";
    let either = [("If-None-Match", "\"x\""), ("If-None-Match", tag)];
    door.alice("GET /v1/AUTH_p/c/o", &either, b"", 304).await;
}

#[tokio::test]
async fn empty_values_are_what_swift_takes_them_for() {
    let door = filled().await;
    let empty = [("X-Object-Meta-Empty", ""), ("X-Object-Manifest", "")];
    for method in ["PUT", "POST"] {
        door.alice(&format!("{method} /v1/AUTH_p/c/e"), &empty[..1], b"", 0)
            .await;
        let head = door.alice("HEAD /v1/AUTH_p/c/e", &[], b"", 200).await;
        assert_eq!(head.header("x-object-meta-empty"), Some(""), "{method}");
    }
    for name in ["X-Delete-At", "X-Delete-After"] {
        for line in ["PUT /v1/AUTH_p/c/e", "POST /v1/AUTH_p/c/o"] {
            let said = door.alice(line, &[(name, "")], b"", 400).await;
            assert_eq!(said.text(), format!("Non-integer {name}"), "{line}");
        }
    }
    door.alice("GET /v1/AUTH_p/c/o", &[("If-Match", "")], b"", 412)
        .await;
    door.alice("GET /v1/AUTH_p/c/o", &[("If-None-Match", "")], b"", 200)
        .await;
}

#[tokio::test]
async fn what_the_store_keeps_for_itself_is_not_set_by_clients() {
    let door = filled().await;
    let flag = [("X-Static-Large-Object", "True")];
    for line in ["PUT /v1/AUTH_p/c/o", "POST /v1/AUTH_p/c/o"] {
        door.alice(line, &flag, b"", 400).await;
    }
    let sized = [("Content-Type", "a/b; swift_bytes=9; q=1")];
    let said = door.alice("PUT /v1/AUTH_p/c/o", &sized, b"", 400).await;
    assert!(said.text().contains("swift_* is not a valid parameter"));
    door.alice("POST /v1/AUTH_p/c/o", &sized, b"", 202).await;
    let head = door.alice("HEAD /v1/AUTH_p/c/o", &[], b"", 200).await;
    assert_eq!(head.header("content-type"), Some("a/b; q=1"));
    let listed = door.alice("GET /v1/AUTH_p/c?format=json", &[], b"", 200).await;
    assert_eq!(listed.json()[0]["bytes"], 3);
}

#[tokio::test]
async fn a_copy_has_its_sources_etag_whatever_the_request_says() {
    let door = filled().await;
    let copy = [("Destination", "c/copy"), ("ETag", "of-something-else")];
    door.alice("COPY /v1/AUTH_p/c/o", &copy, b"", 201).await;
    assert_eq!(
        door.alice("GET /v1/AUTH_p/c/copy", &[], b"", 200).await.text(),
        "abc"
    );
}

#[tokio::test]
async fn one_name_too_many_is_too_many_without_a_line_break_too() {
    let door = Door::with(|config| config.swift.bulk.max_deletes_per_request = 2).await;
    door.alice("PUT /v1/AUTH_p/c", &[], b"", 201).await;
    let json = [("Accept", "application/json"), ("Content-Type", "text/plain")];
    for body in ["c/1\nc/2\nc/3", "c/1\nc/2\nc/3\n"] {
        let report = door
            .alice("POST /v1/AUTH_p?bulk-delete", &json, body.as_bytes(), 200)
            .await;
        assert_eq!(
            report.json()["Response Status"],
            "413 Request Entity Too Large",
            "{body:?}"
        );
    }
    let report = door
        .alice("POST /v1/AUTH_p?bulk-delete", &json, b"c/%ff\nc/a%00\n", 200)
        .await
        .json();
    let failed = |at: usize| report["Errors"][at][0].as_str().map(str::to_owned);
    assert_eq!(
        (failed(0).as_deref(), failed(1).as_deref()),
        (Some("c/%FF"), Some("c/a%00"))
    );
    let other = [("Accept", "application/json"), ("Content-Type", "image/png")];
    let report = door
        .alice("POST /v1/AUTH_p?bulk-delete", &other, b"c", 200)
        .await
        .json();
    assert_eq!(
        (&report["Response Status"], &report["Response Body"]),
        (&"406 Not Acceptable".into(), &"".into())
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_early_has_a_status_and_too_few_bytes() {
    let door = filled().await;
    door.alice("PUT /v1/AUTH_p/c/p", &[], b"def", 201).await;
    let manifest = br#"[{"path":"/c/o"},{"path":"/c/p","size_bytes":3.0}]"#;
    door.alice("PUT /v1/AUTH_p/c/m?multipart-manifest=put", &[], manifest, 201)
        .await;
    door.alice("DELETE /v1/AUTH_p/c/p", &[], b"", 204).await;
    let got = door.call(ALICE, "GET /v1/AUTH_p/c/m", &[], b"").await;
    assert_eq!(
        (got.status, got.header("content-length"), got.text().as_str()),
        (200, Some("6"), "abc")
    );
}
