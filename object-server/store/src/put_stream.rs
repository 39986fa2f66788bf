//! Large objects on their way in.
//!
//! Pieces are gathered into extents of exactly 1 MiB, which go to the `bulk`
//! log as they fill. The commit waits until all of them are durable, checks the
//! root hash over their subtree values, and writes one COMMIT record to `hot`:
//! before that nothing is visible. What a crash or a dropped stream leaves in
//! `bulk` is named by nobody and goes with its segment.
use std::collections::VecDeque;

use async_trait::async_trait;
use blake3::hazmat::ChainingValue;
use bytes::Bytes;
use futures_util::FutureExt;
use virga_disk::batch::record::{Head, Kind as RecordKind, NewRecord};
use virga_disk::log::{CommitError, Committed, Ticket};
use virga_disk::segment::Locator;
use virga_object_wire::checked::{BLOCK, Checked, EXTENT, Hashed};
use virga_object_wire::error::NodeError;
use virga_object_wire::node::PutStream;
use virga_object_wire::object::{At, PutObject};
use virga_object_wire::tree;

use crate::apply::Outcome;
use crate::device::Device;
use crate::keys::NameKey;
use crate::mutate::{encode, from, head, invalid, judge};
use crate::pins::{Pinned, Writing};
use crate::record::{CommitHead, Facts, MAX_EXTENTS, pack};

/// Extents that one stream may have queued and not yet durable (invariant I10).
/// Twice what the log syncs at once, so that one stream alone keeps it busy.
const IN_FLIGHT: usize = 8;

/// An extent on its way to the device.
struct Sent {
    ticket: Ticket<Outcome>,
    writing: Writing,
}

/// A large object on its way in; see the module.
pub struct DevicePut {
    device: Device,
    at: At,
    name: NameKey,
    /// Pieces of the extent being gathered, and their checksums.
    pieces: Vec<Bytes>,
    crcs: Vec<u32>,
    gathered: usize,
    /// Subtree value of the extent being gathered, if it came as one piece
    /// that was hashed in this process.
    known: Option<ChainingValue>,
    sent: VecDeque<Sent>,
    places: Vec<Locator>,
    values: Vec<ChainingValue>,
    pinned: Pinned,
    size: u64,
    /// A piece that was no whole number of blocks came: it was the last.
    ended: bool,
    /// Everything is durable; only the COMMIT record may be asked for again.
    sealed: bool,
}

impl Device {
    /// Starts an object of any size.
    ///
    /// # Errors
    /// `Full` or `Device` if no new data is taken.
    pub async fn begin_put(&self, at: &At) -> Result<Box<dyn PutStream>, NodeError> {
        self.condition().admit_data()?;
        Ok(Box::new(DevicePut {
            device: self.clone(),
            at: at.clone(),
            name: NameKey::of(at),
            pieces: Vec::new(),
            crcs: Vec::new(),
            gathered: 0,
            known: None,
            sent: VecDeque::new(),
            places: Vec::new(),
            values: Vec::new(),
            pinned: Pinned::none(self.pins()),
            size: 0,
            ended: false,
            sealed: false,
        }))
    }
}

#[async_trait]
impl PutStream for DevicePut {
    async fn send(&mut self, piece: Checked) -> Result<(), NodeError> {
        if piece.is_empty() {
            return Ok(());
        }
        if self.ended || self.sealed {
            return Err(NodeError::Invalid("a piece after the last".into()));
        }
        if piece.len() > EXTENT {
            return Err(NodeError::Invalid(format!("a piece of {} bytes", piece.len())));
        }
        // CRC-32 of a whole extent costs some 20 us: not worth another thread.
        piece.verify().map_err(|_| NodeError::Garbled)?;
        self.ended = !piece.len().is_multiple_of(BLOCK);
        self.size += piece.len() as u64;
        let mut crcs = piece.crcs();
        let mut data = piece.data().clone();
        while !data.is_empty() {
            // A full extent waits for the next byte: an object of just one
            // never touches `bulk`.
            if self.gathered == EXTENT {
                self.send_extent().await?;
            }
            let part = data.split_to(data.len().min(EXTENT - self.gathered));
            self.known = match piece.hashed() {
                Some(Hashed::Extent { index, value }) if part.len() == piece.len() && self.gathered == 0 => {
                    (index == self.values.len() as u64).then_some(value)
                }
                _ => None,
            };
            let (now, later) = crcs.split_at(part.len().div_ceil(BLOCK));
            crcs = later;
            self.crcs.extend_from_slice(now);
            self.gathered += part.len();
            self.pieces.push(part);
        }
        if self.gathered == EXTENT && !self.values.is_empty() {
            self.send_extent().await?;
        }
        Ok(())
    }

    async fn commit(&mut self, put: PutObject) -> Result<(), NodeError> {
        if put.size != self.size {
            return Err(NodeError::Invalid(format!(
                "{} bytes came for a size of {}",
                self.size, put.size
            )));
        }
        if self.values.is_empty() {
            return self.commit_small(put).await;
        }
        if !self.sealed {
            self.seal(put.blake3).await?;
        }
        if self.device.admit_put(&self.name, &put).await? {
            return Ok(());
        }
        let facts = Facts {
            delete_at: put.meta.delete_at,
            handoff_for: put.handoff_for,
        };
        // The bound is on what the API stores, not on the list of extents.
        encode(facts, &put.meta)?;
        let commit = CommitHead {
            moves: 0,
            runs: pack(&self.places),
            meta: put.meta,
        };
        let meta = crate::record::encode(facts, &commit).map_err(invalid)?;
        let head = from(
            put.source,
            head(RecordKind::Commit, &self.name, put.version, put.size, put.blake3),
        );
        let record = NewRecord::new(head, meta.into(), Bytes::new()).map_err(invalid)?;
        judge(self.device.write_hot(record).await?, put.version, put.source)
    }
}

impl DevicePut {
    /// One extent or less: an ordinary object.
    async fn commit_small(&mut self, put: PutObject) -> Result<(), NodeError> {
        let data = match self.pieces.as_slice() {
            [one] => one.clone(),
            pieces => pieces.concat().into(),
        };
        self.device
            .put(&self.at, put, Checked::unverified(data, self.crcs.clone()))
            .await
    }

    /// Hands the gathered extent to the log, waiting for an older one if too
    /// many are on their way.
    async fn send_extent(&mut self) -> Result<(), NodeError> {
        self.device.condition().admit_data()?;
        if self.values.len() >= MAX_EXTENTS {
            return Err(NodeError::Invalid("the object is too large".into()));
        }
        while self.sent.len() >= IN_FLIGHT {
            self.settle_oldest().await?;
        }
        self.settle_ready()?;
        let index = self.values.len() as u64;
        let pieces = std::mem::take(&mut self.pieces);
        let value = match self.known.take() {
            Some(value) => value,
            None => {
                let hashing = pieces.clone();
                let hashed = self.device.threads().run(move || tree::extent(index, &hashing));
                hashed.await.map_err(invalid)?
            }
        };
        let head = Head {
            kind: RecordKind::Extent,
            policy: self.name.policy(),
            partition: self.name.partition().0,
            key: self.name.hash().0,
            version: 0,
            size: index * EXTENT as u64,
            blake3: value,
            settled: false,
        };
        let crcs = std::mem::take(&mut self.crcs);
        let record = NewRecord::with_crcs(head, Bytes::new(), pieces, crcs).map_err(invalid)?;
        let writing = self.device.pins().writing();
        let ticket = self.device.enqueue_bulk(record).await?;
        self.sent.push_back(Sent { ticket, writing });
        self.values.push(value);
        self.gathered = 0;
        Ok(())
    }

    async fn settle_oldest(&mut self) -> Result<(), NodeError> {
        let Some(mut sent) = self.sent.pop_front() else {
            return Ok(());
        };
        let answer = (&mut sent.ticket).await;
        self.landed(answer, sent.writing)
    }

    /// Takes what is durable already, so that a stalled upload pins the
    /// segments it is in and not all that come after.
    fn settle_ready(&mut self) -> Result<(), NodeError> {
        while let Some(sent) = self.sent.front_mut() {
            let Some(answer) = (&mut sent.ticket).now_or_never() else {
                break;
            };
            if let Some(sent) = self.sent.pop_front() {
                self.landed(answer, sent.writing)?;
            }
        }
        Ok(())
    }

    fn landed(
        &mut self,
        answer: Result<Committed<Outcome>, CommitError>,
        writing: Writing,
    ) -> Result<(), NodeError> {
        let at = self.device.answered(answer)?.locator;
        self.pinned.add(at.segment);
        drop(writing);
        self.places.push(at);
        Ok(())
    }

    /// Makes all extents durable and checks the root.
    async fn seal(&mut self, blake3: [u8; 32]) -> Result<(), NodeError> {
        if self.gathered > 0 {
            self.send_extent().await?;
        }
        self.device.flush_bulk().await?;
        while !self.sent.is_empty() {
            self.settle_oldest().await?;
        }
        if tree::root(&self.values) != Some(blake3) {
            return Err(NodeError::Garbled);
        }
        self.sealed = true;
        Ok(())
    }
}
