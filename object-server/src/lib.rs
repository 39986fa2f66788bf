//! One machine's share of the objects.
//!
//! [`run`] opens the devices, answers the node protocol and keeps the workers
//! going until the daemon stops. [`local::LocalNode`] is the node itself: in
//! one process with the proxy it is called directly, through the same trait as
//! a remote one. What is stored and how is the business of the engine
//! (`virga-object-store`); which devices a name belongs on, of the rings. No
//! HTTP here.
mod absence;
mod admin;
mod admission;
mod clocks;
pub mod config;
mod device;
pub mod local;
mod meter;
mod movement;
pub mod rings;
mod run;
pub mod workers;

pub use config::Config;
pub use rings::Rings;
pub use run::{Parts, RunError, Standing, run, start_duties};
