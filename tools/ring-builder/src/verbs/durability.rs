//! Chance of losing data when devices fail together.
use serde_json::json;
use virga_ring::{Durability, file};

use crate::cli;
use crate::report::{Report, VerbError};
use crate::store::Files;

pub(super) fn durability(files: &Files, options: &cli::Durability) -> Result<Report, VerbError> {
    let ring = file::load(&files.ring)?;
    let measured = Durability::of(ring.table());
    let loss = measured.loss_probability(options.failures);
    let lost = measured.expected_lost_partitions(options.failures);
    let mut text = format!(
        "{} devices; each shares partitions with {} to {} others ({:.1} on average)\n",
        measured.devices, measured.scatter_least, measured.scatter_most, measured.scatter_mean
    );
    for (replicas, sets, parts) in &measured.copysets {
        text += &format!("{parts} partitions with {replicas} replicas on {sets} different sets of devices\n");
    }
    text += &format!(
        "If {} random devices fail at once: data is lost with a chance of {:.6} %, {lost:.6} partitions on average\n",
        options.failures,
        loss * 100.0
    );
    let json = json!({
        "devices": measured.devices, "failures": options.failures, "loss_probability": loss,
        "expected_lost_partitions": lost,
        "scatter": {"least": measured.scatter_least, "mean": measured.scatter_mean, "most": measured.scatter_most},
        "copysets": measured.copysets.iter().map(|(replicas, sets, parts)| json!({"replicas": replicas, "sets": sets, "partitions": parts})).collect::<Vec<_>>(),
    });
    Ok(Report::done(text, json))
}
