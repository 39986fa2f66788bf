//! The request, parsed once at the door.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use virga_http::base_url::BaseUrl;
use virga_http::body;
use virga_http::dry_run::DryRun;
use virga_http::limits::retry_after;
use virga_http::peer::Source;
use virga_http::request_id::RequestId;
use virga_identity_api::caller::{Caller, Delegation};
use virga_identity_api::payload::Payload;
use virga_identity_api::policy::Decision;
use virga_identity_api::verify::{TokenError, TokenVerifier};
use virga_state::{StateError, Transaction};

use super::fields::Fields;
use crate::app::App;
use crate::audit;
use crate::fault::Fault;
use crate::model::application_credential;
use crate::policies::caller::{credentials, scope_kind};

/// Longest query string, in bytes.
const MAX_QUERY: usize = 8 * 1024;

/// The type of this service in access rules.
const SERVICE_TYPE: &str = "identity";

/// A request: who asks, for what, with what.
pub(crate) struct Ask {
    pub(crate) app: Arc<App>,
    /// URL of the API's root as the client sees it, without `/v3`.
    pub(crate) base: String,
    pub(crate) headers: HeaderMap,
    /// From where it comes, if it came over a network.
    pub(crate) source: Option<Source>,
    path: String,
    raw_query: Option<String>,
    query: Vec<(String, String)>,
    params: Vec<(String, String)>,
    caller: Option<Arc<Caller>>,
    credentials: Value,
    body: Bytes,
    method: Method,
    request_id: Option<RequestId>,
    /// The last rule that let the caller through.
    passed: Mutex<Option<audit::Passed>>,
    /// The generation of the list of revocations before anything was read.
    heard: AtomicU64,
}

fn parse_query(raw: &str) -> Result<Vec<(String, String)>, Fault> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8();
        decoded
            .map(|t| t.into_owned())
            .map_err(|_| Fault::BadRequest("The query is not valid UTF-8.".into()))
    };
    raw.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

/// The token that a request shows for its caller: `X-Auth-Token` or, without
/// it, a bearer token (RFC 6750), as the filter `oauth2_token` before
/// OpenStack's services takes it; and whether it is one of those. At the doors
/// of federation a bearer token is an identity provider's.
fn shown_token<'h>(headers: &'h HeaderMap, path: &str) -> Result<Option<(&'h str, bool)>, Fault> {
    let text = |name| {
        let value: Option<&HeaderValue> = headers.get(name);
        value
            .map(|v| v.to_str().map_err(|_| Fault::Unauthorized))
            .transpose()
    };
    if let Some(token) = text("x-auth-token")? {
        return Ok(Some((token, false)));
    }
    let federation = path.contains("/OS-FEDERATION/") && (path.ends_with("/auth") || path.contains("websso"));
    let bearer = text("authorization")?.and_then(|shown| shown.split_once(' '));
    let bearer = bearer.filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer") && !federation);
    Ok(bearer.map(|(_, token)| (token.trim(), true)))
}

/// Who asks, if that is shown.
async fn caller_of(app: &App, parts: &Parts) -> Result<Option<Arc<Caller>>, Fault> {
    let Some((token, bearer)) = shown_token(&parts.headers, parts.uri.path())? else {
        return Ok(None);
    };
    let caller = match app.verifier.verify(token).await {
        // It may be for a gateway on the way. Where a token is needed, none is
        // as bad as that.
        Err(TokenError::Invalid) if bearer => return Ok(None),
        judged => judged?,
    };
    let metered = app.meters.request(&caller.user_id, app.clock.now());
    metered.map_err(|wait| Fault::TooMany(retry_after(wait)))?;
    // Access rules of application credentials: what they do not name is as if
    // there were no token.
    if !caller.may_call(SERVICE_TYPE, parts.method.as_str(), parts.uri.path()) {
        return Err(Fault::Unauthorized);
    }
    Ok(Some(caller))
}

impl FromRequest<Arc<App>> for Ask {
    type Rejection = Fault;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Fault> {
        let (mut parts, body) = request.into_parts();
        let app = &match parts.extensions.get::<DryRun>() {
            Some(DryRun) => app.dry_run(),
            None => app.clone(),
        };
        let raw_query = parts.uri.query().map(str::to_owned);
        let query = match &raw_query {
            Some(raw) if raw.len() > MAX_QUERY => {
                return Err(Fault::BadRequest("The query is too long.".into()));
            }
            Some(raw) => parse_query(raw)?,
            None => Vec::new(),
        };
        let params = match RawPathParams::from_request_parts(&mut parts, app).await {
            Ok(params) => params.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            Err(_) => return Err(Fault::BadRequest("The path is not valid UTF-8.".into())),
        };
        let heard = AtomicU64::new(app.revocations.generation());
        let base = parts
            .extensions
            .get::<BaseUrl>()
            .map_or_else(String::new, |b| b.0.clone());
        let caller = caller_of(app, &parts).await?;
        let credentials = match &caller {
            Some(caller) => credentials(app, caller).await?,
            None => Value::Null,
        };
        let source = parts.extensions.get::<Source>().copied();
        let body = body::read(body, app.config.max_body).await?;
        Ok(Self {
            app: app.clone(),
            base,
            path: parts.uri.path().to_owned(),
            headers: parts.headers,
            source,
            raw_query,
            query,
            params,
            caller,
            credentials,
            body,
            method: parts.method,
            request_id: parts.extensions.get::<RequestId>().cloned(),
            passed: Mutex::default(),
            heard,
        })
    }
}

impl Ask {
    /// Whether what a token was made from has changed since, so that it must be
    /// made again, from what is now.
    pub(crate) async fn is_overtaken(&self, token: &Payload) -> Result<bool, StateError> {
        let heard = self.heard.load(Ordering::Relaxed);
        let overtaken = self.app.is_overtaken(token, heard).await?;
        let now = self.app.revocations.generation();
        self.heard.store(now, Ordering::Relaxed);
        Ok(overtaken)
    }

    /// The caller; 401 if nobody showed a token.
    pub(crate) fn caller(&self) -> Result<&Arc<Caller>, Fault> {
        self.caller.as_ref().ok_or(Fault::Unauthorized)
    }

    /// 403 for tokens of a delegation, except those of an application
    /// credential if `or_credential`: such a token must not make what outlives
    /// it or reaches further.
    pub(crate) fn not_delegated(&self, or_credential: bool) -> Result<(), Fault> {
        const REFUSED: &str = "You are not authorized to perform the requested action: managing delegations with a delegated token.";
        match &self.caller()?.delegation {
            Some(Delegation::ApplicationCredential { .. }) if or_credential && !self.by_keys()? => Ok(()),
            _ if !self.is_delegated()? => Ok(()),
            _ => Err(Fault::Forbidden(REFUSED.into())),
        }
    }

    /// Whether the caller's token stands on a delegation: a trust, an
    /// application credential, an OAuth access token, or a pair of keys.
    pub(crate) fn is_delegated(&self) -> Result<bool, Fault> {
        Ok(self.caller()?.delegation.is_some() || self.by_keys()?)
    }

    /// Whether the caller signed in with a pair of keys.
    pub(crate) fn by_keys(&self) -> Result<bool, Fault> {
        Ok(self.caller()?.methods.iter().any(|m| m == "ec2credential"))
    }

    /// 403 for tokens of an application credential that is restricted (unless
    /// it says otherwise, it is).
    pub(crate) async fn unrestricted(&self) -> Result<(), Fault> {
        let Some(Delegation::ApplicationCredential { id, .. }) = &self.caller()?.delegation else {
            return Ok(());
        };
        let found = application_credential::get(&mut self.app.state.reader(), id).await?;
        if found.is_some_and(|c| c.unrestricted) {
            return Ok(());
        }
        Err(Fault::Forbidden(
            "You are not authorized to perform the requested action: Using method 'application_credential' is not \
             allowed for managing additional application credentials."
                .into(),
        ))
    }

    /// Groups that the caller's token carries.
    pub(crate) fn groups(&self) -> Result<Vec<String>, Fault> {
        let token = shown_token(&self.headers, &self.path)?.map_or("", |(token, _)| token);
        let payload = self.app.verifier.inspect(token, Duration::ZERO)?;
        Ok(payload.federation.map(|by| by.groups).unwrap_or_default())
    }

    /// A part of the path.
    pub(crate) fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// A value of the query.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// All pairs of the query.
    pub(crate) fn all_query(&self) -> &[(String, String)] {
        &self.query
    }

    /// A flag of the query: there, and not said to be off.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.query(name)
            .is_some_and(|v| !["0", "false", "no", "off"].contains(&v.to_ascii_lowercase().as_str()))
    }

    /// A header as text; 400 if it is not.
    pub(crate) fn header(&self, name: &str) -> Result<Option<&str>, Fault> {
        let value = self.headers.get(name).map(|v| v.to_str()).transpose();
        value.map_err(|_| Fault::BadRequest(format!("The header {name} is not text.")))
    }

    /// The path, beginning with `/v3`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The URL of this very request.
    pub(crate) fn self_url(&self) -> String {
        match &self.raw_query {
            Some(query) => format!("{}{}?{query}", self.base, self.path),
            None => format!("{}{}", self.base, self.path),
        }
    }

    /// A URL of this API: `path` begins with `/v3`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The body as JSON. It may be said to be nothing else.
    pub(crate) fn json(&self) -> Result<Value, Fault> {
        if self.body.is_empty() {
            return Err(Fault::expecting("valid JSON", "the request body"));
        }
        let kind = self.header("content-type")?.unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.is_empty() && !kind.eq_ignore_ascii_case("application/json") {
            return Err(Fault::expecting("application/json", "Content-Type header"));
        }
        Ok(body::json(&self.body)?)
    }

    /// Appends to the change feed that the caller did this.
    pub(crate) async fn note(
        &self,
        tx: &mut Transaction,
        kind: &str,
        id: &str,
        action: &str,
    ) -> Result<(), StateError> {
        audit::note(self, tx, (kind, id, action), None).await
    }

    /// As [`Ask::note`], for a call without a token by the user `by`, who proved
    /// otherwise who they are.
    pub(crate) async fn note_by(
        &self,
        tx: &mut Transaction,
        what: (&str, &str, &str),
        by: &str,
    ) -> Result<(), StateError> {
        audit::note(self, tx, what, Some(by)).await
    }

    /// The method and path, from where they came, and which request it was: for
    /// the audit.
    pub(crate) fn origin(&self) -> Value {
        json!({
            "method": self.method.as_str(), "path": self.path,
            "address": self.source.map(|s| s.0.to_string()),
            "request_id": self.request_id.as_ref().map(|id| &id.0),
        })
    }

    /// The method.
    pub(crate) fn method(&self) -> &str {
        self.method.as_str()
    }

    /// The pairs of the body, if it is a form.
    pub(crate) fn form(&self) -> Result<Vec<(String, String)>, Fault> {
        let kind = self.header("content-type")?.unwrap_or_default();
        match std::str::from_utf8(&self.body) {
            _ if !kind.starts_with("application/x-www-form-urlencoded") => Ok(Vec::new()),
            Ok(text) => parse_query(text),
            Err(_) => Err(Fault::BadRequest("The form is not text.".into())),
        }
    }

    /// The last rule that let the caller through.
    pub(crate) fn passed(&self) -> Option<audit::Passed> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The object under `key` of the body.
    pub(crate) fn fields(&self, key: &'static str) -> Result<Fields, Fault> {
        Fields::of_body(self.json()?, key)
    }

    /// As [`Ask::fields`], of a PATCH that must change something.
    pub(crate) fn changes(&self, key: &'static str) -> Result<Fields, Fault> {
        let fields = self.fields(key)?;
        fields.not_empty()?;
        Ok(fields)
    }

    /// Asks policy: may the caller do `action` to `target` (what rules know as
    /// `%(target.…)s`)? 401 without a token, 403 if not.
    pub(crate) fn enforce(&self, action: &str, target: Value) -> Result<(), Fault> {
        if self.allowed(action, target)? {
            Ok(())
        } else {
            Err(Fault::Denied(action.to_owned()))
        }
    }

    /// As [`Ask::enforce`], for a thing whose owner is `owner`, whoever the path
    /// names: rules of owners look at the path.
    pub(crate) fn enforce_for(&self, action: &str, owner: &str) -> Result<(), Fault> {
        if self.judge(action, json!({}), Some(owner))? {
            Ok(())
        } else {
            Err(Fault::Denied(action.to_owned()))
        }
    }

    /// As [`Ask::enforce`], but as a question.
    pub(crate) fn allowed(&self, action: &str, target: Value) -> Result<bool, Fault> {
        self.judge(action, target, None)
    }

    fn judge(&self, action: &str, target: Value, owner: Option<&str>) -> Result<bool, Fault> {
        let caller = self.caller()?;
        let rules = self.app.policy.rules();
        debug_assert!(rules.contains(action), "{action} is not a rule");
        let scope = scope_kind(&caller.scope);
        let mut subject = json!({"target": target});
        for (name, value) in &self.params {
            subject[name] = json!(value);
        }
        if let Some(owner) = owner {
            subject["user_id"] = json!(owner);
        }
        if matches!(self.method, Method::GET | Method::HEAD) {
            return Ok(rules.allows(action, scope, &self.credentials, &subject) == Decision::Allowed);
        }
        // What may change something is asked why, too: the audit says it.
        let told = rules.explain(action, scope, &self.credentials, &subject);
        let allowed = told.decision == Decision::Allowed;
        if allowed {
            let passed = audit::Passed::new(action, told.trace.as_ref());
            *self.passed.lock().unwrap_or_else(PoisonError::into_inner) = Some(passed);
        }
        Ok(allowed)
    }
}
