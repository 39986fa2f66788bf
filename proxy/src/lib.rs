//! The door for objects: the Swift dialect over one core of placement, quorums and manifests.
pub mod core;
pub mod proof;
pub mod server;
pub mod swift;
