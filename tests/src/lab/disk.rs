//! A small disk of a lab: a file system in a file, mounted. The device of the
//! object server is a folder on it, so that others can use up its room.
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{output, sh};
use crate::chance::Chance;

/// Size of a disk, bytes.
const SIZE: u64 = 512 << 20;
/// How long a process that was killed may keep a disk busy.
const BUSY: Duration = Duration::from_secs(10);
/// Bytes of one look for something that is not zero.
const PAGE: usize = 4096;

/// A disk that is mounted.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    /// A new disk called `name` in `folder`; `link` becomes a link to the
    /// folder on it that the device is to be in.
    pub fn new(folder: &Path, name: &str, link: &Path) -> Self {
        let disk = Self {
            image: folder.join(format!("{name}.img")),
            mount: folder.join(name),
        };
        std::fs::create_dir_all(&disk.mount).expect("a folder");
        disk.make();
        std::os::unix::fs::symlink(disk.device(), link).expect("a link");
        disk
    }

    /// Where the device is.
    pub fn device(&self) -> PathBuf {
        self.mount.join("device")
    }

    fn make(&self) {
        let _ = std::fs::remove_file(&self.image);
        let file = std::fs::File::create(&self.image).expect("an image");
        file.set_len(SIZE).expect("room for an image");
        let image = self.image.to_str().expect("UTF-8");
        sh(&[
            "mkfs.ext4",
            "-q",
            "-F",
            "-m",
            "0",
            "-E",
            "lazy_itable_init=1,nodiscard",
            image,
        ]);
        self.attach();
    }

    fn attach(&self) {
        let (image, mount) = self.paths();
        // As usual with data disks: after an error of the file system it is
        // read-only, whoever uses it.
        sh(&["mount", "-o", "loop,errors=remount-ro", image, mount]);
        std::fs::create_dir_all(self.device()).expect("a folder");
    }

    fn paths(&self) -> (&str, &str) {
        (
            self.image.to_str().expect("UTF-8"),
            self.mount.to_str().expect("UTF-8"),
        )
    }

    /// Takes the disk out; nobody may use it.
    fn detach(&self) {
        let (_, mount) = self.paths();
        let deadline = Instant::now() + BUSY;
        loop {
            let out = output(&["umount", mount]);
            if out.status.success() {
                return;
            }
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(Instant::now() < deadline, "{mount} stays in use: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// An empty disk takes the place of this one; nobody may use it.
    pub fn swap(&self) {
        self.detach();
        self.make();
    }

    /// Somebody else's file takes the room, all but `left` bytes.
    pub fn fill(&self, left: u64) {
        let room = rustix::fs::statvfs(&self.mount).expect("a file system");
        let mut want = (room.f_bavail * room.f_frsize).saturating_sub(left);
        let file = OpenOptions::new().create(true).append(true).open(self.foreign());
        let (file, mut at) = (file.expect("a file"), 0);
        let flags = rustix::fs::FallocateFlags::empty();
        // The file system needs some for itself, and others take some meanwhile.
        while want >= PAGE as u64 {
            match rustix::fs::fallocate(&file, flags, at, want) {
                Ok(()) if left > 0 => return,
                Ok(()) => at += want,
                Err(rustix::io::Errno::NOSPC) => want /= 2,
                Err(error) => panic!("{}: {error}", self.foreign().display()),
            }
        }
    }

    /// The file is deleted, for good: an error of the file system would bring it back from the journal.
    pub fn free(&self) {
        let _ = std::fs::remove_file(self.foreign());
        if let Ok(folder) = std::fs::File::open(&self.mount) {
            let _ = rustix::fs::syncfs(folder);
        }
    }

    fn foreign(&self) -> PathBuf {
        self.mount.join("foreign")
    }

    /// The file system meets an error and is read-only from now on.
    pub fn fail(&self) {
        let (_, mount) = self.paths();
        let source = sh(&["findmnt", "-n", "-o", "SOURCE", mount]);
        let name = source.trim().trim_start_matches("/dev/");
        let trigger = format!("/sys/fs/ext4/{name}/trigger_fs_error");
        std::fs::write(&trigger, "lab").unwrap_or_else(|e| panic!("{trigger}: {e}"));
    }

    /// Checks and mounts it again; nobody may use it.
    pub fn repair(&self) {
        self.detach();
        let (image, _) = self.paths();
        let code = output(&["e2fsck", "-fy", image]).status.code();
        assert!(matches!(code, Some(0 | 1)), "e2fsck {image}: {code:?}");
        self.attach();
    }

    /// Flips one bit each in `count` places of the device's segments that are
    /// written; how many there were.
    pub fn flip(&self, count: usize, chance: &mut Chance) -> usize {
        let mut written = self.written();
        let count = count.min(written.len());
        for _ in 0..count {
            let (file, at) = written.swap_remove(chance.below(written.len() as u64) as usize);
            let open = OpenOptions::new().read(true).write(true).open(file);
            let (open, mut byte) = (open.expect("a segment"), [0]);
            let spot = at + chance.below(PAGE as u64);
            open.read_exact_at(&mut byte, spot).expect("a byte");
            byte[0] ^= 1 << chance.below(8);
            open.write_all_at(&byte, spot).expect("a write");
            open.sync_data().expect("a sync");
        }
        count
    }

    /// Cuts a segment short, at a place where something is written; nobody may
    /// use the device.
    pub fn truncate(&self, chance: &mut Chance) -> String {
        let mut written = self.written();
        let (file, at) = written.swap_remove(chance.below(written.len() as u64) as usize);
        let open = OpenOptions::new().write(true).open(&file).expect("a segment");
        let keep = at + chance.below(PAGE as u64);
        open.set_len(keep).expect("a cut");
        format!("{} cut to {keep} bytes", file.display())
    }

    /// Deletes the derived index; nobody may use the device.
    pub fn drop_index(&self) {
        std::fs::remove_dir_all(self.device().join("index")).expect("an index");
    }

    /// Every page of the segments that is not all zeros.
    fn written(&self) -> Vec<(PathBuf, u64)> {
        let mut written = Vec::new();
        for file in self.segments() {
            let open = std::fs::File::open(&file).expect("a segment");
            let mut page = vec![0; PAGE];
            let len = open.metadata().map_or(0, |meta| meta.len());
            for at in (0..len).step_by(PAGE) {
                let read = open.read_at(&mut page, at).unwrap_or_default();
                if page[..read].iter().any(|byte| *byte != 0) {
                    written.push((file.clone(), at));
                }
            }
        }
        written
    }

    fn segments(&self) -> Vec<PathBuf> {
        let folder = self.device().join("seg");
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    }
}

impl Drop for Disk {
    /// Takes it out, if it can be; the enclosure's end does it for certain.
    fn drop(&mut self) {
        let (_, mount) = self.paths();
        output(&["umount", "-l", mount]);
        let _ = std::fs::remove_file(&self.image);
    }
}
