//! Identity, the Keystone v3 API: who may do what.
//!
//! [`Identity::open`] brings the service up over its records and keys,
//! [`Identity::bootstrap`] makes what a fresh cloud must contain (and at every
//! start lets the catalog follow the configured URLs), [`Identity::router`] is
//! the API. The rest of the house meets it in [`Identity::verifier`],
//! [`Identity::directory`] and [`Identity::ec2_secret`]; other machines verify
//! tokens with `virga-identity-api` and a copy of the token keys.
//!
//! Not here: SAML, sign-in by browser (websso) and drivers of single domains
//! (LDAP). Their routes answer 501 in Keystone's body.
mod api;
mod app;
mod attempts;
mod audit;
mod auth;
mod bootstrap;
mod cached;
mod config;
mod directory;
mod fault;
mod federation;
mod following;
mod model;
mod oauth;
mod policies;
mod rotation;
mod secrets;
mod shown;

use std::sync::Arc;

use virga_identity_api::jws_keys::JwsKeys;
use virga_identity_api::keys::{KeyError, KeyRepository, KeyRing};
use virga_identity_api::local::{LocalVerifier, RoleSource};
use virga_identity_api::revocation::Revocations;
use virga_identity_api::verify::{Directory, TokenVerifier};
use virga_node::clock::{Clock, Micros};
use virga_state::{State, StateError};

pub use attempts::RateLimits;
pub use audit::query::{AuditError, AuditQuery};
pub use bootstrap::{BootstrapError, BootstrapPlan, BootstrapReport};
pub use config::{Config, LimitModel, PasswordConfig, SecurityConfig, Settings, TokenProvider};
pub use directory::Ec2Secret;
pub use federation::openid::OpenIdProvider;
pub use policies::book::PolicyFileError;
pub use policies::explain::{ExplainError, PolicyAnswer, PolicyQuestion, PolicyScope, Way};
pub use rotation::{CredentialRotationError, rotate_credential_keys};

use app::App;
use attempts::Meters;
use audit::journal::Journal;
use auth::password::Passwords;
use auth::roles::RoleBook;
use auth::rules::PasswordRules;
use cached::Cached;
use federation::openid::OpenIdProviders;
use policies::book::{Place, PolicyBook};

/// Why the service could not come up.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its tables could not be made or brought up to date.
    #[error(transparent)]
    Tables(#[from] virga_state::OpenError),
    /// Its records could not be read.
    #[error(transparent)]
    Records(#[from] StateError),
    /// Its keys could not be read or made.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The operator's policy rules cannot be read.
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
    /// What is configured of OpenID providers is not valid.
    #[error("OpenID: {0}")]
    OpenId(String),
    /// The parameters of hashing or the rules for passwords are not valid.
    #[error("passwords: {0}")]
    Passwords(String),
}

/// The running service: a cheap handle.
#[derive(Clone, Debug)]
pub struct Identity {
    app: Arc<App>,
}

impl Identity {
    /// Opens the service: brings its tables up to date, makes missing keys,
    /// reads the revocations.
    pub async fn open(config: Config, state: State, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        state.migrate("identity", model::schema::MIGRATIONS).await?;
        let ring = |dir: &std::path::Path| -> Result<Arc<KeyRing>, KeyError> {
            let repository = KeyRepository::new(dir, config.max_active_keys);
            repository.create_if_missing()?;
            Ok(Arc::new(KeyRing::open(repository)?))
        };
        let token_keys = ring(&config.token_keys)?;
        let credential_keys = ring(&config.credential_keys)?;
        let signed_keys = match config.token_provider {
            TokenProvider::Jws => Some(JwsKeys::open_or_create(&config.jws_keys, config.max_active_keys)?),
            // Tokens of before the kind was changed stay good.
            _ if JwsKeys::exist(&config.jws_keys) => {
                Some(JwsKeys::open(&config.jws_keys, config.max_active_keys)?)
            }
            _ => None,
        };
        let signed_keys = signed_keys.map(Arc::new);
        let policy = PolicyBook::open(match (&config.policy_file, &config.policy_folder) {
            (Some(file), _) => Place::File(file.clone()),
            (None, Some(folder)) => Place::Folder(folder.clone()),
            (None, None) => Place::None,
        })?;
        let revocations = Arc::new(Revocations::new());
        for event in model::revocation::list(&mut state.reader(), Micros(0), clock.now()).await? {
            revocations.add(event, clock.now());
        }
        let roles = Arc::new(RoleBook::new(state.clone()));
        let verifier = LocalVerifier::new(
            token_keys.clone(),
            revocations.clone(),
            clock.clone(),
            Some(roles.clone()),
        );
        let verifier = Arc::new(verifier.with_signed(signed_keys.clone()));
        let passwords = Passwords::new(&config.password, clock.clone())
            .map_err(|e| OpenError::Passwords(e.to_string()))?;
        let password_rules = PasswordRules::new(&config.security).map_err(OpenError::Passwords)?;
        let journal = Journal::start(state.clone());
        let openid = OpenIdProviders::new(&config.openid).map_err(OpenError::OpenId)?;
        let app = App {
            openid: Arc::new(openid),
            meters: Arc::new(Meters::new(&config.rate_limits)),
            config,
            token_keys,
            signed_keys,
            credential_keys,
            revocations,
            verifier,
            roles,
            policy: Arc::new(policy),
            passwords: Arc::new(passwords),
            password_rules: Arc::new(password_rules),
            journal,
            used_passcodes: Arc::default(),
            used_nonces: Arc::default(),
            catalog: Arc::new(Cached::new(state.clone())),
            shown: Arc::default(),
            project_domains: Arc::default(),
            clock,
            state,
        };
        let app = Arc::new(app);
        following::start(&app);
        Ok(Self { app })
    }

    /// Verifies tokens in this process.
    pub fn verifier(&self) -> Arc<dyn TokenVerifier> {
        self.app.verifier.clone()
    }

    /// Names of users and projects, for access lists.
    pub fn directory(&self) -> Arc<dyn Directory> {
        Arc::new(directory::Names::new(self.app.state.clone()))
    }

    /// Tells what tokens do not carry, for verifiers in other processes.
    pub fn role_source(&self) -> Arc<dyn RoleSource> {
        self.app.roles.clone()
    }

    /// The list of revoked tokens, for further verifiers in this process.
    pub fn revocations(&self) -> Arc<Revocations> {
        self.app.revocations.clone()
    }

    /// Rotates the keys that seal tokens. Tokens sealed before stay good while
    /// their key is kept.
    pub fn rotate_token_keys(&self) -> Result<(), KeyError> {
        self.app.token_keys.rotate()?;
        self.app.signed_keys.as_ref().map_or(Ok(()), |keys| keys.rotate())
    }

    /// Reads the key folders again, after something else has rotated them.
    pub fn reload_keys(&self) -> Result<(), KeyError> {
        self.app.token_keys.reload()?;
        if let Some(keys) = &self.app.signed_keys {
            keys.reload()?;
        }
        self.app.credential_keys.reload()
    }

    /// Reads the operator's policy rules again if their file changed. Returns
    /// whether other rules are in force now.
    ///
    /// # Errors
    /// The file is bad, as long as it is; the rules of before stay.
    pub fn reload_policy(&self) -> Result<bool, PolicyFileError> {
        self.app.policy.look()
    }

    /// Method and path of every route of the API, so that a test can walk them
    /// and a document can list them.
    pub fn routes() -> Vec<(&'static str, String)> {
        api::listed()
    }

    /// The API, for the front door: answers `/` (version list), `/v3/...` and
    /// the same under `/identity`. It answers every path (404 in Keystone's
    /// body), so it is mounted as the fallback, with whole paths.
    pub fn router(&self) -> axum::Router {
        api::router(self.app.clone())
    }
}
