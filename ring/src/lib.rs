//! Placement: which devices hold which partition, and the files that say so.
//!
//! Compatible with OpenStack Swift: the same name goes to the same devices,
//! handoffs come in the same order, ring files are read and written as
//! Swift's. The [`builder`] that makes rings is our own.
//!
//! The proxy and the object server look names up ([`HashPath`] ->
//! [`Ring::partition`] -> [`Ring::primaries`], [`Ring::handoffs`]);
//! `virga ring` and `virga up` drive the builder. Pure: no network, no
//! runtime, no clock; time and seeds come in as arguments.
pub mod affinity;
pub mod builder;
pub mod composite;
mod device;
pub mod durability;
pub mod file;
mod handle;
mod handoff;
pub mod hash;
mod history;
mod lookup;
mod ring;
mod table;

pub use affinity::{AffinityError, HandoffDeleteCount, NodeCount, ReadAffinity, WriteAffinity};
pub use device::{Device, DeviceId, Partition};
pub use durability::Durability;
pub use handle::{InstallError, ReloadError, RingHandle, WentBack};
pub use handoff::Handoffs;
pub use hash::{HashPath, NameHash};
pub use history::{HistoryError, KnownRing, RingEpoch, RingId, RingsInUse};
pub use ring::{Primaries, PrimaryIds, Ring, RingError, RingInfo};
pub use table::{MAX_SLOTS, Table};
