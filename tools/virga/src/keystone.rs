//! Identity as the parts of this process see it: the service itself, or, in a
//! process without it, tokens verified with a copy of its keys.
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use virga_identity::Identity;
use virga_identity_api::caller::{Caller, Scope};
use virga_identity_api::jws_keys::JwsKeys;
use virga_identity_api::keys::{KeyRepository, KeyRing};
use virga_identity_api::local::{LocalVerifier, RoleSource};
use virga_identity_api::revocation::Revocations;
use virga_identity_api::verify::{Directory, Named, TokenVerifier};
use virga_node::clock::{Clock, Micros};
use virga_s3::keys::{Key, KeySource, KeysUnavailable};

use crate::config::CloudConfig;
use crate::hosts::link::Link;
use crate::housekeeping::{ReloadKeys, reload_of};
use crate::secrets;

/// Fewest keys that a repository keeps; a process that only reads never trims.
const KEYS: usize = 2;

/// Identity's side that others in the process use.
pub struct Keystone {
    /// Verifies tokens.
    pub verifier: Arc<dyn TokenVerifier>,
    /// Tells names for access lists.
    pub directory: Arc<dyn Directory>,
    /// Tells who holds a key of the S3 dialect.
    pub keys: Arc<dyn KeySource>,
    /// Reads the token keys again.
    pub reload: ReloadKeys,
    /// The service, if this process runs it.
    pub service: Option<Identity>,
}

/// Where identity keeps its records.
pub fn records(config: &CloudConfig) -> virga_state::Config {
    let own = || virga_state::Config::sqlite(&config.data.join("state/identity.sqlite"));
    virga_state::Config {
        keep: config.identity.audit,
        ..config.state.clone().unwrap_or_else(own)
    }
}

/// Identity's settings: the operator's, and where this cloud keeps things.
pub fn settings(config: &CloudConfig) -> virga_identity::Config {
    virga_identity::Config {
        token_keys: config.secrets().join("token-keys"),
        credential_keys: config.secrets().join("credential-keys"),
        jws_keys: config.secrets().join("jws-keys"),
        public_url: config.public_url.clone(),
        policy_folder: Some(config.data.clone()),
        ..config.identity.config()
    }
}

impl Keystone {
    /// Opens identity's records and keys; makes them on the first start.
    ///
    /// # Errors
    /// What could not be opened.
    pub async fn serve(config: &CloudConfig, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let folder = config.data.join("state");
        secrets::private_folder(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let state = virga_state::State::open(&records(config), clock.clone())
            .await
            .map_err(|e| format!("identity's records: {e}"))?;
        let service = Identity::open(settings(config), state, clock)
            .await
            .map_err(|e| format!("identity: {e}"))?;
        let keys = service.clone();
        Ok(Self {
            verifier: service.verifier(),
            directory: service.directory(),
            keys: Arc::new(Ec2Keys(service.clone())),
            reload: Arc::new(move || keys.reload_keys().map_err(|e| e.to_string())),
            service: Some(service),
        })
    }

    /// Verifies tokens with the keys in `SECRETS/token-keys`, a copy of the
    /// identity host's, and signed ones with those in `SECRETS/jws-keys/public`,
    /// if there are any. What keys do not tell is asked over `link`. Without
    /// one it knows no revocations (a revoked token is good until it expires),
    /// refuses tokens that do not carry what they stand for, tells no names and
    /// knows no keys of S3.
    ///
    /// # Errors
    /// When there are no keys; says where they come from.
    pub fn verify(
        secrets: &Path,
        link: Option<Arc<Link>>,
        revocations: Arc<Revocations>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let repository = KeyRepository::new(secrets.join("token-keys"), KEYS);
        let keys = KeyRing::open(repository).map(Arc::new).map_err(|e| {
            format!(
                "token keys: {e}; the host with the role identity makes them at its first start: copy the folder \
                 token-keys from there, and again after every rotation"
            )
        })?;
        let folder = secrets.join("jws-keys");
        let signed = match JwsKeys::exist(&folder) {
            true => Some(
                JwsKeys::open(folder, KEYS)
                    .map(Arc::new)
                    .map_err(|e| format!("jws keys: {e}"))?,
            ),
            false => None,
        };
        let roles = link.clone().map(|link| -> Arc<dyn RoleSource> { link });
        let verifier = LocalVerifier::new(keys.clone(), revocations, clock, roles);
        let verifier = verifier.with_signed(signed.clone());
        let sealed = reload_of(keys);
        let reload = move || match &signed {
            Some(keys) => sealed().and_then(|()| keys.reload().map_err(|e| e.to_string())),
            None => sealed(),
        };
        let (directory, keys): (Arc<dyn Directory>, Arc<dyn KeySource>) = match link {
            Some(link) => (link.clone(), link),
            None => (Arc::new(NoNames), Arc::new(NoKeys)),
        };
        Ok(Self {
            verifier: Arc::new(verifier),
            directory,
            keys,
            reload: Arc::new(reload),
            service: None,
        })
    }
}

/// The directory of a process that can ask nobody: it cannot tell any name, so
/// access lists are matched by ids only.
struct NoNames;

#[async_trait]
impl Directory for NoNames {
    async fn user(&self, _id: &str) -> Option<Named> {
        None
    }

    async fn project(&self, _id: &str) -> Option<Named> {
        None
    }
}

/// EC2 keys, from identity in this process.
struct Ec2Keys(Identity);

#[async_trait]
impl KeySource for Ec2Keys {
    async fn key(&self, access: &str) -> Result<Option<Key>, KeysUnavailable> {
        let found = self.0.ec2_secret(access).await;
        let found = found.map_err(|error| KeysUnavailable(error.to_string()))?;
        Ok(found.map(|found| Key {
            secret: found.secret,
            caller: Arc::new(Caller {
                user_id: found.user_id,
                scope: Scope::Project(found.project_id),
                roles: found.roles,
                methods: vec!["ec2credential".into()],
                issued_at: Micros(0),
                expires_at: Micros(u64::MAX),
                audit_ids: Vec::new(),
                delegation: None,
                access_rules: None,
            }),
        }))
    }
}

/// The keys of a process that can ask nobody: S3 requests cannot be checked
/// here.
struct NoKeys;

#[async_trait]
impl KeySource for NoKeys {
    async fn key(&self, _access: &str) -> Result<Option<Key>, KeysUnavailable> {
        Err(KeysUnavailable(
            "this process does not run identity and its configuration does not say where it is: set url under \
             [identity_host]"
                .into(),
        ))
    }
}
