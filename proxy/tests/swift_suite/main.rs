//! The Swift API over real connections, in front of nodes in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]
mod access;
mod away;
mod bad_input;
mod basics;
#[path = "../twins/callers.rs"]
mod callers;
mod door;
mod expired;
mod forms;
mod large;
mod listings;
mod locked;
#[path = "../twins/nodes.rs"]
mod nodes;
mod objects;
mod proofs;
mod rates;
#[path = "../twins/reply.rs"]
mod reply;
mod serve;
mod signed;
mod staticweb;
mod symlinks;
mod unusual;
mod versions;
