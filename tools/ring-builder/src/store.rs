//! The files behind a FILE argument, and the lock that keeps two tools apart.
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use virga_ring::Ring;
use virga_ring::builder::Builder;
use virga_ring::file::{self, Format};

use crate::report::VerbError;

/// How long to wait for another tool at work in the same folder.
const LOCK_WAIT: Duration = Duration::from_secs(15);
/// Between two tries.
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// The builder file and the ring file beside it.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) builder: PathBuf,
    pub(crate) ring: PathBuf,
}

impl Files {
    /// `x.builder` goes with `x.ring.gz`, whichever was named.
    pub(crate) fn of(named: &Path) -> Self {
        let name = named
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if let Some(stem) = name.strip_suffix(".ring.gz") {
            Self {
                builder: named.with_file_name(format!("{stem}.builder")),
                ring: named.into(),
            }
        } else {
            let stem = name.strip_suffix(".builder").unwrap_or(&name);
            Self {
                builder: named.into(),
                ring: named.with_file_name(format!("{stem}.ring.gz")),
            }
        }
    }

    /// Is there a ring and no builder that it could come from?
    pub(crate) fn is_bare_ring(&self) -> bool {
        self.ring.exists() && !self.builder.exists()
    }

    /// Locks the folder; held until dropped.
    pub(crate) fn lock(&self) -> Result<File, VerbError> {
        let folder = self
            .builder
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let file = File::open(folder)
            .map_err(|error| VerbError::Usage(format!("cannot open folder {}: {error}", folder.display())))?;
        let begin = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if begin.elapsed() < LOCK_WAIT => {
                    std::thread::sleep(LOCK_RETRY);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(VerbError::Locked(folder.display().to_string()));
                }
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
    }

    pub(crate) fn load(&self) -> Result<Builder, VerbError> {
        use virga_ring::builder::LoadBuilderError;
        Builder::load(&self.builder).map_err(|source| match source {
            // It names the file itself.
            LoadBuilderError::Read { .. } => source.into(),
            source => VerbError::LoadFrom {
                path: self.builder.clone(),
                source,
            },
        })
    }

    /// Saves the builder, giving it its name the first time.
    pub(crate) fn save(&self, builder: &mut Builder, now: u64) -> Result<(), VerbError> {
        if builder.id().is_none() {
            builder.give_id(new_id());
        }
        Ok(builder.save(&self.builder, now)?)
    }

    /// The ring as the bytes of its file.
    pub(crate) fn encode_ring(
        &self,
        ring: &Ring,
        format: Format,
        id_bytes: Option<u8>,
    ) -> Result<Vec<u8>, VerbError> {
        let name = self.ring.file_name().unwrap_or_default().to_string_lossy();
        Ok(file::encode(ring, format, &name, id_bytes)?)
    }

    /// Encodes the ring and writes its file.
    pub(crate) fn write_ring(
        &self,
        ring: &Ring,
        format: Format,
        id_bytes: Option<u8>,
        now: u64,
    ) -> Result<(), VerbError> {
        self.write_ring_bytes(&self.encode_ring(ring, format, id_bytes)?, now)
    }

    /// Writes the ring file with a copy in `backups/`.
    pub(crate) fn write_ring_bytes(&self, bytes: &[u8], now: u64) -> Result<(), VerbError> {
        let written =
            file::save_backup(&self.ring, bytes, now).and_then(|_| file::replace(&self.ring, bytes));
        written.map_err(|error| {
            VerbError::usage(
                format!("cannot write {}: {error}", self.ring.display()),
                "the old ring file is as it was; make room or fix the permissions, then: virga ring FILE write_ring",
            )
        })
    }
}

/// Saves a builder under another name, as a builder of its own.
pub(crate) fn save_new(builder: &Builder, path: &Path, now: u64) -> Result<(), VerbError> {
    let mut copy = builder.clone();
    copy.give_id(new_id());
    Ok(copy.save(path, now)?)
}

/// 32 hex digits that no other builder has.
fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
