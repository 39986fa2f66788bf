//! Versions of objects: what S3 clients see of them, page by page.
use super::door::{Door, Reply};

const ON: &[u8] = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
const OFF: &[u8] = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";

async fn versioned() -> Door {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door.alice("PUT /bucket?versioning", &[], ON, 200).await;
    door
}

fn id_of(reply: &Reply) -> String {
    reply.header("x-amz-version-id").expect("an id").to_owned()
}

async fn put(door: &Door, key: &str, body: &str) -> String {
    let line = format!("PUT /bucket/{key}");
    id_of(&door.alice(&line, &[], body.as_bytes(), 200).await)
}

async fn delete(door: &Door, key: &str) -> String {
    let gone = door.alice(&format!("DELETE /bucket/{key}"), &[], b"", 204).await;
    assert_eq!(gone.header("x-amz-delete-marker"), Some("true"), "{key}");
    id_of(&gone)
}

/// Deletes a version for good; whether it marked a deletion.
async fn delete_version(door: &Door, key: &str, id: &str) -> bool {
    let line = format!("DELETE /bucket/{key}?versionId={id}");
    let gone = door.alice(&line, &[], b"", 204).await;
    assert_eq!(id_of(&gone), id);
    gone.header("x-amz-delete-marker") == Some("true")
}

/// "key id" of all versions and of all markers, with a star for the latest.
fn lines(reply: &Reply) -> (Vec<String>, Vec<String>) {
    let text = reply.text();
    let of = |name: &str| {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let parts = text.split(&open).skip(1);
        let parts = parts.filter_map(|part| part.split(&close).next());
        parts
            .map(|part| {
                let field = |name: &str| {
                    let rest = part.split(&format!("<{name}>")).nth(1).expect("a field");
                    rest.split('<').next().unwrap().to_owned()
                };
                let star = if field("IsLatest") == "true" { "*" } else { "" };
                format!("{} {}{star}", field("Key"), field("VersionId"))
            })
            .collect()
    };
    (of("Version"), of("DeleteMarker"))
}

async fn listed(door: &Door, query: &str) -> (Vec<String>, Vec<String>) {
    let line = format!("GET /bucket?versions&{query}");
    lines(&door.alice(&line, &[], b"", 200).await)
}

#[tokio::test]
async fn versioning_is_switched_on_and_off_and_says_so() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let status = || async {
        door.alice("GET /bucket?versioning", &[], b"", 200)
            .await
            .element("Status")
    };
    assert_eq!(status().await, None);
    door.alice("PUT /bucket?versioning", &[], ON, 200).await;
    assert_eq!(status().await.as_deref(), Some("Enabled"));
    door.alice("PUT /bucket?versioning", &[], OFF, 200).await;
    assert_eq!(status().await.as_deref(), Some("Suspended"));
    for bad in [
        &b"<VersioningConfiguration><Status>Disabled</Status></VersioningConfiguration>"[..],
        b"<VersioningConfiguration><Status></Status></VersioningConfiguration>",
        b"<foo><Status>Enabled</Status></foo>",
    ] {
        let refused = door.alice("PUT /bucket?versioning", &[], bad, 400).await;
        assert_eq!(refused.code(), "MalformedXML");
    }
    door.swift(
        "PUT /v1/AUTH_p/copies",
        &[("X-Versions-Location", "old")],
        b"",
        201,
    )
    .await;
    let refused = door.alice("PUT /copies?versioning", &[], ON, 409).await;
    assert_eq!(refused.code(), "InvalidBucketState");
}

#[tokio::test]
async fn every_write_is_a_version_that_can_be_read_tagged_and_copied() {
    let door = versioned().await;
    let (first, second) = (put(&door, "k", "one").await, put(&door, "k", "second").await);
    assert_ne!(first, second);
    let head = door.alice("HEAD /bucket/k", &[], b"", 200).await;
    assert_eq!(
        (id_of(&head), head.header("content-length")),
        (second.clone(), Some("6"))
    );
    for (id, body) in [(&first, "one"), (&second, "second")] {
        let got = door
            .alice(&format!("GET /bucket/k?versionId={id}"), &[], b"", 200)
            .await;
        assert_eq!((got.text().as_str(), &id_of(&got)), (body, id));
        let what = [("x-amz-object-attributes", "ETag,ObjectSize")];
        let line = format!("GET /bucket/k?attributes&versionId={id}");
        let told = door.alice(&line, &what, b"", 200).await;
        assert_eq!(told.element("ObjectSize").unwrap(), body.len().to_string());
        assert_eq!(&id_of(&told), id);
    }
    let range = [("range", "bytes=1-2")];
    assert_eq!(door.alice("GET /bucket/k", &range, b"", 206).await.text(), "ec");
    // Tags belong to one version.
    let tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
    let line = format!("PUT /bucket/k?tagging&versionId={first}");
    assert_eq!(id_of(&door.alice(&line, &[], tags, 200).await), first);
    let count = |id: String| {
        let door = &door;
        async move {
            let got = door
                .alice(&format!("GET /bucket/k?tagging&versionId={id}"), &[], b"", 200)
                .await;
            got.elements("Tag").len()
        }
    };
    assert_eq!((count(first.clone()).await, count(second.clone()).await), (1, 0));
    // An older version is copied over the newer: that brings it back.
    let from = format!("/bucket/k?versionId={first}");
    let copied = door
        .alice("PUT /bucket/k", &[("x-amz-copy-source", &from)], b"", 200)
        .await;
    assert_eq!(
        copied.header("x-amz-copy-source-version-id"),
        Some(first.as_str())
    );
    let third = id_of(&copied);
    assert_eq!(door.alice("GET /bucket/k", &[], b"", 200).await.text(), "one");
    let expected = [format!("k {third}*"), format!("k {second}"), format!("k {first}")];
    assert_eq!(listed(&door, "").await, (expected.to_vec(), vec![]));
    for (id, status, code) in [
        ("1000000000.00000", 404, "NoSuchVersion"),
        ("null", 404, "NoSuchVersion"),
        ("bogus", 400, "InvalidArgument"),
        ("", 400, "InvalidArgument"),
    ] {
        let line = format!("GET /bucket/k?versionId={id}");
        assert_eq!(door.alice(&line, &[], b"", status).await.code(), code, "{id}");
    }
}

#[tokio::test]
async fn a_deletion_is_a_marker_whose_removal_brings_the_object_back() {
    let door = versioned().await;
    let (first, second) = (put(&door, "k", "one").await, put(&door, "k", "two").await);
    let marker = delete(&door, "k").await;
    let gone = door.alice("GET /bucket/k", &[], b"", 404).await;
    assert_eq!(
        (gone.code().as_str(), gone.header("x-amz-delete-marker")),
        ("NoSuchKey", Some("true"))
    );
    assert_eq!(id_of(&gone), marker);
    for method in ["GET", "HEAD"] {
        let line = format!("{method} /bucket/k?versionId={marker}");
        let refused = door.alice(&line, &[], b"", 405).await;
        assert_eq!(refused.header("x-amz-delete-marker"), Some("true"), "{method}");
        assert_eq!(refused.header("allow"), Some("DELETE"), "{method}");
    }
    assert_eq!(
        door.alice("GET /bucket", &[], b"", 200)
            .await
            .elements("Key")
            .len(),
        0
    );
    let all = (
        vec![format!("k {second}"), format!("k {first}")],
        vec![format!("k {marker}*")],
    );
    assert_eq!(listed(&door, "").await, all);
    // A key that never was gets a marker too.
    let never = delete(&door, "never").await;
    assert!(delete_version(&door, "never", &never).await);
    assert!(delete_version(&door, "k", &marker).await);
    assert_eq!(door.alice("GET /bucket/k", &[], b"", 200).await.text(), "two");
    // The current version deleted for good: the one before is current.
    assert!(!delete_version(&door, "k", &second).await);
    let got = door.alice("GET /bucket/k", &[], b"", 200).await;
    assert_eq!((got.text().as_str(), id_of(&got)), ("one", first.clone()));
    assert_eq!(listed(&door, "").await, (vec![format!("k {first}*")], vec![]));
    let row = door.alice("GET /bucket", &[], b"", 200).await;
    assert_eq!(row.element("Size").as_deref(), Some("3"));
    assert!(!delete_version(&door, "k", &first).await);
    let gone = door.alice("GET /bucket/k", &[], b"", 404).await;
    assert_eq!(gone.header("x-amz-delete-marker"), None);
    // Nothing there is no error.
    assert!(!delete_version(&door, "k", &first).await);
}

#[tokio::test]
async fn a_version_behind_markers_comes_back_marker_by_marker() {
    let door = versioned().await;
    let mut ids = Vec::new();
    for body in ["a", "b"] {
        ids.push((put(&door, "k", body).await, delete(&door, "k").await));
    }
    let [(first, old), (second, new)] = &ids[..] else {
        panic!("two")
    };
    assert!(delete_version(&door, "k", old).await);
    door.alice("GET /bucket/k", &[], b"", 404).await;
    assert!(delete_version(&door, "k", new).await);
    assert_eq!(door.alice("GET /bucket/k", &[], b"", 200).await.text(), "b");
    let again = delete(&door, "k").await;
    assert!(!delete_version(&door, "k", second).await);
    let all = (vec![format!("k {first}")], vec![format!("k {again}*")]);
    assert_eq!(listed(&door, "").await, all);
    door.alice("GET /bucket/k", &[], b"", 404).await;
}

#[tokio::test]
async fn what_was_stored_while_no_versions_were_kept_is_null() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let plain = door.alice("PUT /bucket/k", &[], b"before", 200).await;
    assert_eq!(plain.header("x-amz-version-id"), None);
    let written = door.alice("HEAD /bucket/k", &[], b"", 200).await;
    door.alice("PUT /bucket?versioning", &[], ON, 200).await;
    let head = door.alice("HEAD /bucket/k", &[], b"", 200).await;
    assert_eq!(id_of(&head), "null");
    assert_eq!(listed(&door, "").await.0, ["k null*"]);
    let id = put(&door, "k", "kept").await;
    assert_eq!(
        listed(&door, "").await.0,
        [format!("k {id}*"), "k null".to_owned()]
    );
    let null = door.alice("GET /bucket/k?versionId=null", &[], b"", 200).await;
    assert_eq!((null.text().as_str(), id_of(&null).as_str()), ("before", "null"));
    assert_eq!(null.header("last-modified"), written.header("last-modified"));
    // Suspended, what is stored is null again, and there is one of that.
    door.alice("PUT /bucket?versioning", &[], OFF, 200).await;
    let put = door.alice("PUT /bucket/k", &[], b"after", 200).await;
    assert_eq!(id_of(&put), "null");
    assert_eq!(
        listed(&door, "").await.0,
        ["k null*".to_owned(), format!("k {id}")]
    );
    let null = door.alice("GET /bucket/k?versionId=null", &[], b"", 200).await;
    assert_eq!(null.text(), "after");
    // So is the mark of a deletion, and the other versions stay.
    let gone = door.alice("DELETE /bucket/k", &[], b"", 204).await;
    assert_eq!(
        (id_of(&gone).as_str(), gone.header("x-amz-delete-marker")),
        ("null", Some("true"))
    );
    assert_eq!(
        listed(&door, "").await,
        (vec![format!("k {id}")], vec!["k null*".to_owned()])
    );
    let refused = door.alice("GET /bucket/k?versionId=null", &[], b"", 405).await;
    assert_eq!(refused.code(), "MethodNotAllowed");
    let line = "DELETE /bucket/k?versionId=null";
    assert_eq!(id_of(&door.alice(line, &[], b"", 204).await), "null");
    assert_eq!(door.alice("GET /bucket/k", &[], b"", 200).await.text(), "kept");
    assert_eq!(listed(&door, "").await.0, [format!("k {id}*")]);
    // Null and current, deleted for good: the version before it is back.
    door.alice("PUT /bucket/k", &[], b"again", 200).await;
    door.alice(line, &[], b"", 204).await;
    assert_eq!(door.alice("GET /bucket/k", &[], b"", 200).await.text(), "kept");
}

#[tokio::test]
async fn versions_are_listed_page_by_page_without_gaps() {
    let door = versioned().await;
    let mut all = Vec::new();
    for key in ["a/1", "a/2", "b", "b%2Bc", "c/d/e"] {
        let mut ids = Vec::new();
        for body in ["1", "2", "3"] {
            ids.insert(0, put(&door, key, body).await);
        }
        let key = key.replace("%2B", "+");
        let rows = ids.iter().enumerate();
        all.extend(rows.map(|(n, id)| format!("{key} {id}{}", if n == 0 { "*" } else { "" })));
    }
    assert_eq!(listed(&door, "").await.0, all);
    for size in [1, 2, 4, 7] {
        let (mut found, mut from) = (Vec::new(), String::new());
        loop {
            let line = format!("GET /bucket?versions&max-keys={size}{from}");
            let page = door.alice(&line, &[], b"", 200).await;
            let (rows, _) = lines(&page);
            assert!(rows.len() <= size);
            found.extend(rows);
            if page.element("IsTruncated").as_deref() == Some("false") {
                assert_eq!(page.element("NextKeyMarker"), None);
                break;
            }
            let key = page
                .element("NextKeyMarker")
                .unwrap()
                .replace('+', "%2B")
                .replace('/', "%2F");
            let id = page.element("NextVersionIdMarker").unwrap();
            from = format!("&key-marker={key}&version-id-marker={id}");
        }
        assert_eq!(found, all, "pages of {size}");
    }
    // What a page ends with exactly is not said to be followed by more.
    let line = format!("GET /bucket?versions&max-keys={}", all.len());
    let page = door.alice(&line, &[], b"", 200).await;
    assert_eq!(page.element("IsTruncated").as_deref(), Some("false"));
    assert_eq!(listed(&door, "key-marker=b").await.0, all[9..]);
    assert_eq!(listed(&door, "prefix=b").await.0, all[6..12]);
    let id = all[7].split(' ').nth(1).unwrap();
    let query = format!("key-marker=b&version-id-marker={id}");
    assert_eq!(listed(&door, &query).await.0, all[8..]);
}

#[tokio::test]
async fn keys_are_rolled_up_with_all_their_versions() {
    let door = versioned().await;
    for key in ["a/1", "a/2", "b", "c/1"] {
        put(&door, key, "1").await;
        put(&door, key, "2").await;
    }
    delete(&door, "c/1").await;
    put(&door, "x1y", "1").await;
    let page = |query: &'static str| {
        let door = &door;
        async move {
            let page = door
                .alice(&format!("GET /bucket?versions&{query}"), &[], b"", 200)
                .await;
            let keys: Vec<String> = lines(&page)
                .0
                .iter()
                .map(|l| l.split(' ').next().unwrap().to_owned())
                .collect();
            let prefixes: Vec<String> = page
                .elements("CommonPrefixes")
                .iter()
                .map(|p| p.replace("<Prefix>", "").replace("</Prefix>", ""))
                .collect();
            (keys, prefixes, page)
        }
    };
    let (keys, prefixes, _) = page("delimiter=%2F").await;
    assert_eq!(
        (keys, prefixes),
        (
            ["b", "b", "x1y"].map(str::to_owned).to_vec(),
            ["a/", "c/"].map(str::to_owned).to_vec()
        )
    );
    let (keys, prefixes, first) = page("delimiter=%2F&max-keys=1").await;
    assert_eq!((keys.len(), prefixes), (0, vec!["a/".to_owned()]));
    assert_eq!(first.element("NextKeyMarker").as_deref(), Some("a/"));
    let (keys, prefixes, _) = page("delimiter=%2F&key-marker=a%2F").await;
    assert_eq!((keys.len(), prefixes), (3, vec!["c/".to_owned()]));
    let (keys, _, _) = page("delimiter=%2F&prefix=a%2F").await;
    assert_eq!(keys, ["a/1", "a/1", "a/2", "a/2"]);
    // A delimiter that the names of versions are made of.
    let (keys, prefixes, _) = page("delimiter=1").await;
    assert_eq!(
        (keys, prefixes),
        (
            ["a/2", "a/2", "b", "b"].map(str::to_owned).to_vec(),
            ["a/1", "c/1", "x1"].map(str::to_owned).to_vec()
        )
    );
}

#[tokio::test]
async fn several_versions_are_deleted_at_once_and_a_bucket_with_versions_is_not_empty() {
    let door = versioned().await;
    let (first, second) = (put(&door, "k", "1").await, put(&door, "k", "2").await);
    let marker = delete(&door, "k").await;
    assert_eq!(
        door.alice("DELETE /bucket", &[], b"", 409).await.code(),
        "BucketNotEmpty"
    );
    let document = format!(
        "<Delete><Object><Key>k</Key><VersionId>{first}</VersionId></Object>\
         <Object><Key>k</Key><VersionId>{marker}</VersionId></Object>\
         <Object><Key>new</Key></Object>\
         <Object><Key>k</Key><VersionId>bogus</VersionId></Object></Delete>"
    );
    let done = door
        .alice("POST /bucket?delete", &[], document.as_bytes(), 200)
        .await;
    assert_eq!(done.elements("Deleted").len(), 3, "{}", done.text());
    assert_eq!(done.element("Code").as_deref(), Some("NoSuchVersion"));
    assert_eq!(done.elements("DeleteMarker").len(), 2, "{}", done.text());
    assert!(done.elements("DeleteMarkerVersionId").contains(&marker));
    let (versions, markers) = listed(&door, "").await;
    assert_eq!(versions, [format!("k {second}*")]);
    let new = markers[0]
        .trim_end_matches('*')
        .rsplit(' ')
        .next()
        .unwrap()
        .to_owned();
    delete_version(&door, "k", &second).await;
    delete_version(&door, "new", &new).await;
    door.alice("DELETE /bucket", &[], b"", 204).await;
}

#[tokio::test]
async fn conditional_writes_look_at_the_current_version() {
    let door = versioned().await;
    let absent = [("if-none-match", "*")];
    door.alice("PUT /bucket/k", &absent, b"1", 200).await;
    door.alice("PUT /bucket/k", &absent, b"2", 412).await;
    let etag = door.alice("HEAD /bucket/k", &[], b"", 200).await;
    let etag = etag.header("etag").unwrap().to_owned();
    door.alice("PUT /bucket/k", &[("if-match", "\"x\"")], b"2", 412)
        .await;
    door.alice("PUT /bucket/k", &[("if-match", &etag)], b"2", 200)
        .await;
    delete(&door, "k").await;
    // What is marked as deleted is not there.
    door.alice("PUT /bucket/k", &[("if-match", &etag)], b"3", 404)
        .await;
    door.alice("PUT /bucket/k", &absent, b"3", 200).await;
    assert_eq!(listed(&door, "").await.0.len(), 3);
}

#[tokio::test]
async fn of_writes_at_the_same_time_the_first_in_the_list_is_current() {
    let door = versioned().await;
    let one = |n: usize| {
        let door = &door;
        async move {
            match n % 4 {
                3 => delete(door, "k").await,
                _ => put(door, "k", &format!("{n}")).await,
            }
        }
    };
    let mut ids = futures_util::future::join_all((0..12).map(one)).await;
    ids.sort_unstable();
    let (versions, markers) = listed(&door, "").await;
    let mut found: Vec<String> = versions.iter().chain(&markers).cloned().collect();
    found.sort_unstable();
    let latest: Vec<_> = found.iter().filter(|line| line.ends_with('*')).collect();
    assert_eq!(latest, [&format!("k {}*", ids.last().unwrap())]);
    assert_eq!(found.len(), 12);
    let is_marker = markers.iter().any(|line| line.ends_with('*'));
    let status = if is_marker { 404 } else { 200 };
    assert_eq!(
        id_of(&door.alice("GET /bucket/k", &[], b"", status).await),
        *ids.last().unwrap()
    );
}

#[tokio::test]
async fn parts_go_with_the_last_version_that_is_made_of_them() {
    let door = versioned().await;
    let mut ids = Vec::new();
    for body in ["first", "second"] {
        let begun = door.alice("POST /bucket/k?uploads", &[], b"", 200).await;
        let upload = begun.element("UploadId").unwrap();
        let line = format!("PUT /bucket/k?partNumber=1&uploadId={upload}");
        let part = door.alice(&line, &[], body.as_bytes(), 200).await;
        let document = format!(
            "<CompleteMultipartUpload><Part><ETag>{}</ETag><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
            part.header("etag").unwrap()
        );
        let line = format!("POST /bucket/k?uploadId={upload}");
        let done = door.alice(&line, &[], document.as_bytes(), 200).await;
        // The same again is answered the same; other parts are no upload any more.
        assert_eq!(
            id_of(&door.alice(&line, &[], document.as_bytes(), 200).await),
            id_of(&done)
        );
        let other = document.replace(
            "</Part>",
            "</Part><Part><ETag>\"0cc175b9c0f1b6a831c399e269772661\"</ETag><PartNumber>2</PartNumber></Part>",
        );
        assert_eq!(
            door.alice(&line, &[], other.as_bytes(), 404).await.code(),
            "NoSuchUpload"
        );
        ids.push(id_of(&done));
    }
    let parts = || async {
        let rows = door.swift("GET /v1/AUTH_p/bucket+segments", &[], b"", 200).await;
        rows.text().lines().count()
    };
    assert_eq!(parts().await, 2);
    let line = format!("GET /bucket/k?versionId={}", ids[0]);
    assert_eq!(door.alice(&line, &[], b"", 200).await.text(), "first");
    let row = door.alice("GET /bucket", &[], b"", 200).await;
    assert!(row.element("ETag").unwrap().contains("-1"), "{}", row.text());
    assert_eq!(row.element("Size").as_deref(), Some("6"));
    delete_version(&door, "k", &ids[1]).await;
    assert_eq!(parts().await, 1);
    assert_eq!(door.alice("GET /bucket/k", &[], b"", 200).await.text(), "first");
    delete_version(&door, "k", &ids[0]).await;
}

#[tokio::test]
async fn a_write_that_fails_after_the_object_became_a_version_costs_no_parts() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let begun = door.alice("POST /bucket/k?uploads", &[], b"", 200).await;
    let upload = begun.element("UploadId").unwrap();
    let line = format!("PUT /bucket/k?partNumber=1&uploadId={upload}");
    let part = door.alice(&line, &[], b"parts", 200).await;
    let document = format!(
        "<CompleteMultipartUpload><Part><ETag>{}</ETag><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
        part.header("etag").unwrap()
    );
    let line = format!("POST /bucket/k?uploadId={upload}");
    door.alice(&line, &[], document.as_bytes(), 200).await;
    door.alice("PUT /bucket?versioning", &[], ON, 200).await;
    let wrong = [("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")];
    door.alice("PUT /bucket/k", &wrong, b"new", 400).await;
    // What stands there is null; the copy made of it has an id, until a write succeeds.
    let (versions, _) = listed(&door, "").await;
    assert_eq!(versions.len(), 2, "{versions:?}");
    let copy = versions[1].split(' ').nth(1).unwrap();
    delete_version(&door, "k", copy).await;
    assert_eq!(door.alice("GET /bucket/k", &[], b"", 200).await.text(), "parts");
    // The other way round: the copy takes the place of what is deleted.
    door.alice("PUT /bucket/k", &wrong, b"new", 400).await;
    door.alice("DELETE /bucket/k?versionId=null", &[], b"", 204).await;
    assert_eq!(door.alice("GET /bucket/k", &[], b"", 200).await.text(), "parts");
}
