//! The scenarios: what goes wrong, each a function of the seed.
use std::time::Duration;

use futures_util::future::BoxFuture;
use virga_disk::io::Disk;
use virga_disk::io::fault::Fault;

use super::Scenario;
use super::cluster::{Cluster, Plan};
use super::load::Mix;
use super::machine::Machine;
use super::network::{PROXIES, Weather};
use super::world::World;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// All of them.
pub const ALL: &[Scenario] = &[
    scenario("random-faults", some, |cluster| Box::pin(random_faults(cluster))),
    scenario("away-longer-than-tombstones-live", forgetful, |cluster| {
        Box::pin(away_long(cluster))
    }),
    scenario("parallel-cold-start", some, |cluster| {
        Box::pin(cold_start(cluster))
    }),
    scenario("disk-swapped-for-an-empty-one", some, |cluster| {
        Box::pin(empty_disk(cluster))
    }),
    scenario("two-devices-swapped", some, |cluster| {
        Box::pin(swapped_devices(cluster))
    }),
    scenario("power-loss-of-all", some, |cluster| Box::pin(power_loss(cluster))),
    Scenario {
        mix: large_objects,
        ..scenario("full-then-expanded", small_disks, |cluster| {
            Box::pin(expansion(cluster))
        })
    },
    scenario("slow-disk", some, |cluster| Box::pin(slow_disk(cluster))),
    scenario("one-way-partition", some, |cluster| Box::pin(one_way(cluster))),
    scenario("clock-skew", some, |cluster| Box::pin(clock_skew(cluster))),
    scenario("clock-a-year-off", some, |cluster| Box::pin(year_off(cluster))),
    scenario("ring-change-while-a-node-is-down", with_spares, |cluster| {
        Box::pin(ring_change(cluster))
    }),
    scenario("bit-rot", scrubbed, |cluster| Box::pin(bit_rot(cluster))),
    scenario("crash-in-reconciliation", some, |cluster| {
        Box::pin(crash_in_reconciliation(cluster))
    }),
];

const fn scenario(
    name: &'static str,
    plan: fn(&World) -> Plan,
    harm: for<'a> fn(&'a Cluster) -> BoxFuture<'a, ()>,
) -> Scenario {
    Scenario {
        name,
        plan,
        mix: |_| Mix::USUAL,
        harm,
    }
}

/// Three to five machines.
fn some(world: &World) -> Plan {
    Plan::of(usize::try_from(3 + world.below(3)).expect("few"))
}

/// The same, each of whose records is read from the medium within seconds.
fn scrubbed(world: &World) -> Plan {
    Plan {
        scrub_pass: Duration::from_secs(10),
        ..some(world)
    }
}

/// The same, compared by what lives: whoever hears of a deletion late keeps it
/// for as long as anybody, and forgets it when the others have long done so.
fn forgetful(world: &World) -> Plan {
    Plan {
        sums_may_differ: true,
        ..some(world)
    }
}

/// Four machines in the ring and one to three that wait.
fn with_spares(world: &World) -> Plan {
    let members = usize::try_from(3 + world.below(2)).expect("few");
    Plan {
        members,
        ..Plan::of(members + usize::try_from(1 + world.below(2)).expect("few"))
    }
}

/// Disks of a few segments, and two machines that wait.
fn small_disks(_: &World) -> Plan {
    Plan {
        members: 3,
        capacity: 48 << 20,
        ..Plan::of(5)
    }
}

fn large_objects(_: &World) -> Mix {
    Mix {
        keys: 12,
        rest: 300,
        size: 1_000_000,
        ..Mix::USUAL
    }
}

impl Cluster {
    /// Sleeps between so many milliseconds.
    async fn rest(&self, from: u64, to: u64) {
        tokio::time::sleep(self.world.millis(from, to)).await;
    }

    fn any(&self) -> usize {
        usize::try_from(self.world.below(self.machines.len() as u64)).expect("few")
    }

    /// Two different machines.
    fn two(&self) -> (usize, usize) {
        let one = self.any();
        let step = 1 + self.world.below(self.machines.len() as u64 - 1);
        (
            one,
            (one + usize::try_from(step).expect("few")) % self.machines.len(),
        )
    }

    /// Ends a machine's life one way or another.
    fn fell(&self, machine: &Machine) {
        if self.world.strikes(500) {
            machine.kill();
        } else {
            machine.cut_power();
        }
    }
}

async fn random_faults(cluster: &Cluster) {
    let world = &cluster.world;
    for _ in 0..6 + world.below(8) {
        let machine = &cluster.machines[cluster.any()];
        match world.below(12) {
            0..=2 => cluster.fell(machine),
            3 => machine.stop().await,
            4..=5 => cluster.start(machine.number).await,
            6 => cluster.network.isolate(machine.number, &cluster.everybody()),
            7 => cluster.network.heal(),
            8 => cluster.network.set_weather(Weather {
                delay: 1 + world.below(60),
                lost: world.below(80),
                stragglers: world.below(30),
            }),
            9 => machine.slow_down(1 + world.below(40)),
            10 => {
                let faults = [
                    Fault::SyncFails,
                    Fault::ShortWrite,
                    Fault::ReadFlips,
                    Fault::WriteFull,
                ];
                let fault = faults[usize::try_from(world.below(4)).expect("few")];
                machine.disk().inject(fault, world.below(10));
            }
            _ => machine
                .clock
                .skew(i64::try_from(world.below(21)).expect("few") - 10),
        }
        cluster.rest(100, 4_000).await;
    }
}

async fn away_long(cluster: &Cluster) {
    let machine = &cluster.machines[cluster.any()];
    cluster.fell(machine);
    cluster.rest(4_000, 12_000).await;
    cluster.world.jump(DAY * 8);
    cluster.rest(8_000, 30_000).await;
    if cluster.world.strikes(500) {
        cluster.world.jump(DAY * 8);
        cluster.rest(4_000, 10_000).await;
    }
    cluster.start(machine.number).await;
    cluster.rest(1_000, 8_000).await;
}

async fn cold_start(cluster: &Cluster) {
    let peaceful = cluster.world.strikes(500);
    for machine in &cluster.machines {
        if peaceful {
            machine.stop().await;
        } else {
            machine.kill();
        }
    }
    cluster.rest(100, 5_000).await;
    let starts = cluster.machines.iter().map(|machine| async {
        cluster.rest(0, 300).await;
        cluster.start(machine.number).await;
    });
    futures_util::future::join_all(starts).await;
    cluster.rest(1_000, 5_000).await;
}

async fn empty_disk(cluster: &Cluster) {
    let machine = &cluster.machines[cluster.any()];
    cluster.rest(2_000, 6_000).await;
    cluster.fell(machine);
    cluster.rest(100, 5_000).await;
    machine.swap_disk(super::machine::CAPACITY);
    cluster.start(machine.number).await;
    cluster.rest(1_000, 15_000).await;
}

async fn swapped_devices(cluster: &Cluster) {
    let (one, two) = cluster.two();
    let (one, two) = (&cluster.machines[one], &cluster.machines[two]);
    cluster.rest(2_000, 6_000).await;
    one.stop().await;
    two.stop().await;
    one.exchange_disks(two);
    cluster.rest(100, 3_000).await;
    cluster.start(one.number).await;
    cluster.start(two.number).await;
    cluster.rest(1_000, 15_000).await;
}

async fn power_loss(cluster: &Cluster) {
    for _ in 0..1 + cluster.world.below(3) {
        cluster.rest(500, 6_000).await;
        for machine in &cluster.machines {
            machine.cut_power();
        }
        cluster.rest(10, 3_000).await;
        let first = cluster.any();
        for step in 0..cluster.machines.len() {
            cluster.start((first + step) % cluster.machines.len()).await;
            cluster.rest(0, 800).await;
        }
    }
}

async fn expansion(cluster: &Cluster) {
    cluster.rest(20_000, 30_000).await;
    let change = |builder: &mut virga_ring::builder::Builder| {
        Cluster::add(builder, 3);
        Cluster::add(builder, 4);
    };
    cluster.change_ring(change, Duration::from_secs(3)).await;
    cluster.rest(5_000, 10_000).await;
}

async fn slow_disk(cluster: &Cluster) {
    for _ in 0..1 + cluster.world.below(3) {
        let machine = &cluster.machines[cluster.any()];
        machine.slow_down(20 + cluster.world.below(400));
        cluster.rest(2_000, 10_000).await;
        if cluster.world.strikes(300) {
            cluster.fell(machine);
            cluster.start(machine.number).await;
        }
    }
}

async fn one_way(cluster: &Cluster) {
    for _ in 0..1 + cluster.world.below(3) {
        let (one, two) = cluster.two();
        cluster.network.cut(one, two);
        if cluster.world.strikes(500) {
            let proxy = usize::try_from(cluster.world.below(cluster.proxies.len() as u64)).expect("few");
            cluster.network.cut(PROXIES + proxy, one);
        }
        if cluster.world.strikes(300) {
            cluster
                .network
                .slow_down(two, one, 50 + cluster.world.below(2_000));
        }
        cluster.rest(3_000, 15_000).await;
        if cluster.world.strikes(500) {
            cluster.network.heal();
        }
    }
}

async fn clock_skew(cluster: &Cluster) {
    let off = || i64::try_from(cluster.world.below(21)).expect("few") - 10;
    for _ in 0..2 + cluster.world.below(3) {
        for machine in &cluster.machines {
            machine.clock.skew(off());
        }
        for proxy in &cluster.proxies {
            proxy.clock.skew(off());
        }
        cluster.rest(2_000, 8_000).await;
        if cluster.world.strikes(300) {
            let machine = &cluster.machines[cluster.any()];
            cluster.fell(machine);
            cluster.rest(100, 2_000).await;
            cluster.start(machine.number).await;
        }
    }
}

async fn year_off(cluster: &Cluster) {
    let year = 365 * 24 * 3600;
    let off = if cluster.world.strikes(500) { year } else { -year };
    let machine = &cluster.machines[cluster.any()];
    if cluster.world.strikes(300) {
        cluster.fell(machine);
    }
    machine.clock.skew(off);
    cluster.start(machine.number).await;
    cluster.rest(5_000, 20_000).await;
    if cluster.world.strikes(300) {
        cluster.proxies[0].clock.skew(off);
        cluster.rest(2_000, 8_000).await;
    }
}

async fn ring_change(cluster: &Cluster) {
    let members = cluster.ring().devices().count();
    let down = usize::try_from(cluster.world.below(members as u64)).expect("few");
    let leaving = usize::try_from(cluster.world.below(members as u64)).expect("few");
    cluster.fell(&cluster.machines[down]);
    cluster.rest(500, 6_000).await;
    let spares = cluster.machines.len();
    let replace = cluster.world.strikes(500);
    let change = |builder: &mut virga_ring::builder::Builder| {
        (members..spares).for_each(|number| Cluster::add(builder, number));
        if replace {
            Cluster::remove(builder, leaving);
        }
    };
    cluster.change_ring(change, cluster.world.millis(0, 4_000)).await;
    cluster.rest(500, 15_000).await;
    cluster.start(down).await;
    cluster.rest(500, 5_000).await;
}

async fn bit_rot(cluster: &Cluster) {
    cluster.rest(3_000, 10_000).await;
    // One machine: what rots in all copies at once is lost anywhere.
    let machine = &cluster.machines[cluster.any()];
    for _ in 0..1 + cluster.world.below(6) {
        rot(cluster, machine);
        cluster.rest(100, 4_000).await;
        if cluster.world.strikes(200) {
            cluster.fell(machine);
            cluster.start(machine.number).await;
        }
    }
}

/// Flips a bit among the bytes that were written.
fn rot(cluster: &Cluster, machine: &Machine) {
    let disk = machine.disk();
    let names = disk.list().unwrap_or_default();
    if names.is_empty() {
        return;
    }
    let name = &names[usize::try_from(cluster.world.below(names.len() as u64)).expect("few")];
    let Ok(file) = disk.open(name) else { return };
    let mut bytes = vec![0; usize::try_from(file.len()).expect("not large")];
    if file.pread(&mut bytes, 0).is_err() {
        return;
    }
    let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    if written.is_empty() {
        return;
    }
    let at = written[usize::try_from(cluster.world.below(written.len() as u64)).expect("few")];
    cluster
        .world
        .note(format_args!("n{} rots at {at} of {name}", machine.number));
    disk.flip_bit(
        name,
        at as u64,
        u8::try_from(cluster.world.below(8)).expect("a bit"),
    );
}

async fn crash_in_reconciliation(cluster: &Cluster) {
    let (one, two) = cluster.two();
    cluster.fell(&cluster.machines[one]);
    cluster.rest(3_000, 10_000).await;
    for _ in 0..2 + cluster.world.below(3) {
        cluster.start(one).await;
        cluster.start(two).await;
        cluster.rest(0, 3_500).await;
        let machine = &cluster.machines[if cluster.world.strikes(600) { one } else { two }];
        cluster.fell(machine);
        cluster.rest(100, 3_000).await;
    }
}
