//! Calls between nodes: the framed, checksummed data protocol.
//!
//! [`client::Peer`] calls, [`server::serve`] answers; between them runs one
//! TCP connection for small calls and a few for bulk, each shared by many
//! calls at once. A call is two streams of messages, one each way, told apart
//! by a tag and held back by credit, so that neither end ever queues more than
//! a window (invariant I10). What operations exist and what their bytes mean is the
//! business of the crates above (objects, later blocks); whether payload
//! checksums hold is theirs too, because they verify where the bytes are used.
//! The bytes on the wire are described in `docs/formats/node-protocol.md`.
pub mod client;
pub mod frame;
mod handshake;
mod limits;
mod link;
mod outbox;
mod secret;
pub mod server;
mod stream;

pub use handshake::Refused;
pub use limits::Lane;
pub use secret::{Secret, WeakSecret};
pub use stream::{CallError, Receiver, Sender};
