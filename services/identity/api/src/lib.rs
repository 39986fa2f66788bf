//! What everyone else knows of identity.
//!
//! The caller behind a token, the trait that turns a token into a caller
//! without asking anyone, and the policy rules that say what a caller may do.
//! Services and the proxy import this crate; none of them imports identity
//! itself.
pub mod caller;
pub mod verify;
