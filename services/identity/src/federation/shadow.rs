//! The record of a user from elsewhere: made at the first sign-in, kept in step
//! with what the identity provider says at every later one.
use serde_json::json;
use virga_identity_api::revocation::Revocation;
use virga_state::{Change, StateError, Transaction, transact};

use crate::app::App;
use crate::auth::AuthError;
use crate::model::assignment::{self, ActorKind, Assignment, TargetKind};
use crate::model::federated_user::{self, Link};
use crate::model::federation::IdentityProvider;
use crate::model::project::{self, Project};
use crate::model::user::{self, User};
use crate::model::{Object, application_credential, new_id, role, trust};

/// Who comes, and what they are to have.
pub(super) struct Guest<'a> {
    pub(super) provider: &'a IdentityProvider,
    pub(super) protocol: &'a str,
    /// The provider's name for the user, which never changes.
    pub(super) unique_id: String,
    pub(super) name: String,
    pub(super) email: Option<String>,
    pub(super) domain: &'a Project,
    /// Ids of groups.
    pub(super) groups: &'a [String],
    /// Projects by name and domain, with names of roles.
    pub(super) projects: Vec<(String, Project, Vec<String>)>,
    /// Whether roles on projects that are not named any more are taken back.
    pub(super) takes_back: bool,
}

/// Notes a change that the user's own sign-in makes.
async fn note(tx: &mut Transaction, kind: &str, id: &str, action: &str, by: &str) -> Result<(), StateError> {
    tx.record(Change {
        service: "identity",
        kind,
        id,
        action,
        actor: Some(by),
        detail: "",
    })
    .await
}

impl App {
    /// Makes the records say what `guest` says. Returns the user's id.
    pub(super) async fn shadow(&self, guest: Guest<'_>) -> Result<String, AuthError> {
        let guest = &guest;
        let made = transact!(self.state, |tx| -> Result<(String, Vec<Revocation>), AuthError> {
            let wanted = wanted_roles(tx, guest).await?;
            let id = shadow_user(tx, guest).await?;
            let mut events = self.shadow_groups(tx, guest, &id).await?;
            events.extend(self.shadow_roles(tx, guest, &id, wanted).await?);
            self.store_revocations(tx, &events).await?;
            Ok((id, events))
        });
        let (id, events) = made?;
        self.announce(events);
        Ok(id)
    }

    /// Sets the groups. Tokens that carry one which is given no more end.
    async fn shadow_groups(
        &self,
        tx: &mut Transaction,
        guest: &Guest<'_>,
        id: &str,
    ) -> Result<Vec<Revocation>, AuthError> {
        let before = federated_user::given_groups(tx, id, &guest.provider.id).await?;
        federated_user::give_groups(tx, id, &guest.provider.id, guest.groups, self.clock.now()).await?;
        let gone: Vec<String> = before.into_iter().filter(|g| !guest.groups.contains(g)).collect();
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let mut events: Vec<Revocation> = gone
            .into_iter()
            .map(|group| Revocation {
                user_id: Some(id.to_owned()),
                group_id: Some(group),
                ..self.revocation()
            })
            .collect();
        // What the user handed on may have stood on it.
        for credential in application_credential::list(tx, id, None).await? {
            events.push(self.tokens_of_delegation(&credential.id));
        }
        for id in trust::touching(tx, id).await? {
            events.push(self.tokens_of_delegation(&id));
        }
        Ok(events)
    }

    /// Gives the roles on projects, which are made if they are not there.
    async fn shadow_roles(
        &self,
        tx: &mut Transaction,
        guest: &Guest<'_>,
        id: &str,
        wanted: Vec<Vec<String>>,
    ) -> Result<Vec<Revocation>, AuthError> {
        let mut given = Vec::new();
        for ((name, domain, _), roles) in guest.projects.iter().zip(wanted) {
            let project = project_named(tx, name, domain, id).await?;
            given.extend(roles.into_iter().map(|role_id| Assignment {
                actor_kind: ActorKind::User,
                actor_id: id.to_owned(),
                target_kind: TargetKind::Project,
                target_id: project.clone(),
                role_id,
                inherited: false,
            }));
        }
        let held = assignment::list(tx, Some(id), None, None).await?;
        for new in given.iter().filter(|a| !held.contains(a)) {
            assignment::grant(tx, new).await?;
            note(tx, "role assignment", id, "created", id).await?;
        }
        let mut events = Vec::new();
        if guest.takes_back {
            let of_projects = held
                .iter()
                .filter(|a| a.target_kind == TargetKind::Project && !a.inherited);
            for old in of_projects.filter(|a| !given.contains(a)) {
                assignment::revoke(tx, old).await?;
                note(tx, "role assignment", id, "deleted", id).await?;
                events.push(Revocation {
                    user_id: Some(id.to_owned()),
                    project_id: Some(old.target_id.clone()),
                    ..self.revocation()
                });
            }
        }
        Ok(events)
    }
}

/// Ids of the roles of every project. All are looked up before anything is
/// made.
async fn wanted_roles(tx: &mut Transaction, guest: &Guest<'_>) -> Result<Vec<Vec<String>>, AuthError> {
    if guest.projects.is_empty() {
        return Ok(Vec::new());
    }
    let known = role::list(tx).await?;
    let find = |name: &String| {
        let of_name = || known.iter().filter(|r| r.name == *name);
        let own = |r: &&role::Role| r.domain_id.as_deref() == Some(&guest.domain.id);
        if let Some(found) = of_name()
            .find(|r| r.domain_id.is_none())
            .or_else(|| of_name().find(own))
        {
            return Ok(found.id.clone());
        }
        Err(match of_name().next() {
            Some(_) => AuthError::Forbidden(format!(
                "role: {name} must be within the same domain as the identity provider: {}.",
                guest.provider.id
            )),
            None => AuthError::NotFound(format!("Could not find role: {name}.")),
        })
    };
    let of_project = |(_, _, roles): &(String, Project, Vec<String>)| roles.iter().map(find).collect();
    guest.projects.iter().map(of_project).collect()
}

/// Finds or makes the user; returns the id.
async fn shadow_user(tx: &mut Transaction, guest: &Guest<'_>) -> Result<String, AuthError> {
    let link = Link {
        provider_id: guest.provider.id.clone(),
        protocol_id: guest.protocol.to_owned(),
        unique_id: guest.unique_id.clone(),
    };
    let known = federated_user::user_of(tx, &link).await?;
    let id = match &known {
        Some(id) => id.clone(),
        None => federated_user::id_of(&guest.domain.id, &guest.unique_id),
    };
    let namesake = user::by_name(tx, &guest.domain.id, &guest.name).await?;
    if namesake.is_some_and(|other| other.id != id) {
        return Err(AuthError::Conflict(format!(
            "Conflict occurred attempting to store federated_user - The domain {} has another user of the name that \
             the Identity Provider gives.",
            guest.domain.id
        )));
    }
    let found = user::get(tx, &id).await?;
    if known.is_none() {
        let linked = match &found {
            Some(found) => federated_user::links_of(tx, &found.id).await?,
            None => Vec::new(),
        };
        // Another provider of the same domain must not become this user by
        // giving the same id.
        if found.is_some() && !linked.iter().any(|l| l.provider_id == link.provider_id) {
            return Err(AuthError::Conflict(
                "Conflict occurred attempting to store federated_user - Another Identity Provider vouches for a user \
                 of this id."
                    .into(),
            ));
        }
    }
    let email = guest.email.clone().map(|email| json!(email));
    match found {
        None => {
            let mut extra = Object::new();
            extra.extend(email.map(|email| ("email".to_owned(), email)));
            user::insert(tx, &new_user(&id, guest, extra)).await?;
            note(tx, "user", &id, "created", &id).await?;
        }
        Some(found) => {
            let mut changed = found.clone();
            guest.name.clone_into(&mut changed.name);
            changed
                .extra
                .extend(email.map(|email| ("email".to_owned(), email)));
            if changed != found {
                user::update(tx, &changed).await?;
                note(tx, "user", &id, "updated", &id).await?;
            }
        }
    }
    if known.is_none() {
        federated_user::put(tx, &link, &id).await?;
    }
    Ok(id)
}

fn new_user(id: &str, guest: &Guest<'_>, extra: Object) -> User {
    User {
        id: id.to_owned(),
        domain_id: guest.domain.id.clone(),
        name: guest.name.clone(),
        enabled: true,
        default_project_id: None,
        password_hash: None,
        password_set_at: None,
        password_expires_at: None,
        failed_count: 0,
        failed_at: None,
        active_at: None,
        options: Object::new(),
        extra,
    }
}

/// Id of the project of this name, made if it is not there.
async fn project_named(
    tx: &mut Transaction,
    name: &str,
    domain: &Project,
    by: &str,
) -> Result<String, AuthError> {
    if let Some(found) = project::by_name(tx, &domain.id, name).await? {
        return Ok(found.id);
    }
    if name.trim().is_empty() || name.chars().count() > 64 || name.contains('\0') {
        return Err(AuthError::Refused(
            "the mapping yields no usable name of a project",
        ));
    }
    let new = Project {
        id: new_id(),
        domain_id: Some(domain.id.clone()),
        parent_id: Some(domain.id.clone()),
        name: name.to_owned(),
        description: String::new(),
        enabled: true,
        is_domain: false,
        options: Object::new(),
        extra: Object::new(),
    };
    project::insert(tx, &new).await?;
    note(tx, "project", &new.id, "created", by).await?;
    Ok(new.id)
}
