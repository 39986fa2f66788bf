//! The S3 API over real connections, in front of nodes in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]
mod bad_input;
mod both_dialects;
mod buckets;
mod door;
mod objects;
mod parts;
mod serve;
mod sign;
