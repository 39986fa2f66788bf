//! Clients that read and write all the time and judge every answer.
//!
//! Two kinds of keys. Most have one writer at a time and any readers
//! ([`register`]): no read may show less than what was acknowledged, nothing
//! deleted may come back, every body is whole, listings show what reads show,
//! at once. The others are written by all ([`hot`]): their calls must have an
//! order that explains the answers ([`crate::linear`]). An answer 5xx is a
//! finding too: in the suites that use this, nothing may be unavailable.
//!
//! A suite makes a [`Workload`], lets things happen [`Workload::during`] which
//! its clients run, and then asks for the findings. Bodies come from a seed;
//! which client sends what when does not, as answers take their time.
pub mod body;
mod client;
pub mod findings;
mod hot;
pub mod register;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::chance::Chance;
use crate::process::wait_until;
use crate::swift::Swift;
use client::{Client, What};
use findings::{Findings, Kind};
use hot::Hot;
use register::Key;

/// What clients do.
#[derive(Debug, Clone)]
pub struct Mix {
    /// Names of containers begin with this: several workloads of one cluster
    /// keep apart.
    pub prefix: String,
    /// Clients at the same time.
    pub clients: usize,
    /// Containers that hold the keys, the first in the default policy, others
    /// in the policies named here, in turn.
    pub containers: usize,
    /// Storage policies for every second container on; empty: all in the default one.
    pub policies: Vec<String>,
    /// Keys of each container, with one writer at a time.
    pub keys: usize,
    /// Containers that come and go.
    pub passing: usize,
    /// Keys that all clients write.
    pub hot: usize,
    /// Whether some reads want a part.
    pub ranges: bool,
    /// The largest body, bytes.
    pub largest: usize,
    /// Pause of a client after each request.
    pub rest: Duration,
}

impl Default for Mix {
    /// A few hundred objects and four clients: two cores are shared with the
    /// cluster itself.
    fn default() -> Self {
        Self {
            prefix: String::new(),
            clients: 4,
            containers: 2,
            policies: Vec::new(),
            keys: 100,
            passing: 4,
            hot: 2,
            ranges: true,
            largest: 2_500_000,
            rest: Duration::ZERO,
        }
    }
}

/// A container and its keys, in the order of a listing.
#[derive(Debug)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its keys.
    pub keys: Vec<Key>,
}

/// Clients, keys, and what was found.
#[derive(Debug)]
pub struct Workload {
    mix: Mix,
    doors: Vec<Swift>,
    seed: u64,
    containers: Vec<Container>,
    passing: Vec<Key>,
    hot: Hot,
    findings: Findings,
    stop: AtomicBool,
    late_listings: AtomicBool,
}

impl Workload {
    /// Makes the containers. `doors` are the same session at every proxy.
    pub fn new(mix: Mix, doors: Vec<Swift>, seed: u64) -> Self {
        let container = |n: usize| {
            let name = format!("{}box-{n}", mix.prefix);
            let keys = (0..mix.keys).map(|k| Key::new(format!("{name}/k{k:05}")));
            Container {
                keys: keys.collect(),
                name,
            }
        };
        let load = Self {
            containers: (0..mix.containers).map(container).collect(),
            passing: (0..mix.passing)
                .map(|n| Key::new(format!("{}passing-{n}", mix.prefix)))
                .collect(),
            hot: Hot::new(format!("{}hot", mix.prefix), mix.hot),
            findings: Findings::default(),
            stop: AtomicBool::new(false),
            late_listings: AtomicBool::new(false),
            seed,
            doors,
            mix,
        };
        for (n, container) in load.containers.iter().enumerate() {
            let policy = match (n, load.mix.policies.len()) {
                (0, _) | (_, 0) => None,
                (n, policies) => Some(load.mix.policies[(n - 1) % policies].as_str()),
            };
            let headers: Vec<_> = policy.map(|p| ("x-storage-policy", p)).into_iter().collect();
            load.make(&container.name, &headers);
        }
        load.make(&format!("{}hot", load.mix.prefix), &[]);
        load
    }

    fn make(&self, container: &str, headers: &[(&str, &str)]) {
        let answer = self.doors[0].send("PUT", container, headers, b"");
        assert!(
            answer.status.is_success(),
            "PUT {container}: {} {}",
            answer.status,
            answer.text()
        );
    }

    fn client(&self, n: u64) -> Client<'_> {
        Client {
            load: self,
            chance: Chance::replay(self.seed ^ (n << 48)),
            door: n as usize % self.doors.len(),
        }
    }

    /// Writes every key once.
    pub fn fill(&self) {
        std::thread::scope(|scope| {
            for n in 0..self.mix.clients {
                scope.spawn(move || {
                    let mut client = self.client(1000 + n as u64);
                    let keys = self.containers.iter().flat_map(|c| &c.keys);
                    for key in keys.skip(n).step_by(self.mix.clients) {
                        let len = client.length();
                        client.put(What::Object, key, len);
                    }
                });
            }
        });
    }

    /// Runs the clients while `events` happen; gives what those give.
    pub fn during<T>(&self, events: impl FnOnce(&Self) -> T) -> T {
        self.stop.store(false, Ordering::Relaxed);
        let (answered, begun) = (self.findings.answered(), Instant::now());
        let ended = std::thread::scope(|scope| {
            for n in 0..self.mix.clients {
                scope.spawn(move || self.client(n as u64).run());
            }
            let ended = catch_unwind(AssertUnwindSafe(|| events(self)));
            self.stop.store(true, Ordering::Relaxed);
            ended
        });
        let (requests, took) = (self.findings.answered() - answered, begun.elapsed());
        println!(
            "{requests} requests in {took:.1?}\n{}  {} calls of keys that all write",
            self.findings.figures(),
            self.hot.calls()
        );
        // What clients met often explains why the events failed.
        ended.unwrap_or_else(|failure| {
            if catch_unwind(AssertUnwindSafe(|| self.findings.assert_none_but(&[]))).is_err() {
                eprintln!("the clients met what is printed above; the test failed of:");
            }
            std::panic::resume_unwind(failure)
        })
    }

    /// Waits until clients have had `more` answers.
    pub fn wait_answers(&self, more: usize) {
        let goal = self.findings.answered() + more;
        wait_until("clients go on", || self.findings.answered() >= goal);
    }

    /// With no client running: reads every key at every door, lists everything,
    /// judges the keys that all have written. What is found is noted.
    pub fn check(&self, when: &str) {
        let before = self.findings.answered();
        for door in 0..self.doors.len() {
            let mut client = self.client(2000 + door as u64);
            client.door = door;
            for container in &self.containers {
                container.keys.iter().for_each(|key| client.get(key));
                client.list(container);
            }
            for key in &self.passing {
                client.head(What::Container, key);
            }
        }
        self.client(3000).judge_hot(when);
        println!("{when}: {} reads", self.findings.answered() - before);
    }

    /// Whether faults may make listings late: the rows are owed by object
    /// nodes then, and paid when they can be.
    pub fn allow_late_listings(&self, may: bool) {
        self.late_listings.store(may, Ordering::Relaxed);
    }

    /// How many proxies the clients use.
    pub fn doors(&self) -> usize {
        self.doors.len()
    }

    /// What was found so far.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Checks, and panics if anything was found but what is `tolerated`.
    pub fn end(&self, when: &str, tolerated: &[Kind]) {
        self.check(when);
        self.findings.assert_none_but(tolerated);
    }

    /// How many objects the keys with one writer hold, of those that are known.
    pub fn objects(&self) -> usize {
        let keys = self.containers.iter().flat_map(|c| &c.keys);
        keys.filter(|key| key.exists() == Some(true)).count()
    }
}

impl Client<'_> {
    fn run(&mut self) {
        while !self.load.stop.load(Ordering::Relaxed) {
            self.step();
            if !self.load.mix.rest.is_zero() {
                std::thread::sleep(self.load.mix.rest);
            }
        }
    }

    fn step(&mut self) {
        let load = self.load;
        let container = &load.containers[self.chance.below(load.containers.len() as u64) as usize];
        let key = &container.keys[self.chance.below(container.keys.len() as u64) as usize];
        let wrote = match self.chance.below(100) {
            0..=24 => {
                let len = self.length();
                self.put(What::Object, key, len)
            }
            25..=31 => self.post(What::Object, key),
            32..=39 => self.delete(What::Object, key),
            40..=47 => {
                self.head(What::Object, key);
                true
            }
            48..=52 if load.mix.ranges => {
                self.get_range(key);
                true
            }
            53..=56 => {
                self.list(container);
                true
            }
            57..=62 if !load.passing.is_empty() => self.pass(),
            63..=77 if load.mix.hot > 0 => {
                self.hot();
                true
            }
            _ => false,
        };
        if !wrote {
            self.get(key);
        }
    }

    /// A container that comes and goes.
    fn pass(&mut self) -> bool {
        let keys = &self.load.passing;
        let key = &keys[self.chance.below(keys.len() as u64) as usize];
        match self.chance.below(6) {
            0 | 1 => self.put(What::Container, key, 0),
            2 => self.post(What::Container, key),
            3 => self.delete(What::Container, key),
            _ => {
                self.head(What::Container, key);
                true
            }
        }
    }

    /// Sizes around the borders of blocks and extents, most of them small.
    fn length(&mut self) -> usize {
        let largest = self.load.mix.largest.max(100) as u64;
        let length = match self.chance.below(40) {
            0 => 1_000_000 + self.chance.below(largest),
            1 | 2 => (1 << 16) - 2 + self.chance.below(5),
            3..=8 => self.chance.below(150_000),
            _ => self.chance.below(6_000),
        };
        // Never shorter than the line that says which write it is.
        length.min(largest).max(100) as usize
    }
}
