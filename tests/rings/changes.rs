use std::time::{Duration, Instant};

use virga_tests::chance::Chance;
use virga_tests::change::{Change, settle};
use virga_tests::cluster::{Cluster, Shape};
use virga_tests::inventory::{Held, Inventory};
use virga_tests::process::wait_until;
use virga_tests::rings::Assignment;
use virga_tests::workload::findings::Kind;
use virga_tests::workload::{Mix, Workload};

/// Answers before, between and after events: a second or two of work.
const WHILE: usize = 400;
/// No request may take as long as it takes to give a silent node up.
const BOUND: Duration = Duration::from_secs(8);
/// A device that was away or is empty has not heard of some deletions: a second
/// DELETE may find there what the first one deleted, and says 204 for 404.
const AFTER_AN_ABSENCE: &[Kind] = &[Kind::Told];
/// Workers that take some seconds for a change, so that there is a middle of it.
const SLOW: &str = "update_listings_ms = 200\nreconcile_ms = 200\nmove_bytes_per_s = 300000\n";
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
        keys: if soak() { 1500 } else { 120 },
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
        for ring in RINGS {
            settle(&inventory, ring, &cluster.builders().read(ring));
        }
        Self {
            cluster,
            load,
            inventory,
        }
    }

    /// The end of every scenario: nothing was noticed, the plan was carried
    /// out, no proxy minds an earlier ring any more.
    fn end(self, changes: &Changes, healed: Duration, tolerated: &[Kind]) {
        println!("healed {healed:.1?} after the hosts were told, under load");
        changes.prove(&self.inventory);
        for proxy in 0..self.load.doors() {
            wait_until("the rings before are given up", || {
                let status = self.cluster.proxy_status(proxy);
                status["ring_changes"].as_array().expect("changes").is_empty()
            });
        }
        self.load.end("at the end", tolerated);
        let slowest = self.load.findings().slowest();
        assert!(slowest < BOUND, "a request took {slowest:?}");
    }
}

/// A change of every ring.
struct Changes(Vec<Change>);

/// Who holds what of every ring.
type AllHeld = Vec<(Assignment, Held)>;

/// Who holds what of every ring now.
fn held(cluster: &Cluster, inventory: &Inventory) -> AllHeld {
    let of = |ring| {
        let assignment = cluster.builders().read(ring);
        let held = inventory.held(ring, &assignment).0;
        (assignment, held)
    };
    RINGS.map(of).into()
}

impl Changes {
    /// Changes all rings, each as its builder asks for, and tells no host yet.
    fn make(cluster: &Cluster, held: AllHeld) -> Self {
        let make = |(ring, (old, held))| Change::make_quietly(cluster, ring, old, held);
        Self(RINGS.into_iter().zip(held).map(make).collect())
    }

    /// The same, and every host is told.
    fn tell(cluster: &Cluster, held: AllHeld) -> Self {
        let changes = Self::make(cluster, held);
        changes.distribute(cluster);
        changes
    }

    fn distribute(&self, cluster: &Cluster) {
        RINGS.iter().for_each(|ring| cluster.distribute(ring));
    }

    /// Of the objects' ring.
    fn objects(&self) -> &Change {
        self.0.last().expect("three rings")
    }

    fn wait(&self, inventory: &Inventory) -> Duration {
        let waits = self.0.iter().map(|change| change.wait(inventory));
        waits.max().expect("three rings")
    }

    fn prove(&self, inventory: &Inventory) {
        self.0.iter().for_each(|change| change.prove(inventory));
    }
}

/// As an operator who knows that the last change is over and does not want to
/// wait for min_part_hours.
fn hours_pass(cluster: &Cluster) {
    for ring in RINGS {
        cluster.builders().run(ring, &["pretend_min_part_hours_passed"]);
    }
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
    let (changes, healed) = load.during(|load| {
        load.wait_answers(WHILE);
        let before = held(cluster, inventory);
        new_host(cluster);
        hours_pass(cluster);
        let changes = Changes::tell(cluster, before);
        let healed = changes.wait(inventory);
        load.wait_answers(WHILE);
        (changes, healed)
    });
    scene.end(&changes, healed, &[]);
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
            let changes = Changes::tell(cluster, held(cluster, inventory));
            let healed = changes.wait(inventory);
            println!("a step of the drain took {healed:.1?}");
            let empty = |change: &Change| change.new.slots().iter().all(|(_, d)| *d != id);
            changes.0.iter().all(empty).then_some((changes, healed))
        });
        last.expect("the device is empty after a few steps")
    });
    last.prove(inventory);
    for change in &last.0 {
        let held = inventory.held(&change.ring, &change.new).0;
        assert!(
            held.keys().all(|(_, d)| *d != id),
            "{}: it holds something",
            change.ring
        );
    }
    // It leaves the rings: nothing moves.
    load.during(|load| {
        let before = held(cluster, inventory);
        on_all(cluster, &["remove", &drained]);
        let changes = Changes::tell(cluster, before);
        assert!(changes.0.iter().all(|change| change.planned.moved == 0));
        changes.wait(inventory);
        load.wait_answers(WHILE);
    });
    scene.end(&last, healed, &[]);
}

#[test]
fn a_dead_host_is_taken_out_and_its_replicas_are_made_anew() {
    let mut scene = Scene::start("dead host");
    let (cluster, load, inventory) = (&mut scene.cluster, &scene.load, &scene.inventory);
    let before = held(cluster, inventory);
    let (changes, healed) = load.during(|load| {
        load.wait_answers(WHILE);
        cluster.kill_store(0);
        load.wait_answers(WHILE);
        on_all(cluster, &["remove", &cluster.search(0, 1)]);
        on_all(cluster, &["remove", &cluster.search(0, 2)]);
        let changes = Changes::tell(cluster, before);
        let healed = changes.wait(inventory);
        load.wait_answers(WHILE);
        (changes, healed)
    });
    scene.end(&changes, healed, &[]);
}

#[test]
fn an_empty_disk_in_the_place_of_a_dead_one_is_filled_again() {
    let mut scene = Scene::start("empty disk");
    let (cluster, load, inventory) = (&mut scene.cluster, &scene.load, &scene.inventory);
    load.during(|load| {
        load.wait_answers(WHILE);
        cluster.replace_disk(2, 1);
        load.wait_answers(2 * WHILE);
    });
    let begun = Instant::now();
    for ring in RINGS {
        settle(inventory, ring, &cluster.builders().read(ring));
    }
    println!("replicas are equal {:.1?} after the last write", begun.elapsed());
    load.end("at the end", AFTER_AN_ABSENCE);
    // What it got is right: without another host, quorums need it.
    cluster.kill_store(0);
    load.check("without another host");
    load.findings().assert_none_but(AFTER_AN_ABSENCE);
}

#[test]
fn proxies_restart_in_the_middle_of_a_change_and_with_different_rings() {
    let shape = Shape {
        proxies: 2,
        workers: SLOW.to_owned(),
        ..shape()
    };
    let mut scene = Scene::start_as("proxies", shape);
    let (cluster, load, inventory) = (&mut scene.cluster, &scene.load, &scene.inventory);
    let (changes, healed) = load.during(|load| {
        load.wait_answers(WHILE);
        let before = held(cluster, inventory);
        new_host(cluster);
        hours_pass(cluster);
        let changes = Changes::make(cluster, before);
        // One proxy alone hears of it, then goes down and comes back.
        RINGS.iter().for_each(|ring| cluster.distribute_to_proxy(ring, 1));
        load.wait_answers(WHILE / 2);
        cluster.restart_proxy(1);
        load.wait_answers(WHILE / 2);
        changes.distribute(cluster);
        load.wait_answers(WHILE / 8);
        assert!(!changes.objects().reconciled(inventory), "it is over already");
        cluster.crash_proxy(0);
        let healed = changes.wait(inventory);
        load.wait_answers(WHILE);
        (changes, healed)
    });
    // Who was talking to a proxy that goes away is cut off, and asks the other.
    assert!(load.findings().count(Kind::Cut) < 50);
    scene.end(&changes, healed, &[Kind::Cut]);
}

#[test]
fn a_second_change_may_come_before_the_first_is_over() {
    let shape = Shape {
        workers: SLOW.to_owned(),
        ..shape()
    };
    let mut scene = Scene::start_as("two changes", shape);
    let (cluster, load, inventory) = (&mut scene.cluster, &scene.load, &scene.inventory);
    let (second, healed) = load.during(|load| {
        load.wait_answers(WHILE);
        let before = held(cluster, inventory);
        let store = new_host(cluster);
        hours_pass(cluster);
        let first = Changes::tell(cluster, before);
        load.wait_answers(WHILE / 16);
        // Some of what just came goes elsewhere again.
        on_all(cluster, &["set_weight", &cluster.search(store, 1), "30"]);
        on_all(cluster, &["set_weight", &cluster.search(0, 1), "150"]);
        hours_pass(cluster);
        assert!(!first.objects().reconciled(inventory), "it is over already");
        let second = Changes::tell(cluster, held(cluster, inventory));
        let healed = second.wait(inventory);
        load.wait_answers(WHILE);
        (second, healed)
    });
    println!("healed {healed:.1?} after the second change");
    // What the first one moved and the second moved back is in no plan alone.
    for change in &second.0 {
        settle(inventory, &change.ring, &change.new);
    }
    load.end("at the end", &[]);
}
