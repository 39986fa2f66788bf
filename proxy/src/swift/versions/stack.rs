//! The versions of one object, as the rows of the hidden container tell them.
use virga_object_wire::listing::{Entry, ListRequest, ObjectRow};
use virga_object_wire::object::{Header, Listed};

use super::DELETED_TYPE;
use super::link::Target;
use super::name::{self, VersionId};
use crate::core::{Core, ListError, ObjectName};

/// Metadata of a version that was stored while no versions were kept.
const NULL: &str = "x-object-sysmeta-version-null";
/// The same behind the ETag of its row.
const NULL_ROW: &str = "version_null=1";
/// Rows read at once.
const PAGE: u32 = 1000;

/// One version of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its id.
    pub id: VersionId,
    /// Its row.
    pub row: ObjectRow,
}

impl Kept {
    /// Reads a row of a hidden container: the object's name, and the version.
    /// `None` for what is no version.
    pub fn of(row: ObjectRow) -> Option<(String, Self)> {
        let (object, id) = name::split(&row.name)?;
        Some((object.to_owned(), Self { id, row }))
    }

    /// Whether it marks a deletion.
    pub fn is_marker(&self) -> bool {
        self.row.content_type == DELETED_TYPE
    }

    /// Whether it was stored while no versions were kept.
    pub fn is_null(&self) -> bool {
        self.row.etag.split("; ").any(|part| part == NULL_ROW)
    }

    /// What a link to it says.
    pub fn target(&self) -> Target {
        Target {
            id: self.id,
            content_type: self.row.content_type.clone(),
            listed: Listed {
                size: self.row.size,
                etag: self.row.etag.clone(),
            },
        }
    }
}

/// What makes a stored object a version from the time when none were kept.
pub fn null_header() -> Header {
    (NULL.to_owned(), "true".to_owned())
}

/// Whether a stored version is one from that time.
pub fn is_null(sysmeta: &[Header]) -> bool {
    sysmeta.iter().any(|(name, _)| name == NULL)
}

/// What the row of such a version shows.
pub fn null_listed(listed: Listed) -> Listed {
    Listed {
        etag: format!("{}; {NULL_ROW}", listed.etag),
        ..listed
    }
}

/// The newest version of an object that `wanted` says yes to.
///
/// # Errors
/// If the versions cannot be listed. That there is no hidden container is none.
pub async fn find(
    core: &Core,
    name: &ObjectName,
    wanted: impl Fn(&Kept) -> bool,
) -> Result<Option<Kept>, ListError> {
    let hidden = name::container_of(&name.container_name());
    let mut list = ListRequest {
        prefix: name::rows_of(name.object()),
        // Nearly always the first one or two are wanted.
        limit: 8,
        ..ListRequest::default()
    };
    loop {
        let page = match core.list_container(&hidden, list.clone()).await {
            Ok(page) => page,
            Err(ListError::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        for entry in page.entries {
            let Entry::Row(row) = entry else { continue };
            list.marker.clone_from(&row.name);
            if let Some((_, kept)) = Kept::of(row)
                && wanted(&kept)
            {
                return Ok(Some(kept));
            }
        }
        if !page.more {
            return Ok(None);
        }
        list.limit = PAGE;
    }
}
