//! The stored form of a static manifest: Swift's JSON.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::names::ObjectName;
use super::plan::{Plan, Segment, Source};

/// One entry of a static manifest as it is stored, in Swift's JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct SloEntry {
    /// "/container/object"; absent for inline data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// ETag of the segment (of a nested manifest: its large-object ETag).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Bytes of the whole segment object (of a nested manifest: assembled).
    #[serde(default)]
    pub bytes: u64,
    /// MIME type of the segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// When the segment was written, as listings show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// Part of the segment that is used: "first-last", both inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
    /// Whether the segment is itself a static manifest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sub_slo: bool,
    /// Inline data, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// A stored static manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct SloManifest {
    /// Entries in order.
    pub entries: Vec<SloEntry>,
}

/// Why a document is no stored manifest.
#[derive(Debug, thiserror::Error)]
pub enum BadManifest {
    /// Not the JSON of a manifest.
    #[error("not a manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// An entry makes no sense.
    #[error("entry {entry}: {why}")]
    Entry {
        /// Its index.
        entry: usize,
        /// What is wrong.
        why: &'static str,
    },
}

impl SloEntry {
    fn segment(&self, account: &str) -> Result<Segment, &'static str> {
        if let Some(data) = &self.data {
            let data = Bytes::from(STANDARD.decode(data).map_err(|_| "the data is not base64")?);
            let size = data.len() as u64;
            let source = Source::Inline(data);
            return Ok(Segment {
                source,
                etag: None,
                size,
                range: 0..size,
                nested: false,
            });
        }
        let name = self.name.as_deref().ok_or("neither name nor data")?;
        let path = name.strip_prefix('/').unwrap_or(name);
        let (container, object) = path.split_once('/').ok_or("the name is not /container/object")?;
        let name =
            ObjectName::new(account, container, object).map_err(|_| "the name is not /container/object")?;
        let range = match &self.range {
            None => 0..self.bytes,
            Some(range) => {
                let (first, last) = range.split_once('-').ok_or("the range is not first-last")?;
                let first: u64 = first.parse().map_err(|_| "the range is not first-last")?;
                let last: u64 = last.parse().map_err(|_| "the range is not first-last")?;
                if last < first || last >= self.bytes {
                    return Err("the range lies outside the segment");
                }
                first..last + 1
            }
        };
        let etag = self.hash.clone();
        Ok(Segment {
            source: Source::Object(name),
            etag,
            size: self.bytes,
            range,
            nested: self.sub_slo,
        })
    }
}

impl SloManifest {
    /// Reads the stored form.
    ///
    /// # Errors
    /// [`BadManifest::Json`].
    pub fn from_json(json: &[u8]) -> Result<Self, BadManifest> {
        Ok(serde_json::from_slice(json)?)
    }

    /// The stored form.
    ///
    /// # Errors
    /// [`BadManifest::Json`], which text fields cannot cause.
    pub fn to_json(&self) -> Result<Vec<u8>, BadManifest> {
        Ok(serde_json::to_vec(self)?)
    }

    /// What it puts together; names are within `account`.
    ///
    /// # Errors
    /// [`BadManifest::Entry`].
    pub fn plan(&self, account: &str) -> Result<Plan, BadManifest> {
        let segment = |(entry, it): (usize, &SloEntry)| {
            it.segment(account)
                .map_err(|why| BadManifest::Entry { entry, why })
        };
        let segments: Vec<_> = self
            .entries
            .iter()
            .enumerate()
            .map(segment)
            .collect::<Result<_, _>>()?;
        let size = segments
            .iter()
            .try_fold(0u64, |sum, it| sum.checked_add(it.range.end - it.range.start));
        size.ok_or(BadManifest::Entry {
            entry: 0,
            why: "the sizes overflow",
        })?;
        Ok(Plan { segments })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SWIFTS: &str = r#"[
        {"name": "/seg/a/1", "hash": "0cc175b9c0f1b6a831c399e269772661", "bytes": 10,
         "content_type": "application/octet-stream", "last_modified": "2026-11-22T15:00:00.000000"},
        {"name": "/seg/2", "hash": "92eb5ffee6ae2fec3ad71c777531578f", "bytes": 10, "range": "2-5"},
        {"data": "AAEC"},
        {"name": "/seg/nested", "hash": "x", "bytes": 7, "sub_slo": true}
    ]"#;

    #[test]
    fn swifts_manifest_becomes_a_plan_and_survives_a_round_trip() {
        let manifest = SloManifest::from_json(SWIFTS.as_bytes()).unwrap();
        let plan = manifest.plan("AUTH_a").unwrap();
        assert_eq!(plan.size(), 10 + 4 + 3 + 7);
        let first = ObjectName::new("AUTH_a", "seg", "a/1").unwrap();
        assert_eq!(plan.segments[0].source, Source::Object(first));
        assert_eq!(plan.segments[1].range, 2..6);
        assert!(plan.segments[3].nested);
        let again = SloManifest::from_json(&manifest.to_json().unwrap()).unwrap();
        assert_eq!(again, manifest);
    }

    #[test]
    fn nonsense_is_refused_with_the_entry_it_is_in() {
        for bad in [
            r#"[{"bytes": 1}]"#,
            r#"[{"name": "/c", "bytes": 1}]"#,
            r#"[{"name": "/c/o", "bytes": 10, "range": "5-10"}]"#,
            r#"[{"name": "/c/o", "bytes": 10, "range": "6-5"}]"#,
            r#"[{"name": "/c/o", "bytes": 10, "range": "5-"}]"#,
            r#"[{"data": "!"}]"#,
        ] {
            let manifest = SloManifest::from_json(bad.as_bytes()).unwrap();
            assert!(
                matches!(manifest.plan("a"), Err(BadManifest::Entry { entry: 0, .. })),
                "{bad}"
            );
        }
        let huge = r#"{"name": "/c/o", "bytes": 18446744073709551615}"#;
        let huge = SloManifest::from_json(format!("[{huge}, {huge}]").as_bytes()).unwrap();
        assert!(huge.plan("a").is_err());
        assert!(SloManifest::from_json(b"{}").is_err());
    }

    proptest! {
        #[test]
        fn no_document_makes_the_reader_panic(json in "\\PC{0,200}", range in "\\PC{0,12}") {
            let _ = SloManifest::from_json(json.as_bytes()).map(|manifest| manifest.plan("a").is_ok());
            let entry = SloEntry { name: Some("/c/o".into()), bytes: 10, range: Some(range), ..SloEntry::default() };
            let _ = SloManifest { entries: vec![entry] }.plan("a");
        }
    }
}
