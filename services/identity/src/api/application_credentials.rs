//! `/v3/users/{id}/application_credentials`.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use virga_identity_api::access_rule::AccessRule;
use virga_identity_api::caller::{Delegation, Scope};
use virga_state::{StateError, transact};
use zeroize::Zeroizing;

use super::ask::Ask;
use super::fields::{Fields, NAME};
use super::reply::{self, Reply};
use super::token_body::{self, time};
use crate::auth::password::MAX_PASSWORD;
use crate::fault::Fault;
use crate::model::access_rule::{self, StoredRule};
use crate::model::application_credential::{self, ApplicationCredential};
use crate::model::{new_id, role, user};

/// Access rules of one credential at most.
const MAX_RULES: usize = 128;
/// Longest path of an access rule, in characters.
const MAX_PATH: usize = 128;
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

async fn show(ask: &Ask, c: &ApplicationCredential) -> Result<Value, Fault> {
    let mut q = ask.app.state.reader();
    let graph = ask.app.roles.graph().await?;
    let roles = application_credential::role_ids(&mut q, &c.id).await?;
    let roles: Vec<Value> = roles
        .iter()
        .filter_map(|id| graph.role(id))
        .map(|r| json!({"id": r.id, "name": r.name, "domain_id": r.domain_id}))
        .collect();
    let rules = access_rule::of_credential(&mut q, &c.id).await?;
    let mut shown = json!({
        "id": c.id,
        "name": c.name,
        "description": c.description,
        "user_id": c.user_id,
        "project_id": c.project_id,
        // Keystone leaves the zone out here, and clients compare.
        "expires_at": c.expires_at.map(|at| time(at).trim_end_matches('Z').to_owned()),
        "unrestricted": c.unrestricted,
        "roles": roles,
        "links": {"self": ask.url(&format!("/v3/users/{}/application_credentials/{}", c.user_id, c.id))},
    });
    if !rules.is_empty() {
        shown["access_rules"] = rules.iter().map(token_body::access_rule).collect();
    }
    Ok(shown)
}

/// The credential of the path. Policy is asked for whom it belongs to: naming
/// oneself in the path of somebody else's credential opens nothing.
async fn found(ask: &Ask, action: &str) -> Result<ApplicationCredential, Fault> {
    ask.caller()?;
    let id = ask.param("application_credential_id");
    let found = application_credential::get(&mut ask.app.state.reader(), id).await?;
    let owner = found.as_ref().map_or(ask.param("user_id"), |c| &c.user_id);
    ask.enforce_for(action, owner)?;
    ask.not_delegated(true)?;
    found
        .filter(|c| c.user_id == ask.param("user_id"))
        .ok_or_else(|| Fault::not_found("Application Credential", id))
}

/// `GET …/application_credentials`.
pub(crate) async fn list(ask: Ask) -> Reply {
    ask.enforce("identity:list_application_credentials", Value::Null)?;
    ask.not_delegated(true)?;
    let all = application_credential::list(&mut ask.app.state.reader(), ask.param("user_id"), None).await?;
    let mut items = Vec::with_capacity(all.len());
    for credential in &all {
        items.push(show(&ask, credential).await?);
    }
    reply::list(&ask, "application_credentials", items, &["name"])
}

/// `GET …/application_credentials/{id}`.
pub(crate) async fn show_one(ask: Ask) -> Reply {
    let credential = found(&ask, "identity:get_application_credential").await?;
    reply::one("application_credential", show(&ask, &credential).await?)
}

/// A rule of the body: an id of one that the user has, or a new one.
async fn read_rule(ask: &Ask, value: Value) -> Result<StoredRule, Fault> {
    let Value::Object(map) = value else {
        return Err(Fault::BadRequest(
            "Invalid input for field 'access_rules': an item is not of type 'object'.".into(),
        ));
    };
    let mut fields = Fields::of_object(map, "access_rule");
    let user_id = ask.param("user_id").to_owned();
    let id = fields.text("id")?.flatten();
    let named = fields.text("service")?.is_some();
    if let (Some(id), false) = (&id, named) {
        let known = access_rule::get(&mut ask.app.state.reader(), &user_id, id).await?;
        return known.ok_or_else(|| Fault::not_found("Access Rule", id));
    }
    Err(Fault::expecting("service, method and path", "access_rule"))
}

fn new_rule(user_id: &str, value: &Value) -> Result<Option<StoredRule>, Fault> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let (Some(service), Some(method), Some(path)) = (text("service"), text("method"), text("path")) else {
        return Ok(None);
    };
    let wrong = |field: &str, why: &str| {
        Err(Fault::BadRequest(format!(
            "Invalid input for field '{field}': {why}."
        )))
    };
    if !METHODS.contains(&method) {
        return wrong(
            "method",
            &format!("{method:?} is not one of {}", METHODS.join(", ")),
        );
    }
    if !(path.starts_with('/') || path.starts_with('*')) || path.chars().count() > MAX_PATH {
        return wrong("path", "it is not a path of at most 128 characters");
    }
    if service.trim().is_empty() || service.len() > NAME {
        return wrong("service", "it must have 1 to 255 characters");
    }
    Ok(Some(StoredRule {
        id: new_id(),
        user_id: user_id.to_owned(),
        rule: AccessRule {
            service: service.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
        },
    }))
}

async fn rules_of(ask: &Ask, fields: &mut Fields) -> Result<Vec<StoredRule>, Fault> {
    let given = match fields.take("access_rules") {
        None => return Ok(Vec::new()),
        Some(Value::Array(given)) if given.len() <= MAX_RULES => given,
        Some(_) => {
            return Err(Fault::BadRequest(format!(
                "Invalid input for field 'access_rules': it is not an array of at most {MAX_RULES} rules."
            )));
        }
    };
    let mut rules = Vec::with_capacity(given.len());
    for value in given {
        rules.push(match new_rule(ask.param("user_id"), &value)? {
            Some(rule) => rule,
            None => read_rule(ask, value).await?,
        });
    }
    Ok(rules)
}

/// Ids of the wanted roles, which the token must have; all of the token's if
/// none are named.
async fn roles_of(ask: &Ask, fields: &mut Fields, project: &str) -> Result<Vec<String>, Fault> {
    let caller = ask.caller()?;
    let graph = ask.app.roles.graph().await?;
    let scope = Scope::Project(project.to_owned());
    let q = &mut ask.app.state.reader();
    let held: Vec<String> = match &caller.delegation {
        Some(Delegation::ApplicationCredential { id, .. }) => {
            let roles = ask
                .app
                .roles
                .of_credential(q, id, &caller.user_id, &scope)
                .await?;
            roles.into_iter().map(|r| r.id).collect()
        }
        _ => {
            let roles = ask.app.roles.effective(q, &caller.user_id, &[], &scope).await?;
            roles.into_iter().map(|r| r.id).collect()
        }
    };
    // Those of a user from elsewhere may be in the token only, and not last.
    if held.is_empty() {
        return Err(Fault::BadRequest(
            "Invalid application credential: the records hold no role of the user on the project".into(),
        ));
    }
    let named = match fields.take("roles") {
        None => Vec::new(),
        Some(value) => role_ids(ask, &value).await?,
    };
    if named.is_empty() {
        return Ok(held);
    }
    // What a named role implies belongs to it.
    let wanted = graph.expand(&named);
    if wanted.iter().all(|id| held.contains(id)) {
        Ok(wanted.into_iter().collect())
    } else {
        Err(Fault::BadRequest(
            "Invalid application credential: Cannot create an application credential with unassigned role"
                .into(),
        ))
    }
}

/// Ids of roles that a body names by id or by name.
pub(crate) async fn role_ids(ask: &Ask, value: &Value) -> Result<Vec<String>, Fault> {
    let wrong = || Fault::BadRequest("Invalid input for field 'roles': an item names no role.".into());
    let all = role::list(&mut ask.app.state.reader()).await?;
    let mut ids = Vec::new();
    for item in value.as_array().ok_or_else(wrong)? {
        let text = |key: &str| item.get(key).and_then(Value::as_str);
        let found = match (text("id"), text("name")) {
            (Some(id), _) => all.iter().find(|r| r.id == id).ok_or(("role", id)),
            (None, Some(name)) => all
                .iter()
                .find(|r| r.name == name && r.domain_id.is_none())
                .ok_or(("role", name)),
            (None, None) => return Err(wrong()),
        };
        match found {
            Ok(role) => ids.push(role.id.clone()),
            Err((kind, id)) => return Err(Fault::not_found(kind, id)),
        }
    }
    Ok(ids)
}

/// The secret to be: the client's, or 64 random bytes.
fn secret_of(fields: &mut Fields) -> Result<Zeroizing<String>, Fault> {
    match fields.text("secret")?.flatten().map(Zeroizing::new) {
        Some(secret) if secret.is_empty() || secret.len() > MAX_PASSWORD => Err(Fault::BadRequest(format!(
            "Invalid input for field 'secret': it must have 1 to {MAX_PASSWORD} bytes."
        ))),
        Some(secret) => Ok(secret),
        None => {
            let mut bytes = Zeroizing::new([0; 64]);
            getrandom::fill(&mut *bytes).map_err(|e| Fault::Unexpected(e.to_string()))?;
            Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes)))
        }
    }
}

/// `POST …/application_credentials`: for the project of the token. The secret
/// is told once.
pub(crate) async fn create(ask: Ask) -> Reply {
    ask.enforce("identity:create_application_credential", Value::Null)?;
    ask.not_delegated(true)?;
    ask.unrestricted().await?;
    let user_id = ask.param("user_id").to_owned();
    let caller = ask.caller()?;
    if caller.user_id != user_id {
        return Err(Fault::Forbidden(
            "Cannot create an application credential for another user.".into(),
        ));
    }
    let Some(project_id) = caller.project_id().map(str::to_owned) else {
        return Err(Fault::Denied("identity:create_application_credential".into()));
    };
    let mut fields = ask.fields("application_credential")?;
    let name = fields.name(NAME)?;
    let secret = secret_of(&mut fields)?;
    let roles = roles_of(&ask, &mut fields, &project_id).await?;
    let rules = rules_of(&ask, &mut fields).await?;
    if fields.is_null("unrestricted") {
        fields.drop("unrestricted");
    }
    let new = ApplicationCredential {
        id: new_id(),
        user_id,
        project_id,
        name,
        description: fields.text("description")?.flatten(),
        expires_at: fields.time_to_come("expires_at", ask.app.clock.now())?,
        unrestricted: fields.bool("unrestricted")?.unwrap_or(false),
        secret_hash: ask.app.passwords.hash(&secret).await?,
    };
    // The project is the token's; clients name it.
    for told in ["id", "project_id"] {
        fields.drop(told);
    }
    fields.nothing_else()?;
    let stored = transact!(ask.app.state, |tx| -> Result<(), Fault> {
        if user::get(tx, &new.user_id).await?.is_none() {
            return Err(Fault::Unauthorized);
        }
        let mut ids = Vec::new();
        for rule in &rules {
            ids.push(access_rule::find_or_insert(tx, rule.clone()).await?.id);
        }
        application_credential::insert(tx, &new, &roles, &ids).await?;
        Ok(ask.note(tx, "application credential", &new.id, "created").await?)
    });
    stored.map_err(|e| match e {
        Fault::State(StateError::Duplicate) => Fault::Conflict(format!(
            "Conflict occurred attempting to store application_credential - Duplicate entry found with name {}.",
            new.name
        )),
        other => other,
    })?;
    let mut shown = show(&ask, &new).await?;
    shown["secret"] = json!(*secret);
    reply::created("application_credential", shown)
}

/// `DELETE …/application_credentials/{id}`: its tokens end.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let credential = found(&ask, "identity:delete_application_credential").await?;
    ask.unrestricted().await?;
    let app = &ask.app;
    let events = transact!(app.state, |tx| -> Result<_, Fault> {
        application_credential::delete(tx, &credential.id).await?;
        let events = vec![app.tokens_of_delegation(&credential.id)];
        app.store_revocations(tx, &events).await?;
        ask.note(tx, "application credential", &credential.id, "deleted")
            .await?;
        Ok(events)
    })?;
    app.announce(events);
    reply::nothing()
}
