//! The disk of a simulated machine: a [`FaultDisk`] whose operations are part
//! of the trace, and some of whose reads miss the page cache.
use std::io;
use std::sync::Arc;

use virga_disk::io::aligned::AlignedBuf;
use virga_disk::io::fault::FaultDisk;
use virga_disk::io::{Disk, Fill, Seg, Space};

use super::world::World;

/// Reads of a thousand that need the device.
const MISSES: u64 = 150;

/// A disk as its machine sees it.
pub struct TracedDisk {
    disk: FaultDisk,
    world: Arc<World>,
    machine: usize,
}

impl TracedDisk {
    /// `disk` in `machine`.
    pub fn new(disk: FaultDisk, world: &Arc<World>, machine: usize) -> Self {
        Self {
            disk,
            world: Arc::clone(world),
            machine,
        }
    }

    fn file(&self, name: &str, file: Arc<dyn Seg>) -> Arc<dyn Seg> {
        Arc::new(TracedFile {
            file,
            name: name.to_owned(),
            world: Arc::clone(&self.world),
            machine: self.machine,
        })
    }
}

impl Disk for TracedDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn Seg>> {
        Ok(self.file(name, self.disk.open(name)?))
    }

    fn create(&self, name: &str, len: u64, fill: Fill) -> io::Result<Arc<dyn Seg>> {
        let made = self.disk.create(name, len, fill);
        let fine = made.is_ok();
        self.world
            .note(format_args!("n{} disk creates {name}: {fine}", self.machine));
        Ok(self.file(name, made?))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.world
            .note(format_args!("n{} disk removes {name}", self.machine));
        self.disk.remove(name)
    }

    fn space(&self) -> io::Result<Space> {
        self.disk.space()
    }
}

struct TracedFile {
    file: Arc<dyn Seg>,
    name: String,
    world: Arc<World>,
    machine: usize,
}

impl TracedFile {
    fn note(&self, what: &str, off: u64, len: usize, fine: bool) {
        let (machine, name) = (self.machine, &self.name);
        let end = if fine { "" } else { " fails" };
        self.world
            .note(format_args!("n{machine} disk {what} {name} {off}+{len}{end}"));
    }
}

impl Seg for TracedFile {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn pwrite(&self, buf: &AlignedBuf, off: u64) -> io::Result<()> {
        let done = self.file.pwrite(buf, off);
        self.note("writes", off, buf.len(), done.is_ok());
        done
    }

    fn pread(&self, buf: &mut [u8], off: u64) -> io::Result<()> {
        let done = self.file.pread(buf, off);
        self.note("reads", off, buf.len(), done.is_ok());
        done
    }

    fn pread_nowait(&self, buf: &mut [u8], off: u64) -> io::Result<bool> {
        if self.world.strikes(MISSES) {
            return Ok(false);
        }
        self.file.pread_nowait(buf, off)
    }

    fn pread_direct(&self, buf: &mut AlignedBuf, off: u64) -> io::Result<()> {
        let done = self.file.pread_direct(buf, off);
        self.note("reads directly", off, buf.len(), done.is_ok());
        done
    }

    fn sync(&self) -> io::Result<()> {
        let done = self.file.sync();
        self.note("syncs", 0, 0, done.is_ok());
        done
    }

    fn end_writes(&self) {
        self.file.end_writes();
    }
}
