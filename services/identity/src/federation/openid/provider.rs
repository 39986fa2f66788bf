//! One OpenID provider: its published keys, kept for a while, and the check of
//! its tokens.
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore};
use virga_identity_api::jws::{Compact, PublicKey};
use virga_node::clock::Micros;
use zeroize::Zeroizing;

use super::fetch::{Client, FetchError, allowed};
use super::{BearerError, Claims, OpenIdProvider};

/// How long published keys are believed without asking again.
const FRESH: Duration = Duration::from_secs(3600);
/// How long they are believed while the provider does not answer.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// The least time between two questions, however many unknown keys are named.
const REST: Duration = Duration::from_secs(10);
/// Keys that are kept at most.
const MAX_KEYS: usize = 64;
/// How far the provider's clock may differ.
const LEEWAY: Duration = Duration::from_secs(60);
/// Tokens that are shown to the provider at once.
const CALLS: usize = 8;

/// What a provider publishes.
#[derive(Debug, Default)]
struct Published {
    keys: Vec<(Option<String>, PublicKey)>,
    introspection: Option<String>,
    read_at: Option<Micros>,
    tried_at: Option<Micros>,
}

impl Published {
    fn younger(&self, than: Duration, now: Micros) -> bool {
        self.read_at.is_some_and(|at| now.since(at) < than)
    }
}

/// A provider.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) config: OpenIdProvider,
    client: Client,
    secret: Option<Zeroizing<String>>,
    published: Mutex<Published>,
    calls: Semaphore,
}

impl From<FetchError> for BearerError {
    fn from(error: FetchError) -> Self {
        Self::Unreachable(error.to_string())
    }
}

fn text<'c>(of: &'c Claims, name: &str) -> Option<&'c str> {
    of.get(name).and_then(Value::as_str)
}

/// A time in seconds, which may have a fraction.
fn time(claims: &Claims, name: &str) -> Result<Option<Micros>, BearerError> {
    let Some(claim) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = claim.as_f64().and_then(|s| Duration::try_from_secs_f64(s).ok());
    let micros = seconds.and_then(|s| u64::try_from(s.as_micros()).ok());
    micros
        .map(|at| Some(Micros(at)))
        .ok_or(BearerError::Refused("a time of the bearer token is not a number"))
}

impl Provider {
    pub(super) fn new(config: &OpenIdProvider) -> Result<Self, String> {
        allowed(&config.issuer).map_err(|e| format!("issuer: {e}"))?;
        if config.algorithms.is_empty() {
            return Err("algorithms: at least one is needed".into());
        }
        let secret = match &config.client_secret_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
                Some(Zeroizing::new(Zeroizing::new(text).trim().to_owned()))
            }
        };
        Ok(Self {
            client: Client::new(config.ca_file.as_deref())?,
            config: config.clone(),
            secret,
            published: Mutex::default(),
            calls: Semaphore::new(CALLS),
        })
    }

    pub(super) async fn claims(&self, token: &str, now: Micros) -> Result<Claims, BearerError> {
        if token.split('.').count() != 3 {
            return self.introspect(token, now).await;
        }
        let compact = Compact::parse(token)
            .filter(|c| self.config.algorithms.contains(&c.algorithm))
            .ok_or(BearerError::Refused(
                "the bearer token is malformed or signed otherwise",
            ))?;
        let keys = self.keys(compact.key_id.as_deref(), now).await?;
        let claims = keys
            .iter()
            .find_map(|key| compact.claims(key))
            .ok_or(BearerError::Refused(
                "no key of the provider signed the bearer token",
            ))?;
        if text(&claims, "iss") != Some(&self.config.issuer) {
            return Err(BearerError::Refused("the bearer token has another issuer"));
        }
        if time(&claims, "exp")?.is_none() {
            return Err(BearerError::Refused("the bearer token has no end"));
        }
        self.check(claims, now)
    }

    /// What holds for both kinds: times and audience.
    fn check(&self, claims: Claims, now: Micros) -> Result<Claims, BearerError> {
        if time(&claims, "exp")?.is_some_and(|end| end.plus(LEEWAY) <= now) {
            return Err(BearerError::Refused("the bearer token has expired"));
        }
        for name in ["nbf", "iat"] {
            if time(&claims, name)?.is_some_and(|at| at > now.plus(LEEWAY)) {
                return Err(BearerError::Refused("the bearer token is from the future"));
            }
        }
        let client = std::slice::from_ref(&self.config.client_id);
        let wanted = match self.config.audiences.as_slice() {
            [] => client,
            some => some,
        };
        let ours = |audience: &Value| audience.as_str().is_some_and(|a| wanted.iter().any(|w| w == a));
        let for_us = match claims.get("aud") {
            Some(Value::Array(audiences)) => audiences.iter().any(ours),
            Some(audience) => ours(audience),
            None => false,
        };
        if !for_us {
            return Err(BearerError::Refused("the bearer token is for another audience"));
        }
        if text(&claims, "sub").is_none_or(str::is_empty) {
            return Err(BearerError::Refused("the bearer token names nobody"));
        }
        Ok(claims)
    }

    /// Published keys that may have signed what names the key `id`.
    async fn keys(&self, id: Option<&str>, now: Micros) -> Result<Vec<PublicKey>, BearerError> {
        let mut published = self.published.lock().await;
        let fitting = |published: &Published| -> Vec<PublicKey> {
            let fits = |key: &&(Option<String>, PublicKey)| id.is_none() || key.0.as_deref() == id;
            published
                .keys
                .iter()
                .filter(fits)
                .map(|(_, key)| key.clone())
                .collect()
        };
        let found = fitting(&published);
        if published.younger(FRESH, now) && !found.is_empty() {
            return Ok(found);
        }
        match self.refresh(&mut published, now).await {
            Ok(()) => Ok(fitting(&published)),
            Err(_) if published.younger(STALE, now) && !found.is_empty() => Ok(found),
            Err(error) => Err(error),
        }
    }

    /// Reads what the provider publishes, unless that was tried just now.
    async fn refresh(&self, published: &mut Published, now: Micros) -> Result<(), BearerError> {
        if published.tried_at.is_some_and(|at| now.since(at) < REST) {
            return match published.read_at {
                Some(_) => Ok(()),
                None => Err(BearerError::Unreachable("it did not answer a moment ago".into())),
            };
        }
        published.tried_at = Some(now);
        let issuer = self.config.issuer.trim_end_matches('/');
        let document = format!("{issuer}/.well-known/openid-configuration");
        let document = self.client.get(&document).await?;
        if text(&document, "issuer") != Some(&self.config.issuer) {
            return Err(BearerError::Unreachable(format!(
                "the document of {issuer} names another issuer"
            )));
        }
        let Some(keys) = text(&document, "jwks_uri") else {
            return Err(BearerError::Unreachable(format!(
                "the document of {issuer} has no jwks_uri"
            )));
        };
        let keys = self.client.get(keys).await?;
        let keys = keys.get("keys").and_then(Value::as_array).into_iter().flatten();
        let read = keys.filter_map(Value::as_object).filter_map(|key| {
            let id = text(key, "kid").map(str::to_owned);
            PublicKey::from_jwk(key).map(|key| (id, key))
        });
        published.keys = read.take(MAX_KEYS).collect();
        published.introspection = text(&document, "introspection_endpoint").map(str::to_owned);
        published.read_at = Some(now);
        Ok(())
    }

    /// Shows a token to the provider.
    async fn introspect(&self, token: &str, now: Micros) -> Result<Claims, BearerError> {
        let Some(secret) = &self.secret else {
            return Err(BearerError::Refused(
                "the bearer token is not signed, and there is no client secret to ask the provider with",
            ));
        };
        let url = {
            let mut published = self.published.lock().await;
            if !published.younger(FRESH, now) {
                let asked = self.refresh(&mut published, now).await;
                asked.or_else(|e| {
                    if published.read_at.is_some() {
                        Ok(())
                    } else {
                        Err(e)
                    }
                })?;
            }
            published.introspection.clone()
        };
        let Some(url) = url else {
            return Err(BearerError::Refused("the provider has no introspection endpoint"));
        };
        // Requests wait for their turn within the bound of the front door.
        let Ok(_turn) = self.calls.acquire().await else {
            return Err(BearerError::Unreachable(
                "the provider is not asked any more".into(),
            ));
        };
        let encoded = utf8_percent_encode(token, NON_ALPHANUMERIC);
        let form = format!("token={encoded}&token_type_hint=access_token");
        let mut claims = self
            .client
            .post(&url, (&self.config.client_id, secret), form)
            .await?;
        if claims.remove("active") != Some(Value::Bool(true)) {
            return Err(BearerError::Refused(
                "the provider does not know the bearer token",
            ));
        }
        if text(&claims, "iss").is_some_and(|iss| iss != self.config.issuer) {
            return Err(BearerError::Refused("the bearer token has another issuer"));
        }
        // The answer may leave these out: it came from the issuer, and the
        // client whom the token was made for is as good as an audience.
        let client = claims.get("client_id").cloned();
        claims
            .entry("iss")
            .or_insert_with(|| self.config.issuer.clone().into());
        if let Some(client) = client {
            claims.entry("aud").or_insert(client);
        }
        self.check(claims, now)
    }
}
