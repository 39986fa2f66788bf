//! Plain HTTP to a door, and what comes back, read by hand: no client between
//! the test and the bytes.
#![allow(dead_code, reason = "each suite uses its part")]
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends bytes as they are and reads until the connection ends.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A door that refuses may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    Reply::read(&mut stream).await
}

/// Sends a request to `host` on a connection of its own. Whether it says how
/// long its body is, where its headers do not: `says_length`.
pub async fn exchange<'a>(
    (address, host): (SocketAddr, &str),
    line: &str,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
    body: &[u8],
    says_length: bool,
) -> Reply {
    let mut request = format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n").into_bytes();
    let mut framed = false;
    for (name, value) in headers {
        framed |= ["content-length", "transfer-encoding"].contains(&&*name.to_ascii_lowercase());
        request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if says_length && !framed {
        request.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    raw(address, &request).await
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// Reads until the connection ends.
    pub async fn read(stream: &mut TcpStream) -> Self {
        let mut all = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await;
        let _ = read.expect("the connection ends");
        Self::parse(&all)
    }

    pub fn parse(all: &[u8]) -> Self {
        let end = all.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&all[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut reply = Self {
            status,
            headers,
            body: all[end + 4..].to_vec(),
        };
        if reply.header("transfer-encoding") == Some("chunked") {
            reply.body = dechunk(&reply.body);
        }
        reply
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// What stands in the first `<name>`.
    pub fn element(&self, name: &str) -> Option<String> {
        self.elements(name).into_iter().next()
    }

    /// What stands in every `<name>`.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let text = self.text();
        let rest = text.split(&open).skip(1);
        rest.filter_map(|part| part.split(&close).next().map(str::to_owned))
            .collect()
    }

    /// The code of an error of S3.
    pub fn code(&self) -> String {
        self.element("Code").unwrap_or_default()
    }
}

fn dechunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
    body
}
