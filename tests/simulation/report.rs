//! `make simulate`: many seeds, spread over all scenarios, and a report of what
//! they came to.
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use virga_tests::simulation::Outcome;
use virga_tests::simulation::scenarios::ALL;

use crate::seeds::{again, play};

/// Runs `VIRGA_SEEDS` seeds in all, from `VIRGA_FIRST` (1) on, as many at a time
/// as there are cores. Without the variable there is nothing to report.
#[test]
fn many_seeds_are_run_and_reported() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let Some(seeds) = number("VIRGA_SEEDS") else {
        return;
    };
    let first = number("VIRGA_FIRST").unwrap_or(1);
    let begun = Instant::now();
    let (next, outcomes) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    if turn >= seeds {
                        return;
                    }
                    let scenario = &ALL[usize::try_from(turn).expect("few") % ALL.len()];
                    let outcome = play(scenario, first + turn / ALL.len() as u64, false);
                    if !outcome.findings.is_empty() {
                        eprintln!("{} {}: {:#?}", scenario.name, outcome.seed, outcome.findings);
                    }
                    outcomes.lock().expect("no run panicked").push(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().expect("no run panicked");
    let report = report(first, &outcomes, begun.elapsed());
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("../target"), PathBuf::from);
    let folder = target.join("simulation");
    std::fs::create_dir_all(&folder).expect("a folder for the report");
    let path = folder.join("report.md");
    std::fs::write(&path, &report).expect("the report is written");
    eprintln!("{report}\nwritten to {}", path.display());
    let failed = outcomes.iter().filter(|outcome| !outcome.findings.is_empty());
    assert_eq!(failed.count(), 0, "seeds failed");
}

fn report(first: u64, outcomes: &[Outcome], took: Duration) -> String {
    let mut text = String::from("# Simulated runs\n\n");
    let last = outcomes.iter().map(|outcome| outcome.seed).max().unwrap_or(first);
    let virtual_time: Duration = outcomes.iter().map(|outcome| outcome.took).sum();
    let calls: u64 = outcomes.iter().map(|outcome| outcome.calls).sum();
    let _ = writeln!(
        text,
        "{} runs, seeds {first} to {last}: {} hours of virtual time in {} s; {calls} calls of clients.\n",
        outcomes.len(),
        virtual_time.as_secs() / 3600,
        took.as_secs(),
    );
    text.push_str(
        "| scenario | runs | calls | without an answer | uncertain | findings | to full health: median | longest |\n",
    );
    text.push_str("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for scenario in ALL {
        let runs: Vec<_> = outcomes
            .iter()
            .filter(|outcome| outcome.scenario == scenario.name)
            .collect();
        let mut health: Vec<Duration> = runs.iter().filter_map(|outcome| outcome.health).collect();
        health.sort_unstable();
        let seconds =
            |at: Option<&Duration>| at.map_or("-".into(), |at| format!("{:.1} s", at.as_secs_f64()));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            scenario.name,
            runs.len(),
            runs.iter().map(|outcome| outcome.calls).sum::<u64>(),
            runs.iter().map(|outcome| outcome.unanswered).sum::<u64>(),
            runs.iter().map(|outcome| outcome.uncertain).sum::<u64>(),
            runs.iter().filter(|outcome| !outcome.findings.is_empty()).count(),
            seconds(health.get(health.len() / 2)),
            seconds(health.last()),
        );
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.findings.is_empty());
    for outcome in failed {
        let _ = writeln!(
            text,
            "\n- {}, seed {}: {}\n  again: `{}`",
            outcome.scenario,
            outcome.seed,
            outcome.findings.join("; "),
            again(outcome.scenario, outcome.seed)
        );
    }
    text
}
