//! Simulated clusters: a few hundred runs of every kind of harm, each repeatable
//! from its seed. See `docs/testing.md`.
mod determinism;
mod regressions;
mod report;
mod seeds;
