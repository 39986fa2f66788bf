//! The rules in force: the defaults with the operator's file on top, read again
//! when the file changes. A bad new file changes nothing but what [`look`] says.
//!
//! [`look`]: PolicyBook::look
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use virga_identity_api::policy::{PolicyError, Rules};

/// Names that are looked for in a folder, the first that is there is used.
const NAMES: [&str; 2] = ["policy.yaml", "policy.json"];

/// Where the operator's rules are.
#[derive(Clone, Debug, Default)]
pub(crate) enum Place {
    /// Nowhere.
    #[default]
    None,
    /// In this file, which must be there.
    File(PathBuf),
    /// In `policy.yaml` or `policy.json` of this folder, if one is there.
    Folder(PathBuf),
}

/// Why the operator's rules are not in force.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub struct PolicyFileError {
    /// The file.
    path: PathBuf,
    /// What is wrong with it, with the line.
    why: String,
}

impl PolicyFileError {
    fn new(path: &Path, why: &dyn std::fmt::Display) -> Self {
        Self {
            path: path.to_owned(),
            why: why.to_string(),
        }
    }
}

/// By what a changed file is told from an unchanged one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    modified: Option<SystemTime>,
    length: u64,
}

/// What the last look brought.
#[derive(Debug, Default)]
struct Last {
    seen: Option<Seen>,
    trouble: Option<PolicyFileError>,
}

/// The rules in force.
#[derive(Debug)]
pub(crate) struct PolicyBook {
    place: Place,
    rules: ArcSwap<Rules>,
    last: Mutex<Last>,
}

impl PolicyBook {
    /// Reads the rules for the first time.
    ///
    /// # Errors
    /// The file is bad: a cloud must not start with other rules than its
    /// operator wrote.
    pub(crate) fn open(place: Place) -> Result<Self, PolicyFileError> {
        let defaults = read(None).map_err(|e| PolicyFileError::new(Path::new("built-in rules"), &e))?;
        let book = Self {
            place,
            rules: ArcSwap::from_pointee(defaults),
            last: Mutex::default(),
        };
        book.look()?;
        Ok(book)
    }

    /// The rules.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// The file in use, if there is one.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.seen.as_ref().map(|seen| seen.path.clone())
    }

    /// Reads the file again if it changed since the last look. Returns whether
    /// new rules are in force.
    ///
    /// # Errors
    /// The file is bad, as long as it is; the rules of before stay.
    pub(crate) fn look(&self) -> Result<bool, PolicyFileError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = match self.find() {
            Ok(seen) => seen,
            Err(error) => {
                last.trouble = Some(error.clone());
                return Err(error);
            }
        };
        // A file that could not be found before may be the same one as then.
        let missed = last.trouble.is_some() && last.seen == seen;
        if last.seen == seen && !missed {
            return Ok(false);
        }
        let read = match &seen {
            None => read(None).map_err(|e| PolicyFileError::new(Path::new("built-in rules"), &e)),
            Some(seen) => std::fs::read_to_string(&seen.path)
                .map_err(|e| PolicyFileError::new(&seen.path, &e))
                .and_then(|text| read(Some(&text)).map_err(|e| PolicyFileError::new(&seen.path, &e))),
        };
        last.seen = seen;
        match read {
            Ok(rules) => {
                last.trouble = None;
                self.announce(&rules, last.seen.as_ref());
                self.rules.store(Arc::new(rules));
                Ok(true)
            }
            Err(error) => {
                last.trouble = Some(error.clone());
                Err(error)
            }
        }
    }

    fn announce(&self, rules: &Rules, seen: Option<&Seen>) {
        let Some(seen) = seen else { return };
        tracing::info!(file = %seen.path.display(), "policy rules are read");
        // Files of several services are often one: only our own names can be
        // known to be wrong.
        for name in rules.unused().into_iter().filter(|n| n.starts_with("identity:")) {
            tracing::warn!(file = %seen.path.display(), rule = name, "no action has this policy rule");
        }
    }

    fn find(&self) -> Result<Option<Seen>, PolicyFileError> {
        let (paths, required) = match &self.place {
            Place::None => (Vec::new(), false),
            Place::File(path) => (vec![path.clone()], true),
            Place::Folder(folder) => (NAMES.iter().map(|name| folder.join(name)).collect(), false),
        };
        for path in paths {
            match std::fs::metadata(&path) {
                Ok(found) => {
                    return Ok(Some(Seen {
                        path,
                        modified: found.modified().ok(),
                        length: found.len(),
                    }));
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && !required => {}
                Err(e) => return Err(PolicyFileError::new(&path, &e)),
            }
        }
        Ok(None)
    }
}

fn read(file: Option<&str>) -> Result<Rules, PolicyError> {
    Rules::new(&super::all(), file)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use virga_identity_api::policy::Decision;

    use super::*;

    fn member_may(book: &PolicyBook) -> bool {
        let who = json!({"roles": ["member"]});
        book.rules()
            .allows("identity:create_user", None, &who, &json!({}))
            == Decision::Allowed
    }

    #[test]
    fn a_changed_file_counts_and_a_bad_one_keeps_the_rules_and_says_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let book = PolicyBook::open(Place::Folder(dir.path().into())).unwrap();
        assert!(!member_may(&book) && !book.look().unwrap());
        let file = dir.path().join("policy.yaml");
        std::fs::write(&file, "\"identity:create_user\": \"role:member\"\n").unwrap();
        assert!(book.look().unwrap() && member_may(&book));
        assert!(!book.look().unwrap(), "nothing changed");
        std::fs::write(&file, "# oops\n\"identity:create_user\": \"role:member or\"\n").unwrap();
        for _ in 0..2 {
            let said = book.look().unwrap_err().to_string();
            assert!(said.contains("policy.yaml") && said.contains("line 2"), "{said}");
            assert!(member_may(&book), "the rules of before stay");
        }
        std::fs::write(&file, "\"identity:create_user\": \"role:member or role:admin\"\n").unwrap();
        assert!(book.look().unwrap() && member_may(&book));
        std::fs::remove_file(&file).unwrap();
        assert!(book.look().unwrap() && !member_may(&book));
        let json = dir.path().join("policy.json");
        std::fs::write(&json, "{\"identity:create_user\": [[\"role:member\"]]}").unwrap();
        assert!(book.look().unwrap() && member_may(&book));
        assert_eq!(book.file(), Some(json));
    }

    #[test]
    fn a_configured_file_must_be_there_at_the_start_and_stay() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mine.yaml");
        assert!(PolicyBook::open(Place::File(file.clone())).is_err());
        std::fs::write(&file, "\"identity:create_user\": \"role:member\"\n").unwrap();
        let book = PolicyBook::open(Place::File(file.clone())).unwrap();
        std::fs::rename(&file, dir.path().join("away")).unwrap();
        assert!(book.look().is_err() && book.look().is_err() && member_may(&book));
        std::fs::rename(dir.path().join("away"), &file).unwrap();
        assert!(book.look().is_ok() && member_may(&book));
        std::fs::write(&file, "\"identity:create_user\": 7\n").unwrap();
        assert!(book.look().is_err());
        assert!(PolicyBook::open(Place::File(file)).is_err());
    }
}
