//! What `virga verify` found out, and how it says it.
use std::fmt;
use std::io::Write;
use std::ops::Range;
use std::process::ExitCode;

use serde::Serialize;

use crate::cli;

/// Bytes of an object, both ends included, as people and headers count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bytes {
    first: u64,
    last: u64,
}

impl From<&Range<u64>> for Bytes {
    fn from(range: &Range<u64>) -> Self {
        Self {
            first: range.start,
            last: range.end.saturating_sub(1),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first >= self.last {
            true => write!(f, "byte {}", self.first),
            false => write!(f, "bytes {}-{}", self.first, self.last),
        }
    }
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Equal,
    Differs,
    Unknown,
}

/// Where the root that is trusted comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Trust {
    /// Given with `--root`.
    Argument,
    /// Named by the server.
    Server,
}

/// What was found out; in this form it is printed with `--json`.
#[derive(Debug, Serialize)]
pub struct Verdict {
    verdict: Answer,
    file: String,
    url: Option<String>,
    root: Option<String>,
    root_from: Option<Trust>,
    object_bytes: Option<u64>,
    range: Option<Bytes>,
    first_difference: Option<Bytes>,
    reason: Option<String>,
}

impl Verdict {
    /// Nothing is known yet.
    pub fn about(flags: &cli::Verify) -> Self {
        Self {
            verdict: Answer::Unknown,
            file: flags.file.display().to_string(),
            // What follows the path of a temporary URL is a secret.
            url: flags
                .url
                .as_ref()
                .map(|url| url.split('?').next().unwrap_or(url).to_owned()),
            root: None,
            root_from: None,
            object_bytes: None,
            range: None,
            first_difference: None,
            reason: None,
        }
    }

    /// The root that all is held against.
    pub fn trust(&mut self, root: [u8; 32], given: bool) {
        self.root = Some(hex::encode(root));
        self.root_from = Some(if given { Trust::Argument } else { Trust::Server });
    }

    /// How many bytes the object is proven to have.
    pub fn object(&mut self, bytes: u64) {
        self.object_bytes = Some(bytes);
    }

    /// The range that is verified.
    pub fn range(&mut self, range: &Range<u64>) {
        self.range = Some(range.into());
    }

    /// The bytes are the object's.
    pub fn equal(&mut self) {
        self.verdict = Answer::Equal;
    }

    /// They are not; `at` says where, if that is known.
    pub fn differs(&mut self, at: Option<Range<u64>>, why: String) {
        self.verdict = Answer::Differs;
        self.first_difference = at.as_ref().map(Bytes::from);
        self.reason = Some(why);
    }

    /// It cannot be told.
    pub fn cannot_tell(&mut self, why: String) {
        self.verdict = Answer::Unknown;
        self.reason = Some(why);
    }

    fn text(&self) -> String {
        let of = self
            .object_bytes
            .map(|bytes| format!(" of {bytes} bytes"))
            .unwrap_or_default();
        let at = self
            .url
            .as_ref()
            .map(|url| format!(" at {url}"))
            .unwrap_or_default();
        let object = format!("the object{of}{at}");
        let (file, is, is_not) = match self.range {
            Some(range) => (
                &self.file,
                format!("has {range} of"),
                format!("does not have {range} of"),
            ),
            None => (&self.file, "is".to_owned(), "is not".to_owned()),
        };
        let reason = self.reason.as_deref().unwrap_or_default();
        let mut text = match self.verdict {
            Answer::Equal => format!("equal: {file} {is} {object}\n"),
            Answer::Differs => format!("differs: {file} {is_not} {object}: {reason}\n"),
            Answer::Unknown => return format!("cannot tell: {reason}\n"),
        };
        if let Some(at) = self.first_difference {
            text += &format!(
                "  first difference: {at}, in extent {} of 1 MiB\n",
                at.first >> 20
            );
        }
        if let Some(root) = &self.root {
            let from = match self.root_from {
                Some(Trust::Argument) => "as given",
                _ => "as the server names it now; --root HEX holds it against one noted at the upload",
            };
            text += &format!("  root {root}, {from}\n");
        }
        text
    }

    /// Prints it, and gives the exit code: 0 equal, 1 differs, 2 cannot tell.
    pub fn print(&self, json: bool) -> ExitCode {
        let text = match json {
            true => serde_json::to_string_pretty(self)
                .map(|text| text + "\n")
                .unwrap_or_default(),
            false => self.text(),
        };
        // A reader that has seen enough is no failure: the exit code says it all.
        let _ = match self.verdict {
            Answer::Unknown if !json => write!(std::io::stderr(), "virga: {text}"),
            _ => write!(std::io::stdout(), "{text}"),
        };
        ExitCode::from(self.code())
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self.verdict {
            Answer::Equal => 0,
            Answer::Differs => 1,
            Answer::Unknown => 2,
        }
    }
}
