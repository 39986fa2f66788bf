//! Roles of users and groups on projects, domains and the cloud: one set of
//! handlers for all of the paths, told apart by the parts that the path has.
use serde_json::{Value, json};
use virga_identity_api::revocation::Revocation;
use virga_state::{Transaction, transact};

use super::ask::Ask;
use super::reply::{self, Reply};
use super::roles::show_role;
use crate::app::App;
use crate::fault::Fault;
use crate::model::assignment::{self, ActorKind, Assignment, SYSTEM, TargetKind};
use crate::model::role::Role;
use crate::model::{application_credential, group, project, role, trust, user};

/// What the path names.
struct Grant {
    assignment: Assignment,
    role: Option<Role>,
}

/// The rule for an operation: (on projects and domains, for users on the
/// cloud, for groups on the cloud).
type Rules = (&'static str, &'static str, &'static str);

const CHECK: Rules = (
    "identity:check_grant",
    "identity:check_system_grant_for_user",
    "identity:check_system_grant_for_group",
);
const LIST: Rules = (
    "identity:list_grants",
    "identity:list_system_grants_for_user",
    "identity:list_system_grants_for_group",
);
const CREATE: Rules = (
    "identity:create_grant",
    "identity:create_system_grant_for_user",
    "identity:create_system_grant_for_group",
);
const REVOKE: Rules = (
    "identity:revoke_grant",
    "identity:revoke_system_grant_for_user",
    "identity:revoke_system_grant_for_group",
);

/// What the path names, as far as it exists: for policy to see, and what is
/// not there, to be told only after policy was asked.
#[derive(Default)]
struct Seen {
    target: Value,
    /// The domain of the project or domain.
    domain: Option<String>,
    missing: Option<Fault>,
}

impl Seen {
    fn miss(&mut self, kind: &str, id: &str) {
        self.missing.get_or_insert_with(|| Fault::not_found(kind, id));
    }

    async fn place(&mut self, ask: &Ask, kind: TargetKind, id: &str) -> Result<(), Fault> {
        if kind == TargetKind::System {
            return Ok(());
        }
        let found = project::get(&mut ask.app.state.reader(), id).await?;
        match found.filter(|p| p.is_domain == (kind == TargetKind::Domain)) {
            Some(p) => {
                self.target[kind.word()] = json!({"id": p.id, "domain_id": p.domain_id});
                self.domain = p.domain_id.or(Some(p.id));
            }
            None => self.miss(kind.word(), id),
        }
        Ok(())
    }

    async fn actor(&mut self, ask: &Ask, kind: ActorKind, id: &str) -> Result<(), Fault> {
        let mut q = ask.app.state.reader();
        let domain = match kind {
            ActorKind::User => user::get(&mut q, id).await?.map(|u| u.domain_id),
            ActorKind::Group => group::get(&mut q, id).await?.map(|g| g.domain_id),
        };
        match domain {
            Some(domain) => self.target[kind.word()] = json!({"id": id, "domain_id": domain}),
            None => self.miss(kind.word(), id),
        }
        Ok(())
    }

    async fn role(&mut self, ask: &Ask, id: &str) -> Result<Option<Role>, Fault> {
        if id.is_empty() {
            return Ok(None);
        }
        let found = role::get(&mut ask.app.state.reader(), id).await?;
        match &found {
            Some(r) => self.target["role"] = json!({"id": r.id, "name": r.name, "domain_id": r.domain_id}),
            None => self.miss("role", id),
        }
        Ok(found)
    }
}

/// Reads the path, asks policy, then says what is missing.
async fn parse(ask: &Ask, rules: Rules) -> Result<Grant, Fault> {
    ask.caller()?;
    let (target_kind, target_id) = match (ask.param("project_id"), ask.param("domain_id")) {
        ("", "") => (TargetKind::System, SYSTEM),
        (id, "") => (TargetKind::Project, id),
        (_, id) => (TargetKind::Domain, id),
    };
    let (actor_kind, actor_id) = match ask.param("group_id") {
        "" => (ActorKind::User, ask.param("user_id")),
        id => (ActorKind::Group, id),
    };
    let role_id = ask.param("role_id");
    let mut seen = Seen {
        target: json!({}),
        ..Seen::default()
    };
    seen.place(ask, target_kind, target_id).await?;
    seen.actor(ask, actor_kind, actor_id).await?;
    let role = seen.role(ask, role_id).await?;
    let rule = match (target_kind, actor_kind) {
        (TargetKind::System, ActorKind::User) => rules.1,
        (TargetKind::System, ActorKind::Group) => rules.2,
        (TargetKind::Project | TargetKind::Domain, _) => rules.0,
    };
    ask.enforce(rule, seen.target)?;
    if let Some(fault) = seen.missing {
        return Err(fault);
    }
    // Upstream looks at this for new grants on projects only.
    if let Some(domain) = role.as_ref().and_then(|r| r.domain_id.as_ref())
        && seen.domain.as_ref() != Some(domain)
        && target_kind == TargetKind::Project
        && rules == CREATE
    {
        return Err(Fault::Forbidden(format!(
            "The role {role_id} belongs to another domain."
        )));
    }
    let assignment = Assignment {
        actor_kind,
        actor_id: actor_id.to_owned(),
        target_kind,
        target_id: target_id.to_owned(),
        role_id: role_id.to_owned(),
        inherited: ask.path().starts_with("/v3/OS-INHERIT/"),
    };
    Ok(Grant { assignment, role })
}

fn no_grant(a: &Assignment) -> Fault {
    Fault::NotFound(format!(
        "Could not find role assignment with role: {}, user or group: {}, project, domain, or system: {}.",
        a.role_id, a.actor_id, a.target_id
    ))
}

/// `GET …/roles`: the roles of an actor on a target.
pub(crate) async fn list(ask: Ask) -> Reply {
    let a = parse(&ask, LIST).await?.assignment;
    let held = assignment::list(
        &mut ask.app.state.reader(),
        Some(&a.actor_id),
        Some(&a.target_id),
        None,
    )
    .await?;
    let graph = ask.app.roles.graph().await?;
    let roles = held
        .iter()
        .filter(|h| h.inherited == a.inherited)
        .filter_map(|h| graph.role(&h.role_id));
    let items: Vec<Value> = roles.map(|r| show_role(&ask, r)).collect();
    reply::list(&ask, "roles", items, &["name"])
}

/// `HEAD` and `GET …/roles/{role}`.
pub(crate) async fn check(ask: Ask) -> Reply {
    let a = parse(&ask, CHECK).await?.assignment;
    let mut q = ask.app.state.reader();
    let held = assignment::list(&mut q, Some(&a.actor_id), Some(&a.target_id), Some(&a.role_id)).await?;
    if held.contains(&a) {
        reply::nothing()
    } else {
        Err(no_grant(&a))
    }
}

/// `PUT …/roles/{role}`.
pub(crate) async fn create(ask: Ask) -> Reply {
    let grant = parse(&ask, CREATE).await?;
    let a = &grant.assignment;
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        assignment::grant(tx, a).await?;
        Ok(ask.note(tx, "role assignment", &a.actor_id, "created").await?)
    })?;
    reply::nothing()
}

/// Revocations for one user who loses an assignment: the tokens for what it
/// reached, and those of trusts and application credentials that stood on it.
/// Credentials of a user who loses a role in person are deleted.
async fn ended(
    app: &App,
    tx: &mut Transaction,
    a: &Assignment,
    user: &str,
) -> Result<Vec<Revocation>, Fault> {
    let mut event = Revocation {
        user_id: Some(user.to_owned()),
        ..app.revocation()
    };
    // An inherited role may have been on any scope below.
    if !a.inherited {
        match a.target_kind {
            TargetKind::Project => event.project_id = Some(a.target_id.clone()),
            TargetKind::Domain => event.domain_id = Some(a.target_id.clone()),
            TargetKind::System => event.system = true,
        }
    }
    let mut events = vec![event];
    if a.target_kind == TargetKind::Project && !a.inherited && a.actor_kind == ActorKind::User {
        for credential in application_credential::list(tx, user, Some(&a.target_id)).await? {
            events.push(app.tokens_of_delegation(&credential.id));
            application_credential::delete(tx, &credential.id).await?;
        }
    }
    for id in trust::touching(tx, user).await? {
        events.push(app.tokens_of_delegation(&id));
    }
    Ok(events)
}

/// `DELETE …/roles/{role}`: the actor's tokens for the target end.
pub(crate) async fn revoke(ask: Ask) -> Reply {
    let grant = parse(&ask, REVOKE).await?;
    let (a, app) = (&grant.assignment, &ask.app);
    debug_assert!(grant.role.is_some(), "the path names a role");
    let events = transact!(app.state, |tx| -> Result<Vec<Revocation>, Fault> {
        if !assignment::revoke(tx, a).await? {
            return Err(no_grant(a));
        }
        let users = match a.actor_kind {
            ActorKind::User => vec![a.actor_id.clone()],
            ActorKind::Group => user::list(tx, None, None, Some(&a.actor_id))
                .await?
                .into_iter()
                .map(|u| u.id)
                .collect(),
        };
        let mut events = match a.actor_kind {
            ActorKind::User => Vec::new(),
            ActorKind::Group => app.tokens_of_given_group(tx, &a.actor_id).await?,
        };
        for user in users {
            events.extend(ended(app, tx, a, &user).await?);
        }
        app.store_revocations(tx, &events).await?;
        ask.note(tx, "role assignment", &a.actor_id, "deleted").await?;
        Ok(events)
    })?;
    app.announce(events);
    reply::nothing()
}
