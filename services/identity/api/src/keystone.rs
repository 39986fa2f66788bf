//! Token contents in Keystone's own layouts, so that a Keystone that shares the
//! Fernet keys reads our tokens and we read its.
//!
//! A content is an array that begins with the version: 0 unscoped, 1 domain,
//! 2 project, 3 trust, 4 to 6 federated (unscoped, project, domain), 7 OAuth
//! access token, 8 system, 9 application credential. Version 10 (certificates
//! of OAuth 2.0 clients) is not known here. None carries roles. Called by
//! [`crate::payload`] only.
use std::time::Duration;

use virga_node::clock::Micros;

use crate::caller::{Delegation, Scope};
use crate::msgpack::Value;
use crate::payload::{
    Federation, Payload, hex_bytes, pack_audit_ids, pack_methods, unpack_audit_ids, unpack_id, unpack_methods,
};

/// Methods that Keystone has no bit for unless it is configured: what it knows
/// them as.
const FEDERATED: [&str; 2] = ["openid", "saml2"];

/// A pair: whether the id is a UUID, and its bytes or its text.
pub(crate) fn pair(id: Option<&str>) -> Value {
    Value::Array(match (id.and_then(|id| hex_bytes(id, 32)), id) {
        (Some(bytes), _) => vec![Value::Bool(true), Value::Bytes(bytes)],
        (None, Some(text)) => vec![Value::Bool(false), Value::Text(text.to_owned())],
        (None, None) => vec![Value::Bool(false), Value::Nil],
    })
}

/// A pair that may hold nothing.
fn unpack_maybe(value: &Value) -> Option<Option<String>> {
    match value {
        Value::Array(pair) if matches!(pair.as_slice(), [Value::Bool(false), Value::Nil]) => Some(None),
        other => unpack_id(other).map(Some),
    }
}

/// Whole microseconds would not survive a float of the seconds of a far date,
/// but they do for centuries.
#[allow(
    clippy::cast_precision_loss,
    reason = "53 bits hold the microseconds until 2255"
)]
pub(crate) fn pack_time(at: Micros) -> Value {
    Value::Float(at.0 as f64 / 1e6)
}

pub(crate) fn unpack_time(value: &Value) -> Option<Micros> {
    let seconds = match value {
        Value::Float(seconds) => Duration::try_from_secs_f64(*seconds).ok()?,
        Value::Int(seconds) => Duration::from_secs(*seconds),
        _ => return None,
    };
    // The float is the nearest to the microsecond that was meant.
    let nanos = seconds.as_nanos().checked_add(500)?;
    u64::try_from(nanos / 1000).ok().map(Micros)
}

/// The bits of the methods; those of federation all count as "mapped".
fn methods(token: &Payload) -> Value {
    let mut names = token.methods.clone();
    for name in &mut names {
        if FEDERATED.contains(&name.as_str()) {
            "mapped".clone_into(name);
        }
    }
    pack_methods(&names)
}

/// The content of a token.
pub(crate) fn encode(token: &Payload) -> Vec<u8> {
    let user = pair(Some(token.presented_by.as_deref().unwrap_or(&token.user_id)));
    let (project, domain) = match &token.scope {
        Scope::Project(id) => (Some(id.as_str()), None),
        Scope::Domain(id) => (None, Some(id.as_str())),
        Scope::Unscoped | Scope::System => (None, None),
    };
    let mut items = vec![user, methods(token)];
    let (expires, audit) = (pack_time(token.expires_at), pack_audit_ids(&token.audit_ids));
    let version = match (&token.delegation, &token.federation, &token.scope) {
        (Some(Delegation::AccessToken { id }), ..) => {
            items.extend([pair(project), pair(Some(id)), expires, audit]);
            7
        }
        (Some(Delegation::Trust { id }), ..) => {
            let trust = hex_bytes(id, 32).map_or(Value::Text(id.clone()), Value::Bytes);
            items.extend([pair(project), expires, audit, trust]);
            3
        }
        (Some(Delegation::ApplicationCredential { id, .. }), ..) => {
            items.extend([pair(project), expires, audit, pair(Some(id))]);
            9
        }
        // Keystone keeps no groups for the scope of the whole cloud either.
        (None, Some(by), Scope::Unscoped | Scope::Project(_) | Scope::Domain(_)) => {
            let scope = project.or(domain);
            items.extend(scope.map(|id| pair(Some(id))));
            items.push(Value::Array(by.groups.iter().map(|id| pair(Some(id))).collect()));
            items.extend([
                pair(Some(&by.identity_provider)),
                Value::Text(by.protocol.clone()),
                expires,
                audit,
            ]);
            match &token.scope {
                Scope::Project(_) => 5,
                Scope::Domain(_) => 6,
                Scope::Unscoped | Scope::System => 4,
            }
        }
        (None, _, Scope::Unscoped) => {
            items.extend([expires, audit]);
            0
        }
        (None, _, Scope::Domain(id)) => {
            let bytes = hex_bytes(id, 32).map_or(Value::Text(id.clone()), Value::Bytes);
            items.extend([bytes, expires, audit]);
            1
        }
        (None, _, Scope::Project(id)) => {
            items.extend([pair(Some(id)), expires, audit]);
            2
        }
        (None, _, Scope::System) => {
            items.extend([Value::Text("all".into()), expires, audit]);
            8
        }
    };
    items.insert(0, Value::Int(version));
    let mut out = Vec::with_capacity(128);
    Value::Array(items).encode(&mut out);
    out
}

fn unpack_groups(value: &Value) -> Option<Vec<String>> {
    let Value::Array(groups) = value else { return None };
    groups.iter().map(unpack_id).collect()
}

fn unpack_federation(groups: &Value, provider: &Value, protocol: &Value) -> Option<Option<Federation>> {
    Some(Some(Federation {
        groups: unpack_groups(groups)?,
        identity_provider: unpack_id(provider)?,
        protocol: match protocol {
            Value::Text(name) => name.clone(),
            _ => return None,
        },
    }))
}

/// The parts that follow user and methods, whichever the version has.
struct Parts<'v> {
    scope: Scope,
    delegation: Option<Delegation>,
    federation: Option<Federation>,
    expires: &'v Value,
    audit: &'v Value,
}

fn parts(version: u64, rest: &[Value]) -> Option<Parts<'_>> {
    let of_project = |value: &Value| Some(unpack_maybe(value)?.map_or(Scope::Unscoped, Scope::Project));
    let (scope, delegation, federation, expires, audit) = match (version, rest) {
        (0, [expires, audit]) => (Scope::Unscoped, None, None, expires, audit),
        (1, [domain, expires, audit]) => (Scope::Domain(unpack_id(domain)?), None, None, expires, audit),
        (2, [project, expires, audit]) => (Scope::Project(unpack_id(project)?), None, None, expires, audit),
        (3, [project, expires, audit, trust]) => {
            let trust = Delegation::Trust {
                id: unpack_id(trust)?,
            };
            (of_project(project)?, Some(trust), None, expires, audit)
        }
        (4, [groups, provider, protocol, expires, audit]) => {
            let by = unpack_federation(groups, provider, protocol)?;
            (Scope::Unscoped, None, by, expires, audit)
        }
        (5 | 6, [scope, groups, provider, protocol, expires, audit]) => {
            let id = unpack_id(scope)?;
            let scope = if version == 5 {
                Scope::Project(id)
            } else {
                Scope::Domain(id)
            };
            let by = unpack_federation(groups, provider, protocol)?;
            (scope, None, by, expires, audit)
        }
        (7, [project, token, expires, audit]) => {
            let token = Delegation::AccessToken {
                id: unpack_id(token)?,
            };
            (of_project(project)?, Some(token), None, expires, audit)
        }
        (8, [_, expires, audit]) => (Scope::System, None, None, expires, audit),
        (9, [project, expires, audit, credential]) => {
            // Whether it has access rules is not said, so they are asked for.
            let credential = Delegation::ApplicationCredential {
                id: unpack_id(credential)?,
                ruled: true,
            };
            (of_project(project)?, Some(credential), None, expires, audit)
        }
        _ => return None,
    };
    Some(Parts {
        scope,
        delegation,
        federation,
        expires,
        audit,
    })
}

/// Reads a content whose first item was `version`; `sealed_at` are the seconds
/// that the seal names.
pub(crate) fn decode(sealed_at: u64, version: u64, items: &[Value]) -> Option<Payload> {
    let [user, methods, rest @ ..] = items else {
        return None;
    };
    let parts = parts(version, rest)?;
    Some(Payload {
        user_id: unpack_id(user)?,
        methods: unpack_methods(methods)?,
        scope: parts.scope,
        issued_at: Micros(sealed_at.checked_mul(1_000_000)?),
        expires_at: unpack_time(parts.expires)?,
        audit_ids: unpack_audit_ids(parts.audit)?,
        roles: None,
        delegation: parts.delegation,
        federation: parts.federation,
        presented_by: None,
    })
}

#[cfg(test)]
#[path = "keystone_tests.rs"]
mod tests;
