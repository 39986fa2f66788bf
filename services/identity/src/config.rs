//! What an operator can set.
use std::path::PathBuf;

use serde::Deserialize;

/// Configuration of the identity service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the keys that seal tokens; shared with everyone who verifies.
    pub token_keys: PathBuf,
    /// Folder of the keys that seal credentials at rest.
    pub credential_keys: PathBuf,
    /// Keys kept at most in each folder, the staged one included.
    pub max_active_keys: usize,
    /// Life of a token, in seconds.
    pub token_lifetime: u64,
    /// How long after its end a token may still be shown with
    /// `allow_expired`, in seconds.
    pub allow_expired_window: u64,
    /// The URL under which clients reach the front door, if it is not the one
    /// they send.
    pub public_url: Option<String>,
    /// A file of policy rules (YAML or JSON) that override the defaults.
    pub policy_file: Option<PathBuf>,
    /// How passwords are hashed.
    pub password: PasswordConfig,
    /// Largest request body, in bytes.
    pub max_body: usize,
    /// Longest time for one request, in seconds.
    pub request_timeout: u64,
    /// Requests in work at once.
    pub max_concurrent: usize,
    /// Deepest project tree, the domain included.
    pub max_project_depth: usize,
}

/// Parameters of password hashing (Argon2id).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordConfig {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Hashes computed at once.
    pub concurrent: usize,
    /// Requests that wait for a turn at most; more are turned away.
    pub queue: usize,
    /// How long a good password is remembered (as a keyed hash), in seconds.
    /// Clients authenticate at every run of the command line.
    pub remember: u64,
}

impl Default for PasswordConfig {
    fn default() -> Self {
        Self {
            memory_kib: 19 * 1024,
            passes: 2,
            concurrent: 1,
            queue: 64,
            remember: 300,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            token_keys: "keys/token".into(),
            credential_keys: "keys/credential".into(),
            max_active_keys: 3,
            token_lifetime: 3600,
            allow_expired_window: 2 * 24 * 3600,
            public_url: None,
            policy_file: None,
            password: PasswordConfig::default(),
            max_body: 112 * 1024,
            request_timeout: 60,
            max_concurrent: 256,
            max_project_depth: 5,
        }
    }
}
