//! Manners that every API shares.
//!
//! [`edge`] wraps a service's router: request ids, normal paths, limits on
//! size, time and concurrency, and a fault instead of a dropped connection when
//! a handler panics. [`base_url`] says under which URL the client reached us.
//! [`body`] reads a JSON body within a limit. [`health`] answers `/healthcheck`.
//! [`server`] serves a router on a port, [`stream`] is a connection of it, plain
//! or inside TLS ([`tls`]); [`peer`] says who is at its other end, and
//! [`limits`] how often someone may ask. [`dry_run`] lets a client rehearse a
//! call. [`outward`] asks others.
//!
//! Faults look different in every API, so a service hands its own way of
//! drawing one to [`edge::Edge`].
pub mod base_url;
pub mod body;
pub mod dry_run;
pub mod edge;
pub mod health;
pub mod limits;
pub mod outward;
pub mod peer;
pub mod request_id;
pub mod server;
pub mod stream;
pub mod tls;
