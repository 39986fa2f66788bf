//! Whether this node's clock agrees with those of the nodes that it compares
//! replicas with.
//!
//! Versions that lie ahead are refused one by one (`Ahead`); that does not help a
//! node whose own clock is wrong. One that runs ahead would delete objects before they
//! expire, and forget deletions too early; one that is behind refuses what others
//! write. So every answer about a whole device says what time it is there. A node
//! that differs from most of the others by more than a minute expires and forgets
//! nothing, completes no round, and says so in its status; nor does one expire or
//! forget before it has heard of any other since its start.
//!
//! It takes no write either that most of the others would refuse: a proxy whose
//! clock is as wrong, as one on the same host is, would leave copies here alone that
//! stay ahead of all others until that time has come ([`Clocks::admit`]). That needs
//! two others to compare with, and lasts until it has compared itself again: what comes
//! between the moment a clock goes wrong and the next round is taken.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use virga_node::clock::{Clock, Micros, Version};
use virga_object_wire::error::NodeError;
use virga_ring::Device;

/// Differences up to this are usual: versions may lie as far ahead.
const LIMIT: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct Clocks {
    clock: Arc<dyn Clock>,
    /// By address: how far the node is ahead of this one, in microseconds.
    others: Mutex<BTreeMap<(String, u16), i64>>,
    /// How far this clock is ahead of most of the others, microseconds: 0 unless it
    /// is more than usual. Beside the map, as every write looks at it.
    lead: AtomicU64,
    /// When that was found, by this clock: once it shows less it has been set.
    found_at: AtomicU64,
}

/// How far a clock is ahead of most of the others, given how far they are ahead of
/// it: as far as all but the slower half of them say. With fewer than two nobody can
/// tell who is wrong.
fn lead(others: impl Iterator<Item = i64>) -> Duration {
    let mut others: Vec<i64> = others.collect();
    others.sort_unstable();
    let middle = others.get(others.len() / 2).filter(|_| others.len() > 1);
    let lead = middle.map_or(0, |ahead| ahead.saturating_neg().max(0).unsigned_abs());
    Duration::from_micros(lead)
}

fn between(later: Micros, earlier: Micros) -> i64 {
    let since = |a: Micros, b: Micros| i64::try_from(a.since(b).as_micros()).unwrap_or(i64::MAX);
    since(later, earlier) - since(earlier, later)
}

impl Clocks {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            others: Mutex::default(),
            lead: AtomicU64::new(0),
            found_at: AtomicU64::new(0),
        }
    }

    /// Takes note of the time at another node, which has just answered.
    pub(crate) fn note(&self, device: &Device, theirs: Micros) {
        let now = self.clock.now();
        let ahead = between(theirs, now);
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.insert((device.ip.clone(), device.port), ahead);
        let lead = lead(others.values().copied());
        let lead = u64::try_from(lead.as_micros()).unwrap_or(u64::MAX);
        let unusual = lead > u64::try_from(LIMIT.as_micros()).unwrap_or(u64::MAX);
        self.found_at.store(now.0, Ordering::Release);
        self.lead.store(if unusual { lead } else { 0 }, Ordering::Release);
    }

    /// Whether a version may be taken: most others would.
    ///
    /// # Errors
    /// `Ahead` if this clock is ahead of most others, and the version ahead of what
    /// these take.
    pub(crate) fn admit(&self, version: Version) -> Result<(), NodeError> {
        let lead = self.lead.load(Ordering::Acquire);
        if lead == 0 {
            return Ok(());
        }
        let now = self.clock.now();
        if now.0 < self.found_at.load(Ordering::Acquire) {
            return Ok(());
        }
        let theirs = Micros(now.0.saturating_sub(lead));
        if version.time() > theirs.plus(LIMIT) {
            return Err(NodeError::Ahead(version.time().since(theirs).as_secs()));
        }
        Ok(())
    }

    /// Whether the time at any other node is known.
    pub(crate) fn compared(&self) -> bool {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        !others.is_empty()
    }

    /// What is wrong with this node's clock, in words: it differs from most of
    /// the others.
    pub(crate) fn trouble(&self) -> Option<String> {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = i64::try_from(LIMIT.as_micros()).unwrap_or(i64::MAX);
        let mut far: Vec<i64> = others
            .values()
            .copied()
            .filter(|ahead| ahead.abs() > limit)
            .collect();
        if 2 * far.len() <= others.len() {
            return None;
        }
        far.sort_unstable();
        let middle = far.get(far.len() / 2).copied()?;
        let seconds = middle.unsigned_abs() / 1_000_000;
        let which = if middle > 0 { "behind" } else { "ahead of" };
        Some(format!(
            "the clock is {seconds} s {which} that of {} of {} other nodes: set it, nothing expires until then",
            far.len(),
            others.len()
        ))
    }
}

#[cfg(test)]
mod tests {
    use virga_node::clock::ManualClock;

    use super::*;

    const YEAR: Duration = Duration::from_secs(365 * 86_400);

    fn device(port: u16) -> Device {
        Device {
            id: virga_ring::DeviceId(0),
            region: 1,
            zone: 1,
            ip: "10.0.0.1".to_owned(),
            port,
            replication_ip: String::new(),
            replication_port: 0,
            device: "d1".to_owned(),
            weight: 1.0,
            meta: String::new(),
            extra: BTreeMap::new(),
        }
    }

    #[test]
    fn a_clock_that_is_ahead_of_most_others_admits_only_what_they_would() {
        let start = Micros(0).plus(50 * YEAR);
        let clock = Arc::new(ManualClock::new(start.plus(YEAR)));
        let clocks = Clocks::new(clock.clone());
        let (theirs, own) = (Version::at(start), Version::at(start.plus(YEAR)));
        clocks.note(&device(1), start);
        assert_eq!(clocks.admit(own), Ok(()), "of two nobody can tell who is wrong");
        clocks.note(&device(2), start.plus(YEAR));
        assert_eq!(clocks.admit(own), Ok(()), "one of two others agrees");
        clocks.note(&device(2), start);
        assert_eq!(clocks.admit(own), Err(NodeError::Ahead(YEAR.as_secs())));
        assert_eq!(clocks.admit(theirs), Ok(()));
        assert_eq!(clocks.admit(Version::at(start.plus(LIMIT))), Ok(()));
        clock.set(start);
        assert_eq!(clocks.admit(theirs), Ok(()), "set right, and not compared yet");
        clock.set(start.plus(2 * YEAR));
        clocks.note(&device(1), start.plus(2 * YEAR));
        assert_eq!(clocks.admit(Version::at(start.plus(2 * YEAR))), Ok(()));
    }

    #[test]
    fn a_clock_behind_the_others_admits_what_it_always_does() {
        let start = Micros(0).plus(50 * YEAR);
        let clocks = Clocks::new(Arc::new(ManualClock::new(start)));
        for port in 1..4 {
            clocks.note(&device(port), start.plus(YEAR));
        }
        assert_eq!(
            clocks.admit(Version::at(start.plus(YEAR))),
            Ok(()),
            "its device refuses it"
        );
    }

    #[test]
    fn a_clock_that_differs_from_most_others_is_off_and_well_again_when_set() {
        let start = Micros(0).plus(50 * YEAR);
        let clock = Arc::new(ManualClock::new(start));
        let clocks = Clocks::new(clock.clone());
        assert_eq!((clocks.trouble(), clocks.compared()), (None, false));
        clocks.note(&device(1), start.plus(Duration::from_secs(59)));
        assert_eq!((clocks.trouble(), clocks.compared()), (None, true));
        // Another one is off: not this node's fault.
        clocks.note(&device(2), start.plus(YEAR));
        assert_eq!(clocks.trouble(), None);
        clocks.note(&device(1), start.plus(YEAR));
        let words = clocks.trouble().unwrap();
        assert!(words.contains("31536000 s behind that of 2 of 2"), "{words}");
        clock.set(start.plus(2 * YEAR));
        clocks.note(&device(1), start.plus(YEAR));
        clocks.note(&device(2), start.plus(YEAR));
        let words = clocks.trouble().unwrap();
        assert!(words.contains("31536000 s ahead of that of 2 of 2"), "{words}");
        clock.set(start.plus(YEAR));
        clocks.note(&device(1), start.plus(YEAR));
        assert_eq!(clocks.trouble(), None);
    }
}
