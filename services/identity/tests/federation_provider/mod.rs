//! An OpenID provider for tests: a document, keys, introspection, on a port of
//! this host; and tokens as it signs them, or as it never would.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::Sha256;
use virga_identity::OpenIdProvider;

/// The identity provider that the issuer stands for.
pub const PROVIDER: &str = "corp";

struct Key {
    id: String,
    pair: EcdsaKeyPair,
}

fn key(number: usize) -> Key {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let der = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    Key {
        id: format!("key-{number}"),
        pair: EcdsaKeyPair::from_pkcs8(algorithm, der.as_ref(), &random).unwrap(),
    }
}

struct Shared {
    keys: Mutex<Vec<Key>>,
    asked: AtomicUsize,
    down: AtomicBool,
    known: Mutex<HashMap<String, Value>>,
    url: String,
}

/// The provider.
pub struct Issuer {
    pub url: String,
    shared: Arc<Shared>,
}

type Inside = State<Arc<Shared>>;

async fn document(State(shared): Inside) -> Response {
    if shared.down.load(Ordering::SeqCst) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let url = &shared.url;
    let document = json!({
        "issuer": url, "jwks_uri": format!("{url}/keys"), "introspection_endpoint": format!("{url}/introspect"),
    });
    Json(document).into_response()
}

async fn keys(State(shared): Inside) -> Json<Value> {
    shared.asked.fetch_add(1, Ordering::SeqCst);
    let keys = shared.keys.lock().unwrap();
    let shown = keys.iter().map(|key| {
        let point = key.pair.public_key().as_ref();
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "kid": key.id,
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
        })
    });
    let mut all: Vec<Value> = shown.collect();
    // What other algorithms are published for is passed over.
    all.insert(0, json!({"kty": "oct", "kid": "key-0", "k": "c2VjcmV0"}));
    Json(json!({"keys": all}))
}

async fn introspect(State(shared): Inside, headers: HeaderMap, form: String) -> Response {
    let login = format!("Basic {}", STANDARD.encode("cloud:client-secret"));
    if headers.get("authorization").is_none_or(|given| *given != *login) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let token = form
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="))
        .unwrap();
    let token = percent_encoding::percent_decode_str(token).decode_utf8().unwrap();
    let known = shared.known.lock().unwrap();
    let mut answer = known.get(&*token).cloned().unwrap_or_else(|| json!({}));
    answer["active"] = json!(known.contains_key(&*token));
    Json(answer).into_response()
}

impl Issuer {
    #[allow(clippy::disallowed_methods, reason = "the server ends with the test")]
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            keys: Mutex::new(vec![key(1)]),
            asked: AtomicUsize::new(0),
            down: AtomicBool::new(false),
            known: Mutex::default(),
            url: url.clone(),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(document))
            .route("/keys", get(keys))
            .route("/introspect", post(introspect))
            .with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    pub fn config(&self) -> OpenIdProvider {
        let config = json!({"identity_provider": PROVIDER, "issuer": self.url, "client_id": "cloud"});
        serde_json::from_value(config).unwrap()
    }

    /// How often the keys were asked for.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Signs with a new key from now on.
    pub fn new_key(&self) {
        let mut keys = self.shared.keys.lock().unwrap();
        let number = keys.len() + 1;
        keys.push(key(number));
    }

    pub fn down(&self, down: bool) {
        self.shared.down.store(down, Ordering::SeqCst);
    }

    /// Makes an opaque token known.
    pub fn knows(&self, token: &str, claims: Value) {
        self.shared.known.lock().unwrap().insert(token.into(), claims);
    }

    fn text(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn signed(claims: &Value, id: &str, pair: &EcdsaKeyPair) -> String {
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": id});
        Self::text(&header, claims, |text| {
            pair.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec()
        })
    }

    /// A token as the provider makes it.
    pub fn token(&self, claims: &Value) -> String {
        let keys = self.shared.keys.lock().unwrap();
        let newest = keys.last().unwrap();
        Self::signed(claims, &newest.id, &newest.pair)
    }

    pub fn by_unknown_key(&self, claims: &Value) -> String {
        Self::signed(claims, "key-99", &key(99).pair)
    }

    pub fn by_stranger(&self, claims: &Value) -> String {
        Self::signed(claims, "key-1", &key(1).pair)
    }

    pub fn unsigned(&self, claims: &Value) -> String {
        Self::text(&json!({"alg": "none"}), claims, |_| Vec::new())
    }

    /// Signed with the public key as if it were a shared secret.
    pub fn by_hmac(&self, claims: &Value) -> String {
        let keys = self.shared.keys.lock().unwrap();
        let secret = keys[0].pair.public_key().as_ref().to_vec();
        Self::text(&json!({"alg": "HS256", "kid": "key-1"}), claims, |text| {
            let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&secret).unwrap();
            mac.update(text);
            mac.finalize().into_bytes().to_vec()
        })
    }
}
