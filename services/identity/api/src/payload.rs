//! What is inside a token.
//!
//! Our own version carries the role names, so that anyone with the keys knows
//! what the caller may do without asking identity. Keystone's versions are read
//! too, and written if asked ([`crate::keystone`]): a cloud that takes over
//! Keystone's keys takes over its live tokens. Those, and tokens whose roles
//! would make them too long, leave the roles to be asked for.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use virga_node::clock::Micros;

use crate::caller::{Delegation, Scope};
use crate::fernet::Opened;
use crate::keys::KeyRing;
use crate::keystone;
use crate::msgpack::Value;
use crate::verify::TokenError;

/// Longest token text: what clients and their databases keep room for. Those
/// of federated users, who carry their groups, and signed ones are longer.
pub const MAX_TOKEN: usize = 255;
/// Longest token text that is looked at.
pub const MAX_SHOWN: usize = 8 * 1024;
/// Groups that a token carries at most.
pub const MAX_GROUPS: usize = 60;
/// Our payload version; Keystone's own count up from 0.
const OWN: u64 = 0x56;
/// Methods in the order of Keystone's bits.
const METHODS: [&str; 10] = [
    "external",
    "password",
    "token",
    "oauth1",
    "mapped",
    "application_credential",
    "ec2credential",
    "totp",
    "openid",
    "saml2",
];
/// Roles that every cloud has: one bit each instead of their names.
const USUAL_ROLES: [&str; 5] = ["admin", "manager", "member", "reader", "service"];

/// What an identity provider said of a user, and which it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Federation {
    /// Id of the identity provider.
    pub identity_provider: String,
    /// Id of the protocol.
    pub protocol: String,
    /// Ids of the groups that the mapping gave; at most [`MAX_GROUPS`].
    pub groups: Vec<String>,
}

/// The content of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// The user's id.
    pub user_id: String,
    /// How the user proved who they are.
    pub methods: Vec<String>,
    /// What the token is good for.
    pub scope: Scope,
    /// When it was made.
    pub issued_at: Micros,
    /// When it ends; whole seconds.
    pub expires_at: Micros,
    /// Its own audit id, then the first of its chain if it has one.
    pub audit_ids: Vec<String>,
    /// Names of the roles, implied ones included; `None` if they are to be
    /// asked for.
    pub roles: Option<Vec<String>>,
    /// What it was made by, if not by the user in person.
    pub delegation: Option<Delegation>,
    /// Where the user signed in, if not here.
    pub federation: Option<Federation>,
    /// Who was given the token, if not the user: the trustee of a trust that
    /// impersonates. Keystone's layouts name this user; ours leaves it out.
    pub presented_by: Option<String>,
}

/// An audit id: 16 random bytes in base64url.
pub fn new_audit_id() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The method under which a sign-in by this protocol shows in tokens: its own
/// name where that is usual, else the method of all federation.
pub fn method_of_protocol(protocol: &str) -> &'static str {
    let own = ["openid", "saml2"].into_iter().find(|m| *m == protocol);
    own.unwrap_or("mapped")
}

/// The bytes of an id that is so many digits of lower case hex.
pub(crate) fn hex_bytes(id: &str, digits: usize) -> Option<Vec<u8>> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let hex = id.len() == digits && id.bytes().all(lower);
    hex::decode(id).ok().filter(|_| hex)
}

/// Ids that are 32 or 64 digits of hex (those of users from elsewhere) travel
/// as their bytes.
fn pack_id(id: &str) -> Value {
    let bytes = hex_bytes(id, 32).or_else(|| hex_bytes(id, 64));
    bytes.map_or_else(|| Value::Text(id.to_owned()), Value::Bytes)
}

pub(crate) fn unpack_id(value: &Value) -> Option<String> {
    match value {
        Value::Bytes(bytes) if bytes.len() == 16 || bytes.len() == 32 => Some(hex::encode(bytes)),
        Value::Text(text) => Some(text.clone()),
        Value::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
        // Keystone's pair: whether the id was a UUID, and it.
        Value::Array(pair) => match pair.as_slice() {
            // A string of 16 bytes that happens to be UTF-8 is still a UUID.
            [Value::Bool(true), Value::Text(raw)] if raw.len() == 16 => Some(hex::encode(raw.as_bytes())),
            [Value::Bool(true), Value::Bytes(raw)] if raw.len() == 16 => Some(hex::encode(raw)),
            [Value::Bool(false), Value::Text(text)] => Some(text.clone()),
            [Value::Bool(false), Value::Bytes(raw)] => String::from_utf8(raw.clone()).ok(),
            _ => None,
        },
        _ => None,
    }
}

pub(crate) fn pack_methods(methods: &[String]) -> Value {
    let bits = METHODS
        .iter()
        .enumerate()
        .filter(|(_, m)| methods.iter().any(|have| have == *m));
    Value::Int(bits.fold(0, |all, (bit, _)| all | 1 << bit))
}

pub(crate) fn unpack_methods(value: &Value) -> Option<Vec<String>> {
    let Value::Int(bits) = value else { return None };
    let known = METHODS.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
    let mut methods: Vec<String> = known.map(|(_, method)| (*method).to_owned()).collect();
    // An exchange for another token is always the last that was shown.
    methods.sort_by_key(|method| method == "token");
    Some(methods)
}

/// Audit ids as the bytes they stand for.
pub(crate) fn pack_audit_ids(ids: &[String]) -> Value {
    let raw = |id: &String| {
        let raw = URL_SAFE_NO_PAD.decode(id);
        Value::Bytes(raw.unwrap_or_else(|_| id.as_bytes().to_vec()))
    };
    Value::Array(ids.iter().map(raw).collect())
}

pub(crate) fn unpack_audit_ids(value: &Value) -> Option<Vec<String>> {
    let Value::Array(items) = value else { return None };
    let one = |item: &Value| match item {
        Value::Bytes(raw) => Some(URL_SAFE_NO_PAD.encode(raw)),
        Value::Text(raw) => Some(URL_SAFE_NO_PAD.encode(raw.as_bytes())),
        _ => None,
    };
    (!items.is_empty()).then(|| items.iter().map(one).collect())?
}

/// Kind and id: 0 for an application credential, 1 for one with access rules,
/// 2 for a trust, 3 for an access token.
fn pack_delegation(delegation: &Delegation) -> Value {
    let kind = match delegation {
        Delegation::ApplicationCredential { ruled, .. } => u64::from(*ruled),
        Delegation::Trust { .. } => 2,
        Delegation::AccessToken { .. } => 3,
    };
    Value::Array(vec![Value::Int(kind), pack_id(delegation.id())])
}

fn unpack_delegation(value: &Value) -> Option<Delegation> {
    let Value::Array(pair) = value else { return None };
    let [Value::Int(kind), id] = pair.as_slice() else {
        return None;
    };
    let id = unpack_id(id)?;
    match kind {
        0 | 1 => Some(Delegation::ApplicationCredential {
            id,
            ruled: *kind == 1,
        }),
        2 => Some(Delegation::Trust { id }),
        3 => Some(Delegation::AccessToken { id }),
        _ => None,
    }
}

fn pack_federation(federation: &Federation) -> Value {
    let groups = federation.groups.iter().map(|id| pack_id(id));
    Value::Array(vec![
        pack_id(&federation.identity_provider),
        Value::Text(federation.protocol.clone()),
        Value::Array(groups.collect()),
    ])
}

fn unpack_federation(value: &Value) -> Option<Federation> {
    let Value::Array(parts) = value else { return None };
    let [provider, Value::Text(protocol), Value::Array(groups)] = parts.as_slice() else {
        return None;
    };
    Some(Federation {
        identity_provider: unpack_id(provider)?,
        protocol: protocol.clone(),
        groups: groups.iter().map(unpack_id).collect::<Option<_>>()?,
    })
}

fn pack_roles(roles: &[String]) -> Value {
    let bits = USUAL_ROLES
        .iter()
        .enumerate()
        .filter(|(_, r)| roles.iter().any(|have| have == *r));
    let mut items = vec![Value::Int(bits.fold(0, |all, (bit, _)| all | 1 << bit))];
    let others = roles.iter().filter(|r| !USUAL_ROLES.contains(&r.as_str()));
    items.extend(others.map(|r| Value::Text(r.clone())));
    Value::Array(items)
}

fn unpack_roles(value: &Value) -> Option<Option<Vec<String>>> {
    let items = match value {
        Value::Nil => return Some(None),
        Value::Array(items) => items,
        _ => return None,
    };
    let Some((Value::Int(bits), others)) = items.split_first() else {
        return None;
    };
    let usual = USUAL_ROLES
        .iter()
        .enumerate()
        .filter(|(bit, _)| bits >> bit & 1 == 1);
    let mut roles: Vec<String> = usual.map(|(_, r)| (*r).to_owned()).collect();
    for other in others {
        let Value::Text(name) = other else { return None };
        roles.push(name.clone());
    }
    Some(Some(roles))
}

impl Payload {
    /// The token's own audit id.
    pub fn audit_id(&self) -> &str {
        self.audit_ids.first().map_or("", String::as_str)
    }

    /// The audit id that the token's chain began with.
    pub fn chain_id(&self) -> &str {
        self.audit_ids.last().map_or("", String::as_str)
    }

    fn encode(&self, with_roles: bool) -> Vec<u8> {
        let (kind, scope) = match &self.scope {
            Scope::Unscoped => (0, Value::Nil),
            Scope::Project(id) => (1, pack_id(id)),
            Scope::Domain(id) => (2, pack_id(id)),
            Scope::System => (3, Value::Nil),
        };
        let roles = self
            .roles
            .as_deref()
            .filter(|_| with_roles)
            .map_or(Value::Nil, pack_roles);
        let lifetime = self.expires_at.as_secs().saturating_sub(self.issued_at.as_secs());
        let mut out = Vec::with_capacity(128);
        let mut items = vec![
            Value::Int(OWN),
            pack_id(&self.user_id),
            pack_methods(&self.methods),
            Value::Int(kind),
            scope,
            Value::Int(self.issued_at.0 % 1_000_000),
            Value::Int(lifetime),
            pack_audit_ids(&self.audit_ids),
            roles,
        ];
        match (&self.delegation, &self.federation) {
            (None, None) => {}
            (Some(delegation), None) => items.push(pack_delegation(delegation)),
            (delegation, Some(federation)) => {
                items.push(delegation.as_ref().map_or(Value::Nil, pack_delegation));
                items.push(pack_federation(federation));
            }
        }
        Value::Array(items).encode(&mut out);
        out
    }

    /// Seals the payload. The roles are left out when the text would be longer
    /// than [`MAX_TOKEN`].
    pub fn seal(&self, keys: &KeyRing) -> Result<String, getrandom::Error> {
        let at = self.issued_at.as_secs();
        let token = keys.seal(&self.encode(true), at)?;
        if token.len() <= MAX_TOKEN || self.roles.is_none() {
            return Ok(token);
        }
        keys.seal(&self.encode(false), at)
    }

    /// Seals the payload in Keystone's layout, for a cloud in which a Keystone
    /// shares the keys. Such a token carries no roles.
    pub fn seal_for_keystone(&self, keys: &KeyRing) -> Result<String, getrandom::Error> {
        keys.seal(&keystone::encode(self), self.issued_at.as_secs())
    }

    /// Opens a token. Says nothing about whether its time is over.
    pub fn open(keys: &KeyRing, token: &str) -> Result<Self, TokenError> {
        let opened = keys.open_text(token).map_err(|_| TokenError::Invalid)?;
        Self::decode(&opened).ok_or(TokenError::Invalid)
    }

    fn decode(opened: &Opened) -> Option<Self> {
        let Value::Array(items) = Value::decode(&opened.content)? else {
            return None;
        };
        match items.as_slice() {
            [Value::Int(OWN), own @ ..] => Self::decode_own(opened.sealed_at, own),
            [Value::Int(version), theirs @ ..] => keystone::decode(opened.sealed_at, *version, theirs),
            _ => None,
        }
    }

    fn decode_own(sealed_at: u64, items: &[Value]) -> Option<Self> {
        // Tokens of a delegation have one part more, those of users from
        // elsewhere two.
        let (items, delegation, federation) = match items.split_at_checked(8)? {
            (items, []) => (items, None, None),
            (items, [delegation]) => (items, Some(unpack_delegation(delegation)?), None),
            (items, [Value::Nil, federation]) => (items, None, Some(unpack_federation(federation)?)),
            (items, [delegation, federation]) => (
                items,
                Some(unpack_delegation(delegation)?),
                Some(unpack_federation(federation)?),
            ),
            _ => return None,
        };
        let [
            user,
            methods,
            Value::Int(kind),
            scope,
            Value::Int(micros),
            Value::Int(lifetime),
            audit,
            roles,
        ] = items
        else {
            return None;
        };
        let scope = match kind {
            0 => Scope::Unscoped,
            1 => Scope::Project(unpack_id(scope)?),
            2 => Scope::Domain(unpack_id(scope)?),
            3 => Scope::System,
            _ => return None,
        };
        let issued_at = Micros(sealed_at.checked_mul(1_000_000)?.checked_add(*micros)?);
        Some(Self {
            user_id: unpack_id(user)?,
            methods: unpack_methods(methods)?,
            scope,
            issued_at,
            expires_at: Micros(sealed_at.checked_add(*lifetime)?.checked_mul(1_000_000)?),
            audit_ids: unpack_audit_ids(audit)?,
            roles: unpack_roles(roles)?,
            delegation,
            federation,
            presented_by: None,
        })
    }
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
