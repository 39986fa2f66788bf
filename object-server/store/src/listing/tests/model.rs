//! The reference model: containers as plain maps, without a thought for cost.
//!
//! It remembers every PUT, derives everything else on demand, and lists by
//! walking all rows.
use std::collections::BTreeMap;

use virga_node::clock::Version;
use virga_object_wire::listing::{ContainerInfo, Entry, ListRequest, MetaItem, ObjectRow};

use crate::listing::ChangeError;

/// One container.
#[derive(Clone, Debug, Default)]
pub struct Container {
    puts: Vec<(Version, u32)>,
    deleted: Version,
    meta: BTreeMap<String, (Version, String)>,
    rows: BTreeMap<String, ObjectRow>,
    newest: Version,
    /// A deletion came after PUTs that are newer than it.
    late: bool,
}

impl Container {
    fn put(&self) -> Version {
        self.puts.iter().map(|put| put.0).max().unwrap_or_default()
    }

    pub fn exists(&self) -> bool {
        self.put() > self.deleted
    }

    fn live_rows(&self) -> impl Iterator<Item = &ObjectRow> {
        self.rows.values().filter(|row| !row.deleted)
    }

    pub fn on_put(&mut self, version: Version, policy: u32, meta: &[MetaItem]) -> Result<bool, ChangeError> {
        let existed = self.exists();
        self.puts.push((version, policy));
        self.newest = self.newest.max(version);
        self.set(meta);
        if self.exists() {
            Ok(!existed)
        } else {
            Err(ChangeError::Newer(self.deleted))
        }
    }

    pub fn on_post(&mut self, version: Version, meta: &[MetaItem]) -> Result<(), ChangeError> {
        if !self.exists() {
            return Err(ChangeError::NotFound);
        }
        self.newest = self.newest.max(version);
        self.set(meta);
        Ok(())
    }

    fn set(&mut self, meta: &[MetaItem]) {
        for item in meta {
            self.newest = self.newest.max(item.version);
            let new = (item.version, item.value.clone());
            let known = self.meta.entry(item.name.clone()).or_default();
            *known = new.max(known.clone());
        }
    }

    pub fn on_delete(&mut self, version: Version) -> Result<(), ChangeError> {
        let (existed, again) = (self.exists(), version == self.deleted);
        if self.live_rows().next().is_some() {
            return Err(match existed {
                true if version <= self.put() => ChangeError::Newer(self.put()),
                true => ChangeError::NotEmpty,
                false if self.puts.is_empty() && self.deleted == Version(0) => ChangeError::NotEmpty,
                false => ChangeError::NotFound,
            });
        }
        self.deleted = self.deleted.max(version);
        self.newest = self.newest.max(version);
        self.late = self.exists();
        match existed {
            true if self.exists() => Err(ChangeError::Newer(self.put())),
            false if !again => Err(ChangeError::NotFound),
            _ => Ok(()),
        }
    }

    pub fn on_row(&mut self, new: &ObjectRow) {
        // A row that is not taken tells nothing.
        let old = self.rows.get(&new.name);
        if old.is_none_or(|old| new.rank() > old.rank()) {
            self.newest = self.newest.max(new.version).max(new.meta_version);
            self.rows.insert(new.name.clone(), new.clone());
        }
    }

    /// Compares with what a device says. A deletion that came after newer PUTs
    /// leaves open which of them `created` names, and which gave the policy.
    pub fn check(&self, info: &ContainerInfo) {
        assert_eq!(
            (info.put, info.deleted, info.newest),
            (self.put(), self.deleted, self.newest)
        );
        assert_eq!(info.objects, self.live_rows().count() as u64);
        assert_eq!(info.bytes, self.live_rows().map(|row| row.size).sum::<u64>());
        let set = self
            .meta
            .iter()
            .filter(|(_, (version, _))| *version > self.deleted);
        let meta = set.map(|(name, (version, value))| (name.clone(), value.clone(), *version));
        let told = info
            .meta
            .iter()
            .map(|item| (item.name.clone(), item.value.clone(), item.version));
        assert!(meta.eq(told), "{:?} {:?}", self.meta, info.meta);
        let lives = self.puts.iter().filter(|(put, _)| *put > self.deleted);
        match lives.clone().min() {
            Some((created, policy)) if !self.late => {
                assert_eq!((info.created, info.policy), (*created, *policy));
            }
            Some(_) => assert!(lives.clone().any(|(put, _)| *put == info.created), "{info:?}"),
            None => assert_eq!(info.created, Version(0)),
        }
    }

    /// Rows as a listing of everything shows them.
    pub fn listed(&self) -> Vec<Entry<ObjectRow>> {
        self.rows.values().cloned().map(Entry::Row).collect()
    }
}

/// Swift's listing of these live names, by walking all of them: names and
/// common prefixes in order, as many as there are.
pub fn swift_list(names: &[String], list: &ListRequest) -> Vec<Result<String, String>> {
    let mut names: Vec<&String> = names.iter().collect();
    names.sort();
    let (after, before) = if list.reverse {
        (&list.end_marker, &list.marker)
    } else {
        (&list.marker, &list.end_marker)
    };
    names.retain(|name| name.starts_with(&list.prefix));
    names.retain(|name| after.is_empty() || *name > after);
    names.retain(|name| before.is_empty() || *name < before);
    if list.reverse {
        names.reverse();
    }
    let mut shown: Vec<Result<String, String>> = Vec::new();
    for name in names {
        let rest = &name[list.prefix.len()..];
        let cut = Some(&list.delimiter)
            .filter(|by| !by.is_empty())
            .and_then(|by| rest.find(by.as_str()));
        let entry = match cut {
            None => Ok(name.clone()),
            Some(at) => Err(name[..list.prefix.len() + at + list.delimiter.len()].to_owned()),
        };
        if entry.as_ref().is_err_and(|dir| dir == after) || shown.last() == Some(&entry) {
            continue;
        }
        shown.push(entry);
    }
    shown
}
