//! OAuth 1.0a: a user lets a consumer act with some of the user's roles on a
//! project, without telling it a password.
//!
//! The consumer asks for a request token, the user authorizes it and hands the
//! verifier over, the consumer exchanges both for an access token, and signs in
//! with that. Every request of the consumer is signed: [`signature`] reads it and
//! computes it anew, [`nonces`] sees to it that each is good once. Here stands
//! who signed; the routes are in `api::oauth_tokens`.
//!
//! Not here: callbacks (the user hands the verifier over by hand, as in
//! Keystone), and signatures without a shared secret.
pub(crate) mod nonces;
pub(crate) mod signature;

use std::time::Duration;

use virga_node::clock::Micros;

use crate::app::App;
use crate::auth::AuthError;
use crate::model::oauth::{self, Consumer};
use crate::model::oauth_token::OauthToken;
use crate::secrets;
use nonces::Full;
use signature::Signed;

/// How long a request token may be authorized and exchanged.
pub(crate) const REQUEST_LIFE: Duration = Duration::from_secs(8 * 3600);
/// How long an access token is good.
pub(crate) const ACCESS_LIFE: Duration = Duration::from_secs(24 * 3600);

impl App {
    /// The consumer that signed, with the secret of `token` too, if there is one.
    pub(crate) async fn signer(
        &self,
        signed: &Signed,
        token: Option<&OauthToken>,
    ) -> Result<Consumer, AuthError> {
        const WRONG: AuthError = AuthError::Refused("no such consumer or token, or a wrong signature");
        let opened = |sealed: &str| {
            secrets::open(&self.credential_keys, sealed).map_err(|e| AuthError::Sealed(e.to_string()))
        };
        let found = oauth::get(&mut self.state.reader(), &signed.consumer).await?;
        let consumer = found.ok_or(WRONG)?;
        // A token is its consumer's; without the one that is named nothing matches.
        if token.is_some_and(|t| t.consumer_id != consumer.id) || token.is_some() != signed.token.is_some() {
            return Err(WRONG);
        }
        let secret = opened(&consumer.sealed_secret)?;
        let with = token.map(|t| opened(&t.sealed_secret)).transpose()?;
        if !signed.is_signed_with(&secret, with.as_ref().map_or("", |secret| secret.as_str())) {
            return Err(WRONG);
        }
        let (now, window) = (self.clock.now().as_secs(), self.config.signature_lifetime);
        if signed.timestamp.abs_diff(now) > window {
            return Err(AuthError::Refused("the signature is too old, or from the future"));
        }
        match self.used_nonces.accept(signed, now, window) {
            Ok(true) => Ok(consumer),
            Ok(false) => Err(AuthError::Refused("the signed request was shown before")),
            Err(Full) => Err(AuthError::Overloaded),
        }
    }

    /// When what is made now ends: whole seconds.
    pub(crate) fn oauth_end(&self, life: Duration) -> Micros {
        Micros(self.clock.now().plus(life).as_secs() * 1_000_000)
    }
}
