//! Walks what a process serves besides the APIs of its services, and compares
//! with the table beside this file, `doors.txt`. That every path has a row is
//! a test of the binary's own.
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use virga_tests::cloud::{Cloud, Shape};
use virga_tests::cluster::Cluster;
use virga_tests::process::credential;
use virga_tests::swift::{Answer, Swift};

/// Path, method, who.
type Row = (&'static str, &'static str, &'static str);

fn rows(place: &str) -> Vec<Row> {
    let lines = include_str!("doors.txt").lines();
    let rows = lines.filter(|line| !line.starts_with('#')).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [at, path, method, who] = words[..] else {
            panic!("not a row: {line}");
        };
        (at, (path, method, who))
    });
    rows.filter(|(at, _)| *at == place).map(|(_, row)| row).collect()
}

/// Methods of each path.
fn methods(rows: &[Row]) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut all: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, method, _) in rows {
        let new = all.entry(path).or_default().insert(method);
        assert!(new, "twice: {method} {path}");
    }
    all
}

#[test]
fn the_front_door_lets_everyone_in_where_the_table_says_so_and_to_questions_of_hosts_only_hosts() {
    let cluster = Cluster::start();
    let openrc = cluster.controller_data().join("openrc-demo");
    let url = credential(&openrc, "OS_AUTH_URL");
    let member = cluster.demo();
    let door = member.under(url.trim_end_matches("/v3"));
    let rows = rows("front");
    for (path, method, who) in &rows {
        let bodies = [&b""[..], b"{}", &[7; 200]];
        let bodies = if *method == "POST" {
            &bodies[..]
        } else {
            &bodies[..1]
        };
        for token in ["", "rubbish", &member.token] {
            for body in bodies {
                let answer = door
                    .with_token(token)
                    .send(method, path.trim_start_matches('/'), &[], body);
                let expected = if *who == "all" { 200 } else { 403 };
                assert_eq!(answer.status, expected, "{method} {path}: {}", answer.text());
            }
        }
    }
    for (path, methods) in methods(&rows) {
        let answer: Answer = door.send("BREW", path.trim_start_matches('/'), &[], b"");
        assert_eq!(answer.status, 405, "{path}");
        let there: BTreeSet<&str> = answer.header("allow").split(',').map(str::trim).collect();
        assert_eq!(there, methods, "{path}");
    }
    // A cloud in one process has no other hosts that could ask.
    let alone = Cloud::start_as(Shape {
        devices: 1,
        ..Shape::default()
    });
    let url = alone.auth_url();
    let door = Swift::connect(&alone).under(url.trim_end_matches("/v3"));
    assert_eq!(door.send("POST", "virga/hosts", &[], b"{}").status, 404);
}

/// What a control socket answers: a head and a body.
pub fn ask(socket: &Path, method: &str, path: &str, body: &str) -> (String, String) {
    let mut stream = UnixStream::connect(socket).expect("the socket");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: virga\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("a question");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

fn status(head: &str) -> u16 {
    let word = head.split(' ').nth(1).expect("a status");
    word.parse().expect("a number")
}

#[test]
fn the_control_socket_answers_what_the_table_says_to_the_user_of_the_process_and_nobody_else() {
    let cloud = Cloud::start_as(Shape {
        devices: 1,
        ..Shape::default()
    });
    let socket = cloud.data().join("control.sock");
    let mode = std::fs::metadata(&socket)
        .expect("the socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let rows = rows("control");
    for (path, methods) in methods(&rows) {
        let (head, _) = ask(&socket, "BREW", &path.replace("{after}", "0"), "");
        assert_eq!(status(&head), 405, "{path}");
        let head = head.replace("Allow: ", "allow: ");
        let allow = head.lines().find_map(|line| line.strip_prefix("allow: "));
        let there: BTreeSet<&str> = allow.unwrap_or_default().split(',').map(str::trim).collect();
        assert_eq!(there, methods, "{path}");
    }
    for (path, method, _) in rows {
        let (head, _) = ask(&socket, method, &path.replace("{after}", "0"), "");
        // Questions without a body are no good ones, but they are heard.
        let refused = [401, 403, 404, 405].contains(&status(&head));
        assert!(!refused, "{method} {path}: {head}");
    }
    // None of it is on a port.
    let swift = Swift::connect(&cloud);
    let front = cloud.auth_url().trim_end_matches("/v3").to_owned();
    for root in [front, cloud.object_url()] {
        for path in ["status", "admin", "fsck", "policy/rules", "audit/ends"] {
            let status = swift.under(&root).send("POST", path, &[], b"{}").status.as_u16();
            assert!((400..500).contains(&status), "{root}/{path}: {status}");
        }
    }
}
