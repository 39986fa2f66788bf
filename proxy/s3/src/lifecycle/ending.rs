//! How things end: by the same code as requests of clients, for nobody's
//! account. Locked versions stay, and so does what has changed since it was seen.
use s3s::{S3ErrorCode, S3Result};
use virga_node::clock::Version;
use virga_object_wire::listing::ContainerInfo;
use virga_object_wire::object::ObjectStat;
use virga_proxy::core::{DeleteObjectError, ObjectName, ReadObjectError};
use virga_proxy::swift::versions::Keeping;
use virga_proxy::swift::versions::name::VersionId;

use crate::fault::IntoFault;
use crate::object::delete::Gone;
use crate::object::find::Asked;
use crate::{Backend, multipart};

impl Backend {
    /// The head of what is stored under a name, whatever it is; `None` if
    /// nothing is.
    pub(super) async fn stored(&self, name: &ObjectName) -> S3Result<Option<ObjectStat>> {
        match self.core().head_object(name, false).await {
            Ok(stat) => Ok(Some(stat)),
            Err(ReadObjectError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into_fault()),
        }
    }

    /// Ends the current object of a name that was seen with this version, as
    /// DeleteObject does. Returns whether it did: something newer stays.
    pub(super) async fn end_current(
        &self,
        info: &ContainerInfo,
        name: &ObjectName,
        seen: Version,
    ) -> S3Result<bool> {
        if Keeping::of(info) != Keeping::Nothing {
            let _held = self.hold(name).await?;
            let current = self.stored(name).await?;
            if current.is_none_or(|current| current.version != seen) {
                return Ok(false);
            }
            return stays_if_locked(self.remove(name, Asked::Current, false).await);
        }
        let upload = multipart::upload_of(self, info, name).await?;
        // Right behind what was seen: a newer object is not overtaken.
        let past = Version(seen.0.saturating_add(1));
        match self.core().delete_object(name, Some(past)).await {
            Ok(_) => {}
            Err(DeleteObjectError::Newer(_) | DeleteObjectError::NoContainer) => return Ok(false),
            Err(error) => return Err(error.into_fault()),
        }
        if let Some(upload) = upload {
            multipart::forget_parts(self, name, &upload).await;
        }
        Ok(true)
    }

    /// Ends one version, as DeleteObject with its id does. Returns whether it did.
    pub(super) async fn end_version(&self, name: &ObjectName, id: VersionId) -> S3Result<bool> {
        let _held = self.hold(name).await?;
        stays_if_locked(self.remove(name, Asked::Id(id), false).await)
    }
}

/// A lock is no failure: the version stays as long as it says.
fn stays_if_locked(removed: S3Result<Gone>) -> S3Result<bool> {
    match removed {
        Ok(_) => Ok(true),
        Err(error) if *error.code() == S3ErrorCode::AccessDenied => Ok(false),
        Err(error) => Err(error),
    }
}
