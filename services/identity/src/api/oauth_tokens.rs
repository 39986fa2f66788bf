//! `/v3/OS-OAUTH1/…` and `/v3/users/{id}/OS-OAUTH1/access_tokens`: the exchange
//! of a consumer's tokens, and what users have authorized.
//!
//! What consumers send is signed and not backed by a token of ours; failures
//! count against the consumer and the address, as those of passwords do.
use axum::response::IntoResponse;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use virga_state::transact;
use zeroize::Zeroizing;

use super::ask::Ask;
use super::reply::{self, Reply};
use super::{PREFIX, roles, tokens};
use crate::audit::sign_in;
use crate::auth::AuthError;
use crate::auth::tokens::Standing;
use crate::fault::Fault;
use crate::model::oauth_token::{self, Kind, OauthToken};
use crate::model::{new_id, project};
use crate::oauth::signature::Signed;
use crate::oauth::{ACCESS_LIFE, REQUEST_LIFE};
use crate::secrets;
use virga_identity_api::caller::Scope;

/// Letters of a verifier: a person may have to type them.
const VERIFIER: usize = 16;

fn signed(ask: &Ask) -> Result<Signed, Fault> {
    let header = ask.header("authorization")?.unwrap_or_default();
    let mut others = ask.all_query().to_vec();
    others.extend(ask.form()?);
    let signed = Signed::read(header, ask.method(), &ask.self_url(), &others);
    let signed = signed.map_err(|e| Fault::BadRequest(e.to_string()))?;
    // Clients sign for the URL that they were given and ask at that of the
    // catalog, which has the prefix.
    let other = match ask.base.strip_suffix(PREFIX) {
        Some(plain) => plain.to_owned(),
        None => format!("{}{PREFIX}", ask.base),
    };
    Ok(signed.or_for(&format!("{other}{}", ask.path())))
}

/// 400 without the part of the signature's header.
fn part<'s>(value: Option<&'s String>, name: &str) -> Result<&'s str, Fault> {
    value
        .map(String::as_str)
        .ok_or_else(|| Fault::expecting(name, "request"))
}

async fn check(ask: &Ask, signed: &Signed, token: Option<&OauthToken>) -> Result<(), AuthError> {
    let attempt = ask
        .app
        .attempt(ask.source, vec![format!("consumer {}", signed.consumer)])?;
    attempt.settle(ask.app.signer(signed, token).await).map(drop)
}

/// A new token that nobody has authorized, and its secret.
fn made(ask: &Ask, consumer: &str, project: &str) -> Result<(OauthToken, Zeroizing<String>), Fault> {
    let secret = Zeroizing::new(new_id());
    let token = OauthToken {
        id: new_id(),
        consumer_id: consumer.to_owned(),
        sealed_secret: secrets::seal(&ask.app.credential_keys, &*ask.app.clock, &secret)?,
        project_id: project.to_owned(),
        user_id: None,
        verifier: None,
        role_ids: Vec::new(),
        expires_at: ask.app.oauth_end(REQUEST_LIFE),
    };
    Ok((token, secret))
}

/// The one answer of this API that is a form.
fn told(token: &OauthToken, secret: &str) -> Reply {
    let text = format!(
        "oauth_token={}&oauth_token_secret={secret}&oauth_expires_at={}",
        token.id,
        super::time(token.expires_at)
    );
    let kind = [(CONTENT_TYPE, "application/x-www-form-urlencoded")];
    Ok((StatusCode::CREATED, kind, text).into_response())
}

/// `POST /v3/OS-OAUTH1/request_token`.
pub(crate) async fn request_token(ask: Ask) -> Reply {
    let signed = signed(&ask)?;
    let wanted = ask.header("requested-project-id")?;
    let wanted = wanted.ok_or_else(|| Fault::expecting("Requested-Project-Id", "request"))?;
    check(&ask, &signed, None).await?;
    let found = project::get(&mut ask.app.state.reader(), wanted).await?;
    let found = found.filter(|p| !p.is_domain);
    let project = found.ok_or_else(|| Fault::not_found("project", wanted))?;
    let (token, secret) = made(&ask, &signed.consumer, &project.id)?;
    let now = ask.app.clock.now();
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        oauth_token::insert(tx, Kind::Request, &token, now).await?;
        Ok(ask.note(tx, "request_token", &token.id, "created").await?)
    })?;
    told(&token, &secret)
}

/// `PUT /v3/OS-OAUTH1/authorize/{request_token_id}`: the user says yes, for some
/// of the user's roles on the project that the consumer asked for.
pub(crate) async fn authorize(ask: Ask) -> Reply {
    ask.enforce("identity:authorize_request_token", Value::Null)?;
    ask.not_delegated(false)?;
    let (id, now) = (ask.param("request_token_id"), ask.app.clock.now());
    let mut q = ask.app.state.reader();
    let found = oauth_token::get(&mut q, Kind::Request, id, now).await?;
    let mut token = found.ok_or_else(|| Fault::not_found("request token", id))?;
    let user = ask.caller()?.user_id.clone();
    token.role_ids = wanted_roles(&ask).await?;
    let held = ask
        .app
        .roles
        .held(&mut q, &user, &Scope::Project(token.project_id.clone()))
        .await?;
    if token.role_ids.iter().any(|role| !held.contains(role)) {
        return Err(Fault::Refused(
            "authorizing user does not have role required".into(),
        ));
    }
    let verifier: String = new_id().chars().take(VERIFIER).collect();
    (token.user_id, token.verifier) = (Some(user), Some(verifier.clone()));
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        if !oauth_token::delete(tx, &token.id).await? {
            return Err(Fault::not_found("request token", &token.id));
        }
        oauth_token::insert(tx, Kind::Request, &token, now).await?;
        Ok(ask.note(tx, "request_token", &token.id, "authorized").await?)
    })?;
    reply::one("token", json!({"oauth_verifier": verifier}))
}

/// Ids of the roles that the body names, by id or name.
async fn wanted_roles(ask: &Ask) -> Result<Vec<String>, Fault> {
    let body = ask.json()?;
    let named = body.get("roles").and_then(Value::as_array);
    let named = named.filter(|roles| !roles.is_empty());
    let named = named.ok_or_else(|| Fault::expecting("roles", "the request body"))?;
    let graph = ask.app.roles.graph().await?;
    let mut ids = Vec::with_capacity(named.len());
    for role in named {
        let text = |key: &str| role.get(key).and_then(Value::as_str);
        let found = match (text("id"), text("name")) {
            (Some(id), _) => graph.role(id),
            (None, Some(name)) => graph.named(name),
            (None, None) => return Err(Fault::expecting("id or name", "roles")),
        };
        let shown = text("id").or(text("name")).unwrap_or_default();
        let found = found.ok_or_else(|| Fault::not_found("role", shown))?;
        if !ids.contains(&found.id) {
            ids.push(found.id.clone());
        }
    }
    Ok(ids)
}

/// `POST /v3/OS-OAUTH1/access_token`: an authorized request token becomes an
/// access token, once.
pub(crate) async fn access_token(ask: Ask) -> Reply {
    const WRONG: &str = "Provided verifier does not match stored verifier";
    let signed = signed(&ask)?;
    let id = part(signed.token.as_ref(), "oauth_token")?;
    let verifier = part(signed.verifier.as_ref(), "oauth_verifier")?;
    let now = ask.app.clock.now();
    let found = oauth_token::get(&mut ask.app.state.reader(), Kind::Request, id, now).await?;
    check(&ask, &signed, found.as_ref()).await?;
    let before = found.ok_or(Fault::Unauthorized)?;
    let good = before.verifier.as_ref().is_some_and(|stored| {
        bool::from(subtle::ConstantTimeEq::ct_eq(
            stored.as_bytes(),
            verifier.as_bytes(),
        ))
    });
    if !good {
        return Err(Fault::Refused(WRONG.into()));
    }
    let (mut token, secret) = made(&ask, &signed.consumer, &before.project_id)?;
    token.user_id.clone_from(&before.user_id);
    token.role_ids.clone_from(&before.role_ids);
    token.expires_at = ask.app.oauth_end(ACCESS_LIFE);
    transact!(ask.app.state, |tx| -> Result<(), Fault> {
        if !oauth_token::delete(tx, &before.id).await? {
            return Err(Fault::Unauthorized);
        }
        oauth_token::insert(tx, Kind::Access, &token, now).await?;
        let what = ("access_token", token.id.as_str(), "created");
        let by = token.user_id.as_deref().unwrap_or_default();
        Ok(ask.note_by(tx, what, by).await?)
    })?;
    told(&token, &secret)
}

/// Whether the body of a sign-in shows this method and no other.
pub(super) fn is_method_of(body: &Value) -> bool {
    body.pointer("/auth/identity/methods") == Some(&json!(["oauth1"]))
}

/// `POST /v3/auth/tokens` by a request that is signed with an access token.
pub(super) async fn sign_in(ask: Ask) -> Reply {
    let methods = ["oauth1".to_owned()];
    let signed = signed(&ask)?;
    let id = part(signed.token.as_ref(), "oauth_token")?;
    let now = ask.app.clock.now();
    let found = oauth_token::get(&mut ask.app.state.reader(), Kind::Access, id, now).await?;
    let user = found.as_ref().and_then(|t| t.user_id.clone());
    let outcome = issued(&ask, &signed, found).await;
    let (token, standing) = sign_in::note(&ask, user.as_deref(), &methods, outcome).await?;
    tokens::made(&ask, StatusCode::CREATED, &token, &standing).await
}

async fn issued(
    ask: &Ask,
    signed: &Signed,
    found: Option<OauthToken>,
) -> Result<(String, Standing), AuthError> {
    let q = &mut ask.app.state.reader();
    check(ask, signed, found.as_ref()).await?;
    let token = found.ok_or(AuthError::Refused("no such access token"))?;
    let life = std::time::Duration::from_secs(ask.app.config.token_lifetime);
    let grant = ask
        .app
        .grant_by_access_token(q, token, ask.app.oauth_end(life))
        .await?;
    ask.app.make_token(grant, vec!["oauth1".into()], None, q.as_of())
}

fn show(ask: &Ask, t: &OauthToken) -> Value {
    let user = t.user_id.as_deref().unwrap_or_default();
    let this = ask.url(&format!("/v3/users/{user}/OS-OAUTH1/access_tokens/{}", t.id));
    json!({
        "id": t.id,
        "consumer_id": t.consumer_id,
        "project_id": t.project_id,
        "authorizing_user_id": t.user_id,
        "expires_at": super::time(t.expires_at),
        "links": {"self": this, "roles": format!("{this}/roles")},
    })
}

/// The access token of the path, if the user of the path authorized it.
async fn found(ask: &Ask, action: &str) -> Result<OauthToken, Fault> {
    ask.enforce(action, Value::Null)?;
    ask.not_delegated(false)?;
    let (id, now) = (ask.param("access_token_id"), ask.app.clock.now());
    let found = oauth_token::get(&mut ask.app.state.reader(), Kind::Access, id, now).await?;
    let found = found.filter(|t| t.user_id.as_deref() == Some(ask.param("user_id")));
    found.ok_or_else(|| Fault::not_found("access token", id))
}

/// `GET /v3/users/{id}/OS-OAUTH1/access_tokens`.
pub(crate) async fn list(ask: Ask) -> Reply {
    ask.enforce("identity:list_access_tokens", Value::Null)?;
    ask.not_delegated(false)?;
    let (user, now) = (ask.param("user_id"), ask.app.clock.now());
    let all = oauth_token::list(&mut ask.app.state.reader(), (Some(user), None), now).await?;
    let items = all.iter().map(|t| show(&ask, t)).collect();
    reply::list(&ask, "access_tokens", items, &[])
}

/// `GET /v3/users/{id}/OS-OAUTH1/access_tokens/{id}`.
pub(crate) async fn show_one(ask: Ask) -> Reply {
    let token = found(&ask, "identity:get_access_token").await?;
    reply::one("access_token", show(&ask, &token))
}

/// `GET /v3/users/{id}/OS-OAUTH1/access_tokens/{id}/roles`.
pub(crate) async fn token_roles(ask: Ask) -> Reply {
    let token = found(&ask, "identity:list_access_token_roles").await?;
    let graph = ask.app.roles.graph().await?;
    let given = token.role_ids.iter().filter_map(|id| graph.role(id));
    let items = given.map(|r| roles::show_role(&ask, r)).collect();
    reply::list(&ask, "roles", items, &[])
}

/// `GET /v3/users/{id}/OS-OAUTH1/access_tokens/{id}/roles/{id}`.
pub(crate) async fn token_role(ask: Ask) -> Reply {
    let token = found(&ask, "identity:get_access_token_role").await?;
    let (id, graph) = (ask.param("role_id"), ask.app.roles.graph().await?);
    let given = token.role_ids.iter().any(|given| given == id);
    let role = graph.role(id).filter(|_| given);
    let role = role.ok_or_else(|| Fault::not_found("role", id))?;
    reply::one("role", roles::show_role(&ask, role))
}

/// `DELETE /v3/users/{id}/OS-OAUTH1/access_tokens/{id}`: what was made with it ends.
pub(crate) async fn delete(ask: Ask) -> Reply {
    let token = found(&ask, "identity:delete_access_token").await?;
    let events = transact!(ask.app.state, |tx| -> Result<_, Fault> {
        oauth_token::delete(tx, &token.id).await?;
        let events = vec![ask.app.tokens_of_delegation(&token.id)];
        ask.app.store_revocations(tx, &events).await?;
        ask.note(tx, "access_token", &token.id, "deleted").await?;
        Ok(events)
    })?;
    ask.app.announce(events);
    reply::nothing()
}
