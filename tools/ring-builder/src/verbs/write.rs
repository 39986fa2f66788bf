//! Verbs that write or describe ring files.
use serde_json::json;
use virga_ring::builder::{Builder, CreateError};
use virga_ring::file::{self, Format};

use crate::Session;
use crate::cli::WriteRing;
use crate::report::{Report, VerbError};
use crate::store::Files;

pub(super) fn write_ring(
    session: &mut Session<'_>,
    files: &Files,
    options: &WriteRing,
) -> Result<Report, VerbError> {
    let builder = files.load()?;
    let Some(ring) = builder.to_ring().transpose()? else {
        return Err(VerbError::usage("Unable to write empty ring.", "rebalance first"));
    };
    let format: Format = options.format_version.map(Into::into).unwrap_or_default();
    if format == Format::V1 && options.dev_id_bytes.is_some_and(|bytes| bytes != 2) {
        return Err(VerbError::usage(
            "format 1 has device ids of 2 bytes",
            "--dev-id-bytes 4 needs --format-version 2",
        ));
    }
    files.write_ring(&ring, format, options.dev_id_bytes, session.now)?;
    Ok(Report::done(
        "",
        json!({"ring": files.ring, "version": ring.version()}),
    ))
}

pub(super) fn write_builder(
    session: &mut Session<'_>,
    files: &Files,
    min_part_hours: Option<i64>,
) -> Result<Report, VerbError> {
    if files.builder.exists() {
        let text = format!(
            "Cowardly refusing to overwrite existing Ring Builder file: {}",
            files.builder.display()
        );
        return Err(VerbError::usage(
            text,
            "move it away first if it is really lost or wrong",
        ));
    }
    if min_part_hours.is_none() {
        session.warn("WARNING: default min_part_hours may not match the value in the lost builder.\n")?;
    }
    let ring = file::load(&files.ring)?;
    let hours = min_part_hours.unwrap_or(24);
    let hours = u32::try_from(hours).map_err(|_| CreateError::MinPartHours(hours))?;
    let mut builder = Builder::from_ring(&ring, hours)?;
    files.save(&mut builder, session.now)?;
    Ok(Report::done(
        "",
        json!({"builder": files.builder, "version": builder.version()}),
    ))
}

pub(super) fn version(files: &Files) -> Result<Report, VerbError> {
    let stored = file::describe(&files.ring)?;
    let text = format!(
        "{}: Serialization version: {} ({}-byte IDs), build version: {}",
        files.ring.display(),
        stored.format,
        stored.id_bytes,
        stored.version
    );
    let json =
        json!({"format_version": stored.format, "dev_id_bytes": stored.id_bytes, "version": stored.version});
    Ok(Report::done(text, json))
}
