//! What a verb gives back: text and JSON of one result, or an error.
use std::io;

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
    #[error("Ring/builder dir currently locked: {0}")]
    Locked(String),
    #[error("{0}")]
    Io(#[from] io::Error),
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
