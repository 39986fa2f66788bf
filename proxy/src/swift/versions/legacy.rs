//! The older modes: what is overwritten is copied to a container that the
//! client named, under the object's name, its length in front and the time behind.
use virga_node::clock::Version;
use virga_object_wire::listing::{Entry, ListRequest};

use super::DELETED_TYPE;
use super::write::{WriteError, copy, head};
use crate::core::{ContainerName, Core, DeleteObjectError, ListError, NewObject, ObjectName, PutObjectError};
use crate::swift::target;
use futures_util::stream;

/// Rows of one page of copies.
const PAGE: u32 = 1000;

/// What the copies of an object are called, up to their time.
fn prefix(object: &str) -> String {
    format!("{:03x}{object}/", object.len())
}

/// The container of copies, in the account of `name`.
fn place(name: &ObjectName, location: &str) -> Option<ContainerName> {
    let container = target::percent_decode_utf8(location)?;
    ContainerName::new(name.account(), &container).ok()
}

fn copy_name(name: &ObjectName, location: &str, at: Version) -> Result<ObjectName, WriteError> {
    let called = format!("{}{}", prefix(name.object()), at.to_timestamp());
    let place = place(name, location).and_then(|place| place.object(&called).ok());
    place.ok_or(WriteError::Put(PutObjectError::NoContainer))
}

/// Copies what stands under `name`, if something does.
///
/// # Errors
/// [`WriteError`]: better no new object than an old one lost.
pub async fn keep(core: &Core, name: &ObjectName, location: &str) -> Result<(), WriteError> {
    let Some(stat) = head(core, name).await? else {
        return Ok(());
    };
    let to = copy_name(name, location, stat.meta_version)?;
    copy(core, name, &to, true).await?;
    Ok(())
}

/// Deletes in history mode: what is deleted is copied, and that it was deleted
/// is noted. Whether there was an object.
///
/// # Errors
/// [`WriteError`].
pub async fn delete_noted(core: &Core, name: &ObjectName, location: &str) -> Result<bool, WriteError> {
    keep(core, name, location).await?;
    let at = copy_name(name, location, core.hlc().next())?;
    let marker = NewObject {
        expected_size: Some(0),
        ..NewObject::new(DELETED_TYPE)
    };
    core.put_object(&at, marker, stream::empty()).await?;
    Ok(core.delete_object(name, None).await?.existed)
}

/// A copy, newest first.
struct Copied {
    name: ObjectName,
    is_marker: bool,
}

async fn copies(core: &Core, place: &ContainerName, list: &ListRequest) -> Result<Vec<Copied>, WriteError> {
    let page = match core.list_container(place, list.clone()).await {
        Ok(page) => page,
        Err(ListError::NotFound) => return Ok(Vec::new()),
        Err(ListError::Unavailable(error)) => return Err(PutObjectError::from(error).into()),
    };
    let rows = page.entries.into_iter().filter_map(|entry| match entry {
        Entry::Row(row) => Some(Copied {
            name: place.object(&row.name).ok()?,
            is_marker: row.content_type == DELETED_TYPE,
        }),
        Entry::Subdir(_) => None,
    });
    Ok(rows.collect())
}

/// Deletes in stack mode: the newest copy takes the place of what is deleted.
/// Whether there was something to delete.
///
/// # Errors
/// [`WriteError`].
pub async fn delete_popping(core: &Core, name: &ObjectName, location: &str) -> Result<bool, WriteError> {
    let Some(place) = place(name, location) else {
        return plainly(core, name).await;
    };
    let mut list = ListRequest {
        prefix: prefix(name.object()),
        reverse: true,
        limit: PAGE,
        ..ListRequest::default()
    };
    // A note of a deletion that is what stands under the name now: it goes when
    // what was there before it is back.
    let mut note: Option<ObjectName> = None;
    loop {
        let page = copies(core, &place, &list).await?;
        let Some(last) = page.last() else { break };
        list.marker = last.name.object().to_owned();
        for copied in page {
            match (copied.is_marker, &note) {
                (true, None) if head(core, name).await?.is_some() => return plainly(core, name).await,
                (true, None) => note = Some(copied.name),
                (true, Some(note)) => return plainly(core, note).await,
                (false, _) => {
                    if copy(core, &copied.name, name, true).await?.is_none() {
                        // Deleted since it was listed: the one before it, then.
                        continue;
                    }
                    forget(core, &copied.name).await?;
                    if let Some(note) = &note {
                        forget(core, note).await?;
                    }
                    return Ok(true);
                }
            }
        }
    }
    match note {
        Some(note) => plainly(core, &note).await,
        None => plainly(core, name).await,
    }
}

async fn plainly(core: &Core, name: &ObjectName) -> Result<bool, WriteError> {
    Ok(core.delete_object(name, None).await?.existed)
}

async fn forget(core: &Core, copied: &ObjectName) -> Result<(), WriteError> {
    match core.delete_object(copied, None).await {
        Ok(_) | Err(DeleteObjectError::NoContainer) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_called_as_swift_calls_it() {
        let name = ObjectName::new("a", "c", "\u{fc}ber").unwrap();
        let at = Version::from_timestamp("1763823600.12345").unwrap();
        let copied = copy_name(&name, "old%20ones", at).unwrap();
        assert_eq!(copied.path(), "a/old ones/005\u{fc}ber/1763823600.12345");
        assert!(copy_name(&name, "%ff", at).is_err());
    }
}
