//! How a device is doing, in words for people and numbers for machines, and
//! what an operator wants of it.
//!
//! Asked by the object server for `virga status` and `virga admin`. What the
//! workers do on the device is theirs to add.
use std::io;

use virga_disk::device::Device as Folder;
use virga_disk::kept::{Keep, KeptFile};
use virga_disk::order::{Order, Standing};
use virga_node::clock::Micros;
use virga_object_wire::admin::SHOWN;
use virga_object_wire::error::NodeError;
use virga_object_wire::status::{Cause, DeviceState, DeviceStatus, Reason, Work};

use crate::bad::WORN;
use crate::device::{Device, device_failed};

impl Device {
    /// How the device is doing, and what it does by itself. What its workers do
    /// is theirs to add.
    pub fn status(&self) -> DeviceStatus {
        let (state, reasons) = self.condition().state();
        let (total, free) = self.condition().space();
        let (stats, kept) = (self.stats(), self.kept().counts());
        DeviceStatus {
            device: self.name().to_string(),
            state,
            reasons,
            free,
            total,
            objects: stats.objects,
            bytes: stats.bytes,
            quarantined: stats.quarantined,
            bad_files: kept.0,
            stale_files: kept.1,
            // What the index cannot say now, its failure does.
            scrub: self.scrub_status().unwrap_or_default(),
            work: self.leaving().into_iter().collect(),
        }
    }

    /// What is being done about segments with several damaged records.
    fn leaving(&self) -> Option<Work> {
        let worn = self.bad().worn();
        let (first, left) = (worn.first()?, worn.len() as u64);
        Some(Work {
            duty: "empty damaged segments".to_owned(),
            unit: "segments".to_owned(),
            left,
            trouble: Some(format!("{WORN} or more records of segment {first} are damaged")),
            ..Work::default()
        })
    }

    /// What the device is good for, and why.
    pub fn state(&self) -> (DeviceState, Vec<Reason>) {
        self.condition().state()
    }

    /// Whether what it holds should go to other devices: an operator wants it,
    /// or it is broken.
    pub fn is_to_be_emptied(&self) -> bool {
        self.condition().standing() == Standing::Draining || self.condition().is_sick()
    }

    /// Whether it takes rows of listings: as long as it takes deletions.
    ///
    /// # Errors
    /// Why it does not.
    pub fn admit_rows(&self) -> Result<(), NodeError> {
        self.condition().admit_delete()
    }

    /// At most `limit` kept files behind the name `after`, each with what it says
    /// of itself.
    ///
    /// # Errors
    /// `Device` if the folder cannot be read.
    pub async fn kept_files(
        &self,
        keep: Keep,
        after: String,
        limit: u32,
    ) -> Result<Vec<(KeptFile, String)>, NodeError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.on_folder(move |folder| {
            let files = folder.kept_list(keep, &after, limit)?;
            let said = |file: KeptFile| {
                let line = line_of(folder, keep, &file.name);
                (file, line)
            };
            Ok(files.into_iter().map(said).collect())
        })
        .await
    }

    /// What a kept file says of itself, and its first bytes.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for what is no name; `Device`.
    pub async fn kept_show(&self, keep: Keep, name: String) -> Result<(String, Vec<u8>), NodeError> {
        self.on_folder(move |folder| {
            let bytes = folder.kept_read(keep, &name, SHOWN)?;
            Ok((line_of(folder, keep, &name), bytes))
        })
        .await
    }

    /// Removes a kept file for good; says whether it was there.
    ///
    /// # Errors
    /// As [`Device::kept_show`].
    pub async fn kept_purge(&self, keep: Keep, name: String) -> Result<bool, NodeError> {
        tracing::warn!(
            device = &**self.name(),
            ?keep,
            name,
            "an operator removes a kept file"
        );
        self.on_folder(move |folder| folder.kept_remove(keep, &name))
            .await
    }

    async fn on_folder<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> io::Result<T> + Send + 'static,
    ) -> Result<T, NodeError> {
        let folder = self.folder().cloned();
        let folder = folder.ok_or_else(|| device_failed("the device is no folder"))?;
        let done = self.reader().pool().run(move || work(&folder)).await;
        done.map_err(device_failed)?.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => NodeError::NotFound,
            io::ErrorKind::InvalidInput => NodeError::Invalid(error.to_string()),
            _ => device_failed(error),
        })
    }

    /// Obeys what stands on the device.
    pub(crate) fn obey_stored(&self) {
        let Some(folder) = self.folder() else { return };
        let order = folder.order().unwrap_or_else(|error| {
            tracing::error!(device = &**self.name(), %error, "the operator's order cannot be read, no writes are taken");
            Order {
                standing: Standing::ReadOnly,
                since: self.clock().now().0,
                note: format!("the order on the device cannot be read: {error}"),
            }
        });
        self.condition().obey(&order);
    }

    /// Puts the device under an operator's order, durably. An order to be active
    /// also forgives damaged records.
    ///
    /// # Errors
    /// `Invalid` if the device cannot be active again before it is opened anew,
    /// `Device` if the order holds only until then: it could not be written.
    pub async fn order(&self, standing: Standing, note: String) -> Result<(), NodeError> {
        let since = self.order_since(standing);
        let since = since.unwrap_or_else(|| self.clock().now());
        self.keep_order(standing, since, note).await
    }

    /// Since when the device is under the same order, if it is.
    fn order_since(&self, standing: Standing) -> Option<Micros> {
        let (_, reasons) = self.condition().state();
        let known = reasons.iter().find(|reason| reason.cause == Cause::Operator)?;
        (self.condition().standing() == standing).then_some(known.since)
    }

    async fn keep_order(&self, standing: Standing, since: Micros, note: String) -> Result<(), NodeError> {
        let order = Order {
            standing,
            since: since.0,
            note,
        };
        self.condition().obey(&order);
        tracing::warn!(
            device = &**self.name(),
            ?standing,
            note = order.note,
            "an operator's order"
        );
        if let Some(folder) = self.folder().cloned() {
            let written = self.reader().pool().run(move || folder.set_order(&order)).await;
            written.map_err(device_failed)?.map_err(|error| {
                NodeError::Device(format!(
                    "the order stands until the device is opened again, as it cannot be written there: {error}"
                ))
            })?;
        }
        if standing == Standing::Active {
            self.bad().forgive();
            if !self.condition().forgive_bad_records() {
                return Err(NodeError::Invalid(
                    "the device has failed and takes no writes before its process is restarted: see `virga status`"
                        .to_owned(),
                ));
            }
        }
        Ok(())
    }
}

/// The first line of an object set aside; damaged bytes say nothing.
fn line_of(folder: &Folder, keep: Keep, name: &str) -> String {
    match keep {
        Keep::Bad => String::new(),
        Keep::Stale => folder.kept_object(name).map(|(line, _)| line).unwrap_or_default(),
    }
}
