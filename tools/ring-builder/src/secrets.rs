//! The secret bytes around every hashed path: from options or from a
//! `swift.conf`. Used by the verbs that look names up.
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;
use virga_ring::HashPath;

use crate::report::VerbError;

/// More than this is no `swift.conf`.
const MAX_CONF: u64 = 1 << 20;

/// Where the secrets come from.
#[derive(Debug, Args)]
pub(crate) struct HashSecrets {
    /// swift_hash_path_prefix of the cluster.
    #[arg(long, default_value = "")]
    pub(crate) hash_prefix: OsString,
    /// swift_hash_path_suffix of the cluster.
    #[arg(long, default_value = "")]
    pub(crate) hash_suffix: OsString,
    /// Take both from this swift.conf.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["hash_prefix", "hash_suffix"])]
    pub(crate) swift_conf: Option<PathBuf>,
}

impl HashSecrets {
    /// The secrets; `beside` is a `swift.conf` to take when no option is given.
    pub(crate) fn path(&self, beside: Option<&Path>) -> Result<HashPath, VerbError> {
        let given = !self.hash_prefix.is_empty() || !self.hash_suffix.is_empty();
        let conf = match (&self.swift_conf, beside) {
            (Some(file), _) => Some(file.as_path()),
            (None, Some(file)) if !given && file.exists() => Some(file),
            _ => None,
        };
        let (prefix, suffix) = match conf {
            Some(file) => SwiftConf::read(file)?.hash_secrets(),
            None => (
                self.hash_prefix.as_bytes().to_vec(),
                self.hash_suffix.as_bytes().to_vec(),
            ),
        };
        HashPath::new(prefix, suffix).map_err(|error| {
            let from = conf.map_or_else(String::new, |file| format!("{}: ", file.display()));
            VerbError::usage(
                format!("names need the cluster's hash path secrets: {from}{error}"),
                "give --hash-prefix, --hash-suffix or --swift-conf FILE (its section [swift-hash])",
            )
        })
    }
}

/// The parts of a `swift.conf` that placement needs.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct SwiftConf {
    /// Section -> key -> value, latin-1 bytes as characters.
    sections: BTreeMap<String, BTreeMap<String, String>>,
}

impl SwiftConf {
    /// Reads the file, as Python's configparser does.
    pub(crate) fn read(file: &Path) -> Result<Self, VerbError> {
        let wrong = |why: String| {
            VerbError::usage(
                format!("{}: {why}", file.display()),
                "name the cluster's swift.conf",
            )
        };
        let size = std::fs::metadata(file)
            .map_err(|error| wrong(error.to_string()))?
            .len();
        if size > MAX_CONF {
            return Err(wrong(format!("too long for a swift.conf ({size} bytes)")));
        }
        let bytes = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
        Self::parse(&bytes).map_err(wrong)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        // Latin-1: every byte is the character of the same number.
        let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        let mut it = Self::default();
        let mut section: Option<String> = None;
        for (at, line) in text.lines().enumerate() {
            let line = line.trim_end();
            let bare = line.trim_start();
            if bare.is_empty() || bare.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                it.sections.entry(name.to_owned()).or_default();
                section = Some(name.to_owned());
                continue;
            }
            let Some((key, value)) = line.split_once(['=', ':']) else {
                // A line further in continues the value above; none that matter here do.
                if line.len() > bare.len() {
                    continue;
                }
                return Err(format!("line {}: neither [section] nor key = value", at + 1));
            };
            let Some(section) = &section else {
                return Err(format!("line {}: a value before the first [section]", at + 1));
            };
            let values = it.sections.entry(section.clone()).or_default();
            values.insert(key.trim().to_lowercase(), value.trim().to_owned());
        }
        Ok(it)
    }

    /// Prefix and suffix; empty where the file has none.
    fn hash_secrets(&self) -> (Vec<u8>, Vec<u8>) {
        let get = |key: &str| {
            let value = self.sections.get("swift-hash").and_then(|keys| keys.get(key));
            let value = value.map_or("", String::as_str);
            // As configparser: %% stands for %.
            value.replace("%%", "%").chars().map(|c| c as u8).collect()
        };
        (get("swift_hash_path_prefix"), get("swift_hash_path_suffix"))
    }

    /// Index of the storage policy of this name or alias, whatever the case.
    pub(crate) fn policy(&self, name: &str) -> Option<u32> {
        let named = |keys: &BTreeMap<String, String>| {
            let all = keys.get("name").into_iter().chain(keys.get("aliases"));
            all.flat_map(|value| value.split(','))
                .any(|known| known.trim().eq_ignore_ascii_case(name))
        };
        let policies = self.sections.iter().filter_map(|(section, keys)| {
            let index: u32 = section.strip_prefix("storage-policy:")?.parse().ok()?;
            Some((index, keys))
        });
        let mut found = policies.filter(|(_, keys)| named(keys)).map(|(index, _)| index);
        // Without any policy section there is one, of this name.
        found.next().or_else(|| {
            let none = !self
                .sections
                .keys()
                .any(|name| name.starts_with("storage-policy:"));
            (none && name.eq_ignore_ascii_case("Policy-0")).then_some(0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secrets_of_a_swift_conf_are_latin_1_bytes() {
        let conf = SwiftConf::parse(
            b"# a comment\n[swift-hash]\nSwift_Hash_Path_Prefix = a\xe9b \nswift_hash_path_suffix: 100%%\n\
              [storage-policy:0]\nname = silver\ndefault = yes\n[storage-policy:3]\nname = gold\naliases = best, first\n",
        )
        .unwrap();
        assert_eq!(conf.hash_secrets(), (b"a\xe9b".to_vec(), b"100%".to_vec()));
        assert_eq!(
            (conf.policy("SILVER"), conf.policy("first"), conf.policy("tin")),
            (Some(0), Some(3), None)
        );
        assert_eq!(SwiftConf::parse(b"").unwrap().policy("policy-0"), Some(0));
    }

    #[test]
    fn a_broken_swift_conf_names_the_line() {
        assert!(SwiftConf::parse(b"a = 1\n").unwrap_err().contains("line 1"));
        assert!(
            SwiftConf::parse(b"[swift-hash]\n\nnonsense\n")
                .unwrap_err()
                .contains("line 3")
        );
    }
}
