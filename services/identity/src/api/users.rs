//! `/v3/users`.
use serde_json::{Value, json};
use virga_identity_api::revocation::Revocation;
use virga_node::clock::Micros;
use virga_state::transact;

use super::ask::Ask;
use super::fields::{Fields, NAME, merge_options};
use super::reply::{self, Reply};
use super::{groups, projects};
use crate::audit::sign_in;
use crate::auth::password::MAX_PASSWORD;
use crate::auth::{AuthError, request};
use crate::fault::Fault;
use crate::model::assignment::Actors;
use crate::model::federated_user::{self, Link};
use crate::model::user::{self, User};
use crate::model::{Object, application_credential, group, new_id, project};

const FLAGS: [&str; 6] = [
    "ignore_change_password_upon_first_use",
    "ignore_password_expiry",
    "ignore_lockout_failure_attempts",
    "ignore_user_inactivity",
    "lock_password",
    "multi_factor_auth_enabled",
];
const LISTS: [&str; 1] = ["multi_factor_auth_rules"];
/// What must be left out rather than null.
const NOT_NULL: [&str; 2] = ["domain_id", "options"];
/// Longest id, in characters.
const MAX_ID: usize = 64;

/// A user as the API shows it. Never a password.
pub(crate) fn show_user(ask: &Ask, u: &User) -> Value {
    let mut shown = Value::Object(u.extra.clone());
    shown["id"] = json!(u.id);
    shown["name"] = json!(u.name);
    shown["domain_id"] = json!(u.domain_id);
    shown["enabled"] = json!(u.enabled);
    shown["password_expires_at"] = json!(u.password_expires_at.map(super::time));
    shown["options"] = Value::Object(u.options.clone());
    if let Some(id) = &u.default_project_id {
        shown["default_project_id"] = json!(id);
    }
    shown["links"] = json!({"self": ask.url(&format!("/v3/users/{}", u.id))});
    shown
}

/// The options of a body; rules for several factors are lists of lists of
/// methods.
fn user_options(fields: &mut Fields) -> Result<Object, Fault> {
    let options = fields.options(&FLAGS, &LISTS)?;
    let differ = |items: &[Value]| items.iter().enumerate().all(|(n, m)| !items[..n].contains(m));
    let lists = |rules: &Value| {
        let rules = rules.as_array().map_or(&[][..], Vec::as_slice);
        let fits = |r: &Vec<Value>| !r.is_empty() && r.iter().all(Value::is_string) && differ(r);
        differ(rules) && rules.iter().all(|rule| rule.as_array().is_some_and(fits))
    };
    match options.get("multi_factor_auth_rules") {
        Some(rules) if !lists(rules) => Err(Fault::BadRequest(
            "Invalid input for field 'options/multi_factor_auth_rules': it is not a list of different lists of \
             different methods."
                .into(),
        )),
        _ => Ok(options),
    }
}

/// What is left of a body to be stored as it came: nothing that only looks as
/// if it had been set by the service.
fn rest(mut fields: Fields) -> Result<Object, Fault> {
    fields.text_at_most("description")?;
    match fields.take("federated") {
        None => {}
        Some(Value::Array(links)) if links.is_empty() => {}
        Some(_) => {
            return Err(Fault::BadRequest(
                "Invalid input for field 'federated': users are linked to what an identity provider calls them when \
                 they first sign in, not by hand."
                    .into(),
            ));
        }
    }
    let mut rest = fields.rest();
    rest.remove("password_expires_at");
    Ok(rest)
}

/// The project that tokens are for unless they say otherwise: any text that
/// could be an id, but no domain's.
async fn default_project(ask: &Ask, fields: &mut Fields) -> Result<Option<Option<String>>, Fault> {
    let given = fields.short_text("default_project_id", MAX_ID)?;
    if let Some(Some(id)) = &given
        && let Some(found) = project::get(&mut ask.app.state.reader(), id).await?
        && found.is_domain
    {
        return Err(Fault::BadRequest(format!(
            "User's default project ID cannot be a domain ID: {id}"
        )));
    }
    Ok(given)
}

fn target(u: Option<&User>) -> Value {
    match u {
        Some(u) => json!({"user": {"id": u.id, "domain_id": u.domain_id, "name": u.name}}),
        None => json!({}),
    }
}

/// The user of the path, after asking policy.
async fn found(ask: &Ask, action: &str) -> Result<User, Fault> {
    ask.caller()?;
    let id = ask.param("user_id");
    let found = user::get(&mut ask.app.state.reader(), id).await?;
    ask.enforce(action, target(found.as_ref()))?;
    found.ok_or_else(|| Fault::not_found("user", id))
}

/// What identity providers call a user, as the API shows it; empty for users of
/// this cloud's own.
fn show_links(links: &[Link]) -> Vec<Value> {
    let mut shown: Vec<Value> = Vec::new();
    for link in links {
        let protocol = json!({"protocol_id": link.protocol_id, "unique_id": link.unique_id});
        match shown.iter_mut().find(|s| s["idp_id"] == *link.provider_id) {
            Some(of) => of["protocols"]
                .as_array_mut()
                .into_iter()
                .for_each(|p| p.push(protocol.clone())),
            None => shown.push(json!({"idp_id": link.provider_id, "protocols": [protocol]})),
        }
    }
    shown
}

/// A filter by time: `lt:2030-01-01T00:00:00Z`.
struct Comparison {
    fits: fn(&Micros, &Micros) -> bool,
    with: Micros,
}

impl Comparison {
    fn parse(text: &str) -> Result<Self, Fault> {
        let (operator, time) = text.split_once(':').unwrap_or_default();
        let fits = match operator {
            "lt" => Micros::lt,
            "lte" => Micros::le,
            "gt" => Micros::gt,
            "gte" => Micros::ge,
            "eq" => Micros::eq,
            "neq" => Micros::ne,
            _ => {
                return Err(Fault::BadRequest(format!(
                    "Invalid input for field 'password_expires_at': {text:?} does not begin with one of lt:, lte:, \
                     gt:, gte:, eq:, neq:."
                )));
            }
        };
        let with = super::parse_time(time).ok_or_else(|| {
            Fault::BadRequest(format!(
                "Invalid input for field 'password_expires_at': {time:?} is not a 'date-time'."
            ))
        })?;
        Ok(Self { fits, with })
    }

    fn holds(&self, at: Micros) -> bool {
        (self.fits)(&at, &self.with)
    }
}

/// `GET /v3/users`.
pub(crate) async fn list(ask: Ask) -> Reply {
    let mine = projects::listing_domain(&ask)?;
    ask.enforce("identity:list_users", json!({"domain_id": mine}))?;
    let domain = mine.as_deref().or(ask.query("domain_id"));
    let mut q = ask.app.state.reader();
    let mut users = user::list(&mut q, domain, ask.query("name"), None).await?;
    let [provider, protocol, unique] = ["idp_id", "protocol_id", "unique_id"].map(|name| ask.query(name));
    if provider.or(protocol).or(unique).is_some() {
        let linked = federated_user::users_called(&mut q, provider, protocol, unique).await?;
        users.retain(|u| linked.binary_search(&u.id).is_ok());
    }
    for (_, wanted) in ask.all_query().iter().filter(|(n, _)| n == "password_expires_at") {
        let wanted = Comparison::parse(wanted)?;
        users.retain(|u| u.password_expires_at.is_some_and(|at| wanted.holds(at)));
    }
    let items = users.iter().map(|u| show_user(&ask, u)).collect();
    reply::list(&ask, "users", items, &["domain_id", "enabled", "name"])
}

/// `GET /v3/users/{id}`.
pub(crate) async fn show(ask: Ask) -> Reply {
    let user = found(&ask, "identity:get_user").await?;
    let links = federated_user::links_of(&mut ask.app.state.reader(), &user.id).await?;
    let mut shown = show_user(&ask, &user);
    if !links.is_empty() {
        shown["federated"] = Value::Array(show_links(&links));
    }
    reply::one("user", shown)
}

/// A password of a body: text within bounds, or null for none.
fn password(fields: &mut Fields, field: &str) -> Result<Option<Option<String>>, Fault> {
    let given = fields.text(field)?;
    if let Some(Some(text)) = &given
        && (text.is_empty() || text.len() > MAX_PASSWORD)
    {
        return Err(Fault::BadRequest(format!(
            "Invalid input for field '{field}': it must have 1 to {MAX_PASSWORD} bytes."
        )));
    }
    Ok(given)
}

/// `POST /v3/users`.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.caller()?;
    let mut fields = ask.fields("user")?;
    fields.not_null(&NOT_NULL)?;
    let given = fields.id("domain_id")?;
    ask.enforce(
        "identity:create_user",
        json!({"user": projects::named_domain(&given)}),
    )?;
    let domain_id = projects::domain_for_new(&ask, given).await?;
    let rules = &ask.app.password_rules;
    let password_hash = match password(&mut fields, "password")?.flatten() {
        Some(password) => {
            rules.check_shape(&password)?;
            Some(ask.app.passwords.hash(&password).await?)
        }
        None => None,
    };
    let mut options = user_options(&mut fields)?;
    options.retain(|_, value| !value.is_null());
    let now = ask.app.clock.now();
    let mut new = User {
        id: new_id(),
        domain_id,
        name: fields.name(NAME)?.trim().to_owned(),
        enabled: fields.bool("enabled")?.unwrap_or(true),
        default_project_id: default_project(&ask, &mut fields).await?.flatten(),
        password_hash,
        password_set_at: None,
        password_expires_at: None,
        failed_count: 0,
        failed_at: None,
        active_at: rules.config.disable_user_account_days_inactive.map(|_| now),
        options,
        extra: rest(fields)?,
    };
    if new.password_hash.is_some() {
        rules.note_set(&mut new, now, false);
    }
    let stored = transact!(ask.app.state, |tx| -> Result<(), Fault> {
        projects::require_domain(tx, &new.domain_id).await?;
        user::insert(tx, &new).await?;
        Ok(ask.note(tx, "user", &new.id, "created").await?)
    });
    stored.map_err(|e| projects::duplicate(e, "user", &new.name, Some(&new.domain_id)))?;
    reply::created("user", show_user(&ask, &new))
}

/// `PATCH /v3/users/{id}`.
pub(crate) async fn update(ask: Ask) -> Reply {
    let before = found(&ask, "identity:update_user").await?;
    let mut checked = ask.changes("user")?;
    checked.not_null(&NOT_NULL)?;
    checked.same_id(&before.id)?;
    let default = default_project(&ask, &mut checked).await?;
    if checked
        .text("domain_id")?
        .is_some_and(|given| given.as_deref() != Some(&before.domain_id))
    {
        return Err(Fault::BadRequest("Cannot change Domain ID.".into()));
    }
    let new_hash = match password(&mut checked, "password")? {
        Some(Some(password)) => {
            ask.app.password_rules.check_shape(&password)?;
            Some(Some(ask.app.passwords.hash(&password).await?))
        }
        Some(None) => Some(None),
        None => None,
    };
    let app = &ask.app;
    let stored = transact!(app.state, |tx| -> Result<(User, Vec<Revocation>), Fault> {
        let mut fields = ask.fields("user")?;
        for taken in ["id", "domain_id", "password", "default_project_id"] {
            fields.drop(taken);
        }
        let id = &before.id;
        let mut u = user::get(tx, id)
            .await?
            .ok_or_else(|| Fault::not_found("user", id))?;
        if let Some(name) = fields.maybe_name(NAME)? {
            name.trim().clone_into(&mut u.name);
        }
        let was = u.enabled;
        u.enabled = fields.bool("enabled")?.unwrap_or(was);
        if let Some(default) = &default {
            u.default_project_id.clone_from(default);
        }
        merge_options(&mut u.options, user_options(&mut fields)?);
        u.extra.extend(rest(fields)?);
        if !was && u.enabled && u.active_at.is_some() {
            // Whoever enables an account says that it is in use.
            u.active_at = Some(app.clock.now());
        }
        if let Some(hash) = &new_hash {
            app.remember_password(tx, &u).await?;
            u.password_hash.clone_from(hash);
            app.password_rules.note_set(&mut u, app.clock.now(), false);
        }
        user::update(tx, &u).await?;
        let ends = (was && !u.enabled) || new_hash.is_some();
        let events = if ends {
            app.tokens_of_user(tx, id).await?
        } else {
            Vec::new()
        };
        app.store_revocations(tx, &events).await?;
        ask.note(tx, "user", id, "updated").await?;
        Ok((u, events))
    });
    let (user, events) =
        stored.map_err(|e| projects::duplicate(e, "user", &before.name, Some(&before.domain_id)))?;
    app.announce(events);
    reply::one("user", show_user(&ask, &user))
}

/// `DELETE /v3/users/{id}`.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let user = found(&ask, "identity:delete_user").await?;
    let app = &ask.app;
    let events = transact!(app.state, |tx| -> Result<Vec<Revocation>, Fault> {
        let mut events = app.tokens_of_user(tx, &user.id).await?;
        for credential in application_credential::list(tx, &user.id, None).await? {
            events.push(app.tokens_of_delegation(&credential.id));
        }
        user::delete(tx, &user.id).await?;
        app.store_revocations(tx, &events).await?;
        ask.note(tx, "user", &user.id, "deleted").await?;
        Ok(events)
    })?;
    app.announce(events);
    reply::nothing()
}

/// `POST /v3/users/{id}/password`: the old password is the permission, no
/// token is needed.
pub(crate) async fn change_password(ask: Ask) -> Reply {
    let mut fields = ask.fields("user")?;
    let original = fields.required("original_password")?;
    let Some(Some(new)) = password(&mut fields, "password")? else {
        return Err(Fault::expecting("password", "user"));
    };
    let app = &ask.app;
    let found = user::get(&mut app.state.reader(), ask.param("user_id")).await?;
    let (id, hash) = found
        .as_ref()
        .map_or(("", None), |u| (u.id.as_str(), u.password_hash.as_deref()));
    let now = app.clock.now();
    let locked = found
        .as_ref()
        .is_some_and(|u| app.password_rules.is_locked(u, now));
    let hash = hash.filter(|_| !locked);
    let attempt = app.attempt(ask.source, vec![request::account(ask.param("user_id"))])?;
    let outcome = app.passwords.verify(id, &original, hash).await;
    if let Some(user) = found.as_ref().filter(|_| matches!(outcome, Ok(false)) && !locked) {
        app.note_failure(user).await?;
    }
    let named = found.as_ref().map(|u| u.id.clone());
    let refused = AuthError::Refused("wrong user or password");
    let outcome = outcome.and_then(|good| found.filter(|u| good && u.enabled).ok_or(refused));
    let user = match attempt.settle(outcome) {
        Ok(user) => user,
        Err(error) => {
            return Err(sign_in::refuse(&ask, named.as_deref(), &["password".to_owned()], error).await);
        }
    };
    if user.options.get("lock_password") == Some(&json!(true)) {
        return Err(Fault::BadRequest(
            "Password validation error: the password of this user cannot be changed by the user.".into(),
        ));
    }
    if original == new {
        return Err(Fault::BadRequest(
            "The new password must not be the old one.".into(),
        ));
    }
    app.password_rules.check_age(&user, now)?;
    app.password_rules.check_shape(&new)?;
    app.check_history(&user, &new).await?;
    let new_hash = app.passwords.hash(&new).await?;
    let events = transact!(app.state, |tx| -> Result<Vec<Revocation>, Fault> {
        let mut u = user::get(tx, &user.id).await?.ok_or(Fault::Unauthorized)?;
        if u.password_hash != user.password_hash {
            // Changed by somebody else in between: the old one is not good.
            return Err(Fault::Unauthorized);
        }
        app.remember_password(tx, &u).await?;
        u.password_hash = Some(new_hash.clone());
        app.password_rules.note_set(&mut u, app.clock.now(), true);
        user::update(tx, &u).await?;
        let events = app.tokens_of_user(tx, &u.id).await?;
        app.store_revocations(tx, &events).await?;
        ask.note_by(tx, ("user", &u.id, "updated"), &u.id).await?;
        Ok(events)
    })?;
    app.announce(events);
    reply::nothing()
}

/// `GET /v3/users/{id}/groups`.
pub(crate) async fn groups_of(ask: Ask) -> Reply {
    let user = found(&ask, "identity:list_groups_for_user").await?;
    let mine = projects::listing_domain(&ask)?;
    let (mut q, now) = (ask.app.state.reader(), ask.app.clock.now());
    let own = group::list(&mut q, None, None, Some(&user.id)).await?;
    let mut found: Vec<_> = own.into_iter().map(|g| (g, None)).collect();
    for given in group::memberships_of(&mut q, &user.id).await? {
        let lasting = found.iter().any(|(g, _)| g.id == given.group_id);
        if let Some(end) = given.ends.filter(|end| *end > now && !lasting) {
            let group = group::get(&mut q, &given.group_id).await?;
            found.extend(group.map(|g| (g, Some(end))));
        }
    }
    found.retain(|(g, _)| mine.as_ref().is_none_or(|domain| *domain == g.domain_id));
    found.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
    let items = found.iter().map(|(group, ends)| {
        let mut shown = groups::show_group(&ask, group);
        shown["membership_expires_at"] = json!(ends.map(super::time));
        shown
    });
    reply::list(&ask, "groups", items.collect(), &["name"])
}

/// `GET /v3/users/{id}/projects`.
pub(crate) async fn projects_of(ask: Ask) -> Reply {
    let user = found(&ask, "identity:list_user_projects").await?;
    let mut q = ask.app.state.reader();
    let actors = Actors::of(&mut q, &user.id, &[], ask.app.clock.now()).await?;
    let found = project::list_for_user(&mut q, &actors, false).await?;
    let tags = project::all_tags(&mut q).await?;
    let items = found
        .iter()
        .map(|p| projects::show_project(&ask, p, &projects::tags_of(&tags, &p.id)))
        .collect();
    reply::list(&ask, "projects", items, &["name", "enabled", "domain_id"])
}
