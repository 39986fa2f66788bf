//! Damaged records leave the index, so that nobody is served from them.
//!
//! The device then differs from its peers in one name, which their digests
//! show; reconciliation fetches it back. The bytes are kept in `bad/`.
use bytes::Bytes;
use virga_disk::segment::Locator;
use virga_object_wire::error::NodeError;
use virga_object_wire::status::Cause;

use crate::bad::{TOO_MANY, WORN};
use crate::change::Change;
use crate::device::Device;
use crate::keys::NameKey;

impl Device {
    /// Sets a name's record aside: `named` is the place by which the entry
    /// names it (the commit record of an extent), `damaged` where the bad
    /// `bytes` were. Gives the error for the reader.
    pub(crate) async fn set_aside(
        &self,
        name: &NameKey,
        named: Locator,
        damaged: Locator,
        bytes: Bytes,
    ) -> NodeError {
        let (device, name) = (self.clone(), *name);
        let done = self
            .reader()
            .pool()
            .run(move || device.set_aside_blocking(&name, named, damaged, &bytes));
        match done.await {
            Ok(Ok(())) => NodeError::Damaged,
            Ok(Err(error)) => error,
            Err(closed) => crate::device::device_failed(closed),
        }
    }

    /// Takes note of a damaged place; everything leaves a segment with several.
    pub(crate) fn note_damage(&self, damaged: Locator) {
        if self.bad().note(damaged.segment, u64::from(damaged.offset)) {
            tracing::warn!(
                device = &**self.name(),
                segment = damaged.segment,
                "{WORN} records of a segment are damaged, what lives in it is moved"
            );
            self.leave_worn(damaged.segment);
        }
    }

    /// Has nothing more written to a worn segment, nor to its file later.
    pub(crate) fn leave_worn(&self, segment: u64) {
        if let Some(segment) = self.segments().get(segment) {
            segment.leave();
        }
    }

    /// As [`Device::set_aside`], on a thread that may block. An entry that
    /// names another place by now is left alone.
    pub(crate) fn set_aside_blocking(
        &self,
        name: &NameKey,
        named: Locator,
        damaged: Locator,
        bytes: &[u8],
    ) -> Result<(), NodeError> {
        let mut lock = self.index().lock();
        let mut change = Change::new(self.index());
        let entry = change.entry(name).map_err(|error| self.index_failed(&error))?;
        let Some(old) = entry.filter(|entry| {
            let winner = entry.winner.as_ref().map(|winner| winner.place);
            winner == Some(named) || entry.post.as_ref().map(|post| post.place) == Some(named)
        }) else {
            return Ok(());
        };
        change.replace(*name, Some(&old), None);
        lock.write(change.finish(), 0)
            .map_err(|error| self.index_failed(&error))?;
        drop(lock);
        tracing::error!(
            device = &**self.name(),
            hash = %name.hash(),
            segment = damaged.segment,
            offset = damaged.offset,
            "a damaged record is set aside"
        );
        self.note_damage(damaged);
        self.bad().keep(damaged.segment, u64::from(damaged.offset), bytes);
        let now = self.clock().now();
        let why = || format!("{TOO_MANY} damaged records within an hour");
        if self.bad().too_many(now) && self.condition().fail(Cause::BadRecords, now, why()) {
            tracing::error!(
                device = &**self.name(),
                "too many damaged records, the device takes no new data"
            );
        }
        Ok(())
    }
}
