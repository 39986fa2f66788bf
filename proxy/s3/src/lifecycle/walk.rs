//! Runs the rules of one bucket, a page at a time: current objects, then
//! versions and marks of deletions, then uploads in parts.
//!
//! Nothing goes that is not as the listing showed it: what was written since is
//! younger than any rule asks for.
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use s3s::S3Result;
use virga_object_wire::listing::{ContainerInfo, Entry, ListRequest, ObjectRow};
use virga_proxy::core::{ContainerName, ListError, ObjectName};
use virga_proxy::swift::versions::Keeping;
use virga_proxy::swift::versions::link::{self, LinkRow};
use virga_proxy::swift::versions::name::{self as version_name, VersionId};
use virga_proxy::swift::versions::stack::Kept;

use super::progress::Stage;
use super::rules::Rule;
use super::when;
use crate::fault::IntoFault;
use crate::{Backend, dates, multipart, tagging};

/// Rows looked at in one page. More than versions can be kept by a rule.
const PAGE: u32 = 1000;
/// Deletions at the same time.
const AT_ONCE: usize = 8;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Current objects that ended.
    pub objects: u64,
    /// Versions that were removed.
    pub versions: u64,
    /// Marks of deletions that were removed.
    pub markers: u64,
    /// Uploads in parts that were given up.
    pub uploads: u64,
    /// What could not be removed now, locks aside.
    pub left: u64,
    /// Why, of the last of these.
    pub error: Option<String>,
}

/// What became of one thing that is due.
enum Outcome {
    Object,
    Version,
    Marker,
    Upload,
    /// It stays: it is locked, has changed, or its tags are others.
    Stays,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.objects += other.objects;
        self.versions += other.versions;
        self.markers += other.markers;
        self.uploads += other.uploads;
        self.left += other.left;
        self.error = other.error.clone().or_else(|| self.error.take());
    }

    fn note(&mut self, outcome: S3Result<Outcome>) {
        match outcome {
            Ok(Outcome::Object) => self.objects += 1,
            Ok(Outcome::Version) => self.versions += 1,
            Ok(Outcome::Marker) => self.markers += 1,
            Ok(Outcome::Upload) => self.uploads += 1,
            Ok(Outcome::Stays) => {}
            Err(error) => {
                self.left += 1;
                self.error = Some(error.to_string());
            }
        }
    }
}

/// A page that was looked through.
#[derive(Default)]
pub(super) struct Page {
    /// The last name of it.
    pub(super) marker: String,
    /// Whether more follows.
    pub(super) more: bool,
    pub(super) tally: Tally,
}

/// The rules of a bucket being run.
pub(super) struct Walk<'a> {
    pub(super) backend: &'a Backend,
    pub(super) bucket: ContainerName,
    pub(super) info: ContainerInfo,
    pub(super) rules: Arc<[Rule]>,
    /// The moment that ages are counted to, seconds since the epoch.
    pub(super) now: u64,
}

/// What all the names begin with that these rules are about.
fn common_prefix(rules: &[&Rule]) -> String {
    let mut prefixes = rules.iter().map(|rule| rule.filter.prefix());
    let first = prefixes.next().unwrap_or_default();
    let common = prefixes.fold(first, |common, other| {
        let same = common.char_indices().zip(other.chars());
        let end = same.take_while(|((_, a), b)| a == b).last();
        let end = end.map_or(0, |((at, a), _)| at + a.len_utf8());
        common.get(..end).unwrap_or_default()
    });
    common.to_owned()
}

/// A version that is due: name of its object, its id, and by which rules.
struct Due<'r> {
    object: String,
    id: VersionId,
    marker: bool,
    rules: Vec<&'r Rule>,
}

impl Walk<'_> {
    /// Looks through a page of a stage behind `marker`.
    ///
    /// # Errors
    /// When it cannot be listed; what is not removed is told in the page.
    pub(super) async fn page(&self, stage: Stage, marker: &str) -> S3Result<Page> {
        match stage {
            Stage::Objects => self.objects(marker).await,
            Stage::Versions => self.versions(marker).await,
            Stage::Uploads => self.uploads(marker).await,
            Stage::Done => Ok(Page::default()),
        }
    }

    fn rules(&self, wanted: impl Fn(&Rule) -> bool) -> Vec<&Rule> {
        let enabled = self.rules.iter().filter(|rule| rule.enabled);
        enabled.filter(|rule| wanted(rule)).collect()
    }

    /// Rows of a container behind `marker`.
    async fn rows(
        &self,
        container: &ContainerName,
        prefix: String,
        marker: &str,
    ) -> S3Result<(Vec<ObjectRow>, bool)> {
        let list = ListRequest {
            prefix,
            marker: marker.to_owned(),
            limit: PAGE,
            ..ListRequest::default()
        };
        let page = match self.backend.core().list_container(container, list).await {
            Ok(page) => page,
            Err(ListError::NotFound) => return Ok((Vec::new(), false)),
            Err(error) => return Err(error.into_fault()),
        };
        let rows = page.entries.into_iter().filter_map(|entry| match entry {
            Entry::Row(row) => Some(row),
            Entry::Subdir(_) => None,
        });
        Ok((rows.collect(), page.more))
    }

    /// Does some things at the same time, and counts.
    async fn all<'a, T>(
        &'a self,
        things: Vec<T>,
        one: impl Fn(T) -> BoxFuture<'a, S3Result<Outcome>>,
    ) -> Tally {
        let mut tally = Tally::default();
        let work: Vec<_> = things.into_iter().map(one).collect();
        let mut done = stream::iter(work).buffer_unordered(AT_ONCE);
        while let Some(outcome) = done.next().await {
            tally.note(outcome);
        }
        tally
    }

    async fn objects<'a>(&'a self, marker: &str) -> S3Result<Page> {
        let rules = self.rules(|rule| when::expires(rule, 0).is_some());
        if rules.is_empty() {
            return Ok(Page::default());
        }
        let (rows, more) = self.rows(&self.bucket, common_prefix(&rules), marker).await?;
        let last = rows.last().map(|row| row.name.clone()).unwrap_or_default();
        let due = |row: &ObjectRow| {
            let size = LinkRow::parse(&row.etag).map_or(row.size, |link| link.bytes);
            let written = dates::seconds(row.version);
            let ended = |rule: &Rule| when::expires(rule, written).is_some_and(|at| at <= self.now);
            let about = rules.iter().copied();
            about
                .filter(|rule| rule.filter.fits(&row.name, size) && ended(rule))
                .collect::<Vec<_>>()
        };
        let due = rows.into_iter().map(|row| (due(&row), row));
        let due: Vec<_> = due.filter(|(rules, _)| !rules.is_empty()).collect();
        let one = |(rules, row): (Vec<&'a Rule>, ObjectRow)| {
            async move { self.end_object(&rules, &row).await }.boxed()
        };
        Ok(Page {
            tally: self.all(due, one).await,
            marker: last,
            more,
        })
    }

    async fn end_object(&self, rules: &[&Rule], row: &ObjectRow) -> S3Result<Outcome> {
        let Ok(name) = self.bucket.object(&row.name) else {
            return Ok(Outcome::Stays);
        };
        let at = LinkRow::parse(&row.etag).and_then(|link| link.object(&self.bucket, &row.name));
        if !self.tags_fit(rules, at.as_ref().unwrap_or(&name)).await? {
            return Ok(Outcome::Stays);
        }
        let ended = self.backend.end_current(&self.info, &name, row.version).await?;
        Ok(if ended { Outcome::Object } else { Outcome::Stays })
    }

    /// Whether what is stored there has all tags of one of the rules.
    async fn tags_fit(&self, rules: &[&Rule], at: &ObjectName) -> S3Result<bool> {
        if rules.iter().any(|rule| rule.filter.tags.is_empty()) {
            return Ok(true);
        }
        let Some(stat) = self.backend.stored(at).await? else {
            return Ok(false);
        };
        let tags = tagging::of(&stat);
        let all = |rule: &&Rule| rule.filter.tags.iter().all(|tag| tags.contains(tag));
        Ok(rules.iter().any(all))
    }

    async fn versions<'a>(&'a self, marker: &str) -> S3Result<Page> {
        let rules = self.rules(|rule| rule.noncurrent.is_some() || rule.expiration.is_some());
        if rules.is_empty() || !Keeping::has_versions(&self.info) {
            return Ok(Page::default());
        }
        let hidden = version_name::container_of(&self.bucket);
        let prefix = format!("\0{}", common_prefix(&rules));
        let (mut rows, more) = self.rows(&hidden, prefix, marker).await?;
        if more {
            // The last object's versions may go on behind the page: they are
            // looked at together, unless they fill it.
            let object =
                |row: &ObjectRow| version_name::split(&row.name).map(|(object, _)| object.to_owned());
            let last = rows.last().and_then(object);
            let whole = rows.iter().rposition(|row| object(row) != last);
            if let Some(whole) = whole {
                rows.truncate(whole + 1);
            }
        }
        let last = rows.last().map(|row| row.name.clone()).unwrap_or_default();
        let mut due = Vec::new();
        let kept: Vec<(String, Kept)> = rows.into_iter().filter_map(Kept::of).collect();
        let mut before = version_name::split(marker).map(|(object, id)| (object.to_owned(), id));
        for group in kept.chunk_by(|a, b| a.0 == b.0) {
            due.extend(self.due_of(&rules, group, before.take()).await?);
        }
        let one = |due: Due<'a>| async move { self.end_version(due).await }.boxed();
        Ok(Page {
            tally: self.all(due, one).await,
            marker: last,
            more,
        })
    }

    /// Whether a rule may end one of these versions, by the age of the oldest.
    fn may_end(&self, rule: &Rule, group: &[(String, Kept)]) -> bool {
        let oldest = group.last().map_or(0, |(_, kept)| dates::seconds(kept.id.0));
        let days = rule.noncurrent.map(|noncurrent| noncurrent.days);
        when::removes_marker(rule, oldest, self.now)
            || days.is_some_and(|days| when::days_after(oldest, days) <= self.now)
    }

    /// The mark of a deletion that hides nothing, if a rule removes it.
    fn bare_marker<'r>(&self, rules: &[&'r Rule], group: &[(String, Kept)]) -> Option<Due<'r>> {
        let [(object, only)] = group else { return None };
        let marked = dates::seconds(only.id.0);
        let removes = |rule: &&Rule| {
            rule.filter.tags.is_empty()
                && rule.filter.fits(object, 0)
                && when::removes_marker(rule, marked, self.now)
        };
        let rule = rules
            .iter()
            .copied()
            .find(|rule| only.is_marker() && removes(rule))?;
        Some(Due {
            object: object.clone(),
            id: only.id,
            marker: true,
            rules: vec![rule],
        })
    }

    /// The versions of one object that are due. `before` is the version that the
    /// page before ended with.
    async fn due_of<'r>(
        &self,
        rules: &[&'r Rule],
        group: &[(String, Kept)],
        before: Option<(String, VersionId)>,
    ) -> S3Result<Vec<Due<'r>>> {
        let Some((object, first)) = group.first() else {
            return Ok(Vec::new());
        };
        let about = rules.iter().copied();
        let rules: Vec<&'r Rule> = about
            .filter(|rule| object.starts_with(rule.filter.prefix()) && self.may_end(rule, group))
            .collect();
        let (false, Ok(name)) = (rules.is_empty(), self.bucket.object(object)) else {
            return Ok(Vec::new());
        };
        // When the first was replaced, if it was, and how many newer ones are
        // between it and the current one.
        let (mut replaced, mut newer) = match before.filter(|(before, _)| before == object) {
            Some((_, id)) => (Some(id.0), PAGE),
            None => match self.backend.stored(&name).await? {
                Some(stat) if link::of(&stat) != Some(first.id) => (Some(stat.version), 0),
                Some(_) => (None, 0),
                None => match self.bare_marker(&rules, group) {
                    Some(due) => return Ok(vec![due]),
                    None => (None, 0),
                },
            },
        };
        let mut due = Vec::new();
        for (_, kept) in group {
            let Some(replaced) = replaced.replace(kept.id.0).map(dates::seconds) else {
                continue;
            };
            let ends = |rule: &&Rule| {
                rule.noncurrent
                    .is_some_and(|rule| when::ends_version(&rule, replaced, newer, self.now))
                    && rule.filter.fits(object, kept.row.size)
            };
            let ending: Vec<&Rule> = rules.iter().copied().filter(ends).collect();
            newer = newer.saturating_add(1);
            if !ending.is_empty() {
                due.push(Due {
                    object: object.clone(),
                    id: kept.id,
                    marker: kept.is_marker(),
                    rules: ending,
                });
            }
        }
        Ok(due)
    }

    async fn end_version(&self, due: Due<'_>) -> S3Result<Outcome> {
        let Ok(name) = self.bucket.object(&due.object) else {
            return Ok(Outcome::Stays);
        };
        let at = version_name::object_of(&name, due.id);
        if !self.tags_fit(&due.rules, &at).await? {
            return Ok(Outcome::Stays);
        }
        let ended = self.backend.end_version(&name, due.id).await?;
        Ok(match (ended, due.marker) {
            (false, _) => Outcome::Stays,
            (true, true) => Outcome::Marker,
            (true, false) => Outcome::Version,
        })
    }

    async fn uploads(&self, marker: &str) -> S3Result<Page> {
        let rules = self.rules(|rule| rule.abort.is_some());
        let hidden = self.bucket.account_name();
        let hidden = hidden.container(&multipart::hidden(self.bucket.container()));
        let (Ok(hidden), false) = (hidden, rules.is_empty()) else {
            return Ok(Page::default());
        };
        let prefix = format!("{}{}", multipart::list::MARKERS, common_prefix(&rules));
        let (rows, more) = self.rows(&hidden, prefix, marker).await?;
        let last = rows.last().map(|row| row.name.clone()).unwrap_or_default();
        let due = |upload: &multipart::list::Marker| {
            let begun = dates::seconds(upload.row.version);
            let old = |days| when::days_after(begun, days) <= self.now;
            let about = rules.iter().filter(|rule| rule.filter.fits(&upload.key, 0));
            about.filter_map(|rule| rule.abort).any(old)
        };
        let uploads = rows.into_iter().filter_map(multipart::list::marker).filter(due);
        let one = |upload: multipart::list::Marker| async move { self.give_up(&upload).await }.boxed();
        Ok(Page {
            tally: self.all(uploads.collect(), one).await,
            marker: last,
            more,
        })
    }

    async fn give_up(&self, upload: &multipart::list::Marker) -> S3Result<Outcome> {
        let Ok(name) = self.bucket.object(&upload.key) else {
            return Ok(Outcome::Stays);
        };
        multipart::give_up(self.backend, name, &upload.id).await?;
        Ok(Outcome::Upload)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::Filter;
    use super::*;

    #[test]
    fn only_names_are_listed_that_some_rule_is_about() {
        let rule = |prefix: &str| Rule {
            id: String::new(),
            enabled: true,
            filter: Filter::with_prefix(prefix),
            expiration: None,
            noncurrent: None,
            abort: None,
        };
        for (prefixes, common) in [
            (vec![], ""),
            (vec!["logs/a"], "logs/a"),
            (vec!["logs/a", "logs/b", "logs"], "logs"),
            (vec!["a", "b"], ""),
            (vec!["\u{fc}x", "\u{fc}y"], "\u{fc}"),
            (vec!["\u{fc}", "\u{fd}"], ""),
        ] {
            let rules: Vec<Rule> = prefixes.iter().map(|prefix| rule(prefix)).collect();
            assert_eq!(
                common_prefix(&rules.iter().collect::<Vec<_>>()),
                common,
                "{prefixes:?}"
            );
        }
    }
}
