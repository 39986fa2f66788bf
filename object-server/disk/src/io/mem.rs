//! The memory twin of a disk: what was written is there, nothing fails, nothing survives the process.
//!
//! For tests of the layers above that are not about crashes; those use [`super::fault`].

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::aligned::AlignedBuf;
use super::{Disk, Fill, Seg, Space};

/// A disk in memory with a fixed capacity.
pub struct MemDisk {
    files: Mutex<BTreeMap<String, Arc<MemSeg>>>,
    capacity: u64,
}

impl MemDisk {
    /// An empty disk that refuses files beyond `capacity` bytes in sum.
    #[must_use]
    pub fn new(capacity: u64) -> MemDisk {
        MemDisk {
            files: Mutex::new(BTreeMap::new()),
            capacity,
        }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Arc<MemSeg>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for MemDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn Seg>> {
        match self.files().get(name) {
            Some(seg) => Ok(Arc::<MemSeg>::clone(seg)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&self, name: &str, len: u64, _fill: Fill) -> io::Result<Arc<dyn Seg>> {
        let mut files = self.files();
        let used: u64 = files
            .iter()
            .filter(|(other, _)| *other != name)
            .map(|(_, f)| f.len())
            .sum();
        if used + len > self.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let size = usize::try_from(len).map_err(io::Error::other)?;
        let seg = Arc::new(MemSeg {
            bytes: RwLock::new(vec![0; size]),
            len,
        });
        files.insert(name.to_owned(), Arc::clone(&seg));
        Ok(seg)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files().keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files()
            .remove(name)
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn space(&self) -> io::Result<Space> {
        let used: u64 = self.files().values().map(|f| f.len()).sum();
        Ok(Space {
            total: self.capacity,
            free: self.capacity.saturating_sub(used),
        })
    }
}

struct MemSeg {
    bytes: RwLock<Vec<u8>>,
    len: u64,
}

impl Seg for MemSeg {
    fn len(&self) -> u64 {
        self.len
    }

    fn pwrite(&self, buf: &AlignedBuf, off: u64) -> io::Result<()> {
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let start = usize::try_from(off).map_err(io::Error::other)?;
        let range = start..start.saturating_add(buf.len());
        bytes
            .get_mut(range)
            .ok_or(io::ErrorKind::InvalidInput)?
            .copy_from_slice(buf);
        Ok(())
    }

    fn pread(&self, buf: &mut [u8], off: u64) -> io::Result<()> {
        let bytes = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        let start = usize::try_from(off).map_err(io::Error::other)?;
        let range = start..start.saturating_add(buf.len());
        buf.copy_from_slice(bytes.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn pread_nowait(&self, buf: &mut [u8], off: u64) -> io::Result<bool> {
        self.pread(buf, off).map(|()| true)
    }

    fn pread_direct(&self, buf: &mut AlignedBuf, off: u64) -> io::Result<()> {
        self.pread(buf, off)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
