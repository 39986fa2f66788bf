//! The engine of one device: objects and listings over the durable floor.
//!
//! Called by the object server, which opens one [`device::Device`] per disk; knows no
//! network. An object is a record in a segment log, the index that finds it is
//! derived from the logs and can be lost. From the outside in:
//! `mutate` and `put_stream` write, `read` reads, `owed` is what workers ask
//! for, `compact` frees space; `apply` turns durable records into index
//! changes by the rule in [`entry`]. What is at rest is made in [`record`] (in the
//! log), [`keys`], [`entry`], [`digest`], [`live`] and [`sys`] (in the index).
//! [`listing`] holds the accounts and containers of the device.
mod apply;
mod bad;
mod change;
mod compact;
pub mod device;
pub mod digest;
pub mod entry;
pub mod foreground;
mod index;
mod kept;
pub mod keys;
pub mod listing;
pub mod live;
mod logs;
pub mod movement;
mod mutate;
pub mod owed;
mod pins;
mod put_stream;
mod quarantine;
mod read;
pub mod record;
pub mod rounds;
mod scan;
pub mod scrub;
mod space;
mod status;
mod subtrees;
pub mod sys;
mod upkeep;

pub use compact::Compacted;
pub use index::OpenIndexError;
