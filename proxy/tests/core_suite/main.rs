//! The proxy's core against nodes in memory: quorums, failures, listings.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]
mod cluster;
mod conditional;
mod containers_away;
mod failures;
mod fleet;
mod given_up;
mod large;
mod listings;
#[path = "../twins/nodes.rs"]
mod nodes;
mod objects;
mod posts;
mod races;
mod ring_changes;
mod ring_watch;
mod sealing;
mod stale;
mod write_back;
