//! The body of `POST /v3/auth/tokens`, parsed once.
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::AuthError;

/// A domain as a client names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DomainRef {
    Id(String),
    Name(String),
}

/// A user or project as a client names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntityRef {
    Id(String),
    Name(String, DomainRef),
}

/// The scope that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScopeWish {
    /// Nothing said: the user's default project, if any.
    Default,
    Unscoped,
    Project(EntityRef),
    Domain(DomainRef),
    System,
    /// The trust of this id.
    Trust(String),
}

/// An application credential as a client names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CredentialRef {
    Id(String),
    /// Its name, and whose it is.
    Name(String, EntityRef),
}

/// How a client proves who they are. At least one of the ways is there.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AuthRequest {
    pub(crate) password: Option<(EntityRef, Zeroizing<String>)>,
    /// A user and the passcode of the moment.
    pub(crate) totp: Option<(EntityRef, Zeroizing<String>)>,
    pub(crate) application_credential: Option<(CredentialRef, Zeroizing<String>)>,
    pub(crate) token: Option<String>,
    pub(crate) scope: ScopeWish,
}

fn malformed<T>(why: String) -> Result<T, AuthError> {
    Err(AuthError::Malformed(why))
}

fn expecting<T>(attribute: &str, target: &str) -> Result<T, AuthError> {
    malformed(format!(
        "Expecting to find {attribute} in {target}. The server could not comply with the request since it is \
         either malformed or otherwise incorrect. The client is assumed to be in error."
    ))
}

fn object<'v>(
    parent: &'v Map<String, Value>,
    key: &str,
    target: &str,
) -> Result<&'v Map<String, Value>, AuthError> {
    match parent.get(key) {
        Some(Value::Object(map)) => Ok(map),
        Some(_) => malformed(format!(
            "Invalid input for field '{key}': it is not of type 'object'."
        )),
        None => expecting(key, target),
    }
}

fn text<'v>(parent: &'v Map<String, Value>, key: &str) -> Result<Option<&'v str>, AuthError> {
    match parent.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => malformed(format!(
            "Invalid input for field '{key}': it is not of type 'string'."
        )),
    }
}

fn domain(parent: &Map<String, Value>, target: &str) -> Result<DomainRef, AuthError> {
    let domain = object(parent, "domain", target)?;
    if let Some(id) = text(domain, "id")? {
        return Ok(DomainRef::Id(id.to_owned()));
    }
    match text(domain, "name")? {
        Some(name) => Ok(DomainRef::Name(name.to_owned())),
        None => expecting("id or name", "domain"),
    }
}

fn entity(object: &Map<String, Value>, target: &str) -> Result<EntityRef, AuthError> {
    if let Some(id) = text(object, "id")? {
        return Ok(EntityRef::Id(id.to_owned()));
    }
    match text(object, "name")? {
        Some(name) => Ok(EntityRef::Name(name.to_owned(), domain(object, target)?)),
        None => expecting("id or name", target),
    }
}

fn scope(auth: &Map<String, Value>) -> Result<ScopeWish, AuthError> {
    let wish = match auth.get("scope") {
        None => return Ok(ScopeWish::Default),
        Some(Value::String(word)) if word == "unscoped" => return Ok(ScopeWish::Unscoped),
        Some(Value::Object(wish)) => wish,
        Some(_) => return malformed("Invalid input for field 'scope': it is not of type 'object'.".into()),
    };
    let known = ["project", "domain", "system", "OS-TRUST:trust", "unscoped"];
    let named: Vec<&str> = known.into_iter().filter(|k| wish.contains_key(*k)).collect();
    match named.as_slice() {
        [] => expecting("system, project, domain, OS-TRUST:trust or unscoped", "scope"),
        ["unscoped"] => Ok(ScopeWish::Unscoped),
        ["project"] => Ok(ScopeWish::Project(entity(
            object(wish, "project", "scope")?,
            "project",
        )?)),
        ["domain"] => Ok(ScopeWish::Domain(domain(wish, "scope")?)),
        ["system"] => match wish.get("system").and_then(|s| s.get("all")) {
            Some(Value::Bool(true)) => Ok(ScopeWish::System),
            _ => expecting("all", "system"),
        },
        ["OS-TRUST:trust"] => match text(object(wish, "OS-TRUST:trust", "scope")?, "id")? {
            Some(id) if !id.is_empty() => Ok(ScopeWish::Trust(id.to_owned())),
            _ => expecting("trust_id", "trust"),
        },
        _ => malformed(format!(
            "Scope must be exactly one of project, domain, system, OS-TRUST:trust; got {}.",
            named.join(", ")
        )),
    }
}

/// A user with what proves it, of the method's part of the body.
fn user_and(
    identity: &Map<String, Value>,
    method: &str,
    proof: &str,
) -> Result<(EntityRef, Zeroizing<String>), AuthError> {
    let user = object(object(identity, method, "identity")?, "user", method)?;
    match text(user, proof)? {
        Some(proof) => Ok((entity(user, "user")?, Zeroizing::new(proof.to_owned()))),
        None => expecting(proof, "user"),
    }
}

fn credential(identity: &Map<String, Value>) -> Result<(CredentialRef, Zeroizing<String>), AuthError> {
    const TARGET: &str = "application_credential";
    let credential = object(identity, TARGET, "identity")?;
    let Some(secret) = text(credential, "secret")? else {
        return expecting("secret", TARGET);
    };
    let which = match (text(credential, "id")?, text(credential, "name")?) {
        (Some(id), _) => CredentialRef::Id(id.to_owned()),
        (None, Some(name)) => CredentialRef::Name(
            name.to_owned(),
            entity(object(credential, "user", TARGET)?, "user")?,
        ),
        (None, None) => return expecting("id or name", TARGET),
    };
    Ok((which, Zeroizing::new(secret.to_owned())))
}

/// What limits call the account of the user with this id.
pub(crate) fn account(user_id: &str) -> String {
    format!("user {:?}", EntityRef::Id(user_id.to_owned()))
}

impl AuthRequest {
    /// What the request calls the accounts that it shows a secret of.
    pub(crate) fn accounts(&self) -> Vec<String> {
        let users = self.password.iter().chain(&self.totp);
        let users = users.map(|(who, _)| format!("user {who:?}"));
        let credential = self.application_credential.iter();
        users
            .chain(credential.map(|(which, _)| format!("credential {which:?}")))
            .collect()
    }

    /// Whether judging it twice is as judging it once: a passcode counts once,
    /// and what several methods find out is put together.
    pub(crate) fn may_be_tried_again(&self) -> bool {
        let shown = [
            self.password.is_some(),
            self.application_credential.is_some(),
            self.token.is_some(),
        ];
        self.totp.is_none() && shown.into_iter().filter(|is| *is).count() == 1
    }

    /// Reads the body.
    pub(crate) fn parse(body: &Value) -> Result<Self, AuthError> {
        let Value::Object(body) = body else {
            return malformed("Invalid input: the body is not of type 'object'.".into());
        };
        let auth = object(body, "auth", "the request body")?;
        let identity = object(auth, "identity", "auth")?;
        let methods = match identity.get("methods") {
            Some(Value::Array(methods)) => methods,
            Some(_) => {
                return malformed("Invalid input for field 'methods': it is not of type 'array'.".into());
            }
            None => return expecting("methods", "identity"),
        };
        let mut request = Self {
            password: None,
            totp: None,
            application_credential: None,
            token: None,
            scope: scope(auth)?,
        };
        for method in methods {
            match method.as_str() {
                Some("password") => request.password = Some(user_and(identity, "password", "password")?),
                Some("totp") => request.totp = Some(user_and(identity, "totp", "passcode")?),
                Some("application_credential") => {
                    request.application_credential = Some(credential(identity)?);
                }
                Some("token") => match text(object(identity, "token", "identity")?, "id")? {
                    Some(id) => request.token = Some(id.to_owned()),
                    None => return expecting("id", "token"),
                },
                Some(_) => return Err(AuthError::Refused("unsupported method")),
                None => return malformed("Invalid input for field 'methods': it holds no text.".into()),
            }
        }
        if request.application_credential.is_some() && request.scope != ScopeWish::Default {
            return Err(AuthError::Refused("an application credential has its scope"));
        }
        let by_secret = request.password.is_some() || request.totp.is_some();
        if !by_secret && request.token.is_none() && request.application_credential.is_none() {
            return Err(AuthError::Refused("no method given"));
        }
        Ok(request)
    }
}
