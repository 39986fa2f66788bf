//! The file that is verified: values of its parts, on all cores, each group of
//! bytes read once.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use virga_proxy::proof::{ChainingValue, tree};

/// Bytes that are hashed at a time, and whose values are kept: a power of two chunks.
const GROUP: u64 = 1 << 20;
/// Most threads.
const THREADS: usize = 16;
/// From so many bytes on, a bar shows how far it is.
const LONG: u64 = 256 << 20;

/// A file, which begins at some byte of the object.
pub struct Local {
    path: PathBuf,
    file: File,
    length: u64,
    begins_at: u64,
    /// Values of groups of the object that were hashed.
    groups: BTreeMap<u64, ChainingValue>,
}

fn failed(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// At most `limit` bytes of a file.
///
/// # Errors
/// A sentence for the person who asked.
pub fn read_bounded(path: &Path, limit: usize) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| failed(path, &error))?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(path, &error))?;
    Ok(bytes)
}

impl Local {
    /// Opens a file that begins where the object does.
    ///
    /// # Errors
    /// A sentence for the person who asked.
    pub fn open(path: &Path) -> Result<Self, String> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = opened.map_err(|error| failed(path, &error))?;
        if !metadata.is_file() {
            return Err(format!("{}: not a file", path.display()));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            length: metadata.len(),
            begins_at: 0,
            groups: BTreeMap::new(),
        })
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// The file holds the object's bytes from this one on.
    pub fn begins_at(&mut self, first: u64) {
        self.begins_at = first;
        self.groups.clear();
    }

    /// Bytes of the object that the file has.
    ///
    /// # Errors
    /// A sentence for the person who asked.
    pub fn bytes(&self, range: &Range<u64>) -> Result<Vec<u8>, String> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        let offset = range.start.checked_sub(self.begins_at);
        let offset = offset.ok_or_else(|| format!("{}: begins later", self.path.display()))?;
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|error| failed(&self.path, &error))?;
        Ok(bytes)
    }

    /// The BLAKE3 of the whole file.
    ///
    /// # Errors
    /// A sentence for the person who asked.
    pub fn root(&mut self) -> Result<[u8; 32], String> {
        let range = 0..self.length;
        if self.length <= GROUP {
            return Ok(tree::whole(&self.bytes(&range)?));
        }
        let values = self.values(&range)?;
        tree::root_of(&values).ok_or_else(|| "an empty tree".to_owned())
    }

    /// The value of a subtree: a power of two chunks at a multiple of it.
    ///
    /// # Errors
    /// A sentence for the person who asked.
    pub fn value(&mut self, range: &Range<u64>) -> Result<ChainingValue, String> {
        if range.end - range.start < GROUP {
            return Ok(tree::value(range.start, &self.bytes(range)?));
        }
        let values = self.values(range)?;
        tree::joined(&values).ok_or_else(|| "an empty tree".to_owned())
    }

    /// Values of the groups of a range that begins with one.
    fn values(&mut self, range: &Range<u64>) -> Result<Vec<ChainingValue>, String> {
        let groups: Vec<u64> = (range.start / GROUP..range.end.div_ceil(GROUP)).collect();
        let missing: Vec<u64> = groups
            .iter()
            .copied()
            .filter(|group| !self.groups.contains_key(group))
            .collect();
        let new = self.hashed(&missing, range.end)?;
        self.groups.extend(new);
        Ok(groups
            .iter()
            .filter_map(|group| self.groups.get(group).copied())
            .collect())
    }

    fn hashed(&self, groups: &[u64], end: u64) -> Result<Vec<(u64, ChainingValue)>, String> {
        let bar = self.bar(groups.len() as u64 * GROUP);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = cores.min(THREADS).min(groups.len());
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                let range = group * GROUP..end.min((group + 1) * GROUP);
                done.push((*group, tree::value(range.start, &self.bytes(&range)?)));
                bar.inc(range.end - range.start);
            }
            Ok::<_, String>(done)
        };
        let hashed = std::thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut all = work()?;
            for helper in helpers {
                all.extend(
                    helper
                        .join()
                        .map_err(|_| "a hashing thread ended early".to_owned())??,
                );
            }
            Ok(all)
        });
        bar.finish_and_clear();
        hashed
    }

    fn bar(&self, length: u64) -> ProgressBar {
        if length < LONG {
            return ProgressBar::hidden();
        }
        let shape = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        let style = ProgressStyle::with_template(shape);
        ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn the_root_is_that_of_the_whole_and_values_are_those_of_its_parts() {
        let mib = GROUP as usize;
        for length in [0, 1, 1024, mib - 1, mib, mib + 1, 3 * mib, 5 * mib + 77] {
            let bytes: Vec<u8> = (0..length).map(|n| (n / 333) as u8).collect();
            let file = file(&bytes);
            let mut local = Local::open(file.path()).unwrap();
            assert_eq!(local.root().unwrap(), tree::whole(&bytes), "{length}");
            if length > 4 * mib {
                let value = local.value(&(0..4 * GROUP)).unwrap();
                assert_eq!(value, tree::value(0, &bytes[..4 * mib]));
            }
            if length > mib {
                local.begins_at(8 * GROUP);
                let part = 8 * GROUP..8 * GROUP + 2048;
                assert_eq!(
                    local.value(&part).unwrap(),
                    tree::value(8 * GROUP, &bytes[..2048])
                );
                let part = 8 * GROUP..9 * GROUP;
                assert_eq!(local.value(&part).unwrap(), tree::value(8 * GROUP, &bytes[..mib]));
            }
        }
    }

    #[test]
    fn a_file_that_shrinks_meanwhile_is_an_error() {
        let file = file(&[7; 5000]);
        let mut local = Local::open(file.path()).unwrap();
        file.as_file().set_len(10).unwrap();
        assert!(local.root().is_err());
        assert!(Local::open(Path::new("/")).is_err());
    }
}
