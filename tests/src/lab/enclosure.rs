//! Where a lab lives: namespaces for the network, mounts and processes of its
//! own, made by `unshare` around a second start of the test's binary.
//!
//! When the first process of a process namespace ends, the kernel kills the
//! others; with the last process the namespaces go, with the mount namespace
//! every mount in it, with the mounts the loop devices and the memory under the
//! files. So a lab leaves nothing behind, whether it ends, panics, or is killed,
//! and there is nothing that a next run would have to clean up.
use std::process::{Command, ExitStatus, Stdio};

use super::{output, sh};

/// Says inside that it is inside.
const INSIDE: &str = "VIRGA_LAB_INSIDE";
/// What the lab calls.
const TOOLS: [&str; 11] = [
    "unshare",
    "setpriv",
    "nsenter",
    "ip",
    "tc",
    "nft",
    "mount",
    "umount",
    "mkfs.ext4",
    "e2fsck",
    "findmnt",
];
/// Memory that folders, disk images included, may take.
const ROOM: &str = "size=6g,mode=755";

/// What came of a call of [`enclosed`].
#[derive(Debug)]
pub enum Enclosed {
    /// This process is inside; the lab is made ready.
    Inside,
    /// This process is outside; the one inside has ended, like this.
    Ended(ExitStatus),
    /// There can be no lab here, because of this.
    Impossible(String),
}

/// Starts the calling test a second time, inside an enclosure, and waits for
/// it. `test` is its name as the test harness knows it.
pub fn enclosed(test: &str) -> Enclosed {
    if std::env::var_os(INSIDE).is_some() {
        prepare();
        return Enclosed::Inside;
    }
    if let Some(why) = obstacle() {
        return Enclosed::Impossible(why);
    }
    let exe = std::env::current_exe().expect("the path of the test");
    let ended = around()
        .arg(exe)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "yes")
        .stdin(Stdio::null())
        .status();
    Enclosed::Ended(ended.expect("setpriv was found"))
}

/// The words that put a program into an enclosure that dies with this thread.
fn around() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid"]);
    command.args(["--fork", "--kill-child", "--mount-proc"]);
    command
}

/// Why there can be no lab on this machine.
fn obstacle() -> Option<String> {
    let missing: Vec<&str> = TOOLS.into_iter().filter(|tool| !found(tool)).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Some(format!("not installed: {missing} (tools/install-missing test)"));
    }
    let tried = around()
        .args(["ip", "link", "add", "x", "type", "bridge"])
        .output();
    match tried {
        Ok(out) if out.status.success() => None,
        Ok(out) => {
            let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
            Some(format!(
                "no namespaces (root with CAP_SYS_ADMIN and CAP_NET_ADMIN is needed): {said}"
            ))
        }
        Err(error) => Some(format!("setpriv: {error}")),
    }
}

fn found(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}

/// A /run of its own, for the names of network namespaces and the files.
fn prepare() {
    sh(&["mount", "-t", "tmpfs", "-o", ROOM, "lab", "/run"]);
    std::fs::create_dir_all("/run/netns").expect("a folder");
    sh(&["ip", "link", "set", "lo", "up"]);
    let free = output(&["df", "-h", "/run"]);
    print!("{}", String::from_utf8_lossy(&free.stdout));
}
