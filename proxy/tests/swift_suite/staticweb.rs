//! Containers as web sites: what a browser without a token gets.
use super::door::{ALICE, Door};

/// A public container `c` with a few files, and this metadata.
async fn site(read: &str, meta: &[(&str, &str)]) -> Door {
    let door = Door::open().await;
    let mut headers = vec![("X-Container-Read", read)];
    headers.extend_from_slice(meta);
    door.alice("PUT /v1/AUTH_p/c", &headers, b"", 201).await;
    for (name, text) in [
        ("index.html", "home"),
        ("dir/index.html", "dir home"),
        ("other/a%26b%3Cc.txt", "x"),
        ("404error.html", "not here"),
        ("401error.html", "not you"),
    ] {
        let line = format!("PUT /v1/AUTH_p/c/{name}");
        door.alice(&line, &[], text.as_bytes(), 201).await;
    }
    let directory = [("Content-Type", "application/directory")];
    door.alice("PUT /v1/AUTH_p/c/other", &directory, b"", 201).await;
    door
}

const OPEN: &str = ".r:*,.rlistings";
const INDEX: (&str, &str) = ("X-Container-Meta-Web-Index", "index.html");
const ERROR: (&str, &str) = ("X-Container-Meta-Web-Error", "error.html");
const LISTINGS: (&str, &str) = ("X-Container-Meta-Web-Listings", "true");

#[tokio::test]
async fn a_browser_gets_the_index_of_site_and_directory() {
    let door = site(OPEN, &[INDEX]).await;
    for (path, status, text) in [
        ("/v1/AUTH_p/c/", 200, "home"),
        ("/v1/AUTH_p/c/dir/", 200, "dir home"),
        ("/v1/AUTH_p/c/index.html", 200, "home"),
    ] {
        let reply = door.call("", &format!("GET {path}"), &[], b"").await;
        assert_eq!((reply.status, reply.text().as_str()), (status, text), "{path}");
    }
    for path in ["/v1/AUTH_p/c", "/v1/AUTH_p/c/dir"] {
        let reply = door.call("", &format!("GET {path}"), &[], b"").await;
        let location = format!("http://test{path}/");
        assert_eq!(
            (reply.status, reply.header("location")),
            (301, Some(location.as_str()))
        );
    }
    let reply = door.call("", "GET /v1/AUTH_p/c/other/", &[], b"").await;
    assert_eq!(reply.status, 404, "there is no index, and lists are off");
    assert!(!reply.text().contains("a&amp;b"));
}

#[tokio::test]
async fn an_owner_with_a_token_gets_the_api_unless_web_mode_is_asked_for() {
    let door = site(OPEN, &[INDEX, LISTINGS]).await;
    let api = door.alice("GET /v1/AUTH_p/c/", &[], b"", 200).await;
    assert!(api.text().starts_with("401error.html\n"));
    let web = [("X-Web-Mode", "true")];
    let page = door.alice("GET /v1/AUTH_p/c/", &web, b"", 200).await;
    assert_eq!(page.text(), "home");
    let directory = door.alice("GET /v1/AUTH_p/c/other", &[], b"", 200).await;
    assert_eq!(directory.text(), "");
    door.alice("GET /v1/AUTH_p/c/other", &web, b"", 301).await;
}

#[tokio::test]
async fn a_listing_is_a_page_with_one_level_and_escaped_names() {
    let css = ("X-Container-Meta-Web-Listings-Css", "look.css");
    let door = site(OPEN, &[LISTINGS, css]).await;
    let top = door.call("", "GET /v1/AUTH_p/c/", &[], b"").await;
    assert_eq!(top.status, 200);
    assert_eq!(top.header("content-type"), Some("text/html; charset=UTF-8"));
    let top = top.text();
    assert!(top.contains("Listing of /v1/AUTH_p/c/"));
    assert!(top.contains("<a href=\"./dir/\">dir/</a>") && top.contains("href=\"look.css\""));
    assert!(!top.contains("dir/index.html") && !top.contains("\"../\""));
    let below = door.call("", "GET /v1/AUTH_p/c/other/", &[], b"").await.text();
    assert!(below.contains("<a href=\"./a%26b%3Cc.txt\">a&amp;b&lt;c.txt</a>"));
    assert!(below.contains("\"../\"") && below.contains("href=\"../look.css\""));
    let none = door.call("", "GET /v1/AUTH_p/c/none/", &[], b"").await;
    assert_eq!(none.status, 404);
}

#[tokio::test]
async fn errors_show_the_owners_page_with_the_true_status() {
    let door = site(OPEN, &[INDEX, ERROR]).await;
    for path in ["none", "none/", "other/"] {
        let line = format!("GET /v1/AUTH_p/c/{path}");
        // Conditions were meant for what is not there.
        for headers in [&[][..], &[("Range", "bytes=0-1")]] {
            let reply = door.call("", &line, headers, b"").await;
            assert_eq!((reply.status, reply.text().as_str()), (404, "not here"), "{path}");
        }
    }
}

#[tokio::test]
async fn a_site_opens_nothing_that_its_access_list_does_not() {
    let door = site(".r:*", &[LISTINGS, ERROR]).await;
    for path in ["", "other/"] {
        let reply = door.call("", &format!("GET /v1/AUTH_p/c/{path}"), &[], b"").await;
        assert_eq!((reply.status, reply.text().as_str()), (401, "not you"), "{path}");
    }
    let door = site("", &[INDEX, LISTINGS, ERROR]).await;
    for path in ["", "dir/", "dir", "index.html", "none"] {
        let reply = door.call("", &format!("GET /v1/AUTH_p/c/{path}"), &[], b"").await;
        assert_eq!(reply.status, 401, "{path}");
        assert!(
            !reply.text().contains("home") && !reply.text().contains("not you"),
            "{path}"
        );
    }
    let web = [("X-Web-Mode", "true")];
    let owner = door.call(ALICE, "GET /v1/AUTH_p/c/", &web, b"").await;
    assert_eq!((owner.status, owner.text().as_str()), (200, "home"));
}

#[tokio::test]
async fn a_host_name_stands_for_account_and_container() {
    let door = site(OPEN, &[INDEX]).await;
    let get = |host: &str, path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {host}.object.localhost:8080\r\nConnection: close\r\n\r\n")
    };
    for (host, path, text) in [
        ("c.AUTH_p", "/", "home"),
        ("c.auth-p", "/dir/", "dir home"),
        ("AUTH-p", "/c/dir/index.html", "dir home"),
    ] {
        let reply = door.raw(get(host, path).as_bytes()).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, text), "{host}{path}");
    }
    let reply = door.raw(get("c.auth-p", "/dir").as_bytes()).await;
    let location = "http://c.auth-p.object.localhost:8080/dir/";
    assert_eq!((reply.status, reply.header("location")), (301, Some(location)));
    // Nothing but the way to the container changes: its access list still counts.
    for (host, path) in [("AUTH_p", "/"), ("AUTH_q", "/c/")] {
        let reply = door.raw(get(host, path).as_bytes()).await;
        assert_eq!(reply.status, 401, "{host}{path}");
    }
    let many = door.raw(get("a.c.auth-p", "/").as_bytes()).await;
    assert_eq!(many.status, 400);
}
