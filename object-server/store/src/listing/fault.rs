//! Why an operation on listings failed, and what a node answers then.
use std::sync::Arc;

use virga_disk::kv::KvError;
use virga_node::clock::Version;
use virga_object_wire::error::NodeError;

/// Why the listings of a device cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database cannot be opened or recovered.
    #[error("the listing database cannot be opened: {0}")]
    Database(KvError),
    /// It was written by a newer version of this program.
    #[error("the listing database has format {0}, which is newer than this program; start a newer one")]
    Format(u8),
    /// Something stored does not decode when it is brought to the current
    /// format.
    #[error(
        "the listing database cannot be brought up to date: {0}; move the folder away, and the other replicas fill a new one"
    )]
    Migrate(String),
    /// The committer thread cannot be started.
    #[error("the listing committer cannot be started: {0}")]
    Thread(std::io::Error),
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// A newer PUT or DELETE is known; this one was merged below it.
    #[error("overtaken by {0:?}")]
    Newer(Version),
    /// There is no such container or account.
    #[error("not found")]
    NotFound,
    /// The container has live rows.
    #[error("the container is not empty")]
    NotEmpty,
    /// The version lies this many seconds ahead of the clock.
    #[error("the version lies {0} s ahead of the clock")]
    Ahead(u64),
    /// The request breaks a rule.
    #[error("refused: {0}")]
    Invalid(&'static str),
    /// The queue of the device was full for too long.
    #[error("the listing queue is full")]
    Busy,
    /// The device has no room.
    #[error("the device is full")]
    Full,
    /// Something stored does not decode.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// The database failed; whether the change is durable is unknown.
    #[error("the listing database failed: {0}")]
    Device(Arc<str>),
    /// The committer has ended.
    #[error("the listings are closed")]
    Closed,
}

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The request breaks a rule.
    #[error("refused: {0}")]
    Invalid(&'static str),
    /// Something stored does not decode.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// The database failed.
    #[error("the listing database failed: {0}")]
    Device(Arc<str>),
    /// The listings are being closed.
    #[error("the listings are closed")]
    Closed,
}

impl From<ReadError> for ChangeError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Invalid(why) => Self::Invalid(why),
            ReadError::Damaged(what) => Self::Damaged(what),
            ReadError::Device(why) => Self::Device(why),
            ReadError::Closed => Self::Closed,
        }
    }
}

impl From<ChangeError> for NodeError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Newer(version) => Self::Newer(version),
            ChangeError::NotFound => Self::NotFound,
            ChangeError::NotEmpty => Self::NotEmpty,
            ChangeError::Ahead(secs) => Self::Ahead(secs),
            ChangeError::Invalid(why) => Self::Invalid(why.to_owned()),
            ChangeError::Busy => Self::Busy,
            ChangeError::Full => Self::Full,
            ChangeError::Damaged(_) => Self::Damaged,
            ChangeError::Device(why) => Self::Device(why.to_string()),
            ChangeError::Closed => Self::Device("the listings are closed".to_owned()),
        }
    }
}

impl From<ReadError> for NodeError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Invalid(why) => Self::Invalid(why.to_owned()),
            ReadError::Damaged(_) => Self::Damaged,
            ReadError::Device(why) => Self::Device(why.to_string()),
            ReadError::Closed => Self::Device("the listings are closed".to_owned()),
        }
    }
}
