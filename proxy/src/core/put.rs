//! PUT of an object: the body is gathered up to one extent; what fits goes to
//! every replica in one message, larger ones are streamed ([`super::upload`]).
use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, timeout};
use virga_object_wire::checked::{Checked, EXTENT};
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::ObjectRow;
use virga_object_wire::object::{ObjectMeta, ObjectStat, PutObject, Source};

use super::digest::{self, Digests};
use super::error::{BodyError, PutObjectError, Unavailable};
use super::fanout::{self, Call, Rest};
use super::heal;
use super::names::ObjectName;
use super::peer::Peer;
use super::place::{Place, node_of};
use super::quorum::Members;
use super::rows::conclude;
use super::sealing::Treatment;
use super::settings::Settings;
use super::shared::Shared;
use super::upload;
use super::{Core, NewObject, ObjectBody, Stored};

/// The body of an upload, cut into extents, its announced length watched.
pub(super) struct BodySource<'a, S> {
    body: Pin<&'a mut S>,
    /// Came with the last extent and belongs to the next.
    left: Bytes,
    got: u64,
    ended: bool,
    expected: Option<u64>,
    limit: u64,
    patience: std::time::Duration,
}

impl<'a, S: Stream<Item = Result<Bytes, BodyError>>> BodySource<'a, S> {
    fn new(body: Pin<&'a mut S>, new: &NewObject, settings: &Settings) -> Result<Self, PutObjectError> {
        if new.expected_size.is_some_and(|size| size > new.max_size) {
            return Err(PutObjectError::TooLarge { limit: new.max_size });
        }
        Ok(Self {
            body,
            left: Bytes::new(),
            got: 0,
            ended: false,
            expected: new.expected_size,
            limit: new.max_size,
            patience: settings.body_timeout,
        })
    }

    /// Bytes that came so far.
    pub(super) fn got(&self) -> u64 {
        self.got
    }

    /// Whether the last extent was the last one.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// The next frame that is not empty; `None` at the end.
    async fn frame(&mut self) -> Result<Option<Bytes>, PutObjectError> {
        loop {
            let next = timeout(self.patience, self.body.next())
                .await
                .map_err(|_| BodyError::TooSlow)?;
            let Some(frame) = next.transpose()? else {
                self.ended = true;
                return match self.expected {
                    Some(expected) if expected != self.got => Err(PutObjectError::SizeMismatch {
                        expected,
                        got: self.got,
                    }),
                    _ => Ok(None),
                };
            };
            self.got += frame.len() as u64;
            if self.got > self.limit {
                return Err(PutObjectError::TooLarge { limit: self.limit });
            }
            if let Some(expected) = self.expected.filter(|expected| self.got > *expected) {
                return Err(PutObjectError::SizeMismatch {
                    expected,
                    got: self.got,
                });
            }
            if !frame.is_empty() {
                return Ok(Some(frame));
            }
        }
    }

    /// The next [`EXTENT`] bytes, fewer only at the end.
    pub(super) async fn extent(&mut self) -> Result<Bytes, PutObjectError> {
        // A single frame is passed on as it is; several are joined by a copy.
        let mut held = std::mem::take(&mut self.left);
        let mut joined = BytesMut::new();
        loop {
            let have = held.len() + joined.len();
            if have >= EXTENT {
                break;
            }
            let Some(mut frame) = self.frame().await? else {
                return Ok(if joined.is_empty() { held } else { joined.freeze() });
            };
            if have == 0 {
                held = frame;
                continue;
            }
            if joined.is_empty() {
                let announced = self.expected.map_or(0, |size| size - self.got);
                let coming = usize::try_from(announced)
                    .unwrap_or(EXTENT)
                    .saturating_add(frame.len());
                joined.reserve(EXTENT.min(have.saturating_add(coming)));
                joined.extend_from_slice(&std::mem::take(&mut held));
            }
            joined.extend_from_slice(&frame.split_to(frame.len().min(EXTENT - have)));
            self.left = frame;
        }
        let extent = if joined.is_empty() {
            let extent = held.split_to(EXTENT);
            self.left = held;
            extent
        } else {
            joined.freeze()
        };
        if self.left.is_empty() {
            self.left = self.frame().await?.unwrap_or_default();
        }
        Ok(extent)
    }
}

/// What is stored beside the bytes, which are all here.
pub(super) fn meta_of(name: &ObjectName, new: NewObject, etag: String, size: u64) -> ObjectMeta {
    let ending = new.at_end.map(|told| (told.0)(&etag, size)).unwrap_or_default();
    let mut sysmeta = new.sysmeta;
    sysmeta.extend(ending.sysmeta);
    ObjectMeta {
        path: name.path().to_owned(),
        content_type: new.content_type,
        etag,
        delete_at: new.delete_at,
        headers: new.headers,
        sysmeta,
        listed: ending.listed.or(new.listed),
    }
}

/// Compares what came with what was announced, of sealed bytes what they were
/// before.
pub(super) fn settle(new: &NewObject, digests: &Digests) -> Result<(), PutObjectError> {
    let got = digests.plain.as_ref().unwrap_or(&digests.etag);
    match &new.expected_etag {
        Some(expected) if !expected.eq_ignore_ascii_case(got) => {
            Err(PutObjectError::EtagMismatch { got: got.clone() })
        }
        _ => Ok(()),
    }
}

/// An object that a quorum of replicas has, with those replicas.
pub(super) struct Placed {
    /// What they have.
    pub(super) put: PutObject,
    /// Who they are.
    pub(super) stored: Vec<Arc<Peer>>,
    /// The others, unless they finish by themselves.
    pub(super) late: Option<Rest<()>>,
}

impl Core {
    /// Stores an object and waits until a quorum of replicas has it on stable
    /// storage and (for a bounded time) until its container lists it.
    ///
    /// Dropping the future before it ends leaves nothing visible, unless all
    /// bytes were there already: then the replicas finish by themselves.
    ///
    /// # Errors
    /// See [`PutObjectError`]; nothing is visible after one, but after
    /// [`Unavailable`] fewer replicas than a quorum may have the object.
    pub async fn put_object<S>(
        &self,
        name: &ObjectName,
        mut new: NewObject,
        body: S,
    ) -> Result<Stored, PutObjectError>
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Send,
    {
        match std::mem::take(&mut new.if_none_match_any) {
            true => self.put_if_absent(name, new, body).await,
            false => self.put_always(name, new, body).await,
        }
    }

    /// The same, whatever is there.
    pub(super) async fn put_always<S>(
        &self,
        name: &ObjectName,
        mut new: NewObject,
        body: S,
    ) -> Result<Stored, PutObjectError>
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Send,
    {
        let container = self
            .container_info_at(name.container_path(), || name.container_name())
            .await?
            .ok_or(PutObjectError::NoContainer)?;
        let policy = container.policy;
        let treatment = self.opener.seal(&mut new, &container.meta)?;
        drop(container);
        let body = pin!(body);
        let mut source = BodySource::new(body, &new, &self.shared.settings)?;
        let first = source.extent().await?;
        // Not earlier: clients may take their time, and rings change.
        let mut place = self.shared.object_place(name, policy)?;
        let placed = if source.ended() {
            self.put_whole(name, &mut place, (new, treatment), first).await?
        } else {
            let new = (new, treatment);
            let placed = upload::stream(&self.shared, name, &mut place, new, first, source).await?;
            let given_up = self.given_up_by(&place, &placed.stored).await;
            let now = match self.shared.renewed(&place, given_up.as_ref()).await {
                Some(now) => now,
                None if given_up.is_some() => return Err(ring_given_up().into()),
                None => self.shared.object_place(name, policy)?,
            };
            if !now.is_of_same_rings(&place) {
                self.follow(&now, &placed.put, &placed.stored).await?;
            }
            placed
        };
        self.conclude_put(name, &place, placed).await
    }

    /// Whether a node that took an upload has given up its ring meanwhile: then
    /// it may have looked through what it held before the upload was there.
    async fn given_up_by(&self, place: &Place, stored: &[Arc<Peer>]) -> Option<NodeError> {
        let asked = stored.iter().map(|peer| async move {
            let (node, at) = (node_of(&*self.shared.nodes, peer), place.at(peer));
            let answer = timeout(self.shared.settings.stall, node.head(&at)).await;
            match answer {
                Ok(Err(error @ NodeError::RingGivenUp { .. })) => Some(error),
                _ => None,
            }
        });
        join_all(asked).await.into_iter().flatten().next()
    }

    /// A ring changed during an upload: before it is acknowledged, a quorum of
    /// the new ring has it too. Readers may have forgotten the old ring by now.
    async fn follow(&self, now: &Place, put: &PutObject, stored: &[Arc<Peer>]) -> Result<(), Unavailable> {
        let stat = ObjectStat {
            version: put.version,
            meta_version: put.version,
            type_version: put.version,
            size: put.size,
            blake3: put.blake3,
            meta: put.meta.clone(),
        };
        let mut have = now.numbers_of(stored);
        for (member, peer) in now.members().iter().enumerate() {
            if now.quorums().write(have) {
                break;
            }
            if !have.has(member) {
                match heal::bring(&self.shared, now, &stat, stored, peer).await {
                    Ok(()) => have |= Members::one(member),
                    Err(error) => {
                        tracing::debug!(device = %peer.name, %error, "did not get an upload during a ring change");
                    }
                }
            }
        }
        if now.quorums().write(have) {
            return Ok(());
        }
        let (reached, needed) = now.quorums().write_shortfall(have);
        Err(Unavailable::NoQuorum {
            reached,
            needed,
            why: "the ring changed during the upload".into(),
        })
    }

    async fn put_whole(
        &self,
        name: &ObjectName,
        place: &mut Place,
        (new, treatment): (NewObject, Treatment),
        body: Bytes,
    ) -> Result<Placed, PutObjectError> {
        let size = body.len() as u64;
        let (digests, body) = digest::whole(body, &self.shared.hashing, treatment.work)
            .await
            .map_err(|_| shutting_down())?;
        settle(&new, &digests)?;
        let asked = new.version;
        let etag = treatment.etag.unwrap_or(digests.etag);
        let meta = meta_of(name, new, etag, size);
        let version = self.shared.version(asked);
        let put = PutObject {
            version,
            size,
            blake3: digests.blake3,
            meta,
            handoff_for: None,
            source: Source::Client,
        };
        store(&self.shared, place, put, body, asked.is_some()).await
    }

    async fn conclude_put(
        &self,
        name: &ObjectName,
        place: &Place,
        placed: Placed,
    ) -> Result<Stored, PutObjectError> {
        let PutObject {
            version,
            size,
            blake3,
            meta,
            ..
        } = placed.put;
        let etag = meta.etag.clone();
        let stat = ObjectStat {
            version,
            meta_version: version,
            type_version: version,
            size,
            blake3,
            meta,
        };
        if let Some(row) = ObjectRow::of(&stat) {
            conclude(&self.shared, name, place, row, placed.stored, placed.late).await;
        }
        Ok(Stored {
            etag,
            version,
            size,
            blake3,
        })
    }

    /// Stores what `source` delivers as a new object. The dialect decides on
    /// `new` (which metadata of the source goes along).
    ///
    /// # Errors
    /// As [`Core::put_object`]; a source that cannot be read on is
    /// [`BodyError::Source`].
    pub async fn copy_object(
        &self,
        source: ObjectBody,
        name: &ObjectName,
        new: NewObject,
    ) -> Result<Stored, PutObjectError> {
        let bytes = source.map(|piece| piece.map_err(|error| BodyError::Source(error.to_string())));
        self.put_object(name, new, bytes).await
    }
}

/// An upload lies where nobody will look for it.
fn ring_given_up() -> Unavailable {
    Unavailable::NoQuorum {
        reached: 0,
        needed: 1,
        why: "the ring was given up during the upload, and the newer one cannot be had".into(),
    }
}

/// The pool that hashes is closed.
pub(super) fn shutting_down() -> Unavailable {
    Unavailable::NoQuorum {
        reached: 0,
        needed: 1,
        why: "the proxy is shutting down".into(),
    }
}

/// Puts a whole object onto a quorum of replicas, with a newer version if the
/// nodes have newer data; overtaken again, it counts as done, as newer data has
/// replaced it.
async fn store(
    shared: &Arc<Shared>,
    place: &mut Place,
    mut put: PutObject,
    body: Checked,
    fixed: bool,
) -> Result<Placed, PutObjectError> {
    let (mut again, mut stamped) = (false, Instant::now());
    loop {
        let (tally, late) = fanout::write(shared, place, put_call(put.clone(), body.clone())).await;
        let newer = tally.newer();
        match newer {
            _ if tally.reached => {}
            Some(newer) if fixed => return Err(PutObjectError::Newer(newer)),
            Some(newer) if !again && tally.may_be_stamped_anew(place, tally.is_taken(), stamped, shared) => {
                (again, stamped) = (true, Instant::now());
                put.version = shared.restamp(newer);
                continue;
            }
            Some(_) if again && tally.is_overtaken(place) => {}
            _ => return Err(tally.unavailable().into()),
        }
        let stored = tally.oks.into_iter().map(|(peer, ())| peer).collect();
        return Ok(Placed {
            put,
            stored,
            late: Some(late),
        });
    }
}

fn put_call(put: PutObject, body: Checked) -> Call<()> {
    Box::new(move |node, at, handoff_for| {
        let put = PutObject {
            handoff_for,
            ..put.clone()
        };
        let body = body.clone();
        Box::pin(async move { node.put(&at, put, body).await })
    })
}
