//! The committer of a device: one thread that turns everything queued into one
//! synced write, again and again.
//!
//! There is no timer: while one sync is in progress the next batch gathers in
//! the queue, so a lone writer waits for nobody and many share a sync. Waiters
//! are tasks, told through a oneshot after the write returned (invariant I1).
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use virga_node::clock::{Clock, Version};

use super::apply::Stage;
use super::cache::Heads;
use super::db::Db;
use super::fault::ChangeError;
use super::op::Job;

/// Most changes in one write: at a few hundred bytes each well below the size
/// where the write itself takes longer than its sync.
pub const BATCH: usize = 1024;

/// What the committer works with.
pub struct Committer {
    /// The database.
    pub db: Arc<Db>,
    /// For the age of deletions.
    pub clock: Arc<dyn Clock>,
    /// How long deletions are remembered.
    pub reclaim_age: Duration,
}

/// The point before which deletions are no longer remembered.
pub fn cutoff(clock: &dyn Clock, reclaim_age: Duration) -> Version {
    let age = u64::try_from(reclaim_age.as_micros()).unwrap_or(u64::MAX);
    Version::at(virga_node::clock::Micros(clock.now().0.saturating_sub(age)))
}

impl Committer {
    /// Commits until the queue is closed and empty.
    pub fn run(self, mut queue: Receiver<Job>) {
        let mut heads = Heads::default();
        let mut jobs = Vec::with_capacity(BATCH);
        while queue.blocking_recv_many(&mut jobs, BATCH) > 0 {
            let results = self.commit(&mut heads, &jobs);
            for (job, result) in jobs.drain(..).zip(results) {
                // Whoever no longer waits does not need to know.
                let _ = job.done.send(result);
                drop(job.room);
            }
        }
    }

    /// Makes a batch durable; one result per job, in order.
    fn commit(&self, heads: &mut Heads, jobs: &[Job]) -> Vec<Result<bool, ChangeError>> {
        let written = self.write(heads, jobs);
        written.unwrap_or_else(|error| {
            // What the database holds now is for the next read to find out.
            heads.clear();
            tracing::error!(%error, changes = jobs.len(), "listing changes could not be committed");
            vec![Err(error); jobs.len()]
        })
    }

    fn write(&self, heads: &mut Heads, jobs: &[Job]) -> Result<Vec<Result<bool, ChangeError>>, ChangeError> {
        let mut stage = Stage::new(&self.db, heads, cutoff(&*self.clock, self.reclaim_age));
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
            results.push(stage.apply(&job.op, own));
        }
        let (writes, new_heads) = stage.finish()?;
        if !writes.is_empty() {
            self.db.commit(&writes)?;
        }
        for (shard, head) in new_heads {
            match head {
                Some(head) => heads.put(shard, head),
                None => heads.remove(&shard),
            }
        }
        Ok(results)
    }
}
