//! Names and metadata of a shard, each item with the version it was set with.
use serde::{Deserialize, Serialize};
use virga_node::clock::Version;
use virga_object_wire::listing::MetaItem;

/// First byte of stored metadata, format 1.
const FORMAT: u8 = 1;

/// One stored item: name, value (empty: removed), version.
type Item = (String, String, Version);

/// Names and metadata of one container or account.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Meta {
    /// Name of the account.
    pub account: String,
    /// Name of the container; empty for an account.
    pub container: String,
    /// Items by name, removed ones too.
    items: Vec<Item>,
}

impl Meta {
    /// Merges items in: the newer wins, of equally new ones the larger value.
    pub fn set(&mut self, items: &[MetaItem]) {
        for new in items {
            match self
                .items
                .binary_search_by(|(name, ..)| name.as_str().cmp(&new.name))
            {
                Ok(at) => {
                    let (_, value, version) = &mut self.items[at];
                    if (new.version, &new.value) > (*version, &*value) {
                        (*version, *value) = (new.version, new.value.clone());
                    }
                }
                Err(at) => self
                    .items
                    .insert(at, (new.name.clone(), new.value.clone(), new.version)),
            }
        }
    }

    /// Drops what is not newer than a deletion, and removals before `cutoff`,
    /// of which every replica has heard.
    pub fn prune(&mut self, deleted: Version, cutoff: Version) {
        let keep =
            |(_, value, version): &Item| *version > deleted && (!value.is_empty() || *version >= cutoff);
        self.items.retain(keep);
    }

    /// All items by name, removed ones too.
    pub fn items(&self) -> Vec<MetaItem> {
        let item = |(name, value, version): &Item| MetaItem {
            name: name.clone(),
            value: value.clone(),
            version: *version,
        };
        self.items.iter().map(item).collect()
    }

    /// Bytes as stored.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_extend(self, vec![FORMAT])
    }

    /// Reads stored bytes; `None` if they are not metadata.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (format, rest) = bytes.split_first()?;
        (*format == FORMAT).then(|| postcard::from_bytes(rest).ok())?
    }
}
