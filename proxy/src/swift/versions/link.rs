//! The link that stands in a client's container for the current version.
//!
//! An empty object whose metadata names the version. Its row in the listing
//! counts no bytes, as those are counted where the version lies, and carries
//! behind the ETag what a listing shows.
use virga_object_wire::object::{Header, Listed, ObjectStat};

use super::name::{self, VersionId};
use crate::core::{ContainerName, NewObject, ObjectName};
use crate::swift::sysmeta;

/// Metadata of a link: the version's id.
const ID: &str = "x-object-sysmeta-version-link";
/// Behind the ETag in a row: the version's id.
const ROW_ID: &str = "version_id";
/// Behind the ETag in a row: the version's bytes.
const ROW_BYTES: &str = "version_bytes";

/// The version that a stored object stands for, if it is a link.
pub fn of(stat: &ObjectStat) -> Option<VersionId> {
    VersionId::parse(sysmeta(stat, ID)?)
}

/// What a link's row says of its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRow<'a> {
    /// Hex MD5 of the version's bytes, of a manifest's own.
    pub hash: &'a str,
    /// The version.
    pub id: VersionId,
    /// Its size.
    pub bytes: u64,
}

impl<'a> LinkRow<'a> {
    /// Takes the ETag of a row apart; `None` if it is no link's.
    pub fn parse(etag: &'a str) -> Option<Self> {
        let mut parts = etag.split("; ");
        let hash = parts.next()?;
        let (mut id, mut bytes) = (None, None);
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key {
                ROW_ID => id = VersionId::parse(value),
                ROW_BYTES => bytes = value.parse().ok(),
                _ => {}
            }
        }
        Some(Self {
            hash,
            id: id?,
            bytes: bytes?,
        })
    }

    /// Where the version lies.
    pub fn object(&self, container: &ContainerName, row: &str) -> Option<ObjectName> {
        let name = container.object(row).ok()?;
        Some(name::object_of(&name, self.id))
    }
}

/// What a link says of the version it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The version.
    pub id: VersionId,
    /// MIME type.
    pub content_type: String,
    /// Size and ETag as the version's own row has them.
    pub listed: Listed,
}

impl Target {
    /// A version that is stored already.
    pub fn stored(id: VersionId, stat: &ObjectStat) -> Self {
        let own = || Listed {
            size: stat.size,
            etag: stat.meta.etag.clone(),
        };
        Self {
            id,
            content_type: stat.meta.content_type.clone(),
            listed: stat.meta.listed.clone().unwrap_or_else(own),
        }
    }

    /// The link, to be stored under the object's own name.
    pub fn link(self, delete_at: Option<u64>) -> NewObject {
        let mut parts = self.listed.etag.split("; ");
        let mut etag = parts.next().unwrap_or_default().to_owned();
        // What a listing shows of a manifest is shown of its current version too.
        let shown = |part: &&str| part.starts_with("slo_etag=") || part.starts_with("s3_etag=");
        for part in parts.filter(shown) {
            etag.push_str("; ");
            etag.push_str(part);
        }
        etag.push_str(&format!(
            "; {ROW_ID}={}; {ROW_BYTES}={}",
            self.id, self.listed.size
        ));
        let id: Header = (ID.to_owned(), self.id.to_string());
        NewObject {
            sysmeta: vec![id],
            listed: Some(Listed { size: 0, etag }),
            delete_at,
            expected_size: Some(0),
            ..NewObject::new(self.content_type)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use virga_node::clock::Version;

    #[test]
    fn a_row_says_what_the_link_was_made_with() {
        let id = VersionId(Version::from_timestamp("1763823600.12345").unwrap());
        let target = Target {
            id,
            content_type: "a/b".into(),
            listed: Listed {
                size: 7,
                etag: "abc; s3_etag=ghi-1; slo_etag=def; symlink_target=c/o".into(),
            },
        };
        let etag = target.link(None).listed.unwrap().etag;
        assert_eq!(
            etag,
            "abc; s3_etag=ghi-1; slo_etag=def; version_id=1763823600.12345; version_bytes=7"
        );
        let row = LinkRow::parse(&etag).unwrap();
        assert_eq!((row.hash, row.id, row.bytes), ("abc", id, 7));
        assert_eq!(LinkRow::parse("abc; slo_etag=def"), None);
    }

    proptest! {
        #[test]
        fn no_etag_of_a_row_is_too_odd(etag in "[a-z0-9;= _.]{0,40}") {
            let _ = LinkRow::parse(&etag);
        }
    }
}
