//! One process a data folder, or one for each role: the locks that say so.
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

/// Held as long as the process runs; the kernel lets go when it ends, however.
#[derive(Debug)]
pub struct FolderLock(#[allow(dead_code, reason = "held, never read")] File);

impl FolderLock {
    /// Takes the lock of a data folder, alone.
    ///
    /// # Errors
    /// A sentence for the person who started a second process.
    pub fn take(folder: &Path) -> Result<Self, String> {
        let file = open(&folder.join("lock"))?;
        judge(file.try_lock(), folder)?;
        Ok(Self(file))
    }

    /// Takes the lock of a data folder beside processes of other roles.
    ///
    /// # Errors
    /// A whole cloud has the folder, or another process has the role.
    pub fn take_role(folder: &Path, role: &str) -> Result<[Self; 2], String> {
        let all = open(&folder.join("lock"))?;
        judge(all.try_lock_shared(), folder)?;
        let own = open(&folder.join(format!("lock-{role}")))?;
        match own.try_lock() {
            Err(TryLockError::WouldBlock) => Err(format!(
                "another process runs the role {role} on the data folder {}; stop that one, or give this one \
                 a folder of its own (data = ... in the configuration)",
                folder.display()
            )),
            other => judge(other, folder),
        }?;
        Ok([Self(all), Self(own)])
    }
}

fn open(path: &Path) -> Result<File, String> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|e| format!("{}: {e}", path.display()))
}

fn judge(taken: Result<(), TryLockError>, folder: &Path) -> Result<(), String> {
    match taken {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(format!(
            "the data folder {} is already in use by another virga; stop that one, or choose another folder with --data",
            folder.display()
        )),
        Err(TryLockError::Error(e)) => Err(format!("{}: {e}", folder.display())),
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

    #[test]
    fn roles_share_a_folder_but_not_with_their_like_and_not_with_a_whole_cloud() {
        let folder = tempfile::tempdir().unwrap();
        let proxy = FolderLock::take_role(folder.path(), "proxy").unwrap();
        let _identity = FolderLock::take_role(folder.path(), "identity").unwrap();
        let again = FolderLock::take_role(folder.path(), "proxy").unwrap_err();
        assert!(again.contains("role proxy"), "{again}");
        assert!(FolderLock::take(folder.path()).is_err());
        drop(proxy);
        assert!(FolderLock::take_role(folder.path(), "proxy").is_ok());
    }
}
