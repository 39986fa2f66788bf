//! What a host without identity asks the one with it: revocations, what tokens
//! do not carry, names, and keys of S3.
//!
//! The front door answers at [`PATH`] ([`door`]); [`link`] asks. Both sides know
//! the cluster's `node_secret` and nobody else may ask: questions and answers
//! are sealed ([`seal`]), over plain HTTP too, and an answer fits its question
//! only.
pub mod door;
pub mod link;
pub mod seal;

use serde::{Deserialize, Serialize};
use virga_identity_api::access_rule::AccessRule;
use virga_identity_api::caller::Caller;
use virga_identity_api::local::Resolved;
use virga_identity_api::payload::Payload;
use virga_identity_api::revocation::Told;
use virga_identity_api::verify::{Named, TokenError};
use virga_node::clock::Micros;

/// Where the front door answers.
pub const PATH: &str = "/virga/hosts";
/// Largest question, in bytes.
pub const MAX_QUESTION: usize = 64 * 1024;
/// Largest answer, in bytes: all revocations of a large cloud.
pub const MAX_ANSWER: usize = 128 << 20;

/// A question and when it was asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// By the clock of the host that asks.
    pub at: Micros,
    /// What.
    pub question: Question,
}

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// What was revoked after this generation of this run's list. Answered when
    /// there is something, or after a while.
    Revocations {
        /// The process whose generations are counted.
        run: u64,
        /// The generation.
        after: u64,
    },
    /// Whom a token acts as and with which roles.
    Resolve(Box<Payload>),
    /// The access rules of an application credential.
    AccessRules(String),
    /// The name of a user.
    User(String),
    /// The name of a project.
    Project(String),
    /// Who holds an access key of S3.
    Key(String),
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`Question::Revocations`].
    Revocations {
        /// The process that answers.
        run: u64,
        /// What is new; all there is, if the question named another process.
        told: Told,
    },
    /// To [`Question::Resolve`].
    Resolved(Result<Resolved, TokenError>),
    /// To [`Question::AccessRules`].
    AccessRules(Result<Option<Vec<AccessRule>>, TokenError>),
    /// To [`Question::User`] and [`Question::Project`].
    Named(Option<Named>),
    /// To [`Question::Key`].
    Key(Option<HeldKey>),
    /// The records could not be asked.
    Failed(String),
}

/// An access key of S3 and whose it is.
#[derive(Serialize, Deserialize)]
pub struct HeldKey {
    /// What requests are signed with.
    pub secret: String,
    /// The user behind it.
    pub caller: Caller,
}

impl std::fmt::Debug for HeldKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeldKey")
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}
