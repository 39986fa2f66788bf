//! Simulated clusters: a few hundred runs of every kind of harm, each repeatable
//! from its seed. See `docs/testing.md`.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]
mod determinism;
mod recovery;
mod regressions;
mod report;
mod seeds;
