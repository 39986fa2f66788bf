//! The clients that people bring, unmodified, as their users run them.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod identity_commands;
mod identity_federation;
mod identity_oauth;
mod keystone_tokens;
mod object_clients;
mod openstack;
mod ring_files;
mod ring_verbs;
mod s3_clients;
mod s3_settings;
