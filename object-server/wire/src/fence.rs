//! Refuses requests that go by a ring that has been given up.
//!
//! A proxy that never heard of a ring change would write to where nobody looks
//! any more, and read what others have replaced. So every request says which
//! ring it was placed by ([`At::ring`](crate::object::At)), and every node
//! looks, before anything else:
//!
//! - the ring it uses itself: goes on;
//! - one that it used until a moment ago (the grace): goes on, so that hosts
//!   need not get a new ring at the same instant;
//! - any other of a lower version: [`NodeError::RingGivenUp`]. The caller takes
//!   the newer ring from this node ([`crate::exchange`]) and asks again;
//! - a higher version: goes on, as whoever knows the newer ring minds the
//!   earlier one for as long as any device goes by it. The node is to get it.
//!
//! Versions decide, and of two different rings of one version none is refused:
//! which of them is right only an operator knows (reconciliation says so).
//! The grace begins when a node sees its ring change while it runs; one that
//! starts honours no other ring than that it starts with.
//!
//! A device notes a round of reconciliation only if the fence was closed when it
//! began ([`RingFence::is_closed`]): then nothing placed by an earlier ring can
//! have come after the round passed, and proxies that see all devices done may
//! forget that ring.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use virga_ring::{RingEpoch, RingHandle};

use crate::error::NodeError;
use crate::movement::{NewerRing, RingName};

/// Most earlier rings honoured at a time; a handle keeps no more either.
const MOST_EARLIER: usize = 16;

/// One ring, as far as the fence knows it.
struct Watched {
    handle: Arc<RingHandle>,
    past: Mutex<Past>,
}

/// Rings before the current one.
struct Past {
    current: RingEpoch,
    /// Each with the end of its grace.
    earlier: Vec<(RingEpoch, Instant)>,
}

/// See the module. One for each node.
pub struct RingFence {
    rings: BTreeMap<RingName, Watched>,
    grace: Duration,
    /// The highest version heard of and not used yet, by ring; where it may be
    /// had, if that was said.
    newer: Mutex<BTreeMap<RingName, (u64, Option<NewerRing>)>>,
    heard: Notify,
}

impl RingFence {
    /// A fence for these rings. `grace`: how long an earlier ring is honoured.
    pub fn new(rings: impl IntoIterator<Item = (RingName, Arc<RingHandle>)>, grace: Duration) -> Self {
        let watched = |(name, handle): (RingName, Arc<RingHandle>)| {
            let past = Past {
                current: handle.id().epoch(),
                earlier: Vec::new(),
            };
            let past = Mutex::new(past);
            (name, Watched { handle, past })
        };
        Self {
            rings: rings.into_iter().map(watched).collect(),
            grace,
            newer: Mutex::default(),
            heard: Notify::new(),
        }
    }

    /// Whether a request that goes by `asked` may go on. A few nanoseconds when
    /// asker and node use the same ring.
    ///
    /// # Errors
    /// [`NodeError::RingGivenUp`].
    pub fn check(&self, ring: RingName, asked: RingEpoch) -> Result<(), NodeError> {
        let Some(watched) = self.rings.get(&ring) else {
            return Ok(());
        };
        let current = watched.handle.id().epoch();
        if asked == current || asked == RingEpoch::NONE {
            return Ok(());
        }
        self.check_other(ring, watched, asked, current)
    }

    #[cold]
    fn check_other(
        &self,
        ring: RingName,
        watched: &Watched,
        asked: RingEpoch,
        current: RingEpoch,
    ) -> Result<(), NodeError> {
        if asked.version > current.version {
            self.note_newer(ring, asked.version, None);
            return Ok(());
        }
        let past = watched.look(current, self.grace);
        if asked.version == current.version || past.earlier.iter().any(|(epoch, _)| *epoch == asked) {
            return Ok(());
        }
        Err(NodeError::RingGivenUp {
            ring,
            version: current.version,
        })
    }

    /// Whether no earlier ring is honoured any more.
    pub fn is_closed(&self, ring: RingName) -> bool {
        self.rings.get(&ring).is_none_or(|watched| {
            let current = watched.handle.id().epoch();
            watched.look(current, self.grace).earlier.is_empty()
        })
    }

    /// Takes note that somebody has a newer ring.
    pub fn hear(&self, newer: NewerRing) {
        let used = self.rings.get(&newer.ring).map(|watched| watched.handle.id());
        if used.is_some_and(|used| used.version < newer.version) {
            self.note_newer(newer.ring, newer.version, Some(newer));
        }
    }

    fn note_newer(&self, ring: RingName, version: u64, from: Option<NewerRing>) {
        let mut newer = self.newer.lock().unwrap_or_else(PoisonError::into_inner);
        let known = newer.entry(ring).or_insert((0, None));
        if version > known.0 || (version == known.0 && known.1.is_none() && from.is_some()) {
            *known = (version, from);
            self.heard.notify_one();
        }
    }

    /// Waits until a newer ring has been heard of: its name, its version and,
    /// if known, who has it. Each is told once, unless it is heard of again
    /// after [`RingFence::forget`].
    pub async fn heard(&self) -> Vec<(RingName, u64, Option<NewerRing>)> {
        loop {
            self.heard.notified().await;
            let newer = self.newer.lock().unwrap_or_else(PoisonError::into_inner);
            let newer: Vec<_> = newer
                .iter()
                .map(|(ring, (version, from))| (*ring, *version, from.clone()))
                .collect();
            if !newer.is_empty() {
                return newer;
            }
        }
    }

    /// Forgets what was heard of a ring: it is in use now, or could not be had
    /// and is to be heard of anew.
    pub fn forget(&self, ring: RingName) {
        let mut newer = self.newer.lock().unwrap_or_else(PoisonError::into_inner);
        newer.remove(&ring);
    }
}

impl Watched {
    /// Brings what is known up to date and lets go of what is over.
    fn look(&self, current: RingEpoch, grace: Duration) -> MutexGuard<'_, Past> {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if past.current != current {
            let before = std::mem::replace(&mut past.current, current);
            past.earlier.push((before, now + grace));
            past.earlier.retain(|(epoch, _)| *epoch != current);
            let surplus = past.earlier.len().saturating_sub(MOST_EARLIER);
            past.earlier.drain(..surplus);
        }
        past.earlier.retain(|(_, until)| *until > now);
        past
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::tests::ring;

    const OBJECTS: RingName = RingName::Object(0);
    const GRACE: Duration = Duration::from_secs(60);

    fn fence(handle: &Arc<RingHandle>) -> RingFence {
        RingFence::new([(OBJECTS, Arc::clone(handle))], GRACE)
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_ring_is_honoured_for_the_grace_and_then_refused() {
        let handle = Arc::new(RingHandle::new(ring(1, 0)));
        let fence = fence(&handle);
        let old = handle.epoch();
        assert!(fence.is_closed(OBJECTS));
        assert_eq!(fence.check(OBJECTS, old), Ok(()));
        handle.swap(ring(2, 0));
        assert!(!fence.is_closed(OBJECTS));
        assert_eq!(fence.check(OBJECTS, old), Ok(()));
        assert_eq!(fence.check(OBJECTS, handle.id().epoch()), Ok(()));
        tokio::time::advance(GRACE + Duration::from_millis(1)).await;
        assert!(fence.is_closed(OBJECTS));
        let refused = NodeError::RingGivenUp {
            ring: OBJECTS,
            version: 2,
        };
        assert_eq!(fence.check(OBJECTS, old), Err(refused));
        // Whoever minds the old ring and the new one is let through.
        assert_eq!(fence.check(OBJECTS, handle.epoch()), Ok(()));
        assert_eq!(fence.check(OBJECTS, RingEpoch::NONE), Ok(()));
        assert_eq!(fence.check(RingName::Account, old), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_ring_of_long_ago_has_no_grace() {
        let handle = Arc::new(RingHandle::new(ring(5, 0)));
        let fence = fence(&handle);
        let ancient = RingHandle::new(ring(3, 0)).epoch();
        handle.swap(ring(6, 0));
        assert!(fence.check(OBJECTS, ancient).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn another_ring_of_the_same_version_is_an_operators_business() {
        let handle = Arc::new(RingHandle::new(ring(5, 0)));
        let fence = fence(&handle);
        let twin = RingHandle::new(ring(5, 1)).epoch();
        assert_ne!(twin, handle.epoch());
        assert_eq!(fence.check(OBJECTS, twin), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_newer_ring_is_heard_of_once_and_again_after_it_was_forgotten() {
        let handle = Arc::new(RingHandle::new(ring(1, 0)));
        let fence = fence(&handle);
        let newer = RingHandle::new(ring(4, 0)).epoch();
        for _ in 0..3 {
            assert_eq!(fence.check(OBJECTS, newer), Ok(()));
        }
        assert_eq!(fence.heard().await, [(OBJECTS, 4, None)]);
        assert_eq!(fence.check(OBJECTS, newer), Ok(()));
        let again = tokio::time::timeout(Duration::from_secs(5), fence.heard()).await;
        assert!(again.is_err(), "told twice");
        let from = NewerRing {
            ring: OBJECTS,
            version: 4,
            ip: "10.0.0.9".into(),
            port: 6200,
        };
        fence.hear(from.clone());
        assert_eq!(fence.heard().await, [(OBJECTS, 4, Some(from.clone()))]);
        fence.forget(OBJECTS);
        assert_eq!(fence.check(OBJECTS, newer), Ok(()));
        assert_eq!(fence.heard().await, [(OBJECTS, 4, None)]);
        fence.forget(OBJECTS);
        handle.swap(ring(4, 0));
        fence.hear(from);
        let again = tokio::time::timeout(Duration::from_secs(5), fence.heard()).await;
        assert!(again.is_err(), "what is in use is no news");
    }
}
