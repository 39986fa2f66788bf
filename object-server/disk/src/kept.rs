//! What a device keeps for an operator to look at: copies of damaged bytes in `bad/`, copies of objects that may have
//! been deleted elsewhere in `stale/`.
//!
//! Listed, read and removed here for `virga admin`; they are written by [`crate::device::Device::quarantine`] and
//! [`crate::aside`]. Nothing that is served depends on them.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::SystemTime;

use crate::device::Device;

/// Which folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// `bad`: bytes that failed verification, by segment and offset.
    Bad,
    /// `stale`: objects set aside by reconciliation, each with a line that says what it is.
    Stale,
}

/// How the name of an unfinished copy ends.
const TEMPORARY: &str = ".tmp";
/// Longest first line read, bytes.
const LINE: u64 = 64 << 10;

/// A file that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFile {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, seconds since 1970.
    pub written: u64,
}

impl Keep {
    fn folder(self) -> &'static str {
        match self {
            Keep::Bad => "bad",
            Keep::Stale => "stale",
        }
    }
}

impl Device {
    /// When files last came or went; `None` while there is no such folder.
    ///
    /// # Errors
    /// What the file system says.
    pub fn kept_changed(&self, keep: Keep) -> io::Result<Option<SystemTime>> {
        match fs::metadata(self.path().join(keep.folder())) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found?.modified().map(Some),
        }
    }

    /// How many files are kept.
    ///
    /// # Errors
    /// What the file system says.
    pub fn kept_count(&self, keep: Keep) -> io::Result<u64> {
        let mut count = 0;
        walk(&self.path().join(keep.folder()), |_| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    /// At most `limit` files behind the name `after`, by name.
    ///
    /// # Errors
    /// What the file system says.
    pub fn kept_list(&self, keep: Keep, after: &str, limit: usize) -> io::Result<Vec<KeptFile>> {
        let folder = self.path().join(keep.folder());
        let mut names = Vec::new();
        walk(&folder, |name| {
            if name > after {
                names.push(name.to_owned());
            }
            Ok(())
        })?;
        names.sort();
        names.truncate(limit);
        let mut files = Vec::new();
        for name in names {
            match fs::metadata(folder.join(&name)) {
                Ok(found) => {
                    let written = found.modified()?.duration_since(SystemTime::UNIX_EPOCH);
                    files.push(KeptFile {
                        name,
                        size: found.len(),
                        written: written.map_or(0, |since| since.as_secs()),
                    });
                }
                // Removed meanwhile.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(files)
    }

    /// The first `most` bytes of a file.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is no file of the folder; what the file system says.
    pub fn kept_read(&self, keep: Keep, name: &str, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.kept_open(keep, name)?.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The first line of an object set aside, and the file behind it.
    ///
    /// # Errors
    /// As [`Device::kept_read`].
    pub fn kept_object(&self, name: &str) -> io::Result<(String, BufReader<File>)> {
        let mut file = BufReader::new(self.kept_open(Keep::Stale, name)?);
        let mut line = Vec::new();
        (&mut file).take(LINE).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it does not begin with a line",
            ));
        }
        Ok((String::from_utf8_lossy(&line).into_owned(), file))
    }

    fn kept_open(&self, keep: Keep, name: &str) -> io::Result<File> {
        check(name)?;
        File::open(self.path().join(keep.folder()).join(name))
    }

    /// Removes a file; says whether it was there.
    ///
    /// # Errors
    /// As [`Device::kept_read`].
    pub fn kept_remove(&self, keep: Keep, name: &str) -> io::Result<bool> {
        check(name)?;
        let path = self.path().join(keep.folder()).join(name);
        let size = match fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            found => found?.len(),
        };
        fs::remove_file(path)?;
        if keep == Keep::Bad {
            self.quarantine_freed(size);
        }
        Ok(true)
    }
}

/// Names come from outside: nothing but a file of the folder itself.
fn check(name: &str) -> io::Result<()> {
    let odd = name.is_empty() || name.starts_with('.') || name.contains('/') || name.contains('\0');
    match odd {
        true => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} is not the name of a file that is kept"),
        )),
        false => Ok(()),
    }
}

fn walk(folder: &Path, mut each: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !name.ends_with(TEMPORARY) {
            each(&name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::device::Description;

    fn device(dir: &Path) -> Device {
        let fresh = Description::new(Uuid::from_u128(1), Uuid::from_u128(2), [3; 8]);
        Device::open(dir, fresh).unwrap()
    }

    #[test]
    fn kept_files_are_listed_page_by_page_read_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let device = device(dir.path());
        assert_eq!(device.kept_count(Keep::Bad).unwrap(), 0);
        for offset in 0..5 {
            device.quarantine(1, offset * 8, b"rot").unwrap();
        }
        let first = device.kept_list(Keep::Bad, "", 3).unwrap();
        let second = device.kept_list(Keep::Bad, &first[2].name, 3).unwrap();
        assert_eq!((first.len(), second.len()), (3, 2));
        assert_eq!(first[0].size, 3);
        assert_eq!(device.kept_read(Keep::Bad, &first[0].name, 2).unwrap(), b"ro");
        assert!(device.kept_remove(Keep::Bad, &first[0].name).unwrap());
        assert!(!device.kept_remove(Keep::Bad, &first[0].name).unwrap());
        assert_eq!(device.kept_count(Keep::Bad).unwrap(), 4);
    }

    #[test]
    fn names_never_lead_out_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let device = device(dir.path());
        for name in ["", "../device.json", "/etc/passwd", ".", "a/b"] {
            let refused = device.kept_read(Keep::Stale, name, 9).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{name}");
            assert!(device.kept_remove(Keep::Stale, name).is_err(), "{name}");
        }
    }

    #[test]
    fn an_object_set_aside_is_a_line_and_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let device = device(dir.path());
        let mut aside = device.set_aside("0-aa-1", "what it is").unwrap();
        aside.write(b"its\nbytes").unwrap();
        aside.finish().unwrap();
        let (line, mut rest) = device.kept_object("0-aa-1").unwrap();
        let mut bytes = Vec::new();
        rest.read_to_end(&mut bytes).unwrap();
        assert_eq!(
            (line.as_str(), bytes.as_slice()),
            ("what it is", &b"its\nbytes"[..])
        );
    }

    #[test]
    fn a_copy_counts_when_it_is_finished_and_tells_when_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let device = device(dir.path());
        assert_eq!(device.kept_changed(Keep::Stale).unwrap(), None);
        let aside = device.set_aside("0-aa-1", "what it is").unwrap();
        assert_eq!(device.kept_count(Keep::Stale).unwrap(), 0);
        assert!(device.kept_list(Keep::Stale, "", 9).unwrap().is_empty());
        aside.finish().unwrap();
        let changed = device.kept_changed(Keep::Stale).unwrap().unwrap();
        let listed = device.kept_list(Keep::Stale, "", 9).unwrap();
        let age = changed.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!((listed.len(), listed[0].size), (1, 11));
        assert!(
            age.abs_diff(listed[0].written) <= 60,
            "{} and {age}",
            listed[0].written
        );
        // Nothing of the other folder is touched.
        assert_eq!(device.kept_count(Keep::Bad).unwrap(), 0);
        assert!(device.kept_remove(Keep::Stale, "0-aa-1").unwrap());
        assert_eq!(device.kept_count(Keep::Stale).unwrap(), 0);
    }

    #[test]
    fn a_file_without_a_first_line_is_no_object() {
        let dir = tempfile::tempdir().unwrap();
        let device = device(dir.path());
        fs::create_dir_all(dir.path().join("stale")).unwrap();
        for (name, text) in [("empty", ""), ("endless", "no line"), ("hidden\0", "")] {
            if !name.contains('\0') {
                fs::write(dir.path().join("stale").join(name), text).unwrap();
            }
            assert!(device.kept_object(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn removing_damaged_bytes_makes_room_for_others() {
        let dir = tempfile::tempdir().unwrap();
        let device = device(dir.path());
        let most = crate::device::QUARANTINE_BYTES;
        device.quarantine(1, 0, b"rot").unwrap();
        fs::File::options()
            .write(true)
            .open(dir.path().join("bad/0000000000000001-00000000"))
            .unwrap()
            .set_len(most)
            .unwrap();
        drop(device);
        // Sparse: it counts for what it says it is.
        let device = self::device(dir.path());
        assert!(!device.quarantine(2, 0, b"rot").unwrap());
        assert!(
            device
                .kept_remove(Keep::Bad, "0000000000000001-00000000")
                .unwrap()
        );
        assert!(device.quarantine(2, 0, b"rot").unwrap());
    }
}
