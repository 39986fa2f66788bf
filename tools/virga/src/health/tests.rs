//! Clouds that are ill in one way each, and what is said of them.
use std::collections::BTreeMap;
use std::sync::Arc;

use virga_node::clock::{Micros, Version};
use virga_object_wire::movement::{Movement, RingName};
use virga_object_wire::status::{Cause, DeviceState, DeviceStatus, Reason, Work};
use virga_ring::builder::{Builder, NewDevice};
use virga_ring::{Ring, RingId};

use super::*;

const NOW: Micros = Micros(1_766_400_000_000_000);
const MINUTE: u64 = 60_000_000;

/// Four hosts of one device, 16 partitions, three replicas.
fn ring() -> Arc<Ring> {
    let mut builder = Builder::create(4, 3.0, 0).unwrap();
    for n in 1..=4 {
        let device = NewDevice {
            region: 1,
            zone: n,
            ip: format!("10.0.0.{n}"),
            port: 6200,
            replication_ip: None,
            replication_port: None,
            device: "d1".to_owned(),
            weight: 100.0,
            meta: String::new(),
        };
        builder.add(device).unwrap();
    }
    builder.rebalance(1, 0).unwrap();
    Arc::new(builder.to_ring().unwrap().unwrap())
}

fn reason(cause: Cause, minutes: u64, detail: &str) -> Reason {
    Reason {
        cause,
        since: Micros(NOW.0 - minutes * MINUTE),
        detail: detail.to_owned(),
    }
}

fn device() -> DeviceStatus {
    DeviceStatus {
        state: DeviceState::Active,
        reasons: Vec::new(),
        free: 900,
        total: 1000,
        objects: 120,
        bytes: 1200,
        ..DeviceStatus::failed("d1", reason(Cause::Closing, 0, ""))
    }
}

fn movement(version: u64) -> Movement {
    let ring = RingId {
        version,
        digest: [7; 16],
    };
    Movement {
        device: "d1".to_owned(),
        ring: RingName::Object(0),
        using: ring,
        reconciled: Some(ring),
        round_started: Version::at(Micros(NOW.0 - MINUTE)),
        horizon: Version(0),
        partitions_own: 12,
        partitions_foreign: 0,
        partitions_left: 0,
        set_aside: 0,
        pushed: Vec::new(),
        last_error: None,
    }
}

fn hosts() -> Vec<NodeStatus> {
    let host = |n| NodeStatus {
        node: format!("10.0.0.{n}:6200"),
        devices: vec![device()],
        movement: vec![movement(3)],
        ..NodeStatus::default()
    };
    (1..=4).map(host).collect()
}

fn report(hosts: &[NodeStatus]) -> HealthReport {
    judge(&Facts {
        hosts,
        rings: vec![("object".to_owned(), ring())],
        changes: &[],
        parts: &BTreeMap::new(),
    })
}

fn only(report: &HealthReport) -> &Finding {
    assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
    &report.findings[0]
}

#[test]
fn a_cloud_of_which_nothing_is_the_matter_is_ok() {
    let report = report(&hosts());
    assert_eq!(report.health, Health::Ok);
    assert!(report.findings.is_empty() && report.sees_data);
    assert_eq!(report.copies[0].by_copies, BTreeMap::from([(3, 16)]));
}

#[test]
fn a_host_that_is_away_takes_a_copy_from_just_its_own_partitions() {
    let mut hosts = hosts();
    hosts[1].trouble = Some("connection refused".to_owned());
    hosts[1].away_since = Some(Micros(NOW.0 - 2 * MINUTE));
    hosts[1].last = std::mem::take(&mut hosts[1].devices);
    let report = report(&hosts);
    assert_eq!(report.health, Health::Degraded);
    let found = only(&report);
    assert_eq!(
        (found.kind, found.subject.as_str()),
        (Kind::HostAway, "10.0.0.2:6200")
    );
    assert_eq!(found.since, Some(Micros(NOW.0 - 2 * MINUTE)));
    let lacking = Lacking {
        partitions: 12,
        objects: 120,
        bytes: 1200,
        guessed: false,
    };
    assert_eq!(found.lacking, Some(lacking), "as it said when it was last seen");
    assert_eq!((report.copies[0].short, report.copies[0].below_quorum), (12, 0));
    assert!(
        found.todo[1].contains("for ring in object; do virga ring $ring.builder remove 10.0.0.2:6200/d1 && "),
        "{:?}",
        found.todo
    );
}

#[test]
fn what_a_host_held_that_was_never_seen_is_guessed_from_the_others() {
    let mut hosts = hosts();
    hosts[1].trouble = Some("connection refused".to_owned());
    hosts[1].devices.clear();
    let report = report(&hosts);
    let lacking = only(&report).lacking.unwrap();
    // 12 of 36 replicas that are left, of 360 objects.
    assert_eq!(
        (lacking.objects, lacking.bytes, lacking.guessed),
        (120, 1200, true)
    );
}

#[test]
fn two_hosts_away_leave_partitions_without_a_quorum() {
    let mut hosts = hosts();
    for host in &mut hosts[..2] {
        host.trouble = Some("no answer in 2s".to_owned());
        host.devices.clear();
    }
    let report = report(&hosts);
    assert_eq!(report.health, Health::Critical);
    assert!(report.copies[0].below_quorum > 0);
    assert!(report.summary.contains("quorum"), "{}", report.summary);
}

#[test]
fn a_sick_device_asks_for_weight_0_with_the_command() {
    let mut hosts = hosts();
    let sick = &mut hosts[2].devices[0];
    sick.state = DeviceState::ReadOnly;
    sick.reasons = vec![reason(Cause::IoErrors, 5, "Input/output error (os error 5)")];
    sick.work.push(Work {
        duty: "drain".to_owned(),
        unit: "partitions".to_owned(),
        done: 4,
        left: 8,
        seconds_left: Some(60),
        ..Work::default()
    });
    let report = report(&hosts);
    assert_eq!(report.health, Health::Degraded);
    let found = only(&report);
    assert_eq!(found.kind, Kind::DeviceReadOnly);
    assert_eq!(found.since, Some(Micros(NOW.0 - 5 * MINUTE)));
    assert!(
        found.what.contains("I/O errors (Input/output error"),
        "{}",
        found.what
    );
    assert_eq!(
        found.todo[1],
        "for ring in object; do virga ring $ring.builder set_weight 10.0.0.3:6200/d1 0 && \
         virga ring $ring.builder rebalance; done"
    );
    let doing = found.doing.as_ref().unwrap();
    assert_eq!((doing.done, doing.left, doing.seconds_left), (4, 8, Some(60)));
    assert_eq!(report.copies[0].short, 0, "it still answers reads");
}

#[test]
fn a_full_device_and_one_that_an_operator_stopped_say_what_helps() {
    let mut hosts = hosts();
    hosts[0].devices[0].state = DeviceState::ReadOnly;
    hosts[0].devices[0].reasons = vec![reason(Cause::Full, 1, "")];
    let full = report(&hosts);
    assert!(only(&full).todo[1].contains("set_weight 10.0.0.1:6200/d1 LESS"));
    hosts[0].devices[0].reasons = vec![reason(Cause::Operator, 1, "")];
    let stopped = report(&hosts);
    assert!(only(&stopped).todo[0].contains("virga admin device active 10.0.0.1:6200/d1"));
}

#[test]
fn a_drain_says_how_far_it_is_and_what_comes_after() {
    let mut hosts = hosts();
    let draining = &mut hosts[0].devices[0];
    draining.state = DeviceState::Draining;
    draining.reasons = vec![reason(Cause::Operator, 1, "it clicks")];
    let work = |left| Work {
        duty: "drain".to_owned(),
        ring: Some(RingName::Object(0)),
        left,
        ..Work::default()
    };
    draining.work = vec![work(3)];
    let going = report(&hosts);
    assert!(only(&going).ends.is_some() && only(&going).what.contains("it clicks"));
    hosts[0].devices[0].work = vec![work(0)];
    let done = report(&hosts);
    assert!(
        only(&done).todo[0].contains("remove 10.0.0.1:6200/d1"),
        "{done:?}"
    );
    assert!(only(&done).todo[2].contains("undrain"), "{done:?}");
}

#[test]
fn a_device_that_nobody_has_and_one_that_does_not_open_are_named() {
    let mut hosts = hosts();
    hosts[0].devices.clear();
    hosts[3].devices[0] = DeviceStatus::failed("d1", reason(Cause::CannotOpen, 1, "the index is damaged"));
    let report = report(&hosts);
    let kinds: Vec<Kind> = report.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::DeviceMissing, Kind::DeviceFailed]);
    assert!(report.findings[1].what.contains("the index is damaged"));
}

#[test]
fn a_host_that_is_back_is_waited_for_until_everybody_compared_with_it() {
    let mut hosts = hosts();
    hosts[1].back_since = Some(Micros(NOW.0 - MINUTE / 2));
    let behind = report(&hosts);
    assert_eq!(only(&behind).kind, Kind::CatchingUp);
    for host in &mut hosts {
        host.movement[0].round_started = Version::at(NOW);
    }
    assert_eq!(report(&hosts).health, Health::Ok);
}

#[test]
fn a_host_with_an_older_ring_is_told_from_the_others() {
    let mut hosts = hosts();
    hosts[2].movement = vec![movement(2)];
    let report = report(&hosts);
    let found = only(&report);
    assert_eq!(
        (found.kind, found.subject.as_str()),
        (Kind::RingOld, "10.0.0.3:6200")
    );
    assert!(found.todo[0].contains("object.ring.gz"), "{:?}", found.todo);
}

#[test]
fn what_is_kept_for_an_operator_is_a_notice_and_no_illness() {
    let mut hosts = hosts();
    hosts[0].devices[0].stale_files = 2;
    hosts[0].devices[0].bad_files = 1;
    let report = report(&hosts);
    assert_eq!(report.health, Health::Ok);
    let kinds: Vec<Kind> = report.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::StaleCopies, Kind::DamagedRecords]);
}

#[test]
fn the_json_of_a_report_stays_what_it_is() {
    let mut hosts = hosts();
    hosts[1].trouble = Some("connection refused".to_owned());
    hosts[1].away_since = Some(Micros(NOW.0 - 2 * MINUTE));
    hosts[1].devices.clear();
    hosts[0].devices[0].work.push(Work {
        duty: "reconcile".to_owned(),
        ring: Some(RingName::Object(0)),
        unit: "partitions".to_owned(),
        done: 1,
        left: 3,
        bytes: 4096,
        bytes_per_s: 1024,
        seconds_left: Some(30),
        trouble: None,
    });
    let told = serde_json::to_string_pretty(&report(&hosts)).unwrap();
    // Programs read this: fields may be added, not changed. Written anew with
    // VIRGA_WRITE_GOLDEN=1 when some are.
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/health.json");
    if std::env::var_os("VIRGA_WRITE_GOLDEN").is_some() {
        std::fs::write(&file, format!("{told}\n")).unwrap();
    }
    assert_eq!(format!("{told}\n"), std::fs::read_to_string(&file).unwrap());
    let read: HealthReport = serde_json::from_str(&told).unwrap();
    assert_eq!(read, report(&hosts));
}
