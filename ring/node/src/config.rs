//! Configuration files: TOML into a serde struct, with errors that say where
//! and what is allowed.
//!
//! Configuration structs carry `#[serde(deny_unknown_fields)]`, so that a
//! misspelt key is an error and not a silent default.
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Largest configuration file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Why a configuration could not be used. The text is meant for the person
/// who wrote the file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than any configuration.
    #[error("{path}: larger than {MAX_FILE} bytes, not a configuration file")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A key that nobody knows.
    #[error(
        "{path}:{line}: unknown key `{key}`{}; allowed here: {allowed}",
        hint(nearest)
    )]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Line of the key, from 1.
        line: usize,
        /// The key as written.
        key: String,
        /// The known key most like it, if one is near.
        nearest: Option<String>,
        /// All known keys at this place.
        allowed: String,
    },
    /// Not TOML, or a value of the wrong kind.
    #[error("{path}:{line}: {message}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line of the mistake, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

fn hint(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map(|n| format!(", did you mean `{n}`?"))
        .unwrap_or_default()
}

/// Reads and parses the file at `path`.
///
/// # Errors
/// See [`ConfigError`]; each names the file, and the line where there is one.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.into(),
        source,
    };
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE {
        return Err(ConfigError::TooLarge { path: path.into() });
    }
    parse(&std::fs::read_to_string(path).map_err(unreadable)?, path)
}

/// Parses `text`; `path` is only for messages.
///
/// # Errors
/// [`ConfigError::UnknownKey`] or [`ConfigError::Malformed`].
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| explain(&error, text, path))
}

fn explain(error: &toml::de::Error, text: &str, path: &Path) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text.as_bytes()[..start].iter().filter(|b| **b == b'\n').count() + 1;
    let message = error.message().trim().to_owned();
    let Some((key, allowed)) = unknown_field(&message) else {
        return ConfigError::Malformed {
            path: path.into(),
            line,
            message,
        };
    };
    let nearest = allowed
        .iter()
        .map(|known| (distance(&key, known), *known))
        .min()
        .filter(|(far, known)| *far <= 1 + known.len() / 3)
        .map(|(_, known)| known.to_owned());
    let allowed = if allowed.is_empty() {
        "no keys".to_owned()
    } else {
        allowed.join(", ")
    };
    ConfigError::UnknownKey {
        path: path.into(),
        line,
        key,
        nearest,
        allowed,
    }
}

/// Takes serde's "unknown field `x`, expected one of `a`, `b`" apart.
fn unknown_field(message: &str) -> Option<(String, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field ")?;
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let key = quoted.next()?.to_owned();
    Some((key, quoted.collect()))
}

/// Edit distance between two keys (insert, delete, replace).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replace = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[allow(dead_code, reason = "only parsed")]
        listen: String,
        #[serde(default)]
        #[allow(dead_code, reason = "only parsed")]
        workers: u32,
    }

    fn error(text: &str) -> String {
        parse::<Sample>(text, Path::new("virga.toml"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        assert_eq!(
            error("listen = \"a\"\n\nworker = 3\n"),
            "virga.toml:3: unknown key `worker`, did you mean `workers`?; allowed here: listen, workers"
        );
        assert!(error("listen = \"a\"\nzebra = 1\n").contains("unknown key `zebra`; allowed here"));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_line() {
        assert!(error("listen = \"a\"\nworkers = \"many\"\n").starts_with("virga.toml:2: "));
        assert!(error("listen = [\n").starts_with("virga.toml:"));
        assert!(error("").contains("missing field `listen`"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load::<Sample>(Path::new("/nonexistent/virga.toml"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("/nonexistent/virga.toml: cannot be read"),
            "{error}"
        );
    }
}
