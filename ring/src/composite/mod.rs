//! Composite rings: one ring out of several builders.
//!
//! Each component has regions of its own and some of the replicas, so that
//! every partition surely has that many replicas there. A composite ring has
//! no builder: its file ([`Composite`], JSON as Swift's) only remembers which
//! builders it was made of, in which order, at which version. The order counts:
//! it decides which replica (or fragment) of a partition a device holds.
//!
//! [`compose`] puts the components together; [`rebalance`] rebalances them so
//! that no partition moves in two of them at once. Driven by `virga ring`.
//! Pure: files are read and written by the caller.
mod compose;
mod cooperate;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use compose::{Component, ComposeError, Composed, Unfit, compose};
pub use cooperate::{RebalanceComponentError, rebalance};

use crate::builder::Builder;
use crate::file::ascii_json;

/// Most components of one ring.
pub const MAX_COMPONENTS: usize = 256;
/// Largest file read, in bytes.
pub const MAX_FILE: u64 = 16 << 20;
/// The form of the file; Swift writes no other.
const SERIALIZATION_VERSION: u64 = 1;

/// What is remembered of a composite ring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Composite {
    /// Counts the times the ring was composed.
    pub version: u64,
    /// The components in their order.
    pub components: Vec<ComponentRecord>,
    /// Where each component's builder file lies, by builder id.
    pub component_builder_files: BTreeMap<String, String>,
    /// Absolute path of this file when it was written; old files lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved_path: Option<String>,
    /// Form of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serialization_version: Option<u64>,
    /// Keys this version does not know, kept as found.
    #[serde(flatten)]
    pub extra: BTreeMap<String, serde_json::Value>,
}

/// A component as it was when the ring was composed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComponentRecord {
    /// The builder's stable name.
    pub id: String,
    /// The builder's version.
    pub version: u64,
    /// Replicas it gives; a whole number.
    pub replicas: f64,
}

impl ComponentRecord {
    /// The record of a builder as it is now; `None` if it has no id.
    pub fn of(builder: &Builder) -> Option<Self> {
        Some(Self {
            id: builder.id()?.to_owned(),
            version: builder.version(),
            replicas: builder.replicas(),
        })
    }
}

/// Why a composite ring's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DecodeCompositeError {
    /// Larger than any.
    #[error("larger than {MAX_FILE} bytes: no composite ring's file is")]
    TooLarge,
    /// No such JSON.
    #[error("not a composite ring's file: {0}")]
    Json(#[from] serde_json::Error),
    /// Written in a newer form.
    #[error("its form {0} is newer than this program (which knows {SERIALIZATION_VERSION})")]
    Newer(u64),
    /// Fewer than two components, or absurdly many.
    #[error("it has {0} components; a composite ring has 2 to {MAX_COMPONENTS}")]
    Components(usize),
    /// A component has no file.
    #[error(
        "component {index} (builder {id}) has no entry in component_builder_files: compose again, naming the builder files"
    )]
    NoFile {
        /// Its place.
        index: usize,
        /// Its builder's id.
        id: String,
    },
}

impl Composite {
    /// Reads a composite ring's file, ours or Swift's.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeCompositeError> {
        if bytes.len() as u64 > MAX_FILE {
            return Err(DecodeCompositeError::TooLarge);
        }
        let it: Self = serde_json::from_slice(bytes)?;
        let form = it.serialization_version.unwrap_or(SERIALIZATION_VERSION);
        if form > SERIALIZATION_VERSION {
            return Err(DecodeCompositeError::Newer(form));
        }
        if !(2..=MAX_COMPONENTS).contains(&it.components.len()) {
            return Err(DecodeCompositeError::Components(it.components.len()));
        }
        for (index, component) in it.components.iter().enumerate() {
            if !it.component_builder_files.contains_key(&component.id) {
                return Err(DecodeCompositeError::NoFile {
                    index,
                    id: component.id.clone(),
                });
            }
        }
        Ok(it)
    }

    /// The file's content; `path` is where it is going to lie.
    pub fn encode(&self, path: &str) -> Result<Vec<u8>, serde_json::Error> {
        let mut it = self.clone();
        it.saved_path = Some(path.to_owned());
        it.serialization_version = Some(SERIALIZATION_VERSION);
        ascii_json(&it)
    }

    /// The builder files, in the order of the components.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let file = |component: &ComponentRecord| self.component_builder_files.get(&component.id);
        self.components.iter().filter_map(file).map(String::as_str)
    }
}

#[cfg(test)]
mod tests;
