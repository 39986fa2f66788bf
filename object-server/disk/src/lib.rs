//! The durable floor of a device, and the only crate that opens a device's files or `RocksDB`.
//!
//! From the bottom up: [`io`] is the door to storage (a disk, a memory twin and a faulty twin behind one
//! trait), [`batch`] the bytes of records, [`segment`] the fixed-size files that hold them, [`log`] the
//! group-committing append log over segments, [`reader`] verified reads, [`kv`] the derived index's engine and
//! [`device`] the folder they live in. Called by the object store; later by block volumes.
//! What a record means, which version wins and when a segment is dead is the caller's business: metadata is
//! opaque here. The bytes are described in `docs/formats/segment.md`.

pub mod aside;
pub mod batch;
pub mod device;
pub mod io;
pub mod kept;
pub mod kv;
pub mod log;
pub mod order;
pub mod reader;
pub mod segment;
pub mod threads;
