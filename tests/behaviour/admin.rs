use std::process::Command;

use virga_tests::cluster::Cluster;
use virga_tests::process::{binary, wait_until};

/// Runs `virga admin` on a folder: its exit code and what it said.
fn admin(data: &str, words: &[&str]) -> (Option<i32>, String) {
    let out = Command::new(binary())
        .args(["admin", "--data", data])
        .args(words)
        .output()
        .expect("virga runs");
    let said = [out.stdout, out.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    (out.status.code(), said.concat())
}

fn finding(status: &serde_json::Value, subject: &str) -> Option<serde_json::Value> {
    let findings = status["health"]["findings"].as_array().expect("findings");
    findings.iter().find(|found| found["subject"] == subject).cloned()
}

#[test]
fn a_drained_device_takes_no_writes_gives_away_what_it_holds_and_stays_drained_after_a_restart() {
    let mut cluster = Cluster::start();
    let swift = cluster.demo();
    swift.put("box", b"");
    for n in 0..40 {
        swift.put(&format!("box/{n}"), format!("object {n}").as_bytes());
    }
    let data = cluster.proxy_data(0).to_str().expect("UTF-8").to_owned();
    let device = format!("{}/d1", cluster.node(1));
    let (code, said) = admin(&data, &["device", "drain", &device, "--note", "it clicks"]);
    assert_eq!(code, Some(0), "{said}");
    let found = finding(&cluster.proxy_status(0), &device).expect("the drain is shown");
    assert_eq!(found["kind"], "device-draining", "{found}");
    assert!(
        found["what"].as_str().expect("words").contains("it clicks"),
        "{found}"
    );
    // What is written meanwhile goes elsewhere, and everything can be read.
    swift.put("box/meanwhile", b"elsewhere");
    wait_until("everything is on other devices", || {
        let found = finding(&cluster.proxy_status(0), &device).expect("the drain is shown");
        let todo = found["todo"][0].as_str().unwrap_or_default().to_owned();
        todo.contains("take it out: for ring in account container object")
    });
    cluster.kill_store(1);
    for n in 0..40 {
        assert_eq!(swift.get(&format!("box/{n}")).status, 200, "object {n}");
    }
    cluster.start_store(1);
    wait_until("the order is obeyed after the restart", || {
        let found = finding(&cluster.proxy_status(0), &device);
        found.is_some_and(|found| found["kind"] == "device-draining")
    });
    let (code, said) = admin(&data, &["device", "undrain", &device]);
    assert_eq!(code, Some(0), "{said}");
    wait_until("nothing is the matter", || {
        cluster.proxy_status(0)["health"]["health"] == "ok"
    });
}

#[test]
fn a_name_that_no_device_has_is_answered_with_those_that_there_are() {
    let cluster = Cluster::start();
    let data = cluster.proxy_data(0).to_str().expect("UTF-8").to_owned();
    let (code, said) = admin(&data, &["device", "drain", "d7"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(&format!("{}/d1", cluster.node(0))), "{said}");
    let (code, said) = admin(&data, &["device", "drain", "d1"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("several hosts"), "{said}");
    let (code, said) = admin(&data, &["quarantine", "list"]);
    assert_eq!((code, said.trim()), (Some(0), "nothing is kept"));
    let (code, said) = admin(&data, &["--json", "owed"]);
    assert_eq!((code, said.trim()), (Some(0), "[]"));
    let (code, said) = admin(&data, &["scrub", "now"]);
    assert_eq!(code, Some(0), "{said}");
    wait_until("a pass of the scrub is over", || {
        let (_, said) = admin(&data, &["--json", "scrub", "status"]);
        let all: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        let all = all.as_array().expect("devices").clone();
        all.iter().all(|device| !device["scrub"]["pass_ended"].is_null())
    });
}
