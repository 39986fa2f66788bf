//! What a cloud must never lose or show: made on the first start, kept in
//! `DIR/secrets` with mode 0600.
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The secrets that several parts share. Keys of a single part (token keys)
/// lie in folders of their own beside this file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// Identifies this cluster's devices: a device of another is refused.
    pub cluster_id: String,
    /// Put before every name that is hashed for the ring (hex text, 16 bytes
    /// of chance): without it nobody can aim names at one partition.
    pub hash_prefix: String,
    /// Put after every name that is hashed for the ring.
    pub hash_suffix: String,
    /// What nodes prove to each other when they connect (hex, 32 bytes).
    pub node_secret: String,
}

/// Passwords of the first users. Only identity needs them, so they lie in a
/// file of their own that no other host has to get.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passwords {
    /// Of the user `admin`.
    pub admin: String,
    /// Of the user `demo`.
    pub demo: String,
}

/// Why secrets could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// Reading or writing the file failed.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    /// The file is not what this program wrote.
    #[error("{0}: damaged: {1}; restore it from a backup: the data cannot be found without it")]
    Damaged(String, String),
    /// Nothing was copied here yet.
    #[error(
        "{0}: not there; the host with the role identity makes it at its first start: copy it from there, \
         it must be the same on every host"
    )]
    Missing(String),
    /// The system gave no random bytes.
    #[error("no random bytes from the system: {0}")]
    Chance(getrandom::Error),
}

/// Reads `DIR/secrets/cluster.json`, or makes it on the first start.
///
/// # Errors
/// See [`SecretsError`].
pub fn load_or_make(folder: &Path) -> Result<Secrets, SecretsError> {
    read_or(&folder.join("cluster.json"), make)
}

/// Reads `DIR/secrets/cluster.json`, which another host made.
///
/// # Errors
/// See [`SecretsError`]; it is never made here, because a host with secrets of
/// its own would look for every name in the wrong place.
pub fn load(folder: &Path) -> Result<Secrets, SecretsError> {
    let file = folder.join("cluster.json");
    read(&file)?.ok_or_else(|| SecretsError::Missing(file.display().to_string()))
}

/// Reads `DIR/secrets/passwords.json`, or makes it on the first start: from
/// `VIRGA_ADMIN_PASSWORD` and `VIRGA_DEMO_PASSWORD` then, if set.
///
/// # Errors
/// See [`SecretsError`].
pub fn passwords(folder: &Path) -> Result<Passwords, SecretsError> {
    let given = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    read_or(&folder.join("passwords.json"), || {
        Ok(Passwords {
            admin: given("VIRGA_ADMIN_PASSWORD").map_or_else(password, Ok)?,
            demo: given("VIRGA_DEMO_PASSWORD").map_or_else(password, Ok)?,
        })
    })
}

/// The content of a file; `None` if there is no such file.
fn read<T: DeserializeOwned>(file: &Path) -> Result<Option<T>, SecretsError> {
    let shown = file.display().to_string();
    match fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| SecretsError::Damaged(shown, e.to_string())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(SecretsError::Io(shown, e)),
    }
}

fn read_or<T: Serialize + DeserializeOwned>(
    file: &Path,
    make: impl FnOnce() -> Result<T, SecretsError>,
) -> Result<T, SecretsError> {
    if let Some(kept) = read(file)? {
        return Ok(kept);
    }
    let failed = |e: std::io::Error| SecretsError::Io(file.display().to_string(), e);
    private_folder(file.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    let made = make()?;
    let text = serde_json::to_string_pretty(&made).unwrap_or_default();
    write_private(file, &text).map_err(failed)?;
    Ok(made)
}

fn make() -> Result<Secrets, SecretsError> {
    Ok(Secrets {
        cluster_id: uuid::Builder::from_random_bytes(chance()?)
            .into_uuid()
            .to_string(),
        hash_prefix: hex::encode(chance::<16>()?),
        hash_suffix: hex::encode(chance::<16>()?),
        node_secret: hex::encode(chance::<32>()?),
    })
}

/// 120 bits as 24 hex-free letters and digits that survive any shell.
fn password() -> Result<String, SecretsError> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    Ok(chance::<24>()?
        .iter()
        .map(|b| char::from(LETTERS[usize::from(b % 32)]))
        .collect())
}

fn chance<const N: usize>() -> Result<[u8; N], SecretsError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(SecretsError::Chance)?;
    Ok(bytes)
}

/// Makes a folder that only its owner can look into.
pub fn private_folder(folder: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Replaces a file that only its owner can read, in one step: a crash leaves
/// the old or the new one.
pub fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    let temporary = file.with_extension("new");
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    fs::rename(&temporary, file)?;
    match file.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn secrets_are_made_once_private_and_stay() {
        let folder = tempfile::tempdir().unwrap();
        let first = load_or_make(&folder.path().join("secrets")).unwrap();
        let again = load_or_make(&folder.path().join("secrets")).unwrap();
        assert_eq!(first.hash_prefix, again.hash_prefix);
        let passwords = passwords(&folder.path().join("secrets")).unwrap();
        assert_eq!(passwords.admin.len(), 24);
        assert_ne!(passwords.admin, passwords.demo);
        let mode = fs::metadata(folder.path().join("secrets/cluster.json"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_host_that_needs_the_secrets_of_another_says_where_they_come_from() {
        let folder = tempfile::tempdir().unwrap();
        let why = load(folder.path()).err().map(|e| e.to_string()).unwrap();
        assert!(
            why.contains("cluster.json") && why.contains("role identity"),
            "{why}"
        );
        assert!(!folder.path().join("cluster.json").exists());
        let made = load_or_make(folder.path()).unwrap();
        assert_eq!(load(folder.path()).unwrap().cluster_id, made.cluster_id);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cluster.json"), "{").unwrap();
        assert!(matches!(
            load_or_make(folder.path()),
            Err(SecretsError::Damaged(..))
        ));
        assert_eq!(
            fs::read_to_string(folder.path().join("cluster.json")).unwrap(),
            "{"
        );
    }
}
