use std::io::{Read, Write};
use std::net::TcpStream;

use virga_tests::chance::Chance;
use virga_tests::cloud::Cloud;
use virga_tests::swift::Swift;

#[test]
fn an_acknowledged_write_is_listed_at_once_and_a_deleted_one_is_not() {
    let cloud = Cloud::start();
    let swift = Swift::connect(&cloud);
    swift.put("box", b"");
    for n in 0..40 {
        swift.put(&format!("box/{n:02}"), b"x");
        assert!(
            swift.get("box").text().contains(&format!("{n:02}\n")),
            "{n} is not listed"
        );
    }
    for n in 0..40 {
        assert_eq!(swift.send("DELETE", &format!("box/{n:02}"), &[], b"").status, 204);
        assert!(
            !swift.get("box").text().contains(&format!("{n:02}\n")),
            "{n} is still listed"
        );
    }
    assert_eq!(swift.get("box/07").status, 404);
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing_visible() {
    let cloud = Cloud::start();
    let swift = Swift::connect(&cloud);
    swift.put("box", b"");
    let host = cloud.object_url().trim_start_matches("http://").to_owned();
    let path = swift.url.split_once(&host).expect("the same host").1.to_owned();
    for (name, sent) in [("small", 1000usize), ("large", 5_000_000)] {
        let mut socket = TcpStream::connect(&host).expect("a connection");
        let head = format!(
            "PUT {path}/box/{name} HTTP/1.1\r\nHost: {host}\r\nX-Auth-Token: {}\r\nContent-Length: 9000000\r\n\r\n",
            swift.token
        );
        socket.write_all(head.as_bytes()).expect("sent");
        socket.write_all(&vec![7; sent]).expect("sent");
        drop(socket);
    }
    let mut chance = Chance::announced("broken uploads");
    let body = chance.bytes(2_000_000);
    swift.put("box/whole", &body);
    assert_eq!(swift.get("box").text(), "whole\n");
    assert_eq!(swift.get("box/small").status, 404);
    assert_eq!(swift.get("box/large").status, 404);
    assert_eq!(swift.get("box/whole").body, body);
}

#[test]
fn nonsense_on_the_wire_gets_an_answer_or_a_close_and_harms_nobody() {
    let cloud = Cloud::start();
    let swift = Swift::connect(&cloud);
    let host = cloud.object_url().trim_start_matches("http://").to_owned();
    let mut chance = Chance::announced("nonsense");
    for n in 0..50 {
        let mut socket = TcpStream::connect(&host).expect("a connection");
        let noise = match n % 4 {
            0 => chance.bytes(200),
            1 => b"GET /v1/%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            2 => b"PUT /v1/AUTH_x/c/o HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n".to_vec(),
            _ => [&b"GET / HTTP/1.1\r\nX: "[..], &vec![b'a'; 100_000]].concat(),
        };
        let _ = socket.write_all(&noise);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        if !answer.is_empty() {
            assert!(
                answer.starts_with(b"HTTP/1.1 4"),
                "{}",
                String::from_utf8_lossy(&answer)
            );
        }
    }
    assert_eq!(swift.put("after", b"").status, 201);
}

#[test]
fn memory_stays_flat_while_a_large_object_passes() {
    let cloud = Cloud::start();
    let swift = Swift::connect(&cloud);
    swift.put("box", b"");
    // In the long form the largest object there may be in one piece.
    let mib: usize = if std::env::var_os("VIRGA_SOAK").is_some() {
        5 * 1024
    } else {
        256
    };
    cloud.demo_shell(&format!(
        "head -c {mib}M /dev/zero | curl -fsS -T - -H 'X-Auth-Token: {}' '{}/box/big' >/dev/null\n\
         test \"$(curl -fsS -H 'X-Auth-Token: {}' '{}/box/big' | wc -c)\" = {}\n",
        swift.token,
        swift.url,
        swift.token,
        swift.url,
        mib * 1024 * 1024
    ));
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", cloud.pid().expect("it runs"))).expect("proc");
    let peak: u64 = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .and_then(|l| l.trim().trim_end_matches(" kB").parse().ok())
        .expect("VmHWM");
    assert!(
        peak < 256 * 1024,
        "{peak} KiB at the peak for an object of {mib} MiB"
    );
}

#[test]
fn every_range_of_every_size_around_a_block_is_served() {
    let cloud = Cloud::start();
    let swift = Swift::connect(&cloud);
    swift.put("box", b"");
    let mut chance = Chance::announced("ranges");
    for size in [1, 65_535, 65_536, 65_537, 100_000, 130_000, 150_000, 1_048_577] {
        let body = chance.bytes(size);
        swift.put("box/o", &body);
        let edges = [0, 1, 1500, 65_535, 65_536, 65_537, 70_000, size - 1, size + 5];
        for (first, last) in edges.iter().flat_map(|a| edges.map(|b| (*a, b))) {
            if first > last || first >= size {
                continue;
            }
            let range = format!("bytes={first}-{last}");
            let answer = swift.send("GET", "box/o", &[("range", &range)], b"");
            assert_eq!(answer.status, 206, "{range} of {size}: {}", answer.text());
            let wanted = &body[first..size.min(last + 1)];
            assert!(answer.body == wanted, "{range} of {size}: wrong bytes");
        }
    }
}
