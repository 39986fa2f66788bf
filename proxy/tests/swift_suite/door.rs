//! A door on a port of its own, and a client that speaks plain HTTP to it.
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use virga_identity_api::access_rule::AccessRule;
use virga_identity_api::caller::Caller;
use virga_identity_api::verify::{Directory, Named, TokenError, TokenVerifier};
use virga_node::clock::{Clock, SystemClock};
use virga_node::task::Tasks;
use virga_object_wire::twin::TwinNodes;
use virga_proxy::server::{Config, Parts, RunError, run};
use virga_proxy::swift::auth_v1::{Client, Login, LoginError, PasswordLogin};
use virga_proxy::swift::config::Policy;

pub use super::reply::Reply;
use super::{callers, nodes, reply};

/// Owner of AUTH_p.
pub const ALICE: &str = "p/alice/member";
/// Reader on the same project.
pub const READER: &str = "p/rita/reader";
/// Somebody of another project.
pub const MALLORY: &str = "q/mallory/member";
/// The reseller admin.
pub const ADMIN: &str = "x/root/ResellerAdmin";

/// Tokens are what they mean: "project/user/role".
struct Tokens;

#[async_trait::async_trait]
impl TokenVerifier for Tokens {
    async fn verify(&self, token: &str) -> Result<Arc<Caller>, TokenError> {
        let Some((caller, path)) = callers::of_token(token) else {
            return Err(if token == "down" {
                TokenError::Unavailable("switched off".into())
            } else {
                TokenError::Invalid
            });
        };
        Ok(Arc::new(Caller {
            // A fourth part is the path that the token is good for.
            access_rules: path.map(|path| {
                let rule = |method: &str| AccessRule {
                    service: "object-store".into(),
                    method: method.into(),
                    path: path.replace('|', "/"),
                };
                vec![rule("GET"), rule("PUT")]
            }),
            ..caller
        }))
    }
}

#[async_trait::async_trait]
impl Directory for Tokens {
    async fn user(&self, id: &str) -> Option<Named> {
        Some(Named {
            id: id.into(),
            name: format!("{id}-name"),
            domain_id: "default".into(),
        })
    }
    async fn project(&self, id: &str) -> Option<Named> {
        Some(Named {
            id: id.into(),
            name: format!("{id}-name"),
            domain_id: "default".into(),
        })
    }
}

#[async_trait::async_trait]
impl PasswordLogin for Tokens {
    /// The password is the role.
    async fn login(
        &self,
        project: &str,
        user: &str,
        password: &str,
        _client: Client<'_>,
    ) -> Result<Login, LoginError> {
        match password {
            "down" => Err(LoginError::Unavailable("switched off".into())),
            "wrong" => Err(LoginError::Refused),
            role => Ok(Login {
                token: format!("{project}/{user}/{role}"),
                project_id: project.to_owned(),
                expires: SystemClock.now().as_secs() + 100,
            }),
        }
    }
}

/// A door that is open.
pub struct Door {
    pub address: SocketAddr,
    pub tasks: Tasks,
    /// The nodes behind it, for their switches.
    pub nodes: Arc<TwinNodes>,
    pub running: tokio::task::JoinHandle<Result<(), RunError>>,
}

impl Door {
    /// A door with two policies and account management.
    pub async fn open() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::at("127.0.0.1:0", change).await
    }

    /// A door at an address, with changed settings.
    pub async fn at(address: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.swift.allow_account_management = true;
        config.swift.resellers[0].project_reader_roles = vec!["reader".into()];
        let silver = Policy {
            index: 1,
            name: "silver".into(),
            aliases: vec!["ag".into()],
            default: false,
        };
        config.swift.policies.push(silver);
        change(&mut config);
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::new();
        let (core, nodes) = nodes::core(&tasks);
        let parts = Parts {
            listener,
            core,
            verifier: Arc::new(Tokens),
            directory: Arc::new(Tokens),
            login: Some(Arc::new(Tokens)),
            clock: Arc::new(SystemClock),
            tasks: tasks.clone(),
            metrics: Some(Arc::new(|| "virga_up 1\n".to_owned())),
            dialect: None,
            certificates: None,
        };
        let running = tasks.spawn(run(config, parts));
        Self {
            address,
            tasks,
            nodes,
            running,
        }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a request as `who` on a connection of its own.
    pub async fn call(&self, who: &str, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let token = (!who.is_empty()).then_some(("X-Auth-Token", who));
        let headers = token.into_iter().chain(headers.iter().copied());
        let says_length = !line.starts_with("GET ") && !line.starts_with("HEAD ");
        reply::exchange((self.address, "test"), line, headers, body, says_length).await
    }

    /// Sends bytes as they are and reads until the connection ends.
    pub async fn raw(&self, bytes: &[u8]) -> Reply {
        reply::raw(self.address, bytes).await
    }

    /// A call as Alice that must have this status; 0: any success.
    pub async fn alice(&self, line: &str, headers: &[(&str, &str)], body: &[u8], status: u16) -> Reply {
        let reply = self.call(ALICE, line, headers, body).await;
        let fits = reply.status == status || (status == 0 && (200..300).contains(&reply.status));
        assert!(fits, "{line}: {} {}", reply.status, reply.text());
        reply
    }

    pub fn now() -> u64 {
        SystemClock.now().as_secs()
    }
}
