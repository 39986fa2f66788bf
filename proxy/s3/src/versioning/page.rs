//! One page of all versions of a bucket's objects, in the order that S3 has
//! them: by key, and of one key the newest first.
//!
//! Merged from two listings as they are read: the bucket's own, which says what
//! is current, and that of the hidden container, which holds the versions.
use std::collections::VecDeque;

use s3s::S3Result;
use virga_node::clock::Version;
use virga_object_wire::listing::{Entry, ListRequest, ObjectRow};
use virga_proxy::core::{ContainerName, ListError, ReadObjectError};
use virga_proxy::swift::versions::link::{self, LinkRow};
use virga_proxy::swift::versions::name::{self, VersionId};
use virga_proxy::swift::versions::stack::Kept;
use virga_proxy::swift::versions::{NULL_ID, stack};

use crate::Backend;
use crate::fault::{IntoFault, OrFault};
use crate::object::find::Asked;
use crate::object::view::{Listed, listed_etag};

/// Behind every name that begins with what stands before it.
const LAST: char = '\u{10ffff}';

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    pub(super) prefix: String,
    /// Empty: none.
    pub(super) delimiter: String,
    /// The last key of the page before; empty: none.
    pub(super) key: String,
    /// The last version of that key which was listed; `None`: all of them.
    pub(super) version: Option<Asked>,
    pub(super) most: usize,
}

impl Wish {
    /// What a key is rolled up into, if it is.
    fn rolled(&self, key: &str) -> Option<String> {
        if self.delimiter.is_empty() {
            return None;
        }
        let rest = key.get(self.prefix.len()..)?;
        let end = rest.find(&self.delimiter)? + self.delimiter.len();
        key.get(..self.prefix.len() + end).map(str::to_owned)
    }
}

/// One version.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) key: String,
    pub(super) id: String,
    pub(super) latest: bool,
    pub(super) marker: bool,
    pub(super) etag: String,
    pub(super) size: u64,
    pub(super) modified: Version,
}

/// One page.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) items: Vec<Item>,
    pub(super) prefixes: Vec<String>,
    /// Key and version of the last entry, if more follows it.
    pub(super) next: Option<(String, Option<String>)>,
    /// The last entry so far.
    pub(super) last: (String, Option<String>),
}

/// A listing, read as far as it is needed.
struct Cursor<'a> {
    backend: &'a Backend,
    container: ContainerName,
    list: ListRequest,
    read: VecDeque<Entry<ObjectRow>>,
    more: bool,
}

fn name_of(entry: &Entry<ObjectRow>) -> &str {
    match entry {
        Entry::Row(row) => &row.name,
        Entry::Subdir(name) => name,
    }
}

impl<'a> Cursor<'a> {
    fn new(backend: &'a Backend, container: ContainerName, list: ListRequest) -> Self {
        Self {
            backend,
            container,
            list,
            read: VecDeque::new(),
            more: true,
        }
    }

    async fn peek(&mut self) -> S3Result<Option<&Entry<ObjectRow>>> {
        while self.read.is_empty() && self.more {
            let page = self
                .backend
                .core()
                .list_container(&self.container, self.list.clone());
            match page.await {
                Ok(page) => {
                    self.more = page.more;
                    self.read = page.entries.into();
                }
                Err(ListError::NotFound) => self.more = false,
                Err(error) => return Err(error.into_fault()),
            }
            match self.read.back() {
                Some(last) => self.list.marker = name_of(last).to_owned(),
                None => self.more = false,
            }
        }
        Ok(self.read.front())
    }

    /// Goes past all names that begin with `prefix`.
    fn skip(&mut self, prefix: &str) {
        while self
            .read
            .front()
            .is_some_and(|entry| name_of(entry).starts_with(prefix))
        {
            self.read.pop_front();
        }
        if self.read.is_empty() && self.list.marker.starts_with(prefix) {
            self.list.marker = format!("{prefix}{LAST}");
        }
    }
}

/// The versions of one key while they are listed.
struct Key {
    name: String,
    /// The version that the bucket's own row leads to.
    current: Option<VersionId>,
    /// Whether something stands under the name.
    stands: bool,
    /// Whether none of its versions was seen yet.
    first: bool,
    /// Whether one is shown as the version from when none were kept.
    null: bool,
}

/// A page being made.
struct Making<'a> {
    wish: &'a Wish,
    page: Page,
}

impl Making<'_> {
    fn is_full(&self) -> bool {
        self.page.items.len() + self.page.prefixes.len() >= self.wish.most
    }

    /// Takes a version, or says that there is no room for it.
    fn take(&mut self, item: Item) -> bool {
        if self.is_full() {
            self.page.next = Some(self.page.last.clone());
            return false;
        }
        self.page.last = (item.key.clone(), Some(item.id.clone()));
        self.page.items.push(item);
        true
    }

    /// The same of what many keys are rolled up into.
    fn roll(&mut self, prefix: String) -> bool {
        // It ended the page before.
        if prefix == self.wish.key {
            return true;
        }
        if self.is_full() {
            self.page.next = Some(self.page.last.clone());
            return false;
        }
        self.page.last = (prefix.clone(), None);
        self.page.prefixes.push(prefix);
        true
    }

    /// Takes a version of the hidden container.
    fn take_kept(&mut self, key: &mut Key, kept: &Kept) -> bool {
        let null = kept.is_null() && !key.null;
        key.null |= null;
        let newest = std::mem::take(&mut key.first);
        let marker = kept.is_marker();
        self.take(Item {
            key: key.name.clone(),
            id: match null {
                true => NULL_ID.to_owned(),
                false => kept.id.to_string(),
            },
            latest: key.current == Some(kept.id) || (newest && marker && !key.stands),
            marker,
            etag: listed_etag(&kept.row.etag).into_owned(),
            size: kept.row.size,
            modified: kept.id.0,
        })
    }

    /// Takes an object without a version: it is the current one.
    fn take_plain(&mut self, key: &mut Key, row: &ObjectRow) -> bool {
        (key.null, key.first) = (true, false);
        let shown = Listed::of(row);
        self.take(Item {
            key: key.name.clone(),
            id: NULL_ID.to_owned(),
            latest: true,
            marker: false,
            etag: shown.etag.into_owned(),
            size: shown.size,
            modified: shown.modified,
        })
    }
}

/// Both listings, and where they are.
struct Merge<'a> {
    own: Cursor<'a>,
    hidden: Cursor<'a>,
    /// The key that the page before ended in the middle of.
    within: Option<Key>,
}

/// The key that an entry of the hidden container belongs to.
fn key_of(entry: &Entry<ObjectRow>) -> Option<String> {
    match entry {
        Entry::Row(row) => name::split(&row.name).map(|(key, _)| key.to_owned()),
        Entry::Subdir(name) => name.strip_prefix('\0').map(str::to_owned),
    }
}

impl<'a> Merge<'a> {
    async fn begin(backend: &'a Backend, container: &ContainerName, wish: &Wish) -> S3Result<Self> {
        // The store rolls up by itself, unless the ids in the names of versions
        // could be taken for what is rolled up at.
        let by_store = !wish.delimiter.contains(|c: char| c.is_ascii_digit() || c == '\0');
        let list = |prefix: String, marker: String| ListRequest {
            prefix,
            marker,
            delimiter: if by_store {
                wish.delimiter.clone()
            } else {
                String::new()
            },
            limit: u32::try_from(wish.most.saturating_add(1)).unwrap_or(u32::MAX),
            ..ListRequest::default()
        };
        let rolled = wish.rolled(&wish.key).is_some_and(|prefix| prefix == wish.key);
        let (marker, within) = match (wish.key.as_str(), wish.version) {
            ("", _) => (String::new(), None),
            (key, None) if rolled => (format!("\0{key}"), None),
            // Ids are digits: this is behind all of them.
            (key, None) => (format!("{}:", name::rows_of(key)), None),
            (key, Some(version)) => within(backend, container, key, version).await?,
        };
        let hidden = name::container_of(container);
        Ok(Self {
            own: Cursor::new(
                backend,
                container.clone(),
                list(wish.prefix.clone(), wish.key.clone()),
            ),
            hidden: Cursor::new(backend, hidden, list(format!("\0{}", wish.prefix), marker)),
            within,
        })
    }

    /// Takes all that follows, until the page is full.
    async fn run(&mut self, making: &mut Making<'_>) -> S3Result<()> {
        if let Some(mut key) = self.within.take()
            && !self.versions_of(&mut key, making).await?
        {
            return Ok(());
        }
        loop {
            let own = self.own.peek().await?.map(|entry| name_of(entry).to_owned());
            let kept = loop {
                match self.hidden.peek().await?.map(key_of) {
                    // Nobody stores what is no version there.
                    Some(None) => drop(self.hidden.read.pop_front()),
                    Some(key) => break key,
                    None => break None,
                }
            };
            let name = match (&own, &kept) {
                (None, None) => return Ok(()),
                (Some(own), Some(kept)) => own.min(kept).clone(),
                (Some(name), None) | (None, Some(name)) => name.clone(),
            };
            if let Some(prefix) = making.wish.rolled(&name) {
                if !making.roll(prefix.clone()) {
                    return Ok(());
                }
                self.own.skip(&prefix);
                self.hidden.skip(&format!("\0{prefix}"));
                continue;
            }
            let row = match own {
                Some(own) if own == name => self.own.read.pop_front(),
                _ => None,
            };
            if !self.key(name, row, making).await? {
                return Ok(());
            }
        }
    }

    /// Takes all versions of a key with this row of its own.
    async fn key(
        &mut self,
        name: String,
        row: Option<Entry<ObjectRow>>,
        making: &mut Making<'_>,
    ) -> S3Result<bool> {
        let mut key = Key {
            name,
            current: None,
            stands: row.is_some(),
            first: true,
            null: false,
        };
        if let Some(Entry::Row(row)) = &row {
            key.current = LinkRow::parse(&row.etag).map(|link| link.id);
            if key.current.is_none() && !making.take_plain(&mut key, row) {
                return Ok(false);
            }
        }
        self.versions_of(&mut key, making).await
    }

    async fn versions_of(&mut self, key: &mut Key, making: &mut Making<'_>) -> S3Result<bool> {
        loop {
            match self.hidden.peek().await? {
                Some(Entry::Row(row)) if name::split(&row.name).is_some_and(|(name, _)| name == key.name) => {
                }
                _ => return Ok(true),
            }
            let Some(Entry::Row(row)) = self.hidden.read.pop_front() else {
                return Ok(true);
            };
            if let Some((_, kept)) = Kept::of(row)
                && !making.take_kept(key, &kept)
            {
                return Ok(false);
            }
        }
    }
}

/// Where a listing goes on behind one version of a key, and what is to be known
/// of the key for that.
async fn within(
    backend: &Backend,
    container: &ContainerName,
    key: &str,
    version: Asked,
) -> S3Result<(String, Option<Key>)> {
    let behind_all = format!("{}:", name::rows_of(key));
    let Ok(name) = container.object(key) else {
        return Ok((behind_all, None));
    };
    let stat = match backend.core().head_object(&name, false).await {
        Ok(stat) => Some(stat),
        Err(ReadObjectError::NotFound { .. }) => None,
        Err(error) => return Err(error.into_fault()),
    };
    let current = stat.as_ref().and_then(link::of);
    let plain = stat.is_some() && current.is_none();
    let null = match plain {
        true => None,
        false => stack::find(backend.core(), &name, Kept::is_null)
            .await
            .or_fault()?,
    };
    let null = null.map(|kept| kept.id);
    let after = match version {
        Asked::Id(id) => Some(id),
        _ => null,
    };
    let marker = match after {
        Some(id) => name::row_of(key, id),
        None if plain => name::rows_of(key),
        None => behind_all,
    };
    let shown = |null: VersionId| after.is_some_and(|after| null >= after);
    let found = Key {
        name: key.to_owned(),
        current,
        stands: stat.is_some(),
        first: false,
        null: plain || null.is_some_and(shown),
    };
    Ok((marker, Some(found)))
}

/// A page of the versions of a bucket.
///
/// # Errors
/// If it cannot be listed now.
pub(super) async fn page(backend: &Backend, container: &ContainerName, wish: &Wish) -> S3Result<Page> {
    let mut making = Making {
        wish,
        page: Page::default(),
    };
    if wish.most > 0 {
        let mut merge = Merge::begin(backend, container, wish).await?;
        merge.run(&mut making).await?;
    }
    Ok(making.page)
}
