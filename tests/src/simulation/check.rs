//! What must hold: replicas become equal in bounded time once faults have
//! stopped, listings say what reads say, and some order of all calls explains
//! every answer.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use virga_object_wire::listing::{Entry, ListRequest, ListingKind};
use virga_object_wire::node::{ObjectNode, Read};
use virga_object_wire::object::At;
use virga_ring::{Partition, Ring, RingEpoch};

use super::cluster::Cluster;
use super::load::{CONTAINERS, Load};
use crate::linear::{self, Register, Verdict};

/// Longest time to full health after the last fault, virtual.
pub const HEALTHY_WITHIN: Duration = Duration::from_secs(600);
/// Sets of calls tried for one key.
const BUDGET: usize = 200_000;

/// Waits until the cluster is well; how long that took.
///
/// # Errors
/// What still is not as it should be after [`HEALTHY_WITHIN`].
pub async fn health(cluster: &Cluster, load: &Load) -> Result<Duration, String> {
    let begun = cluster.world.elapsed();
    loop {
        let lacks = match difference(cluster).await {
            Ok(()) => unserved(cluster, load).await,
            lacks => lacks,
        };
        let took = cluster.world.elapsed() - begun;
        match lacks {
            Ok(()) => return Ok(took),
            Err(why) if took > HEALTHY_WITHIN => {
                let busy = busy(cluster);
                return Err(format!("not well after {} s: {why}; {busy}", took.as_secs()));
            }
            Err(why) => cluster.world.note(format_args!("not well yet: {why}")),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// What workers say that are not done.
fn busy(cluster: &Cluster) -> String {
    let mut all = String::new();
    for status in cluster
        .machines
        .iter()
        .flat_map(|machine| machine.progress.snapshot())
    {
        if let Some(error) = &status.last_error {
            all.push_str(&format!("{} {}: {error}; ", status.device, status.worker));
        } else if status.left > 0 {
            all.push_str(&format!(
                "{} {}: {} left; ",
                status.device, status.worker, status.left
            ));
        }
    }
    all
}

/// Whether all replicas know the same, and nothing lies elsewhere.
async fn difference(cluster: &Cluster) -> Result<(), String> {
    for (number, proxy) in cluster.proxies.iter().enumerate() {
        if let Some(change) = proxy.core.ring_changes().first() {
            return Err(format!("proxy {number}: {change}"));
        }
    }
    let ring = cluster.ring();
    let partitions = partitions(&ring);
    let mut objects: BTreeMap<Partition, (usize, String)> = BTreeMap::new();
    for machine in &cluster.machines {
        let number = machine.number;
        let running = machine.running().ok_or_else(|| format!("n{number} is off"))?;
        let device: Arc<str> = format!("d{number}").into();
        let told = |error: &dyn std::fmt::Display| format!("n{number}: {error}");
        for movement in running.node.movement().await.map_err(|error| told(&error))? {
            if movement.partitions_foreign > 0 {
                let (ring, count) = (movement.ring, movement.partitions_foreign);
                return Err(format!("n{number} holds {count} {ring} partitions of others"));
            }
        }
        let own = own(&ring, number);
        let mut sums: BTreeMap<Partition, String> = BTreeMap::new();
        let known = running.node.sums(&device, 0, partitions.clone()).await;
        let known = known.map_err(|error| told(&error))?;
        for (partition, sum) in partitions.iter().zip(known.sums) {
            sums.insert(*partition, format!("objects {:x}/{}", sum.sum, sum.count));
        }
        for kind in [ListingKind::Account, ListingKind::Container] {
            let power = ring.part_power();
            let known = running
                .node
                .listing_sums(&device, kind, power, partitions.clone())
                .await;
            let known = known.map_err(|error| told(&error))?;
            for (partition, sum) in partitions.iter().zip(known.sums) {
                sums.entry(*partition)
                    .or_default()
                    .push_str(&format!(", {kind:?} {sum:x}"));
            }
        }
        for partition in own {
            let sum = sums.remove(&partition).unwrap_or_default();
            let (other, first) = objects.entry(partition).or_insert_with(|| (number, sum.clone()));
            if *first != sum && !cluster.plan.sums_may_differ {
                return Err(format!(
                    "p{}: n{other} knows {first}, n{number} {sum}",
                    partition.0
                ));
            }
        }
    }
    Ok(())
}

fn partitions(ring: &Ring) -> Vec<Partition> {
    (0..1 << ring.part_power()).map(Partition).collect()
}

/// Partitions that the ring puts on a machine.
fn own(ring: &Ring, number: usize) -> Vec<Partition> {
    let name = format!("d{number}");
    partitions(ring)
        .into_iter()
        .filter(|partition| {
            ring.primaries(*partition)
                .any(|(_, device)| device.device == name)
        })
        .collect()
}

/// Whether every primary of every name says the same of it and serves it whole,
/// and listings say what is there.
async fn unserved(cluster: &Cluster, load: &Load) -> Result<(), String> {
    let ring = cluster.ring();
    let mut there: Vec<BTreeMap<String, (u64, String)>> = vec![BTreeMap::new(); CONTAINERS];
    for key in load.keys() {
        let hash = cluster
            .hash()
            .hash("AUTH_sim", Some(&key.container), Some(&key.object));
        let partition = ring.partition(&hash);
        let mut seen: Option<Option<(u64, String)>> = None;
        for (_, device) in ring.primaries(partition) {
            let number: usize = device.device[1..].parse().expect("a device's number");
            let running = cluster.machines[number].running().ok_or("off")?;
            let at = At {
                device: device.device.as_str().into(),
                policy: 0,
                partition,
                hash,
                ring: RingEpoch::NONE,
            };
            let told = |error: &dyn std::fmt::Display| format!("n{number} and {}: {error}", key.object);
            let held = match running.node.get(&at, None).await.map_err(|error| told(&error))? {
                Read::Gone(_) => None,
                Read::Object(mut read) => {
                    while let Some(piece) = read.body.next().await {
                        piece.map_err(|error| told(&error))?;
                    }
                    Some((read.stat.size, read.stat.meta.etag))
                }
            };
            if seen.get_or_insert_with(|| held.clone()) != &held {
                return Err(format!("{} differs on n{number}", key.object));
            }
        }
        if let Some(Some(held)) = seen {
            let container: usize = key.container[1..].parse().expect("a container's number");
            there[container].insert(key.object.clone(), held);
        }
    }
    for (number, there) in there.iter().enumerate() {
        replicas_list(cluster, number, there).await?;
        let listed = load.listed(number).await?;
        let odd = |name: &String| listed.get(name) != there.get(name);
        if let Some(name) = listed.keys().chain(there.keys()).find(|name| odd(name)) {
            let (row, object) = (listed.get(name), there.get(name));
            return Err(format!("c{number} lists {name} as {row:?}, it is {object:?}"));
        }
    }
    Ok(())
}

/// Whether every replica of a container lists what is there.
async fn replicas_list(
    cluster: &Cluster,
    container: usize,
    there: &BTreeMap<String, (u64, String)>,
) -> Result<(), String> {
    let ring = cluster.ring();
    let hash = cluster
        .hash()
        .hash("AUTH_sim", Some(&format!("c{container}")), None);
    let partition = ring.partition(&hash);
    for (_, device) in ring.primaries(partition) {
        let number: usize = device.device[1..].parse().expect("a device's number");
        let running = cluster.machines[number].running().ok_or("off")?;
        let at = At {
            device: device.device.as_str().into(),
            policy: 0,
            partition,
            hash,
            ring: RingEpoch::NONE,
        };
        let everything = ListRequest {
            limit: 10_000,
            ..ListRequest::default()
        };
        let page = running.node.list_container(&at, everything).await;
        let page = page.map_err(|error| format!("n{number} and c{container}: {error}"))?;
        let rows = page.entries.into_iter().filter_map(|entry| match entry {
            Entry::Row(row) if !row.deleted => Some((row.name, (row.size, row.etag))),
            _ => None,
        });
        let listed: BTreeMap<String, (u64, String)> = rows.collect();
        if listed != *there {
            return Err(format!(
                "n{number} lists of c{container} {listed:?}, there is {there:?}"
            ));
        }
    }
    Ok(())
}

/// Judges everything that clients saw: findings, and whether there is an order
/// that explains it.
/// `healthy`: when the cluster was well again.
pub fn judge(load: &Load, healthy: u64) -> Vec<String> {
    let mut findings = load.findings();
    for key in load.keys() {
        let calls = key.promised(healthy);
        match linear::check::<Register>(None, &calls, BUDGET) {
            // Too hard says nothing against it; calls of a key are few.
            Verdict::Linearizable | Verdict::TooHard => {}
            Verdict::Broken(broken) => findings.push(format!("{}: {broken}", key.object)),
        }
    }
    findings
}
