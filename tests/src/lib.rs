//! A cloud in a box, for tests: starts the real `virga` binary on a temporary
//! data folder and free ports, talks to it over HTTP, stops or kills it. One
//! process ([`cloud`]), or several hosts on one machine ([`cluster`]), also with
//! a network and disks of their own that break ([`lab`]).
//!
//! Used by the suites beside it (behaviour, faults, clients). It knows the
//! command line, the files and the ports of the contract, and nothing of the
//! code behind them.
#![allow(clippy::expect_used, reason = "a harness fails by panicking")]

pub mod chance;
pub mod change;
pub mod cloud;
pub mod cluster;
pub mod inventory;
pub mod keystone;
pub mod lab;
pub mod linear;
pub mod process;
pub mod rings;
pub mod simulation;
pub mod swift;
pub mod workload;
