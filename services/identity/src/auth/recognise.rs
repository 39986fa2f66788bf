//! Who it is: every method that a request shows is checked, and all must name
//! the same user.
use std::time::Duration;

use virga_identity_api::caller::Delegation;
use virga_identity_api::payload::{Federation, Payload};
use virga_identity_api::verify::TokenError;
use virga_node::clock::Micros;
use virga_state::{Reader, StateError};

use super::AuthError;
use super::request::{AuthRequest, CredentialRef, DomainRef, EntityRef};
use super::totp;
use crate::app::App;
use crate::model::application_credential::{self, ApplicationCredential};
use crate::model::credential;
use crate::model::project::{self, Project};
use crate::model::user::{self, User};
use crate::secrets;

/// Who was recognised, and by what.
pub(crate) struct Proof {
    pub(crate) user: User,
    pub(crate) user_domain: Project,
    pub(crate) methods: Vec<String>,
    pub(crate) expires_at: Micros,
    /// The audit id that the chain of tokens began with.
    pub(crate) chain: Option<String>,
    /// The application credential that was shown.
    pub(crate) credential: Option<ApplicationCredential>,
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
    pub(crate) async fn recognise(&self, q: &mut Reader, request: &AuthRequest) -> Result<Proof, AuthError> {
        let mut expires_at = self.end_of_new_token();
        let mut methods = Vec::new();
        let mut known: Vec<Known> = Vec::new();
        let (mut chain, mut credential, mut federation) = (None, None, None);
        if let Some(token) = &request.token {
            let payload = self.shown_token(token)?;
            known.push(self.live_user(q, &payload.user_id).await?);
            chain = Some(payload.chain_id().to_owned());
            if let Some(by) = &payload.federation {
                self.live_federation(q, by).await?;
            }
            expires_at = payload.expires_at;
            methods = payload.methods;
            federation = payload.federation;
        }
        if let Some((who, password)) = &request.password {
            known.push(self.by_password(q, who, password).await?);
            add(&mut methods, "password");
        }
        if let Some((who, passcode)) = &request.totp {
            known.push(self.by_passcode(q, who, passcode).await?);
            add(&mut methods, "totp");
        }
        if let Some((which, secret)) = &request.application_credential {
            let (user, found) = self.by_credential(q, which, secret).await?;
            if let Some(end) = found.expires_at {
                expires_at = expires_at.min(whole_second(end));
            }
            known.push(user);
            credential = Some(found);
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
            Err(_) => return Err(AuthError::BadToken),
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
    async fn by_password(&self, q: &mut Reader, who: &EntityRef, password: &str) -> Result<Known, AuthError> {
        let mut found = self.find_user(q, who).await?;
        let mut good = self.matches(found.as_ref(), password).await?;
        if !good && q.renew() {
            // A failure is counted, so it is not judged by what is remembered.
            let now = self.find_user(q, who).await?;
            if now != found {
                good = self.matches(now.as_ref(), password).await?;
            }
            found = now;
        }
        let Some((user, domain)) = found else {
            return Err(AuthError::Refused("wrong user or password"));
        };
        let now = self.clock.now();
        if self.password_rules.is_locked(&user, now) {
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

    /// Whether the password is the user's, who is not locked out: such a one is
    /// told nothing about the password either.
    async fn matches(&self, found: Option<&Known>, password: &str) -> Result<bool, AuthError> {
        let now = self.clock.now();
        let open = found.filter(|(u, _)| !self.password_rules.is_locked(u, now));
        let hash = open.and_then(|(u, _)| u.password_hash.as_deref());
        let id = found.map_or("", |(u, _)| u.id.as_str());
        self.passwords.verify(id, password, hash).await
    }

    /// The user behind a passcode: that of any of the user's TOTP credentials.
    async fn by_passcode(&self, q: &mut Reader, who: &EntityRef, passcode: &str) -> Result<Known, AuthError> {
        const WRONG: AuthError = AuthError::Refused("wrong user or passcode");
        let (user, domain) = self.find_user(q, who).await?.ok_or(WRONG)?;
        let now = self.clock.now();
        if self.password_rules.is_locked(&user, now) {
            return Err(AuthError::Refused("the user is locked out"));
        }
        let stored = credential::list(q, Some(&user.id), Some("totp")).await?;
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
        q: &mut Reader,
        which: &CredentialRef,
        secret: &str,
    ) -> Result<(Known, ApplicationCredential), AuthError> {
        let mut found = self.find_credential(q, which).await?;
        let mut good = self.opens(found.as_ref(), secret).await?;
        if !good && q.renew() {
            // As with passwords.
            let now = self.find_credential(q, which).await?;
            if now != found {
                good = self.opens(now.as_ref(), secret).await?;
            }
            found = now;
        }
        let Some(found) = found.filter(|_| good) else {
            return Err(AuthError::Refused("wrong application credential or secret"));
        };
        if found.expires_at.is_some_and(|at| at <= self.clock.now()) {
            return Err(AuthError::Refused("the application credential has expired"));
        }
        let user = self.live_user(q, &found.user_id).await?;
        Ok((user, found))
    }

    async fn find_credential(
        &self,
        q: &mut Reader,
        which: &CredentialRef,
    ) -> Result<Option<ApplicationCredential>, StateError> {
        match which {
            CredentialRef::Id(id) => application_credential::get(q, id).await,
            CredentialRef::Name(name, who) => match self.find_user(q, who).await? {
                Some((user, _)) => application_credential::by_name(q, &user.id, name).await,
                None => Ok(None),
            },
        }
    }

    async fn opens(&self, found: Option<&ApplicationCredential>, secret: &str) -> Result<bool, AuthError> {
        let (id, hash) = found.map_or(("", None), |c| (c.id.as_str(), Some(c.secret_hash.as_str())));
        self.passwords.verify(id, secret, hash).await
    }

    /// The user that a client names, with the domain.
    pub(crate) async fn find_user(
        &self,
        q: &mut Reader,
        who: &EntityRef,
    ) -> Result<Option<Known>, StateError> {
        let (found, domain) = match who {
            EntityRef::Id(id) => (user::get(q, id).await?, None),
            EntityRef::Name(name, domain) => match self.find_domain(q, domain).await? {
                Some(domain) => (user::by_name(q, &domain.id, name).await?, Some(domain)),
                None => (None, None),
            },
        };
        let Some(found) = found else { return Ok(None) };
        let domain = match domain {
            Some(domain) => Some(domain),
            None => project::get(q, &found.domain_id).await?,
        };
        Ok(domain.map(|domain| (found, domain)))
    }

    /// The domain that a client names.
    pub(crate) async fn find_domain(
        &self,
        q: &mut Reader,
        which: &DomainRef,
    ) -> Result<Option<Project>, StateError> {
        let found = match which {
            DomainRef::Id(id) => project::get(q, id).await?,
            DomainRef::Name(name) => project::domain_by_name(q, name).await?,
        };
        Ok(found.filter(|d| d.is_domain))
    }

    /// The user of this id, who may sign in.
    pub(crate) async fn live_user(&self, q: &mut Reader, id: &str) -> Result<Known, AuthError> {
        match self.find_user(q, &EntityRef::Id(id.to_owned())).await? {
            Some((user, domain)) if user.enabled && domain.enabled => Ok((user, domain)),
            _ => Err(AuthError::Refused("the user is gone or disabled")),
        }
    }
}
