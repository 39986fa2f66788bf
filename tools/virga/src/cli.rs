//! The command line: what can be typed, and the help that teaches it.
pub mod identity;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use virga_node::telemetry::LogFormat;

/// Verbs by who needs them; clap lists subcommands flat, so this says it.
const GROUPS: &str = "\
For everyone:
  up       a whole cloud on this machine, in the foreground
  status   how every part and device is doing
  verify   prove that a file, or a range of it, is an object's bytes

For operators:
  run      chosen parts as a process of their own, from a configuration file
  admin    orders to devices: drain, scrub, what was set aside
  keys     the keys that seal tokens and secrets: look at them, rotate them
  policy   which rule guards what, and why somebody may do something or not
  audit    who did what, and that nobody changed the record of it
  ring     build and look into ring files (the verbs of swift-ring-builder)

Start here:
  virga up                                  then, in another shell:
  source virga-data/openrc-demo             the credentials of the demo user
  openstack token issue                     the clients you already have
  swift upload photos *.jpg

Exit codes: 0 fine, 1 failed, 2 wrong usage or configuration;
of verify: 0 equal, 1 differs, 2 cannot tell.";

/// A private cloud in one binary.
#[derive(Debug, Parser)]
#[command(name = "virga", version, after_help = GROUPS, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a whole cloud on this machine, in the foreground (Ctrl-C stops it)
    Up(Up),
    /// Run chosen parts from a configuration file
    Run(Run),
    /// Show how every part and device is doing
    Status(Status),
    /// Give orders to devices: drain, scrub, look at what was set aside
    Admin(Admin),
    /// Show and rotate the keys that seal tokens and secrets
    Keys(Keys),
    /// Prove that a file, or a range of it, is an object's bytes
    Verify(Verify),
    /// Which rule guards what, and why somebody may do something or not
    Policy(identity::Policy),
    /// Who did what, and that nobody changed the record of it
    Audit(identity::Audit),
    /// Build and look into ring files: virga ring FILE VERB ... (try: virga ring --help)
    #[command(disable_help_flag = true)]
    Ring {
        /// The file and the verb with its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// Where and how logs go.
#[derive(Debug, Clone, Args)]
pub struct Logging {
    /// Shape of the log lines on stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What to log, as in RUST_LOG: a level, or target=level pairs
    #[arg(long, env = "VIRGA_LOG", default_value = "info")]
    pub log: String,
}

/// Flags of `virga up`.
#[derive(Debug, Clone, Args)]
pub struct Up {
    /// Folder for everything the cloud keeps
    #[arg(long, default_value = "./virga-data")]
    pub data: PathBuf,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// Port of the front door (identity and the other services); 0 picks one
    #[arg(long, default_value_t = 5000)]
    pub port: u16,
    /// Port of the object store; 0 picks one
    #[arg(long, default_value_t = 8080)]
    pub object_port: u16,
    /// How many devices (folders under the data folder) to make on the first start [default: 1]
    #[arg(long, conflicts_with = "device")]
    pub devices: Option<u16>,
    /// A folder to use as a device, on the first start; may be repeated
    #[arg(long)]
    pub device: Vec<PathBuf>,
    /// Copies of every object, on the first start [default: 3, or as many as there are devices]
    #[arg(long)]
    pub replicas: Option<u8>,
    /// Name of the region in the catalog
    #[arg(long, default_value = "RegionOne")]
    pub region: String,
    /// URL under which clients reach the front door, when it is not the listen address
    #[arg(long)]
    pub public_url: Option<String>,
    /// Speak HTTPS on both ports, with an authority of the cloud's own (DIR/ca.pem); stays so
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key"])]
    pub tls: bool,
    /// Speak HTTPS on both ports, with this certificate (PEM, the server's own first); stays so
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The key of --tls-cert (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Logging.
    #[command(flatten)]
    pub logging: Logging,
}

/// Flags of `virga run`.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// The configuration file (virga up writes one: DIR/virga.toml)
    #[arg(long)]
    pub config: PathBuf,
    /// Parts to run: proxy, object-server, identity; controller is short for all API parts
    #[arg(long, value_delimiter = ',', required = true)]
    pub role: Vec<String>,
    /// Logging.
    #[command(flatten)]
    pub logging: Logging,
}

/// How `virga keys` is used.
const KEYS_HELP: &str = "\
A key is staged (0: it opens, and seals after the next rotation), then primary (the highest number: it seals),
then secondary (it opens what it sealed), then it goes. As in Keystone; its key folders may be copied here.

  virga keys status                     every key, since when, and whether rotating is safe now
  virga keys rotate token               once a week, say; live tokens stay good
  virga keys rotate credential          secrets at rest are sealed anew with the new key

On the host with the role identity, whether the cloud runs or not.";

/// Flags of `virga keys`.
#[derive(Debug, Clone, Args)]
#[command(after_help = KEYS_HELP)]
pub struct Keys {
    /// The data folder of the host with the role identity
    #[arg(long, default_value = "./virga-data", global = true)]
    pub data: PathBuf,
    /// Machine-readable output: one JSON document
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: KeysVerb,
}

/// What there is to do with keys.
#[derive(Debug, Clone, Subcommand)]
pub enum KeysVerb {
    /// Every key, what it is for and since when
    Status,
    /// The staged key becomes the primary, a new one is staged, the oldest goes
    Rotate {
        /// Which keys
        #[arg(value_enum)]
        which: WhichKeys,
        /// Even if tokens that are still good end by it
        #[arg(long)]
        force: bool,
    },
}

/// The keys of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum WhichKeys {
    /// Tokens
    Token,
    /// Secrets that identity keeps: EC2 keys, consumers, options of domains
    Credential,
    /// Objects that the cloud encrypts
    Object,
}

/// How `virga admin` is used.
const ADMIN_HELP: &str = "\
DEVICE is as `virga status` shows it: 10.0.0.1:6200/d1, or d1 where only one host has a d1.

  virga admin device list                           every device: state, why, room
  virga admin device drain d3 --note 'it clicks'    no writes; what it holds goes to others
  virga status --watch                              how far that is, and what to type when it is done
  virga admin device undrain d3                     use it again
  virga admin scrub now --device d3                 read all of it from the medium, now
  virga admin quarantine list                       damaged records that were taken out of service
  virga admin stale list                            objects that may have been deleted elsewhere
  virga admin owed                                  rows that listings do not show yet
  virga admin fsck AUTH_1a2b --repair               objects and listings of an account, made to agree

Orders go through the control socket in the data folder of a proxy or an object server: whoever may open that
folder may give them. They are kept on the device and outlive restarts.";

/// Flags of `virga admin`.
#[derive(Debug, Clone, Args)]
#[command(after_help = ADMIN_HELP)]
pub struct Admin {
    /// The data folder of a process that knows the devices
    #[arg(long, default_value = "./virga-data", global = true)]
    pub data: PathBuf,
    /// Machine-readable output: one JSON document
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: AdminVerb,
}

/// What there is to order.
#[derive(Debug, Clone, Subcommand)]
pub enum AdminVerb {
    /// Devices: look at them, stop their writes, empty them
    Device {
        /// What to do.
        #[command(subcommand)]
        verb: DeviceVerb,
    },
    /// Compare replicas without waiting for the next round
    Reconcile {
        /// What to do.
        #[command(subcommand)]
        verb: NowVerb,
    },
    /// The look for rot
    Scrub {
        /// What to do.
        #[command(subcommand)]
        verb: ScrubVerb,
    },
    /// Copies of damaged records
    Quarantine {
        /// What to do.
        #[command(subcommand)]
        verb: KeptVerb,
    },
    /// Objects whose deletion may have been forgotten while their device was away
    Stale {
        /// What to do.
        #[command(subcommand)]
        verb: KeptVerb,
    },
    /// Rows of listings that devices owe to containers
    Owed {
        /// Of this device only
        #[arg(long)]
        device: Option<String>,
    },
    /// Hold an account's objects against its listings, both ways
    Fsck {
        /// The account, as in its URL: AUTH_ and the project's id
        account: String,
        /// Repair what differs; without it nothing is changed
        #[arg(long)]
        repair: bool,
    },
}

/// Orders to a device.
#[derive(Debug, Clone, Subcommand)]
pub enum DeviceVerb {
    /// Every device, its state and why
    List,
    /// One device with all that is known of it
    Show {
        /// The device
        device: String,
    },
    /// No writes, and copy what it holds to others; it stays in the rings until you take it out
    Drain {
        /// The device
        device: String,
        /// Why, for whoever asks later
        #[arg(long, default_value = "")]
        note: String,
    },
    /// End a drain: the device takes writes again
    Undrain {
        /// The device
        device: String,
    },
    /// No writes, reads go on
    ReadOnly {
        /// The device
        device: String,
        /// Why, for whoever asks later
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Reads and writes; also forgives damaged records
    Active {
        /// The device
        device: String,
    },
}

/// Something to begin.
#[derive(Debug, Clone, Subcommand)]
pub enum NowVerb {
    /// Begin at once
    Now {
        /// On this device only
        #[arg(long)]
        device: Option<String>,
    },
}

/// The scrub.
#[derive(Debug, Clone, Subcommand)]
pub enum ScrubVerb {
    /// Begin a new pass at once, a segment a second
    Now {
        /// On this device only
        #[arg(long)]
        device: Option<String>,
    },
    /// How far it is, and what the last pass found
    Status {
        /// Of this device only
        #[arg(long)]
        device: Option<String>,
    },
}

/// Files that devices keep for an operator.
#[derive(Debug, Clone, Subcommand)]
pub enum KeptVerb {
    /// What is kept
    List {
        /// On this device only
        #[arg(long)]
        device: Option<String>,
    },
    /// What one of them says of itself, and its first bytes
    Show {
        /// The device
        device: String,
        /// The name that `list` shows
        name: String,
    },
    /// Remove for good
    Purge {
        /// The device
        device: String,
        /// The names that `list` shows
        #[arg(required_unless_present = "all")]
        names: Vec<String>,
        /// All of the device
        #[arg(long, conflicts_with = "names")]
        all: bool,
    },
}

/// What `virga status` shows, and what its exit code means.
const STATUS_HELP: &str = "\
The first line says how the cloud is: ok, moving (all copies are there, data is on its way to where a new
ring wants it), degraded (something has fewer copies than wanted, or will), critical (some partitions have
fewer copies than a quorum). Below stands what is the matter, for how long, what lacks copies, what is being
done, when it ends, and what to type where nothing will happen by itself.

  virga status                           at a glance
  virga status --watch                   with progress, every second
  virga status --json | jq .health       for machines: docs/operations/health.md describes it
  virga status --wait --timeout 600      until all is well

Ask a process that knows the rings (a proxy or an object server) for the health of the whole cloud.
Exit codes: 0 well (ok, moving), 1 degraded or critical, 2 cannot tell (nobody answers).";

/// Flags of `virga status`.
#[derive(Debug, Clone, Args)]
#[command(after_help = STATUS_HELP)]
pub struct Status {
    /// The data folder of the cloud to ask
    #[arg(long, default_value = "./virga-data")]
    pub data: PathBuf,
    /// Only the process with this role, when several run on the folder
    #[arg(long)]
    pub role: Option<String>,
    /// Machine-readable output: one JSON object for each process
    #[arg(long)]
    pub json: bool,
    /// Show it again every second until interrupted
    #[arg(long, conflicts_with_all = ["json", "wait"])]
    pub watch: bool,
    /// Wait until all is well: every part and host there, no ring change under way, all replicas compared
    /// since; with --json, then shows it
    #[arg(long)]
    pub wait: bool,
    /// Give up --wait after so many seconds, with exit code 1
    #[arg(long, requires = "wait", value_name = "SECONDS")]
    pub timeout: Option<u64>,
}

/// Flags of `virga verify`.
#[derive(Debug, Clone, Args)]
#[command(after_help = VERIFY_HELP)]
pub struct Verify {
    /// The file: the whole download, or with --range just that part of it
    pub file: PathBuf,
    /// The object (http[s]://HOST:PORT/v1/ACCOUNT/CONTAINER/OBJECT, a temporary URL too)
    pub url: Option<String>,
    /// Only these bytes of the object: FIRST-LAST, FIRST- or -COUNT
    #[arg(long, allow_hyphen_values = true, value_name = "A-B")]
    pub range: Option<String>,
    /// The object's BLAKE3, noted when it was stored [default: what the server says now]
    #[arg(long, value_name = "HEX")]
    pub root: Option<String>,
    /// A proof of the range that was fetched before, in place of asking the server for one
    #[arg(long, value_name = "FILE")]
    pub proof: Option<PathBuf>,
    /// Authorities whose certificates are believed, PEM [default: OS_CACERT, else the system's]
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// Token for the server [default: from OS_AUTH_TOKEN or the OS_* of an openrc file, if the server asks]
    #[arg(long)]
    pub token: Option<String>,
    /// Machine-readable output: one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What comes of verifying.
const VERIFY_HELP: &str = "\
Exit codes: 0 equal, 1 differs, 2 cannot tell.

  virga verify photo.jpg http://127.0.0.1:8080/v1/AUTH_x/photos/photo.jpg
  virga verify photo.jpg --root 9fb1...                       without any server
  virga verify part.bin http://.../film.mkv --range 1000-1999";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ring_passes_its_arguments_through_untouched() {
        let cli = Cli::parse_from(["virga", "ring", "a.builder", "rebalance", "--seed", "7"]);
        let Verb::Ring { args } = cli.verb else {
            panic!("not ring")
        };
        assert_eq!(args, ["a.builder", "rebalance", "--seed", "7"]);
    }
}
