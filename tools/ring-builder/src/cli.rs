//! The command line: verbs and arguments of swift-ring-builder, and ours.
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use virga_ring::file::Format;

/// Make, change and look into rings. Without a verb: shows the ring.
///
/// FILE is the builder file (x.builder; its ring is x.ring.gz beside it) or
/// the ring file. Exit codes: 0 done, 1 warning or nothing to do, 2 error.
#[derive(Debug, Parser)]
#[command(
    name = "virga ring",
    rename_all = "snake_case",
    args_conflicts_with_subcommands = false
)]
pub(crate) struct Arguments {
    /// Builder or ring file.
    pub(crate) file: PathBuf,
    /// Print the result as one JSON document.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
pub(crate) enum Verb {
    /// Show the ring and its devices (what no verb does). Flag DEL: goes at the next rebalance.
    Show,
    /// Create a builder with 2^PART_POWER partitions.
    Create(Create),
    /// Add devices; they get partitions at the next rebalance.
    Add(Add),
    /// Remove devices at the next rebalance. For a healthy device, set its weight to 0 first.
    Remove(Choice),
    /// Change the weights of devices.
    SetWeight(ChangeMany),
    /// Move devices to another region.
    SetRegion(ChangeMany),
    /// Move devices to another zone.
    SetZone(ChangeMany),
    /// Change address, name or meta of devices. Use write_ring afterwards.
    SetInfo(SetInfo),
    /// Show matching devices.
    Search(Choice),
    /// List the partitions of matching devices.
    ListParts(Choice),
    /// Place every partition, moving the least, and write the ring.
    Rebalance(Rebalance),
    /// What a rebalance would move, and its lower bound; changes nothing.
    Plan(Plan),
    /// The fewest partition replicas any rebalance must move now.
    Bound(Seeded),
    /// Chance of losing data when devices fail together.
    Durability(Durability),
    /// What differs between this ring (or builder) and another.
    Diff {
        /// The newer ring file.
        other: PathBuf,
    },
    /// How well replicas are dispersed over regions, zones and servers.
    Dispersion(Dispersion),
    /// Check every assignment.
    Validate,
    /// Write the ring file again.
    WriteRing(WriteRing),
    /// Make a builder from a ring file (loses move times, overload, removal marks).
    WriteBuilder {
        /// Hours a partition rests after a move.
        min_part_hours: Option<u32>,
    },
    /// Versions of the ring file.
    Version,
    /// Change the replica count (may be fractional).
    SetReplicas {
        /// Replicas.
        replicas: f64,
    },
    /// Change how long a partition rests after a move.
    SetMinPartHours {
        /// Hours, 0 to 255.
        hours: u32,
    },
    /// Allow devices this much more than their share, for the sake of dispersion.
    SetOverload {
        /// A factor (0.1) or percentage (10%).
        overload: String,
    },
    /// Let every partition move again at once. Dangerous before replication has caught up.
    PretendMinPartHoursPassed,
    /// Announce doubled partitions (step 1 of 3); write_ring makes it known.
    PrepareIncreasePartitionPower,
    /// Double the partitions (step 2 of 3).
    IncreasePartitionPower,
    /// Go back instead of step 2.
    CancelIncreasePartitionPower,
    /// End the increase after the clean-up (step 3 of 3).
    FinishIncreasePartitionPower,
    /// Where names (or partitions) on standard input live, one JSON object a line.
    Lookup(Lookup),
}

impl Verb {
    /// Works on the ring file; the builder need not exist.
    pub(crate) fn reads_ring(&self) -> bool {
        matches!(
            self,
            Self::Version
                | Self::WriteBuilder { .. }
                | Self::Lookup(_)
                | Self::Diff { .. }
                | Self::Durability(_)
        )
    }

    /// Changes files: needs the folder's lock.
    pub(crate) fn writes(&self) -> bool {
        match self {
            Self::Dispersion(options) => options.recalculate,
            Self::Show | Self::Search(_) | Self::ListParts(_) | Self::Plan(_) | Self::Bound(_) => false,
            Self::Validate | Self::Version | Self::Lookup(_) | Self::Diff { .. } | Self::Durability(_) => {
                false
            }
            _ => true,
        }
    }
}

/// Arguments of `create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// log2 of the number of partitions, 0 to 32.
    pub(crate) part_power: u8,
    /// Replicas, 1 or more; may be fractional.
    pub(crate) replicas: f64,
    /// Hours a partition rests after a move.
    pub(crate) min_part_hours: u32,
}

/// Options that describe a device.
#[derive(Debug, Args, Default)]
pub(crate) struct DeviceOptions {
    /// Device number.
    #[arg(short = 'u', long)]
    pub(crate) id: Option<u32>,
    /// Region.
    #[arg(short, long)]
    pub(crate) region: Option<u32>,
    /// Zone.
    #[arg(short, long)]
    pub(crate) zone: Option<u32>,
    /// Address or host name.
    #[arg(short, long)]
    pub(crate) ip: Option<String>,
    /// Port.
    #[arg(short, long)]
    pub(crate) port: Option<u16>,
    /// Address for replication.
    #[arg(short = 'j', long)]
    pub(crate) replication_ip: Option<String>,
    /// Port for replication.
    #[arg(short = 'q', long)]
    pub(crate) replication_port: Option<u16>,
    /// Device name (sda).
    #[arg(short, long)]
    pub(crate) device: Option<String>,
    /// Weight.
    #[arg(short, long)]
    pub(crate) weight: Option<f64>,
    /// Meta text (a part of it, when searching).
    #[arg(short, long)]
    pub(crate) meta: Option<String>,
}

/// Arguments of `add`.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// `[r<region>]z<zone>-<ip>:<port>[R<ip>:<port>]/<device>[_<meta>] <weight>`, repeated.
    pub(crate) devices: Vec<String>,
    #[command(flatten)]
    pub(crate) options: DeviceOptions,
}

/// Devices to work on.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// `d<id>r<region>z<zone>-<ip>:<port>R<ip>:<port>/<device>_<meta>`, any part of it.
    pub(crate) searches: Vec<String>,
    #[command(flatten)]
    pub(crate) options: DeviceOptions,
    /// Answer yes to all questions.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Devices and a new value.
#[derive(Debug, Args)]
pub(crate) struct ChangeMany {
    /// `<search-value> <new value>`, repeated; with search options only the new value.
    #[arg(required = true)]
    pub(crate) values: Vec<String>,
    #[command(flatten)]
    pub(crate) options: DeviceOptions,
    /// Answer yes to all questions.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Arguments of `set_info`.
#[derive(Debug, Args)]
pub(crate) struct SetInfo {
    /// `<search-value> <ip>:<port>[R<ip>:<port>]/<device>_<meta>`, repeated.
    pub(crate) values: Vec<String>,
    #[command(flatten)]
    pub(crate) options: DeviceOptions,
    /// New address.
    #[arg(short = 'I', long)]
    pub(crate) change_ip: Option<String>,
    /// New port.
    #[arg(short = 'P', long)]
    pub(crate) change_port: Option<u16>,
    /// New replication address.
    #[arg(short = 'J', long)]
    pub(crate) change_replication_ip: Option<String>,
    /// New replication port.
    #[arg(short = 'Q', long)]
    pub(crate) change_replication_port: Option<u16>,
    /// New device name.
    #[arg(short = 'D', long)]
    pub(crate) change_device: Option<String>,
    /// New meta text.
    #[arg(short = 'M', long)]
    pub(crate) change_meta: Option<String>,
    /// Answer yes to all questions.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Format of the ring file to write.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FormatVersion {
    /// Read by every Swift.
    #[value(name = "1")]
    One,
    /// Sections with digests (Swift 2.36 and later).
    #[value(name = "2")]
    Two,
}

impl From<FormatVersion> for Format {
    fn from(version: FormatVersion) -> Self {
        match version {
            FormatVersion::One => Self::V1,
            FormatVersion::Two => Self::V2,
        }
    }
}

/// Chance of a rebalance.
#[derive(Debug, Args)]
pub(crate) struct Seeded {
    /// Any word or number; equal seeds make equal rings. Default: the builder's version.
    #[arg(short, long)]
    pub(crate) seed: Option<String>,
}

/// Arguments of `rebalance`.
#[derive(Debug, Args)]
pub(crate) struct Rebalance {
    /// A seed, as with --seed.
    pub(crate) seed_word: Option<String>,
    #[command(flatten)]
    pub(crate) seed: Seeded,
    /// Save even if less than 1 % changed.
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Show what moved between which devices.
    #[arg(short, long)]
    pub(crate) debug: bool,
    /// Ring format to write.
    #[arg(long)]
    pub(crate) format_version: Option<FormatVersion>,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) seed: Seeded,
    /// Bytes stored in the ring now (all replicas): shows moves in bytes.
    #[arg(long)]
    pub(crate) used: Option<u64>,
}

/// Arguments of `durability`.
#[derive(Debug, Args)]
pub(crate) struct Durability {
    /// Devices that fail together: the worst case asked about.
    #[arg(long, default_value_t = 10)]
    pub(crate) failures: usize,
}

/// Arguments of `dispersion`.
#[derive(Debug, Args)]
pub(crate) struct Dispersion {
    /// Only tiers whose name begins with a match of this regular expression.
    pub(crate) filter: Option<String>,
    /// Measure again and save the figure.
    #[arg(long)]
    pub(crate) recalculate: bool,
    /// Show every tier.
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// Arguments of `write_ring`.
#[derive(Debug, Args)]
pub(crate) struct WriteRing {
    /// Ring format to write.
    #[arg(long)]
    pub(crate) format_version: Option<FormatVersion>,
    /// Bytes of a device id, 2 or 4 (format 2 only).
    #[arg(long)]
    pub(crate) dev_id_bytes: Option<u8>,
}

/// Arguments of `lookup`.
#[derive(Debug, Args)]
pub(crate) struct Lookup {
    /// Lines are partition numbers, not names.
    #[arg(long)]
    pub(crate) parts: bool,
    /// Handoffs to show; -1 shows all.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) handoffs: i64,
    /// swift_hash_path_prefix of the cluster.
    #[arg(long, default_value = "")]
    pub(crate) hash_prefix: OsString,
    /// swift_hash_path_suffix of the cluster.
    #[arg(long, default_value = "")]
    pub(crate) hash_suffix: OsString,
}
