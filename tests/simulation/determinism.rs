//! The same seed gives the same run, in one process and in another.
use std::process::Command;

use crate::seeds::{play, scenario};

const RUNS: [(&str, u64); 3] = [
    ("random-faults", 5),
    ("crash-in-reconciliation", 2),
    ("ring-change-while-a-node-is-down", 3),
];
/// Asks a second process for the traces only.
const CHILD: &str = "VIRGA_SIMULATION_TRACES";

fn traces() -> Vec<String> {
    RUNS.iter()
        .map(|(name, seed)| {
            let outcome = play(scenario(name), *seed, false);
            format!("{name} {seed} {} {:x}", outcome.events, outcome.trace)
        })
        .collect()
}

#[test]
fn a_seed_repeats_its_run_to_the_last_sync() {
    if std::env::var_os(CHILD).is_some() {
        traces().iter().for_each(|trace| println!("trace {trace}"));
        return;
    }
    let first = traces();
    assert_eq!(first, traces(), "twice in one process");
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "--nocapture"])
        .arg("determinism::a_seed_repeats_its_run_to_the_last_sync")
        .env(CHILD, "1")
        .output()
        .expect("a second process");
    assert!(child.status.success(), "the second process: {child:?}");
    let said = String::from_utf8_lossy(&child.stdout);
    let there: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split_once("trace ").map(|(_, trace)| trace))
        .collect();
    assert_eq!(first, there, "in a second process");
}

#[test]
fn another_seed_is_another_run() {
    let (name, seed) = RUNS[0];
    let (one, two) = (
        play(scenario(name), seed, false),
        play(scenario(name), seed + 1, false),
    );
    assert_ne!(one.trace, two.trace);
}
