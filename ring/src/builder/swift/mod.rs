//! Swift's builder files: taken over, and written so that Swift's tool goes on.
//!
//! They are Python pickles: programs. [`machine`] reads one without running
//! it, [`import`] checks what it says and makes a [`Builder`], [`export`]
//! writes one that holds the same. Driven by `virga ring FILE import` and
//! `export` and by composite rings. Described in docs/formats/swift-builder.md.
//!
//! Left out: pickles of whole objects (Swift before 1.5), and everything in a
//! pickle that is not data.
mod export;
mod import;
mod machine;
mod opcode;
mod pickle;
mod text;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Builder;

pub use machine::{PickleError, PickleFault};
pub use opcode::Opcode;

/// The largest file read, in bytes: a table of 2^28 slots takes about 1.5 GB.
pub const MAX_FILE: u64 = 2 << 30;

/// Why a Swift builder file cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Larger than any builder file.
    #[error("the file is larger than {MAX_FILE} bytes: no builder file is")]
    TooLarge,
    /// It does not begin as pickles do.
    #[error("not a builder file of Swift: {0}")]
    NotSwift(&'static str),
    /// The pickle is damaged or wants what it should not.
    #[error("not a builder file that can be taken over: {0}")]
    Pickle(#[from] PickleError),
    /// A value is missing or makes no sense.
    #[error("{place}: {problem}")]
    Content {
        /// The builder, or which device.
        place: String,
        /// What is wrong, and what to do.
        problem: String,
    },
}

impl Builder {
    /// Makes a builder from the content of a Swift builder file: devices,
    /// table, move times, removal marks, overload, version and id.
    pub fn from_swift(bytes: &[u8]) -> Result<Self, ImportError> {
        if bytes.len() as u64 > MAX_FILE {
            return Err(ImportError::TooLarge);
        }
        foreign(bytes)?;
        import::builder(&machine::read(bytes)?)
    }

    /// Reads a Swift builder file.
    pub fn load_swift(path: &Path) -> Result<Self, ImportError> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
        read.map_err(|source| ImportError::Read {
            path: path.into(),
            source,
        })?;
        Self::from_swift(&bytes)
    }

    /// The builder as a file that Swift's tool loads and goes on with (pickle
    /// protocol 2). The scatter limit has no place in it.
    pub fn to_swift(&self) -> Vec<u8> {
        export::builder(self)
    }
}

/// Files that people mix up with builder files get their own words.
fn foreign(bytes: &[u8]) -> Result<(), ImportError> {
    let what = match bytes {
        [] => "it is empty",
        [b'R', b'N', b'G', b'B', ..] => "it is one of ours already; nothing needs to be imported",
        [0x1f, 0x8b, ..] => {
            "it is compressed; a ring file (NAME.ring.gz) is taken over with: virga ring NAME.ring.gz write_builder"
        }
        [b'{', ..] => "it is JSON; a composite ring's file is read as it is: virga ring FILE show",
        _ => return Ok(()),
    };
    Err(ImportError::NotSwift(what))
}

#[cfg(test)]
mod literal_tests;
#[cfg(test)]
mod tests;
