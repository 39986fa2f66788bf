//! Bad files, bad words, bad weather: what is said, and that nothing is lost.
use std::ffi::OsString;
use std::time::Duration;

use serde_json::Value;
use virga_node::clock::{ManualClock, Micros};

use super::Desk;
use crate::{DONE, ERROR, WARNING, run_with};

#[test]
fn errors_are_json_when_asked_for() {
    let desk = Desk::with_devices(2);
    for bad in [
        "rebalance --json",
        "frobnicate --json",
        "set_weight d0 x --json",
        "--json search",
    ] {
        let said = desk.run(bad);
        assert_eq!(said.code, ERROR, "{bad}");
        let error: Value = serde_json::from_str(&said.err).unwrap_or_else(|_| panic!("{bad}: {}", said.err));
        assert!(
            !error["error"].as_str().unwrap().is_empty() && error["hint"].is_string(),
            "{error}"
        );
    }
}

#[test]
fn damaged_foreign_and_newer_builders_are_told_apart() {
    let desk = Desk::with_devices(4);
    desk.run("rebalance");
    let path = desk.path("object.builder");
    let good = std::fs::read(&path).unwrap();
    let mut newer = good.clone();
    newer[5] = 9;
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (bytes, says, hint) in [
        (&good[..good.len() / 2], "object.builder: cut off", "backups/"),
        (&flipped[..], "object.builder: section", "backups/"),
        (&newer[..], "newer than this program", "the version of virga"),
        (b"hello", "not a builder file", "write_builder"),
        (b"", "not a builder file", "write_builder"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        for verb in ["", "add z9-10.0.0.99:6200/x 1", "rebalance", "plan"] {
            let said = desk.run(verb);
            assert_eq!(said.code, ERROR, "{verb}: {}", said.out);
            assert!(
                said.err.contains(says) && said.err.contains(hint),
                "{verb}: {}",
                said.err
            );
            assert!(
                std::fs::read(&path).unwrap() == bytes,
                "{verb} changed a file it could not read"
            );
        }
    }
}

#[test]
fn what_cannot_be_placed_says_what_to_do() {
    let desk = Desk::new();
    desk.ok("create 6 3 1");
    assert!(
        desk.run("rebalance")
            .err
            .contains("add devices with a weight above 0")
    );
    // A zone without weight is drained, not an error.
    desk.ok(
        "add r1z1-10.0.0.1:6200/a 1 r1z2-10.0.0.2:6200/a 1 r1z3-10.0.0.3:6200/a 1 r1z4-10.0.0.4:6200/a 0",
    );
    desk.ok("rebalance");
    assert_eq!(desk.json("")["devices"][3]["parts"], 0);
    assert!(desk.run("set_weight d0 1e300").err.contains("bad weight"));
}

#[test]
fn a_clock_that_went_back_locks_partitions_and_breaks_nothing() {
    let desk = Desk::with_devices(6);
    desk.ok("rebalance");
    desk.ok("add r1z0-10.0.0.99:6200/new 100");
    let past = ManualClock::new(Micros(1_700_000_000_000_000));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = vec![desk.path("object.builder").into_os_string(), "rebalance".into()];
    let code = run_with(args, &past, &mut "".as_bytes(), &mut out, &mut err);
    assert_eq!(
        code,
        WARNING,
        "{}{}",
        String::from_utf8_lossy(&out),
        String::from_utf8_lossy(&err)
    );
    desk.ok("validate");
    desk.clock.advance(Duration::from_secs(3600));
    assert_ne!(desk.run("rebalance --force").code, ERROR);
    assert!(desk.json("")["devices"][6]["parts"].as_u64() > Some(0));
}

#[test]
fn tools_at_work_in_one_folder_take_turns() {
    let desk = Desk::with_devices(0);
    let builder = desk.path("object.builder");
    std::thread::scope(|scope| {
        for zone in 0..6 {
            let (clock, builder) = (&desk.clock, &builder);
            scope.spawn(move || {
                for disk in 0..4 {
                    let words = [
                        "add".to_owned(),
                        format!("r1z{zone}-10.0.{zone}.1:6200/sd{disk}"),
                        "1".to_owned(),
                    ];
                    let args = std::iter::once(builder.clone().into_os_string());
                    let args = args.chain(words.into_iter().map(OsString::from)).collect();
                    let code = run_with(args, clock, &mut "".as_bytes(), &mut Vec::new(), &mut Vec::new());
                    assert_eq!(code, DONE);
                }
            });
        }
    });
    assert_eq!(desk.json("")["devices"].as_array().unwrap().len(), 24);
}

#[test]
fn a_folder_that_cannot_be_written_leaves_the_old_files() {
    let desk = Desk::with_devices(4);
    desk.run("rebalance");
    desk.ok("pretend_min_part_hours_passed");
    desk.ok("set_weight d0 50");
    let read = |name: &str| std::fs::read(desk.path(name)).unwrap();
    let before = (read("object.builder"), read("object.ring.gz"));
    // A file where the backups should go: root may write anywhere else.
    std::fs::remove_dir_all(desk.path("backups")).unwrap();
    std::fs::write(desk.path("backups"), b"").unwrap();
    for verb in ["rebalance", "write_ring", "set_weight d1 50"] {
        let said = desk.run(verb);
        assert_eq!(said.code, ERROR, "{verb}");
        assert!(
            said.err.contains("cannot write") && said.err.contains("make room"),
            "{verb}: {}",
            said.err
        );
        assert!(
            (read("object.builder"), read("object.ring.gz")) == before,
            "{verb}"
        );
    }
}
