//! A stored object as S3 shows it: plain, or put together from segments.
use std::borrow::Cow;

use http::HeaderMap;
use s3s::{S3Result, s3_error};
use virga_node::clock::Version;
use virga_object_wire::listing::ObjectRow;
use virga_object_wire::object::ObjectStat;
use virga_proxy::core::manifest::{DLO_MANIFEST, Plan, is_slo};
use virga_proxy::core::{GetOptions, GotObject, ObjectName};
use virga_proxy::swift::versions::link::LinkRow;

use super::super::fault::OrFault;
use super::super::{Backend, dates, lock, metadata, tagging};
use super::find::Found;
use crate::lifecycle::Seen;

/// System metadata of static large objects, as the other dialect keeps it.
pub(crate) const SLO_ETAG: &str = "x-object-sysmeta-slo-etag";
pub(crate) const SLO_SIZE: &str = "x-object-sysmeta-slo-size";
/// System metadata of what S3 uploaded in parts: its ETag.
pub(crate) const S3_ETAG: &str = "x-object-sysmeta-s3-etag";
/// The upload it came from, whose parts are its alone.
pub(crate) const S3_UPLOAD: &str = "x-object-sysmeta-s3-upload-id";

/// What an object is put together from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Nothing but itself.
    Plain,
    /// The segments of a static manifest.
    Static,
    /// All objects of a container with a prefix ("container/prefix").
    Dynamic(String),
}

/// What the head alone says.
#[derive(Clone, Debug)]
pub(crate) struct Tags {
    pub(crate) shape: Shape,
    /// Without quotes. One that is no MD5 of the bytes holds a dash.
    pub(crate) etag: String,
    /// Bytes, if the head says so.
    pub(crate) size: Option<u64>,
}

/// The value of an item that the store keeps for itself.
pub(crate) fn sysmeta<'a>(stat: &'a ObjectStat, name: &str) -> Option<&'a str> {
    let found = stat.meta.sysmeta.iter().find(|(n, _)| n == name);
    found.map(|(_, value)| value.as_str())
}

/// What the head of an object says of its ETag and size.
pub(crate) fn etag_of(stat: &ObjectStat) -> Tags {
    let mut all = stat.meta.headers.iter().chain(&stat.meta.sysmeta);
    let dynamic = all.find(|(name, value)| name == DLO_MANIFEST && !value.is_empty());
    if is_slo(stat) {
        let own = sysmeta(stat, S3_ETAG).map(str::to_owned);
        let slo = sysmeta(stat, SLO_ETAG).unwrap_or(&stat.meta.etag);
        return Tags {
            shape: Shape::Static,
            etag: own.unwrap_or_else(|| format!("{slo}-N")),
            size: sysmeta(stat, SLO_SIZE).and_then(|size| size.parse().ok()),
        };
    }
    match dynamic {
        Some((_, manifest)) => Tags {
            shape: Shape::Dynamic(manifest.clone()),
            etag: format!("{}-N", stat.meta.etag),
            size: None,
        },
        None => Tags {
            shape: Shape::Plain,
            etag: stat.meta.etag.clone(),
            size: Some(stat.size),
        },
    }
}

/// The ETag that a listing shows, from a row's.
pub(crate) fn listed_etag(row: &str) -> Cow<'_, str> {
    let mut parts = row.split("; ");
    let hash = parts.next().unwrap_or_default();
    let mut slo = None;
    for (key, value) in parts.filter_map(|part| part.split_once('=')) {
        match key {
            "s3_etag" => return Cow::Borrowed(value),
            "slo_etag" => slo = Some(Cow::Owned(format!("{value}-N"))),
            _ => {}
        }
    }
    slo.unwrap_or(Cow::Borrowed(hash))
}

/// An object as its row shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed<'a> {
    /// Without quotes.
    pub(crate) etag: Cow<'a, str>,
    /// Bytes.
    pub(crate) size: u64,
    /// When it was written.
    pub(crate) modified: Version,
}

impl<'a> Listed<'a> {
    /// Reads a row of a bucket: of an object, of the link to its current
    /// version, or of a symbolic link that knows its target.
    pub(crate) fn of(row: &'a ObjectRow) -> Self {
        // Nothing but a hash, as with most of them.
        if memchr::memchr(b';', row.etag.as_bytes()).is_none() {
            return Self {
                etag: Cow::Borrowed(&row.etag),
                size: row.size,
                modified: row.version,
            };
        }
        if let Some(link) = LinkRow::parse(&row.etag) {
            return Self {
                etag: listed_etag(&row.etag),
                size: link.bytes,
                modified: link.id.0,
            };
        }
        let said = |key: &str| row.etag.split("; ").find_map(|part| part.strip_prefix(key));
        let target = said("symlink_target_etag=").zip(said("symlink_target_bytes="));
        let target = target.and_then(|(etag, bytes)| Some((etag, bytes.parse().ok()?)));
        let (etag, size) = match target {
            Some((etag, size)) if said("slo_etag=").is_none() => (Cow::Borrowed(etag), size),
            Some((_, size)) => (listed_etag(&row.etag), size),
            None => (listed_etag(&row.etag), row.size),
        };
        Self {
            etag,
            size,
            modified: row.version,
        }
    }
}

/// Where the bytes are.
pub(crate) enum Source {
    /// In the object; open already, at the range that was asked for.
    Plain(Option<Box<GotObject>>),
    /// In segments.
    Plan(Plan),
}

/// An object, looked at.
pub(crate) struct View {
    /// Where it is stored.
    pub(crate) at: ObjectName,
    pub(crate) stat: ObjectStat,
    /// The version to tell clients, if there is one to tell.
    pub(crate) version: Option<String>,
    /// When it was written.
    pub(crate) modified: Version,
    pub(crate) etag: String,
    pub(crate) size: u64,
    pub(crate) source: Source,
}

impl View {
    /// What rules of life cycles look at.
    pub(crate) fn seen(&self) -> Seen<'_> {
        Seen {
            headers: &self.stat.meta.headers,
            size: self.size,
            written: self.modified,
            delete_at: self.stat.meta.delete_at,
        }
    }

    /// The headers that show it, without those that depend on the part sent.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut into = HeaderMap::new();
        metadata::show(&self.stat, &mut into);
        metadata::set(&mut into, "accept-ranges", "bytes");
        metadata::set(&mut into, "etag", &format!("\"{}\"", self.etag));
        into.insert(http::header::LAST_MODIFIED, dates::header(self.modified));
        if let Some(version) = &self.version {
            metadata::set(&mut into, "x-amz-version-id", version);
        }
        lock::show(&self.stat, &mut into);
        let tags = tagging::count(&self.stat);
        if tags > 0 {
            metadata::set(&mut into, "x-amz-tagging-count", &tags.to_string());
        }
        into
    }
}

impl Backend {
    /// Whether an object's time is over.
    pub(crate) fn is_expired(&self, stat: &ObjectStat) -> bool {
        let now = self.0.clock.now().as_secs();
        stat.meta.delete_at.is_some_and(|at| at <= now)
    }

    /// The object that was found. Segments are looked up if `plan` says so or
    /// the head alone does not say enough.
    pub(crate) async fn view(&self, found: Found, plan: bool) -> S3Result<View> {
        let Found {
            at,
            stat,
            open,
            version,
            modified,
        } = found;
        let Tags { shape, etag, size } = etag_of(&stat);
        let view = |stat, etag, size, source| View {
            at: at.clone(),
            stat,
            version,
            modified,
            etag,
            size,
            source,
        };
        if let (Some(size), true) = (size, shape == Shape::Plain || !plan) {
            return Ok(view(stat, etag, size, Source::Plain(open.map(Box::new))));
        }
        if let Shape::Dynamic(manifest) = &shape {
            let decoded = percent_encoding::percent_decode_str(manifest).decode_utf8_lossy();
            let (container, prefix) = decoded
                .trim_start_matches('/')
                .split_once('/')
                .unwrap_or_default();
            let container = at.container_name().account_name().container(container);
            let container = container.map_err(|_| s3_error!(InvalidObjectState))?;
            let plan = self.core().read_dlo(&container, prefix).await.or_fault()?;
            let etag = format!("{}-{}", plan.etag(), plan.segments.len());
            let size = plan.size();
            return Ok(view(stat, etag, size, Source::Plan(plan)));
        }
        let whole = match open {
            Some(got) if got.range == (0..got.stat.size) => got,
            _ => self
                .core()
                .get_object(&at, GetOptions::default())
                .await
                .or_fault()?,
        };
        // It may have been overwritten since: head and plan must be of one version.
        let stat = whole.stat.clone();
        let Tags { shape, etag, size } = etag_of(&stat);
        if shape != Shape::Static {
            return Err(s3_error!(OperationAborted));
        }
        let plan = self.core().read_slo(&at, whole).await.or_fault()?;
        let size = size.unwrap_or_else(|| plan.size());
        Ok(view(stat, etag, size, Source::Plan(plan)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_the_etag_of_the_dialect_that_wrote_it() {
        for (row, shown) in [
            ("0cc175b9", "0cc175b9"),
            ("m; s3_etag=abc-2; slo_etag=def", "abc-2"),
            ("m; slo_etag=def", "def-N"),
            ("m; checksum-crc32=AAAA", "m"),
            ("", ""),
        ] {
            assert_eq!(listed_etag(row), shown, "{row}");
        }
    }

    #[test]
    fn the_row_of_a_link_shows_what_it_leads_to() {
        let row = |etag: &str| ObjectRow {
            name: "o".into(),
            version: Version(1),
            meta_version: Version(1),
            size: 0,
            etag: etag.into(),
            content_type: "t".into(),
            deleted: false,
        };
        for (etag, shown, size) in [
            ("m; version_id=1763823600.12345; version_bytes=7", "m", 7),
            (
                "m; s3_etag=abc-2; slo_etag=d; version_id=1763823600.12345; version_bytes=9",
                "abc-2",
                9,
            ),
            (
                "m; symlink_target=c/o; symlink_target_etag=e; symlink_target_bytes=5",
                "e",
                5,
            ),
            (
                "m; slo_etag=s; symlink_target=c/o; symlink_target_etag=e; symlink_target_bytes=5",
                "s-N",
                5,
            ),
            ("m; symlink_target=c/o", "m", 0),
        ] {
            let row = row(etag);
            let listed = Listed::of(&row);
            assert_eq!((&*listed.etag, listed.size), (shown, size), "{etag}");
        }
    }
}
