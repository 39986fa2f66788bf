//! Runs of many seeds.
use virga_tests::simulation::cluster::scratch;
use virga_tests::simulation::scenarios::ALL;
use virga_tests::simulation::{Outcome, Scenario, run};

/// The scenario of that name.
pub fn scenario(name: &str) -> &'static Scenario {
    ALL.iter()
        .find(|scenario| scenario.name == name)
        .expect("a scenario of that name")
}

/// Runs one seed in a runtime of its own, on virtual time.
pub fn play(scenario: &Scenario, seed: u64, loud: bool) -> Outcome {
    let root = scratch();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let outcome = runtime.block_on(run(scenario, seed, loud, root.path()));
    drop(runtime);
    outcome
}

/// Seeds whose findings are understood and open; `docs/testing.md` says what they
/// are. They are left out of the test run, and still run when asked for.
const OPEN: &[(&str, u64)] = &[("away-longer-than-tombstones-live", 20214)];

/// The seed to replay, if one is asked for.
fn asked() -> Option<u64> {
    std::env::var("VIRGA_SEED").ok()?.parse().ok()
}

/// Runs some seeds of a scenario, or the one that is asked for, and fails with
/// what was found and how to see it again.
fn explore(name: &str) {
    let scenario = scenario(name);
    let soak = std::env::var_os("VIRGA_SOAK").is_some();
    let seeds = match asked() {
        Some(seed) => seed..seed + 1,
        None if soak => 1..301,
        None => 1..16,
    };
    let loud = asked().is_some();
    let mut failed = Vec::new();
    for seed in seeds {
        if !loud && OPEN.contains(&(name, seed)) {
            println!("{name}, seed {seed}: open, left out");
            continue;
        }
        let outcome = play(scenario, seed, loud);
        if loud {
            println!("{outcome:#?}");
        }
        if !outcome.findings.is_empty() {
            println!("{name}, seed {seed}: {:#?}", outcome.findings);
            println!("  again: {}", again(name, seed));
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "seeds of {name} that failed: {failed:?}");
}

/// The command that repeats a run.
pub fn again(name: &str, seed: u64) -> String {
    let test = name.replace('-', "_");
    format!(
        "VIRGA_SEED={seed} cargo test -p virga-tests --test simulation -- --nocapture --exact seeds::{test}"
    )
}

macro_rules! explored {
    ($($test:ident $name:literal)*) => {$(
        #[test]
        fn $test() {
            explore($name);
        }
    )*};
}

explored! {
    random_faults "random-faults"
    away_longer_than_tombstones_live "away-longer-than-tombstones-live"
    parallel_cold_start "parallel-cold-start"
    disk_swapped_for_an_empty_one "disk-swapped-for-an-empty-one"
    two_devices_swapped "two-devices-swapped"
    power_loss_of_all "power-loss-of-all"
    full_then_expanded "full-then-expanded"
    slow_disk "slow-disk"
    one_way_partition "one-way-partition"
    clock_skew "clock-skew"
    clock_a_year_off "clock-a-year-off"
    ring_change_while_a_node_is_down "ring-change-while-a-node-is-down"
    bit_rot "bit-rot"
    crash_in_reconciliation "crash-in-reconciliation"
}
