//! What PUT, POST and DELETE of a container or account do to its head and
//! metadata: pure functions, called by [`super::apply`].
//!
//! Every transition takes the larger of what is known and what is told, so
//! that replicas agree in whatever order they hear. Two answers depend on what
//! a replica knows and then change nothing: `NotFound` of a POST, and the
//! refusal to delete while live rows are known. `created` and the policy are exact unless a
//! deletion arrives after two PUTs that are newer than it.
use virga_node::clock::Version;
use virga_object_wire::listing::MetaItem;

use super::fault::ChangeError;
use super::head::{Head, Kind};
use super::meta::Meta;

/// A PUT; returns whether it made something new.
pub fn put(
    head: &mut Head,
    meta: &mut Meta,
    version: Version,
    policy: u32,
    items: &[MetaItem],
    cutoff: Version,
) -> Result<bool, ChangeError> {
    let existed = head.exists();
    head.put = head.put.max(version);
    head.saw(version);
    if version > head.deleted {
        let first = head.created == Version(0);
        if first || (version, policy) < (head.created, head.policy) {
            (head.created, head.policy) = (version, policy);
        }
    }
    set(head, meta, items, cutoff);
    if head.exists() {
        Ok(!existed)
    } else {
        Err(ChangeError::Newer(head.deleted))
    }
}

/// Makes up for a deletion of a container that passed by unheard. Live rows are
/// no reason against it: it was acknowledged, and no row ends with it.
pub fn catch_up(head: &mut Head, meta: &mut Meta, deleted: Version, cutoff: Version) {
    if deleted > head.deleted {
        bury(head, meta, deleted, cutoff);
    }
}

/// A POST of something that exists.
pub fn post(
    head: &mut Head,
    meta: &mut Meta,
    version: Version,
    items: &[MetaItem],
    cutoff: Version,
) -> Result<(), ChangeError> {
    if !head.exists() {
        return Err(ChangeError::NotFound);
    }
    head.saw(version);
    set(head, meta, items, cutoff);
    Ok(())
}

fn set(head: &mut Head, meta: &mut Meta, items: &[MetaItem], cutoff: Version) {
    meta.set(items);
    meta.prune(head.deleted, cutoff);
    items.iter().for_each(|item| head.saw(item.version));
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

/// A DELETE that [`refuse_delete`] lets through. The caller counts live rows
/// anew if `head.deleted` has grown.
pub fn delete(
    head: &mut Head,
    meta: &mut Meta,
    version: Version,
    cutoff: Version,
) -> Result<(), ChangeError> {
    let (existed, again) = (head.exists(), head.deleted == version);
    bury(head, meta, version, cutoff);
    match (existed, head.exists()) {
        (true, false) => Ok(()),
        (true, true) => Err(ChangeError::Newer(head.put)),
        // The same request again gets the same answer.
        (false, _) if again => Ok(()),
        (false, _) => Err(ChangeError::NotFound),
    }
}

/// Merges a deletion; what is older goes with it.
fn bury(head: &mut Head, meta: &mut Meta, version: Version, cutoff: Version) {
    head.deleted = head.deleted.max(version);
    head.saw(version);
    if head.created <= head.deleted {
        head.created = if head.exists() { head.put } else { Version(0) };
    }
    meta.prune(head.deleted, cutoff);
}
