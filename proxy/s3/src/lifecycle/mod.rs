//! The life cycle of objects: rules that end objects, versions and uploads by
//! their age.
//!
//! [`configuration`] takes rules from clients, [`rules`] is what they say and
//! [`when`] what that means for a moment in time; [`kept`] is where they lie.
//! [`worker`] runs them, [`walk`] through one bucket, and [`show`] tells clients
//! when an object will go.
//!
//! Not here: transitions, as there is one storage class.
pub(crate) mod configuration;
mod ending;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzed;
mod kept;
mod progress;
mod rules;
mod show;
mod walk;
mod when;
mod worker;

pub(crate) use kept::Held;
pub(crate) use show::Seen;
pub use walk::Tally;
pub use worker::{Round, Settings, Worker};
