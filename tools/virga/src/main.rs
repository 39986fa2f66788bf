//! The binary: parses arguments and composes parts by role, nothing else.
//!
//! `virga up` ([`up`]) is a whole cloud in one process; `virga run` ([`run`])
//! the same parts ([`parts`]) by role and host; `virga ring` is
//! [`virga_ring_builder`]; `virga status` ([`status`]) asks a running one;
//! `virga verify` ([`verify`]) holds a file against an object; `virga policy`
//! ([`policy`]) and `virga audit` ([`audit`]) say who may do what and who did.
mod admin;
mod audit;
mod authority;
mod cli;
mod config;
mod control;
mod credentials;
mod front_door;
mod fsck;
mod health;
mod hosts;
mod housekeeping;
mod identity_control;
mod keys;
mod keystone;
mod lock;
mod login;
mod lookout;
mod object_keys;
mod parts;
mod placement;
mod policy;
mod rings;
mod run;
mod secrets;
mod status;
mod tls;
mod up;
mod verify;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Verb};

/// Small buffers come and go on every core at once: glibc's arenas keep twice
/// the memory for them, and take more CPU ([performance](../../../docs/performance.md)).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Why a verb failed: the exit code says whose fault it is.
enum Failure {
    /// It did not work (1).
    Failed(String),
    /// It was asked for wrongly (2).
    Usage(String),
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Up(flags) => up::run(&flags),
        Verb::Run(flags) => run::run(&flags),
        Verb::Admin(flags) => admin::run(&flags),
        Verb::Keys(flags) => keys::run(&flags),
        Verb::Status(flags) => match status::run(&flags) {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Verb::Verify(flags) => return verify::run(&flags),
        Verb::Policy(flags) => match policy::run(&flags) {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Verb::Audit(flags) => match audit::run(&flags) {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Verb::Ring { args } => {
            let code = virga_ring_builder::run(args, &mut std::io::stdout(), &mut std::io::stderr());
            return ExitCode::from(u8::try_from(code).unwrap_or(2));
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(reason)) => {
            eprintln!("virga: {reason}");
            ExitCode::from(1)
        }
        Err(Failure::Usage(reason)) => {
            eprintln!("virga: {reason}");
            ExitCode::from(2)
        }
    }
}
