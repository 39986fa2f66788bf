//! Clusters simulated in one thread on virtual time, from a seed.
//!
//! The real code runs: object servers with their stores and workers, proxies'
//! cores, rings from the real builder. Simulated are its edges: the disk
//! ([`disk`]), the network ([`network`], [`wire`]), time ([`world`]), and
//! threads ([`machine`]: every loop is a task). A [`Scenario`] does harm while
//! clients work ([`load`]); then all faults stop, and what must hold is checked
//! ([`check`]). A seed repeats a run exactly: the same trace, to the last sync.
//!
//! Used by the suite `simulation`, which makes the runtime: one thread, time
//! paused. Left out: sockets and frames (the lab has them), the Swift API over
//! the cores, and what RocksDB does inside its folder.
pub mod check;
pub mod cluster;
pub mod disk;
pub mod key;
pub mod load;
pub mod machine;
pub mod network;
pub mod scenarios;
mod wire;
pub mod world;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use virga_node::task::Tasks;

use self::cluster::{Cluster, Plan};
use self::load::{Load, Mix, Seat};
use self::world::World;

/// What goes wrong in a run.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name, as people give it.
    pub name: &'static str,
    /// The cluster it begins with.
    pub plan: fn(&World) -> Plan,
    /// What clients do meanwhile.
    pub mix: fn(&World) -> Mix,
    /// The harm. Ended by the runner: whatever is broken when it returns heals.
    pub harm: for<'a> fn(&'a Cluster) -> BoxFuture<'a, ()>,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Name of the scenario.
    pub scenario: &'static str,
    /// Its seed.
    pub seed: u64,
    /// Hash of the trace.
    pub trace: u64,
    /// Lines of the trace.
    pub events: u64,
    /// Calls of clients.
    pub calls: u64,
    /// Those without an answer that says what happened.
    pub unanswered: u64,
    /// Reads that the proxies counted as uncertain, which no order need explain.
    pub uncertain: u64,
    /// Virtual time from the last fault to full health.
    pub health: Option<Duration>,
    /// Virtual time of the whole run.
    pub took: Duration,
    /// What should not have been.
    pub findings: Vec<String>,
}

/// Runs one seed of a scenario. Must be called in a runtime of one thread whose
/// time is paused, with a folder that outlives it ([`cluster::scratch`]).
pub async fn run(scenario: &Scenario, seed: u64, loud: bool, root: &Path) -> Outcome {
    let world = World::new(seed, loud);
    world.note(format_args!("{} {seed}", scenario.name));
    let (plan, mix) = ((scenario.plan)(&world), (scenario.mix)(&world));
    let cluster = Cluster::new(&world, &plan, root);
    cluster.start_all().await;
    let seats = cluster.proxies.iter().map(|proxy| Seat {
        core: proxy.core.clone(),
        rings: proxy.rings.clone(),
    });
    let load = Load::new(&world, &cluster.network, seats.collect(), mix);
    while !load.prepare().await {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let tasks = Tasks::new();
    let clients: Vec<_> = (0..mix.clients)
        .map(|number| tasks.spawn(load.clone().client(number)))
        .collect();
    tokio::time::sleep(world.millis(1_000, 4_000)).await;
    (scenario.harm)(&cluster).await;
    cluster.heal().await;
    tokio::time::sleep(world.millis(500, 3_000)).await;
    load.stop();
    let mut findings = Vec::new();
    for ended in join_all(clients).await {
        if let Err(panic) = ended {
            findings.push(format!("a client panicked: {panic}"));
        }
    }
    let health = check::health(&cluster, &load).await;
    let healthy = load.now();
    match load.last_look().await {
        Ok(held) => world.note(format_args!("{} names in the end", held.len())),
        Err(why) => findings.push(format!("in the end: {why}")),
    }
    findings.extend(health.as_ref().err().cloned());
    load.conclude(&cluster.ring());
    findings.extend(check::judge(&load, healthy));
    let (trace, events) = world.trace();
    let outcome = Outcome {
        scenario: scenario.name,
        seed,
        trace,
        events,
        calls: load.counts[0].load(Ordering::Relaxed),
        unanswered: load.counts[1].load(Ordering::Relaxed),
        uncertain: load.counts[2].load(Ordering::Relaxed),
        health: health.ok(),
        took: world.elapsed(),
        findings,
    };
    cluster.end();
    outcome
}
