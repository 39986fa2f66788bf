//! The key repository on disk and the keys in use.
//!
//! A folder of files named by numbers, as Keystone keeps it: the largest
//! number is the primary key that seals, 0 is the staged key that becomes the
//! next primary, all of them open. Rotation on one machine and copying the
//! folder to the others is safe in that order, because everyone already opens
//! with the key that will seal next.
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::fernet::{self, Key, OpenError, Opened};

/// Why keys could not be read or rotated.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file or the folder could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not hold a key.
    #[error("{0} does not hold a key (44 characters of base64url)")]
    NotAKey(PathBuf),
    /// A file does not hold a P-256 key.
    #[error(
        "{0} does not hold a P-256 key in PEM (PKCS 8 for a private, SubjectPublicKeyInfo for a public one)"
    )]
    NotAPem(PathBuf),
    /// The folder holds no key at all.
    #[error("{0} holds no keys")]
    Empty(PathBuf),
    /// The system gave no randomness.
    #[error("no randomness for a key: {0}")]
    Random(getrandom::Error),
}

pub(crate) fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::File { path, source }
}

/// Makes a folder that only this user may enter, unless it is there.
pub(crate) fn private_folder(dir: &Path) -> Result<(), KeyError> {
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(dir);
    made.map_err(file_error(dir))
}

/// Writes a file that only this user may read: it is there as a whole, or not.
pub(crate) fn write_private(dir: &Path, name: &str, text: &str) -> Result<(), KeyError> {
    let draft = dir.join(format!("{name}.new"));
    let made = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft);
    let mut file = made.map_err(file_error(&draft))?;
    file.write_all(text.as_bytes()).map_err(file_error(&draft))?;
    file.sync_all().map_err(file_error(&draft))?;
    fs::rename(&draft, dir.join(name)).map_err(file_error(&draft))?;
    let dir_file = fs::File::open(dir).map_err(file_error(dir))?;
    dir_file.sync_all().map_err(file_error(dir))
}

/// A folder of numbered key files.
#[derive(Debug, Clone)]
pub struct KeyRepository {
    dir: PathBuf,
    max_active: usize,
}

impl KeyRepository {
    /// The repository in `dir` that keeps at most `max_active` keys (at least
    /// 2: staged and primary).
    pub fn new(dir: impl Into<PathBuf>, max_active: usize) -> Self {
        Self {
            dir: dir.into(),
            max_active: max_active.max(2),
        }
    }

    /// Makes the folder, a staged and a primary key, unless keys are there.
    pub fn create_if_missing(&self) -> Result<(), KeyError> {
        private_folder(&self.dir)?;
        let numbers = self.numbers()?;
        if numbers.iter().all(|n| *n == 0) {
            self.write(1, &Key::generate().map_err(KeyError::Random)?)?;
        }
        if !numbers.contains(&0) {
            self.write(0, &Key::generate().map_err(KeyError::Random)?)?;
        }
        Ok(())
    }

    /// The staged key becomes the primary, a new one is staged, the oldest
    /// beyond the limit go. Whether that is safe now, see
    /// [`KeyRepository::check_rotation`].
    pub fn rotate(&self) -> Result<(), KeyError> {
        let _others_wait = self.lock()?;
        let numbers = self.numbers()?;
        let newest = numbers
            .last()
            .copied()
            .ok_or_else(|| KeyError::Empty(self.dir.clone()))?;
        let staged = self.path(0);
        if staged.exists() {
            let primary = self.path(newest + 1);
            fs::rename(&staged, &primary).map_err(file_error(&primary))?;
        } else {
            self.write(newest + 1, &Key::generate().map_err(KeyError::Random)?)?;
        }
        self.write(0, &Key::generate().map_err(KeyError::Random)?)?;
        let numbers = self.numbers()?;
        let surplus = numbers.len().saturating_sub(self.max_active);
        for number in numbers.iter().filter(|n| **n != 0).take(surplus) {
            let path = self.path(*number);
            fs::remove_file(&path).map_err(file_error(&path))?;
        }
        Ok(())
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn max_active(&self) -> usize {
        self.max_active
    }

    pub(crate) fn path(&self, number: u64) -> PathBuf {
        self.dir.join(number.to_string())
    }

    pub(crate) fn numbers(&self) -> Result<Vec<u64>, KeyError> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(file_error(&self.dir))? {
            let entry = entry.map_err(file_error(&self.dir))?;
            let name = entry.file_name();
            // Other files (half-written ones, notes) are none of ours.
            if let Some(number) = name.to_str().and_then(|n| n.parse().ok()) {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn write(&self, number: u64, key: &Key) -> Result<(), KeyError> {
        write_private(&self.dir, &number.to_string(), &key.to_text())
    }

    /// Reads all keys, the primary first, then older ones, the staged last.
    pub fn load(&self) -> Result<KeySet, KeyError> {
        let mut numbers = self.numbers()?;
        numbers.reverse();
        let mut keys = Vec::with_capacity(numbers.len());
        for number in numbers {
            let path = self.path(number);
            let text = zeroize::Zeroizing::new(fs::read_to_string(&path).map_err(file_error(&path))?);
            keys.push(Key::from_text(&text).ok_or(KeyError::NotAKey(path))?);
        }
        if keys.is_empty() {
            return Err(KeyError::Empty(self.dir.clone()));
        }
        Ok(KeySet { keys })
    }
}

/// Keys in the order they are tried; the first seals.
#[derive(Debug, Clone)]
pub struct KeySet {
    keys: Vec<Key>,
}

impl KeySet {
    /// A set of the primary key and further ones that only open.
    pub fn new(primary: Key, others: Vec<Key>) -> Self {
        let mut keys = vec![primary];
        keys.extend(others);
        Self { keys }
    }

    /// How many keys there are.
    pub fn count(&self) -> usize {
        self.keys.len()
    }
}

/// The keys in use, replaced as a whole when they are read again.
#[derive(Debug)]
pub struct KeyRing {
    repository: Option<KeyRepository>,
    keys: ArcSwap<KeySet>,
    /// How often they were read again.
    generation: AtomicU64,
}

impl KeyRing {
    /// The keys of `repository`, which must hold some.
    pub fn open(repository: KeyRepository) -> Result<Self, KeyError> {
        let keys = ArcSwap::from_pointee(repository.load()?);
        Ok(Self {
            repository: Some(repository),
            keys,
            generation: AtomicU64::default(),
        })
    }

    /// Keys that live in memory only.
    pub fn fixed(keys: KeySet) -> Self {
        Self {
            repository: None,
            keys: ArcSwap::from_pointee(keys),
            generation: AtomicU64::default(),
        }
    }

    /// Reads the folder again. On an error the keys in use stay.
    pub fn reload(&self) -> Result<(), KeyError> {
        if let Some(repository) = &self.repository {
            self.keys.store(Arc::new(repository.load()?));
            self.generation.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }

    /// Grows whenever the keys are read again: what was found good before may not
    /// be so any more.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Rotates the folder and uses the outcome at once.
    pub fn rotate(&self) -> Result<(), KeyError> {
        if let Some(repository) = &self.repository {
            repository.rotate()?;
        }
        self.reload()
    }

    /// Seals `content` with the primary key and a random IV.
    pub fn seal(&self, content: &[u8], at_secs: u64) -> Result<String, getrandom::Error> {
        let mut iv = [0; 16];
        getrandom::fill(&mut iv)?;
        Ok(self.keys.load().keys[0].seal(content, at_secs, iv))
    }

    /// Opens `text` with any key of the ring.
    pub fn open_text(&self, text: &str) -> Result<Opened, OpenError> {
        fernet::open(&self.keys.load().keys, text)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_was_sealed_before_a_rotation_still_opens_until_its_key_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let repository = KeyRepository::new(dir.path().join("keys"), 3);
        repository.create_if_missing().unwrap();
        let ring = KeyRing::open(repository.clone()).unwrap();
        let other_machine = KeyRing::open(repository.clone()).unwrap();
        let old = ring.seal(b"old", 1).unwrap();
        ring.rotate().unwrap();
        let new = ring.seal(b"new", 2).unwrap();
        // The machine that has not reloaded yet opens the new one by its staged key.
        assert_eq!(other_machine.open_text(&new).unwrap().content, b"new");
        assert_eq!(ring.open_text(&old).unwrap().content, b"old");
        ring.rotate().unwrap();
        assert_eq!(
            ring.open_text(&old),
            Err(OpenError::Unauthentic),
            "three keys: the first is gone"
        );
        assert_eq!(ring.open_text(&new).unwrap().content, b"new");
        assert_eq!(repository.load().unwrap().count(), 3);
        assert_eq!(repository.numbers().unwrap(), [0, 2, 3]);
    }

    #[test]
    fn key_files_are_private_and_a_second_start_keeps_them() {
        let dir = tempfile::tempdir().unwrap();
        let repository = KeyRepository::new(dir.path(), 3);
        repository.create_if_missing().unwrap();
        let ring = KeyRing::open(repository.clone()).unwrap();
        let text = ring.seal(b"x", 1).unwrap();
        repository.create_if_missing().unwrap();
        KeyRing::open(repository.clone())
            .unwrap()
            .open_text(&text)
            .unwrap();
        let mode = fs::metadata(dir.path().join("1")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(dir.path().join("7"), "not a key").unwrap();
        assert!(matches!(ring.reload(), Err(KeyError::NotAKey(_))));
        ring.open_text(&text).unwrap();
    }
}
