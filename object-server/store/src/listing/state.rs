//! What PUT, POST, DELETE and the word of another replica do to the head and
//! metadata of a container or account: pure functions, called by
//! [`super::apply`].
//!
//! Every transition takes the larger of what is known and what is told, so
//! that replicas agree in whatever order they hear. Two answers depend on what
//! a replica knows and then change nothing: `NotFound` of a POST, and the
//! refusal to delete while live rows are known. `created` and the policy are
//! exact unless a deletion arrives after two PUTs that are newer than it; the
//! smallest of what replicas made of it spreads then.
use virga_node::clock::Version;
use virga_object_wire::listing::{ListingState, MetaItem};

use super::fault::ChangeError;
use super::head::{Head, Kind};
use super::meta::Meta;

/// Head and metadata of a shard, and what is no longer remembered.
pub struct State<'a> {
    /// The head.
    pub head: &'a mut Head,
    /// The metadata.
    pub meta: &'a mut Meta,
    /// Deletions up to here have been forgotten.
    pub horizon: Version,
    /// Removals of metadata that are new.
    pub removed: Vec<Version>,
}

impl State<'_> {
    /// A PUT; returns whether it made something new.
    pub fn put(&mut self, version: Version, policy: u32, items: &[MetaItem]) -> Result<bool, ChangeError> {
        let existed = self.head.exists();
        self.head.alter(|life| life.put(version, policy));
        self.set(items);
        if self.head.exists() {
            Ok(!existed)
        } else {
            Err(ChangeError::Newer(self.head.deleted))
        }
    }

    /// Makes up for a deletion of a container that passed by unheard. Live rows
    /// are no reason against it: it was acknowledged, and no row ends with it.
    pub fn catch_up(&mut self, deleted: Version) {
        if deleted > self.head.deleted {
            self.bury(deleted);
        }
    }

    /// A POST of something that exists.
    pub fn post(&mut self, version: Version, items: &[MetaItem]) -> Result<(), ChangeError> {
        if !self.head.exists() {
            return Err(ChangeError::NotFound);
        }
        self.head.saw(version);
        self.set(items);
        Ok(())
    }

    /// A DELETE that [`refuse_delete`] lets through. The caller counts live
    /// rows anew if `head.deleted` has grown.
    pub fn delete(&mut self, version: Version) -> Result<(), ChangeError> {
        let (existed, again) = (self.head.exists(), self.head.deleted == version);
        self.bury(version);
        match (existed, self.head.exists()) {
            (true, false) => Ok(()),
            (true, true) => Err(ChangeError::Newer(self.head.put)),
            // The same request again gets the same answer.
            (false, _) if again => Ok(()),
            (false, _) => Err(ChangeError::NotFound),
        }
    }

    /// All that another replica knows. The caller counts live rows anew if
    /// `head.deleted` has grown.
    pub fn merge(&mut self, told: &ListingState) {
        if self.meta.account.is_empty() {
            self.meta.account.clone_from(&told.account);
            self.meta.container.clone_from(&told.container);
        }
        self.head.alter(|life| life.merge(&told.life));
        self.meta.bury(self.head.deleted);
        self.set(&told.meta);
    }

    fn set(&mut self, items: &[MetaItem]) {
        let removed = self.meta.set(items, self.head.deleted, self.horizon);
        self.removed.extend(removed);
        self.head.meta = self.meta.digest();
        items.iter().for_each(|item| self.head.saw(item.version));
    }

    /// Merges a deletion; what is older goes with it.
    fn bury(&mut self, version: Version) {
        self.head.alter(|life| life.delete(version));
        self.meta.bury(self.head.deleted);
        self.head.meta = self.meta.digest();
    }
}

/// Whether a DELETE must leave everything as it is.
pub fn refuse_delete(head: &Head, version: Version) -> Result<(), ChangeError> {
    if head.kind == Kind::Account || head.live == 0 {
        return Ok(());
    }
    if head.exists() && version <= head.put {
        return Err(ChangeError::Newer(head.put));
    }
    // Live rows in what never was: the PUT has not come here yet. In what was
    // deleted: rows of a race, which a second deletion must not bury.
    let unknown = head.put == Version(0) && head.deleted == Version(0);
    Err(if head.exists() || unknown {
        ChangeError::NotEmpty
    } else {
        ChangeError::NotFound
    })
}
