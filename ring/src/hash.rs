//! Name -> digest: the MD5 that decides where a name lives.
//!
//! Called by the proxy (placement) and the object server (on-disk names). It
//! must agree with Swift byte for byte; what a partition is, it does not know.
mod lanes;

use std::fmt;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

/// The MD5 of a path between its secret prefix and suffix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NameHash(pub [u8; 16]);

impl NameHash {
    /// The first four bytes as a big-endian number: what partitions are cut from.
    pub fn leading(&self) -> u32 {
        u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }

    /// Reads 32 hexadecimal digits; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 32 {
            return None;
        }
        let mut out = [0; 16];
        for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
            let high = (pair[0] as char).to_digit(16)?;
            let low = (pair[1] as char).to_digit(16)?;
            *byte = (high << 4 | low) as u8;
        }
        Some(Self(out))
    }
}

impl fmt::Display for NameHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NameHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameHash({self})")
    }
}

/// Names up to so many bytes are put together before they are hashed.
const SHORT: usize = 256;

/// The secret bytes before and after every path; the same on all nodes of a
/// cluster and never changed afterwards. Swift keeps them in `[swift-hash]`.
#[derive(Clone, Default)]
pub struct HashPath {
    /// Bytes before the path.
    pub prefix: Vec<u8>,
    /// Bytes after the path.
    pub suffix: Vec<u8>,
}

impl fmt::Debug for HashPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secret: whoever knows them can aim names at one partition.
        f.debug_struct("HashPath").finish_non_exhaustive()
    }
}

/// Why a [`HashPath`] cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HashPathError {
    /// Both halves are empty: everybody could compute placements.
    #[error("hash path prefix and suffix are both empty: set at least one of them")]
    Empty,
}

impl HashPath {
    /// Takes both halves; at least one must have bytes.
    pub fn new(prefix: impl Into<Vec<u8>>, suffix: impl Into<Vec<u8>>) -> Result<Self, HashPathError> {
        let it = Self {
            prefix: prefix.into(),
            suffix: suffix.into(),
        };
        if it.prefix.is_empty() && it.suffix.is_empty() {
            return Err(HashPathError::Empty);
        }
        Ok(it)
    }

    /// The digest of `/account[/container[/object]]`. An empty container or
    /// object counts as absent; an object without a container is ignored, as
    /// no caller can reach that through a parsed path.
    pub fn hash(&self, account: &str, container: Option<&str>, object: Option<&str>) -> NameHash {
        let parts = self.parts(account, container, object);
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut whole = [0; SHORT];
        let Some(short) = whole.get_mut(..len) else {
            let mut md5 = Md5::new();
            parts.iter().for_each(|part| md5.update(part));
            return NameHash(md5.finalize().into());
        };
        // In one piece: MD5 is spared a look at its buffer for every part.
        let mut rest = &mut *short;
        for part in parts {
            let (to, after) = rest.split_at_mut(part.len());
            to.copy_from_slice(part);
            rest = after;
        }
        NameHash(Md5::digest(short).into())
    }

    /// The pieces of what is hashed.
    fn parts<'a>(
        &'a self,
        account: &'a str,
        container: Option<&'a str>,
        object: Option<&'a str>,
    ) -> [&'a [u8]; 8] {
        let container = container.filter(|name| !name.is_empty());
        let object = object.filter(|name| !name.is_empty() && container.is_some());
        let slash = |name: Option<&str>| -> &[u8] { if name.is_some() { b"/" } else { b"" } };
        [
            &self.prefix,
            b"/",
            account.as_bytes(),
            slash(container),
            container.unwrap_or_default().as_bytes(),
            slash(object),
            object.unwrap_or_default().as_bytes(),
            &self.suffix,
        ]
    }

    /// The digests of many names, in their order, each as [`HashPath::hash`]
    /// gives it: several at a time, for listings and migrations.
    pub fn hash_many<'a>(
        &self,
        names: impl IntoIterator<Item = (&'a str, Option<&'a str>, Option<&'a str>)>,
        mut each: impl FnMut(NameHash),
    ) {
        let mut batch = lanes::Batch::default();
        for (account, container, object) in names {
            batch.push(self.parts(account, container, object));
            if batch.is_full() {
                batch.finish(|digest| each(NameHash(digest)));
            }
        }
        batch.finish(|digest| each(NameHash(digest)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_hashes_as_md5_of_prefix_path_and_suffix() {
        let path = HashPath::new("", "exam").unwrap();
        let whole = NameHash(Md5::digest(b"/AUTH_t/c/o 1/\xc3\xa9exam").into());
        assert_eq!(path.hash("AUTH_t", Some("c"), Some("o 1/é")), whole);
        let account = NameHash(Md5::digest(b"/AUTH_texam").into());
        assert_eq!(path.hash("AUTH_t", None, None), account);
        assert_eq!(path.hash("AUTH_t", Some(""), None), account);
        assert_ne!(
            HashPath::new("p", "exam").unwrap().hash("AUTH_t", None, None),
            account
        );
    }

    #[test]
    fn many_names_hash_as_one_by_one() {
        let path = HashPath::new("before", "after").unwrap();
        let long = "x".repeat(700);
        let names = [
            ("a", None, None),
            ("a", Some("c"), None),
            ("a", Some("c"), Some("o 1/é")),
            ("a", Some(""), Some("o")),
            ("a", None, Some("o")),
            ("a", Some("c"), Some("")),
            ("", None, None),
            ("a", Some("c"), Some(long.as_str())),
        ];
        let names: Vec<_> = names.iter().cycle().take(37).copied().collect();
        let mut found = Vec::new();
        path.hash_many(names.iter().copied(), |hash| found.push(hash));
        let one_by_one = names.iter().map(|&(a, c, o)| path.hash(a, c, o));
        assert_eq!(found, one_by_one.collect::<Vec<_>>());
    }

    #[test]
    fn hexadecimal_text_reads_back_and_nonsense_does_not() {
        let hash = HashPath::new("p", "").unwrap().hash("a", Some("c"), None);
        assert_eq!(NameHash::from_hex(&hash.to_string()), Some(hash));
        for bad in ["", "zz", &"g".repeat(32), &"0".repeat(31), &"é".repeat(16)] {
            assert_eq!(NameHash::from_hex(bad), None);
        }
    }

    #[test]
    fn a_hash_path_without_any_secret_is_refused() {
        assert_eq!(HashPath::new("", "").unwrap_err(), HashPathError::Empty);
    }

    #[test]
    fn what_is_printed_of_a_hash_path_is_no_secret() {
        let path = HashPath::new("before", "after").unwrap();
        assert_eq!(format!("{path:?}"), "HashPath { .. }");
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&[0x1a, 0xb2]);
        let digits = format!("1ab2{}", "0".repeat(28));
        assert_eq!(NameHash(bytes).to_string(), digits);
        assert_eq!(format!("{:?}", NameHash(bytes)), format!("NameHash({digits})"));
        assert_eq!(NameHash::from_hex(&digits.to_uppercase()), Some(NameHash(bytes)));
    }

    #[test]
    fn names_of_every_length_hash_as_they_are() {
        // Up to a length names are put together first, longer ones are not.
        let path = HashPath::new("<", ">").unwrap();
        for len in [0, 1, 200, 249, 250, 251, 252, 253, 254, 255, 256, 257, 1000] {
            let object = "x".repeat(len);
            let want = match len {
                0 => "</a/c>".to_owned(),
                _ => format!("</a/c/{object}>"),
            };
            let found = path.hash("a", Some("c"), Some(&object));
            assert_eq!(found, NameHash(Md5::digest(want).into()), "{len}");
        }
    }
}
