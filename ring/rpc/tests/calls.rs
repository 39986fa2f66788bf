//! Calls over real sockets: what arrives, what is held back, what breaks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and owns its tasks"
)]
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use virga_node::task::Tasks;
use virga_rpc::client::{Call, Peer};
use virga_rpc::frame::{HEAD_MAX, Message, Piece};
use virga_rpc::server::{Answer, Handler, Refusal, Request, serve};
use virga_rpc::{CallError, Lane, Secret};

const ECHO: u8 = 1;
const COLLECT: u8 = 2;
const FLOOD: u8 = 3;
const HOLD: u8 = 4;
const PANIC: u8 = 5;
const NEVER_TAKES: u8 = 6;

/// Long enough to never pass in a test that goes well.
const LONG: Duration = Duration::from_secs(60);
/// What one window holds at most, with slack for what is on its way.
const WINDOWS: usize = 4 * 1024 * 1024;

struct Busy {
    made: Arc<AtomicUsize>,
    held: Arc<AtomicUsize>,
    release: Arc<Semaphore>,
}

impl Default for Busy {
    fn default() -> Self {
        Self {
            made: Arc::default(),
            held: Arc::default(),
            release: Arc::new(Semaphore::new(0)),
        }
    }
}

/// Counts calls that are inside the handler, given up ones not.
struct Inside(Arc<AtomicUsize>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn payload(data: impl Into<Bytes>) -> Message {
    Message {
        head: Bytes::new(),
        piece: Piece {
            data: data.into(),
            crcs: vec![1, 2],
        },
    }
}

#[async_trait]
impl Handler for Busy {
    async fn handle(&self, mut request: Request) -> Result<Answer, Refusal> {
        match request.op {
            ECHO => Ok(Answer::one(request.first)),
            COLLECT => {
                let rest = stream::unfold(Some(request.rest), |rest| async {
                    let mut rest = rest?;
                    let mut all = Vec::new();
                    while let Ok(Some(message)) = rest.next().await {
                        all.extend_from_slice(&message.piece.data);
                    }
                    Some((Message::head(crc32(&all).to_le_bytes().to_vec()), None))
                });
                Ok(Answer {
                    first: Message::head("go"),
                    rest: Some(rest.boxed()),
                })
            }
            FLOOD => {
                let made = Arc::clone(&self.made);
                let rest = stream::iter(0..u8::MAX).map(move |n| {
                    made.fetch_add(1, Ordering::SeqCst);
                    payload(vec![n; 256 * 1024])
                });
                Ok(Answer {
                    first: Message::default(),
                    rest: Some(rest.boxed()),
                })
            }
            HOLD => {
                self.held.fetch_add(1, Ordering::SeqCst);
                let _inside = Inside(Arc::clone(&self.held));
                self.release
                    .acquire()
                    .await
                    .map_err(|_| Refusal("closed".into()))?
                    .forget();
                Ok(Answer::one(Message::head("released")))
            }
            PANIC => panic!("on purpose"),
            NEVER_TAKES => {
                let rest = stream::once(async move {
                    std::future::pending::<()>().await;
                    let _ = request.rest.next().await;
                    Message::default()
                });
                Ok(Answer {
                    first: Message::default(),
                    rest: Some(rest.boxed()),
                })
            }
            _ => Err(Refusal(format!("no operation {}", request.op))),
        }
    }
}

/// Order matters to it, unlike to a sum.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(7, |hash: u32, byte| {
        hash.rotate_left(5) ^ u32::from(*byte).wrapping_mul(0x9e37_79b1)
    })
}

fn secret() -> Secret {
    Secret::new("the secret of these tests").unwrap()
}

struct Server {
    address: String,
    tasks: Tasks,
    busy: Arc<Busy>,
}

async fn server() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tasks, busy) = (Tasks::new(), Arc::new(Busy::default()));
    tasks.spawn(serve(listener, secret(), busy.clone(), tasks.clone()));
    Server { address, tasks, busy }
}

impl Server {
    fn peer(&self) -> Peer {
        Peer::new(&self.address, secret(), Tasks::new())
    }
}

fn call(op: u8, lane: Lane, first: Message) -> Call {
    Call {
        op,
        lane,
        first,
        deadline: LONG,
    }
}

async fn echo(peer: &Peer, lane: Lane, text: String) -> Result<Bytes, CallError> {
    Ok(peer.call(call(ECHO, lane, Message::head(text))).await?.first.head)
}

/// A call that is answered once the server lets it go, in a task of its own.
fn hold(peer: &Peer) -> JoinHandle<Result<Bytes, CallError>> {
    let peer = peer.clone();
    tokio::spawn(async move {
        let held = peer.call(call(HOLD, Lane::Small, Message::default())).await;
        held.map(|answer| answer.first.head)
    })
}

/// Waits for something that another task brings about.
async fn until(what: impl Fn() -> bool) {
    tokio::time::timeout(LONG, async {
        while !what() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the condition came true");
}

#[tokio::test]
async fn many_calls_at_once_each_get_their_own_answer() {
    let server = server().await;
    let peer = server.peer();
    let calls = (0..2000).map(|n| {
        let (peer, lane) = (peer.clone(), if n % 5 == 0 { Lane::Bulk } else { Lane::Small });
        async move {
            let text = format!("call {n}");
            assert_eq!(echo(&peer, lane, text.clone()).await.unwrap(), text);
        }
    });
    join_all(calls).await;
}

#[tokio::test]
async fn payload_and_its_checksums_arrive_as_sent() {
    let server = server().await;
    let peer = server.peer();
    let first = payload((0..1024 * 1024).map(|n| (n / 77) as u8).collect::<Vec<_>>());
    let answer = peer.call(call(ECHO, Lane::Bulk, first.clone())).await.unwrap();
    assert_eq!(answer.first, first);
    let mut rest = answer.rest;
    assert_eq!(rest.next().await, Ok(None));
}

#[tokio::test]
async fn a_long_stream_arrives_whole_and_in_order() {
    let server = server().await;
    let (mut out, mut answer) = server
        .peer()
        .open(call(COLLECT, Lane::Bulk, Message::default()))
        .await
        .unwrap();
    let mut all = Vec::new();
    for n in 0..40_usize {
        let piece = vec![n as u8; 1 + n * 25_000];
        all.extend_from_slice(&piece);
        out.send(payload(piece)).await.unwrap();
    }
    out.finish();
    let last = answer.rest.next().await.unwrap().unwrap();
    assert_eq!(last.head, crc32(&all).to_le_bytes()[..]);
    assert_eq!(answer.rest.next().await, Ok(None));
}

#[tokio::test]
async fn an_answer_nobody_takes_stops_at_the_window() {
    let server = server().await;
    let peer = server.peer();
    let mut answer = peer
        .call(call(FLOOD, Lane::Small, Message::default()))
        .await
        .unwrap();
    for n in 0..300 {
        echo(&peer, Lane::Small, format!("{n}"))
            .await
            .expect("small calls pass a stalled stream");
    }
    let made = server.busy.made.load(Ordering::SeqCst);
    assert!(
        (1..=WINDOWS / (256 * 1024)).contains(&made),
        "{made} pieces were made"
    );
    for n in 0..u8::MAX {
        let message = answer.rest.next().await.unwrap().unwrap();
        assert!(message.piece.data.iter().all(|byte| *byte == n));
    }
    assert_eq!(answer.rest.next().await, Ok(None));
}

#[tokio::test]
async fn a_server_that_takes_nothing_holds_the_sender_back() {
    let server = server().await;
    let short = Duration::from_millis(300);
    let open = Call {
        deadline: short,
        ..call(NEVER_TAKES, Lane::Bulk, Message::default())
    };
    let (mut out, _answer) = server.peer().open(open).await.unwrap();
    let mut sent = 0;
    let stopped = loop {
        match out.send(payload(vec![0; 256 * 1024])).await {
            Ok(()) => sent += 256 * 1024,
            Err(error) => break error,
        }
        assert!(sent <= WINDOWS, "{sent} bytes taken");
    };
    assert_eq!(stopped, CallError::Deadline);
}

#[tokio::test]
async fn a_call_given_up_ends_in_the_server_too() {
    let server = server().await;
    let peer = server.peer();
    let held = || server.busy.held.load(Ordering::SeqCst);
    let hold = hold(&peer);
    until(|| held() == 1).await;
    hold.abort();
    until(|| held() == 0).await;
    let mut flood = peer
        .call(call(FLOOD, Lane::Small, Message::default()))
        .await
        .unwrap();
    flood.rest.next().await.unwrap();
    drop(flood);
    echo(&peer, Lane::Small, "still there".into()).await.unwrap();
}

#[tokio::test]
async fn a_deadline_ends_one_call_and_no_other() {
    let server = server().await;
    let peer = server.peer();
    let other = hold(&peer);
    until(|| server.busy.held.load(Ordering::SeqCst) == 1).await;
    let short = Call {
        deadline: Duration::from_millis(100),
        ..call(HOLD, Lane::Small, Message::default())
    };
    assert_eq!(peer.call(short).await.map(|a| a.first), Err(CallError::Deadline));
    until(|| server.busy.held.load(Ordering::SeqCst) == 1).await;
    server.busy.release.add_permits(1);
    assert_eq!(other.await.unwrap().unwrap(), "released");
}

#[tokio::test]
async fn refusals_and_panics_reach_the_caller_and_spare_the_connection() {
    let server = server().await;
    let peer = server.peer();
    let refused = peer
        .call(call(200, Lane::Small, Message::default()))
        .await
        .map(|a| a.first);
    assert_eq!(refused, Err(CallError::Refused("no operation 200".into())));
    let panicked = peer
        .call(call(PANIC, Lane::Small, Message::default()))
        .await
        .map(|a| a.first);
    assert!(matches!(panicked, Err(CallError::Refused(_))), "{panicked:?}");
    let large = peer
        .call(call(ECHO, Lane::Small, Message::head(vec![0; HEAD_MAX + 1])))
        .await;
    assert_eq!(large.map(|a| a.first), Err(CallError::TooLarge));
    let large = peer
        .call(call(ECHO, Lane::Small, payload(vec![0; Lane::Small.piece() + 1])))
        .await;
    assert_eq!(large.map(|a| a.first), Err(CallError::TooLarge));
    echo(&peer, Lane::Small, "still there".into()).await.unwrap();
}

#[tokio::test]
async fn more_calls_than_places_wait_their_turn() {
    let server = server().await;
    let peer = server.peer();
    let calls = join_all((0..300).map(|_| peer.call(call(HOLD, Lane::Small, Message::default()))));
    let release = async {
        until(|| server.busy.held.load(Ordering::SeqCst) == 256).await;
        server.busy.release.add_permits(300);
    };
    let (answers, ()) = tokio::join!(calls, release);
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
}

#[tokio::test]
async fn a_caller_of_another_cluster_is_turned_away() {
    let server = server().await;
    let stranger = Peer::new(&server.address, Secret::new([9; 32]).unwrap(), Tasks::new());
    let Err(CallError::Unreachable(why)) = echo(&stranger, Lane::Small, "hello".into()).await else {
        panic!("a stranger got through");
    };
    assert!(why.contains("secret"), "{why}");
    let mut noise = TcpStream::connect(&server.address).await.unwrap();
    noise.write_all(&[0x55; 5000]).await.unwrap();
    echo(&server.peer(), Lane::Small, "hello".into())
        .await
        .expect("others are not disturbed");
}

#[tokio::test]
async fn a_lost_server_fails_its_calls_and_is_found_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let first = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let busy = Arc::new(Busy::default());
    {
        let (_inside, tasks) = (first.enter(), Tasks::new());
        let listener = TcpListener::from_std(listener).unwrap();
        tasks.spawn(serve(listener, secret(), busy.clone(), tasks.clone()));
    }
    let peer = Peer::new(address.to_string(), secret(), Tasks::new());
    let hold = hold(&peer);
    until(|| busy.held.load(Ordering::SeqCst) == 1).await;
    first.shutdown_background();
    assert!(matches!(hold.await.unwrap(), Err(CallError::Unreachable(_))));

    let rebound = tokio::time::timeout(LONG, async {
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    let (listener, tasks) = (rebound.await.unwrap(), Tasks::new());
    tasks.spawn(serve(
        listener,
        secret(),
        Arc::new(Busy::default()),
        tasks.clone(),
    ));
    tokio::time::timeout(LONG, async {
        while echo(&peer, Lane::Small, "again".into()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the peer dials again");
}

#[tokio::test]
async fn a_stopping_server_finishes_what_it_began() {
    let server = server().await;
    let peer = server.peer();
    let hold = hold(&peer);
    until(|| server.busy.held.load(Ordering::SeqCst) == 1).await;
    let tasks = server.tasks.clone();
    let drain = tokio::spawn(async move { tasks.drain(LONG).await });
    until(|| server.tasks.stopping().is_cancelled()).await;
    assert_eq!(
        echo(&peer, Lane::Small, "late".into()).await,
        Err(CallError::Stopping)
    );
    server.busy.release.add_permits(1);
    assert_eq!(hold.await.unwrap().unwrap(), "released");
    assert!(drain.await.unwrap(), "everything ended");
}
