//! Manners that every API shares.
//!
//! [`edge`] wraps a service's router: request ids, normal paths, limits on
//! size, time and concurrency, and a fault instead of a dropped connection when
//! a handler panics. [`base_url`] says under which URL the client reached us.
//! [`body`] reads a JSON body within a limit. [`health`] answers `/healthcheck`.
//!
//! Faults look different in every API, so a service hands its own way of
//! drawing one to [`edge::Edge`].
pub mod base_url;
pub mod body;
pub mod edge;
pub mod health;
pub mod request_id;
