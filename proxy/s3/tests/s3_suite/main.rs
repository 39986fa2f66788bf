//! The S3 API over real connections, in front of nodes in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]
mod access;
mod bad_input;
mod both_dialects;
mod buckets;
#[path = "../../../tests/twins/callers.rs"]
mod callers;
mod door;
mod encryption;
mod forms;
mod lifecycle;
mod lingering;
mod locks;
#[path = "../../../tests/twins/nodes.rs"]
mod nodes;
mod objects;
mod parts;
mod policies;
mod rates;
#[path = "../../../tests/twins/reply.rs"]
mod reply;
mod serve;
mod sign;
mod strict;
mod unset;
mod versions;
mod who_may;
