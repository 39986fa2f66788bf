//! Signed tokens, the second kind: what Keystone makes with `[token] provider =
//! jws`, and the folder of their keys.
//!
//! `private/private.pem` signs; every file `public/*.pem` checks, so a host that
//! only verifies gets a copy of `public` and can make no tokens. Both are PEM as
//! Keystone's `create_jws_keypair` writes them. `private/next.pem` is the key
//! that will sign after the next rotation: its public half is out already, so
//! copying `public` some time before or after a rotation breaks nothing. Files
//! of our own making are named by numbers that count up.
//!
//! Our tokens carry a few claims more than Keystone's, which skips them: the
//! names of the roles, so that nobody needs to be asked, and the microsecond.
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Map, Value, json};
use virga_node::clock::Micros;
use zeroize::Zeroizing;

use crate::caller::{Delegation, Scope};
use crate::jws::{Compact, PublicKey, assemble};
use crate::keys::{KeyError, file_error, private_folder, write_private};
use crate::payload::{Federation, MAX_GROUPS, Payload};
use crate::verify::TokenError;

/// What comes before the point in a public key file (SubjectPublicKeyInfo of
/// P-256).
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The bytes of the one block of a PEM file that is named `label`.
fn from_pem(text: &str, label: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    let body = text.split_once(&begin)?.1.split_once(&end)?.0;
    let body: Zeroizing<String> = Zeroizing::new(body.split_whitespace().collect());
    STANDARD.decode(&*body).ok().map(Zeroizing::new)
}

fn to_pem(bytes: &[u8], label: &str) -> Zeroizing<String> {
    let text = Zeroizing::new(STANDARD.encode(bytes));
    let mut pem = Zeroizing::new(format!("-----BEGIN {label}-----\n"));
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

fn read_public(text: &str) -> Option<PublicKey> {
    let der = from_pem(text, "PUBLIC KEY")?;
    let point = der.strip_prefix(&SPKI)?;
    Some(PublicKey::P256(point.try_into().ok()?))
}

/// The keys at one moment.
#[derive(Debug)]
struct Keys {
    private: Option<EcdsaKeyPair>,
    public: Vec<PublicKey>,
}

/// A folder of keys, and what was read of it.
#[derive(Debug)]
pub struct JwsKeys {
    dir: PathBuf,
    max_active: usize,
    keys: ArcSwap<Keys>,
    /// How often they were read again.
    generation: AtomicU64,
}

impl JwsKeys {
    /// The keys in `dir`, of which rotation keeps `max_active` at most (2 at
    /// least); there must be a public one.
    pub fn open(dir: impl Into<PathBuf>, max_active: usize) -> Result<Self, KeyError> {
        let dir = dir.into();
        let keys = ArcSwap::from_pointee(read(&dir)?);
        Ok(Self {
            dir,
            max_active: max_active.max(2),
            keys,
            generation: AtomicU64::default(),
        })
    }

    /// Whether there is such a folder.
    pub fn exist(dir: &Path) -> bool {
        dir.join("public").is_dir()
    }

    /// As [`JwsKeys::open`]; makes the folder and keys if nothing signs there.
    pub fn open_or_create(dir: impl Into<PathBuf>, max_active: usize) -> Result<Self, KeyError> {
        let dir = dir.into();
        for part in ["private", "public"] {
            private_folder(&dir.join(part))?;
        }
        if !dir.join("private/private.pem").exists() {
            rotate(&dir, max_active)?;
        }
        Self::open(dir, max_active)
    }

    /// Whether a private key is there, so that tokens can be made.
    pub fn can_sign(&self) -> bool {
        self.keys.load().private.is_some()
    }

    /// Reads the folder again. On an error the keys in use stay.
    pub fn reload(&self) -> Result<(), KeyError> {
        self.keys.store(Arc::new(read(&self.dir)?));
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Grows whenever the keys are read again.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The next key becomes the one that signs, another is made to be the next,
    /// the oldest public keys beyond the limit go.
    pub fn rotate(&self) -> Result<(), KeyError> {
        rotate(&self.dir, self.max_active)?;
        self.reload()
    }

    /// Signs a token.
    pub fn sign(&self, token: &Payload) -> Result<String, KeyError> {
        let keys = self.keys.load();
        let Some(private) = &keys.private else {
            return Err(KeyError::Empty(self.dir.join("private")));
        };
        assemble(&claims(token), |signed| {
            let signature = private.sign(&SystemRandom::new(), signed);
            signature
                .map(|s| s.as_ref().to_vec())
                .map_err(|_| KeyError::Random(getrandom::Error::UNEXPECTED))
        })
    }

    /// Opens a token that any of the public keys checks. Says nothing about
    /// whether its time is over.
    pub fn open_token(&self, text: &str) -> Result<Payload, TokenError> {
        let compact = Compact::parse(text).ok_or(TokenError::Invalid)?;
        let keys = self.keys.load();
        let claims = keys.public.iter().find_map(|key| compact.claims(key));
        claims
            .and_then(|claims| payload(&claims))
            .ok_or(TokenError::Invalid)
    }
}

/// Numbers of the public keys made here, and the names of all.
fn public_files(dir: &Path) -> Result<(Vec<u64>, Vec<PathBuf>), KeyError> {
    let public = dir.join("public");
    let (mut numbers, mut paths) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(&public).map_err(file_error(&public))? {
        let path = entry.map_err(file_error(&public))?.path();
        if path.extension().is_none_or(|e| e != "pem") {
            continue;
        }
        let stem = path.file_stem().and_then(|s| s.to_str());
        numbers.extend(stem.and_then(|s| s.parse::<u64>().ok()));
        paths.push(path);
    }
    numbers.sort_unstable();
    paths.sort();
    Ok((numbers, paths))
}

fn read(dir: &Path) -> Result<Keys, KeyError> {
    let (_, paths) = public_files(dir)?;
    let mut public = Vec::with_capacity(paths.len());
    for path in paths {
        let text = fs::read_to_string(&path).map_err(file_error(&path))?;
        public.push(read_public(&text).ok_or(KeyError::NotAPem(path))?);
    }
    if public.is_empty() {
        return Err(KeyError::Empty(dir.join("public")));
    }
    let path = dir.join("private/private.pem");
    let private = if path.exists() {
        let text = Zeroizing::new(fs::read_to_string(&path).map_err(file_error(&path))?);
        let der = from_pem(&text, "PRIVATE KEY");
        let pair = der.and_then(|der| {
            let random = SystemRandom::new();
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random).ok()
        });
        Some(pair.ok_or(KeyError::NotAPem(path))?)
    } else {
        None
    };
    Ok(Keys { private, public })
}

/// Makes a pair: the public half is on disk before the private one.
fn make(dir: &Path, private: &str) -> Result<(), KeyError> {
    let random = SystemRandom::new();
    let failed = |_| KeyError::Random(getrandom::Error::UNEXPECTED);
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).map_err(failed)?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random);
    let pair = pair.map_err(|_| KeyError::NotAPem(dir.join(private)))?;
    let spki = [SPKI.as_slice(), pair.public_key().as_ref()].concat();
    let number = public_files(dir)?.0.last().map_or(1, |n| n + 1);
    write_private(
        &dir.join("public"),
        &format!("{number}.pem"),
        &to_pem(&spki, "PUBLIC KEY"),
    )?;
    write_private(
        &dir.join("private"),
        private,
        &to_pem(der.as_ref(), "PRIVATE KEY"),
    )
}

fn rotate(dir: &Path, max_active: usize) -> Result<(), KeyError> {
    let (next, current) = (dir.join("private/next.pem"), dir.join("private/private.pem"));
    if next.exists() {
        fs::rename(&next, &current).map_err(file_error(&current))?;
    } else {
        make(dir, "private.pem")?;
    }
    make(dir, "next.pem")?;
    let numbers = public_files(dir)?.0;
    let surplus = numbers.len().saturating_sub(max_active.max(2));
    for number in numbers.iter().take(surplus) {
        let path = dir.join(format!("public/{number}.pem"));
        fs::remove_file(&path).map_err(file_error(&path))?;
    }
    Ok(())
}

/// The claims of a token.
fn claims(token: &Payload) -> Value {
    let mut claims = json!({
        "sub": token.presented_by.as_ref().unwrap_or(&token.user_id),
        "iat": token.issued_at.as_secs(),
        "exp": token.expires_at.as_secs(),
        "openstack_methods": token.methods,
        "openstack_audit_ids": token.audit_ids,
        "virga_micros": token.issued_at.0 % 1_000_000,
    });
    match &token.scope {
        Scope::Unscoped => {}
        Scope::Project(id) => claims["openstack_project_id"] = json!(id),
        Scope::Domain(id) => claims["openstack_domain_id"] = json!(id),
        Scope::System => claims["openstack_system"] = json!("all"),
    }
    match &token.delegation {
        None => {}
        Some(Delegation::Trust { id }) => claims["openstack_trust_id"] = json!(id),
        Some(Delegation::AccessToken { id }) => claims["openstack_access_token_id"] = json!(id),
        Some(Delegation::ApplicationCredential { id, ruled }) => {
            claims["openstack_app_cred_id"] = json!(id);
            claims["virga_ruled"] = json!(ruled);
        }
    }
    if let Some(by) = &token.federation {
        let groups: Vec<Value> = by.groups.iter().map(|id| json!({"id": id})).collect();
        claims["openstack_group_ids"] = json!(groups);
        claims["openstack_idp_id"] = json!(by.identity_provider);
        claims["openstack_protocol_id"] = json!(by.protocol);
    }
    if token.presented_by.is_some() {
        claims["virga_user_id"] = json!(token.user_id);
    }
    if let Some(roles) = &token.roles {
        claims["virga_roles"] = json!(roles);
    }
    claims
}

/// Text claims; the outer `None` is a claim of another type.
fn text(claims: &Map<String, Value>, name: &str) -> Option<Option<String>> {
    match claims.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) => Some(Some(text.clone())),
        Some(_) => None,
    }
}

fn texts(claims: &Map<String, Value>, name: &str) -> Option<Vec<String>> {
    let items = claims.get(name)?.as_array()?;
    items
        .iter()
        .map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn scope(claims: &Map<String, Value>) -> Option<Scope> {
    let project = text(claims, "openstack_project_id")?;
    let domain = text(claims, "openstack_domain_id")?;
    Some(match (project, domain, text(claims, "openstack_system")?) {
        (None, None, None) => Scope::Unscoped,
        (Some(id), None, None) => Scope::Project(id),
        (None, Some(id), None) => Scope::Domain(id),
        (None, None, Some(_)) => Scope::System,
        _ => return None,
    })
}

fn delegation(claims: &Map<String, Value>) -> Option<Option<Delegation>> {
    let trust = text(claims, "openstack_trust_id")?;
    let access = text(claims, "openstack_access_token_id")?;
    Some(match (text(claims, "openstack_app_cred_id")?, trust, access) {
        (None, None, None) => None,
        (Some(id), None, None) => Some(Delegation::ApplicationCredential {
            id,
            // Keystone's do not say, so the rules are asked for.
            ruled: claims.get("virga_ruled") != Some(&json!(false)),
        }),
        (None, Some(id), None) => Some(Delegation::Trust { id }),
        (None, None, Some(id)) => Some(Delegation::AccessToken { id }),
        _ => return None,
    })
}

fn federation(claims: &Map<String, Value>) -> Option<Option<Federation>> {
    let provider = text(claims, "openstack_idp_id")?;
    let (Some(identity_provider), Some(protocol)) = (provider, text(claims, "openstack_protocol_id")?) else {
        return Some(None);
    };
    let groups = match claims.get("openstack_group_ids") {
        None => Vec::new(),
        Some(groups) => {
            let id = |group: &Value| group.get("id")?.as_str().map(str::to_owned);
            groups.as_array()?.iter().map(id).collect::<Option<_>>()?
        }
    };
    (groups.len() <= MAX_GROUPS).then_some(Some(Federation {
        identity_provider,
        protocol,
        groups,
    }))
}

/// What the claims say. `None` if they are not a token's, or of a kind that is
/// not known here (bound to a client's certificate).
fn payload(claims: &Map<String, Value>) -> Option<Payload> {
    if claims.contains_key("openstack_thumbprint") {
        return None;
    }
    let seconds = |name: &str| claims.get(name)?.as_u64()?.checked_mul(1_000_000);
    let micros = claims.get("virga_micros").and_then(Value::as_u64).unwrap_or(0);
    let subject = text(claims, "sub")??;
    let user = text(claims, "virga_user_id")?;
    let audit_ids = texts(claims, "openstack_audit_ids").filter(|ids| !ids.is_empty())?;
    let roles = match claims.get("virga_roles") {
        None => None,
        Some(_) => Some(texts(claims, "virga_roles")?),
    };
    Some(Payload {
        presented_by: user.is_some().then(|| subject.clone()),
        user_id: user.unwrap_or(subject),
        methods: texts(claims, "openstack_methods")?,
        scope: scope(claims)?,
        issued_at: Micros(seconds("iat")?.checked_add(micros.min(999_999))?),
        expires_at: Micros(seconds("exp")?),
        audit_ids,
        roles,
        delegation: delegation(claims)?,
        federation: federation(claims)?,
    })
}

#[cfg(test)]
#[path = "jws_keys_tests.rs"]
mod tests;
