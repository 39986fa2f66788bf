//! The phases of a run: for every size and number of connections PUT of new
//! names, then GET, HEAD and DELETE of those, a mix of 70 % GET and 30 % PUT,
//! LIST of a container, and connections that do nothing.
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
use crate::dialect::Dialect;
use crate::process::{disk_bytes, usage};

/// One phase's result: a JSON line.
#[derive(Debug, Serialize)]
struct Line<'a> {
    label: &'a str,
    op: &'a str,
    size: usize,
    conns: usize,
    ops: usize,
    ops_per_second: f64,
    mib_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    errors: u64,
    server_cpu_ms_per_op: f64,
    server_rss_mib: f64,
    /// PUT: growth of the server's folders for each byte that was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_bytes_per_byte: Option<f64>,
    /// IDLE: growth of the server's memory for each connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    kib_per_connection: Option<f64>,
}

/// Everything a worker needs to make requests.
struct Target {
    host: String,
    dialect: Dialect,
    noise: Bytes,
    /// Name of the container that is listed.
    listed: String,
}

impl Target {
    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
        self.dialect.request(&self.host, method, path, body)
    }
}

/// What all workers of a phase share.
struct Phase {
    op: Op,
    size: usize,
    container: String,
    /// PUT and MIX: names handed out so far. DELETE: how many are left.
    names: AtomicU64,
    /// Names that are there from the start, to read.
    readable: u64,
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
    /// 70 % GET of a random name, 30 % PUT of a new one.
    Mix,
    /// Connections that made one request and then wait.
    Idle,
}

impl Op {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "put" => Self::Put,
            "get" => Self::Get,
            "head" => Self::Head,
            "list" => Self::List,
            "delete" => Self::Delete,
            "mix" => Self::Mix,
            "idle" => Self::Idle,
            other => {
                return Err(format!(
                    "{other}: operations are put, get, head, list, delete, mix, idle"
                ));
            }
        })
    }

    fn name(self) -> &'static str {
        ["put", "get", "head", "list", "delete", "mix", "idle"][self as usize]
    }
}

/// Runs every phase and prints its line.
pub fn run(dialect: Dialect, load: &Load) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(phases(dialect, load))
}

async fn phases(dialect: Dialect, load: &Load) -> Result<(), String> {
    let url = dialect.url().to_owned();
    let uri: Uri = url.parse().map_err(|e| format!("{url}: {e}"))?;
    let host = uri.authority().ok_or("a storage URL has a host")?.to_string();
    let largest = load.sizes.iter().copied().max().unwrap_or(0);
    let target = Arc::new(Target {
        host,
        dialect,
        noise: noise(largest + 4096),
        listed: format!("bench-list-{}", std::process::id()),
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
                    fill_list(load, &target).await?;
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
async fn fill_list(load: &Load, target: &Arc<Target>) -> Result<(), String> {
    let container = format!("/{}", target.listed);
    once(target, Method::PUT, &container, Bytes::new()).await?;
    let phase = Arc::new(Phase {
        op: Op::Put,
        size: 10,
        container: target.listed.clone(),
        names: AtomicU64::new(0),
        readable: 0,
        taken: AtomicU64::new(0),
        most: load.list_rows,
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
        // One each, and then they wait.
        Op::Idle => conns as u64,
        _ => u64::MAX,
    };
    // What the last phase left unwritten must not be paid for by this one.
    rustix::fs::sync();
    let (before, disk_before) = (usage(&load.pids), disk_bytes(&load.disk));
    let begun = Instant::now();
    let phase = Arc::new(Phase {
        op,
        size,
        container: container.to_owned(),
        names: AtomicU64::new(if op == Op::Put { 0 } else { made.max(1) }),
        readable: made,
        taken: AtomicU64::new(0),
        most,
        until: begun + Duration::from_secs(load.secs),
    });
    let (mut times, errors, held) = workers(target, &phase, conns).await?;
    let took = begun.elapsed().as_secs_f64();
    let after = usage(&load.pids);
    drop(held);
    let stored = (times.len() * size) as f64;
    let disk = (op == Op::Put && !load.disk.is_empty() && stored > 0.0).then(|| {
        // What is on its way is on the disk then, and what was allocated ahead of it.
        rustix::fs::sync();
        (disk_bytes(&load.disk) as f64 - disk_before as f64) / stored
    });
    times.sort_unstable();
    let done = times.len() as f64;
    let line = Line {
        label: &load.label,
        op: op.name(),
        size,
        conns,
        ops: times.len(),
        ops_per_second: done / took,
        mib_per_second: if matches!(op, Op::Put | Op::Get) {
            done * size as f64 / took / 1048576.0
        } else {
            0.0
        },
        p50_ms: percentile(&times, 0.5),
        p99_ms: percentile(&times, 0.99),
        errors,
        server_cpu_ms_per_op: (after.cpu_seconds - before.cpu_seconds) * 1000.0 / done.max(1.0),
        server_rss_mib: after.rss_mib,
        disk_bytes_per_byte: disk,
        kib_per_connection: (op == Op::Idle)
            .then(|| (after.rss_mib - before.rss_mib) * 1024.0 / conns.max(1) as f64),
    };
    println!("{}", serde_json::to_string(&line).map_err(|e| e.to_string())?);
    Ok(if matches!(op, Op::Put | Op::Mix) {
        phase.names.load(Ordering::Relaxed).min(most)
    } else {
        0
    })
}

/// The time in milliseconds that the part `p` of the sorted `times` (ns) stays under.
pub fn percentile(times: &[u64], p: f64) -> f64 {
    let at = (times.len() as f64 - 1.0).max(0.0) * p;
    times.get(at as usize).map_or(0.0, |ns| *ns as f64 / 1e6)
}

/// A connection to the server.
pub type Connection = SendRequest<Full<Bytes>>;

/// Runs `conns` workers to the end of the phase: latencies in ns, errors, and
/// the connections, still open.
async fn workers(
    target: &Arc<Target>,
    phase: &Arc<Phase>,
    conns: usize,
) -> Result<(Vec<u64>, u64, Vec<Connection>), String> {
    let mut set = tokio::task::JoinSet::new();
    for number in 0..conns {
        set.spawn(worker(target.clone(), phase.clone(), number as u64));
    }
    let (mut times, mut errors, mut held) = (Vec::new(), 0, Vec::new());
    while let Some(ended) = set.join_next().await {
        let (more, bad, connection) = ended.map_err(|e| e.to_string())??;
        times.extend(more);
        errors += bad;
        held.push(connection);
    }
    Ok((times, errors, held))
}

async fn worker(
    target: Arc<Target>,
    phase: Arc<Phase>,
    number: u64,
) -> Result<(Vec<u64>, u64, Connection), String> {
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
                if phase.op == Op::List && target.dialect.is_last(&body) {
                    marker.clear();
                } else if phase.op == Op::List {
                    marker = target.dialect.last_name(&body);
                }
            }
            Ok(_) => errors += 1,
            Err(_) => {
                errors += 1;
                connection = connect(&target.host).await?;
            }
        }
    }
    Ok((times, errors, connection))
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
        *random % phase.readable.max(1)
    };
    let op = match phase.op {
        Op::Mix if any(random) * 7919 % 10 < 3 => Op::Put,
        Op::Mix => Op::Get,
        op => op,
    };
    let (method, path, body) = match op {
        Op::List => return target.dialect.page(&target.host, &target.listed, marker),
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
        Op::Delete => {
            let name = phase.names.fetch_sub(1, Ordering::Relaxed).wrapping_sub(1);
            (Method::DELETE, format!("/{container}/{name:08}"), Bytes::new())
        }
        op => (
            if op == Op::Get { Method::GET } else { Method::HEAD },
            format!("/{container}/{:08}", any(random)),
            Bytes::new(),
        ),
    };
    target.request(method, &path, body)
}

async fn once(target: &Target, method: Method, path: &str, body: Bytes) -> Result<(), String> {
    let mut connection = connect(&target.host).await?;
    let (status, body) = send(&mut connection, target.request(method, path, body)?).await?;
    if status < 300 {
        Ok(())
    } else {
        Err(format!("{path}: {status} {}", String::from_utf8_lossy(&body)))
    }
}

/// Opens a connection to "host:port".
pub async fn connect(host: &str) -> Result<Connection, String> {
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

async fn send(connection: &mut Connection, request: Request<Full<Bytes>>) -> Result<(u16, Bytes), String> {
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
