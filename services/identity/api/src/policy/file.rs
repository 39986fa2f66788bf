//! The operator's file: `policy.yaml` or `policy.json`, a mapping of rule names
//! to rules. JSON is read as the YAML that it is.
use std::collections::BTreeMap;

use serde_json::Value;
use serde_saphyr::Spanned;

use super::check::Check;
use super::parse::parse_value;
use super::rules::PolicyError;

/// Longest file, in bytes.
const MAX_FILE: usize = 4 * 1024 * 1024;

/// A rule of the file.
#[derive(Clone, Debug)]
pub(super) struct Override {
    pub(super) check: Check,
    /// Line that the rule stands in, from 1.
    pub(super) line: u64,
}

/// Reads all rules of a file. A file without any (only comments) is fine.
pub(super) fn overrides(text: &str) -> Result<BTreeMap<String, Override>, PolicyError> {
    let unreadable = |line: Option<u64>, what: String| PolicyError::File { line, what };
    if text.len() > MAX_FILE {
        let what = format!("it has {} bytes, the limit is {MAX_FILE}", text.len());
        return Err(unreadable(None, what));
    }
    if text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    }) {
        return Ok(BTreeMap::new());
    }
    let read: BTreeMap<String, Spanned<Value>> = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|at| at.line());
        unreadable(line, error.without_snippet().to_string())
    })?;
    let mut found = BTreeMap::new();
    for (name, value) in read {
        let line = value.defined.line();
        let check = parse_value(&value.value).map_err(|source| PolicyError::Rule {
            name: name.clone(),
            line: Some(line),
            source,
        })?;
        found.insert(name, Override { check, line });
    }
    Ok(found)
}
