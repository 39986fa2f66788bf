//! Real storage: a folder on a file system, written with O_DIRECT where the file system takes it.
//!
//! Opened by [`crate::device`]. Reads go through the page cache (a hot object costs no device read), writes past
//! it (a failed sync cannot leave falsely clean pages, and no write-back stalls readers).

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use super::aligned::AlignedBuf;
use super::{Disk, Fill, PAGE, SMALL, Seg, Space};

/// Zeros are written in pieces of this size, in bytes: large enough for full bandwidth, small to hold.
const ZERO_PIECE: usize = 1 << 20;

/// Zeros written ahead of the end of a file whose blocks were only reserved, in bytes. The first write to a reserved
/// block changes the file's extents, which its sync must then write too; behind the zeros it does not.
const AHEAD: u64 = 1 << 20;

/// A folder of segment files.
pub struct FileDisk {
    dir: PathBuf,
}

impl FileDisk {
    /// Opens the folder, creating it durably if it is missing.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(dir: &Path) -> io::Result<FileDisk> {
        if !dir.is_dir() {
            fs::create_dir_all(dir)?;
            if let Some(parent) = dir.parent() {
                sync_dir(parent)?;
            }
        }
        Ok(FileDisk { dir: dir.to_owned() })
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    File::open(dir)?.sync_all()
}

impl Disk for FileDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn Seg>> {
        let path = self.dir.join(name);
        let reads = File::open(&path)?;
        let len = reads.metadata()?.len();
        Ok(Arc::new(FileSeg {
            path,
            len,
            reads,
            direct: Mutex::new(None),
            filled: AtomicU64::new(len),
        }))
    }

    fn create(&self, name: &str, len: u64, fill: Fill) -> io::Result<Arc<dyn Seg>> {
        let path = self.dir.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len) {
            Ok(()) => {}
            // Without fallocate the zeros below reserve the blocks; with `Fill::Reserve` the file stays sparse.
            Err(Errno::OPNOTSUPP) => file.set_len(len)?,
            Err(e) => {
                drop(fs::remove_file(&path));
                return Err(e.into());
            }
        }
        let seg = FileSeg {
            path,
            len,
            reads: File::open(self.dir.join(name))?,
            direct: Mutex::new(None),
            filled: AtomicU64::new(if fill == Fill::Zero { len } else { 0 }),
        };
        if fill == Fill::Zero {
            let mut off = 0;
            while off < len {
                let piece = usize::try_from(len - off).map_or(ZERO_PIECE, |n| n.min(ZERO_PIECE));
                seg.pwrite(&AlignedBuf::zeroed(piece), off)?;
                off += piece as u64;
            }
        }
        file.sync_all()?;
        sync_dir(&self.dir)?;
        Ok(Arc::new(seg))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))?;
        sync_dir(&self.dir)
    }

    fn space(&self) -> io::Result<Space> {
        space(&self.dir)
    }
}

/// Size and free space of the file system that holds `dir`.
pub(crate) fn space(dir: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(Space {
        total: stat.f_blocks * stat.f_frsize,
        free: stat.f_bavail * stat.f_frsize,
    })
}

struct FileSeg {
    path: PathBuf,
    len: u64,
    reads: File,
    /// Opened by the first write (or read from the medium) and let go when writing ends: most segments are only read.
    direct: Mutex<Option<Arc<File>>>,
    /// Up to here the blocks have been written. A file found at start counts as written: what its blocks are cannot
    /// be told, and only its speed depends on it.
    filled: AtomicU64,
}

impl FileSeg {
    /// Before a small write that reaches past the written blocks: writes zeros from there on. One writer at a time.
    fn fill_ahead(&self, file: &File, off: u64, len: u64) -> io::Result<()> {
        let filled = self.filled.load(Ordering::Relaxed);
        let end = off + len;
        if end <= filled {
            return Ok(());
        }
        if len > SMALL {
            self.filled.store(end, Ordering::Relaxed);
            return Ok(());
        }
        let (from, upto) = (off.max(filled), (end + AHEAD).min(self.len));
        let zeros = AlignedBuf::zeroed(usize::try_from(upto - from).unwrap_or(ZERO_PIECE));
        file.write_all_at(&zeros, from)?;
        self.filled.store(upto, Ordering::Relaxed);
        Ok(())
    }

    fn direct(&self) -> io::Result<Arc<File>> {
        let mut direct = self.direct.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = direct.as_ref() {
            return Ok(Arc::clone(file));
        }
        let flag = i32::try_from(OFlags::DIRECT.bits()).map_err(io::Error::other)?;
        let direct_or_not = |write: bool| {
            let mut options = OpenOptions::new();
            options.read(true).write(write);
            match options.clone().custom_flags(flag).open(&self.path) {
                // Some file systems (older tmpfs, some network ones) refuse O_DIRECT: buffered writes with the same
                // sync are as durable, only slower.
                Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => options.open(&self.path),
                opened => opened,
            }
        };
        let file = match direct_or_not(true) {
            // Good for reads; a write through it fails.
            Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => direct_or_not(false)?,
            opened => opened?,
        };
        let file = Arc::new(file);
        *direct = Some(Arc::clone(&file));
        Ok(file)
    }
}

impl Seg for FileSeg {
    fn len(&self) -> u64 {
        self.len
    }

    fn pwrite(&self, buf: &AlignedBuf, off: u64) -> io::Result<()> {
        debug_assert_eq!(off % PAGE as u64, 0);
        if off + buf.len() as u64 > self.len {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "write past the end of a fixed-size file",
            ));
        }
        let file = self.direct()?;
        self.fill_ahead(&file, off, buf.len() as u64)?;
        // A short write continues where it stopped; O_DIRECT stops on a block boundary.
        file.write_all_at(buf, off)
    }

    fn pread(&self, buf: &mut [u8], off: u64) -> io::Result<()> {
        self.reads.read_exact_at(buf, off)
    }

    fn pread_nowait(&self, buf: &mut [u8], off: u64) -> io::Result<bool> {
        let wanted = buf.len();
        match rustix::io::preadv2(
            &self.reads,
            &mut [IoSliceMut::new(buf)],
            off,
            ReadWriteFlags::NOWAIT,
        ) {
            Ok(got) => Ok(got == wanted),
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn pread_direct(&self, buf: &mut AlignedBuf, off: u64) -> io::Result<()> {
        self.direct()?.read_exact_at(buf, off)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&*self.direct()?)?)
    }

    fn end_writes(&self) {
        *self.direct.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_past_the_cache_is_read_through_it_and_from_the_device() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(&dir.path().join("seg")).unwrap();
        for fill in [Fill::Reserve, Fill::Zero] {
            let seg = disk.create("0000000000000001", 1 << 20, fill).unwrap();
            let mut piece = AlignedBuf::zeroed(PAGE);
            seg.pread(&mut piece, 8192).unwrap();
            assert!(piece.iter().all(|b| *b == 0));
            piece.fill(7);
            seg.pwrite(&piece, 8192).unwrap();
            seg.sync().unwrap();
            seg.end_writes();
            let again = disk.open("0000000000000001").unwrap();
            assert_eq!(again.len(), 1 << 20);
            let mut back = [0; 100];
            again.pread(&mut back, 8192 + 50).unwrap();
            assert_eq!(back, [7; 100]);
            // The kernel may say "not now" of a page that somebody else holds for a moment.
            let at_hand = (0..1000).any(|_| again.pread_nowait(&mut back, 8192 + 50).unwrap());
            assert!(at_hand);
            let mut direct = AlignedBuf::zeroed(PAGE);
            again.pread_direct(&mut direct, 8192).unwrap();
            assert_eq!(direct[..], piece[..]);
            assert!(again.pwrite(&piece, 1 << 20).is_err());
        }
        assert_eq!(disk.list().unwrap(), ["0000000000000001"]);
        disk.remove("0000000000000001").unwrap();
        assert!(disk.list().unwrap().is_empty());
        assert!(disk.space().unwrap().total >= disk.space().unwrap().free);
    }
}
