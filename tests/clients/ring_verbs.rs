//! The verbs of `virga ring` beside Swift's own tools: the same words to
//! both, exit codes, phrases and the builders that result compared. The table
//! of words is in `ring_verbs.py`.
use std::fs;
use std::process::{Command, Output};

use virga_tests::cloud::binary;

use crate::ring_files::{self, text};

/// Runs one part of the comparison; gives what it said.
fn compare(part: &str) -> String {
    ring_files::compare("ring_verbs.py", &[part])
}

#[test]
fn every_verb_does_to_a_builder_what_swifts_tool_does() {
    let said = compare("builder");
    assert!(said.contains("scripts equal"), "{said}");
}

#[test]
fn a_scenario_plays_as_in_swifts_analyzer() {
    let said = compare("analyzer");
    assert!(said.contains("5 rounds alike"), "{said}");
}

#[test]
fn nodes_answers_as_swift_get_nodes_does() {
    let said = compare("nodes");
    assert!(said.contains("12 questions answered alike"), "{said}");
}

/// `virga ring WORDS` in `folder`; no file may grow beyond `limit` blocks of
/// 1 KiB, as on a disk with that much room.
fn ring(folder: &std::path::Path, words: &str, limit: Option<u32>) -> Output {
    let limit = limit.map_or_else(String::new, |blocks| {
        format!("trap '' XFSZ; ulimit -f {blocks}; ")
    });
    Command::new("bash")
        .arg("-c")
        .arg(format!("{limit}exec \"$0\" ring {words}"))
        .arg(binary())
        .current_dir(folder)
        .output()
        .expect("bash")
}

#[test]
fn a_disk_without_room_leaves_ring_and_builder_as_they_were() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ok = |words: &str| {
        let out = ring(folder.path(), words, None);
        assert!(out.status.success(), "{words}: {}", text(&out));
    };
    ok("o.builder create 12 3 0");
    for zone in 1..=4 {
        ok(&format!("o.builder add r1z{zone}-10.0.0.{zone}:6200/sda 100"));
    }
    ok("o.builder rebalance");
    ok("o.builder set_weight d0 50");
    let files = ["o.builder", "o.ring.gz"];
    let read = || files.map(|name| fs::read(folder.path().join(name)).expect("a file"));
    let before = read();
    for words in [
        "rebalance",
        "set_weight d1 50",
        "write_ring",
        "pretend_min_part_hours_passed",
        "draw x.svg",
    ] {
        let out = ring(folder.path(), &format!("o.builder {words}"), Some(1));
        let said = text(&out);
        assert_eq!(out.status.code(), Some(2), "{words}: {said}");
        assert!(said.contains("cannot write"), "{words}: {said}");
        assert!(read() == before, "{words} changed a file");
    }
    let names = fs::read_dir(folder.path()).expect("the folder");
    let names: Vec<String> = names
        .map(|it| it.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!names.iter().any(|name| name.contains(".tmp")), "{names:?}");
    ok("o.builder rebalance");
}

/// A line with all numbers, identifiers and runs of blanks alike: what counts
/// in the guide is what is said, not how much of it.
fn shape(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        if word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return "ID".to_owned();
        }
        let mut shape = String::new();
        for c in word.chars() {
            match c {
                '0'..='9' if shape.ends_with('0') => {}
                '0'..='9' => shape.push('0'),
                c => shape.push(c),
            }
        }
        shape
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_sessions_of_the_operators_guide_run_as_they_stand_there() {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations/rings.md");
    let guide = fs::read_to_string(guide).expect("the guide");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tools = folder.path().join("bin");
    fs::create_dir(&tools).expect("a folder");
    std::os::unix::fs::symlink(binary(), tools.join("virga")).expect("a link");
    let path = format!(
        "{}:{}",
        tools.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut commands = 0;
    let mut said: Vec<String> = Vec::new();
    for block in guide.split("```console\n").skip(1) {
        let session = block.split("```").next().unwrap_or_default();
        for line in session.lines() {
            let Some(command) = line.strip_prefix("$ ") else {
                assert!(
                    said.contains(&shape(line)),
                    "the guide shows {line:?}, but the tool says {said:#?}"
                );
                continue;
            };
            let run = Command::new("bash")
                .arg("-c")
                .arg(command)
                .current_dir(folder.path())
                .env("PATH", &path)
                .output();
            let out = run.expect("bash");
            // 1 is a note, and part of the guide.
            assert!(
                matches!(out.status.code(), Some(0 | 1)),
                "{command}: {}",
                text(&out)
            );
            said = text(&out).lines().map(shape).collect();
            commands += 1;
        }
    }
    assert!(commands > 25, "{commands} commands");
    assert!(folder.path().join("ring.svg").exists());
}
