//! Operations on objects.
pub(crate) mod attributes;
pub(crate) mod body;
pub(crate) mod copy;
pub(crate) mod delete;
pub(crate) mod read;
pub(crate) mod view;
pub(crate) mod write;

use s3s::{S3Result, s3_error};

/// Refuses a version other than the only one there is. Buckets have no
/// versioning here, so every object's version is "null".
///
/// # Errors
/// `NoSuchVersion`.
pub(crate) fn check_version(version: Option<&str>) -> S3Result<()> {
    match version {
        None | Some("" | "null") => Ok(()),
        Some(_) => Err(s3_error!(NoSuchVersion)),
    }
}
