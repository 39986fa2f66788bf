//! Rings that change while clients read and write: what moves is what was
//! planned, and nobody notices.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod changes;
