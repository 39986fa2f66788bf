//! Load on a Keystone endpoint: sign-ins, validation of tokens, a list. The
//! same requests for every implementation, one in flight a connection.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use serde::Serialize;
use serde_json::{Value, json};

use crate::load::{Connection, connect, percentile};
use crate::process::usage;

/// The endpoint, who asks, and what is measured.
#[derive(Debug, Clone, Args)]
pub struct Identity {
    /// Name of the run in the output
    #[arg(long, default_value = "virga")]
    pub label: String,
    /// Endpoint, as in http://127.0.0.1:5000/v3
    #[arg(long)]
    pub url: String,
    /// An administrator in the domain "default"
    #[arg(long, default_value = "admin")]
    pub user: String,
    /// The administrator's password
    #[arg(long, env = "OS_PASSWORD", hide_env_values = true)]
    pub password: String,
    /// The administrator's project
    #[arg(long, default_value = "admin")]
    pub project: String,
    /// Connections
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    pub conns: Vec<usize>,
    /// What to do, in this order: first, issue, rescope, validate, check, projects
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "first,issue,rescope,validate,check,projects"
    )]
    pub ops: Vec<String>,
    /// Seconds a phase lasts
    #[arg(long, default_value_t = 3)]
    pub secs: u64,
    /// Tokens that are validated in turn
    #[arg(long, default_value_t = 64)]
    pub tokens: usize,
    /// Users that sign in for the first time, for each number of connections
    #[arg(long, default_value_t = 32)]
    pub new_users: usize,
    /// Root processes of the server: their CPU time and memory, and their children's
    #[arg(long, value_delimiter = ',')]
    pub pids: Vec<u32>,
}

/// What a phase does over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    /// Signs in by password, users who never did before.
    First,
    /// Signs in by password, the same user.
    Issue,
    /// Signs in by token.
    Rescope,
    /// Shows a token.
    Validate,
    /// Asks whether a token is good.
    Check,
    /// Lists projects.
    Projects,
}

const OPS: [(&str, Op); 6] = [
    ("first", Op::First),
    ("issue", Op::Issue),
    ("rescope", Op::Rescope),
    ("validate", Op::Validate),
    ("check", Op::Check),
    ("projects", Op::Projects),
];

/// A phase's result: a JSON line.
#[derive(Debug, Serialize)]
struct Line<'a> {
    label: &'a str,
    op: &'a str,
    conns: usize,
    ops: usize,
    ops_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    errors: u64,
    server_cpu_ms_per_op: f64,
    server_rss_mib: f64,
}

/// What requests are made from.
struct Target {
    host: String,
    base: String,
    /// The administrator's token.
    token: String,
    /// Tokens that are asked about.
    subjects: Vec<String>,
    /// The body of a sign-in by password.
    sign_in: Bytes,
    /// The body of a sign-in by token.
    rescope: Bytes,
    /// Bodies of the first sign-ins of a phase.
    new: Vec<Bytes>,
    taken: AtomicUsize,
}

fn by_password(user: &str, password: &str, project: Option<&str>) -> Bytes {
    let user = json!({"name": user, "domain": {"id": "default"}, "password": password});
    let identity = json!({"methods": ["password"], "password": {"user": user}});
    let mut auth = json!({"identity": identity});
    if let Some(project) = project {
        auth["scope"] = json!({"project": {"name": project, "domain": {"id": "default"}}});
    }
    Bytes::from(json!({"auth": auth}).to_string())
}

fn by_token(token: &str, project: &str) -> Bytes {
    let identity = json!({"methods": ["token"], "token": {"id": token}});
    let scope = json!({"project": {"name": project, "domain": {"id": "default"}}});
    Bytes::from(json!({"auth": {"identity": identity, "scope": scope}}).to_string())
}

/// An answer of the server.
struct Answer {
    status: u16,
    token: Option<String>,
    body: Bytes,
}

/// A connection that is made again when the server ends it, as some do after
/// every answer.
struct Channel {
    host: String,
    open: Option<Connection>,
}

impl Channel {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let reused = match &mut self.open {
            Some(open) => open.ready().await.is_ok(),
            None => false,
        };
        if !reused {
            self.open = Some(connect(&self.host).await?);
        }
        match self.once(request.clone()).await {
            // The server ended an idle connection at the same moment.
            Err(_) if reused => {
                self.open = Some(connect(&self.host).await?);
                self.once(request).await
            }
            outcome => outcome,
        }
    }

    async fn once(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let open = self.open.as_mut().ok_or("no connection")?;
        open.ready().await.map_err(|e| e.to_string())?;
        let answer = open.send_request(request).await.map_err(|e| e.to_string())?;
        let (head, body) = answer.into_parts();
        let token = head.headers.get("x-subject-token");
        let token = token.and_then(|t| t.to_str().ok()).map(str::to_owned);
        let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
        if head.headers.get("connection").is_some_and(|c| c == "close") {
            self.open = None;
        }
        Ok(Answer {
            status: head.status.as_u16(),
            token,
            body,
        })
    }
}

/// Runs every phase and prints its line.
pub fn run(load: &Identity) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(phases(load))
}

async fn phases(load: &Identity) -> Result<(), String> {
    let ops = load.ops.iter().map(|name| {
        let known = OPS.iter().find(|(known, _)| known == name);
        known.copied().ok_or_else(|| {
            let names: Vec<&str> = OPS.iter().map(|(name, _)| *name).collect();
            format!("{name}: operations are {}", names.join(", "))
        })
    });
    let ops = ops.collect::<Result<Vec<_>, _>>()?;
    let mut target = prepare(load).await?;
    for &conns in &load.conns {
        for &(name, op) in &ops {
            if op == Op::First {
                target.new = new_users(load, &target).await?;
                target.taken = AtomicUsize::new(0);
            }
            let shared = Arc::new(target);
            phase(load, &shared, name, op, conns).await?;
            target = Arc::into_inner(shared).ok_or("a worker is still running")?;
        }
    }
    Ok(())
}

/// Signs in and makes the tokens that are asked about.
async fn prepare(load: &Identity) -> Result<Target, String> {
    let uri: Uri = load.url.parse().map_err(|e| format!("{}: {e}", load.url))?;
    let host = uri.authority().ok_or("the URL has no host")?.to_string();
    let mut target = Target {
        base: uri.path().trim_end_matches('/').to_owned(),
        host: host.clone(),
        token: String::new(),
        subjects: Vec::new(),
        sign_in: by_password(&load.user, &load.password, Some(&load.project)),
        rescope: Bytes::new(),
        new: Vec::new(),
        taken: AtomicUsize::new(0),
    };
    let mut line = Channel { host, open: None };
    for number in 0..=load.tokens.max(1) {
        let answer = line.send(target.request(Op::Issue, 0)?).await?;
        let text = || String::from_utf8_lossy(&answer.body).into_owned();
        let token = answer.token.clone().ok_or_else(text)?;
        match number {
            0 => target.token = token,
            _ => target.subjects.push(token),
        }
    }
    target.rescope = by_token(&target.token, &load.project);
    Ok(target)
}

/// Makes users and returns how each signs in.
async fn new_users(load: &Identity, target: &Target) -> Result<Vec<Bytes>, String> {
    let mut line = Channel {
        host: target.host.clone(),
        open: None,
    };
    let mut all = Vec::new();
    for _ in 0..load.new_users {
        let name = format!("bench-{:x}", rand_name());
        let user = json!({"user": {"name": name, "password": name, "domain_id": "default"}});
        let answer = line
            .send(target.build(Method::POST, "/users", Some(user), None)?)
            .await?;
        if answer.status != 201 {
            return Err(String::from_utf8_lossy(&answer.body).into_owned());
        }
        all.push(by_password(&name, &name, None));
    }
    Ok(all)
}

/// A number that no other run has.
fn rand_name() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

impl Target {
    fn request(&self, op: Op, number: usize) -> Result<Request<Full<Bytes>>, String> {
        let subject = self.subjects.get(number % self.subjects.len().max(1));
        match op {
            Op::First => {
                let at = self.taken.fetch_add(1, Ordering::Relaxed);
                let body = self.new.get(at).ok_or("no user is left")?;
                self.post(body.clone())
            }
            Op::Issue => self.post(self.sign_in.clone()),
            Op::Rescope => self.post(self.rescope.clone()),
            Op::Validate => self.build(Method::GET, "/auth/tokens", None, subject),
            Op::Check => self.build(Method::HEAD, "/auth/tokens", None, subject),
            Op::Projects => self.build(Method::GET, "/projects", None, None),
        }
    }

    fn post(&self, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
        Request::post(format!("{}/auth/tokens", self.base))
            .header("host", &self.host)
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|e| e.to_string())
    }

    fn build(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        subject: Option<&String>,
    ) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("host", &self.host)
            .header("x-auth-token", &self.token);
        if let Some(subject) = subject {
            request = request.header("x-subject-token", subject);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        request.body(Full::new(body)).map_err(|e| e.to_string())
    }

    /// Whether a phase of `op` has nothing more to do.
    fn is_spent(&self, op: Op) -> bool {
        op == Op::First && self.taken.load(Ordering::Relaxed) >= self.new.len()
    }
}

async fn phase(
    load: &Identity,
    target: &Arc<Target>,
    name: &str,
    op: Op,
    conns: usize,
) -> Result<(), String> {
    let before = usage(&load.pids);
    let begun = Instant::now();
    // First sign-ins are bounded by their number.
    let secs = if op == Op::First { 600 } else { load.secs };
    let until = begun + Duration::from_secs(secs);
    let mut set = tokio::task::JoinSet::new();
    for number in 0..conns {
        set.spawn(worker(target.clone(), op, number * 7919, until));
    }
    let (mut times, mut errors) = (Vec::new(), 0);
    while let Some(ended) = set.join_next().await {
        let (more, bad) = ended.map_err(|e| e.to_string())??;
        times.extend(more);
        errors += bad;
    }
    let took = begun.elapsed().as_secs_f64();
    let after = usage(&load.pids);
    times.sort_unstable();
    let done = times.len() as f64;
    let line = Line {
        label: &load.label,
        op: name,
        conns,
        ops: times.len(),
        ops_per_second: done / took,
        p50_ms: percentile(&times, 0.5),
        p99_ms: percentile(&times, 0.99),
        errors,
        server_cpu_ms_per_op: (after.cpu_seconds - before.cpu_seconds) * 1000.0 / done.max(1.0),
        server_rss_mib: after.rss_mib,
    };
    println!("{}", serde_json::to_string(&line).map_err(|e| e.to_string())?);
    Ok(())
}

async fn worker(
    target: Arc<Target>,
    op: Op,
    first: usize,
    until: Instant,
) -> Result<(Vec<u64>, u64), String> {
    let mut line = Channel {
        host: target.host.clone(),
        open: None,
    };
    let (mut times, mut errors) = (Vec::new(), 0);
    let mut number = first;
    while Instant::now() < until && !target.is_spent(op) {
        let Ok(request) = target.request(op, number) else {
            break;
        };
        number += 1;
        let begun = Instant::now();
        match line.send(request).await {
            Ok(answer) if answer.status < 300 => times.push(begun.elapsed().as_nanos() as u64),
            _ => errors += 1,
        }
    }
    Ok((times, errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_request() {
        let target = Target {
            host: "h".into(),
            base: "/v3".into(),
            token: "t".into(),
            subjects: vec!["a".into(), "b".into()],
            sign_in: by_password("u", "p", Some("q")),
            rescope: by_token("t", "q"),
            new: vec![by_password("n", "n", None)],
            taken: AtomicUsize::new(0),
        };
        let told = |op, number| {
            let request = target.request(op, number).unwrap();
            let subject = request.headers().get("x-subject-token");
            let subject = subject.map(|s| s.to_str().unwrap().to_owned());
            (request.method().clone(), request.uri().path().to_owned(), subject)
        };
        let tokens = "/v3/auth/tokens".to_owned();
        assert_eq!(told(Op::Issue, 0), (Method::POST, tokens.clone(), None));
        assert_eq!(told(Op::Rescope, 0), (Method::POST, tokens.clone(), None));
        assert_eq!(
            told(Op::Validate, 3),
            (Method::GET, tokens.clone(), Some("b".into()))
        );
        assert_eq!(
            told(Op::Check, 2),
            (Method::HEAD, tokens.clone(), Some("a".into()))
        );
        assert_eq!(told(Op::Projects, 0), (Method::GET, "/v3/projects".into(), None));
        assert!(!target.is_spent(Op::First));
        assert_eq!(told(Op::First, 0), (Method::POST, tokens, None));
        assert!(target.is_spent(Op::First) && !target.is_spent(Op::Issue));
    }
}
