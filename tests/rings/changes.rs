use std::time::{Duration, Instant};

use virga_tests::chance::Chance;
use virga_tests::change::{Change, settle};
use virga_tests::cluster::{Cluster, Shape};
use virga_tests::inventory::Inventory;
use virga_tests::workload::findings::Kind;
use virga_tests::workload::{Mix, Workload};

/// Answers before, between and after events: a second or two of work.
const WHILE: usize = 400;
/// No request may take as long as it takes to give a silent node up.
const BOUND: Duration = Duration::from_secs(8);
/// A device that was away or is empty has not heard of some deletions: a second
/// DELETE may find there what the first one deleted, and says 204 for 404.
const AFTER_AN_ABSENCE: &[Kind] = &[Kind::Told];
/// The ring of objects.
const OBJECTS: &str = "object";
const RINGS: [&str; 3] = ["account", "container", OBJECTS];

fn soak() -> bool {
    std::env::var_os("VIRGA_SOAK").is_some()
}

/// Seven devices on four hosts in four zones, 64 partitions.
fn shape() -> Shape {
    Shape {
        stores: vec![(1, 2), (2, 2), (3, 2), (4, 1)],
        part_power: if soak() { 9 } else { 6 },
        workers: "update_listings_ms = 200\nreconcile_ms = 200\n".to_owned(),
        ..Shape::default()
    }
}

fn mix() -> Mix {
    Mix {
        clients: if soak() { 6 } else { 3 },
        keys: if soak() { 5000 } else { 120 },
        ..Mix::default()
    }
}

/// A cluster, clients with their first objects written, and a view of the devices.
struct Scene {
    cluster: Cluster,
    load: Workload,
    inventory: Inventory,
}

impl Scene {
    fn start(test: &str) -> Self {
        Self::start_as(test, shape())
    }

    fn start_as(test: &str, shape: Shape) -> Self {
        let mut chance = Chance::announced(test);
        let cluster = Cluster::start_as(shape);
        let load = Workload::new(mix(), cluster.doors(), chance.bits());
        load.fill();
        let inventory = Inventory::of(cluster.controller_data());
        settle(&inventory, OBJECTS, &cluster.builders().read(OBJECTS));
        Self {
            cluster,
            load,
            inventory,
        }
    }

    /// The end of every scenario: nothing was noticed, the plan was carried out.
    fn end(self, change: &Change, healed: Duration) {
        println!("healed {healed:.1?} after the hosts were told, under load");
        change.prove(&self.inventory);
        self.load.end("at the end", &[]);
        let slowest = self.load.findings().slowest();
        assert!(slowest < BOUND, "a request took {slowest:?}");
    }
}

/// As an operator who knows that the last change is over and does not want to
/// wait for min_part_hours.
fn hours_pass(cluster: &Cluster) {
    for ring in RINGS {
        cluster.builders().run(ring, &["pretend_min_part_hours_passed"]);
    }
}

/// Changes all rings, each as its builder asks for; gives the change of objects.
fn change(cluster: &Cluster, inventory: &Inventory) -> Change {
    for ring in ["account", "container"] {
        let old = cluster.builders().read(ring);
        Change::make_from(cluster, ring, old, Default::default());
    }
    Change::make(cluster, inventory, OBJECTS)
}

/// Runs a verb on the builders of all rings.
fn on_all(cluster: &Cluster, args: &[&str]) {
    RINGS
        .iter()
        .for_each(|ring| drop(cluster.builders().run(ring, args)));
}

/// A host more, in a zone of its own, with two devices that all rings name.
fn new_host(cluster: &mut Cluster) -> usize {
    let store = cluster.add_store(2);
    for ring in RINGS {
        cluster.add_to(ring, store, 5, 1);
        cluster.add_to(ring, store, 5, 2);
    }
    store
}

#[test]
fn two_devices_of_a_new_host_take_over_exactly_what_was_planned() {
    let mut scene = Scene::start("new host");
    let (cluster, load, inventory) = (&mut scene.cluster, &scene.load, &scene.inventory);
    let (change, healed) = load.during(|load| {
        load.wait_answers(WHILE);
        new_host(cluster);
        hours_pass(cluster);
        let change = change(cluster, inventory);
        let healed = change.wait(inventory);
        load.wait_answers(WHILE);
        (change, healed)
    });
    scene.end(&change, healed);
}

#[test]
fn a_device_is_drained_and_taken_out_without_anyone_noticing() {
    let mut scene = Scene::start("drain");
    let (cluster, load, inventory) = (&mut scene.cluster, &scene.load, &scene.inventory);
    let drained = cluster.search(1, 2);
    let old = cluster.builders().read(OBJECTS);
    let id = old.id(&cluster.node(1), "d2").expect("it is in the ring");
    let (last, healed) = load.during(|load| {
        load.wait_answers(WHILE);
        on_all(cluster, &["set_weight", &drained, "0"]);
        // One replica of a partition moves at a time: a drain may take several.
        let last = (0..8).find_map(|_| {
            hours_pass(cluster);
            let change = change(cluster, inventory);
            let healed = change.wait(inventory);
            println!("a step of the drain took {healed:.1?}");
            let empty = change.new.slots().iter().all(|(_, d)| *d != id);
            empty.then_some((change, healed))
        });
        last.expect("the device is empty after a few steps")
    });
    last.prove(inventory);
    let held = inventory.held(OBJECTS, &last.new).0;
    assert!(
        held.keys().all(|(_, d)| *d != id),
        "the drained device holds something"
    );
    // It leaves the ring: nothing moves.
    load.during(|load| {
        on_all(cluster, &["remove", &drained]);
        let change = change(cluster, inventory);
        assert_eq!(change.planned.moved, 0);
        change.wait(inventory);
        load.wait_answers(WHILE);
    });
    scene.end(&last, healed);
}

#[test]
fn a_dead_host_is_taken_out_and_its_replicas_are_made_anew() {
    let mut scene = Scene::start("dead host");
    let (cluster, load, inventory) = (&mut scene.cluster, &scene.load, &scene.inventory);
    let old = cluster.builders().read(OBJECTS);
    let held = inventory.held(OBJECTS, &old).0;
    let (change, healed) = load.during(|load| {
        load.wait_answers(WHILE);
        cluster.kill_store(0);
        load.wait_answers(WHILE);
        on_all(cluster, &["remove", &cluster.search(0, 1)]);
        on_all(cluster, &["remove", &cluster.search(0, 2)]);
        for ring in ["account", "container"] {
            let old = cluster.builders().read(ring);
            Change::make_from(cluster, ring, old, Default::default());
        }
        let change = Change::make_from(cluster, OBJECTS, old, held);
        let healed = change.wait(inventory);
        load.wait_answers(WHILE);
        (change, healed)
    });
    scene.end(&change, healed);
}

#[test]
fn an_empty_disk_in_the_place_of_a_dead_one_is_filled_again() {
    let mut scene = Scene::start("empty disk");
    let (cluster, load, inventory) = (&mut scene.cluster, &scene.load, &scene.inventory);
    let ring = cluster.builders().read(OBJECTS);
    load.during(|load| {
        load.wait_answers(WHILE);
        cluster.replace_disk(2, 1);
        load.wait_answers(2 * WHILE);
    });
    let begun = Instant::now();
    settle(inventory, OBJECTS, &ring);
    println!("replicas are equal {:.1?} after the last write", begun.elapsed());
    load.end("at the end", AFTER_AN_ABSENCE);
    // What it got is right: without another host, quorums need it.
    cluster.kill_store(0);
    load.check("without another host");
    load.findings().assert_none_but(AFTER_AN_ABSENCE);
}

#[test]
fn proxies_restart_in_the_middle_of_a_change_and_with_different_rings() {
    let mut scene = Scene::start_as(
        "proxies",
        Shape {
            proxies: 2,
            ..shape()
        },
    );
    let (cluster, load, inventory) = (&mut scene.cluster, &scene.load, &scene.inventory);
    let old = cluster.builders().read(OBJECTS);
    let held = inventory.held(OBJECTS, &old).0;
    let (change, healed) = load.during(|load| {
        load.wait_answers(WHILE);
        new_host(cluster);
        hours_pass(cluster);
        let quietly = |ring| {
            let old = cluster.builders().read(ring);
            Change::make_quietly(cluster, ring, old, Default::default());
        };
        quietly("account");
        quietly("container");
        let change = Change::make_quietly(cluster, OBJECTS, old, held);
        // One proxy alone hears of it, then goes down and comes back.
        RINGS.iter().for_each(|ring| cluster.distribute_to_proxy(ring, 1));
        load.wait_answers(WHILE / 2);
        cluster.restart_proxy(1);
        load.wait_answers(WHILE / 2);
        RINGS.iter().for_each(|ring| cluster.distribute(ring));
        load.wait_answers(WHILE / 4);
        cluster.crash_proxy(0);
        let healed = change.wait(inventory);
        load.wait_answers(WHILE);
        (change, healed)
    });
    // Who was talking to a proxy that goes away is cut off, and asks the other.
    assert!(load.findings().count(Kind::Cut) < 50);
    change.prove(inventory);
    load.end("at the end", &[Kind::Cut]);
    println!("healed after {healed:.1?}");
}

#[test]
fn a_second_change_may_come_before_the_first_is_over() {
    let mut scene = Scene::start("two changes");
    let (cluster, load, inventory) = (&mut scene.cluster, &scene.load, &scene.inventory);
    let (second, healed) = load.during(|load| {
        load.wait_answers(WHILE);
        let store = new_host(cluster);
        hours_pass(cluster);
        let first = change(cluster, inventory);
        assert!(
            !first.reconciled(inventory),
            "nothing is in the middle of anything"
        );
        // Half of what just came goes elsewhere again.
        on_all(cluster, &["set_weight", &cluster.search(store, 1), "30"]);
        on_all(cluster, &["set_weight", &cluster.search(0, 1), "150"]);
        hours_pass(cluster);
        let second = change(cluster, inventory);
        let healed = second.wait(inventory);
        load.wait_answers(WHILE);
        (second, healed)
    });
    println!("healed after {healed:.1?}");
    settle(inventory, OBJECTS, &second.new);
    load.end("at the end", &[]);
}
