//! Versions of objects, in all modes Swift knows.
//!
//! `X-Versions-Enabled`: bytes are written once, to a hidden container beside
//! the client's ([`name`]); in the client's container stands a link that says
//! which version is the current one ([`link`]). Older modes
//! (`X-Versions-Location`, `X-History-Location`) copy what is about to be
//! overwritten to a container of the client's choice ([`legacy`]). What keeps
//! a version from being deleted is in [`lock`].
//!
//! What is done to objects ([`write`]) knows no requests, so that another
//! dialect can do the same. Who may do it is asked by the handlers.
pub mod container;
pub(super) mod handle;
pub mod legacy;
pub mod link;
pub(super) mod list;
pub mod lock;
pub mod name;
pub mod stack;
pub mod write;

use virga_object_wire::listing::ContainerInfo;

use super::meta_value;

/// Container metadata: whether versions are kept ("true", "false"); absent
/// where they never were.
pub const ENABLED: &str = "x-container-sysmeta-versions-enabled";
/// Container metadata: where the older modes copy to, percent-encoded.
pub const LOCATION: &str = "x-container-sysmeta-versions-location";
/// Container metadata: which of the older modes ("stack", "history").
pub const MODE: &str = "x-container-sysmeta-versions-mode";
/// The type of a version that marks a deletion.
pub const DELETED_TYPE: &str = "application/x-deleted;swift_versions_deleted=1";
/// Shown with every version.
pub const ID_HEADER: &str = "x-object-version-id";
/// The id of what was stored while no versions were kept.
pub const NULL_ID: &str = "null";

/// What a container does with what is overwritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// Nothing, and never did.
    Nothing,
    /// Nothing any more; there may be versions from before.
    Suspended,
    /// Every write is a version.
    Versions,
    /// Copies what is overwritten; a deletion brings the last copy back.
    Stack(String),
    /// Copies what is overwritten or deleted.
    History(String),
}

impl Keeping {
    /// What a container with this info does.
    pub fn of(info: &ContainerInfo) -> Self {
        let value = |name| meta_value(&info.meta, name);
        match (value(ENABLED), value(LOCATION), value(MODE)) {
            (Some("true"), _, _) => Self::Versions,
            (Some(_), None, _) => Self::Suspended,
            (_, Some(location), Some("history")) => Self::History(location.to_owned()),
            (_, Some(location), _) => Self::Stack(location.to_owned()),
            (None, None, _) => Self::Nothing,
        }
    }

    /// Whether there may be versions of its objects.
    pub fn has_versions(info: &ContainerInfo) -> bool {
        meta_value(&info.meta, ENABLED).is_some()
    }
}
