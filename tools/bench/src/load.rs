//! The phases of a run: for every size and number of connections PUT of new
//! names, then GET, HEAD and DELETE of those, and LIST of a container.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpStream;

use crate::Load;
use crate::process::usage;

/// One phase's result: a JSON line.
#[derive(Debug, Serialize)]
struct Line<'a> {
    label: &'a str,
    op: &'a str,
    size: usize,
    conns: usize,
    ops_per_second: f64,
    mib_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    errors: u64,
    server_cpu_ms_per_op: f64,
    server_rss_mib: f64,
}

/// Rows in the container that is listed; a page has 1000.
const LIST_ROWS: u64 = 10_000;

/// Everything a worker needs to make requests.
struct Target {
    host: String,
    path: String,
    token: String,
    noise: Bytes,
}

/// What all workers of a phase share.
struct Phase {
    op: Op,
    size: usize,
    container: String,
    /// PUT: names handed out so far. Others: how many names there are.
    names: AtomicU64,
    taken: AtomicU64,
    most: u64,
    until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Put,
    Get,
    Head,
    List,
    Delete,
}

impl Op {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "put" => Self::Put,
            "get" => Self::Get,
            "head" => Self::Head,
            "list" => Self::List,
            "delete" => Self::Delete,
            other => return Err(format!("{other}: operations are put, get, head, list, delete")),
        })
    }

    fn name(self) -> &'static str {
        ["put", "get", "head", "list", "delete"][self as usize]
    }
}

/// Runs every phase and prints its line.
pub fn run(load: &Load) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(phases(load))
}

async fn phases(load: &Load) -> Result<(), String> {
    let uri: Uri = load.url.parse().map_err(|e| format!("{}: {e}", load.url))?;
    let host = uri.authority().ok_or("a storage URL has a host")?.to_string();
    let largest = load.sizes.iter().copied().max().unwrap_or(0);
    let target = Arc::new(Target {
        host,
        path: uri.path().trim_end_matches('/').to_owned(),
        token: load.token.clone(),
        noise: noise(largest + 4096),
    });
    let ops = load
        .ops
        .iter()
        .map(|op| Op::parse(op))
        .collect::<Result<Vec<_>, _>>()?;
    let mut listed = false;
    for &size in &load.sizes {
        for &conns in &load.conns {
            let container = format!("bench-{}-{size}-{conns}", std::process::id());
            once(&target, Method::PUT, &format!("/{container}"), Bytes::new()).await?;
            let mut made = 0;
            for &op in &ops {
                if op == Op::List && !listed {
                    fill_list(&target).await?;
                    listed = true;
                }
                made = phase(load, &target, op, size, conns, &container, made)
                    .await?
                    .max(made);
            }
        }
    }
    Ok(())
}

/// Fills the container that LIST reads, once a run.
async fn fill_list(target: &Arc<Target>) -> Result<(), String> {
    once(target, Method::PUT, "/bench-list", Bytes::new()).await?;
    let phase = Arc::new(Phase {
        op: Op::Put,
        size: 10,
        container: "bench-list".into(),
        names: AtomicU64::new(0),
        taken: AtomicU64::new(0),
        most: LIST_ROWS,
        until: Instant::now() + Duration::from_secs(600),
    });
    workers(target, &phase, 16).await.map(|_| ())
}

/// One phase; returns how many objects it left (PUT).
async fn phase(
    load: &Load,
    target: &Arc<Target>,
    op: Op,
    size: usize,
    conns: usize,
    container: &str,
    made: u64,
) -> Result<u64, String> {
    let most = match op {
        Op::Put => (load.max_mib * 1024 * 1024 / size.max(1) as u64).max(conns as u64),
        Op::Delete => made,
        _ => u64::MAX,
    };
    // What the last phase left unwritten must not be paid for by this one.
    rustix::fs::sync();
    let before = usage(&load.pids);
    let begun = Instant::now();
    let phase = Arc::new(Phase {
        op,
        size,
        container: container.to_owned(),
        names: AtomicU64::new(if op == Op::Put { 0 } else { made.max(1) }),
        taken: AtomicU64::new(0),
        most,
        until: begun + Duration::from_secs(load.secs),
    });
    let (mut times, errors) = workers(target, &phase, conns).await?;
    let took = begun.elapsed().as_secs_f64();
    let after = usage(&load.pids);
    times.sort_unstable();
    let done = times.len() as f64;
    let percentile = |p: f64| {
        times
            .get(((done - 1.0).max(0.0) * p) as usize)
            .map_or(0.0, |ns| *ns as f64 / 1e6)
    };
    let line = Line {
        label: &load.label,
        op: op.name(),
        size,
        conns,
        ops_per_second: done / took,
        mib_per_second: if matches!(op, Op::Put | Op::Get) {
            done * size as f64 / took / 1048576.0
        } else {
            0.0
        },
        p50_ms: percentile(0.5),
        p99_ms: percentile(0.99),
        errors,
        server_cpu_ms_per_op: (after.cpu_seconds - before.cpu_seconds) * 1000.0 / done.max(1.0),
        server_rss_mib: after.rss_mib,
    };
    println!("{}", serde_json::to_string(&line).map_err(|e| e.to_string())?);
    Ok(if op == Op::Put {
        phase.names.load(Ordering::Relaxed).min(most)
    } else {
        0
    })
}

/// Runs `conns` workers to the end of the phase: latencies in ns, and errors.
async fn workers(target: &Arc<Target>, phase: &Arc<Phase>, conns: usize) -> Result<(Vec<u64>, u64), String> {
    let mut set = tokio::task::JoinSet::new();
    for number in 0..conns {
        set.spawn(worker(target.clone(), phase.clone(), number as u64));
    }
    let (mut times, mut errors) = (Vec::new(), 0);
    while let Some(ended) = set.join_next().await {
        let (more, bad) = ended.map_err(|e| e.to_string())??;
        times.extend(more);
        errors += bad;
    }
    Ok((times, errors))
}

async fn worker(target: Arc<Target>, phase: Arc<Phase>, number: u64) -> Result<(Vec<u64>, u64), String> {
    let mut connection = connect(&target.host).await?;
    let (mut times, mut errors) = (Vec::new(), 0);
    let mut random = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut marker = String::new();
    while Instant::now() < phase.until {
        let taken = phase.taken.fetch_add(1, Ordering::Relaxed);
        if taken >= phase.most {
            break;
        }
        let request = next_request(&target, &phase, &mut random, &marker)?;
        let begun = Instant::now();
        match send(&mut connection, request).await {
            Ok((status, body)) if status < 300 => {
                times.push(begun.elapsed().as_nanos() as u64);
                marker = last_line(phase.op, &body);
            }
            Ok(_) => errors += 1,
            Err(_) => {
                errors += 1;
                connection = connect(&target.host).await?;
            }
        }
    }
    Ok((times, errors))
}

/// Where the next page of a listing starts; an empty page starts over.
fn last_line(op: Op, body: &Bytes) -> String {
    if op != Op::List {
        return String::new();
    }
    String::from_utf8_lossy(body)
        .lines()
        .last()
        .unwrap_or_default()
        .to_owned()
}

fn next_request(
    target: &Target,
    phase: &Phase,
    random: &mut u64,
    marker: &str,
) -> Result<Request<Full<Bytes>>, String> {
    let container = &phase.container;
    let any = |random: &mut u64| {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        *random % phase.names.load(Ordering::Relaxed).max(1)
    };
    let (method, path, body) = match phase.op {
        Op::Put => {
            let name = phase.names.fetch_add(1, Ordering::Relaxed);
            // Every object is its own slice of the noise: equal bodies are rare.
            let shift = (name.wrapping_mul(61) % 4096) as usize;
            (
                Method::PUT,
                format!("/{container}/{name:08}"),
                target.noise.slice(shift..shift + phase.size),
            )
        }
        Op::Get => (
            Method::GET,
            format!("/{container}/{:08}", any(random)),
            Bytes::new(),
        ),
        Op::Head => (
            Method::HEAD,
            format!("/{container}/{:08}", any(random)),
            Bytes::new(),
        ),
        Op::List => (
            Method::GET,
            format!("/bench-list?limit=1000&marker={marker}"),
            Bytes::new(),
        ),
        Op::Delete => {
            let name = phase.names.fetch_sub(1, Ordering::Relaxed).wrapping_sub(1);
            (Method::DELETE, format!("/{container}/{name:08}"), Bytes::new())
        }
    };
    request(target, method, &path, body)
}

fn request(target: &Target, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
    Request::builder()
        .method(method)
        .uri(format!("{}{path}", target.path))
        .header("host", &target.host)
        .header("x-auth-token", &target.token)
        .header("content-type", "application/octet-stream")
        .body(Full::new(body))
        .map_err(|e| e.to_string())
}

async fn once(target: &Target, method: Method, path: &str, body: Bytes) -> Result<(), String> {
    let mut connection = connect(&target.host).await?;
    let (status, body) = send(&mut connection, request(target, method, path, body)?).await?;
    if status < 300 {
        Ok(())
    } else {
        Err(format!("{path}: {status} {}", String::from_utf8_lossy(&body)))
    }
}

async fn connect(host: &str) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(host)
        .await
        .map_err(|e| format!("{host}: {e}"))?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    #[allow(
        clippy::disallowed_methods,
        reason = "the connection's driver ends with the connection"
    )]
    tokio::spawn(connection);
    Ok(sender)
}

async fn send(
    connection: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<(u16, Bytes), String> {
    connection.ready().await.map_err(|e| e.to_string())?;
    let answer = connection
        .send_request(request)
        .await
        .map_err(|e| e.to_string())?;
    let status = answer.status().as_u16();
    let body = answer
        .into_body()
        .collect()
        .await
        .map_err(|e| e.to_string())?
        .to_bytes();
    Ok((status, body))
}

/// Bytes that do not compress.
fn noise(len: usize) -> Bytes {
    let mut out = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut out);
    out.into()
}
