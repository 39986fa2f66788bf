//! The command line: verbs and arguments of swift-ring-builder, and ours.
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use virga_ring::file::Format;

use crate::examples;
use crate::quantity::Bytes;
use crate::secrets::HashSecrets;
use crate::verbs::{Compose, Export, Import};

/// Make, change and look into rings. Without a verb: shows the ring.
///
/// FILE is the builder file (x.builder; its ring is x.ring.gz beside it) or
/// the ring file. Exit codes: 0 done, 1 warning or nothing to do, 2 error.
#[derive(Debug, Parser)]
#[command(
    name = "virga ring",
    rename_all = "snake_case",
    infer_long_args = true,
    args_conflicts_with_subcommands = false,
    after_help = examples::TOOL
)]
pub(crate) struct Arguments {
    /// Builder or ring file.
    pub(crate) file: PathBuf,
    /// Print the result (and any error) as one JSON document.
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
    #[command(after_help = examples::CREATE)]
    /// Create a builder with 2^PART_POWER partitions.
    Create(Create),
    #[command(after_help = examples::ADD)]
    /// Add devices; they get partitions at the next rebalance.
    Add(Add),
    #[command(after_help = examples::REMOVE)]
    /// Remove devices at the next rebalance. For a healthy device, set its weight to 0 first.
    Remove(Choice),
    #[command(after_help = examples::SET_WEIGHT)]
    /// Change the weights of devices.
    SetWeight(ChangeMany),
    #[command(after_help = examples::SET_REGION)]
    /// Move devices to another region.
    SetRegion(ChangeMany),
    #[command(after_help = examples::SET_ZONE)]
    /// Move devices to another zone.
    SetZone(ChangeMany),
    #[command(after_help = examples::SET_INFO)]
    /// Change address, name or meta of devices. Use write_ring afterwards.
    SetInfo(SetInfo),
    #[command(after_help = examples::SEARCH)]
    /// Show matching devices.
    Search(Choice),
    #[command(after_help = examples::LIST_PARTS)]
    /// List the partitions of matching devices.
    ListParts(Choice),
    #[command(after_help = examples::REBALANCE)]
    /// Place every partition, moving the least, and write the ring.
    Rebalance(Rebalance),
    #[command(after_help = examples::PLAN)]
    /// What a rebalance would move, and its lower bound; changes nothing.
    Plan(Plan),
    /// The fewest partition replicas any rebalance must move now.
    Bound(Seeded),
    #[command(after_help = examples::DURABILITY)]
    /// Chance of losing data when devices fail together.
    Durability(Durability),
    #[command(after_help = examples::DIFF)]
    /// What differs between this ring (or builder) and another.
    Diff {
        /// The newer ring file.
        other: PathBuf,
    },
    #[command(after_help = examples::DISPERSION)]
    /// How well replicas are dispersed over regions, zones and servers.
    Dispersion(Dispersion),
    /// Check every assignment.
    Validate,
    #[command(after_help = examples::WRITE_RING)]
    /// Write the ring file again.
    WriteRing(WriteRing),
    #[command(after_help = examples::WRITE_BUILDER)]
    /// Make a builder from a ring file (loses move times, overload, removal marks).
    WriteBuilder {
        /// Hours a partition rests after a move.
        #[arg(allow_negative_numbers = true)]
        min_part_hours: Option<i64>,
    },
    /// Versions of the ring file.
    Version,
    #[command(after_help = examples::SET_REPLICAS)]
    /// Change the replica count (may be fractional).
    SetReplicas {
        /// Replicas.
        #[arg(allow_negative_numbers = true)]
        replicas: f64,
    },
    #[command(after_help = examples::SET_MIN_PART_HOURS)]
    /// Change how long a partition rests after a move.
    SetMinPartHours {
        /// Hours, 0 to 255.
        #[arg(allow_negative_numbers = true)]
        hours: i64,
    },
    #[command(after_help = examples::SET_OVERLOAD)]
    /// Allow devices this much more than their share, for the sake of dispersion.
    SetOverload {
        /// A factor (0.1) or percentage (10%).
        #[arg(allow_negative_numbers = true)]
        overload: String,
    },
    #[command(after_help = examples::PRETEND)]
    /// Let every partition move again at once. Dangerous before replication has caught up.
    PretendMinPartHoursPassed,
    #[command(after_help = examples::PREPARE)]
    /// Announce doubled partitions (step 1 of 3); write_ring makes it known.
    PrepareIncreasePartitionPower,
    /// Double the partitions (step 2 of 3).
    IncreasePartitionPower,
    /// Go back instead of step 2.
    CancelIncreasePartitionPower,
    /// End the increase after the clean-up (step 3 of 3).
    FinishIncreasePartitionPower,
    #[command(after_help = examples::LOOKUP)]
    /// Where names (or partitions) on standard input live, one JSON object a line.
    Lookup(Lookup),
    /// Where one name lives: partition, devices, handoffs, how to ask them (swift-get-nodes).
    #[command(after_help = examples::NODES)]
    Nodes(Nodes),
    /// Play a scenario of changes (swift-ring-builder-analyzer); FILE is the scenario.
    #[command(alias = "simulate", after_help = examples::ANALYZE)]
    Analyze(Analyze),
    /// Take over a builder file of Swift; FILE is the builder to make.
    #[command(aliases = ["import_builder", "import-builder"], after_help = examples::IMPORT)]
    Import(Import),
    /// Write the builder for Swift's tool, so that one can go back.
    #[command(aliases = ["export_builder", "export-builder"], after_help = examples::EXPORT)]
    Export(Export),
    /// Make one ring of several builders with regions of their own; FILE remembers of which.
    #[command(after_help = examples::COMPOSE)]
    Compose(Compose),
    /// Draw the devices, how full they are, and what a plan moves, as SVG.
    #[command(after_help = examples::DRAW)]
    Draw(Draw),
    /// Limit on how many others a device depends, or lift the limit (none).
    #[command(after_help = examples::SET_SCATTER_LIMIT)]
    SetScatterLimit {
        /// Devices, or none.
        limit: String,
    },
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
                | Self::Nodes(_)
                | Self::Analyze(_)
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
            // They may write, but not the files of FILE.
            Self::Nodes(_) | Self::Analyze(_) | Self::Draw(_) => false,
            _ => true,
        }
    }
}

/// Arguments of `create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// log2 of the number of partitions, 0 to 32.
    #[arg(allow_negative_numbers = true)]
    pub(crate) part_power: i64,
    /// Replicas, 1 or more; may be fractional.
    #[arg(allow_negative_numbers = true)]
    pub(crate) replicas: f64,
    /// Hours a partition rests after a move, 0 to 255.
    #[arg(allow_negative_numbers = true)]
    pub(crate) min_part_hours: i64,
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
    #[arg(short, long, allow_negative_numbers = true)]
    pub(crate) weight: Option<f64>,
    /// Meta text (a part of it, when searching).
    #[arg(short, long)]
    pub(crate) meta: Option<String>,
}

/// Arguments of `add`.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// `[r<region>]z<zone>-<ip>:<port>[R<ip>:<port>]/<device>[_<meta>] <weight>`, repeated.
    #[arg(allow_negative_numbers = true)]
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
    #[arg(required = true, allow_negative_numbers = true)]
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
    /// Leave alone what is only badly dispersed: fewer moves, more dispersion.
    #[arg(long)]
    pub(crate) least_moves: bool,
    /// Ring format to write.
    #[arg(long)]
    pub(crate) format_version: Option<FormatVersion>,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) trial: Trial,
    /// Bytes stored in the ring now, all replicas (3TiB, 500GB): shows moves in bytes.
    #[arg(long)]
    pub(crate) used: Option<Bytes>,
    /// Bytes a second that one device can take in or give up (50MB): shows how long it takes.
    #[arg(long, requires = "used")]
    pub(crate) rate: Option<Bytes>,
    /// Devices failing together, for the chance of loss (else: as many as there are replicas, or 1 %).
    #[arg(long)]
    pub(crate) failures: Option<usize>,
    /// Show every link from device to device.
    #[arg(long)]
    pub(crate) links: bool,
}

/// What to plan for: the seed, and changes tried out.
#[derive(Debug, Args)]
pub(crate) struct Trial {
    #[command(flatten)]
    pub(crate) seed: Seeded,
    /// Try a change first, without saving it: 'add r1z2-10.0.0.9:6200/sda 100'. Repeated.
    #[arg(long, value_name = "CHANGE")]
    pub(crate) with: Vec<String>,
    /// Plan for rebalance --least-moves.
    #[arg(long)]
    pub(crate) least_moves: bool,
}

/// Arguments of `durability`.
#[derive(Debug, Args)]
pub(crate) struct Durability {
    /// Devices that fail together (else: as many as there are replicas, or 1 %).
    #[arg(long)]
    pub(crate) failures: Option<usize>,
    /// Whole servers that fail together.
    #[arg(long, default_value_t = 2)]
    pub(crate) servers: usize,
    /// Whole zones that fail together.
    #[arg(long, default_value_t = 1)]
    pub(crate) zones: usize,
    /// Share of the devices of every zone that fails together.
    #[arg(long, default_value = "1%", value_parser = crate::quantity::share)]
    pub(crate) share: f64,
    /// Failures sampled where there are too many to try them all.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) samples: usize,
    /// Seed of the samples.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Annual failure rate of a device (2%): shows the chance of loss in a year.
    #[arg(long, value_parser = crate::quantity::share, requires = "rebuild_hours")]
    pub(crate) afr: Option<f64>,
    /// Hours until the replicas of a failed device are back.
    #[arg(long, requires = "afr")]
    pub(crate) rebuild_hours: Option<f64>,
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
    #[command(flatten)]
    pub(crate) secrets: HashSecrets,
}

/// Arguments of `nodes`.
#[derive(Debug, Args)]
pub(crate) struct Nodes {
    /// ACCOUNT [CONTAINER [OBJECT]], or one word with slashes.
    pub(crate) names: Vec<String>,
    /// Show all handoffs, not as many as there are primaries.
    #[arg(short, long)]
    pub(crate) all: bool,
    /// A partition, instead of or beside a name.
    #[arg(short, long)]
    pub(crate) partition: Option<u32>,
    /// Storage policy (FILE is the folder of the rings and swift.conf).
    #[arg(short = 'P', long)]
    pub(crate) policy_name: Option<String>,
    /// Names are URL-quoted.
    #[arg(short = 'Q', long)]
    pub(crate) quoted: bool,
    #[command(flatten)]
    pub(crate) secrets: HashSecrets,
}

/// Arguments of `analyze`.
#[derive(Debug, Args)]
pub(crate) struct Analyze {
    /// Only check the scenario.
    #[arg(short, long)]
    pub(crate) check: bool,
}

/// Arguments of `draw`.
#[derive(Debug, Args)]
pub(crate) struct Draw {
    /// The picture to write.
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) trial: Trial,
    /// Leave out what a rebalance would move.
    #[arg(long)]
    pub(crate) still: bool,
}
