//! Malformed, oversized, slow and broken requests: the API's own answers, and
//! nothing half done.
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::door::{ALICE, Door, Reply};

async fn with_container() -> Door {
    let door = Door::with(|config| {
        config.client_timeout = 1;
        config.header_timeout = 1;
        config.swift.limits.max_file_size = 1_000_000;
    })
    .await;
    door.alice("PUT /v1/AUTH_p/c", &[], b"", 201).await;
    door
}

async fn nothing_is_there(door: &Door) {
    door.alice("GET /v1/AUTH_p/c", &[], b"", 204).await;
}

#[tokio::test]
async fn heads_that_cannot_be_parsed_get_our_own_words() {
    let door = with_container().await;
    let long = format!(
        "GET /v1/AUTH_p HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n",
        "x".repeat(2_000_000)
    );
    let many = format!("GET /v1/AUTH_p HTTP/1.1\r\n{}\r\n", "X-A: b\r\n".repeat(1000));
    for (bytes, status) in [
        (&b"GET /v1/AUTH_p HTTP/1.1\r\nHost x\r\n\r\n"[..], 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"PUT /v1/AUTH_p/c/o HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"PUT /v1/AUTH_p/c/o HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (
            b"PUT /v1/AUTH_p/c/o HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        ),
        (b"GET /v1/AUTH_p/\xff HTTP/1.1\r\n\r\n", 412),
        (b"HEAD /v1/AUTH_p/\xff HTTP/1.1\r\n\r\n", 412),
        (long.as_bytes(), 431),
        (many.as_bytes(), 431),
    ] {
        let reply = door.raw(bytes).await;
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        assert_eq!(reply.status, status, "{shown}");
        assert!(
            reply.header("x-trans-id").is_some_and(|id| id.starts_with("tx")),
            "{shown}"
        );
        let length: usize = reply.header("content-length").unwrap().parse().unwrap();
        assert_eq!(
            reply.body.len(),
            if shown.starts_with("HEAD") { 0 } else { length },
            "{shown}"
        );
    }
    nothing_is_there(&door).await;
}

#[tokio::test]
async fn our_own_words_come_after_a_good_answer_too() {
    let door = with_container().await;
    let mut stream = door.connect().await;
    stream
        .write_all(b"GET /healthcheck HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let mut first = Vec::new();
    while !first.ends_with(b"OK") {
        assert!(stream.read_buf(&mut first).await.unwrap() > 0);
    }
    stream.write_all(b"rubbish\r\n\r\n").await.unwrap();
    let second = Reply::read(&mut stream).await;
    assert_eq!(second.status, 400);
    assert_ne!(
        second.header("x-trans-id"),
        Reply::parse(&first).header("x-trans-id")
    );
}

#[tokio::test]
async fn an_object_that_looks_like_an_answer_is_not_mistaken_for_one() {
    let door = with_container().await;
    let mut body = b"HTTP/1.1 400 Bad Request\r\n\r\n".repeat(8000);
    body.truncate(200_000);
    door.alice("PUT /v1/AUTH_p/c/o", &[], &body, 201).await;
    for _ in 0..20 {
        assert!(door.alice("GET /v1/AUTH_p/c/o", &[], b"", 200).await.body == body);
    }
}

#[tokio::test]
async fn bodies_that_do_not_say_their_length_or_say_too_much_are_refused() {
    let door = with_container().await;
    let start = format!("PUT /v1/AUTH_p/c/o HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {ALICE}\r\n");
    for (rest, status) in [
        ("\r\ntesting", 411),
        ("Transfer-Encoding: gzip, chunked\r\n\r\ntesting", 501),
        ("Content-Length: 1000001\r\nConnection: close\r\n\r\n", 413),
        (
            "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nxyz\r\n",
            400,
        ),
    ] {
        let reply = door.raw(format!("{start}{rest}").as_bytes()).await;
        assert_eq!(reply.status, status, "{rest}");
        assert_eq!(reply.header("connection"), Some("close"), "{rest}");
    }
    let big = vec![b'x'; 1_000_001];
    let mut chunked = format!("{:x}\r\n", big.len()).into_bytes();
    chunked.extend_from_slice(&big);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    door.alice(
        "PUT /v1/AUTH_p/c/o",
        &[("Transfer-Encoding", "chunked")],
        &chunked,
        413,
    )
    .await;
    door.alice("PUT /v1/AUTH_p/c/o", &[("ETag", "0123")], b"x", 422)
        .await;
    nothing_is_there(&door).await;
}

#[tokio::test]
async fn names_and_metadata_have_limits() {
    let door = with_container().await;
    let (long, value) = ("n".repeat(1025), "v".repeat(257));
    door.alice(&format!("PUT /v1/AUTH_p/c/{long}"), &[], b"x", 400)
        .await;
    door.alice(&format!("PUT /v1/AUTH_p/{}", "n".repeat(257)), &[], b"", 400)
        .await;
    for path in ["", "/c", "/c/o"] {
        let level = ["Account", "Container", "Object"][path.matches('/').count()];
        let method = if path == "/c/o" { "PUT" } else { "POST" };
        let line = format!("{method} /v1/AUTH_p{path}");
        for (name, value) in [
            (format!("X-{level}-Meta-"), "v"),
            (format!("X-{level}-Meta-{}", "n".repeat(129)), "v"),
            (format!("X-{level}-Meta-A"), value.as_str()),
        ] {
            door.alice(&line, &[(&name, value)], b"", 400).await;
        }
        let names: Vec<String> = (0..91).map(|i| format!("X-{level}-Meta-{i}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
        door.alice(&line, &many, b"", 400).await;
    }
    // Together with what is there it would be too much.
    let names: Vec<String> = (0..60).map(|i| format!("X-Container-Meta-{i}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    door.alice("POST /v1/AUTH_p/c", &many, b"", 204).await;
    let more: Vec<String> = (0..31).map(|i| format!("X-Container-Meta-M{i}")).collect();
    let more: Vec<(&str, &str)> = more.iter().map(|name| (name.as_str(), "v")).collect();
    door.alice("POST /v1/AUTH_p/c", &more, b"", 400).await;
    nothing_is_there(&door).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_leaves_nothing() {
    let door = with_container().await;
    for head in [
        "Content-Length: 100000\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffff\r\n",
    ] {
        let mut stream = door.connect().await;
        let start = format!("PUT /v1/AUTH_p/c/o HTTP/1.1\r\nX-Auth-Token: {ALICE}\r\n{head}");
        stream.write_all(start.as_bytes()).await.unwrap();
        stream.write_all(&[b'x'; 5000]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        if !rest.is_empty() {
            assert!(Reply::parse(&rest).status >= 400);
        }
    }
    nothing_is_there(&door).await;
    door.alice("HEAD /v1/AUTH_p/c/o", &[], b"", 404).await;
}

#[tokio::test]
async fn a_client_that_stops_sending_is_told_that_it_is_too_slow() {
    let door = with_container().await;
    let mut stream = door.connect().await;
    let start =
        format!("PUT /v1/AUTH_p/c/o HTTP/1.1\r\nX-Auth-Token: {ALICE}\r\nContent-Length: 10\r\n\r\nabc");
    stream.write_all(start.as_bytes()).await.unwrap();
    assert_eq!(Reply::read(&mut stream).await.status, 408);
    nothing_is_there(&door).await;
    // One that never finishes its head is let go without a word.
    let mut stream = door.connect().await;
    stream.write_all(b"GET /v1/AUTH_p HT").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest))
        .await
        .expect("closed")
        .unwrap();
}

#[tokio::test]
async fn the_body_is_asked_for_only_once_the_request_is_welcome() {
    let door = with_container().await;
    let start = |who: &str, path: &str| {
        format!(
            "PUT {path} HTTP/1.1\r\nX-Auth-Token: {who}\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        )
    };
    for (who, path, status) in [
        ("", "/v1/AUTH_p/c/o", 401),
        (ALICE, "/v1/AUTH_p/none/o", 404),
        (ALICE, "/v1/AUTH_p/c/%ff", 412),
    ] {
        assert_eq!(
            door.raw(start(who, path).as_bytes()).await.status,
            status,
            "{path}"
        );
    }
    let mut stream = door.connect().await;
    stream
        .write_all(start(ALICE, "/v1/AUTH_p/c/o").as_bytes())
        .await
        .unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\n") {
        assert!(stream.read_buf(&mut said).await.unwrap() > 0);
    }
    assert!(
        said.starts_with(b"HTTP/1.1 100 "),
        "{}",
        String::from_utf8_lossy(&said)
    );
    stream.write_all(b"hello").await.unwrap();
    assert_eq!(Reply::read(&mut stream).await.status, 201);
}

#[tokio::test]
async fn an_answer_to_an_unwanted_body_arrives_although_the_body_is_large() {
    let door = with_container().await;
    let body = vec![b'x'; 900_000];
    assert_eq!(
        door.call(ALICE, "PUT /v1/AUTH_p/none/o", &[], &body).await.status,
        404
    );
    assert_eq!(door.call("", "PUT /v1/AUTH_p/c/o", &[], &body).await.status, 401);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_request_makes_the_door_fall_over(
        method in "[A-Z]{1,8}",
        path in "/[ -~]{0,40}",
        headers in proptest::collection::vec(("[A-Za-z-]{1,20}", "[ -~]{0,40}"), 0..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let door = with_container().await;
            let path = path.replace(' ', "%20");
            let mut request = format!("{method} /v1/AUTH_p/c{path} HTTP/1.1\r\nX-Auth-Token: {ALICE}\r\nConnection: close\r\n");
            for (name, value) in &headers {
                if !name.eq_ignore_ascii_case("connection") {
                    request.push_str(&format!("{name}: {value}\r\n"));
                }
            }
            request.push_str("\r\n");
            let reply = door.raw(request.as_bytes()).await;
            assert!((200..600).contains(&reply.status) && reply.status != 500, "{request}: {}", reply.status);
            door.alice("HEAD /v1/AUTH_p/c", &[], b"", 204).await;
        });
    }
}
