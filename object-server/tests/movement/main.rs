//! Several object servers, each as in a process of its own, whose rings change
//! and whose devices go away, come back, rot and are replaced: replicas become
//! equal, nothing is lost, nothing that was deleted comes back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
mod cluster;
mod damage;
mod deletions;
mod histories;
mod rings;
