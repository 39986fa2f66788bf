//! Paths at this door that are no account's: who asks for one needs no token.
use super::auth_v1;

/// Whether the door is open.
pub const HEALTHCHECK: &str = "/healthcheck";
/// What there is, and its limits.
pub const INFO: &str = "/info";
/// Metrics of the process.
pub const METRICS: &str = "/metrics";
/// Where old players look for what pages of other origins may do.
pub const CROSS_DOMAIN: &str = "/crossdomain.xml";

/// All of them. A dialect beside this one takes none of them for its own, and a
/// test holds them against the table of who may.
pub const ALL: [&str; 7] = [
    auth_v1::PATHS[0],
    auth_v1::PATHS[1],
    auth_v1::PATHS[2],
    CROSS_DOMAIN,
    HEALTHCHECK,
    INFO,
    METRICS,
];
