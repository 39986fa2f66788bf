//! How many files a device keeps for an operator, counted when their folders
//! change: `virga status` shows it, and asking must not walk them each time.
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use virga_disk::device::Device as Folder;
use virga_disk::kept::Keep;

/// A folder's change time as last seen, and how many files were in it.
type Seen = Mutex<(Option<SystemTime>, u64)>;

/// Counts of `bad/` and `stale/`.
#[derive(Debug, Default)]
pub struct Kept {
    bad: Seen,
    stale: Seen,
}

impl Kept {
    /// Counts again what has changed. Blocks on the device.
    ///
    /// # Errors
    /// What the file system says.
    pub fn count(&self, folder: &Folder) -> std::io::Result<()> {
        for (keep, seen) in [(Keep::Bad, &self.bad), (Keep::Stale, &self.stale)] {
            let changed = folder.kept_changed(keep)?;
            let before = seen.lock().unwrap_or_else(PoisonError::into_inner).0;
            if changed != before {
                let count = folder.kept_count(keep)?;
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = (changed, count);
            }
        }
        Ok(())
    }

    /// Files in `bad/` and in `stale/`, as last counted.
    pub fn counts(&self) -> (u64, u64) {
        let of = |seen: &Seen| seen.lock().unwrap_or_else(PoisonError::into_inner).1;
        (of(&self.bad), of(&self.stale))
    }
}
