//! The network between simulated machines: every call takes its time both ways,
//! may be lost on either, and passes only where no cut is.
//!
//! A call goes through [`Wire`], which is what a client of the node protocol
//! is in production; what breaks comes back as [`NodeError::Unreachable`] after
//! the waits that the real one has. The called node carries the call out as a
//! task of its own, so that it may go on when the caller has given up, and ends
//! with the machine.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::BoxFuture;
use virga_node::clock::Version;
use virga_object_server::local::LocalNode;
use virga_object_wire::error::NodeError;
use virga_object_wire::node::{Nodes, ObjectNode};
use virga_ring::{Device, NameHash, Ring};

use super::machine::{Life, Machine};
use super::wire::Wire;
use super::world::World;

/// Who calls: a machine by its number, or a proxy, which have numbers from here.
pub const PROXIES: usize = 100;

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Longest way of a message, milliseconds.
    pub delay: u64,
    /// Messages of a thousand that are lost with their connection.
    pub lost: u64,
    /// Messages of a thousand that take a hundred times as long.
    pub stragglers: u64,
}

impl Weather {
    /// As it should be.
    pub const FAIR: Self = Self {
        delay: 2,
        lost: 0,
        stragglers: 0,
    };
}

/// What a machine has said to have of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Witnessed {
    /// Data or a deletion.
    Data(Version),
    /// A metadata update.
    Update(Version),
}

impl Witnessed {
    /// Whether who has this has the other, or something newer in its place. An
    /// update ends with its data: newer ones are taken for that only if they are
    /// newer than it, too.
    fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Data(this), Self::Data(other)) | (Self::Update(this), Self::Update(other)) => {
                this >= other
            }
            (Self::Data(this), Self::Update(other)) => this > other,
            (Self::Update(_), Self::Data(_)) => false,
        }
    }
}

struct State {
    weather: Weather,
    /// Links that carry nothing, from whom to whom.
    cut: BTreeSet<(usize, usize)>,
    /// Links that are slow, in milliseconds added to every message.
    slow: BTreeMap<(usize, usize), u64>,
    machines: BTreeMap<usize, Arc<Machine>>,
    calls: u64,
    /// By name: which machine has said to have what, and when it was first heard.
    witnesses: BTreeMap<NameHash, BTreeMap<(usize, Witnessed), Duration>>,
}

/// The network of a run.
pub struct Network {
    world: Arc<World>,
    state: Mutex<State>,
}

impl Network {
    /// A fair network without machines.
    pub fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            state: Mutex::new(State {
                weather: Weather::FAIR,
                cut: BTreeSet::new(),
                slow: BTreeMap::new(),
                machines: BTreeMap::new(),
                calls: 0,
                witnesses: BTreeMap::new(),
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics here")
    }

    /// Plugs a machine in.
    pub fn add(&self, machine: &Arc<Machine>) {
        self.state().machines.insert(machine.number, Arc::clone(machine));
    }

    /// Changes the weather.
    pub fn set_weather(&self, weather: Weather) {
        self.world.note(format_args!("weather {weather:?}"));
        self.state().weather = weather;
    }

    /// Cuts one direction of a link.
    pub fn cut(&self, from: usize, to: usize) {
        self.world.note(format_args!("cut {from}>{to}"));
        self.state().cut.insert((from, to));
    }

    /// Cuts a machine off from everybody, both ways.
    pub fn isolate(&self, machine: usize, everybody: &[usize]) {
        for other in everybody.iter().filter(|other| **other != machine) {
            self.cut(machine, *other);
            self.cut(*other, machine);
        }
    }

    /// Makes one direction of a link slow.
    pub fn slow_down(&self, from: usize, to: usize, millis: u64) {
        self.world.note(format_args!("slow {from}>{to} {millis}"));
        self.state().slow.insert((from, to), millis);
    }

    /// Takes away all cuts and all bad weather.
    pub fn heal(&self) {
        self.world.note(format_args!("network heals"));
        let mut state = self.state();
        state.cut.clear();
        state.slow.clear();
        state.weather = Weather::FAIR;
    }

    /// What `caller` sees of the network.
    pub fn nodes(self: &Arc<Self>, caller: usize) -> Arc<dyn Nodes> {
        Arc::new(Seen {
            network: Arc::clone(self),
            caller,
        })
    }

    /// Takes note that a caller was told that `to` has this.
    pub(super) fn witness(&self, hash: NameHash, what: Witnessed, to: usize) {
        let now = self.world.elapsed();
        let mut state = self.state();
        let of_name = state.witnesses.entry(hash).or_default();
        of_name.entry((to, what)).or_insert(now);
    }

    /// Since when two of the devices that a ring gives the name are known to have this
    /// write, or what has taken its place; none if they are not.
    pub fn at_home(&self, ring: &Ring, hash: NameHash, written: Witnessed) -> Option<Duration> {
        let state = self.state();
        let witnesses = state.witnesses.get(&hash)?;
        let since = |machine: usize| {
            let of_machine = witnesses.iter().filter(|((to, _), _)| *to == machine);
            let covers = of_machine.filter(|((_, what), _)| what.covers(written));
            covers.map(|(_, since)| *since).min()
        };
        let primaries = ring.primaries(ring.partition(&hash));
        let numbers = primaries.filter_map(|(_, device)| device.device[1..].parse().ok());
        let mut since: Vec<Duration> = numbers.filter_map(since).collect();
        since.sort_unstable();
        since.get(1).copied()
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.state().cut.contains(&(from, to))
    }

    fn number(&self) -> u64 {
        let mut state = self.state();
        state.calls += 1;
        state.calls
    }

    /// Lets one message travel; an error if it does not arrive.
    pub(super) async fn travel(&self, from: usize, to: usize) -> Result<(), NodeError> {
        let (weather, slow) = {
            let state = self.state();
            (
                state.weather,
                state.slow.get(&(from, to)).copied().unwrap_or_default(),
            )
        };
        let mut way = self.world.millis(0, weather.delay) + Duration::from_millis(slow);
        if self.world.strikes(weather.stragglers) {
            way *= 100;
        }
        tokio::time::sleep(way).await;
        if self.is_cut(from, to) {
            // Nobody says that nobody listens: the caller waits for its deadline.
            tokio::time::sleep(self.world.millis(2_000, 15_000)).await;
            return Err(NodeError::Unreachable("no answer".into()));
        }
        if self.world.strikes(weather.lost) {
            return Err(NodeError::Unreachable("the connection broke".into()));
        }
        Ok(())
    }

    /// The node of a machine; refused if its process does not run.
    pub(super) fn target(&self, to: usize) -> Result<(Arc<LocalNode>, Arc<Life>), NodeError> {
        let machine = self.state().machines.get(&to).cloned();
        let running = machine.and_then(|machine| machine.running());
        let running = running.ok_or_else(|| NodeError::Unreachable("connection refused".into()))?;
        Ok((running.node, running.life))
    }

    /// Carries out one call: there, done, and back.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        from: usize,
        to: usize,
        what: &str,
        work: impl FnOnce(Arc<LocalNode>) -> BoxFuture<'static, Result<T, NodeError>> + Send,
    ) -> Result<T, NodeError> {
        let number = self.number();
        self.world.note(format_args!("#{number} {from}>{to} {what}"));
        let result = self.carry(from, to, number, work).await;
        let end = result.as_ref().err().map_or("ok", kind);
        self.world.note(format_args!("#{number} {from}<{to} {end}"));
        result
    }

    async fn carry<T: Send + 'static>(
        &self,
        from: usize,
        to: usize,
        number: u64,
        work: impl FnOnce(Arc<LocalNode>) -> BoxFuture<'static, Result<T, NodeError>> + Send,
    ) -> Result<T, NodeError> {
        self.travel(from, to).await?;
        let (node, life) = self.target(to)?;
        self.world.note(format_args!("#{number} arrives"));
        // A caller that goes away may or may not be noticed in time.
        let mut task = GiveUp {
            task: life.spawn(work(node)),
            noticed: self.world.strikes(500),
        };
        let gone = |_| NodeError::Unreachable("the node went away".into());
        let result = (&mut task.task).await.map_err(gone)?;
        task.noticed = false;
        let end = result.as_ref().err().map_or("ok", kind);
        self.world.note(format_args!("#{number} done {end}"));
        self.travel(to, from).await?;
        result
    }
}

/// A call being carried out, for a caller that may go away.
struct GiveUp<T> {
    task: tokio::task::JoinHandle<T>,
    noticed: bool,
}

impl<T> Drop for GiveUp<T> {
    fn drop(&mut self) {
        if self.noticed {
            self.task.abort();
        }
    }
}

/// An error in a word: texts may hold paths, which differ from run to run.
pub(super) fn kind(error: &NodeError) -> &'static str {
    match error {
        NodeError::Newer(_) => "newer",
        NodeError::NotFound => "not found",
        NodeError::NotEmpty => "not empty",
        NodeError::NoDevice(_) => "no device",
        NodeError::Full => "full",
        NodeError::Damaged => "damaged",
        NodeError::Garbled => "garbled",
        NodeError::Ahead(_) => "ahead",
        NodeError::Invalid(_) => "invalid",
        NodeError::Busy => "busy",
        NodeError::Device(_) => "device failed",
        NodeError::Unreachable(_) => "unreachable",
        _ => "refused",
    }
}

/// All nodes as one caller sees them.
struct Seen {
    network: Arc<Network>,
    caller: usize,
}

impl Nodes for Seen {
    fn node(&self, device: &Device) -> Arc<dyn ObjectNode> {
        let last = device.ip.rsplit('.').next().and_then(|n| n.parse::<usize>().ok());
        let to = last.and_then(|n| n.checked_sub(1)).unwrap_or(usize::MAX);
        if to == self.caller
            && let Ok((node, _)) = self.network.target(to)
        {
            // In its own process a node is called directly.
            return node;
        }
        Arc::new(Wire {
            network: Arc::clone(&self.network),
            world: Arc::clone(&self.network.world),
            from: self.caller,
            to,
        })
    }
}
