//! `/v3/ec2tokens` and `/v3/s3tokens`: a gateway shows a signed request and
//! learns who signed it. Only services and administrators may ask: who may, may
//! guess at secrets.
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::StatusCode;
use serde_json::Value;
use subtle::ConstantTimeEq;
use virga_node::clock::Micros;
use virga_state::Reader;

use super::ask::Ask;
use super::reply::Reply;
use super::{fields, tokens};
use crate::audit::sign_in;
use crate::auth::AuthError;
use crate::auth::keys::Ec2Key;
use crate::auth::signature::{self, SignedRequest};
use crate::fault::Fault;

/// Base64 for URLs, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn refused(why: &str) -> Fault {
    Fault::Refused(why.to_owned())
}

/// The part of the body that tells the request. Its name differs by client.
fn credentials(ask: &Ask) -> Result<Value, Fault> {
    let body = ask.json()?;
    let names = ["credentials", "credential", "ec2Credentials"];
    let found = names.iter().find_map(|name| body.get(*name));
    let found = found.filter(|c| c.is_object()).cloned();
    found.ok_or_else(|| refused("EC2 Signature not supplied"))
}

async fn key(ask: &Ask, q: &mut Reader, credentials: &Value) -> Result<Ec2Key, Fault> {
    let Some(access) = credentials.get("access").and_then(Value::as_str) else {
        return Err(refused("EC2 Signature not supplied"));
    };
    let found = ask.app.ec2_key(q, access).await?;
    found.ok_or_else(|| Fault::NotFound("EC2 access key not found.".into()))
}

fn same(shown: &str, wanted: Option<String>) -> bool {
    wanted.is_some_and(|wanted| bool::from(wanted.as_bytes().ct_eq(shown.as_bytes())))
}

/// 401 if the request says when it was signed, and that is too long ago (or to
/// come).
fn check_age(ask: &Ask, request: &SignedRequest) -> Result<(), Fault> {
    let Some(stamp) = request.timestamp() else {
        return Ok(());
    };
    let at = fields::parse_time(stamp).ok_or_else(|| refused("Credential timestamp is invalid"))?;
    let allowed = Duration::from_secs(ask.app.config.signature_lifetime);
    let now: Micros = ask.app.clock.now();
    if at.plus(allowed) < now || now.plus(allowed) < at {
        return Err(refused("Credential is expired"));
    }
    Ok(())
}

/// What such a sign-in shows.
fn methods() -> [String; 1] {
    ["ec2credential".to_owned()]
}

async fn issue(ask: &Ask, key: &Ec2Key, mut q: Reader) -> Reply {
    let grant = ask.app.grant_by_key(&mut q, key, true).await;
    let made = grant.and_then(|grant| ask.app.make_token(grant, methods().into(), None, q.as_of()));
    let made = made.map_err(|e| match e {
        AuthError::NotFound(_) | AuthError::Forbidden(_) => {
            AuthError::Refused("what the key stands on is void")
        }
        other => other,
    });
    let made = sign_in::note(ask, Some(&key.user_id), &methods(), made).await?;
    tokens::made(ask, StatusCode::OK, &made.0, &made.1).await
}

/// What is told of a signature that is wrong; the audit hears of it too.
async fn wrong(ask: &Ask, key: &Ec2Key, told: &str) -> Fault {
    let error = AuthError::Refused("the signature is wrong");
    sign_in::refuse(ask, Some(&key.user_id), &methods(), error).await;
    refused(told)
}

/// `POST /v3/ec2tokens`.
pub(crate) async fn ec2(ask: Ask) -> Reply {
    ask.enforce("identity:ec2tokens_validate", Value::Null)?;
    let mut q = ask.app.state.reader();
    let credentials = credentials(&ask)?;
    let key = key(&ask, &mut q, &credentials).await?;
    let Some(shown) = credentials.get("signature").and_then(Value::as_str) else {
        return Err(refused("EC2 signature not supplied."));
    };
    let request = SignedRequest::read(&credentials);
    let bare = request.without_port();
    let good = same(shown, request.signature(&key.secret))
        || bare.is_some_and(|bare| same(shown, bare.signature(&key.secret)));
    if !good {
        return Err(wrong(&ask, &key, "Invalid EC2 signature.").await);
    }
    check_age(&ask, &request)?;
    issue(&ask, &key, q).await
}

/// `POST /v3/s3tokens`: the gateway has put the string to sign together. The
/// token itself is not told.
pub(crate) async fn s3(ask: Ask) -> Reply {
    ask.enforce("identity:s3tokens_validate", Value::Null)?;
    let mut q = ask.app.state.reader();
    let credentials = credentials(&ask)?;
    let key = key(&ask, &mut q, &credentials).await?;
    let text = |name: &str| credentials.get(name).and_then(Value::as_str);
    let (Some(shown), Some(to_sign)) = (text("signature"), text("token")) else {
        return Err(Fault::expecting("signature and token", "credentials"));
    };
    let to_sign = BASE64.decode(to_sign.trim());
    let to_sign = to_sign.map_err(|_| Fault::BadRequest("The token is not valid base64.".into()))?;
    if !same(shown, signature::of_string(&to_sign, &key.secret)) {
        return Err(wrong(&ask, &key, "Credential signature mismatch").await);
    }
    check_age(&ask, &SignedRequest::read(&credentials))?;
    let mut response = issue(&ask, &key, q).await?;
    response.headers_mut().remove("x-subject-token");
    Ok(response)
}
