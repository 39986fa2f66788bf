//! Which appends a device sees, and so which spares pay.
//!
//! The first write to a block that is only reserved changes the file's extents,
//! and its sync has to write that too: dear for a few kilobytes, nothing beside a megabyte. Zeros
//! written ahead spare small appends that; large ones would see the device write everything twice.
//! Kept by [`super::table`], told by the writers of logs.
use std::sync::atomic::{AtomicU64, Ordering};

use crate::io::{Fill, SMALL};

/// After this many appends the older ones count half.
const WINDOW: u64 = 64;
/// Large appends there must be to a small one before spares are only reserved: a small
/// one in such a segment waits until zeros are written ahead of it.
const TO_ONE: u64 = 8;

/// How many appends of each kind there were lately.
#[derive(Default)]
pub(super) struct Appends {
    small: AtomicU64,
    large: AtomicU64,
}

impl Appends {
    /// Counts one of so many bytes. Counts of several writers at the same moment
    /// may be lost: only speed hangs on them.
    pub(super) fn note(&self, bytes: u64) {
        let kind = if bytes > SMALL { &self.large } else { &self.small };
        kind.fetch_add(1, Ordering::Relaxed);
        let (small, large) = self.lately();
        if small + large >= WINDOW {
            self.small.store(small / 2, Ordering::Relaxed);
            self.large.store(large / 2, Ordering::Relaxed);
        }
    }

    fn lately(&self) -> (u64, u64) {
        (
            self.small.load(Ordering::Relaxed),
            self.large.load(Ordering::Relaxed),
        )
    }

    /// How the next spare gets its blocks.
    pub(super) fn fill(&self) -> Fill {
        let (small, large) = self.lately();
        if large > TO_ONE * small {
            Fill::Reserve
        } else {
            Fill::Zero
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spares_are_zeroed_unless_nearly_all_appends_are_large() {
        let appends = Appends::default();
        assert_eq!(appends.fill(), Fill::Zero, "nothing is known yet");
        appends.note(SMALL + 1);
        assert_eq!(appends.fill(), Fill::Reserve);
        appends.note(SMALL);
        assert_eq!(appends.fill(), Fill::Zero);
        for _ in 0..2 * WINDOW {
            appends.note(SMALL + 1);
        }
        assert_eq!(appends.fill(), Fill::Reserve, "one small one long ago");
        for _ in 0..WINDOW {
            appends.note(1);
        }
        assert_eq!(appends.fill(), Fill::Zero, "small ones again");
    }
}
