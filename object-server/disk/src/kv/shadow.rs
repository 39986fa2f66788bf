//! A database whose file system takes no writes, opened through a folder elsewhere.
//!
//! Even a database that is only read wants to write at its opening: it replays its log and begins a manifest. So its
//! small files are copied to a folder of the system's temporary one, its tables are linked from there, and all that it
//! writes stays there and is gone with the process. Made by [`super::Kv::open`] when the file system refuses writes.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Folders tried before giving up: names left by earlier processes of the same number are passed over.
const TRIES: u64 = 1000;

/// The folder elsewhere; dropping it removes it.
pub(super) struct Shadow(PathBuf);

impl Shadow {
    /// With nothing in it.
    pub fn empty() -> io::Result<Shadow> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let all = std::env::temp_dir();
        for _ in 0..TRIES {
            let nth = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = all.join(format!("virga-read-only-{}-{nth}", std::process::id()));
            // Never one that is there: it might be somebody else's trap.
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Shadow(path)),
            }
        }
        Err(io::Error::other(format!("no free name in {}", all.display())))
    }

    /// With what is at `path`, which may be nothing: its tables linked, the rest copied.
    pub fn of(path: &Path) -> io::Result<Shadow> {
        let shadow = Shadow::empty()?;
        if !path.is_dir() {
            return Ok(shadow);
        }
        // A link says where its target is as seen from the link.
        let path = path.canonicalize()?;
        for entry in fs::read_dir(&path)? {
            let name = entry?.file_name();
            let (from, to) = (path.join(&name), shadow.0.join(&name));
            match name.to_string_lossy() {
                name if name.ends_with(".sst") => symlink(from, to)?,
                name if name == "LOCK" || name.starts_with("LOG") => {}
                _ if from.is_file() => drop(fs::copy(from, to)?),
                _ => {}
            }
        }
        Ok(shadow)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a temporary copy of a database stays behind");
        }
    }
}
