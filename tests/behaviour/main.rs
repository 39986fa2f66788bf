//! What the whole cloud does, seen from outside.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod admin;
mod doors;
mod explain;
mod guessing;
mod identity_elsewhere;
mod keys;
mod life;
mod objects;
mod policies;
mod secrets;
mod several_hosts;
#[path = "../../proxy/s3/tests/s3_suite/sign.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the suite of S3 signs in more ways")]
mod sign;
mod tls;
mod who_may;
