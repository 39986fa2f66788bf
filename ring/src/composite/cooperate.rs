//! Rebalances the components of a composite ring together.
//!
//! To the cluster, a partition is one thing whatever ring its replicas came
//! from: a partition that moved in one component rests in all of them.
use crate::builder::{Builder, PartitionSet, RebalanceError, RebalanceOptions, Rebalanced};

/// Why components cannot be rebalanced. None of them has changed.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("component {index}: {source}")]
pub struct RebalanceComponentError {
    /// The place of the component that cannot.
    pub index: usize,
    /// Why.
    pub source: RebalanceError,
}

/// Rebalances every component, all or none. A partition moves in one component
/// at most, and only if min_part_hours has passed for it in each. `seed` also
/// decides who goes first; `now` is Unix seconds. Results are in the order of
/// the components.
pub fn rebalance(
    components: &mut [Builder],
    seed: u64,
    now: u64,
) -> Result<Vec<Rebalanced>, RebalanceComponentError> {
    let count = components.len();
    let resting: Vec<PartitionSet> = components.iter().map(|builder| builder.resting(now)).collect();
    let mut after = components.to_vec();
    let mut done: Vec<Option<Rebalanced>> = vec![None; count];
    // Not always the same one first: the later ones find more partitions locked.
    let first = usize::try_from(seed % count.max(1) as u64).unwrap_or(0);
    for turn in 0..count {
        let index = (first + turn) % count;
        let mut locked = PartitionSet::new();
        for (other, resting) in resting.iter().enumerate() {
            if other != index {
                locked.extend_from(resting);
            }
        }
        for moved in done.iter().flatten() {
            locked.extend_from(&moved.moved_parts);
        }
        let options = RebalanceOptions {
            locked: Some(&locked),
            ..RebalanceOptions::new(seed, now)
        };
        let outcome = after[index].rebalance_with(&options);
        done[index] = Some(outcome.map_err(|source| RebalanceComponentError { index, source })?);
    }
    components.clone_from_slice(&after);
    Ok(done.into_iter().flatten().collect())
}
