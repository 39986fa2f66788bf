//! Why a node could not do what it was asked.
use serde::{Deserialize, Serialize};
use virga_node::clock::Version;

use crate::movement::RingName;

/// One answer of failure from a node, or the lack of an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum NodeError {
    /// The node already holds this version or a newer one. The caller restamps
    /// once, or takes its own write as overtaken.
    #[error("the node already holds {0:?}")]
    Newer(Version),
    /// No such object, container or account here.
    #[error("not found")]
    NotFound,
    /// The container still has rows.
    #[error("the container is not empty")]
    NotEmpty,
    /// The node has no such device, or it is closed after failures.
    #[error("device {0} is not available")]
    NoDevice(String),
    /// The device has no room for new data (507).
    #[error("the device is full")]
    Full,
    /// The stored bytes did not pass their checksum; another replica must
    /// serve them. The record has been set aside.
    #[error("the stored record is damaged")]
    Damaged,
    /// The bytes that arrived did not pass their checksum.
    #[error("the bytes arrived damaged")]
    Garbled,
    /// The version lies too far ahead of the node's clock.
    #[error("the version lies {0} s ahead of this node's clock")]
    Ahead(u64),
    /// The request breaks a rule of the protocol.
    #[error("refused: {0}")]
    Invalid(String),
    /// The queue in front of the device is full for too long.
    #[error("the node is too busy")]
    Busy,
    /// A read or write of the device failed.
    #[error("the device failed: {0}")]
    Device(String),
    /// Nobody answered: connection refused, broken or past its deadline.
    #[error("the node is unreachable: {0}")]
    Unreachable(String),
    /// The request was placed by a ring that the node has given up: what it
    /// names may lie elsewhere by now. The caller takes the newer ring, which
    /// this node has, and asks again ([`crate::exchange`]).
    #[error("the request goes by an earlier {ring} ring, given up for version {version}")]
    RingGivenUp {
        /// Which ring.
        ring: RingName,
        /// Version of the ring that the node uses.
        version: u64,
    },
    /// The device was away for so long that deletions may have passed it by. It
    /// answers nothing about what it holds until it has compared itself with
    /// the other replicas; meanwhile it counts as absent, and takes writes.
    #[error("device {0} was away for long and is not yet in step with the other replicas")]
    Returning(String),
}
