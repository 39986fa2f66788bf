//! What everything in one run shares: the virtual clock, the chance that all
//! choices are drawn from, and the trace of what happened.
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;
use virga_disk::io::fault::Chance;
use virga_node::clock::{Clock, Micros};

/// When runs begin, in microseconds since the epoch.
const BEGIN: u64 = 1_766_400_000_000_000;

/// Shared by everything in one run.
pub struct World {
    seed: u64,
    begun: Instant,
    state: Mutex<State>,
    /// Added to every clock: time that passes without anybody living it.
    jumped: AtomicI64,
    loud: bool,
}

struct State {
    chance: Chance,
    trace: u64,
    events: u64,
}

impl World {
    /// A world whose every choice comes from `seed`. `loud` prints the trace.
    /// Must be made in the runtime of the run.
    pub fn new(seed: u64, loud: bool) -> Arc<Self> {
        Arc::new(Self {
            seed,
            begun: Instant::now(),
            state: Mutex::new(State {
                chance: Chance::new(seed),
                trace: 0xcbf2_9ce4_8422_2325,
                events: 0,
            }),
            jumped: AtomicI64::new(0),
            loud,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics here")
    }

    /// What it was made from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The next 64 bits of chance.
    pub fn bits(&self) -> u64 {
        self.state().chance.next()
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&self, bound: u64) -> u64 {
        self.bits() % bound
    }

    /// Whether something happens that does so this many times in a thousand.
    pub fn strikes(&self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// Between so many milliseconds, both ends included.
    pub fn millis(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from + 1))
    }

    /// Virtual time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Lets time pass on every clock at once.
    pub fn jump(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).expect("a jump of less than an age");
        self.jumped.fetch_add(by, Ordering::SeqCst);
        self.note(format_args!("all clocks jump by {} s", by / 1_000_000));
    }

    /// Writes a line of the trace.
    pub fn note(&self, line: fmt::Arguments<'_>) {
        let at = self.elapsed().as_micros();
        let line = format!("{at:>10} {line}");
        if self.loud {
            println!("{line}");
        }
        let mut state = self.state();
        state.events += 1;
        for byte in line.bytes() {
            // FNV-1a: the trace is compared, not trusted.
            state.trace = (state.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// What the trace comes to: its hash, and its lines.
    pub fn trace(&self) -> (u64, u64) {
        let state = self.state();
        (state.trace, state.events)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World({})", self.seed)
    }
}

/// A machine's clock: the world's time, and how far it is off.
#[derive(Debug)]
pub struct SkewedClock {
    world: Arc<World>,
    off: AtomicI64,
}

impl SkewedClock {
    /// A clock that is right.
    pub fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            off: AtomicI64::new(0),
        })
    }

    /// Sets how far it is off, in seconds.
    pub fn skew(&self, seconds: i64) {
        self.off.store(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for SkewedClock {
    fn now(&self) -> Micros {
        let right = BEGIN + u64::try_from(self.world.elapsed().as_micros()).expect("a short run");
        let off = self.world.jumped.load(Ordering::SeqCst) + self.off.load(Ordering::SeqCst);
        Micros(right.saturating_add_signed(off))
    }
}
