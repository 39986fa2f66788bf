//! Sign-ins in the change feed: those that succeeded and those that did not.
//!
//! Of a failed one the user is named by id, if there is one: what was typed for
//! a name may be a password.
use std::time::Duration;

use serde_json::{Value, json};

use super::journal::{SignIn, TurnedAway};
use super::{delegation, scope};
use crate::api::ask::Ask;
use crate::auth::AuthError;
use crate::auth::request::{AuthRequest, CredentialRef};
use crate::auth::tokens::Standing;
use crate::fault::Fault;
use crate::model::application_credential;

/// The methods that a request shows.
fn methods(request: &AuthRequest) -> Vec<String> {
    let shown = [
        ("password", request.password.is_some()),
        ("totp", request.totp.is_some()),
        ("application_credential", request.application_credential.is_some()),
        ("token", request.token.is_some()),
    ];
    let shown = shown.into_iter().filter(|(_, is)| *is);
    shown.map(|(method, _)| method.to_owned()).collect()
}

/// The user whom a request names, if there is one.
async fn named(ask: &Ask, request: &AuthRequest) -> Option<String> {
    let by_name = match &request.application_credential {
        Some((CredentialRef::Name(_, who), _)) => Some(who),
        _ => None,
    };
    let who = request.password.as_ref().or(request.totp.as_ref());
    if let Some(who) = who.map(|(who, _)| who).or(by_name) {
        return ask
            .app
            .find_user(&mut ask.app.state.reader(), who)
            .await
            .ok()?
            .map(|(user, _)| user.id);
    }
    if let Some((CredentialRef::Id(id), _)) = &request.application_credential {
        let found = application_credential::get(&mut ask.app.state.reader(), id).await;
        return found.ok()?.map(|c| c.user_id);
    }
    let token = request.token.as_ref()?;
    let payload = ask.app.verifier.inspect(token, Duration::ZERO).ok()?;
    Some(payload.user_id)
}

/// [`note`] for `POST /v3/auth/tokens`.
///
/// # Errors
/// As there.
pub(crate) async fn note_request<T>(
    ask: &Ask,
    request: &AuthRequest,
    outcome: Result<(T, Standing), AuthError>,
) -> Result<(T, Standing), Fault> {
    let user = match &outcome {
        Ok(_) => None,
        Err(_) => named(ask, request).await,
    };
    note(ask, user.as_deref(), &methods(request), outcome).await
}

/// Writes the outcome of a sign-in, before the client hears of it. `user` is
/// whom the request names, if there is such a user, and `methods` what it shows.
///
/// # Errors
/// Of a good sign-in that cannot be written, or that a change overtook
/// ([`Fault::Overtaken`]): nobody may have the token then.
/// A bad one stays what it is.
pub(crate) async fn note<T>(
    ask: &Ask,
    user: Option<&str>,
    methods: &[String],
    outcome: Result<(T, Standing), AuthError>,
) -> Result<(T, Standing), Fault> {
    let good = match outcome {
        Ok(good) => good,
        Err(error) => return Err(refuse(ask, user, methods, error).await),
    };
    match ask.app.journal.write(succeeded(ask, &good.1)).await {
        Ok(()) if ask.is_overtaken(&good.1.payload).await? => Err(Fault::Overtaken),
        Ok(()) => Ok(good),
        Err(error) => {
            tracing::error!(%error, "a sign-in is refused");
            Err(Fault::Busy)
        }
    }
}

/// Writes that somebody could not show who they are; returns what they hear.
pub(crate) async fn refuse(ask: &Ask, user: Option<&str>, methods: &[String], error: AuthError) -> Fault {
    // Those of too many failures are counted where the failures are.
    let counted = match error {
        AuthError::Overloaded => {
            ask.app
                .journal
                .turned_away(ask.source.map(|s| s.0), TurnedAway::Busy);
            true
        }
        AuthError::TooMany(_) | AuthError::State(_) => true,
        _ => false,
    };
    if !counted && let Err(error) = ask.app.journal.write(failed(ask, user, methods, &error)).await {
        tracing::error!(%error, "a failed sign-in is not in the change feed");
    }
    error.into()
}

fn succeeded(ask: &Ask, standing: &Standing) -> SignIn {
    let (payload, user) = (&standing.payload, &standing.user);
    let detail = json!({
        "who": {
            "user_id": user.id, "user_name": user.name, "domain_id": user.domain_id, "scope": scope(&payload.scope),
            "roles": payload.roles, "methods": payload.methods, "audit_ids": payload.audit_ids,
            "by": delegation(payload.delegation.as_ref()),
        },
        "expires_at": payload.expires_at.0, "from": ask.origin(),
    });
    SignIn {
        user_id: Some(user.id.clone()),
        action: "succeeded",
        detail: detail.to_string(),
    }
}

fn failed(ask: &Ask, user: Option<&str>, methods: &[String], error: &AuthError) -> SignIn {
    let action = match error {
        AuthError::MoreFactors(_) => "asked for more",
        _ => "failed",
    };
    let reason = match error {
        // Constant texts, which name nothing that was typed.
        AuthError::Refused(why) => (*why).to_owned(),
        AuthError::PasswordExpired(_) => "the password has expired".to_owned(),
        AuthError::MoreFactors(_) => "more proof is asked for".to_owned(),
        AuthError::Forbidden(_) => "not allowed".to_owned(),
        AuthError::BadToken => "the token is not good".to_owned(),
        AuthError::NotFound(_) => "the scope is not there".to_owned(),
        _ => "the request or the service is at fault".to_owned(),
    };
    let who: Value = json!({"user_id": user, "methods": methods});
    let detail = json!({"who": who, "reason": reason, "from": ask.origin()});
    SignIn {
        user_id: user.map(str::to_owned),
        action,
        detail: detail.to_string(),
    }
}
