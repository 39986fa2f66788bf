//! Whether this node's clock agrees with those of the nodes that it compares
//! replicas with.
//!
//! Versions that lie ahead are refused one by one (`Ahead`); that does not help a
//! node whose own clock is wrong. One that runs ahead would delete objects before they
//! expire, and forget deletions too early; one that is behind refuses what others
//! write. So every answer about a whole device says what time it is there. A node
//! that differs from most of the others by more than a minute expires and forgets
//! nothing, completes no round, and says so in its status.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use virga_node::clock::{Clock, Micros};
use virga_ring::Device;

/// Differences up to this are usual: versions may lie as far ahead.
const LIMIT: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct Clocks {
    clock: Arc<dyn Clock>,
    /// By address: how far the node is ahead of this one, in microseconds.
    others: Mutex<BTreeMap<(String, u16), i64>>,
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
        }
    }

    /// Takes note of the time at another node, which has just answered.
    pub(crate) fn note(&self, device: &Device, theirs: Micros) {
        let ahead = between(theirs, self.clock.now());
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.insert((device.ip.clone(), device.port), ahead);
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
    fn a_clock_that_differs_from_most_others_is_off_and_well_again_when_set() {
        let start = Micros(0).plus(50 * YEAR);
        let clock = Arc::new(ManualClock::new(start));
        let clocks = Clocks::new(clock.clone());
        assert_eq!(clocks.trouble(), None, "nobody to compare with");
        clocks.note(&device(1), start.plus(Duration::from_secs(59)));
        assert_eq!(clocks.trouble(), None);
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
