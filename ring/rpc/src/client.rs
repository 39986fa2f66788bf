//! The side that calls: one small connection to a server and a few for bulk,
//! dialled when first needed and again after they broke.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use virga_node::task::Tasks;

use crate::frame::{Kind, Message};
use crate::handshake;
use crate::limits::{BACKOFF, BULK_CONNECTIONS, DIAL, Lane};
use crate::link::{Guard, Link, Side, to_millis};
use crate::secret::Secret;
use crate::stream::{CallError, Receiver, Sender};

/// What to call.
#[derive(Debug)]
pub struct Call {
    /// Operation.
    pub op: u8,
    /// Kind of connection to take.
    pub lane: Lane,
    /// Message that opens the call.
    pub first: Message,
    /// Longest wait for the first message of the answer, connecting included,
    /// and after it for each further one.
    pub deadline: Duration,
}

/// The answer to a call.
pub struct Answer {
    /// First message.
    pub first: Message,
    /// Further ones. Dropping it gives the rest up.
    pub rest: Receiver,
}

/// A server, as its callers see it. Cheap to clone; the connections close
/// with the last clone and the last call.
#[derive(Clone)]
pub struct Peer {
    inner: Arc<Inner>,
}

struct Inner {
    address: String,
    secret: Secret,
    tasks: Tasks,
    small: Slot,
    bulk: [Slot; BULK_CONNECTIONS],
}

/// One connection that is kept up.
struct Slot {
    lane: Lane,
    live: Mutex<Option<Live>>,
    /// Held while dialling, so that callers wait for one dial and not many.
    dialling: tokio::sync::Mutex<Failures>,
}

#[derive(Clone)]
struct Live {
    link: Arc<Link>,
    places: Arc<Semaphore>,
    next_tag: Arc<std::sync::atomic::AtomicU64>,
}

/// How dialling went lately.
#[derive(Default)]
struct Failures {
    last: Option<(Instant, String)>,
    wait: Duration,
}

impl Slot {
    fn new(lane: Lane) -> Self {
        Self {
            lane,
            live: Mutex::default(),
            dialling: tokio::sync::Mutex::default(),
        }
    }

    fn live(&self) -> Option<Live> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.as_ref().filter(|live| !live.link.is_closed()).cloned()
    }

    /// How full it is, for the choice among several: an idle connection is
    /// best, then one not dialled yet, then the one with the fewest calls.
    fn load(&self) -> usize {
        self.live().map_or(1, |live| 2 * live.link.calls())
    }

    /// The connection, dialled if need be.
    async fn connect(&self, inner: &Inner) -> Result<Live, CallError> {
        if let Some(live) = self.live() {
            return Ok(live);
        }
        let mut failures = self.dialling.lock().await;
        if let Some(live) = self.live() {
            return Ok(live);
        }
        if let Some((at, why)) = &failures.last
            && at.elapsed() < failures.wait
        {
            return Err(CallError::Unreachable(why.clone()));
        }
        let began = Instant::now();
        match dial(&inner.address, &inner.secret, self.lane, &inner.tasks).await {
            Ok(live) => {
                *failures = Failures::default();
                *self.live.lock().unwrap_or_else(PoisonError::into_inner) = Some(live.clone());
                Ok(live)
            }
            Err(error) => {
                let why = error.to_string();
                // At least as long as the attempt took, so that those who
                // waited for it do not each wait for one more.
                failures.wait = (failures.wait * 2)
                    .clamp(BACKOFF.0, BACKOFF.1)
                    .max(began.elapsed());
                failures.last = Some((Instant::now(), why.clone()));
                tracing::debug!(peer = inner.address, why, wait = ?failures.wait, "cannot connect");
                Err(CallError::Unreachable(why))
            }
        }
    }
}

async fn dial(address: &str, secret: &Secret, lane: Lane, tasks: &Tasks) -> Result<Live, handshake::Refused> {
    let connecting = tokio::time::timeout(DIAL, TcpStream::connect(address));
    let mut socket = connecting.await.map_err(|_| handshake::Refused::Late)??;
    socket.set_nodelay(true)?;
    handshake::call(&mut socket, secret, lane).await?;
    let link = Link::new(lane, Side::Caller);
    let (reader, writer) = socket.into_split();
    let out = Arc::clone(&link);
    tasks.spawn(async move {
        if let Err(error) = out.outbox.write_to(writer).await {
            out.close(&error.to_string());
        }
    });
    let (reading, stopping) = (Arc::clone(&link), tasks.stopping());
    tasks.spawn(async move {
        // `open` never runs: a caller refuses such frames
        let why = reading.read(reader, &stopping, |_| Ok(())).await;
        reading.close(&why.to_string());
    });
    let places = Arc::new(Semaphore::new(lane.calls()));
    Ok(Live {
        link,
        places,
        next_tag: Arc::default(),
    })
}

impl Peer {
    /// The server at `address` ("host:port"). Nothing is dialled yet.
    pub fn new(address: impl Into<String>, secret: Secret, tasks: Tasks) -> Self {
        let small = Slot::new(Lane::Small);
        let bulk = std::array::from_fn(|_| Slot::new(Lane::Bulk));
        Self {
            inner: Arc::new(Inner {
                address: address.into(),
                secret,
                tasks,
                small,
                bulk,
            }),
        }
    }

    /// Where the server is.
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// Calls with one message.
    ///
    /// # Errors
    /// No answer; see [`CallError`] for what is known then.
    pub async fn call(&self, call: Call) -> Result<Answer, CallError> {
        self.start(call, true).await.map(|(_, answer)| answer)
    }

    /// Calls with a first message and more to follow: returns when the server
    /// has answered the first.
    ///
    /// # Errors
    /// As [`Peer::call`].
    pub async fn open(&self, call: Call) -> Result<(Sender, Answer), CallError> {
        self.start(call, false).await
    }

    async fn start(&self, call: Call, last: bool) -> Result<(Sender, Answer), CallError> {
        let deadline = call.deadline;
        let work = async {
            let (mut sender, mut rest) = self.begin(call.lane, deadline).await?;
            sender
                .frame(Kind::Open, call.op, to_millis(deadline), call.first, last)
                .await?;
            let first = rest
                .next()
                .await?
                .ok_or_else(|| CallError::Refused("an empty answer".into()))?;
            Ok((sender, Answer { first, rest }))
        };
        tokio::time::timeout(deadline, work)
            .await
            .unwrap_or(Err(CallError::Deadline))
    }

    /// Finds a connection with a place for one more call.
    async fn begin(&self, lane: Lane, stall: Duration) -> Result<(Sender, Receiver), CallError> {
        let slot = match lane {
            Lane::Small => &self.inner.small,
            Lane::Bulk => self
                .inner
                .bulk
                .iter()
                .min_by_key(|slot| slot.load())
                .unwrap_or(&self.inner.small),
        };
        let Live {
            link,
            places,
            next_tag,
        } = slot.connect(&self.inner).await?;
        let place = places.acquire_owned().await.map_err(|_| CallError::Over)?;
        let tag = next_tag.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let stream = link.begin(tag, Some(place)).ok_or(CallError::Over)?;
        let guard = Some(Arc::new(Guard {
            link: Arc::clone(&link),
            tag,
            _owner: Arc::clone(&self.inner) as _,
        }));
        let sender = Sender {
            stream: Arc::clone(&stream),
            link: Arc::clone(&link),
            stall,
            started: false,
            _guard: guard.clone(),
        };
        Ok((
            sender,
            Receiver {
                stream,
                link,
                stall,
                _guard: guard,
            },
        ))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for slot in self.bulk.iter().chain([&self.small]) {
            if let Some(live) = slot.live() {
                live.link.close("the peer was let go");
            }
        }
    }
}
