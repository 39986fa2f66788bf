//! The steps of a partition power increase.
use serde_json::json;
use virga_ring::builder::{Builder, PowerError};

use crate::Session;
use crate::report::{Report, VerbError};
use crate::store::Files;

pub(super) fn prepare(session: &mut Session<'_>, files: &Files) -> Result<Report, VerbError> {
    let name = files
        .builder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    if !name.contains("object") {
        let text = "Partition power increase is only supported for object rings.";
        return Err(VerbError::usage(
            text,
            "only objects can be relinked; a builder of objects has object in its name",
        ));
    }
    step(session, files, Builder::prepare_power_increase, |builder| {
        format!(
            "The next partition power is now {}.\nThe change will take effect after the next write_ring.\n\
             Ensure that all nodes use the changed ring and relink existing objects before the increase.",
            builder.part_power() + 1
        )
    })
}

pub(super) fn increase(session: &mut Session<'_>, files: &Files) -> Result<Report, VerbError> {
    step(session, files, Builder::increase_power, |builder| {
        format!(
            "The partition power is now {}.\nThe change will take effect after the next write_ring.",
            builder.part_power()
        )
    })
}

pub(super) fn cancel(session: &mut Session<'_>, files: &Files) -> Result<Report, VerbError> {
    step(session, files, Builder::cancel_power_increase, |builder| {
        format!(
            "The next partition power is now {}.\nThe change will take effect after the next write_ring.\n\
             Ensure that all nodes use the changed ring and clean up the links already made.",
            builder.part_power()
        )
    })
}

pub(super) fn finish(session: &mut Session<'_>, files: &Files) -> Result<Report, VerbError> {
    step(session, files, Builder::finish_power_increase, |_| {
        "The change will take effect after the next write_ring.".to_owned()
    })
}

fn step(
    session: &mut Session<'_>,
    files: &Files,
    step: impl Fn(&mut Builder) -> Result<(), PowerError>,
    text: impl Fn(&Builder) -> String,
) -> Result<Report, VerbError> {
    let mut builder = files.load()?;
    step(&mut builder)?;
    files.save(&mut builder, session.now)?;
    let json = json!({"part_power": builder.part_power(), "next_part_power": builder.next_part_power()});
    Ok(Report::done(text(&builder), json))
}
