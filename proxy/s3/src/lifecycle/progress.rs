//! Whose turn a bucket is, and how far its rules were run: a note on the shelf
//! beside them.
//!
//! Proxies do not talk to each other: each reads the note before it begins, and
//! leaves a bucket to who wrote it lately. Two that begin at the same moment run
//! the same rules twice, which changes nothing.
use std::time::Duration;

use s3s::S3Result;
use serde::{Deserialize, Serialize};
use virga_proxy::core::ContainerName;

use crate::Backend;

/// What the names of notes begin with.
const NOTES: &str = "progress/";
/// A note that is older than this was left by a process that has ended.
pub(super) const LEFT: Duration = Duration::from_secs(300);

/// What is looked through, one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// Current objects.
    #[default]
    Objects,
    /// Versions, and marks of deletions.
    Versions,
    /// Uploads in parts.
    Uploads,
    /// Nothing more.
    Done,
}

/// How far it is. Times are seconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Progress {
    /// Mark of the rules that are run.
    pub(super) mark: String,
    /// Who runs them.
    pub(super) by: String,
    /// When they were begun, which is the moment that ages are counted to.
    pub(super) began: u64,
    /// When this was written.
    pub(super) at: u64,
    pub(super) stage: Stage,
    /// The last name that was looked at in this stage.
    pub(super) marker: String,
}

impl Progress {
    /// What `who` has to do now with the rules marked `mark`: begin, go on, or
    /// nothing (`None`). They are run once in `period`.
    pub(super) fn turn(self, mark: &str, who: &str, now: u64, period: Duration) -> Option<Self> {
        let begin = Self {
            mark: mark.to_owned(),
            by: who.to_owned(),
            began: now,
            at: now,
            ..Self::default()
        };
        if self.mark != mark {
            return Some(begin);
        }
        if self.stage == Stage::Done {
            // Half of it: rounds do not begin to the second.
            let due = self.began.saturating_add(period.as_secs() / 2) <= now;
            return due.then_some(begin);
        }
        let left = self.by == who || self.at.saturating_add(LEFT.as_secs()) <= now || self.at > now;
        left.then(|| Self {
            by: who.to_owned(),
            at: now,
            ..self
        })
    }
}

impl Backend {
    /// The note about a bucket.
    pub(super) async fn progress(&self, bucket: &ContainerName) -> S3Result<Progress> {
        Ok(self.shelved(NOTES, bucket).await?.unwrap_or_default())
    }

    /// Writes it.
    pub(super) async fn note(&self, bucket: &ContainerName, progress: &Progress) -> S3Result<()> {
        self.shelve(NOTES, bucket, progress).await
    }

    /// Removes it.
    pub(super) async fn forget_progress(&self, bucket: &ContainerName) -> S3Result<()> {
        self.unshelve(NOTES, bucket, None).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_left_to_who_is_at_it_until_that_one_falls_silent() {
        let hour = Duration::from_secs(3600);
        let begun = Progress::default().turn("m", "a", 10_000, hour).unwrap();
        assert_eq!((begun.began, begun.stage), (10_000, Stage::Objects));
        let on = Progress {
            marker: "k".into(),
            ..begun.clone()
        };
        assert_eq!(on.clone().turn("m", "b", 10_100, hour), None, "another is at it");
        assert_eq!(on.clone().turn("m", "a", 10_100, hour).unwrap().marker, "k");
        let taken = on.clone().turn("m", "b", 10_300, hour).unwrap();
        assert_eq!(
            (taken.marker.as_str(), taken.began, taken.by.as_str()),
            ("k", 10_000, "b")
        );
        let anew = on.turn("other rules", "b", 10_001, hour).unwrap();
        assert_eq!((anew.marker.as_str(), anew.began), ("", 10_001));
    }

    #[test]
    fn what_is_done_is_done_again_after_the_period() {
        let hour = Duration::from_secs(3600);
        let done = Progress {
            mark: "m".into(),
            by: "a".into(),
            began: 10_000,
            at: 10_500,
            stage: Stage::Done,
            marker: String::new(),
        };
        assert_eq!(done.clone().turn("m", "a", 10_600, hour), None);
        assert_eq!(done.turn("m", "b", 13_599, hour).unwrap().began, 13_599);
    }
}
