//! Room kept so that databases can be opened on a file system that is full.
//!
//! Opening writes a manifest and what the log held, so a device that somebody else filled to the brim could not even
//! be read after a restart. A file of no use lies beside the databases of a device; [`super::Kv::open`] removes it when
//! there is no room, and puts it back at a later opening.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use crate::io::file;

/// Its name in the folder that the database's folder is in.
const NAME: &str = "ballast";
/// Its size in bytes: a few memtables.
const SIZE: u64 = 8 << 20;
/// It is laid only where this many times its size is free.
const FREE: u64 = 16;

fn place(database: &Path) -> Option<PathBuf> {
    database.parent().map(|folder| folder.join(NAME))
}

/// Lays it beside a database, if it is not there and there is room. That it cannot be laid is no reason to fail.
pub(super) fn lay(database: &Path) {
    let Some(path) = place(database) else { return };
    let laid = match file::space(path.parent().unwrap_or(database)) {
        Ok(space) if space.free >= FREE * SIZE => allocate(&path),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = laid {
        tracing::debug!(path = %path.display(), %error, "no ballast laid");
    }
}

fn allocate(path: &Path) -> io::Result<()> {
    let file: File = match OpenOptions::new().write(true).create_new(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        opened => opened?,
    };
    fallocate(&file, FallocateFlags::empty(), 0, SIZE).inspect_err(|_| {
        // Half of it is no help.
        let _ = fs::remove_file(path);
    })?;
    Ok(())
}

/// Gives its room to the database; whether there was any.
pub(super) fn give(database: &Path) -> bool {
    let given = place(database).is_some_and(|path| fs::remove_file(path).is_ok());
    if given {
        tracing::warn!(database = %database.display(), "no room to open the database: what was kept for that is used up");
    }
    given
}
