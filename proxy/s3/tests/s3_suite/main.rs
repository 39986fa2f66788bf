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
mod door;
mod encryption;
mod forms;
mod lifecycle;
mod locks;
mod objects;
mod parts;
mod policies;
mod serve;
mod sign;
mod strict;
mod unset;
mod versions;
