//! What everyone else knows of identity.
//!
//! The caller behind a token, the trait that turns a token into a caller
//! without asking anyone, and the policy rules that say what a caller may do.
//! Services and the proxy import this crate; none of them imports identity
//! itself.
//!
//! [`verify`] holds the traits, [`local`] their implementation by shared keys:
//! [`keys`] keeps the keys ([`rotation`] says when they may be rotated), [`fernet`] seals and opens, [`payload`] says what
//! is inside (`keystone` in Keystone's own layouts), [`jws_keys`] signs and
//! checks tokens of the other kind, in the format of [`jws`], [`receipt`] seals
//! what is not yet a token, [`revocation`] says what no longer counts,
//! [`access_rule`] what a narrowed token may call, [`recent`] remembers what was found out. [`policy`] is the rule
//! language of oslo.policy.
pub mod access_rule;
pub mod caller;
pub mod fernet;
pub mod jws;
pub mod jws_keys;
pub mod keys;
mod keystone;
pub mod local;
mod msgpack;
pub mod payload;
pub mod policy;
pub mod receipt;
pub mod recent;
pub mod revocation;
pub mod rotation;
pub mod verify;
