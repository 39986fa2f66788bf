//! What every daemon is made of.
//!
//! Configuration, telemetry, clock and chance, supervised tasks, health and
//! drain: the parts that a daemon needs before it does anything of its own.
//! Every crate from layer 2 upwards may use it; it knows nothing of rings,
//! objects or APIs.
pub mod clock;
pub mod config;
pub mod drain;
pub mod health;
pub mod task;
pub mod telemetry;
