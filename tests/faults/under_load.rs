use virga_tests::chance::Chance;
use virga_tests::cluster::{Cluster, STORES};
use virga_tests::workload::findings::Kind;
use virga_tests::workload::{Mix, Workload};

/// Answers between events: a few seconds of work.
const WHILE: usize = 1500;
/// A node that was away has not heard of some deletions when it is back: a
/// second DELETE may find there what the first one deleted, and says 204 for 404.
const AFTER_AN_ABSENCE: &[Kind] = &[Kind::Told];

#[test]
fn every_answer_of_a_healthy_cluster_is_explained_by_what_was_written() {
    let mut chance = Chance::announced("healthy");
    let cluster = Cluster::start();
    let load = Workload::new(Mix::default(), vec![cluster.demo()], chance.bits());
    load.during(|load| load.wait_answers(2 * WHILE));
    load.end("healthy", &[]);
}

#[test]
fn a_dead_node_is_not_noticed_by_any_reader_or_writer() {
    let mut chance = Chance::announced("dead node, all requests");
    let dead = chance.below(STORES as u64) as usize;
    let mut cluster = Cluster::start();
    let load = Workload::new(Mix::default(), vec![cluster.demo()], chance.bits());
    load.fill();
    load.during(|load| {
        load.wait_answers(WHILE / 2);
        cluster.kill_store(dead);
        load.wait_answers(WHILE);
        cluster.start_store(dead);
        load.wait_answers(WHILE);
    });
    load.end("the node is back", AFTER_AN_ABSENCE);
}

#[test]
fn a_frozen_node_is_not_noticed_by_any_reader_or_writer() {
    let mut chance = Chance::announced("frozen node, all requests");
    let frozen = chance.below(STORES as u64) as usize;
    let cluster = Cluster::start();
    let load = Workload::new(Mix::default(), vec![cluster.demo()], chance.bits());
    load.fill();
    load.during(|load| {
        load.wait_answers(WHILE / 2);
        cluster.freeze_store(frozen);
        load.wait_answers(WHILE);
        cluster.thaw_store(frozen);
        load.wait_answers(WHILE);
    });
    load.end("the node goes on", AFTER_AN_ABSENCE);
}

#[test]
fn what_was_never_there_is_said_soon_beside_a_frozen_node() {
    let cluster = Cluster::start();
    let swift = cluster.demo();
    swift.put("box", b"");
    cluster.freeze_store(0);
    for n in 0..30 {
        let begun = std::time::Instant::now();
        assert_eq!(swift.get(&format!("box/never-{n}")).status, 404);
        let took = begun.elapsed();
        assert!(took.as_secs() < 5, "the {n}th took {took:?}");
    }
    cluster.thaw_store(0);
}
