//! Verifies tokens by shared keys, in this process.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use virga_node::clock::{Clock, Micros};

use crate::access_rule::AccessRule;
use crate::caller::{Caller, Delegation, Scope};
use crate::jws_keys::JwsKeys;
use crate::keys::KeyRing;
use crate::payload::{MAX_SHOWN, Payload};
use crate::recent::Recent;
use crate::revocation::Revocations;
use crate::verify::{TokenError, TokenVerifier};

/// Tokens remembered at most, in each of two halves.
const CACHED: usize = 4096;
/// How long roles that had to be asked for are believed.
const ASKED_LIFETIME: Duration = Duration::from_secs(30);

/// What the records say of a token that does not carry it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// Whom the token acts as: with Keystone's tokens of a trust that
    /// impersonates, the trustor.
    pub user_id: String,
    /// Names of the roles that it stands for, implied ones included.
    pub roles: Vec<String>,
}

/// Tells what tokens do not carry.
#[async_trait]
pub trait RoleSource: Send + Sync + 'static {
    /// Whom the token acts as, with which roles.
    async fn resolve(&self, token: &Payload) -> Result<Resolved, TokenError>;

    /// The access rules of an application credential, `None` if it has none;
    /// [`TokenError::Revoked`] if there is no such credential.
    async fn access_rules(&self, credential_id: &str) -> Result<Option<Vec<AccessRule>>, TokenError>;
}

#[derive(Clone, Debug)]
struct Verdict {
    payload: Arc<Payload>,
    caller: Arc<Caller>,
    /// Generation of the revocations that it was checked against.
    generation: u64,
    /// Generation of the keys that opened it: theirs may be gone since.
    keys: u64,
    /// When it must be made anew.
    good_until: Micros,
}

/// A [`TokenVerifier`] that needs the keys and the revocations only.
pub struct LocalVerifier {
    keys: Arc<KeyRing>,
    signed: Option<Arc<JwsKeys>>,
    revocations: Arc<Revocations>,
    clock: Arc<dyn Clock>,
    roles: Option<Arc<dyn RoleSource>>,
    cache: Mutex<Recent<String, Verdict>>,
}

impl std::fmt::Debug for LocalVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalVerifier").finish_non_exhaustive()
    }
}

impl LocalVerifier {
    /// A verifier; `roles` is asked for what a token does not carry (without
    /// it such tokens are refused as unverifiable).
    pub fn new(
        keys: Arc<KeyRing>,
        revocations: Arc<Revocations>,
        clock: Arc<dyn Clock>,
        roles: Option<Arc<dyn RoleSource>>,
    ) -> Self {
        Self {
            keys,
            signed: None,
            revocations,
            clock,
            roles,
            cache: Mutex::new(Recent::new(CACHED)),
        }
    }

    /// Accepts signed tokens (JWS) too, by these public keys.
    #[must_use]
    pub fn with_signed(mut self, keys: Option<Arc<JwsKeys>>) -> Self {
        self.signed = keys;
        self
    }

    /// Grows whenever tokens may be judged otherwise than before, time aside:
    /// when something is revoked and when keys change.
    pub fn generation(&self) -> u64 {
        self.revocations.generation() + self.key_generation()
    }

    fn key_generation(&self) -> u64 {
        let signed = self.signed.as_ref().map_or(0, |keys| keys.generation());
        self.keys.generation() + signed
    }

    fn cached(&self, token: &str, now: Micros) -> Option<Result<Arc<Caller>, TokenError>> {
        let generation = self.revocations.generation();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let mut verdict = cache.get(token)?;
        if verdict.keys != self.key_generation() {
            return None;
        }
        if verdict.payload.expires_at <= now {
            return Some(Err(TokenError::Expired));
        }
        if verdict.generation != generation {
            if self.revocations.covers(&verdict.payload) {
                return Some(Err(TokenError::Revoked));
            }
            verdict.generation = generation;
            cache.put(token.to_owned(), verdict.clone());
        }
        (verdict.good_until > now).then_some(Ok(verdict.caller))
    }

    /// Opens and judges `token` as of `now`. Tokens that ended at most `grace`
    /// ago pass. Does not ask for roles.
    pub fn inspect(&self, token: &str, grace: Duration) -> Result<Payload, TokenError> {
        if token.len() > MAX_SHOWN {
            return Err(TokenError::Invalid);
        }
        // A sealed token has no dots.
        let payload = match &self.signed {
            Some(keys) if token.contains('.') => keys.open_token(token)?,
            _ => Payload::open(&self.keys, token)?,
        };
        if payload.expires_at.plus(grace) <= self.clock.now() {
            return Err(TokenError::Expired);
        }
        if self.revocations.covers(&payload) {
            return Err(TokenError::Revoked);
        }
        Ok(payload)
    }

    /// The access rules that bind a token. They never change, so they are
    /// believed as long as the token is.
    async fn access_rules(&self, token: &Payload) -> Result<Option<Vec<AccessRule>>, TokenError> {
        let Some(id) = token.delegation.as_ref().and_then(Delegation::ruled_by) else {
            return Ok(None);
        };
        match &self.roles {
            Some(source) => source.access_rules(id).await,
            // Without the rules it might be used for anything.
            None => Err(TokenError::Unavailable(
                "the token has access rules and nobody can be asked for them".into(),
            )),
        }
    }
}

#[async_trait]
impl TokenVerifier for LocalVerifier {
    async fn verify(&self, token: &str) -> Result<Arc<Caller>, TokenError> {
        let now = self.clock.now();
        if let Some(verdict) = self.cached(token, now) {
            return verdict;
        }
        // Taken before looking, so that a revocation in between is noticed.
        let (generation, keys) = (self.revocations.generation(), self.key_generation());
        let payload = self.inspect(token, Duration::ZERO)?;
        let own = |roles: Vec<String>| Resolved {
            user_id: payload.user_id.clone(),
            roles,
        };
        let (resolved, good_until) = match (&payload.roles, &self.roles) {
            (Some(roles), _) => (own(roles.clone()), payload.expires_at),
            (None, _) if payload.scope == Scope::Unscoped && payload.delegation.is_none() => {
                (own(Vec::new()), payload.expires_at)
            }
            (None, Some(source)) => (source.resolve(&payload).await?, now.plus(ASKED_LIFETIME)),
            (None, None) => {
                return Err(TokenError::Unavailable(
                    "the token carries no roles and nobody can be asked".into(),
                ));
            }
        };
        let access_rules = self.access_rules(&payload).await?;
        let caller = Arc::new(Caller {
            user_id: resolved.user_id,
            scope: payload.scope.clone(),
            roles: resolved.roles,
            methods: payload.methods.clone(),
            issued_at: payload.issued_at,
            expires_at: payload.expires_at,
            audit_ids: payload.audit_ids.clone(),
            delegation: payload.delegation.clone(),
            access_rules,
        });
        let verdict = Verdict {
            payload: Arc::new(payload),
            caller: caller.clone(),
            generation,
            keys,
            good_until,
        };
        self.cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .put(token.to_owned(), verdict);
        Ok(caller)
    }
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
