//! Real processes, each host in a network namespace with small disks of its
//! own, and faults drawn from seeds. `make lab RUNS=200` runs many.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use virga_tests::lab::enclosure::{Enclosed, enclosed};
use virga_tests::lab::field::Field;
use virga_tests::lab::report::Report;
use virga_tests::lab::run::run;

/// Runs of the short form, with the seeds 1, 2, ...
const RUNS: u64 = 3;
/// Runs on one cluster, if all are good.
const TOGETHER: u64 = 10;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_breaks_nothing_acknowledged_is_lost_and_nothing_deleted_comes_back() {
    let name = "whatever_breaks_nothing_acknowledged_is_lost_and_nothing_deleted_comes_back";
    match enclosed(name) {
        Enclosed::Inside => runs(),
        Enclosed::Ended(status) => assert!(status.success(), "the lab ended with {status}"),
        Enclosed::Impossible(why) => {
            eprintln!("\n*** NOT RUN: the lab of faults. {why}\n");
            assert!(number("VIRGA_LAB_RUNS").is_none(), "no lab here: {why}");
        }
    }
}

fn runs() {
    let (first, asked) = (number("VIRGA_SEED").unwrap_or(1), number("VIRGA_LAB_RUNS"));
    let runs = asked.unwrap_or(RUNS);
    println!("VIRGA_SEED={first} VIRGA_LAB_RUNS={runs}");
    // The short form leaves the page of a long one alone.
    let mut report = Report::new(asked.map_or("short.md", |_| "report.md"));
    let mut field = None;
    for n in 0..runs {
        if n % TOGETHER == 0 {
            // The old one goes before the new one comes.
            drop(field.take());
        }
        let seed = first + n;
        let on = field.get_or_insert_with(Field::make);
        let verdict = run(on, seed);
        let good = verdict.is_good();
        if !good {
            on.keep_logs(&report.folder.join(format!("seed-{seed}")));
        }
        report.add(verdict);
        if !good {
            drop(field.take());
        }
    }
    let bad = report.bad();
    assert!(
        bad.is_empty(),
        "not good: seeds {bad:?}; see {}",
        report.folder.display()
    );
}
