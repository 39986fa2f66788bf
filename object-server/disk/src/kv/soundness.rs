//! Whether the files of a database contradict themselves, remembered for its next opening.
//!
//! Files are checked little by little, so damage may show long after the opening. A derived database is then made anew
//! at the next one instead of failing at the same place again; a mark in its folder says so. Asked by [`super::Kv`].

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::KvError;

/// Name of the mark.
const MARK: &str = "DAMAGED";

/// See the module.
pub(super) struct Soundness {
    damaged: AtomicBool,
    /// Where the mark goes, if there is to be one.
    mark: Option<PathBuf>,
}

impl Soundness {
    /// Of a database that is open; `derived` from something else, at this path.
    pub fn of(derived: Option<&Path>) -> Soundness {
        Soundness {
            damaged: AtomicBool::new(false),
            mark: derived.map(|path| path.join(MARK)),
        }
    }

    /// Whether there is a mark in a folder.
    pub fn is_marked(path: &Path) -> bool {
        path.join(MARK).exists()
    }

    /// What an error means, noted if it is damage.
    pub fn judge(&self, error: rocksdb::Error) -> KvError {
        let error = KvError::from(error);
        if let KvError::Damaged(_) = error {
            self.condemn();
        }
        error
    }

    /// Takes note of damage.
    pub fn condemn(&self) {
        if self.damaged.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(mark) = &self.mark else { return };
        // Without it the next opening fails at the same place and says so.
        if let Err(error) = File::create(mark).and_then(|file| file.sync_all()) {
            tracing::warn!(path = %mark.display(), %error, "a damaged database cannot be marked");
        }
    }

    /// Whether damage was met.
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }
}
