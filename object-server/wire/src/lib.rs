//! What the proxy and an object server say to each other.
//!
//! The messages, the [`node::ObjectNode`] trait that both a server in this
//! process and a remote one are called through, and the typed client that
//! speaks the node protocol to a remote one. The proxy, the object server and
//! the engine below it share these types; HTTP, rings' files and disks are
//! unknown here.
pub mod admin;
mod call;
pub mod checked;
pub mod dispatch;
pub mod error;
pub mod exchange;
pub mod fence;
pub mod hold;
pub mod listing;
pub mod movement;
pub mod node;
pub mod object;
pub mod posted;
pub mod remote;
pub mod status;
pub mod table;
pub mod tree;
pub mod twin;
