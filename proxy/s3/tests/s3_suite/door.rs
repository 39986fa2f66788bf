//! A door with both dialects on a port of its own, and a client for it.
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use virga_identity_api::caller::Caller;
use virga_identity_api::fernet::Key as FernetKey;
use virga_identity_api::keys::{KeyRing, KeySet};
use virga_identity_api::verify::{Directory, Named, TokenError, TokenVerifier};
use virga_node::clock::SystemClock;
use virga_node::task::Tasks;
use virga_proxy::core::Core;
use virga_proxy::server::{Config, Parts, RunError, run};
use virga_proxy::swift::auth_v1::{Client, Login, LoginError, PasswordLogin};
use virga_proxy::swift::config::Config as SwiftConfig;
use virga_s3::encryption::RingKeys;
use virga_s3::keys::{Key, KeySource, KeysUnavailable};
use virga_s3::{S3Door, S3Parts};

use super::callers::{self, caller};
pub use super::reply::Reply;
use super::sign::{self, Request};
use super::{nodes, reply};

/// Owner of everything in project p.
pub const ALICE: &str = "alice";
/// Reader in the same project, without a role that owns.
pub const RITA: &str = "rita";
/// Owner in project q.
pub const MALLORY: &str = "mallory";
/// The secret of all of them.
pub const SECRET: &str = "secret";

/// Alice's token in the other dialect.
pub const TOKEN: &str = "p/alice/member";
/// Of who may do everything to every account.
pub const RESELLER: &str = "x/root/ResellerAdmin";

/// Keys and tokens of three people, and of `as-PROJECT-ROLE` for anyone else.
struct People;

#[async_trait::async_trait]
impl KeySource for People {
    async fn key(&self, access: &str) -> Result<Option<Key>, KeysUnavailable> {
        let caller = match access {
            ALICE => caller("p", ALICE, "member"),
            RITA => caller("p", RITA, "reader"),
            MALLORY => caller("q", MALLORY, "member"),
            "down" => return Err(KeysUnavailable("switched off".into())),
            other => match other.strip_prefix("as-").and_then(|who| who.split_once('-')) {
                Some((project, role)) => caller(project, other, role),
                None => return Ok(None),
            },
        };
        Ok(Some(Key {
            secret: SECRET.to_owned().into(),
            caller: Arc::new(caller),
        }))
    }
}

#[async_trait::async_trait]
impl TokenVerifier for People {
    async fn verify(&self, token: &str) -> Result<Arc<Caller>, TokenError> {
        let (caller, _) = callers::of_token(token).ok_or(TokenError::Invalid)?;
        Ok(Arc::new(caller))
    }
}

#[async_trait::async_trait]
impl Directory for People {
    async fn user(&self, _id: &str) -> Option<Named> {
        None
    }
    async fn project(&self, _id: &str) -> Option<Named> {
        None
    }
}

/// Names as Swift's own tests have them, for suites that ask for tokens here.
#[async_trait::async_trait]
impl PasswordLogin for People {
    async fn login(
        &self,
        project: &str,
        user: &str,
        password: &str,
        _client: Client<'_>,
    ) -> Result<Login, LoginError> {
        let (project, token) = match (project, user) {
            _ if password.is_empty() => return Err(LoginError::Refused),
            ("test", "tester3") => ("p", format!("p/{RITA}/reader")),
            ("test", _) => ("p", TOKEN.to_owned()),
            ("test2", _) => ("q", format!("q/{MALLORY}/member")),
            _ => return Err(LoginError::Refused),
        };
        Ok(Login {
            token,
            project_id: project.into(),
            expires: sign::now() + 3600,
        })
    }
}

/// A door that is open.
pub struct Door {
    pub address: SocketAddr,
    pub s3: Arc<S3Door>,
    pub core: Core,
    pub running: tokio::task::JoinHandle<Result<(), RunError>>,
}

impl Door {
    pub async fn open() -> Self {
        Self::at("127.0.0.1:0").await
    }

    pub async fn at(address: &str) -> Self {
        Self::of(address, Config::default(), true).await
    }

    /// A door of a proxy without keys to encrypt objects with.
    pub async fn keyless() -> Self {
        Self::of("127.0.0.1:0", Config::default(), false).await
    }

    /// A door that reads little of what nobody wants.
    pub async fn lingering(linger_bytes: u64) -> Self {
        let config = Config {
            linger_bytes,
            ..Config::default()
        };
        Self::of("127.0.0.1:0", config, true).await
    }

    /// A door of a cloud with these settings.
    pub async fn with(swift: SwiftConfig) -> Self {
        let config = Config {
            swift,
            ..Config::default()
        };
        Self::of("127.0.0.1:0", config, true).await
    }

    async fn of(address: &str, config: Config, has_keys: bool) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::new();
        let keys = KeySet::new(FernetKey::generate().unwrap(), Vec::new());
        let keys = RingKeys(Arc::new(KeyRing::fixed(keys)));
        let core = match nodes::core(&tasks).0 {
            core if has_keys => core.with_cloud_keys(Arc::new(keys)),
            core => core,
        };
        let s3 = S3Door::new(S3Parts {
            core: core.clone(),
            keys: Arc::new(People),
            directory: Arc::new(People),
            clock: Arc::new(SystemClock),
            config: config.swift.clone(),
            region: "RegionOne".into(),
        });
        let s3 = Arc::new(s3);
        let parts = Parts {
            listener,
            certificates: None,
            core: core.clone(),
            verifier: Arc::new(People),
            login: Some(Arc::new(People)),
            directory: Arc::new(People),
            clock: Arc::new(SystemClock),
            tasks: tasks.clone(),
            metrics: None,
            dialect: Some(s3.clone()),
        };
        let running = tasks.spawn(run(config, parts));
        Self {
            address,
            s3,
            core,
            running,
        }
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Sends bytes and reads until the connection ends.
    pub async fn raw(&self, bytes: &[u8]) -> Reply {
        reply::raw(self.address, bytes).await
    }

    /// Sends a request that is signed already, or not at all.
    pub async fn send(&self, line: &str, headers: &[(String, String)], body: &[u8]) -> Reply {
        // Clients that send no body say no length either.
        let says_length = !body.is_empty() || line.starts_with('P');
        let headers = headers.iter().map(|(name, value)| (&**name, &**value));
        reply::exchange((self.address, &self.host()), line, headers, body, says_length).await
    }

    /// A call that nobody signs.
    pub async fn send_as_is(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut all: Vec<(String, String)> = headers
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect();
        if line.ends_with("?delete") {
            all.push(("content-md5".into(), sign::content_md5(body)));
        }
        self.send(line, &all, body).await
    }

    /// A call signed by `who`.
    pub async fn call(&self, who: &str, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.call_with((who, SECRET), line, headers, body).await
    }

    /// A call signed with a key and a secret.
    pub async fn call_with(
        &self,
        (who, secret): (&str, &str),
        line: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let (method, target) = line.split_once(' ').unwrap();
        let mut request = Request {
            method,
            target,
            headers: headers
                .iter()
                .map(|(n, v)| (n.to_string(), v.to_string()))
                .collect(),
            payload: sign::sha256(body),
            at: sign::now(),
        };
        // What deletes several says what it is, in one way or another.
        let checked = |name: &str| name == "content-md5" || name.starts_with("x-amz-checksum-");
        if line.ends_with("?delete") && !headers.iter().any(|(name, _)| checked(name)) {
            request
                .headers
                .push(("content-md5".into(), sign::content_md5(body)));
        }
        request.sign(who, secret, &self.host());
        self.send(line, &request.headers, body).await
    }

    /// A call as Alice that must have this status.
    pub async fn alice(&self, line: &str, headers: &[(&str, &str)], body: &[u8], status: u16) -> Reply {
        let reply = self.call(ALICE, line, headers, body).await;
        assert_eq!(reply.status, status, "{line}: {}", reply.text());
        reply
    }

    /// A call as Alice in the other dialect that must have this status.
    pub async fn swift(&self, line: &str, headers: &[(&str, &str)], body: &[u8], status: u16) -> Reply {
        let mut all = vec![("X-Auth-Token".to_owned(), TOKEN.to_owned())];
        all.extend(headers.iter().map(|(n, v)| (n.to_string(), v.to_string())));
        let reply = self.send(line, &all, body).await;
        assert_eq!(reply.status, status, "{line}: {}", reply.text());
        reply
    }
}
