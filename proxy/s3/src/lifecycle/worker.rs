//! Runs the rules of all buckets, again and again.
//!
//! It finds buckets with rules by the shelf that rules are kept on, and takes
//! one after the other, a page at a time. After each page it notes how far it
//! is: a bucket goes on there after a crash, here or at another proxy.
use std::sync::Arc;
use std::time::Duration;

use s3s::{S3Error, S3Result};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use virga_node::clock::Clock;
use virga_node::health::{Reporter, State};
use virga_node::task::Tasks;
use virga_proxy::core::ListError;

use super::kept::{self, Row};
use super::progress::{Progress, Stage};
use super::walk::{Tally, Walk};
use crate::Backend;
use crate::fault::IntoFault;

/// Buckets read off the shelf at once.
const PAGE: u32 = 200;
/// Rules of a bucket that knows nothing of them are removed when they are as old
/// as this: earlier, they may be on their way.
const LEFT: Duration = Duration::from_secs(3600);

/// After a failure it looks again this soon, as nodes may just have started, and
/// after twice as long each time that it fails again.
const AGAIN: Duration = Duration::from_secs(1);
/// Longest rest after a failure.
const LATEST: Duration = Duration::from_secs(60);

/// How often the rules of buckets are run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Seconds between two runs of a bucket's rules, from 1 to a week. Rules
    /// count in days of UTC, so it is also how late they are at most.
    #[serde(deserialize_with = "period")]
    pub period_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { period_s: 3600 }
    }
}

fn period<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let seconds = u64::deserialize(from)?;
    match (1..=7 * 86_400).contains(&seconds) {
        true => Ok(seconds),
        false => Err(serde::de::Error::custom(format!(
            "a period of {seconds} s; from 1 to 604800"
        ))),
    }
}

/// What one look at all buckets came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Buckets whose rules were run to the end.
    pub buckets: u64,
    /// What was removed.
    pub tally: Tally,
}

/// Who runs the rules; see the module.
pub struct Worker {
    backend: Backend,
    clock: Arc<dyn Clock>,
    period: Duration,
    /// Who this is in notes.
    name: String,
    stop: CancellationToken,
}

impl Worker {
    pub(crate) fn new(backend: Backend, settings: &Settings, clock: Arc<dyn Clock>) -> Self {
        Self {
            backend,
            clock,
            period: Duration::from_secs(settings.period_s),
            name: uuid::Uuid::new_v4().simple().to_string(),
            stop: CancellationToken::new(),
        }
    }

    /// Looks at all buckets again and again until the tasks are to stop, and
    /// reports how it goes.
    pub fn start(mut self, tasks: &Tasks, report: Reporter) {
        self.stop = tasks.stopping();
        let (worker, stop) = (Arc::new(self), tasks.stopping());
        report.ready();
        tasks.supervise("lifecycle", move || {
            let (worker, stop, report) = (Arc::clone(&worker), stop.clone(), report.clone());
            async move {
                let mut failures = 0_u32;
                while !stop.is_cancelled() {
                    let trouble = match worker.round().await {
                        Ok(Round { tally, .. }) => tally.error.map(|why| {
                            format!("{} things that are due could not be removed: {why}", tally.left)
                        }),
                        Err(error) => Some(format!("rules cannot be run: {}", said(&error))),
                    };
                    let rest = match trouble {
                        Some(_) => worker.period.min(after_failures(failures)),
                        None => worker.period,
                    };
                    failures = trouble.as_ref().map_or(0, |_| failures.saturating_add(1));
                    report.report(trouble.map_or(State::Ready, State::Degraded));
                    tokio::select! {
                        () = tokio::time::sleep(rest) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        });
    }

    fn now(&self) -> u64 {
        self.clock.now().as_secs()
    }

    /// Looks at all buckets that have rules once.
    ///
    /// # Errors
    /// When they cannot be listed. A bucket that fails is counted in the tally.
    pub async fn round(&self) -> S3Result<Round> {
        let mut round = Round::default();
        let mut after = None;
        loop {
            let (rows, more) = self.backend.buckets_with_rules(after.as_ref(), PAGE).await?;
            for row in &rows {
                if self.stop.is_cancelled() {
                    return Ok(round);
                }
                match self.bucket(row, &mut round.tally).await {
                    Ok(ended) => round.buckets += u64::from(ended),
                    Err(error) => {
                        tracing::warn!(%error, bucket = row.bucket.path(), "the rules of a bucket cannot be run");
                        round.tally.left += 1;
                        let (bucket, why) = (row.bucket.container(), said(&error));
                        round.tally.error = Some(format!("bucket {bucket}: {why}"));
                    }
                }
            }
            match rows.into_iter().next_back() {
                Some(last) if more => after = Some(last.bucket),
                _ => return Ok(round),
            }
        }
    }

    /// Runs the rules of one bucket, if it is its turn. Returns whether they
    /// were run to the end.
    async fn bucket(&self, row: &Row, tally: &mut Tally) -> S3Result<bool> {
        let found = self.backend.core().head_container(&row.bucket).await;
        let marked = match found {
            Ok(info) => kept::mark(&info).map(str::to_owned).map(|mark| (mark, info)),
            Err(ListError::NotFound) => None,
            Err(error) => return Err(error.into_fault()),
        };
        let Some((mark, info)) = marked else {
            if row.version.time().plus(LEFT) <= self.clock.now() {
                self.backend.sweep_rules(row).await?;
                self.backend.forget_progress(&row.bucket).await?;
            }
            return Ok(false);
        };
        let progress = self.backend.progress(&row.bucket).await?;
        let Some(progress) = progress.turn(&mark, &self.name, self.now(), self.period) else {
            return Ok(false);
        };
        let walk = Walk {
            rules: self.backend.rules_of(&row.bucket, &info).await?,
            backend: &self.backend,
            bucket: row.bucket.clone(),
            info,
            now: progress.began,
        };
        self.run(&walk, progress, tally).await
    }

    async fn run(&self, walk: &Walk<'_>, mut progress: Progress, tally: &mut Tally) -> S3Result<bool> {
        let mut done = Tally::default();
        self.backend.note(&walk.bucket, &progress).await?;
        while progress.stage != Stage::Done {
            if self.stop.is_cancelled() {
                return Ok(false);
            }
            let page = walk.page(progress.stage, &progress.marker).await?;
            done.add(&page.tally);
            progress.marker = page.marker;
            if !page.more {
                progress.marker.clear();
                progress.stage = match progress.stage {
                    Stage::Objects => Stage::Versions,
                    Stage::Versions => Stage::Uploads,
                    Stage::Uploads | Stage::Done => Stage::Done,
                };
            }
            progress.at = self.now();
            self.backend.note(&walk.bucket, &progress).await?;
        }
        if done != Tally::default() {
            tracing::info!(
                bucket = walk.bucket.path(),
                objects = done.objects,
                versions = done.versions,
                markers = done.markers,
                uploads = done.uploads,
                left = done.left,
                "the rules of a bucket were run"
            );
        }
        tally.add(&done);
        Ok(true)
    }
}

/// How long to rest after a failure that so many came before.
fn after_failures(before: u32) -> Duration {
    AGAIN.saturating_mul(2_u32.saturating_pow(before)).min(LATEST)
}

/// An error as people are told it.
fn said(error: &S3Error) -> String {
    let code = error.code().as_str();
    error
        .message()
        .map_or_else(|| code.to_owned(), |message| format!("{code}: {message}"))
}

#[cfg(test)]
mod tests {
    use s3s::s3_error;

    use super::*;

    #[test]
    fn a_failure_is_tried_again_soon_and_then_less_and_less_often() {
        let rests: Vec<u64> = (0..8).map(|before| after_failures(before).as_secs()).collect();
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(after_failures(u32::MAX), LATEST);
    }

    #[test]
    fn people_are_told_the_code_and_the_message() {
        assert_eq!(said(&s3_error!(NoSuchKey)), "NoSuchKey");
        let full = s3_error!(ServiceUnavailable, "There is no room for new data.");
        assert_eq!(said(&full), "ServiceUnavailable: There is no room for new data.");
    }

    #[test]
    fn a_period_that_makes_no_sense_is_refused() {
        let read = |text: &str| serde_json::from_str::<Settings>(text);
        assert_eq!(read("{}").unwrap(), Settings { period_s: 3600 });
        assert_eq!(read("{\"period_s\": 1}").unwrap().period_s, 1);
        for bad in ["{\"period_s\": 0}", "{\"period_s\": 604801}", "{\"period\": 5}"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
