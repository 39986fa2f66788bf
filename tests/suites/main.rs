//! Suites of other projects that come as crates, against a whole cloud. What
//! has to be built as a program of its own is run by a script beside the
//! clients (`tests/clients/s3s-e2e`).
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod object_store_integration;
