//! Metadata updates (POST) as replicas hold them, and how two updates of one
//! object become one.
//!
//! An update belongs to the data that it was made over ([`Posted::over`]): newer
//! data takes its place whatever the versions of updates say, so a PUT is never
//! in the wrong because of a POST to what it replaces. Updates over the same data
//! are two registers: headers and expiry, of the newest update; and the content
//! type, of the newest update that named one ([`Posted::typed`]). Replicas keep
//! one record of both. Used by the engine and by the memory twin.
use serde::{Deserialize, Serialize};
use virga_node::clock::Version;

use crate::movement::tie;
use crate::object::PostMeta;

/// What decides between two updates of a name, field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PostRank {
    /// As [`Posted::over`].
    pub over: Version,
    /// As [`Posted::version`].
    pub version: Version,
    /// As [`Posted::typed`].
    pub typed: Version,
    /// First eight bytes of the BLAKE3 of the content, big-endian.
    pub tie: u64,
}

impl PostRank {
    /// Whether data of this version leaves the update in force.
    pub fn outlives(&self, data: Version) -> bool {
        self.over >= data
    }

    /// Whether it is shown with data of this version: it was made over that, or
    /// is of the time when updates said only how old their data may be. One over
    /// newer data, which a replica has lost or not heard of yet, waits for it.
    pub fn shows_with(&self, data: Version) -> bool {
        let of_old = Version(self.version.0.saturating_sub(1));
        self.over == data || (self.over == of_old && self.outlives(data))
    }

    /// Whether this one, though not the larger, has a newer content type for the
    /// same data.
    pub fn has_newer_type(&self, than: &Self) -> bool {
        self.over == than.over && self.typed > than.typed
    }
}

/// A metadata update with all that replicas tell each other of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// Version of the data that the update was made over.
    pub over: Version,
    /// Version of the update that headers and expiry are of.
    pub version: Version,
    /// Version of the update that the content type is of; zero without one.
    pub typed: Version,
    /// BLAKE3 of the content; decides between equal versions.
    pub blake3: [u8; 32],
    /// The content; its type may be that of an earlier update.
    pub meta: PostMeta,
}

impl Posted {
    /// The update that a client asks for, over data of version `over`, after
    /// the one that is there.
    pub fn asked(version: Version, meta: PostMeta, over: Version, before: Option<Self>) -> Self {
        let over = before.as_ref().map_or(over, |before| before.over.max(over));
        let typed = meta.content_type.as_ref().map_or(Version(0), |_| version);
        let new = Self {
            over,
            version,
            typed,
            blake3: content(&meta),
            meta,
        };
        match before {
            Some(before) => new.joined(before),
            None => new,
        }
    }

    /// What decides between it and others.
    pub fn rank(&self) -> PostRank {
        PostRank {
            over: self.over,
            version: self.version,
            typed: self.typed,
            tie: tie(&self.blake3),
        }
    }

    /// Whether this is what a request with this version and content left,
    /// whatever content type it has carried on.
    pub fn is_of(&self, version: Version, meta: &PostMeta) -> bool {
        let named = self.typed == self.version;
        let same_type = match named {
            true => self.meta.content_type == meta.content_type,
            false => meta.content_type.is_none(),
        };
        self.version == version
            && same_type
            && (self.meta.delete_at, &self.meta.headers) == (meta.delete_at, &meta.headers)
    }

    /// Both in one: the newer update with the newer content type. Of updates over
    /// different data the later data's stands alone.
    #[must_use]
    pub fn joined(self, other: Self) -> Self {
        let (newer, older) = if self.rank() >= other.rank() {
            (self, other)
        } else {
            (other, self)
        };
        if !older.rank().has_newer_type(&newer.rank()) {
            return newer;
        }
        let meta = PostMeta {
            content_type: older.meta.content_type,
            ..newer.meta
        };
        Self {
            typed: older.typed,
            blake3: content(&meta),
            meta,
            ..newer
        }
    }
}

/// BLAKE3 of an update's content: every part with its length before it.
fn content(meta: &PostMeta) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    match &meta.content_type {
        Some(content_type) => part(content_type.as_bytes()),
        None => part(&[0xff]),
    }
    match meta.delete_at {
        Some(at) => part(&at.to_le_bytes()),
        None => part(&[]),
    }
    for (name, value) in &meta.headers {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn update() -> impl Strategy<Value = Posted> {
        // Few versions, so that many are equal: two proxies may draw the same.
        (0..2_u64, 3..7_u64, any::<bool>(), 0..3_u8).prop_map(|(over, version, typed, text)| {
            let meta = PostMeta {
                content_type: typed.then(|| format!("text/{version}-{text}")),
                headers: vec![("x-object-meta-a".into(), format!("{version}-{text}"))],
                ..PostMeta::default()
            };
            Posted::asked(Version(version), meta, Version(over), None)
        })
    }

    /// Takes one after the other as a replica that is brought them does.
    fn taken(updates: impl IntoIterator<Item = Posted>) -> Option<Posted> {
        updates.into_iter().reduce(Posted::joined)
    }

    proptest! {
        #[test]
        fn joined_updates_have_the_newest_headers_and_the_newest_type_over_the_newest_data(
            updates in proptest::collection::vec(update(), 1..8)
        ) {
            let end = taken(updates.clone()).unwrap();
            let over = updates.iter().map(|one| one.over).max().unwrap();
            let last = |versions: &dyn Fn(&Posted) -> Version| {
                updates.iter().filter(|one| one.over == over).map(versions).max().unwrap()
            };
            prop_assert_eq!(end.over, over);
            prop_assert_eq!(end.version, last(&|one| one.version));
            prop_assert_eq!(end.typed, last(&|one| one.typed));
            let newest = format!("text/{}-", end.typed.0);
            let content_type = end.meta.content_type.clone();
            prop_assert_eq!(content_type.is_some(), end.typed > Version(0));
            prop_assert!(content_type.is_none_or(|text| text.starts_with(&newest)));
        }

        #[test]
        fn what_is_joined_outranks_both(one in update(), other in update()) {
            let joined = one.clone().joined(other.clone());
            prop_assert!(joined.rank() >= one.rank() && joined.rank() >= other.rank());
            prop_assert_eq!(&joined, &other.joined(one));
        }
    }

    #[test]
    fn the_same_request_is_known_again_after_it_took_on_a_type() {
        let headers = vec![("x-object-meta-a".to_owned(), "1".to_owned())];
        let plain = PostMeta {
            headers,
            ..PostMeta::default()
        };
        let typed = PostMeta {
            content_type: Some("image/png".into()),
            ..PostMeta::default()
        };
        let first = Posted::asked(Version(5), typed.clone(), Version(1), None);
        assert!(first.is_of(Version(5), &typed) && !first.is_of(Version(5), &plain));
        let second = Posted::asked(Version(6), plain.clone(), Version(1), Some(first));
        assert_eq!(second.meta.content_type.as_deref(), Some("image/png"));
        assert_eq!(second.typed, Version(5));
        assert!(second.is_of(Version(6), &plain) && !second.is_of(Version(6), &typed));
        assert!(!second.is_of(Version(7), &plain));
    }

    #[test]
    fn every_part_of_an_update_counts_in_its_hash() {
        let meta = |content_type: Option<&str>, delete_at, headers: &[(&str, &str)]| PostMeta {
            content_type: content_type.map(str::to_owned),
            delete_at,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let all = [
            meta(None, None, &[]),
            meta(Some(""), None, &[]),
            meta(None, Some(0), &[]),
            meta(None, None, &[("", "")]),
            meta(None, None, &[("a", "b")]),
            meta(None, None, &[("ab", "")]),
            meta(None, None, &[("a", "b"), ("c", "d")]),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(
                all[..n].iter().all(|other| content(other) != content(one)),
                "{one:?}"
            );
        }
    }
}
