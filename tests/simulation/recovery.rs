//! How soon replicas are equal after a peer hung or was away: within a couple of
//! rounds, however long it took.
use std::time::Duration;

use virga_tests::simulation::Scenario;
use virga_tests::simulation::cluster::{Cluster, Plan};
use virga_tests::simulation::load::Mix;

use crate::seeds::play;

/// Rounds of the simulated clusters come every 1.5 s, of three duties in turn. A
/// resting device asks for a peer that was away every 2 s, and one peer ends a rest
/// at most every 10 s. Of sixty seeds three take 12 to 15.3 s, half of them 2.
const SOON: Duration = Duration::from_secs(18);

/// Calls between machine 0 and the others take 12 s, just not too long, and in
/// the end it misses some writes.
async fn hangs(cluster: &Cluster) {
    for other in 1..cluster.machines.len() {
        cluster.network.slow_down(0, other, 6_000);
        cluster.network.slow_down(other, 0, 6_000);
    }
    tokio::time::sleep(Duration::from_secs(90)).await;
    misses_writes(cluster).await;
}

/// Nothing reaches machine 0 for a minute.
async fn is_away(cluster: &Cluster) {
    cluster.network.isolate(0, &cluster.everybody());
    tokio::time::sleep(Duration::from_secs(60)).await;
}

async fn misses_writes(cluster: &Cluster) {
    for other in cluster.everybody().into_iter().filter(|other| *other >= 100) {
        cluster.network.cut(other, 0);
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
}

fn all_soon(scenario: &Scenario) {
    for seed in 1..4 {
        let outcome = play(scenario, seed, false);
        assert!(
            outcome.findings.is_empty(),
            "seed {seed}: {:#?}",
            outcome.findings
        );
        let health = outcome.health.expect("it became well");
        println!("{}, seed {seed}: {health:?}", scenario.name);
        assert!(health <= SOON, "seed {seed}: {health:?}");
    }
}

#[test]
fn replicas_are_equal_soon_after_a_peer_hung() {
    all_soon(&Scenario {
        name: "hung",
        plan: |_| Plan::of(3),
        mix: |_| Mix::USUAL,
        harm: |cluster| Box::pin(hangs(cluster)),
    });
}

#[test]
fn replicas_are_equal_soon_after_a_peer_was_away() {
    all_soon(&Scenario {
        name: "away",
        plan: |_| Plan::of(3),
        mix: |_| Mix::USUAL,
        harm: |cluster| Box::pin(is_away(cluster)),
    });
}
