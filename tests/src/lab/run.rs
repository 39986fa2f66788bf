//! One run: faults while clients work, then health, then the verdict.
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::fault::{DEVICES, Fault, PROXIES, Plan, Step};
use super::field::Field;
use crate::chance::Chance;
use crate::change::settle_tended;
use crate::inventory::Inventory;
use crate::process::binary;
use crate::workload::findings::{Finding, Findings, Kind};
use crate::workload::{Mix, Workload};

/// How long a host that is back may be taken for one that is not: proxies rest
/// from hosts that failed, connections are dialled after a wait.
const GRACE: Duration = Duration::from_secs(5);
/// Longest way back to health, seconds.
const HEALTH: u64 = 120;
/// Answers after it, as good as if nothing had been.
const AFTERWARDS: usize = 100;
/// What is no fault of the cloud: a replica that was away has not heard of some
/// deletions, so a second DELETE may say 204 for 404; rows are owed while
/// faults last; with two of three replicas away, stand-ins make up a quorum
/// that readers miss until all is healthy; of writes that meet, one that a replica took
/// is not tried a second time once another has been waited for (decision 9).
const TOLERATED: [Kind; 4] = [Kind::Told, Kind::Late, Kind::Behind, Kind::Undecided];
const RINGS: [&str; 3] = ["account", "container", "object"];

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Its seed.
    pub seed: u64,
    /// What broke.
    pub plan: String,
    /// What faults did that their names do not say.
    pub notes: Vec<String>,
    /// Answered requests.
    pub requests: usize,
    /// Requests refused, or cut off, while faults justified it.
    pub refused: usize,
    /// How many of each kind were found, tolerated ones as well.
    pub counts: BTreeMap<Kind, usize>,
    /// Findings that are not tolerated, in words.
    pub findings: Vec<Finding>,
    /// Storage hosts that were started anew by hand, as their status asked for it.
    pub by_hand: Vec<usize>,
    /// From the end of the last fault to full health with equal replicas.
    pub health: Option<Duration>,
    /// Why the run could not go on, if so.
    pub failure: Option<String>,
    /// All of it.
    pub took: Duration,
}

impl Verdict {
    /// Whether nothing went wrong.
    pub fn is_good(&self) -> bool {
        let wrong = self.counts.keys().any(|kind| !TOLERATED.contains(kind));
        !wrong && self.failure.is_none()
    }

    fn note(&mut self, findings: &Findings) {
        self.requests = findings.answered();
        self.refused = findings.excused();
        self.counts = findings.counts();
        let kept = findings.kept().into_iter();
        self.findings = kept.filter(|f| !TOLERATED.contains(&f.kind)).collect();
    }
}

/// Runs the seed on a field. After a verdict that is not good, the field is not
/// to be used again.
pub fn run(field: &mut Field, seed: u64) -> Verdict {
    let begun = Instant::now();
    let mut chance = Chance::replay(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    chance.bits();
    let plan = Plan::draw(&mut chance);
    println!("seed {seed}: {plan}");
    let mut verdict = Verdict {
        seed,
        plan: plan.to_string(),
        notes: Vec::new(),
        requests: 0,
        refused: 0,
        counts: BTreeMap::new(),
        findings: Vec::new(),
        by_hand: Vec::new(),
        health: None,
        failure: None,
        took: Duration::ZERO,
    };
    let prepared = catch_unwind(AssertUnwindSafe(|| {
        Workload::new(mix(seed), field.cluster.doors(), chance.bits())
    }));
    match prepared {
        Ok(load) => {
            let scene = AssertUnwindSafe(|| scene(field, &plan, &load, &mut chance, &mut verdict));
            let ended = catch_unwind(scene);
            verdict.failure = ended.err().map(|panic| words(&*panic));
            verdict.note(load.findings());
        }
        Err(panic) => verdict.failure = Some(words(&*panic)),
    }
    verdict.took = begun.elapsed();
    verdict
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

/// Enough keys for every partition to have some, few enough to read all at the end.
fn mix(seed: u64) -> Mix {
    Mix {
        prefix: format!("s{seed}-"),
        clients: 3,
        keys: 50,
        passing: 2,
        largest: 1_300_000,
        rest: Duration::from_millis(1),
        ..Mix::default()
    }
}

fn scene(field: &mut Field, plan: &Plan, load: &Workload, chance: &mut Chance, verdict: &mut Verdict) {
    load.fill();
    let inventory = Inventory::of(field.cluster.controller_data());
    load.allow_late_listings(true);
    let over = load.during(|load| {
        let mut trouble = Trouble::new(load.findings());
        for step in &plan.steps {
            happen(field, step, &mut trouble, chance, &mut verdict.notes);
            if step.faults.iter().any(Fault::destroys) {
                verdict.by_hand.extend(equal(field, &inventory));
            }
        }
        let over = Instant::now();
        verdict.by_hand.extend(field.restart_where_asked());
        over
    });
    healthy(field);
    println!("well after {:.1?}", over.elapsed());
    verdict.by_hand.extend(equal(field, &inventory));
    verdict.health = Some(over.elapsed());
    // From now on nothing is excused any more.
    load.findings().excuse(false);
    load.findings().caught_up();
    load.allow_late_listings(false);
    load.during(|load| load.wait_answers(AFTERWARDS));
    load.check("healthy again");
}

/// Faults come, stay a while, and go.
fn happen(
    field: &mut Field,
    step: &Step,
    trouble: &mut Trouble<'_>,
    chance: &mut Chance,
    notes: &mut Vec<String>,
) {
    println!("{:>8.3?} {step}", Duration::from_nanos(trouble.findings.now()));
    for fault in &step.faults {
        trouble.begins(fault);
        notes.extend(field.begin(fault, chance));
    }
    std::thread::sleep(step.lasts);
    for at in &step.ends {
        field.end(&step.faults[*at]);
        trouble.ends(&step.faults[*at]);
    }
}

/// Waits until all replicas of everything are equal. Which hosts were restarted
/// by hand for it: a device with too many damaged records counts as away until
/// somebody has looked after it.
fn equal(field: &mut Field, inventory: &Inventory) -> Vec<usize> {
    let mut by_hand = Vec::new();
    for ring in RINGS {
        let assignment = field.cluster.builders().read(ring);
        settle_tended(inventory, ring, &assignment, || {
            by_hand.extend(field.restart_where_asked());
        });
    }
    by_hand
}

/// Waits until `virga status` says of every host that all is well.
fn healthy(field: &Field) {
    let cluster = &field.cluster;
    let stores = (0..DEVICES.len()).map(|store| cluster.store_data(store));
    let proxies = (0..PROXIES).map(|proxy| cluster.proxy_data(proxy));
    std::thread::scope(|scope| {
        for data in proxies.chain(stores) {
            scope.spawn(move || wait_well(data));
        }
    });
}

fn wait_well(data: &Path) {
    let (data, limit) = (data.to_str().expect("UTF-8"), HEALTH.to_string());
    let args = ["status", "--data", data, "--wait", "--timeout", &limit];
    let out = Command::new(binary()).args(args).output().expect("virga runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{data} is not well in time: {said}");
}

/// Which hosts clients cannot count on, and whether they may therefore be refused.
struct Trouble<'a> {
    findings: &'a Findings,
    /// Storage hosts, and since when they are back.
    hosts: BTreeMap<usize, Option<Instant>>,
    /// The same of the doors.
    doors: Vec<Option<Instant>>,
}

impl<'a> Trouble<'a> {
    fn new(findings: &'a Findings) -> Self {
        Self {
            findings,
            hosts: BTreeMap::new(),
            doors: Vec::new(),
        }
    }

    fn begins(&mut self, fault: &Fault) {
        for host in fault.impaired() {
            self.hosts.insert(host, None);
        }
        if fault.closes_doors() {
            self.doors = vec![None];
        }
        self.judge();
    }

    fn ends(&mut self, fault: &Fault) {
        for host in fault.impaired() {
            self.hosts.insert(host, Some(Instant::now()));
        }
        if fault.closes_doors() {
            self.doors = vec![Some(Instant::now())];
        }
        self.judge();
    }

    /// With one host away there is a quorum of everything, with two there may
    /// be none.
    fn judge(&mut self) {
        let lasts = |since: &Option<Instant>| since.is_none_or(|since| since.elapsed() < GRACE);
        self.hosts.retain(|_, since| lasts(since));
        self.doors.retain(lasts);
        self.findings
            .excuse(self.hosts.len() > 1 || !self.doors.is_empty());
        self.findings.silence(!self.hosts.is_empty());
    }
}
