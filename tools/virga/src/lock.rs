//! One process a data folder: the lock that says so.
use std::fs::{File, OpenOptions};
use std::path::Path;

/// Held as long as the process runs; the kernel lets go when it ends, however.
#[derive(Debug)]
pub struct FolderLock(#[allow(dead_code, reason = "held, never read")] File);

impl FolderLock {
    /// Takes the lock of a data folder.
    ///
    /// # Errors
    /// A sentence for the person who started a second process.
    pub fn take(folder: &Path) -> Result<Self, String> {
        let path = folder.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| format!("{}: {e}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(std::fs::TryLockError::WouldBlock) => Err(format!(
                "the data folder {} is already in use by another virga; stop that one, or choose another folder with --data",
                folder.display()
            )),
            Err(std::fs::TryLockError::Error(e)) => Err(format!("{}: {e}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_until_its_holder_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = FolderLock::take(folder.path()).unwrap();
        assert!(FolderLock::take(folder.path()).unwrap_err().contains("already"));
        drop(first);
        assert!(FolderLock::take(folder.path()).is_ok());
    }
}
