//! What stands between a call and the device it names: the fence of rings, the
//! fence of devices that were away, the clocks, and the count of what is under way.
//!
//! Used by every call of [`crate::local`].
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use virga_node::clock::Version;
use virga_object_store::foreground::Serving;
use virga_object_wire::checked::Checked;
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::ObjectRow;
use virga_object_wire::movement::{Push, RingName};
use virga_object_wire::node::PutStream;
use virga_object_wire::object::{At, PutObject};

use crate::clocks::Clocks;
use crate::local::{LocalNode, OpenDevice, Place};

/// Calls being carried out, and how many there ever were.
#[derive(Default)]
pub(crate) struct Traffic {
    now: AtomicUsize,
    ever: AtomicU64,
}

/// A device while a call uses it.
pub(crate) struct InUse<'a> {
    device: &'a OpenDevice,
    /// What others do for themselves gives way to it.
    serving: Option<Serving>,
    traffic: &'a Traffic,
}

impl Deref for InUse<'_> {
    type Target = OpenDevice;

    fn deref(&self) -> &OpenDevice {
        self.device
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        self.traffic.now.fetch_sub(1, Ordering::AcqRel);
    }
}

impl LocalNode {
    /// Calls being carried out now, and how many there ever were.
    pub(crate) fn traffic(&self) -> (usize, u64) {
        (
            self.traffic.now.load(Ordering::Acquire),
            self.traffic.ever.load(Ordering::Acquire),
        )
    }

    /// Refuses versions that most nodes would refuse, though this one's clock agrees.
    pub(crate) fn admit(&self, version: Version) -> Result<(), NodeError> {
        match self.movements().known() {
            Some(known) => known.clocks.admit(version),
            None => Ok(()),
        }
    }

    /// The device of a request that a ring placed there.
    pub(crate) fn placed(&self, ring: RingName, at: &At) -> Result<InUse<'_>, NodeError> {
        if let Some(known) = self.movements().known() {
            known.fence.check(ring, at.ring)?;
        }
        self.device(&at.device)
    }

    /// The same for a request that a client waits for.
    pub(crate) fn asked(&self, ring: RingName, at: &At) -> Result<InUse<'_>, NodeError> {
        let mut device = self.placed(ring, at)?;
        device.serving = Some(device.objects.serve());
        Ok(device)
    }

    /// The same for one that is answered from what the device holds.
    pub(crate) fn believed(&self, ring: RingName, at: &At) -> Result<InUse<'_>, NodeError> {
        let device = self.asked(ring, at)?;
        // Without rings there are no other replicas to be out of step with.
        if self.movements().known().is_some() {
            device.in_step(ring)?;
        }
        Ok(device)
    }

    pub(crate) fn device(&self, name: &str) -> Result<InUse<'_>, NodeError> {
        match self.places.get(name) {
            Some(Place::Open(device)) => {
                self.traffic.now.fetch_add(1, Ordering::AcqRel);
                self.traffic.ever.fetch_add(1, Ordering::AcqRel);
                Ok(InUse {
                    device,
                    serving: None,
                    traffic: &self.traffic,
                })
            }
            _ => Err(NodeError::NoDevice(name.to_owned())),
        }
    }

    /// The same for a large object on its way in, whose version comes at the end.
    pub(crate) fn watched(&self, stream: Box<dyn PutStream>) -> Box<dyn PutStream> {
        match self.movements().known() {
            Some(known) => Box::new(Watched {
                stream,
                clocks: Arc::clone(&known.clocks),
            }),
            None => stream,
        }
    }
}

/// See [`LocalNode::watched`].
struct Watched {
    stream: Box<dyn PutStream>,
    clocks: Arc<Clocks>,
}

#[async_trait]
impl PutStream for Watched {
    async fn send(&mut self, piece: Checked) -> Result<(), NodeError> {
        self.stream.send(piece).await
    }

    async fn commit(&mut self, put: PutObject) -> Result<(), NodeError> {
        self.clocks.admit(put.version)?;
        self.stream.commit(put).await
    }
}

/// The newest version among rows of objects.
pub(crate) fn newest_of_rows(rows: &[ObjectRow]) -> Version {
    let versions = rows.iter().map(|row| row.version.max(row.meta_version));
    versions.max().unwrap_or_default()
}

/// The version of what another replica has.
pub(crate) fn version_of(push: &Push) -> Version {
    match push {
        Push::Deletion { version, .. } => *version,
        Push::Post { update, .. } => update.version,
    }
}
