//! The keys that objects are sealed with at rest: the folder `object-keys`
//! beside the other secrets.
//!
//! The host with the role identity makes them at its first start; other hosts
//! with the role proxy get a copy. Rotation never drops one: what was sealed with
//! it could not be read any more.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use virga_identity_api::keys::{KeyRepository, KeyRing};

/// The folder, as a repository that keeps every key.
fn repository(secrets: &Path) -> KeyRepository {
    KeyRepository::new(folder(secrets), usize::MAX)
}

fn folder(secrets: &Path) -> PathBuf {
    secrets.join("object-keys")
}

/// The folder, if this host has it.
pub fn there(secrets: &Path) -> Option<KeyRepository> {
    folder(secrets).is_dir().then(|| repository(secrets))
}

/// The keys; made if there are none and `make` says so. `None` where they are
/// missing: then nothing is sealed by this process, and nothing sealed is read.
///
/// # Errors
/// When they cannot be read or made.
pub fn open(secrets: &Path, make: bool) -> Result<Option<Arc<KeyRing>>, String> {
    let repository = repository(secrets);
    let failed = |error| format!("object keys: {error}");
    if make {
        repository.create_if_missing().map_err(failed)?;
    } else if there(secrets).is_none() {
        tracing::warn!(
            "no folder object-keys among the secrets: objects cannot be encrypted with the cloud's keys, nor read if \
             they are; copy it from the host with the role identity"
        );
        return Ok(None);
    }
    KeyRing::open(repository).map(Arc::new).map(Some).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotating_keeps_every_key() {
        let folder = tempfile::tempdir().unwrap();
        assert!(open(folder.path(), false).unwrap().is_none());
        let keys = open(folder.path(), true).unwrap().unwrap();
        let first = keys.seal(b"first", 0).unwrap();
        for _ in 0..20 {
            keys.rotate().unwrap();
        }
        let again = open(folder.path(), false).unwrap().unwrap();
        assert_eq!(again.open_text(&first).unwrap().content, b"first");
    }
}
