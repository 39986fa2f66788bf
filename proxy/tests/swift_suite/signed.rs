//! Temporary URLs over the wire.
use hmac::{Hmac, KeyInit, Mac};

use super::door::Door;

fn query(method: &str, path: &str, expires: u64, key: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(format!("{method}\n{expires}\n{path}").as_bytes());
    format!(
        "temp_url_sig={}&temp_url_expires={expires}",
        hex::encode(mac.finalize().into_bytes())
    )
}

async fn with_keys() -> Door {
    let door = Door::open().await;
    door.alice(
        "POST /v1/AUTH_p",
        &[("X-Account-Meta-Temp-URL-Key", "account")],
        b"",
        204,
    )
    .await;
    for container in ["c", "d"] {
        let key = [("X-Container-Meta-Temp-URL-Key-2", container)];
        door.alice(&format!("PUT /v1/AUTH_p/{container}"), &key, b"", 201)
            .await;
        let meta = [("X-Object-Meta-Secret", "s"), ("X-Object-Meta-Public-A", "a")];
        door.alice(&format!("PUT /v1/AUTH_p/{container}/dir/o"), &meta, b"x", 201)
            .await;
    }
    door
}

#[tokio::test]
async fn a_signed_url_reads_without_a_token_and_names_the_download() {
    let door = with_keys().await;
    let later = Door::now() + 100;
    for key in ["account", "c"] {
        let signed = query("GET", "/v1/AUTH_p/c/dir/o", later, key);
        let got = door
            .call("", &format!("GET /v1/AUTH_p/c/dir/o?{signed}"), &[], b"")
            .await;
        assert_eq!((got.status, got.text().as_str()), (200, "x"), "{key}");
        let named = "attachment; filename=\"o\"; filename*=UTF-8''o";
        assert_eq!(got.header("content-disposition"), Some(named));
        assert!(got.header("expires").is_some());
        assert_eq!(
            (
                got.header("x-object-meta-secret"),
                got.header("x-object-meta-public-a")
            ),
            (None, Some("a"))
        );
        let head = door
            .call(
                "",
                &format!("HEAD /v1/AUTH_p/c/dir/o?{signed}&filename=n%20m"),
                &[],
                b"",
            )
            .await;
        assert_eq!(
            head.header("content-disposition"),
            Some("attachment; filename=\"n m\"; filename*=UTF-8''n%20m")
        );
        let inline = door
            .call("", &format!("GET /v1/AUTH_p/c/dir/o?{signed}&inline"), &[], b"")
            .await;
        assert_eq!(inline.header("content-disposition"), Some("inline"));
    }
}

#[tokio::test]
async fn a_signed_url_proves_the_bytes_it_reads() {
    let door = with_keys().await;
    let signed = query("GET", "/v1/AUTH_p/c/dir/o", Door::now() + 100, "c");
    let line = format!("GET /v1/AUTH_p/c/dir/o?{signed}&proof=blake3&range=0-0");
    let got = door.call("", &line, &[], b"").await;
    assert_eq!(got.status, 200);
    let proof = virga_proxy::proof::Proof::decode(&got.body).unwrap();
    assert_eq!(proof.root(), *blake3::hash(b"x").as_bytes());
    // What else is asked counts for nothing.
    let line = format!("GET /v1/AUTH_p/c/dir/o?{signed}&symlink=get&multipart-manifest=get");
    assert_eq!(door.call("", &line, &[], b"").await.text(), "x");
}

#[tokio::test]
async fn a_signed_url_opens_nothing_else() {
    let door = with_keys().await;
    let later = Door::now() + 100;
    let path = "/v1/AUTH_p/c/dir/o";
    for (line, signed) in [
        ("PUT /v1/AUTH_p/c/dir/o", query("GET", path, later, "c")),
        ("GET /v1/AUTH_p/c/dir/p", query("GET", path, later, "c")),
        (
            "GET /v1/AUTH_p/d/dir/o",
            query("GET", "/v1/AUTH_p/d/dir/o", later, "c"),
        ),
        ("GET /v1/AUTH_p/c/dir/o", query("GET", path, Door::now() - 1, "c")),
        ("GET /v1/AUTH_p/c/dir/o", query("GET", path, later, "guess")),
        ("COPY /v1/AUTH_p/c/dir/o", query("COPY", path, later, "c")),
        ("GET /v1/AUTH_p/c", query("GET", "/v1/AUTH_p/c", later, "c")),
        (
            "GET /v1/AUTH_p/c/dir/o",
            "temp_url_sig=zz&temp_url_expires=1".into(),
        ),
        (
            "GET /v1/AUTH_p/c/dir/o",
            query("GET", path, later, "c") + "&temp_url_ip_range=10.0.0.0/8",
        ),
    ] {
        let got = door.call("", &format!("{line}?{signed}"), &[], b"").await;
        assert_eq!(
            (got.status, got.text().as_str()),
            (401, "401 Unauthorized: Temp URL invalid\n"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_signed_upload_may_not_point_elsewhere() {
    let door = with_keys().await;
    let later = Door::now() + 100;
    let signed = query("PUT", "prefix:/v1/AUTH_p/c/up/", later, "account") + "&temp_url_prefix=up/";
    let line = format!("PUT /v1/AUTH_p/c/up/1?{signed}");
    assert_eq!(door.call("", &line, &[], b"new").await.status, 201);
    for (name, value) in [("X-Object-Manifest", "d/dir"), ("X-Copy-From", "d/dir/o")] {
        let got = door.call("", &line, &[(name, value)], b"").await;
        assert_eq!(got.status, 400);
        assert_eq!(
            got.text(),
            format!("The header '{name}' is not allowed in this tempurl")
        );
    }
    assert_eq!(
        door.alice("GET /v1/AUTH_p/c/up/1", &[], b"", 200).await.text(),
        "new"
    );
}

#[tokio::test]
async fn a_signed_prefix_shows_its_directories_and_nothing_beside_them() {
    let door = Door::open().await;
    let key = [("X-Container-Meta-Temp-URL-Key", "k")];
    door.alice("PUT /v1/AUTH_p/c", &key, b"", 201).await;
    for name in ["dir/a", "dir/sub/b", "secret", "404error.html"] {
        let line = format!("PUT /v1/AUTH_p/c/{name}");
        door.alice(&line, &[], b"x", 201).await;
    }
    let ask = |prefix: &str, path: &str| {
        let expires = Door::now() + 60;
        let text = format!("GET\n{expires}\nprefix:/v1/AUTH_p/c/{prefix}");
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"k").unwrap();
        mac.update(text.as_bytes());
        let sig = hex::encode(mac.finalize().into_bytes());
        let query = format!("temp_url_prefix={prefix}&temp_url_expires={expires}&temp_url_sig={sig}");
        format!("GET /v1/AUTH_p/c{path}?{query}")
    };
    for path in ["", "/", "/dir/"] {
        let reply = door.call("", &ask("", path), &[], b"").await;
        assert!([401, 404].contains(&reply.status), "no site yet: {path}");
    }
    let site = [
        ("X-Container-Meta-Web-Listings", "true"),
        ("X-Container-Meta-Web-Error", "error.html"),
    ];
    door.alice("POST /v1/AUTH_p/c", &site, b"", 204).await;
    let root = door.call("", &ask("", "/"), &[], b"").await;
    assert_eq!(root.status, 200);
    assert!(
        root.text()
            .contains("./secret?temp_url_prefix=&amp;temp_url_expires=")
    );
    assert!(!root.text().contains("href=\".."));
    let dir = door.call("", &ask("dir/", "/dir/"), &[], b"").await;
    assert!(dir.status == 200 && dir.text().contains("./sub/?temp_url_prefix=dir/&amp;"));
    assert_eq!(dir.header("content-disposition"), None);
    assert!(!dir.text().contains("secret") && !dir.text().contains("href=\".."));
    let sub = door.call("", &ask("dir/", "/dir/sub/"), &[], b"").await;
    assert!(sub.status == 200 && sub.text().contains("../?temp_url_prefix=dir/"));
    for path in ["", "/", "/secret", "/other/"] {
        let reply = door.call("", &ask("dir/", path), &[], b"").await;
        assert_eq!(reply.status, 401, "{path}");
    }
    let none = door.call("", &ask("dir/", "/dir/none/"), &[], b"").await;
    assert!(none.status == 404 && none.text() != "x");
}
