//! Holding an object's name in all proxies, for whoever looks at the object and then
//! writes it: of several at the same time only one looks and writes at a time.
//!
//! The nodes keep who has a name ([`virga_object_wire::hold`]): a write quorum of the
//! name's members must agree, so that two proxies never have it together, whatever
//! rings they go by. It is kept by asking again now and then, and given up when the
//! guard is dropped; the name of a proxy that dies is free after [`LEASE`]. Writes that
//! hold nothing are not held up, and may come between.
//!
//! `If-None-Match: *` of both dialects and S3's `If-Match` use it.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, FuturesUnordered};
use futures_util::{Stream, StreamExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;
use virga_object_wire::error::NodeError;
use virga_object_wire::hold::Hold;

use super::error::{BodyError, PutObjectError, ReadObjectError, Unavailable};
use super::fanout::why_unavailable;
use super::names::ObjectName;
use super::place::{Place, node_of};
use super::quorum::Members;
use super::renew::remember;
use super::shared::Shared;
use super::{Core, NewObject, Stored};

/// How long nodes keep a name for a proxy that says nothing more: longer than a
/// node may take for one call.
const LEASE: Duration = Duration::from_secs(15);
/// No request is in the middle of its write for longer; then its name is free.
const LONGEST: Duration = Duration::from_secs(300);
/// Longest wait for a name that others hold: longer than the lease of a dead one.
const PATIENCE: Duration = Duration::from_secs(20);
/// Waits between two tries are drawn from this range, milliseconds.
const TRIES_MS: std::ops::Range<u64> = 4..20;

/// A name that is held until this is dropped.
#[derive(Debug)]
pub struct HeldName {
    /// Its end is noticed by the task that keeps the name.
    _ends: oneshot::Sender<()>,
}

/// One request's wish to have a name.
struct Wish {
    shared: Arc<Shared>,
    name: ObjectName,
    policy: u32,
    holder: u128,
}

/// What members said to it.
#[derive(Default)]
struct Said {
    granted: Members,
    refused: Members,
    last: Option<NodeError>,
}

impl Wish {
    /// Asks all members, until a quorum has agreed or everybody was heard.
    async fn ask(&self, place: &Place, lease: Duration) -> Said {
        let hold = Hold {
            holder: self.holder,
            lease_ms: u32::try_from(lease.as_millis()).unwrap_or(u32::MAX),
        };
        let longest = self.shared.settings.stall;
        let members = place.members().iter().enumerate();
        let asked = members.map(|(member, peer)| async move {
            let (node, at) = (node_of(&*self.shared.nodes, peer), place.at(peer));
            (member, peer, timeout(longest, node.hold(&at, hold)).await)
        });
        let mut answers: FuturesUnordered<_> = asked.collect();
        let mut said = Said::default();
        while let Some((member, peer, answer)) = answers.next().await {
            let Ok(answer) = answer else {
                peer.silent(Instant::now());
                continue;
            };
            peer.note(&answer, Instant::now());
            match answer {
                Ok(true) => said.granted |= Members::one(member),
                Ok(false) => said.refused |= Members::one(member),
                Err(error) => remember(&mut said.last, error),
            }
            // All are to hear that it is given up.
            if !lease.is_zero() && place.quorums().write(said.granted) {
                break;
            }
        }
        said
    }

    /// Tries until it has the name.
    async fn get(&self) -> Result<(), Unavailable> {
        let started = Instant::now();
        let mut chance = self.holder;
        loop {
            let place = self.shared.object_place(&self.name, self.policy)?;
            let said = self.ask(&place, LEASE).await;
            let quorums = place.quorums();
            if quorums.write(said.granted) {
                return Ok(());
            }
            let late = started.elapsed() > PATIENCE;
            if said.refused.is_empty() || late {
                let newer = self.shared.renewed(&place, said.last.as_ref()).await;
                if newer.is_none() || late {
                    let (reached, needed) = quorums.write_shortfall(said.granted);
                    return Err(match said.refused.is_empty() {
                        true => why_unavailable(reached, needed, 0, said.last.as_ref()),
                        false => Unavailable::NoQuorum {
                            reached,
                            needed,
                            why: "others write the same name under a condition all the time".into(),
                        },
                    });
                }
                continue;
            }
            // Two that each have a part let go of it, and meet less likely again.
            self.ask(&place, Duration::ZERO).await;
            let spread = u128::from(TRIES_MS.end - TRIES_MS.start);
            let drawn = u64::try_from(chance % spread).unwrap_or_default();
            chance = chance.rotate_right(7);
            sleep(Duration::from_millis(TRIES_MS.start + drawn)).await;
        }
    }

    /// Keeps the name until the other end is dropped, and gives it up.
    async fn keep(self: Arc<Self>, mut over: oneshot::Receiver<()>) {
        let started = Instant::now();
        while started.elapsed() < LONGEST && timeout(LEASE / 3, &mut over).await.is_err() {
            if let Ok(place) = self.place() {
                self.ask(&place, LEASE).await;
            }
        }
        if let Ok(place) = self.place() {
            self.ask(&place, Duration::ZERO).await;
        }
    }

    fn place(&self) -> Result<Place, Unavailable> {
        self.shared.object_place(&self.name, self.policy)
    }
}

impl Core {
    /// Holds an object's name until the guard is dropped; waits while others have
    /// it, here or in other proxies. `None` without the container.
    ///
    /// # Errors
    /// Too few of the name's devices answer, or others have it for too long.
    pub async fn hold_object(&self, name: &ObjectName) -> Result<Option<HeldName>, Unavailable> {
        let Some(policy) = self.object_policy(name).await? else {
            return Ok(None);
        };
        let wish = Arc::new(Wish {
            shared: Arc::clone(&self.shared),
            name: name.clone(),
            policy,
            holder: Uuid::new_v4().as_u128(),
        });
        let (ends, over) = oneshot::channel();
        // Before the first try: what a request that goes away has got is given up.
        self.shared.tasks.spawn(Arc::clone(&wish).keep(over));
        let held = HeldName { _ends: ends };
        wish.get().await?;
        Ok(Some(held))
    }

    /// That there is no such object.
    async fn is_absent(&self, name: &ObjectName) -> Result<(), PutObjectError> {
        match self.head_object(name, false).await {
            Ok(_) | Err(ReadObjectError::Sealed { .. }) => Err(PutObjectError::Exists),
            Err(ReadObjectError::NotFound { .. }) => Ok(()),
            Err(ReadObjectError::Unavailable(error)) => Err(error.into()),
        }
    }

    /// Stores an object where there is none. Looks before the first byte of the body
    /// is read, and again when all are here, holding the name until it is stored.
    pub(super) async fn put_if_absent<S>(
        &self,
        name: &ObjectName,
        new: NewObject,
        body: S,
    ) -> Result<Stored, PutObjectError>
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Send,
    {
        self.is_absent(name).await?;
        let looked = Arc::new(Mutex::new(None));
        let (core, of, look) = (self.clone(), name.clone(), Arc::clone(&looked));
        let last = stream::once(async move {
            let result = match core.hold_object(&of).await {
                Ok(held) => core.is_absent(&of).await.map(|()| held),
                Err(error) => Err(error.into()),
            };
            let good = result.is_ok();
            *look.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            match good {
                true => Ok(Bytes::new()),
                false => Err(BodyError::Source("the condition does not hold any more".into())),
            }
        });
        let stored = self.put_always(name, new, body.chain(last)).await;
        let looked = looked.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The name is held up to here.
        match looked {
            Some(Err(error)) => Err(error),
            _ => stored,
        }
    }
}
