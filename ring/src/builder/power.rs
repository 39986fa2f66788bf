//! Doubling the partitions of a ring in use, in steps that lose no object.
//!
//! Prepare (servers begin to write under both numbers), increase (the table
//! doubles), finish (the old places are gone). Replication of the policy
//! rests between the first and the last step.
use super::{Builder, MAX_PART_POWER};

/// Why a step is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PowerError {
    /// A step at the wrong time.
    #[error("{0}")]
    WrongStep(&'static str),
    /// 2^32 partitions is the end.
    #[error("the part power is {MAX_PART_POWER} already")]
    AtMaximum,
    /// The doubled table would be too large.
    #[error("the doubled table would be too large")]
    TooLarge,
    /// Nothing to double.
    #[error("the ring has never been rebalanced")]
    NeverRebalanced,
}

impl Builder {
    /// Step 1: announces the doubled ring.
    pub fn prepare_power_increase(&mut self) -> Result<(), PowerError> {
        if self.settings.next_part_power.is_some() {
            return Err(PowerError::WrongStep(
                "a partition power increase is in progress already",
            ));
        }
        if self.settings.part_power >= MAX_PART_POWER {
            return Err(PowerError::AtMaximum);
        }
        self.settings.next_part_power = Some(self.settings.part_power + 1);
        self.settings.version += 1;
        Ok(())
    }

    /// Step 2: doubles the table; new partitions 2p and 2p+1 are what p was.
    pub fn increase_power(&mut self) -> Result<(), PowerError> {
        self.want_prepared()?;
        let table = self.table.as_ref().ok_or(PowerError::NeverRebalanced)?;
        self.table = Some(table.doubled().ok_or(PowerError::TooLarge)?);
        self.times.hours = self
            .times
            .hours
            .iter()
            .flat_map(|&hours| [hours, hours])
            .collect();
        self.settings.part_power += 1;
        self.settings.version += 1;
        Ok(())
    }

    /// Instead of step 2: goes back; places already linked get cleaned up.
    pub fn cancel_power_increase(&mut self) -> Result<(), PowerError> {
        self.want_prepared()?;
        self.settings.next_part_power = Some(self.settings.part_power);
        self.settings.version += 1;
        Ok(())
    }

    /// Step 3: after the clean-up, replication goes on.
    pub fn finish_power_increase(&mut self) -> Result<(), PowerError> {
        if self.settings.next_part_power != Some(self.settings.part_power) {
            return Err(PowerError::WrongStep(
                "there is no partition power increase to finish",
            ));
        }
        self.settings.next_part_power = None;
        self.settings.version += 1;
        Ok(())
    }

    fn want_prepared(&self) -> Result<(), PowerError> {
        if self.settings.next_part_power == Some(self.settings.part_power + 1) {
            Ok(())
        } else {
            Err(PowerError::WrongStep(
                "the partition power increase is not prepared",
            ))
        }
    }
}
