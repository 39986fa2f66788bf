//! The chain of hashes over the change feed, and its file.
//!
//! Every entry's hash covers the hash before it, so that an entry that was
//! changed, taken out or put in makes every later hash wrong. Whoever can write
//! the database can also compute a new chain; against that a head that was
//! noted elsewhere helps ([`Check::expect`]), or a file that was exported. The
//! bytes that are hashed, and the file, are described in
//! `docs/formats/audit.md`.
use std::io::{BufRead, Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::change::FeedEntry;

/// What the hashed bytes begin with.
const MAGIC: &[u8] = b"virga-change-1";
/// Version of the file.
const VERSION: u64 = 1;
/// Longest line of a file, in bytes.
const MAX_LINE: u64 = 1 << 20;

/// A place in the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Position of the entry.
    pub sequence: i64,
    /// Hash up to and with it, in hex; empty where the chain begins.
    pub hash: String,
}

/// As a person notes it: `SEQUENCE:HASH`.
impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash)
    }
}

impl std::str::FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no head of a chain: expected SEQUENCE:HASH, as `virga audit verify` shows it"
            )
        };
        let (sequence, hash) = text.split_once(':').ok_or_else(wrong)?;
        let hex = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        match sequence.parse() {
            Ok(sequence) if hex => Ok(Self {
                sequence,
                hash: hash.to_ascii_lowercase(),
            }),
            _ => Err(wrong()),
        }
    }
}

/// The hash of `entry` behind an entry with the hash `before`.
pub fn hash(before: &str, entry: &FeedEntry) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(MAGIC);
    // Lengths stand before the texts, so that no two entries give the same
    // bytes by moving what is between them.
    let mut add = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    add(before);
    add(&entry.sequence.to_string());
    add(&entry.at.to_string());
    for text in [&entry.service, &entry.kind, &entry.id, &entry.action] {
        add(text);
    }
    match &entry.actor {
        Some(actor) => {
            add("by");
            add(actor);
        }
        None => add("itself"),
    }
    add(&entry.detail);
    hasher.finalize().to_hex().to_string()
}

/// What is wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Broken {
    /// Entries are missing, or some were put in.
    #[error("after entry {after} comes entry {found}: entries between them are missing or were put in")]
    Hole {
        /// The last good one.
        after: i64,
        /// What came.
        found: i64,
    },
    /// An entry is not what was hashed.
    #[error("entry {sequence} was changed: its hash does not fit it and what is before it")]
    Changed {
        /// Which.
        sequence: i64,
    },
    /// The chain does not end where it must.
    #[error(
        "the chain ends at entry {found} and should at entry {wanted}: the newest entries were taken out or exchanged"
    )]
    End {
        /// The last that is there.
        found: i64,
        /// The head.
        wanted: i64,
    },
    /// A head that was noted is not in the chain.
    #[error("entry {sequence} has another hash than was noted: the chain was made anew since")]
    NotExpected {
        /// Where.
        sequence: i64,
    },
    /// A head that was noted is of an entry that is no longer, or not yet, there.
    #[error("entry {sequence}, which was noted, is not in the chain, which has {first} to {last}")]
    NotThere {
        /// Which.
        sequence: i64,
        /// First entry of the chain.
        first: i64,
        /// Its last.
        last: i64,
    },
}

/// What going through a chain brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The entry before the first.
    pub anchor: Link,
    /// The last entry.
    pub head: Link,
    /// Good entries.
    pub entries: u64,
    /// The first thing that is wrong.
    pub broken: Option<Broken>,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_intact(&self) -> bool {
        self.broken.is_none()
    }
}

/// Goes through a chain, entry by entry.
#[derive(Debug)]
pub struct Check {
    anchor: Link,
    at: Link,
    entries: u64,
    expected: Option<Link>,
    met: bool,
}

impl Check {
    /// Before the first entry of a chain.
    pub fn new(anchor: Link) -> Self {
        Self {
            at: anchor.clone(),
            anchor,
            entries: 0,
            expected: None,
            met: false,
        }
    }

    /// A place that must be in the chain: a head that was noted elsewhere.
    #[must_use]
    pub fn expect(mut self, expected: Option<Link>) -> Self {
        self.met = expected.is_none() || expected.as_ref() == Some(&self.anchor);
        self.expected = expected;
        self
    }

    /// The last good entry.
    pub fn reached(&self) -> &Link {
        &self.at
    }

    /// The next entry.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn see(&mut self, entry: &FeedEntry) -> Result<(), Broken> {
        let sequence = entry.sequence;
        if sequence != self.at.sequence + 1 {
            return Err(Broken::Hole {
                after: self.at.sequence,
                found: sequence,
            });
        }
        if hash(&self.at.hash, entry) != entry.hash {
            return Err(Broken::Changed { sequence });
        }
        self.at = Link {
            sequence,
            hash: entry.hash.clone(),
        };
        self.entries += 1;
        if let Some(expected) = self.expected.as_ref().filter(|e| e.sequence == sequence) {
            if expected.hash != entry.hash {
                return Err(Broken::NotExpected { sequence });
            }
            self.met = true;
        }
        Ok(())
    }

    /// At the end of the entries, with what the chain says is its head.
    pub fn finish(self, head: &Link) -> Verdict {
        let broken = match &self.expected {
            _ if self.at != *head => Some(Broken::End {
                found: self.at.sequence,
                wanted: head.sequence,
            }),
            Some(expected) if !self.met => Some(Broken::NotThere {
                sequence: expected.sequence,
                first: self.anchor.sequence + 1,
                last: head.sequence,
            }),
            _ => None,
        };
        Verdict {
            anchor: self.anchor,
            head: head.clone(),
            entries: self.entries,
            broken,
        }
    }

    /// At an entry that is wrong.
    pub fn broken(self, head: &Link, broken: Broken) -> Verdict {
        Verdict {
            anchor: self.anchor,
            head: head.clone(),
            entries: self.entries,
            broken: Some(broken),
        }
    }
}

/// Why a file cannot be read as a chain.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A line is not what it must be.
    #[error("line {line}: {what}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What was expected.
        what: String,
    },
}

/// An entry as a line of a file shows it: the detail as an object.
pub fn shown(entry: &FeedEntry) -> Value {
    let mut shown = json!(entry);
    shown["detail"] = serde_json::from_str(&entry.detail).unwrap_or(Value::Null);
    shown
}

fn entry_of(mut shown: Value) -> Result<FeedEntry, String> {
    let detail = match shown.get("detail") {
        None | Some(Value::Null) => String::new(),
        Some(detail) => detail.to_string(),
    };
    match &mut shown {
        Value::Object(fields) => fields.insert("detail".into(), detail.into()),
        _ => return Err("not an entry of the feed".into()),
    };
    serde_json::from_value(shown).map_err(|error| format!("not an entry of the feed: {error}"))
}

/// The first line of a file.
pub fn file_begin(anchor: &Link, exported_at: i64) -> String {
    json!({"virga-audit": VERSION, "anchor": anchor, "exported_at": exported_at}).to_string()
}

/// The last line of a file: a file without it was cut off.
pub fn file_end(head: &Link, entries: u64) -> String {
    json!({"end": head, "entries": entries}).to_string()
}

/// Writes a line.
///
/// # Errors
/// What the system says.
pub fn write_line(out: &mut impl Write, line: &str) -> std::io::Result<()> {
    out.write_all(line.as_bytes())?;
    out.write_all(b"\n")
}

/// Goes through the chain in a file.
///
/// # Errors
/// The file cannot be read, or is not one of a chain.
pub fn verify_file(mut file: impl BufRead, expected: Option<Link>) -> Result<Verdict, FileError> {
    let mut number = 0;
    let mut next = || -> Result<(u64, Option<Value>), FileError> {
        number += 1;
        let wrong = |what: String| FileError::Line { line: number, what };
        let mut line = Vec::new();
        // One byte more than is allowed, so that too long a line is seen.
        let got = (&mut file).take(MAX_LINE + 1).read_until(b'\n', &mut line)?;
        if got == 0 {
            return Ok((number, None));
        }
        if got as u64 > MAX_LINE {
            return Err(wrong(format!("longer than {MAX_LINE} bytes")));
        }
        let value = serde_json::from_slice(&line).map_err(|error| wrong(format!("not JSON: {error}")))?;
        Ok((number, Some(value)))
    };
    let wrong = |line: u64, what: &str| FileError::Line {
        line,
        what: what.to_owned(),
    };
    let (line, first) = next()?;
    let first = first.ok_or_else(|| wrong(line, "the file is empty"))?;
    match first.get("virga-audit").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(other) => {
            let what = format!("version {other} of the format; this release reads {VERSION}");
            return Err(wrong(line, &what));
        }
        None => return Err(wrong(line, "not a file of `virga audit export`")),
    }
    let link = |value: &Value, name: &str, line: u64| -> Result<Link, FileError> {
        let found = value.get(name).cloned().unwrap_or_default();
        serde_json::from_value(found).map_err(|_| wrong(line, &format!("no {name}")))
    };
    let mut check = Check::new(link(&first, "anchor", line)?).expect(expected);
    loop {
        let (line, value) = next()?;
        let value =
            value.ok_or_else(|| wrong(line, "the file ends here without its last line: it was cut off"))?;
        if value.get("end").is_some() {
            let head = link(&value, "end", line)?;
            if next()?.1.is_some() {
                return Err(wrong(line + 1, "there is more after the end"));
            }
            return Ok(check.finish(&head));
        }
        let entry = entry_of(value).map_err(|what| wrong(line, &what))?;
        if let Err(broken) = check.see(&entry) {
            let head = check.reached().clone();
            return Ok(check.broken(&head, broken));
        }
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
