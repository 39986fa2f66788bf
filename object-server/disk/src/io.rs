//! The one door to storage: [`Disk`] hands out fixed-size files, [`Seg`] reads and writes one of them.
//!
//! Used by [`crate::segment`], [`crate::log`] and [`crate::reader`]; implemented by [`file::FileDisk`] for real
//! devices, [`mem::MemDisk`] for the tests of upper layers and [`fault::FaultDisk`] for crash tests. Growing
//! files, renames and anything `RocksDB` does are left out.

pub mod aligned;
pub mod fault;
pub mod file;
pub mod mem;

use std::io;
use std::sync::Arc;

use aligned::AlignedBuf;

/// The unit of direct I/O and of layout: every write starts and ends on a multiple of it, in bytes.
pub const PAGE: usize = 4096;

/// Writes longer than this, in bytes, pay for their own blocks: zeros ahead of them would double what they cost.
pub const SMALL: u64 = 256 << 10;

/// How a new file gets its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Blocks are reserved but unwritten: immediate, and the first write of each block costs a journal commit.
    Reserve,
    /// Blocks are written with zeros: later writes change no extent, so a sync is data plus one device flush.
    Zero,
}

/// What the file system under a disk says about itself, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Size of the file system.
    pub total: u64,
    /// Bytes an unprivileged writer can still take.
    pub free: u64,
}

/// A folder of fixed-size files on one device.
pub trait Disk: Send + Sync + 'static {
    /// Opens an existing file.
    ///
    /// # Errors
    /// `NotFound` if there is none, or what the file system says.
    fn open(&self, name: &str) -> io::Result<Arc<dyn Seg>>;

    /// Makes a file of `len` bytes that reads as zeros, and makes its name durable. A file of that name that is
    /// already there (a preparation cut short by a crash) is prepared again.
    ///
    /// # Errors
    /// `StorageFull` when the blocks cannot be had, or what the file system says.
    fn create(&self, name: &str, len: u64, fill: Fill) -> io::Result<Arc<dyn Seg>>;

    /// Names of all files, in no order.
    ///
    /// # Errors
    /// What the file system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Deletes a file and makes that durable.
    ///
    /// # Errors
    /// What the file system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Size and free space of the file system.
    ///
    /// # Errors
    /// What the file system says.
    fn space(&self) -> io::Result<Space>;
}

/// One open file of fixed size.
pub trait Seg: Send + Sync {
    /// Size in bytes.
    fn len(&self) -> u64;

    /// True for a file of no bytes (a preparation cut short).
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the whole buffer at `off` (a multiple of [`PAGE`]), past the page cache where the file system
    /// allows. Durable only after [`Seg::sync`].
    ///
    /// # Errors
    /// After any error the written range holds anything at all; the caller must not use it again.
    fn pwrite(&self, buf: &AlignedBuf, off: u64) -> io::Result<()>;

    /// Fills `buf` from `off`, through the page cache.
    ///
    /// # Errors
    /// `UnexpectedEof` past the end, or what the device says.
    fn pread(&self, buf: &mut [u8], off: u64) -> io::Result<()>;

    /// Fills `buf` from `off` if that needs no wait for the device, and says whether it did. When it did not,
    /// the content of `buf` is unspecified.
    ///
    /// # Errors
    /// As [`Seg::pread`].
    fn pread_nowait(&self, buf: &mut [u8], off: u64) -> io::Result<bool>;

    /// Fills the buffer from `off` (a multiple of [`PAGE`]) from the device itself, so that the caller sees what
    /// the medium holds and not what the page cache remembers.
    ///
    /// # Errors
    /// As [`Seg::pread`].
    fn pread_direct(&self, buf: &mut AlignedBuf, off: u64) -> io::Result<()>;

    /// Makes every completed write durable (fdatasync).
    ///
    /// # Errors
    /// After an error nothing is known about any write since the last success, and asking again proves nothing.
    fn sync(&self) -> io::Result<()>;

    /// Says that no write follows soon, so that what only writes need can be let go.
    fn end_writes(&self) {}
}
