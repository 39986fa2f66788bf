//! A device folder: who it is, that only one process uses it, and where its parts live.
//!
//! ```text
//! <dev>/device.json   cluster id, device uuid, format version; written once
//! <dev>/order.json    what an operator wants of it, if anything
//! <dev>/lock          held while a process uses the device
//! <dev>/seg/          segments
//! <dev>/index/        derived index (RocksDB)
//! <dev>/bad/          copies of what failed verification, capped
//! <dev>/stale/        copies of objects set aside by reconciliation
//! ```
//!
//! Opened by the object store. Whether the device belongs in this cluster is decided here; what it holds is not
//! looked at.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aside::{self, Aside};
use crate::io::Space;
use crate::io::file::{self, FileDisk};
use crate::segment::header::Identity;

/// Version of the device folder's layout.
pub const FORMAT: u32 = 1;
/// Most bytes kept in `bad/`.
pub const QUARANTINE_BYTES: u64 = 1 << 30;
/// Longest `device.json` read, in bytes.
const DESCRIPTION_BYTES: u64 = 64 << 10;

/// What `device.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Layout version; see [`FORMAT`].
    pub format: u32,
    /// Cluster the device belongs to.
    pub cluster: Uuid,
    /// The device itself.
    pub device: Uuid,
    /// Secret from which segment salts are derived; it never leaves the device.
    secret: u64,
    /// What its node calls it: another disk in its place is noticed. A device that has none takes the first it gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl Description {
    /// A new device of `cluster`; `chance` are eight random bytes that nobody outside the device may know.
    #[must_use]
    pub fn new(cluster: Uuid, device: Uuid, chance: [u8; 8]) -> Description {
        Description {
            format: FORMAT,
            cluster,
            device,
            secret: u64::from_le_bytes(chance),
            name: None,
        }
    }

    /// The same, called `name` by its node.
    #[must_use]
    pub fn named(mut self, name: &str) -> Description {
        self.name = Some(name.to_owned());
        self
    }
}

/// Why a device folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenDeviceError {
    /// The file system failed.
    #[error("device {path}: {error}", path = .path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// Another process uses it.
    #[error("device {} is used by another process", .0.display())]
    InUse(PathBuf),
    /// The folder holds something, but no `device.json`.
    #[error("device {} has data but no device.json: not a device, or a damaged one", .0.display())]
    NotADevice(PathBuf),
    /// `device.json` makes no sense.
    #[error("device {path}: device.json: {error}", path = .path.display())]
    Description {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// It belongs to another cluster.
    #[error("device {path} belongs to cluster {found}", path = .path.display())]
    OtherCluster {
        /// The folder.
        path: PathBuf,
        /// Its cluster.
        found: Uuid,
    },
    /// It is another device of the cluster.
    #[error(
        "device {path} is {found}, not {wanted}: are mounts or paths swapped? If it is to be {wanted} from now on, \
         take `name` out of its device.json",
        path = .path.display()
    )]
    OtherName {
        /// The folder.
        path: PathBuf,
        /// What it was called so far.
        found: String,
        /// What it is called now.
        wanted: String,
    },
    /// Written by a newer version.
    #[error("device {path} has format {found}, this version knows up to {FORMAT}", path = .path.display())]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// An open device folder. Dropping it lets other processes in.
pub struct Device {
    /// Whether its file system took no writes when it was opened.
    read_only: bool,
    path: PathBuf,
    description: Description,
    disk: Arc<FileDisk>,
    /// Bytes in `bad/`.
    quarantined: Mutex<u64>,
    _lock: File,
}

impl Device {
    /// Opens the device at `path`. An empty or missing folder becomes a device as `fresh` describes; an existing
    /// one must belong to the cluster of `fresh`.
    ///
    /// # Errors
    /// See [`OpenDeviceError`].
    pub fn open(path: &Path, fresh: Description) -> Result<Device, OpenDeviceError> {
        let io = |error| OpenDeviceError::Io {
            path: path.to_owned(),
            error,
        };
        fs::create_dir_all(path).map_err(io)?;
        let (lock, read_only) = lock(path)?;
        allow_many_files();
        let (cluster, name) = (fresh.cluster, fresh.name.clone());
        let mut description = match read_description(path)? {
            Some(description) => description,
            None if holds_data(path).map_err(io)? => {
                return Err(OpenDeviceError::NotADevice(path.to_owned()));
            }
            None => {
                write_description(path, &fresh).map_err(io)?;
                fresh
            }
        };
        if description.format > FORMAT {
            return Err(OpenDeviceError::Newer {
                path: path.to_owned(),
                found: description.format,
            });
        }
        if description.cluster != cluster {
            let found = description.cluster;
            return Err(OpenDeviceError::OtherCluster {
                path: path.to_owned(),
                found,
            });
        }
        match (&description.name, name) {
            (Some(found), Some(wanted)) if *found != wanted => {
                return Err(OpenDeviceError::OtherName {
                    path: path.to_owned(),
                    found: found.clone(),
                    wanted,
                });
            }
            (None, Some(name)) if !read_only => {
                description.name = Some(name);
                write_description(path, &description).map_err(io)?;
            }
            _ => {}
        }
        let disk = Arc::new(FileDisk::open(&path.join("seg")).map_err(io)?);
        let quarantined = Mutex::new(quarantine_size(&path.join("bad")).map_err(io)?);
        Ok(Device {
            read_only,
            path: path.to_owned(),
            description,
            disk,
            quarantined,
            _lock: lock,
        })
    }

    /// Whether its file system takes no writes, now or when it was opened. Once it does again, the device is to be
    /// opened anew: what it had in hand meanwhile is not on it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn is_read_only(&self) -> io::Result<bool> {
        Ok(self.read_only || statvfs(&self.path)?.f_flag.contains(StatVfsMountFlags::RDONLY))
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What `device.json` says.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// What its segments are sealed with.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            device: *self.description.device.as_bytes(),
            secret: self.description.secret,
        }
    }

    /// Its segment files.
    #[must_use]
    pub fn disk(&self) -> Arc<FileDisk> {
        Arc::clone(&self.disk)
    }

    /// Folder for the derived index.
    #[must_use]
    pub fn index_path(&self) -> PathBuf {
        self.path.join("index")
    }

    /// Folder for another database of the device, such as the container rows.
    #[must_use]
    pub fn database_path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Size and free space of its file system, in bytes.
    ///
    /// # Errors
    /// What the file system says.
    pub fn space(&self) -> io::Result<Space> {
        file::space(&self.path)
    }

    /// Starts a copy of an object under `stale/`; `line` says what it is and has no line break. Blocks on the device.
    ///
    /// # Errors
    /// What the file system says.
    pub fn set_aside(&self, name: &str, line: &str) -> io::Result<Aside> {
        aside::begin(self.path.join("stale"), name, line)
    }

    /// How many objects are set aside under names that start with `prefix`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn set_aside_count(&self, prefix: &str) -> io::Result<u64> {
        aside::count(&self.path.join("stale"), prefix)
    }

    /// Keeps a copy of damaged bytes under `bad/`, named by where they were; says whether there was room. The
    /// same place is kept once. Best effort by design: not synced.
    ///
    /// # Errors
    /// What the file system says.
    pub fn quarantine(&self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<bool> {
        let mut used = self.quarantined.lock().unwrap_or_else(PoisonError::into_inner);
        if used.saturating_add(bytes.len() as u64) > QUARANTINE_BYTES {
            return Ok(false);
        }
        let dir = self.path.join("bad");
        fs::create_dir_all(&dir)?;
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(dir.join(format!("{segment:016x}-{offset:08x}")))
        {
            Ok(mut file) => {
                file.write_all(bytes)?;
                *used += bytes.len() as u64;
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(true),
            Err(e) => Err(e),
        }
    }

    /// Takes note that `bytes` of `bad/` were removed.
    pub(crate) fn quarantine_freed(&self, bytes: u64) {
        let mut used = self.quarantined.lock().unwrap_or_else(PoisonError::into_inner);
        *used = used.saturating_sub(bytes);
    }
}

/// Takes the lock; says whether the file system takes no writes.
fn lock(path: &Path) -> Result<(File, bool), OpenDeviceError> {
    let io = |error| OpenDeviceError::Io {
        path: path.to_owned(),
        error,
    };
    let name = path.join("lock");
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&name);
    let (lock, read_only) = match opened {
        // A device that has ever been open has the file.
        Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            (File::open(&name).map_err(|_| io(e))?, true)
        }
        opened => (opened.map_err(io)?, false),
    };
    match lock.try_lock() {
        Ok(()) => Ok((lock, read_only)),
        Err(TryLockError::WouldBlock) => Err(OpenDeviceError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

fn read_description(path: &Path) -> Result<Option<Description>, OpenDeviceError> {
    let io = |error| OpenDeviceError::Io {
        path: path.to_owned(),
        error,
    };
    let mut text = String::new();
    match File::open(path.join("device.json")) {
        Ok(file) => file
            .take(DESCRIPTION_BYTES)
            .read_to_string(&mut text)
            .map_err(io)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(e)),
    };
    // The format is looked at alone first: a newer one may have fields that this version does not know.
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let wrong = |error| OpenDeviceError::Description {
        path: path.to_owned(),
        error,
    };
    let Format { format } = serde_json::from_str(&text).map_err(wrong)?;
    if format > FORMAT {
        return Err(OpenDeviceError::Newer {
            path: path.to_owned(),
            found: format,
        });
    }
    serde_json::from_str(&text).map(Some).map_err(wrong)
}

fn holds_data(path: &Path) -> io::Result<bool> {
    for name in ["seg", "index"] {
        match fs::read_dir(path.join(name)) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Ok(true);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}

fn write_description(path: &Path, description: &Description) -> io::Result<()> {
    let tmp = path.join("device.json.tmp");
    let mut file = File::create(&tmp)?;
    file.write_all(&serde_json::to_vec_pretty(description)?)?;
    file.sync_all()?;
    fs::rename(&tmp, path.join("device.json"))?;
    file::sync_dir(path)
}

fn quarantine_size(dir: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    entries.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

/// Segments stay open for reading, and the usual soft limit of 1024 files is 64 GiB of them.
fn allow_many_files() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(e) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(error = %e, "the limit of open files cannot be raised");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(cluster: u128) -> Description {
        Description::new(Uuid::from_u128(cluster), Uuid::from_u128(2), [3; 8])
    }

    #[test]
    fn a_device_keeps_who_it_is_and_admits_one_user_of_its_own_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sda");
        let device = Device::open(&path, fresh(1)).unwrap();
        let described = device.description().clone();
        assert!(matches!(
            Device::open(&path, fresh(1)),
            Err(OpenDeviceError::InUse(_))
        ));
        drop(device);
        let other = Description::new(Uuid::from_u128(1), Uuid::from_u128(9), [4; 8]);
        let again = Device::open(&path, other).unwrap();
        assert_eq!(again.description(), &described);
        assert_eq!(
            again.identity(),
            Identity {
                device: *Uuid::from_u128(2).as_bytes(),
                secret: 0x0303_0303_0303_0303
            }
        );
        drop(again);
        assert!(matches!(
            Device::open(&path, fresh(5)),
            Err(OpenDeviceError::OtherCluster { .. })
        ));
    }

    #[test]
    fn two_devices_in_each_others_place_are_refused_and_an_unnamed_one_takes_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        drop(Device::open(&a, fresh(1).named("d1")).unwrap());
        drop(Device::open(&b, fresh(1)).unwrap());
        drop(Device::open(&b, fresh(1).named("d2")).unwrap());
        for (path, is, wanted) in [(&a, "d1", "d2"), (&b, "d2", "d1")] {
            let refused = Device::open(path, fresh(1).named(wanted)).err().unwrap();
            let text = refused.to_string();
            assert!(
                text.contains(&format!("is {is}, not {wanted}: are mounts or paths swapped?")),
                "{text}"
            );
        }
        assert!(Device::open(&a, fresh(1).named("d1")).is_ok());
        // For tools that do not care.
        assert!(Device::open(&b, fresh(1)).is_ok());
        let json = fs::read_to_string(b.join("device.json")).unwrap();
        fs::write(
            b.join("device.json"),
            json.replace("\"name\": \"d2\"", "\"name\": null"),
        )
        .unwrap();
        assert!(Device::open(&b, fresh(1).named("d3")).is_ok());
    }

    #[test]
    fn a_copy_of_a_device_under_another_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (a, copy) = (dir.path().join("a"), dir.path().join("copy"));
        let _open = Device::open(&a, fresh(1).named("d1")).unwrap();
        fs::create_dir_all(&copy).unwrap();
        fs::copy(a.join("device.json"), copy.join("device.json")).unwrap();
        let refused = Device::open(&copy, fresh(1).named("d2"));
        assert!(matches!(refused, Err(OpenDeviceError::OtherName { .. })));
        // The same folder by another way is the same folder.
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&a, &link).unwrap();
        let twice = Device::open(&link, fresh(1).named("d1"));
        assert!(matches!(twice, Err(OpenDeviceError::InUse(_))));
    }

    #[test]
    fn data_without_a_description_and_descriptions_from_the_future_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("seg")).unwrap();
        fs::write(dir.path().join("seg/0000000000000001"), b"x").unwrap();
        assert!(matches!(
            Device::open(dir.path(), fresh(1)),
            Err(OpenDeviceError::NotADevice(_))
        ));
        fs::write(
            dir.path().join("device.json"),
            br#"{"format": 2, "novelty": true}"#,
        )
        .unwrap();
        assert!(matches!(
            Device::open(dir.path(), fresh(1)),
            Err(OpenDeviceError::Newer { found: 2, .. })
        ));
        fs::write(dir.path().join("device.json"), b"{").unwrap();
        assert!(matches!(
            Device::open(dir.path(), fresh(1)),
            Err(OpenDeviceError::Description { .. })
        ));
    }

    #[test]
    fn damaged_bytes_are_kept_once_and_counted_again_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let device = Device::open(dir.path(), fresh(1)).unwrap();
        assert!(device.quarantine(1, 4096, b"rotten").unwrap());
        assert!(device.quarantine(1, 4096, b"rotten").unwrap());
        assert_eq!(
            fs::read(dir.path().join("bad/0000000000000001-00001000")).unwrap(),
            b"rotten"
        );
        drop(device);
        let device = Device::open(dir.path(), fresh(1)).unwrap();
        assert_eq!(*device.quarantined.lock().unwrap(), 6);
        assert!(device.space().unwrap().free > 0);
    }

    #[test]
    fn damaged_bytes_are_kept_up_to_a_bound_and_removing_some_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let device = Device::open(dir.path(), fresh(1)).unwrap();
        *device.quarantined.lock().unwrap() = QUARANTINE_BYTES - 6;
        assert!(!device.quarantine(1, 0, b"rotten!").unwrap());
        assert!(device.quarantine(1, 0, b"rotten").unwrap());
        assert!(!device.quarantine(2, 0, b"x").unwrap());
        device.quarantine_freed(6);
        assert!(device.quarantine(2, 0, b"x").unwrap());
        assert_eq!(fs::read_dir(dir.path().join("bad")).unwrap().count(), 2);
    }

    #[test]
    fn the_parts_of_a_device_lie_in_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let device = Device::open(dir.path(), fresh(1)).unwrap();
        assert_eq!(device.path(), dir.path());
        assert_eq!(device.index_path(), dir.path().join("index"));
        assert_eq!(device.database_path("rows"), dir.path().join("rows"));
        assert!(!device.is_read_only().unwrap());
        assert!(device.space().unwrap().total >= device.space().unwrap().free);
        let mut aside = device.set_aside("0-aa-1", "{}").unwrap();
        aside.write(b"bytes").unwrap();
        aside.finish().unwrap();
        assert_eq!(device.set_aside_count("0-").unwrap(), 1);
        assert_eq!(device.set_aside_count("1-").unwrap(), 0);
    }
}
