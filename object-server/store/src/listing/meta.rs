//! Names and metadata of a shard, each item with the version it was set with.
use serde::{Deserialize, Serialize};
use virga_node::clock::Version;
use virga_object_wire::listing::MetaItem;

/// First byte of stored metadata, format 1.
const FORMAT: u8 = 1;

/// One stored item: name, value (empty: removed), version.
type Item = (String, String, Version);

/// Key of an item's hash: a name for the purpose.
const DIGEST_KEY: [u8; 32] = *b"virga listing item digest, v1\0\0\0";

fn digest((name, value, version): &Item) -> u128 {
    let mut hasher = blake3::Hasher::new_keyed(&DIGEST_KEY);
    hasher.update(&version.0.to_le_bytes());
    hasher.update(&(name.len() as u64).to_le_bytes());
    hasher.update(name.as_bytes()).update(value.as_bytes());
    let mut first = [0; 16];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(first)
}

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
    /// What is not newer than a deletion went with it, and the removal of an
    /// item that is not here and not newer than the `horizon` is forgotten
    /// already. Returns the removals that are new here.
    pub fn set(&mut self, items: &[MetaItem], deleted: Version, horizon: Version) -> Vec<Version> {
        let mut removed = Vec::new();
        for new in items.iter().filter(|new| new.version > deleted) {
            match self.find(&new.name) {
                Ok(at) => {
                    let (_, value, version) = &mut self.items[at];
                    if (new.version, &new.value) <= (*version, &*value) {
                        continue;
                    }
                    (*version, *value) = (new.version, new.value.clone());
                }
                Err(_) if new.is_removed() && new.version <= horizon => continue,
                Err(at) => {
                    let item = (new.name.clone(), new.value.clone(), new.version);
                    self.items.insert(at, item);
                }
            }
            if new.is_removed() {
                removed.push(new.version);
            }
        }
        removed
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.items
            .binary_search_by(|(known, ..)| known.as_str().cmp(name))
    }

    /// Drops what is not newer than a deletion.
    pub fn bury(&mut self, deleted: Version) {
        self.items.retain(|(.., version)| *version > deleted);
    }

    /// Drops removals up to that version. Whether there were any.
    pub fn forget(&mut self, upto: Version) -> bool {
        let before = self.items.len();
        self.items
            .retain(|(_, value, version)| !value.is_empty() || *version > upto);
        self.items.len() < before
    }

    /// Takes out items that are still as named. Those that were.
    pub fn take(&mut self, items: &[MetaItem]) -> Vec<MetaItem> {
        let mut taken = Vec::new();
        for item in items {
            if let Ok(at) = self.find(&item.name)
                && (&self.items[at].1, self.items[at].2) == (&item.value, item.version)
            {
                self.items.remove(at);
                taken.push(item.clone());
            }
        }
        taken
    }

    /// Wrapping sum of a hash of each item: equal for equal items.
    pub fn digest(&self) -> u128 {
        self.items.iter().map(digest).fold(0, u128::wrapping_add)
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
