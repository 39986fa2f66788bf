//! Bearer tokens of OpenID providers: is the token good, and what does it claim.
//!
//! Which provider an identity provider's users come by stands in the
//! configuration, as it would in that of Apache's `mod_auth_openidc`. A token
//! of three parts is checked by the keys that the provider publishes
//! ([`provider`]); any other is shown to the provider (introspection, RFC 7662),
//! if there is a client secret to ask it with. [`assertion`] turns claims into
//! what mappings read, [`fetch`] is the client.
mod assertion;
mod fetch;
mod provider;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use virga_identity_api::jws::Algorithm;
use virga_node::clock::Micros;

use provider::Provider;

pub(crate) use assertion::assertion;

/// The OpenID provider of an identity provider's users, in `virga.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenIdProvider {
    /// Id of the identity provider.
    pub identity_provider: String,
    /// URL of the issuer, as its tokens have it: `https://…`, or `http://` on
    /// this very host.
    pub issuer: String,
    /// The name of this cloud at the provider.
    pub client_id: String,
    /// Audiences that tokens may be for; the client id, if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// Algorithms that tokens may be signed with.
    #[serde(default = "all_algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// A file that holds the client's secret. With it, tokens that are not
    /// signed texts are shown to the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<PathBuf>,
    /// A file of certificates (PEM) that the provider's must come from; without
    /// it those that the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The claim that mappings see as `REMOTE_USER`.
    #[serde(default = "subject")]
    pub remote_user_claim: String,
}

fn all_algorithms() -> Vec<Algorithm> {
    vec![Algorithm::Es256, Algorithm::Rs256]
}

fn subject() -> String {
    "sub".into()
}

/// What a token says, once it is known to be good.
pub(crate) type Claims = Map<String, Value>;

/// Why a bearer token is not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BearerError {
    /// It is not good. The reason is for the log.
    #[error("{0}")]
    Refused(&'static str),
    /// The provider does not answer, or not as it should.
    #[error("{0}")]
    Unreachable(String),
}

/// The configured providers.
#[derive(Debug)]
pub(crate) struct OpenIdProviders {
    providers: Vec<Arc<Provider>>,
}

impl OpenIdProviders {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// What is wrong with the configuration, in a sentence.
    pub(crate) fn new(configs: &[OpenIdProvider]) -> Result<Self, String> {
        let mut providers: Vec<Arc<Provider>> = Vec::new();
        for config in configs {
            let id = &config.identity_provider;
            if providers.iter().any(|p| p.config.identity_provider == *id) {
                return Err(format!("identity provider {id} is configured twice"));
            }
            let provider = Provider::new(config).map_err(|why| format!("identity provider {id}: {why}"))?;
            providers.push(Arc::new(provider));
        }
        Ok(Self { providers })
    }

    /// The configuration of an identity provider's users.
    pub(crate) fn config(&self, identity_provider: &str) -> Option<&OpenIdProvider> {
        self.of(identity_provider).map(|p| &p.config)
    }

    fn of(&self, identity_provider: &str) -> Option<&Arc<Provider>> {
        self.providers
            .iter()
            .find(|p| p.config.identity_provider == identity_provider)
    }

    /// What a token claims, if it is good at `now` for users of this identity
    /// provider.
    pub(crate) async fn claims(
        &self,
        identity_provider: &str,
        token: &str,
        now: Micros,
    ) -> Result<Claims, BearerError> {
        let provider = self
            .of(identity_provider)
            .ok_or(BearerError::Refused("no OpenID provider is configured"))?;
        provider.claims(token, now).await
    }
}
