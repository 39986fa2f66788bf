//! Answers to requests whose bodies nobody wants: whoever sends all of a body before
//! it looks for an answer gets to read it, in both dialects, within bounds.
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::door::{ALICE, Door, Reply, SECRET, TOKEN};
use super::sign::{self, Request};

const MIB: usize = 1024 * 1024;

/// The head of a request for this many bytes.
fn head(line: &str, headers: &[(String, String)], length: usize) -> String {
    let mut head = format!("{line} HTTP/1.1\r\nContent-Length: {length}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + "\r\n"
}

fn signed(door: &Door, line: &str) -> Vec<(String, String)> {
    let (method, target) = line.split_once(' ').unwrap();
    let mut request = Request {
        method,
        target,
        headers: Vec::new(),
        payload: "UNSIGNED-PAYLOAD".into(),
        at: sign::now(),
    };
    request.sign(ALICE, SECRET, &door.host());
    request.headers.push(("Host".into(), door.host()));
    request.headers
}

/// Sends this many bytes behind a head, as far as they are taken.
async fn send(door: &Door, head: &str, mib: usize) -> (std::io::Result<()>, TcpStream) {
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    let piece = vec![b'x'; MIB];
    let mut sent = stream.write_all(head.as_bytes()).await;
    for _ in 0..mib {
        if sent.is_ok() {
            sent = stream.write_all(&piece).await;
        }
    }
    (sent, stream)
}

#[tokio::test]
async fn who_sends_all_of_a_refused_body_reads_the_answer_in_both_dialects() {
    let door = Door::lingering(2 * MIB as u64).await;
    let token = vec![
        ("X-Auth-Token".to_owned(), TOKEN.to_owned()),
        ("Host".to_owned(), door.host()),
    ];
    let s3 = "PUT /nothing/k";
    for (line, headers, says) in [
        (s3, signed(&door, s3), "NoSuchBucket"),
        ("PUT /v1/AUTH_p/nothing/o", token, "<h1>Not Found</h1>"),
    ] {
        // More than is read while the connection could still be of use, and more
        // than systems keep for those who do not read.
        let (sent, mut stream) = send(&door, &head(line, &headers, 16 * MIB), 16).await;
        sent.unwrap_or_else(|error| panic!("{line}: {error}"));
        let reply = Reply::read(&mut stream).await;
        assert_eq!(reply.status, 404, "{line}");
        assert!(reply.text().contains(says), "{line}: {}", reply.text());
    }
}

#[tokio::test]
async fn who_never_stops_sending_is_left() {
    let door = Door::lingering(MIB as u64).await;
    let line = "PUT /nothing/k";
    let head = head(line, &signed(&door, line), 512 * MIB);
    let (sent, _stream) = send(&door, &head, 512).await;
    assert!(sent.is_err(), "512 MiB were read that nobody wants");
}
