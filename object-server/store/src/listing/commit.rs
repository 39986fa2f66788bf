//! The committer of a device: one thread (or task) that turns everything queued
//! into one synced write, again and again.
//!
//! There is no timer: while one sync is in progress the next batch gathers in
//! the queue, so a lone writer waits for nobody and many share a sync. Waiters
//! are tasks, told through a oneshot after the write returned (invariant I1).
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::Receiver;
use virga_disk::threads::{Driver, Work};
use virga_node::clock::{Clock, Version};

use super::apply::{Stage, Staged};
use super::cache::Heads;
use super::db::Db;
use super::fault::ChangeError;
use super::op::{Job, Op};
use super::parts::PartCache;
use super::sys::Horizons;

/// Most changes in one write: at a few hundred bytes each well below the size
/// where the write itself takes longer than its sync.
pub const BATCH: usize = 1024;

/// What the committer works with.
pub struct Committer {
    /// The database.
    pub db: Arc<Db>,
    /// For the time when a deletion was heard of.
    pub clock: Arc<dyn Clock>,
    /// How far deletions are forgotten.
    pub horizons: Horizons,
    /// Counts what is set aside.
    pub set_aside: Arc<AtomicU64>,
}

/// What the committer remembers of the database.
#[derive(Default)]
struct Known {
    heads: Heads,
    parts: PartCache,
}

impl Committer {
    /// Commits until the queue is closed and empty.
    pub fn run(mut self, mut queue: Receiver<Job>) {
        let mut known = Known::default();
        let mut jobs = Vec::with_capacity(BATCH);
        while queue.blocking_recv_many(&mut jobs, BATCH) > 0 {
            self.turn(&mut known, &mut jobs);
        }
    }

    /// As [`Committer::run`] as a task; a write takes the time that `driver` says,
    /// and the task may be stopped before it.
    pub async fn drive(mut self, mut queue: Receiver<Job>, driver: Arc<dyn Driver>) {
        let mut known = Known::default();
        let mut jobs = Vec::with_capacity(BATCH);
        while queue.recv_many(&mut jobs, BATCH).await > 0 {
            tokio::time::sleep(driver.takes(Work::Rows)).await;
            self.turn(&mut known, &mut jobs);
        }
    }

    fn turn(&mut self, known: &mut Known, jobs: &mut Vec<Job>) {
        let results = self.commit(&mut known.heads, &mut known.parts, jobs);
        for (job, result) in jobs.drain(..).zip(results) {
            // Whoever no longer waits does not need to know.
            let _ = job.done.send(result);
            drop(job.room);
        }
    }

    /// Makes a batch durable; one result per job, in order.
    fn commit(
        &mut self,
        heads: &mut Heads,
        parts: &mut PartCache,
        jobs: &[Job],
    ) -> Vec<Result<bool, ChangeError>> {
        let written = self.write(heads, parts, jobs);
        written.unwrap_or_else(|error| {
            // What the database holds now is for the next read to find out.
            heads.clear();
            parts.clear();
            tracing::error!(%error, changes = jobs.len(), "listing changes could not be committed");
            vec![Err(error); jobs.len()]
        })
    }

    fn write(
        &mut self,
        heads: &mut Heads,
        parts: &mut PartCache,
        jobs: &[Job],
    ) -> Result<Vec<Result<bool, ChangeError>>, ChangeError> {
        let now = Version::at(self.clock.now());
        let mut stage = Stage::new(&self.db, heads, now, self.horizons);
        let mut keys = Vec::new();
        let counts: Vec<usize> = jobs
            .iter()
            .map(|job| {
                let before = keys.len();
                job.op.row_keys(&mut keys);
                keys.len() - before
            })
            .collect();
        let numbers = stage.fetch(keys)?;
        let mut numbers = numbers.as_slice();
        let mut results = Vec::with_capacity(jobs.len());
        for (job, count) in jobs.iter().zip(counts) {
            let (own, rest) = numbers.split_at(count);
            numbers = rest;
            results.push(match &job.op {
                Op::Drop(..) => Ok(false),
                op => stage.apply(op, own),
            });
        }
        // Last: a shard that anything else here has changed is not dropped.
        for (job, result) in jobs.iter().zip(&mut results) {
            if let Op::Drop(..) = job.op {
                *result = stage.apply(&job.op, &[]);
            }
        }
        let Staged {
            writes,
            heads: new_heads,
            horizons,
            set_aside,
        } = stage.finish(parts)?;
        if !writes.is_empty() {
            self.db.commit(&writes)?;
        }
        self.horizons = horizons;
        self.set_aside.fetch_add(set_aside, Ordering::Relaxed);
        for (shard, head) in new_heads {
            match head {
                Some(head) => heads.put(shard, head),
                None => heads.remove(&shard),
            }
        }
        Ok(results)
    }
}
