//! What survives when things break: kill -9, dead and silent nodes, rotten bits.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod dead_node;
mod kills;
mod rot;
mod under_load;
