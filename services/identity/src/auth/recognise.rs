//! Who it is: every method that a request shows is checked, and all must name
//! the same user.
use std::time::Duration;

use virga_identity_api::caller::Delegation;
use virga_identity_api::payload::{Federation, Payload};
use virga_identity_api::verify::TokenError;
use virga_node::clock::Micros;
use virga_state::StateError;

use super::AuthError;
use super::request::{AuthRequest, CredentialRef, DomainRef, EntityRef};
use super::totp;
use crate::app::App;
use crate::model::application_credential::{self, ApplicationCredential};
use crate::model::project::{self, Project};
use crate::model::user::{self, User};
use crate::model::{access_rule, credential};
use crate::secrets;

/// Who was recognised, and by what.
pub(crate) struct Proof {
    pub(crate) user: User,
    pub(crate) user_domain: Project,
    pub(crate) methods: Vec<String>,
    pub(crate) expires_at: Micros,
    /// The audit id that the chain of tokens began with.
    pub(crate) chain: Option<String>,
    /// The application credential that was shown, and whether it has rules.
    pub(crate) credential: Option<(ApplicationCredential, bool)>,
    /// Where the user signed in, if not here.
    pub(crate) federation: Option<Federation>,
}

/// A user with the domain; what each method brings.
pub(crate) type Known = (User, Project);

fn add(methods: &mut Vec<String>, method: &str) {
    if !methods.iter().any(|m| m == method) {
        methods.push(method.to_owned());
    }
}

pub(crate) fn whole_second(at: Micros) -> Micros {
    Micros(at.as_secs().saturating_mul(1_000_000))
}

impl App {
    /// Checks all that the request shows.
    pub(crate) async fn recognise(&self, request: &AuthRequest) -> Result<Proof, AuthError> {
        let mut expires_at = self.end_of_new_token();
        let mut methods = Vec::new();
        let mut known: Vec<Known> = Vec::new();
        let (mut chain, mut credential, mut federation) = (None, None, None);
        if let Some(token) = &request.token {
            let payload = self.shown_token(token)?;
            known.push(self.live_user(&payload.user_id).await?);
            chain = Some(payload.chain_id().to_owned());
            if let Some(by) = &payload.federation {
                self.live_federation(by).await?;
            }
            expires_at = payload.expires_at;
            methods = payload.methods;
            federation = payload.federation;
        }
        if let Some((who, password)) = &request.password {
            known.push(self.by_password(who, password).await?);
            add(&mut methods, "password");
        }
        if let Some((who, passcode)) = &request.totp {
            known.push(self.by_passcode(who, passcode).await?);
            add(&mut methods, "totp");
        }
        if let Some((which, secret)) = &request.application_credential {
            let (user, found, ruled) = self.by_credential(which, secret).await?;
            if let Some(end) = found.expires_at {
                expires_at = expires_at.min(whole_second(end));
            }
            known.push(user);
            credential = Some((found, ruled));
            add(&mut methods, "application_credential");
        }
        if request.token.is_some() {
            add(&mut methods, "token");
        }
        let mut known = known.into_iter();
        let Some((user, user_domain)) = known.next() else {
            return Err(AuthError::Refused("no method"));
        };
        if known.any(|(other, _)| other.id != user.id) {
            return Err(AuthError::Refused("the methods name different users"));
        }
        Ok(Proof {
            user,
            user_domain,
            methods,
            expires_at,
            chain,
            credential,
            federation,
        })
    }

    /// When a token that is made now ends.
    pub(crate) fn end_of_new_token(&self) -> Micros {
        let life = Duration::from_secs(self.config.token_lifetime);
        whole_second(self.clock.now().plus(life))
    }

    /// A token that is exchanged for another. Those of a delegation are not:
    /// the new one could reach further.
    fn shown_token(&self, token: &str) -> Result<Payload, AuthError> {
        let payload = match self.verifier.inspect(token, Duration::ZERO) {
            Ok(payload) => payload,
            Err(TokenError::Unavailable(_)) => return Err(AuthError::Overloaded),
            Err(_) => return Err(AuthError::Refused("the token is not good")),
        };
        let by_keys = payload.methods.iter().any(|m| m == "ec2credential");
        let kind = match &payload.delegation {
            Some(Delegation::Trust { .. }) => "trust-scoped",
            Some(Delegation::ApplicationCredential { .. } | Delegation::AccessToken { .. }) => "delegated",
            None if by_keys => "delegated",
            None => return Ok(payload),
        };
        Err(AuthError::Forbidden(format!(
            "You are not authorized to perform the requested action: Using a {kind} token to create another token."
        )))
    }

    /// The user behind a password. Every failure is the same, and costs the
    /// same: the password is checked even if the user is not there.
    async fn by_password(&self, who: &EntityRef, password: &str) -> Result<Known, AuthError> {
        let found = self.find_user(who).await?;
        let now = self.clock.now();
        let locked = found
            .as_ref()
            .is_some_and(|(u, _)| self.password_rules.is_locked(u, now));
        let hash = found.as_ref().and_then(|(u, _)| u.password_hash.as_deref());
        let id = found.as_ref().map_or("", |(u, _)| u.id.as_str());
        // Who is locked out is told nothing about the password either.
        let hash = hash.filter(|_| !locked);
        let good = self.passwords.verify(id, password, hash).await?;
        let Some((user, domain)) = found else {
            return Err(AuthError::Refused("wrong user or password"));
        };
        if locked {
            return Err(AuthError::Refused("the user is locked out"));
        }
        if !good {
            self.note_failure(&user).await?;
            return Err(AuthError::Refused("wrong user or password"));
        }
        if !user.enabled || !domain.enabled || self.password_rules.is_inactive(&user, now) {
            return Err(AuthError::Refused("the user or domain is disabled"));
        }
        if self.password_rules.is_expired(&user, now) {
            return Err(AuthError::PasswordExpired(user.id));
        }
        Ok((user, domain))
    }

    /// The user behind a passcode: that of any of the user's TOTP credentials.
    async fn by_passcode(&self, who: &EntityRef, passcode: &str) -> Result<Known, AuthError> {
        const WRONG: AuthError = AuthError::Refused("wrong user or passcode");
        let (user, domain) = self.find_user(who).await?.ok_or(WRONG)?;
        let now = self.clock.now();
        if self.password_rules.is_locked(&user, now) {
            return Err(AuthError::Refused("the user is locked out"));
        }
        let stored = credential::list(&mut self.state.reader(), Some(&user.id), Some("totp")).await?;
        let mut good = false;
        for found in stored {
            let blob = secrets::open(&self.credential_keys, &found.sealed_blob)
                .map_err(|e| AuthError::Sealed(e.to_string()))?;
            let secret = totp::base32(&blob);
            good |=
                secret.is_some_and(|s| self.used_passcodes.accept(&found.id, &s, passcode, now.as_secs()));
        }
        if !good {
            // Six digits are soon guessed by someone who may guess forever.
            self.note_failure(&user).await?;
            return Err(WRONG);
        }
        if !user.enabled || !domain.enabled {
            return Err(AuthError::Refused("the user or domain is disabled"));
        }
        Ok((user, domain))
    }

    /// The user behind an application credential, which must be good now.
    /// Failures cost the same, as with passwords.
    async fn by_credential(
        &self,
        which: &CredentialRef,
        secret: &str,
    ) -> Result<(Known, ApplicationCredential, bool), AuthError> {
        let mut q = self.state.reader();
        let found = match which {
            CredentialRef::Id(id) => application_credential::get(&mut q, id).await?,
            CredentialRef::Name(name, who) => match self.find_user(who).await? {
                Some((user, _)) => application_credential::by_name(&mut q, &user.id, name).await?,
                None => None,
            },
        };
        let (id, hash) = found
            .as_ref()
            .map_or(("", None), |c| (c.id.as_str(), Some(c.secret_hash.as_str())));
        let good = self.passwords.verify(id, secret, hash).await?;
        let Some(found) = found.filter(|_| good) else {
            return Err(AuthError::Refused("wrong application credential or secret"));
        };
        if found.expires_at.is_some_and(|at| at <= self.clock.now()) {
            return Err(AuthError::Refused("the application credential has expired"));
        }
        let user = self.live_user(&found.user_id).await?;
        let ruled = !access_rule::of_credential(&mut q, &found.id).await?.is_empty();
        Ok((user, found, ruled))
    }

    /// The user that a client names, with the domain.
    pub(crate) async fn find_user(&self, who: &EntityRef) -> Result<Option<Known>, StateError> {
        let mut q = self.state.reader();
        let found = match who {
            EntityRef::Id(id) => user::get(&mut q, id).await?,
            EntityRef::Name(name, domain) => match self.find_domain(domain).await? {
                Some(domain) => user::by_name(&mut q, &domain.id, name).await?,
                None => None,
            },
        };
        let Some(found) = found else { return Ok(None) };
        Ok(project::get(&mut q, &found.domain_id)
            .await?
            .map(|domain| (found, domain)))
    }

    /// The domain that a client names.
    pub(crate) async fn find_domain(&self, which: &DomainRef) -> Result<Option<Project>, StateError> {
        let mut q = self.state.reader();
        let found = match which {
            DomainRef::Id(id) => project::get(&mut q, id).await?,
            DomainRef::Name(name) => project::domain_by_name(&mut q, name).await?,
        };
        Ok(found.filter(|d| d.is_domain))
    }

    /// The user of this id, who may sign in.
    pub(crate) async fn live_user(&self, id: &str) -> Result<Known, AuthError> {
        match self.find_user(&EntityRef::Id(id.to_owned())).await? {
            Some((user, domain)) if user.enabled && domain.enabled => Ok((user, domain)),
            _ => Err(AuthError::Refused("the user is gone or disabled")),
        }
    }
}
