//! Objects set aside: whole copies under `stale/` of names that may have been deleted elsewhere and are served no
//! longer, for an operator to look at and to delete.
//!
//! Written by the object store while it reconciles with its peers. A file is one line of text that says what it is,
//! then the bytes of the object.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::io::file;

/// How the name of an unfinished copy ends.
const TEMPORARY: &str = ".tmp";

/// A copy in the making; dropping it unfinished leaves nothing.
pub struct Aside {
    folder: PathBuf,
    name: String,
    /// Taken when finished.
    file: Option<File>,
}

/// Starts a copy named `name` in `folder`, with its first line.
pub(crate) fn begin(folder: PathBuf, name: &str, line: &str) -> io::Result<Aside> {
    fs::create_dir_all(&folder)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(temporary(&folder, name))?;
    let mut aside = Aside {
        folder,
        name: name.to_owned(),
        file: Some(file),
    };
    aside.write(line.as_bytes())?;
    aside.write(b"\n")?;
    Ok(aside)
}

/// How many copies there are whose names start with `prefix`.
pub(crate) fn count(folder: &Path, prefix: &str) -> io::Result<u64> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut count = 0;
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        count += u64::from(name.starts_with(prefix) && !name.ends_with(TEMPORARY));
    }
    Ok(count)
}

fn temporary(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}{TEMPORARY}"))
}

impl Aside {
    /// Appends bytes of the object. Blocks on the device.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => Ok(()),
        }
    }

    /// Makes the copy durable under its name. Blocks on the device.
    ///
    /// # Errors
    /// What the file system says.
    pub fn finish(mut self) -> io::Result<()> {
        let Some(written) = self.file.take() else {
            return Ok(());
        };
        written.sync_all()?;
        fs::rename(temporary(&self.folder, &self.name), self.folder.join(&self.name))?;
        file::sync_dir(&self.folder)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // What cannot be removed is overwritten by the next try.
            let _ = fs::remove_file(temporary(&self.folder, &self.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_counts_once_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("stale");
        assert_eq!(count(&folder, "0-").unwrap(), 0);
        let mut given_up = begin(folder.clone(), "0-aa-1", "{}").unwrap();
        given_up.write(b"half").unwrap();
        assert_eq!(count(&folder, "0-").unwrap(), 0);
        drop(given_up);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        let mut whole = begin(folder.clone(), "0-aa-1", r#"{"path":"a/c/o"}"#).unwrap();
        whole.write(b"bytes").unwrap();
        whole.finish().unwrap();
        assert_eq!(count(&folder, "0-").unwrap(), 1);
        assert_eq!(count(&folder, "1-").unwrap(), 0);
        let kept = fs::read(folder.join("0-aa-1")).unwrap();
        assert_eq!(kept, b"{\"path\":\"a/c/o\"}\nbytes");
    }
}
