//! The lab: a cloud of real processes, each host with a network namespace and
//! small disks of its own, faults drawn from a seed, clients that judge every
//! answer, and a verdict.
//!
//! A run ([`run`]) draws its faults ([`fault`]) from its seed and lets them
//! happen on a [`field::Field`]: a [`crate::cluster`] whose links are cut and
//! slowed ([`net`]) and whose disks are filled, corrupted, lost ([`disk`]). All
//! of it happens in an [`enclosure`] that leaves nothing behind, however it
//! ends. [`report`] writes down what many runs found.
//!
//! Left out: packets lost or reordered one by one (this needs netem, which not
//! every kernel has; cut, one-way and slow links are here), wrong clocks (the
//! clock is the machine's), power loss that takes unsynced pages along (the
//! simulation of the disk has that).
pub mod disk;
pub mod enclosure;
pub mod fault;
pub mod field;
pub mod net;
pub mod report;
pub mod run;

use std::process::{Command, Output};

/// Runs a program to its end; panics with what it said unless it ended well.
fn sh(words: &[&str]) -> String {
    let out = output(words);
    assert!(
        out.status.success(),
        "{}: {}\n{}",
        words.join(" "),
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Runs a program to its end, whatever that is.
fn output(words: &[&str]) -> Output {
    let (program, args) = words.split_first().expect("a program");
    let out = Command::new(program).args(args).output();
    out.unwrap_or_else(|e| panic!("{program}: {e}"))
}
