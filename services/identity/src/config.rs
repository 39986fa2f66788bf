//! What an operator can set.
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use virga_state::Keep;

use crate::attempts::RateLimits;
use crate::federation::openid::OpenIdProvider;

/// Configuration of the identity service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the keys that seal tokens; shared with everyone who verifies.
    pub token_keys: PathBuf,
    /// What tokens are.
    pub token_provider: TokenProvider,
    /// The OpenID providers that identity providers stand for.
    pub openid: Vec<OpenIdProvider>,
    /// Folder of the keys that sign tokens, if they are signed: `private` and
    /// `public`, the latter shared with everyone who verifies.
    pub jws_keys: PathBuf,
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
    /// Where `policy.yaml` or `policy.json` is looked for without
    /// [`Config::policy_file`]; it need not be there.
    pub policy_folder: Option<PathBuf>,
    /// How passwords are hashed.
    pub password: PasswordConfig,
    /// What is asked of passwords and accounts.
    pub security: SecurityConfig,
    /// How often one address and one account may ask.
    pub rate_limits: RateLimits,
    /// How many times a trust may be handed on at most.
    pub max_redelegation_count: u32,
    /// How old a signed EC2 or S3 request may be, in seconds.
    pub signature_lifetime: u64,
    /// Whether limits are a tree of two levels (domains above projects,
    /// `strict_two_level`) or not (`flat`).
    pub limit_model: LimitModel,
    /// Largest request body, in bytes.
    pub max_body: usize,
    /// Longest time for one request, in seconds.
    pub request_timeout: u64,
    /// Requests in work at once.
    pub max_concurrent: usize,
    /// Levels of projects under a domain at most; two where `limit_model` knows
    /// no more.
    pub max_project_depth: usize,
}

impl Config {
    /// Levels of projects that a domain may have under it.
    pub(crate) fn project_levels(&self) -> usize {
        match self.limit_model {
            LimitModel::Flat => self.max_project_depth,
            LimitModel::StrictTwoLevel => self.max_project_depth.min(2),
        }
    }
}

/// What an operator sets in `virga.toml` under `[identity]`; the rest of
/// [`Config`] follows from where the process keeps its things.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// See [`Config::token_lifetime`].
    pub token_lifetime: u64,
    /// See [`Config::token_provider`].
    pub token_provider: TokenProvider,
    /// See [`Config::openid`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub openid: Vec<OpenIdProvider>,
    /// See [`Config::policy_file`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_file: Option<PathBuf>,
    /// See [`Config::limit_model`].
    pub limit_model: LimitModel,
    /// See [`Config::security`].
    pub security: SecurityConfig,
    /// See [`Config::rate_limits`].
    pub rate_limits: RateLimits,
    /// How long entries of the audit are kept.
    pub audit: Keep,
    /// See [`Config::max_active_keys`].
    pub max_active_keys: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let config = Config::default();
        Self {
            token_lifetime: config.token_lifetime,
            token_provider: config.token_provider,
            openid: config.openid,
            policy_file: config.policy_file,
            limit_model: config.limit_model,
            security: config.security,
            rate_limits: config.rate_limits,
            audit: Keep::default(),
            max_active_keys: config.max_active_keys,
        }
    }
}

impl Settings {
    /// The configuration with these settings, the rest as usual.
    pub fn config(&self) -> Config {
        Config {
            token_lifetime: self.token_lifetime,
            token_provider: self.token_provider,
            openid: self.openid.clone(),
            policy_file: self.policy_file.clone(),
            limit_model: self.limit_model,
            security: self.security.clone(),
            rate_limits: self.rate_limits.clone(),
            max_active_keys: self.max_active_keys,
            ..Config::default()
        }
    }
}

/// What tokens are. Whatever is chosen, the others are understood while their
/// keys are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenProvider {
    /// Sealed (Fernet), and short: they carry the names of the roles, so that
    /// nobody needs to be asked.
    #[default]
    Fernet,
    /// Sealed in Keystone's own layout, for a cloud in which a Keystone shares
    /// the keys. They carry no roles, so only processes with the role identity
    /// can verify them.
    FernetKeystone,
    /// Signed (JWS, ES256), as Keystone's provider of that name makes them. Who
    /// verifies needs public keys only.
    Jws,
}

/// How limits of domains and projects hang together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitModel {
    /// Every limit stands alone.
    #[default]
    Flat,
    /// No project's limit is above its domain's.
    StrictTwoLevel,
}

/// Rules for passwords and accounts, with Keystone's names and meanings. Left
/// out, a rule is off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityConfig {
    /// Wrong passwords in a row that lock a user out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lockout_failure_attempts: Option<u32>,
    /// How long the user is locked out, in seconds.
    pub lockout_duration: u64,
    /// Days until a password ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_expires_days: Option<u32>,
    /// A new password must not be one of so many last ones, itself included.
    pub unique_last_password_count: u32,
    /// Days that a password must be kept before the user may change it.
    pub minimum_password_age: u32,
    /// A pattern that passwords must match from their beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_regex: Option<String>,
    /// The pattern in words, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_regex_description: Option<String>,
    /// Whether a password that an administrator set must be changed at once.
    pub change_password_upon_first_use: bool,
    /// Days without a sign-in after which an account counts as disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_user_account_days_inactive: Option<u32>,
}

impl Default for SecurityConfig {
    fn default() -> Self {
        Self {
            lockout_failure_attempts: None,
            lockout_duration: 1800,
            password_expires_days: None,
            unique_last_password_count: 0,
            minimum_password_age: 0,
            password_regex: None,
            password_regex_description: None,
            change_password_upon_first_use: false,
            disable_user_account_days_inactive: None,
        }
    }
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
            token_provider: TokenProvider::default(),
            openid: Vec::new(),
            jws_keys: "keys/jws".into(),
            credential_keys: "keys/credential".into(),
            max_active_keys: 3,
            token_lifetime: 3600,
            allow_expired_window: 2 * 24 * 3600,
            public_url: None,
            policy_file: None,
            policy_folder: None,
            password: PasswordConfig::default(),
            security: SecurityConfig::default(),
            rate_limits: RateLimits::default(),
            max_redelegation_count: 3,
            signature_lifetime: 15 * 60,
            limit_model: LimitModel::default(),
            max_body: 112 * 1024,
            request_timeout: 60,
            max_concurrent: 256,
            max_project_depth: 5,
        }
    }
}
