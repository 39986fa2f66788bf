//! `virga-bench`: closed-loop load on a Swift, S3 or Keystone endpoint, and the
//! limits of the machine it runs on, as JSON lines that `tools/bench/report`,
//! `tools/bench/peers` and `tools/bench/identity` turn into the tables of
//! docs/performance.md.
//!
//! A closed loop: every connection sends its next request when the last is
//! answered. One request in flight a connection, HTTP/1.1 keep-alive, bodies
//! that cannot be compressed and differ between objects.
mod dialect;
mod identity;
mod limits;
mod load;
mod process;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use dialect::{Dialect, S3, Swift};

#[derive(Debug, Parser)]
#[command(
    name = "virga-bench",
    version,
    about = "Closed-loop load on a Swift, S3 or Keystone endpoint; the machine's limits"
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// PUT, GET, HEAD, DELETE and LIST against a storage URL
    Swift {
        /// Where.
        #[command(flatten)]
        at: Swift,
        /// What.
        #[command(flatten)]
        load: Load,
    },
    /// The same against an S3 endpoint
    S3 {
        /// Where.
        #[command(flatten)]
        at: S3,
        /// What.
        #[command(flatten)]
        load: Load,
    },
    /// Sign-ins, validation of tokens and lists against a Keystone endpoint
    Identity(identity::Identity),
    /// What this machine does at most: fdatasync, loopback, checksums
    Limits {
        /// A folder on the disk to measure
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
}

/// The load and what is measured beside it.
#[derive(Debug, Clone, Args)]
pub struct Load {
    /// Name of the run in the output
    #[arg(long, default_value = "virga")]
    pub label: String,
    /// Body sizes: 4k, 1m, 64m
    #[arg(long, value_delimiter = ',', default_value = "4k,1m", value_parser = size)]
    pub sizes: Vec<usize>,
    /// Connections
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    pub conns: Vec<usize>,
    /// Operations, in this order
    #[arg(long, value_delimiter = ',', default_value = "put,get,head,list,delete")]
    pub ops: Vec<String>,
    /// Seconds a phase lasts
    #[arg(long, default_value_t = 3)]
    pub secs: u64,
    /// Most bytes a PUT phase may write, in MiB
    #[arg(long, default_value_t = 2048)]
    pub max_mib: u64,
    /// Root processes of the server: their CPU time and memory, and their children's
    #[arg(long, value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Folders of the server: how much they grow while objects are stored
    #[arg(long, value_delimiter = ',')]
    pub disk: Vec<PathBuf>,
    /// Names in the container that is listed, in pages of 1000
    #[arg(long, default_value_t = 10_000)]
    pub list_rows: u64,
}

/// Reads "4k", "1m", "100".
fn size(text: &str) -> Result<usize, String> {
    let lower = text.to_ascii_lowercase();
    let (digits, unit) = match lower.strip_suffix('k') {
        Some(digits) => (digits, 1024),
        None => lower
            .strip_suffix('m')
            .map_or((lower.as_str(), 1), |digits| (digits, 1024 * 1024)),
    };
    digits
        .parse::<usize>()
        .map(|n| n * unit)
        .map_err(|_| format!("{text}: a size is 4k, 1m or a number of bytes"))
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Swift { at, load } => load::run(Dialect::Swift(at), &load),
        Verb::S3 { at, load } => load::run(Dialect::S3(at), &load),
        Verb::Identity(load) => identity::run(&load),
        Verb::Limits { dir } => limits::run(&dir),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("virga-bench: {reason}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Cli, size};

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(
            (size("4k"), size("1M"), size("7")),
            (Ok(4096), Ok(1 << 20), Ok(7))
        );
        assert!(size("many").is_err());
    }
}
