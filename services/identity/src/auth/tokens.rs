//! Decides who gets which token, and what a token stands for now.
use std::time::Duration;

use virga_identity_api::caller::Scope;
use virga_identity_api::payload::{Payload, new_audit_id};
use virga_identity_api::verify::TokenError;
use virga_node::clock::Micros;
use virga_state::StateError;

use super::AuthError;
use super::request::{AuthRequest, DomainRef, EntityRef, ScopeWish};
use crate::app::App;
use crate::model::project::Project;
use crate::model::role::Role;
use crate::model::user::User;
use crate::model::{project, user};

/// What a token is scoped to, with its records.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Unscoped,
    /// The project and its domain.
    Project(Project, Project),
    Domain(Project),
    System,
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
}

/// Who was recognised, and by what.
struct Proof {
    user: User,
    user_domain: Project,
    methods: Vec<String>,
    expires_at: Micros,
    chain: Option<String>,
}

impl App {
    /// A new token for what `request` shows. Returns its text too.
    pub(crate) async fn authenticate(&self, request: &AuthRequest) -> Result<(String, Standing), AuthError> {
        let proof = self.recognise(request).await?;
        let (place, roles) = self.place(&proof.user, &request.scope).await?;
        let mut audit_ids = vec![new_audit_id()?];
        audit_ids.extend(proof.chain);
        let scope = match &place {
            Place::Unscoped => Scope::Unscoped,
            Place::Project(project, _) => Scope::Project(project.id.clone()),
            Place::Domain(domain) => Scope::Domain(domain.id.clone()),
            Place::System => Scope::System,
        };
        let payload = Payload {
            user_id: proof.user.id.clone(),
            methods: proof.methods,
            scope,
            issued_at: self.clock.now(),
            expires_at: proof.expires_at,
            audit_ids,
            roles: Some(roles.iter().map(|r| r.name.clone()).collect()),
        };
        let token = payload.seal(&self.token_keys)?;
        Ok((
            token,
            Standing {
                payload,
                user: proof.user,
                user_domain: proof.user_domain,
                place,
                roles,
            },
        ))
    }

    async fn recognise(&self, request: &AuthRequest) -> Result<Proof, AuthError> {
        let by_password = match &request.password {
            Some((who, password)) => Some(self.by_password(who, password).await?),
            None => None,
        };
        let Some(token) = &request.token else {
            let Some((user, user_domain)) = by_password else {
                return Err(AuthError::Refused("no method"));
            };
            let life = Duration::from_secs(self.config.token_lifetime);
            let end = self.clock.now().plus(life).as_secs();
            let expires_at = Micros(end.saturating_mul(1_000_000));
            return Ok(Proof {
                user,
                user_domain,
                methods: vec!["password".into()],
                expires_at,
                chain: None,
            });
        };
        let payload = match self.verifier.inspect(token, Duration::ZERO) {
            Ok(payload) => payload,
            Err(TokenError::Unavailable(_)) => return Err(AuthError::Overloaded),
            Err(_) => return Err(AuthError::Refused("the token is not good")),
        };
        let (user, user_domain) = self.live_user(&payload.user_id).await?;
        let mut methods = payload.methods.clone();
        if !methods.iter().any(|m| m == "token") {
            methods.push("token".into());
        }
        if let Some((other, _)) = by_password {
            if other.id != user.id {
                return Err(AuthError::Refused("password and token name different users"));
            }
            if !methods.iter().any(|m| m == "password") {
                methods.push("password".into());
            }
        }
        let chain = Some(payload.chain_id().to_owned());
        Ok(Proof {
            user,
            user_domain,
            methods,
            expires_at: payload.expires_at,
            chain,
        })
    }

    /// The user behind a password. Every failure is the same, and costs the
    /// same: the password is checked even if the user is not there.
    async fn by_password(&self, who: &EntityRef, password: &str) -> Result<(User, Project), AuthError> {
        let found = self.find_user(who).await?;
        let hash = found.as_ref().and_then(|(u, _)| u.password_hash.as_deref());
        let id = found.as_ref().map_or("", |(u, _)| u.id.as_str());
        let good = self.passwords.verify(id, password, hash).await?;
        match found {
            Some((user, domain)) if good && user.enabled && domain.enabled => Ok((user, domain)),
            _ => Err(AuthError::Refused("wrong user or password")),
        }
    }

    async fn find_user(&self, who: &EntityRef) -> Result<Option<(User, Project)>, StateError> {
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

    async fn find_domain(&self, which: &DomainRef) -> Result<Option<Project>, StateError> {
        let mut q = self.state.reader();
        let found = match which {
            DomainRef::Id(id) => project::get(&mut q, id).await?,
            DomainRef::Name(name) => project::domain_by_name(&mut q, name).await?,
        };
        Ok(found.filter(|d| d.is_domain))
    }

    async fn live_user(&self, id: &str) -> Result<(User, Project), AuthError> {
        match self.find_user(&EntityRef::Id(id.to_owned())).await? {
            Some((user, domain)) if user.enabled && domain.enabled => Ok((user, domain)),
            _ => Err(AuthError::Refused("the user is gone or disabled")),
        }
    }

    /// The project with its domain, if both may be used.
    async fn live_project(&self, which: &EntityRef) -> Result<Option<Place>, StateError> {
        let mut q = self.state.reader();
        let found = match which {
            EntityRef::Id(id) => project::get(&mut q, id).await?,
            EntityRef::Name(name, domain) => match self.find_domain(domain).await? {
                Some(domain) => project::by_name(&mut q, &domain.id, name).await?,
                None => None,
            },
        };
        let Some(found) = found.filter(|p| p.enabled && !p.is_domain) else {
            return Ok(None);
        };
        let Some(domain_id) = &found.domain_id else {
            return Ok(None);
        };
        let domain = project::get(&mut q, domain_id).await?;
        Ok(domain.filter(|d| d.enabled).map(|d| Place::Project(found, d)))
    }

    async fn place(&self, user: &User, wish: &ScopeWish) -> Result<(Place, Vec<Role>), AuthError> {
        let place = match wish {
            ScopeWish::Unscoped => return Ok((Place::Unscoped, Vec::new())),
            ScopeWish::Default => return Ok(self.default_place(user).await?),
            ScopeWish::System => Some(Place::System),
            ScopeWish::Domain(which) => self
                .find_domain(which)
                .await?
                .filter(|d| d.enabled)
                .map(Place::Domain),
            ScopeWish::Project(which) => self.live_project(which).await?,
        };
        let place = place.ok_or(AuthError::Refused("the scope is gone or disabled"))?;
        let roles = self.roles_at(&user.id, &place).await?;
        if roles.is_empty() {
            return Err(AuthError::Refused("no role on the scope"));
        }
        Ok((place, roles))
    }

    /// The user's default project, or nothing when that cannot be had.
    async fn default_place(&self, user: &User) -> Result<(Place, Vec<Role>), StateError> {
        if let Some(id) = &user.default_project_id
            && let Some(place) = self.live_project(&EntityRef::Id(id.clone())).await?
        {
            let roles = self.roles_at(&user.id, &place).await?;
            if !roles.is_empty() {
                return Ok((place, roles));
            }
        }
        Ok((Place::Unscoped, Vec::new()))
    }

    async fn roles_at(&self, user: &str, place: &Place) -> Result<Vec<Role>, StateError> {
        let scope = match place {
            Place::Unscoped => Scope::Unscoped,
            Place::Project(project, _) => Scope::Project(project.id.clone()),
            Place::Domain(domain) => Scope::Domain(domain.id.clone()),
            Place::System => Scope::System,
        };
        self.roles.effective(user, &scope).await
    }

    /// What a token stands for now: its records may have changed since it was
    /// made. Fails as [`AuthError::Refused`] when it stands for nothing.
    pub(crate) async fn standing(&self, payload: Payload) -> Result<Standing, AuthError> {
        let (user, user_domain) = self.live_user(&payload.user_id).await?;
        let wish = match &payload.scope {
            Scope::Unscoped => ScopeWish::Unscoped,
            Scope::Project(id) => ScopeWish::Project(EntityRef::Id(id.clone())),
            Scope::Domain(id) => ScopeWish::Domain(DomainRef::Id(id.clone())),
            Scope::System => ScopeWish::System,
        };
        let (place, roles) = self.place(&user, &wish).await?;
        Ok(Standing {
            payload,
            user,
            user_domain,
            place,
            roles,
        })
    }
}
