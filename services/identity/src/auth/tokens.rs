//! Decides who gets which token, and what a token stands for now.
use virga_identity_api::caller::{Delegation, Scope};
use virga_identity_api::payload::{Federation, Payload, new_audit_id};
use virga_node::clock::Micros;
use virga_state::{Reader, StateError, transact};

use super::AuthError;
use super::recognise::{Proof, whole_second};
use super::request::{AuthRequest, DomainRef, EntityRef, ScopeWish};
use crate::app::App;
use crate::config::TokenProvider;
use crate::model::access_rule::{self, StoredRule};
use crate::model::application_credential::{self, ApplicationCredential};
use crate::model::group;
use crate::model::oauth_token::{self, Kind, OauthToken};
use crate::model::project::{self, Project};
use crate::model::role::Role;
use crate::model::trust::{self, Trust};
use crate::model::user::User;

/// What a token is scoped to, with its records.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Unscoped,
    /// The project and its domain.
    Project(Project, Project),
    Domain(Project),
    System,
}

impl Place {
    fn scope(&self) -> Scope {
        match self {
            Self::Unscoped => Scope::Unscoped,
            Self::Project(project, _) => Scope::Project(project.id.clone()),
            Self::Domain(domain) => Scope::Domain(domain.id.clone()),
            Self::System => Scope::System,
        }
    }
}

/// What a token was made by, with its records.
#[derive(Debug, Clone)]
pub(crate) enum Backing {
    /// By the user in person.
    User,
    ApplicationCredential(ApplicationCredential, Vec<StoredRule>),
    Trust(Trust),
    AccessToken(OauthToken),
}

/// A token with the records behind it.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) payload: Payload,
    pub(crate) user: User,
    pub(crate) user_domain: Project,
    pub(crate) place: Place,
    /// Effective roles on the scope, ordered by name.
    pub(crate) roles: Vec<Role>,
    pub(crate) backing: Backing,
}

impl Standing {
    /// Whether access rules say what the token opens.
    pub(crate) fn has_access_rules(&self) -> bool {
        matches!(&self.backing, Backing::ApplicationCredential(_, rules) if !rules.is_empty())
    }
}

/// What a token is to be: who, for what, with which roles, until when.
pub(crate) struct Grant {
    pub(crate) user: User,
    user_domain: Project,
    place: Place,
    pub(crate) roles: Vec<Role>,
    backing: Backing,
    /// Where the user signed in, if not here.
    federation: Option<Federation>,
    expires_at: Micros,
}

impl App {
    /// A new token for what `request` shows, with the receipt of an earlier
    /// attempt if there is one. Returns its text too.
    pub(crate) async fn authenticate(
        &self,
        request: &AuthRequest,
        receipt: Option<&str>,
    ) -> Result<(String, Standing), AuthError> {
        let mut q = match request.may_be_tried_again() {
            true => self.state.recalling(),
            false => self.state.reader(),
        };
        loop {
            match self.prove(&mut q, request, receipt).await {
                // Another process may have changed what is remembered here. A
                // token from it is dated by it, so that what was revoked since
                // ends it; but nobody is refused by it.
                Err(error) if error.is_refusal() && q.renew() => {}
                outcome => return outcome,
            }
        }
    }

    async fn prove(
        &self,
        q: &mut Reader,
        request: &AuthRequest,
        receipt: Option<&str>,
    ) -> Result<(String, Standing), AuthError> {
        let mut proof = self.recognise(q, request).await?;
        if let Some(receipt) = receipt {
            for method in self.receipt_methods(receipt, &proof.user)? {
                if !proof.methods.contains(&method) {
                    proof.methods.push(method);
                }
            }
        }
        self.check_factors(request, &proof.user, &proof.user_domain, &proof.methods)?;
        if request.password.is_some() {
            self.note_success(&proof.user).await?;
        }
        let (methods, chain) = (proof.methods.clone(), proof.chain.clone());
        let grant = self.grant(q, proof, &request.scope).await?;
        self.make_token(grant, methods, chain, q.as_of())
    }

    /// Seals a token. `as_of` is the time as of which all its records held:
    /// what is revoked from then on ends it, though it was not sealed yet.
    pub(crate) fn make_token(
        &self,
        grant: Grant,
        methods: Vec<String>,
        chain: Option<String>,
        as_of: Micros,
    ) -> Result<(String, Standing), AuthError> {
        let mut audit_ids = vec![new_audit_id()?];
        audit_ids.extend(chain);
        let delegation = match &grant.backing {
            Backing::User => None,
            Backing::ApplicationCredential(c, rules) => Some(Delegation::ApplicationCredential {
                id: c.id.clone(),
                ruled: !rules.is_empty(),
            }),
            Backing::Trust(t) => Some(Delegation::Trust { id: t.id.clone() }),
            Backing::AccessToken(t) => Some(Delegation::AccessToken { id: t.id.clone() }),
        };
        let presented_by = match &grant.backing {
            Backing::Trust(t) if t.impersonation => Some(t.trustee_user_id.clone()),
            _ => None,
        };
        let payload = Payload {
            user_id: grant.user.id.clone(),
            methods,
            scope: grant.place.scope(),
            issued_at: match self.config.token_provider {
                // Its seal knows seconds only.
                TokenProvider::FernetKeystone => whole_second(as_of),
                TokenProvider::Fernet | TokenProvider::Jws => as_of,
            },
            expires_at: grant.expires_at,
            audit_ids,
            roles: Some(grant.roles.iter().map(|r| r.name.clone()).collect()),
            delegation,
            federation: grant.federation,
            presented_by,
        };
        let token = self.seal_token(&payload)?;
        let standing = Standing {
            payload,
            user: grant.user,
            user_domain: grant.user_domain,
            place: grant.place,
            roles: grant.roles,
            backing: grant.backing,
        };
        Ok((token, standing))
    }

    /// The text of a token, of the configured kind.
    fn seal_token(&self, payload: &Payload) -> Result<String, AuthError> {
        match (self.config.token_provider, &self.signed_keys) {
            (TokenProvider::Fernet, _) => Ok(payload.seal(&self.token_keys)?),
            (TokenProvider::FernetKeystone, _) => Ok(payload.seal_for_keystone(&self.token_keys)?),
            (TokenProvider::Jws, Some(keys)) => Ok(keys.sign(payload)?),
            (TokenProvider::Jws, None) => Err(AuthError::Sealed("no keys that sign tokens".into())),
        }
    }

    pub(crate) async fn grant(
        &self,
        q: &mut Reader,
        proof: Proof,
        wish: &ScopeWish,
    ) -> Result<Grant, AuthError> {
        if let Some(credential) = proof.credential {
            return self
                .grant_by_credential(q, proof.user, proof.user_domain, credential, proof.expires_at)
                .await;
        }
        if let ScopeWish::Trust(id) = wish {
            let grant = self.grant_by_trust(q, &proof.user, id, proof.expires_at).await?;
            return Ok(Grant {
                federation: proof.federation,
                ..grant
            });
        }
        let by = proof.federation.as_ref();
        let (place, roles) = self.place(q, &proof.user, by, wish).await?;
        Ok(Grant {
            user: proof.user,
            user_domain: proof.user_domain,
            place,
            roles,
            backing: Backing::User,
            federation: proof.federation,
            expires_at: proof.expires_at,
        })
    }

    /// What a user has on a project by an own assignment.
    pub(crate) async fn grant_on_project(
        &self,
        q: &mut Reader,
        user: User,
        user_domain: Project,
        project: &str,
        expires_at: Micros,
    ) -> Result<Grant, AuthError> {
        let wish = ScopeWish::Project(EntityRef::Id(project.to_owned()));
        let (place, roles) = self.place(q, &user, None, &wish).await?;
        Ok(Grant {
            user,
            user_domain,
            place,
            roles,
            backing: Backing::User,
            federation: None,
            expires_at,
        })
    }

    /// What an access token of OAuth is good for now.
    pub(crate) async fn grant_by_access_token(
        &self,
        q: &mut Reader,
        token: OauthToken,
        expires_at: Micros,
    ) -> Result<Grant, AuthError> {
        let user = token.user_id.as_deref();
        let user = user.ok_or(AuthError::Refused("nobody has authorized the token"))?;
        let (user, user_domain) = self.live_user(q, user).await?;
        let place = self
            .live_project(q, &EntityRef::Id(token.project_id.clone()))
            .await?
            .ok_or(AuthError::Refused(
                "the access token's project is gone or disabled",
            ))?;
        let roles = self.roles.of_access_token(q, &token).await?;
        if roles.is_empty() {
            return Err(AuthError::Refused("no role of the access token is left"));
        }
        Ok(Grant {
            user,
            user_domain,
            place,
            roles,
            expires_at: expires_at.min(token.expires_at),
            backing: Backing::AccessToken(token),
            federation: None,
        })
    }

    /// What an application credential is good for now.
    pub(crate) async fn grant_by_credential(
        &self,
        q: &mut Reader,
        user: User,
        user_domain: Project,
        credential: ApplicationCredential,
        expires_at: Micros,
    ) -> Result<Grant, AuthError> {
        let place = self
            .live_project(q, &EntityRef::Id(credential.project_id.clone()))
            .await?
            .ok_or(AuthError::Refused("the credential's project is gone or disabled"))?;
        let roles = self
            .roles
            .of_credential(q, &credential.id, &user.id, &place.scope())
            .await?;
        if roles.is_empty() {
            return Err(AuthError::Refused("no role of the credential is left"));
        }
        let rules = access_rule::of_credential(q, &credential.id).await?;
        // What an identity provider gave comes to an end, and the roles with it.
        let end = group::next_end(q, &user.id, self.clock.now()).await?;
        let expires_at = end.map_or(expires_at, |end| whole_second(end).min(expires_at));
        Ok(Grant {
            user,
            user_domain,
            place,
            roles,
            backing: Backing::ApplicationCredential(credential, rules),
            federation: None,
            expires_at,
        })
    }

    /// What the trust `id` is good for now, if `trustee` received it; takes one
    /// of its uses.
    pub(crate) async fn grant_by_trust(
        &self,
        q: &mut Reader,
        trustee: &User,
        id: &str,
        expires_at: Micros,
    ) -> Result<Grant, AuthError> {
        let gone = || AuthError::Refused("no such trust");
        let found = trust::get(q, id).await?.ok_or_else(gone)?;
        let over = found.expires_at.is_some_and(|at| at <= self.clock.now());
        if over || found.remaining_uses == Some(0) {
            return Err(gone());
        }
        if found.trustee_user_id != trustee.id {
            return Err(AuthError::Forbidden("User is not a trustee.".into()));
        }
        let counted = found.remaining_uses.is_some();
        let grant = self.judge_trust(q, found, expires_at).await?;
        if !counted {
            return Ok(grant);
        }
        let used = transact!(self.state, |tx| -> Result<bool, AuthError> {
            Ok(trust::use_once(tx, id).await?)
        })?;
        if used { Ok(grant) } else { Err(gone()) }
    }

    /// What a trust stands for: users, project and roles must all be good.
    pub(crate) async fn judge_trust(
        &self,
        q: &mut Reader,
        found: Trust,
        expires_at: Micros,
    ) -> Result<Grant, AuthError> {
        let trustee = self.live_user(q, &found.trustee_user_id).await?;
        let trustor = match self.live_user(q, &found.trustor_user_id).await {
            Err(AuthError::Refused(_)) => return Err(AuthError::Forbidden("Trustor is disabled.".into())),
            other => other?,
        };
        let place = match &found.project_id {
            None => Place::Unscoped,
            Some(id) => self
                .live_project(q, &EntityRef::Id(id.clone()))
                .await?
                .ok_or(AuthError::Refused("the trust's project is gone or disabled"))?,
        };
        let roles = self.roles.of_trust(q, &found).await?;
        if roles.is_empty() && found.project_id.is_some() {
            return Err(AuthError::Forbidden("Trustee has no delegated roles.".into()));
        }
        let (user, user_domain) = if found.impersonation { trustor } else { trustee };
        let end = found.expires_at.map(|at| Micros(at.as_secs() * 1_000_000));
        Ok(Grant {
            user,
            user_domain,
            place,
            roles,
            expires_at: end.map_or(expires_at, |end| end.min(expires_at)),
            backing: Backing::Trust(found),
            federation: None,
        })
    }

    /// The project with its domain, if both may be used.
    async fn live_project(&self, q: &mut Reader, which: &EntityRef) -> Result<Option<Place>, StateError> {
        let found = match which {
            EntityRef::Id(id) => project::get(q, id).await?,
            EntityRef::Name(name, domain) => match self.find_domain(q, domain).await? {
                Some(domain) => project::by_name(q, &domain.id, name).await?,
                None => None,
            },
        };
        let Some(found) = found.filter(|p| p.enabled && !p.is_domain) else {
            return Ok(None);
        };
        let Some(domain_id) = &found.domain_id else {
            return Ok(None);
        };
        let domain = project::get(q, domain_id).await?;
        Ok(domain.filter(|d| d.enabled).map(|d| Place::Project(found, d)))
    }

    async fn place(
        &self,
        q: &mut Reader,
        user: &User,
        by: Option<&Federation>,
        wish: &ScopeWish,
    ) -> Result<(Place, Vec<Role>), AuthError> {
        let groups = by.map_or(&[][..], |by| &by.groups);
        let place = match wish {
            ScopeWish::Unscoped => return Ok((Place::Unscoped, Vec::new())),
            ScopeWish::Default => return Ok(self.default_place(q, user, groups).await?),
            ScopeWish::Trust(_) => return Err(AuthError::Refused("a trust is no scope of the user's own")),
            ScopeWish::System => Some(Place::System),
            ScopeWish::Domain(which) => self
                .find_domain(q, which)
                .await?
                .filter(|d| d.enabled)
                .map(Place::Domain),
            ScopeWish::Project(which) => self.live_project(q, which).await?,
        };
        let place = place.ok_or(AuthError::Refused("the scope is gone or disabled"))?;
        let roles = self.roles.effective(q, &user.id, groups, &place.scope()).await?;
        if roles.is_empty() {
            return Err(AuthError::Refused("no role on the scope"));
        }
        Ok((place, roles))
    }

    /// The user's default project, or nothing when that cannot be had.
    async fn default_place(
        &self,
        q: &mut Reader,
        user: &User,
        groups: &[String],
    ) -> Result<(Place, Vec<Role>), StateError> {
        if let Some(id) = &user.default_project_id
            && let Some(place) = self.live_project(q, &EntityRef::Id(id.clone())).await?
        {
            let roles = self.roles.effective(q, &user.id, groups, &place.scope()).await?;
            if !roles.is_empty() {
                return Ok((place, roles));
            }
        }
        Ok((Place::Unscoped, Vec::new()))
    }

    /// What a token stands for now: its records may have changed since it was
    /// made. Fails as [`AuthError::Refused`] when it stands for nothing.
    pub(crate) async fn standing(&self, payload: Payload) -> Result<Standing, AuthError> {
        let mut q = self.state.recalling();
        let grant = loop {
            match self.judge(&mut q, &payload).await {
                // As with sign-ins: nobody is refused by what is remembered.
                Err(error) if error.is_refusal() && q.renew() => {}
                outcome => break outcome?,
            }
        };
        Ok(Standing {
            payload,
            user: grant.user,
            user_domain: grant.user_domain,
            place: grant.place,
            roles: grant.roles,
            backing: grant.backing,
        })
    }

    async fn judge(&self, q: &mut Reader, payload: &Payload) -> Result<Grant, AuthError> {
        if let Some(by) = &payload.federation {
            self.live_federation(q, by).await?;
        }
        match &payload.delegation {
            None => {
                let (user, user_domain) = self.live_user(q, &payload.user_id).await?;
                let wish = match &payload.scope {
                    Scope::Unscoped => ScopeWish::Unscoped,
                    Scope::Project(id) => ScopeWish::Project(EntityRef::Id(id.clone())),
                    Scope::Domain(id) => ScopeWish::Domain(DomainRef::Id(id.clone())),
                    Scope::System => ScopeWish::System,
                };
                let (place, roles) = self.place(q, &user, payload.federation.as_ref(), &wish).await?;
                Ok(Grant {
                    user,
                    user_domain,
                    place,
                    roles,
                    backing: Backing::User,
                    federation: None,
                    expires_at: payload.expires_at,
                })
            }
            Some(Delegation::ApplicationCredential { id, .. }) => {
                let found = application_credential::get(q, id).await?;
                let found = found.ok_or(AuthError::Refused("the application credential is gone"))?;
                let (user, user_domain) = self.live_user(q, &payload.user_id).await?;
                self.grant_by_credential(q, user, user_domain, found, payload.expires_at)
                    .await
            }
            Some(Delegation::Trust { id }) => {
                let found = trust::get(q, id).await?;
                let found = found.ok_or(AuthError::Refused("the trust is gone"))?;
                match self.judge_trust(q, found, payload.expires_at).await {
                    Err(AuthError::Forbidden(_)) => Err(AuthError::Refused("the trust is void")),
                    other => other,
                }
            }
            Some(Delegation::AccessToken { id }) => {
                let now = self.clock.now();
                let found = oauth_token::get(q, Kind::Access, id, now).await?;
                let found = found.ok_or(AuthError::Refused("the access token is gone"))?;
                self.grant_by_access_token(q, found, payload.expires_at).await
            }
        }
    }
}
