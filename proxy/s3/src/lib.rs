//! The S3 dialect of the object store: AWS's API over the core of the proxy.
//!
//! A bucket is a container of the project that an EC2 key belongs to, so both
//! dialects see the same objects, metadata and access lists. The protocol
//! (signatures, XML, chunked bodies) is the work of the crate `s3s`, whose
//! generated types stay in here; what its operations mean is written here, over
//! [`virga_proxy::core`]. [`door`] is where requests come in and where answers
//! get what AWS says and `s3s` does not.
//!
//! Not here: versioning, lifecycle, policies, object lock, encryption by the
//! client's keys, static sites and notifications. They read as "not set" and
//! cannot be set (`NotImplemented`).
mod access;
mod acl;
mod bucket;
mod checksum;
mod conditions;
mod cors;
mod dates;
mod door;
mod fault;
pub mod keys;
mod listing;
mod metadata;
mod multipart;
mod object;
mod operations;
mod tagging;
mod unset;

use std::sync::Arc;

use virga_identity_api::verify::Directory;
use virga_node::clock::Clock;
use virga_proxy::core::Core;
use virga_proxy::swift::config::Config as SwiftConfig;

pub use door::S3Door;

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
pub(crate) struct Backend(Arc<Inner>);

struct Inner {
    core: Core,
    keys: Keys,
    directory: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    config: SwiftConfig,
    region: String,
    stripes: Stripes,
}

impl Backend {
    fn new(parts: S3Parts) -> Self {
        Self(Arc::new(Inner {
            core: parts.core,
            keys: Keys::new(parts.keys, parts.clock.clone()),
            directory: parts.directory,
            clock: parts.clock,
            config: parts.config,
            region: parts.region,
            stripes: Stripes::default(),
        }))
    }

    fn core(&self) -> &Core {
        &self.0.core
    }

    fn config(&self) -> &SwiftConfig {
        &self.0.config
    }
}
