//! What the whole cloud does, seen from outside.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod admin;
mod identity_elsewhere;
mod keys;
mod life;
mod objects;
mod policies;
mod several_hosts;
mod tls;
mod who_may;
