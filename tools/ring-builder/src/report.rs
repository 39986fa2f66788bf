//! What a verb gives back: text and JSON of one result, or an error.
use std::io;
use std::path::PathBuf;

use serde_json::Value;
use virga_ring::RingError;
use virga_ring::builder::{
    ChangeError, CreateError, LoadBuilderError, PlanError, PowerError, RebalanceError, SaveBuilderError,
    ValidateError,
};
use virga_ring::file::{EncodeRingError, ReadRingError};

use crate::device_text::ParseDeviceError;

/// A finished verb.
#[derive(Debug)]
pub(crate) struct Report {
    /// Exit code, 0 or 1 (2 where Swift's tool exits so after printing).
    pub(crate) code: i32,
    /// For people; ends with a newline unless empty.
    pub(crate) text: String,
    /// For programs.
    pub(crate) json: Value,
}

impl Report {
    /// A verb that is done.
    pub(crate) fn done(text: impl Into<String>, json: Value) -> Self {
        let mut text = text.into();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        Self {
            code: crate::DONE,
            text,
            json,
        }
    }

    /// The same with another exit code.
    pub(crate) fn code(mut self, code: i32) -> Self {
        self.code = code;
        self
    }
}

/// Why a verb failed. Always exit code 2; nothing was changed on disk unless
/// the message says so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerbError {
    #[error(transparent)]
    Load(#[from] LoadBuilderError),
    #[error("{}: {source}", path.display())]
    LoadFrom { path: PathBuf, source: LoadBuilderError },
    #[error(transparent)]
    Save(#[from] SaveBuilderError),
    #[error(transparent)]
    Create(#[from] CreateError),
    #[error("{0}\nThe on-disk ring builder is unchanged.")]
    Change(#[from] ChangeError),
    #[error(transparent)]
    Power(#[from] PowerError),
    #[error("cannot rebalance: {0}")]
    Rebalance(#[from] RebalanceError),
    #[error("cannot plan: {0}")]
    Plan(#[from] PlanError),
    #[error("the ring is not valid: {0}")]
    Validate(#[from] ValidateError),
    #[error(transparent)]
    ReadRing(#[from] ReadRingError),
    #[error("cannot write the ring: {0}")]
    EncodeRing(#[from] EncodeRingError),
    #[error("the builder makes no ring: {0}")]
    Ring(#[from] RingError),
    #[error(transparent)]
    Text(#[from] ParseDeviceError),
    #[error("{0}")]
    Usage(String),
    #[error("{what}")]
    Advice { what: String, hint: String },
    #[error("Ring/builder dir currently locked: {0}")]
    Locked(String),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl VerbError {
    /// Something wrong with what was asked, and what to do instead.
    pub(crate) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Advice {
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&str> {
        Some(match self {
            Self::Load(error) | Self::LoadFrom { source: error, .. } => match error {
                LoadBuilderError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                    "check the name, or make it: virga ring FILE create PART_POWER REPLICAS MIN_PART_HOURS"
                }
                LoadBuilderError::NotABuilder => {
                    "name a builder file; from a ring file one is made by: virga ring NAME.ring.gz write_builder"
                }
                LoadBuilderError::Newer(_) => "use the version of virga that wrote it",
                LoadBuilderError::Truncated(_)
                | LoadBuilderError::Digest(_)
                | LoadBuilderError::Section { .. } => {
                    "copy the newest good file from backups/ over it (file names begin with the Unix time)"
                }
                _ => return None,
            },
            Self::Save(_) => {
                "the file is as it was; make room or fix the permissions, then repeat the command"
            }
            Self::Rebalance(RebalanceError::Plan(_)) | Self::Plan(_) => {
                "add devices with a weight above 0, or lower the replicas with set_replicas"
            }
            Self::Rebalance(RebalanceError::TooLarge(_)) => "create the ring with a smaller part power",
            Self::Rebalance(RebalanceError::PowerIncrease) | Self::Change(ChangeError::PowerIncrease) => {
                "go on with increase_partition_power or cancel_increase_partition_power, then finish_increase_partition_power"
            }
            Self::Change(ChangeError::Duplicate { .. }) => {
                "give another device name or port, or change the one that is there with set_info or set_weight"
            }
            Self::Change(ChangeError::Removed(_)) => {
                "it goes at the next rebalance; add it again after that if it is to stay"
            }
            Self::Validate(ValidateError::NeverRebalanced) => "rebalance first",
            Self::Validate(_) => "rebalance, or restore the builder from backups/",
            Self::ReadRing(ReadRingError::Read { .. }) => {
                "check the name; a builder writes its ring with rebalance or write_ring"
            }
            Self::ReadRing(ReadRingError::Decode { .. }) => {
                "write it again from its builder (write_ring) or copy it from backups/"
            }
            Self::EncodeRing(EncodeRingError::IdTooLarge(_)) => "add --format-version 2",
            Self::Locked(_) => {
                "another virga ring is at work in this folder; repeat the command when it is done"
            }
            Self::Advice { hint, .. } => hint,
            _ => return None,
        })
    }
}

/// A duration as Python prints one: `1 day, 2:03:04`.
pub(crate) fn clock_text(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let time = format!("{}:{:02}:{:02}", rest / 3600, rest % 3600 / 60, rest % 60);
    match days {
        0 => time,
        1 => format!("1 day, {time}"),
        _ => format!("{days} days, {time}"),
    }
}
