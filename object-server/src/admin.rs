//! What an operator asks of a device here: orders, duties at once, what is kept.
//!
//! Asked through [`virga_object_wire::node::ObjectNode::admin`]; the device does
//! it, this module only finds out which of its doors is meant.
use virga_disk::kept::Keep as Folder;
use virga_disk::order::Standing;
use virga_node::clock::Version;
use virga_object_store::listing::Listings;
use virga_object_wire::admin::{
    AdminAnswer, AdminRequest, Keep, KeptFile, MOST_FILES, MOST_ROWS, OwedRow, Wanted,
};
use virga_object_wire::error::NodeError;
use virga_object_wire::movement::RingName;

use crate::local::OpenDevice;
use crate::movement::Movements;

fn folder(keep: Keep) -> Folder {
    match keep {
        Keep::Quarantine => Folder::Bad,
        Keep::Stale => Folder::Stale,
    }
}

/// Does what is asked.
pub(crate) async fn answer(
    device: &OpenDevice,
    movements: &Movements,
    request: AdminRequest,
) -> Result<AdminAnswer, NodeError> {
    let objects = &device.objects;
    match request {
        AdminRequest::Order { wanted, note } => {
            let standing = match wanted {
                Wanted::Active => Standing::Active,
                Wanted::ReadOnly => Standing::ReadOnly,
                Wanted::Draining => Standing::Draining,
            };
            let obeyed = objects.order(standing, note).await;
            // A drain begins, and what was missed meanwhile comes, at once.
            movements.nudge(&device.name);
            obeyed.map(|()| AdminAnswer::Done)
        }
        AdminRequest::Reconcile => {
            movements.nudge(&device.name);
            Ok(AdminAnswer::Done)
        }
        AdminRequest::Scrub => objects.scrub_now().await.map(|()| AdminAnswer::Done),
        AdminRequest::Files { keep, after, limit } => {
            let files = objects
                .kept_files(folder(keep), after, limit.min(MOST_FILES))
                .await?;
            let file = |(file, line): (virga_disk::kept::KeptFile, String)| KeptFile {
                name: file.name,
                size: file.size,
                written: file.written,
                line,
            };
            Ok(AdminAnswer::Files(files.into_iter().map(file).collect()))
        }
        AdminRequest::Show { keep, name } => {
            let (line, bytes) = objects.kept_show(folder(keep), name).await?;
            Ok(AdminAnswer::Shown { line, bytes })
        }
        AdminRequest::Purge { keep, name } => match objects.kept_purge(folder(keep), name).await? {
            true => Ok(AdminAnswer::Done),
            false => Err(NodeError::NotFound),
        },
        AdminRequest::Owed => {
            let rows = objects.owed(MOST_ROWS, Version(u64::MAX)).await?;
            let row = |row: virga_object_store::owed::OwedRow| OwedRow {
                ring: RingName::Object(row.at.policy),
                timestamp: row.settled.version.to_timestamp(),
                deleted: row.row.deleted,
                path: row.path,
            };
            Ok(AdminAnswer::Owed(rows.into_iter().map(row).collect()))
        }
    }
}

impl OpenDevice {
    /// The device, to be compared with others. One that is to be emptied refuses:
    /// to its peers it counts as away, so that what stands in for it elsewhere
    /// stays there.
    pub(crate) fn comparable(&self) -> Result<&Self, NodeError> {
        match self.objects.is_to_be_emptied() {
            true => Err(NodeError::Device(format!(
                "{} is being emptied and counts as away",
                self.name
            ))),
            false => Ok(self),
        }
    }

    /// Its accounts and containers, if it takes writes.
    pub(crate) fn listings_to_write(&self) -> Result<&Listings, NodeError> {
        self.objects.admit_rows()?;
        Ok(&self.listings)
    }
}
