//! What moved between two rings.
use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use virga_ring::{Ring, file};

use crate::report::{Report, VerbError};
use crate::store::Files;
use crate::{DONE, WARNING};

/// Devices are the same if their numbers are; a device that went away shows as moves.
pub(super) fn diff(files: &Files, other: &Path) -> Result<Report, VerbError> {
    let old = file::load(&files.ring)?;
    let new = file::load(&Files::of(other).ring)?;
    if old.part_power() != new.part_power() {
        let text = format!(
            "part powers differ: {} and {}",
            old.part_power(),
            new.part_power()
        );
        return Err(VerbError::usage(
            text,
            "compare rings of the same ring's history before or after the increase",
        ));
    }
    let (mut moved, mut twice) = (0u64, 0u64);
    let mut into: BTreeMap<u32, u64> = BTreeMap::new();
    for part in 0..new.table().parts() {
        let before = old.table().of(part);
        let fresh: Vec<u32> = new
            .table()
            .of(part)
            .iter()
            .copied()
            .filter(|id| !before.contains(id))
            .collect();
        moved += fresh.len() as u64;
        twice += u64::from(fresh.len() > 1);
        fresh.iter().for_each(|&id| *into.entry(id).or_default() += 1);
    }
    let held = |ring: &Ring| ring.table().count_by_device(new.device_list().len());
    let (before, after) = (held(&old), held(&new));
    // Whatever the tiers, a device that grew must have taken in what it grew by.
    let least: u64 = after
        .iter()
        .zip(&before)
        .map(|(after, before)| after.saturating_sub(*before))
        .sum();
    let mut text = format!(
        "{moved} slots moved (at least {least} for these counts), {twice} partitions moved more than one\n"
    );
    into.iter()
        .for_each(|(id, slots)| text += &format!("d{id}: {slots} in\n"));
    let json = json!({"moved": moved, "bound": least, "twice_moved": twice, "in": into});
    Ok(Report::done(text, json).code(if twice > 0 { WARNING } else { DONE }))
}
