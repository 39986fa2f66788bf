//! Time as a parameter, and the hybrid logical clock that orders versions.
//!
//! Everything that needs the time takes an `Arc<dyn Clock>`; tests own theirs
//! ([`ManualClock`]). Versions of objects and rows come from [`Hlc`]: close to
//! wall time, never equal twice on one node, never behind what was observed.
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time: microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Micros(pub u64);

impl Micros {
    /// Whole seconds since the epoch.
    pub fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The point `later` after this one (saturating).
    pub fn plus(self, later: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(later.as_micros()).unwrap_or(u64::MAX)),
        )
    }

    /// Time passed since `earlier`; zero if `earlier` lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// A source of wall time.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Now.
    fn now(&self) -> Micros;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place where wall time enters")]
    fn now(&self) -> Micros {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

/// A clock that a test moves by hand.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Micros) -> Self {
        Self(AtomicU64::new(start.0))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(
            u64::try_from(by.as_micros()).unwrap_or(u64::MAX),
            Ordering::SeqCst,
        );
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, to: Micros) {
        self.0.store(to.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Micros {
        Micros(self.0.load(Ordering::SeqCst))
    }
}

/// The version of an object or row: 52 bits of 10 us ticks since the epoch,
/// then a 12 bit logical counter. Larger is newer.
///
/// The tick is 10 us so that a Swift `X-Timestamp` ("1766400000.12345") maps
/// exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Version(pub u64);

/// Bits of the logical counter in a [`Version`].
pub const COUNTER_BITS: u32 = 12;
/// Microseconds in one tick of a [`Version`].
pub const TICK_MICROS: u64 = 10;

impl Version {
    /// The first version of the tick that `at` lies in.
    pub fn at(at: Micros) -> Self {
        Self((at.0 / TICK_MICROS) << COUNTER_BITS)
    }

    /// The tick as a point in time, without the counter.
    pub fn time(self) -> Micros {
        Micros((self.0 >> COUNTER_BITS) * TICK_MICROS)
    }

    /// Swift's text form: seconds with five decimals, "1766400000.12345". The
    /// counter is not shown.
    pub fn to_timestamp(self) -> String {
        let ticks = self.0 >> COUNTER_BITS;
        format!("{:010}.{:05}", ticks / 100_000, ticks % 100_000)
    }

    /// Reads Swift's text form: digits, optionally a point and more digits
    /// (cut after the fifth). `None` for anything else or out of range.
    pub fn from_timestamp(text: &str) -> Option<Self> {
        let (secs, frac) = text.split_once('.').unwrap_or((text, ""));
        if secs.is_empty() || !secs.bytes().chain(frac.bytes()).all(|b| b.is_ascii_digit()) {
            return None;
        }
        let mut frac = frac.get(..frac.len().min(5))?.to_owned();
        while frac.len() < 5 {
            frac.push('0');
        }
        let ticks = secs
            .parse::<u64>()
            .ok()?
            .checked_mul(100_000)?
            .checked_add(frac.parse().ok()?)?;
        (ticks < 1 << (64 - COUNTER_BITS)).then_some(Self(ticks << COUNTER_BITS))
    }
}

/// A hybrid logical clock: hands out versions that only grow.
#[derive(Debug)]
pub struct Hlc {
    clock: Arc<dyn Clock>,
    last: AtomicU64,
}

impl Hlc {
    /// A clock over `clock` that has given nothing out yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            last: AtomicU64::new(0),
        }
    }

    /// A version larger than every one given out or observed before.
    pub fn next(&self) -> Version {
        let wall = Version::at(self.clock.now()).0;
        let mut seen = self.last.load(Ordering::Relaxed);
        loop {
            let new = wall.max(seen + 1);
            match self
                .last
                .compare_exchange_weak(seen, new, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return Version(new),
                Err(now) => seen = now,
            }
        }
    }

    /// Takes note of a version that another node gave out, so that the next
    /// one from here is larger.
    pub fn observe(&self, other: Version) {
        self.last.fetch_max(other.0, Ordering::AcqRel);
    }

    /// The wall clock below.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swift_timestamp_survives_the_round_trip() {
        let v = Version::from_timestamp("1766400000.12345").unwrap();
        assert_eq!(v.to_timestamp(), "1766400000.12345");
        assert_eq!(
            Version::from_timestamp("17.5").unwrap().to_timestamp(),
            "0000000017.50000"
        );
        for bad in ["", ".5", "1.2.3", "-1", "1e5", "99999999999999999999"] {
            assert_eq!(Version::from_timestamp(bad), None, "{bad}");
        }
    }

    #[test]
    fn versions_grow_while_the_wall_clock_stands_or_goes_back() {
        let clock = Arc::new(ManualClock::new(Micros(1_000_000)));
        let hlc = Hlc::new(clock.clone());
        let first = hlc.next();
        let second = hlc.next();
        clock.set(Micros(10));
        let third = hlc.next();
        assert!(first < second && second < third);
        hlc.observe(Version(u64::MAX / 2));
        assert!(hlc.next() > Version(u64::MAX / 2));
    }
}
