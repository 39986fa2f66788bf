//! What survives when things break: kill -9, rotten bits.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod kills;
mod rot;
