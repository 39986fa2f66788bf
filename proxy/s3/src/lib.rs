//! The S3 dialect of the object store: AWS's API over the core of the proxy.
//!
//! A bucket is a container of a project, so both dialects see the same objects,
//! metadata and access lists. [`door`] is where requests come in; [`request`]
//! checks signatures and bodies; the crate `s3s`, whose generated types stay in
//! here, reads documents and finds the operation; [`access`] judges whether it
//! may be done, by the row that [`operations`] has for it; what operations mean
//! is written here, over [`virga_proxy::core`].
//!
//! Not here: static sites, replication and notifications. They read as "not
//! set" and cannot be set (`NotImplemented`).
mod access;
mod acl;
mod bucket;
mod checksum;
#[cfg(test)]
mod compat;
mod conditions;
mod cors;
mod dates;
mod detail;
mod door;
pub mod encryption;
mod fault;
mod form;
#[cfg(test)]
mod fuzz_bodies;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzed;
mod info;
mod judge;
pub mod keys;
pub mod lifecycle;
mod listing;
mod lock;
mod metadata;
mod multipart;
mod object;
mod operations;
mod policy;
mod precedence;
mod public;
mod rates;
mod refusal;
mod request;
mod rules;
mod shape;
mod signatures;
mod tagging;
mod unset;
mod versioning;

use std::sync::Arc;

use virga_identity_api::verify::Directory;
use virga_node::clock::Clock;
use virga_proxy::core::Core;
use virga_proxy::swift::config::Config as SwiftConfig;

pub use door::S3Door;
pub use operations::OPERATIONS;
pub use rules::policy_rules;

use conditions::Stripes;
use keys::{KeySource, Keys};

/// What the S3 dialect is made of.
pub struct S3Parts {
    /// Where objects are.
    pub core: Core,
    /// Who holds which key.
    pub keys: Arc<dyn KeySource>,
    /// From ids to names.
    pub directory: Arc<dyn Directory>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Roles, account prefixes and limits: those of the other dialect.
    pub config: SwiftConfig,
    /// Region that buckets say they are in.
    pub region: String,
}

/// The operations of S3 over the core. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Backend(Arc<Inner>, Core);

struct Inner {
    keys: Keys,
    directory: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    config: SwiftConfig,
    region: String,
    stripes: Stripes,
    policies: policy::settings::Policies,
    lifecycle: lifecycle::Held,
}

impl Backend {
    fn new(parts: S3Parts) -> Self {
        let inner = Inner {
            keys: Keys::new(parts.keys, parts.clock.clone()),
            directory: parts.directory,
            clock: parts.clock,
            config: parts.config,
            region: parts.region,
            stripes: Stripes::default(),
            policies: policy::settings::Policies::default(),
            lifecycle: lifecycle::Held::default(),
        };
        Self(Arc::new(inner), parts.core)
    }

    fn core(&self) -> &Core {
        &self.1
    }

    /// The same backend over another handle to its core.
    fn with_core(&self, core: Core) -> Self {
        Self(Arc::clone(&self.0), core)
    }

    fn config(&self) -> &SwiftConfig {
        &self.0.config
    }
}
