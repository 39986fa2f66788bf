//! Every bound of the protocol, with its reason.
use std::time::Duration;

/// Which kind of connection a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Shared by all small calls: many at once, little each.
    Small,
    /// Few calls at once, large pieces: a bulk transfer never stands in the
    /// way of small calls.
    Bulk,
}

impl Lane {
    /// Calls at once on one connection.
    pub(crate) fn calls(self) -> usize {
        match self {
            Self::Small => 256,
            Self::Bulk => 32,
        }
    }

    /// Bytes of one direction of one call that may be sent and not yet taken:
    /// two of the largest messages, so that the next travels while one is used.
    pub(crate) fn window(self) -> usize {
        2 * (crate::frame::HEAD_MAX + self.piece())
    }

    /// Largest payload of one message, bytes.
    pub fn piece(self) -> usize {
        match self {
            Self::Small => 256 * 1024,
            Self::Bulk => crate::frame::PAYLOAD_MAX,
        }
    }

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Small => 1,
            Self::Bulk => 2,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::Small, Self::Bulk]
            .into_iter()
            .find(|lane| lane.code() == code)
    }
}

/// Bulk connections of one peer: enough for parallel TCP streams to fill a
/// fast link, few enough to keep memory small.
pub(crate) const BULK_CONNECTIONS: usize = 4;
/// What the smallest message costs of a window: bounds how many messages can
/// stand in a queue, whatever their size.
pub(crate) const MIN_COST: usize = 1024;
/// Bytes of first messages, and as much again of later ones, that wait for
/// the socket on one connection.
pub(crate) const OUTBOX: usize = 4 * 1024 * 1024;
/// Bytes that leave in one `writev` before small frames get their turn again.
pub(crate) const BATCH: usize = 512 * 1024;
/// Both sides have said who they are within this, or the connection ends.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(5);
/// A caller asks for a sign of life after this long without one, and gives
/// the connection up after as long again.
pub(crate) const QUIET: Duration = Duration::from_secs(10);
/// A server gives a connection up after this long without a frame (callers
/// ask for a sign of life much more often).
pub(crate) const SILENT: Duration = Duration::from_secs(45);
/// A socket that takes no byte for this long is given up.
pub(crate) const WRITE_STALL: Duration = Duration::from_secs(30);
/// How long a server waits for a caller to take or send the next message of
/// a stream: a slow reader at the far end of a proxy is normal, a forgotten
/// stream is not.
pub(crate) const STREAM_STALL: Duration = Duration::from_secs(120);
/// First and longest wait before a lost connection is dialled again.
pub(crate) const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Control frames that wait for the socket on one connection: several for
/// every call at once. A peer that lets more pile up reads nothing at all.
pub(crate) const CONTROL: usize = 4096;
/// A node that does not take a connection within this is away.
pub(crate) const DIAL: Duration = Duration::from_secs(2);
/// Connections that one server holds.
pub(crate) const CONNECTIONS: usize = 1024;
