//! Clients go first: how much is being asked of a device right now, and how what
//! it does for itself gives way to that.
//!
//! The object server counts the calls that it makes for clients; the upkeep asks
//! before it compacts or scrubs, and the workers before they move anything. All of
//! it goes on under any load, only slower: a device that never repairs itself
//! would serve nobody in the end.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::space::Room;

/// Queued bytes that weigh as much as a call.
const CALL: u64 = 1 << 20;
/// While there is room, compaction rests this many times as long as it worked:
/// 20 % of the device.
const REST: u32 = 4;
/// More calls than this slow nothing down further.
const MOST: usize = 8;

/// Calls for clients on one device.
#[derive(Debug, Default)]
pub struct Foreground(AtomicUsize);

/// A call, until it is answered.
#[derive(Debug)]
pub struct Serving(Arc<Foreground>);

impl Foreground {
    /// A call begins.
    pub fn serve(self: &Arc<Self>) -> Serving {
        self.0.fetch_add(1, Ordering::Relaxed);
        Serving(Arc::clone(self))
    }

    /// Calls being carried out, and what is `queued` for the device in bytes as if
    /// it were calls.
    pub fn waiting(&self, queued: u64) -> usize {
        let queued = usize::try_from(queued / CALL).unwrap_or(usize::MAX);
        self.0.load(Ordering::Relaxed).saturating_add(queued)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many times as long as it worked compaction rests. Without room it is what
/// clients wait for.
pub(crate) fn compaction_rest(room: Room, waiting: usize) -> u32 {
    let more = u32::try_from(waiting.min(MOST)).unwrap_or(0);
    match room {
        Room::Plenty => REST + REST * more,
        Room::Scarce | Room::None => 0,
    }
}

/// Whether a segment that has been due for so long is scrubbed now: when nobody
/// waits, and else after another `rest`, so that a pass takes at most twice as long.
pub(crate) fn may_scrub(due_for: Duration, rest: Duration, waiting: usize) -> bool {
    waiting == 0 || due_for >= rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn calls_count_until_they_are_answered_and_queued_bytes_like_calls() {
        let foreground = Arc::new(Foreground::default());
        assert_eq!(foreground.waiting(CALL - 1), 0);
        let (one, other) = (foreground.serve(), foreground.serve());
        assert_eq!(foreground.waiting(3 * CALL), 5);
        drop(one);
        assert_eq!(foreground.waiting(0), 1);
        drop(other);
        assert_eq!(foreground.waiting(0), 0);
    }

    #[test]
    fn compaction_rests_longer_the_more_wait_but_not_when_they_wait_for_room() {
        let rests = [0, 1, 3, 8, 1000].map(|waiting| compaction_rest(Room::Plenty, waiting));
        assert_eq!(rests, [4, 8, 16, 36, 36]);
        for room in [Room::Scarce, Room::None] {
            assert_eq!(compaction_rest(room, 1000), 0);
        }
    }

    #[test]
    fn the_scrub_waits_for_a_quiet_moment_and_not_for_ever() {
        let rest = 100 * SECOND;
        assert!(may_scrub(Duration::ZERO, rest, 0));
        assert!(!may_scrub(99 * SECOND, rest, 1));
        assert!(may_scrub(rest, rest, 1000));
    }
}
