//! Writes a builder file that Swift's tool loads and goes on with.
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use virga_ring::file;

use super::import::keep_old;
use crate::Session;
use crate::report::{Report, VerbError};
use crate::store::Files;

/// Arguments of `export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The file to write for Swift's tool.
    swift: PathBuf,
    /// Replace it if it exists; the old one stays in backups/ beside it.
    #[arg(short, long)]
    force: bool,
}

pub(super) fn export(
    session: &mut Session<'_>,
    files: &Files,
    options: &Export,
) -> Result<Report, VerbError> {
    let builder = files.load()?;
    if builder.scatter_limit().is_some() {
        session.warn("WARNING: the scatter limit has no place in Swift's file and is left out.")?;
    }
    let bytes = builder.to_swift();
    keep_old(&options.swift, options.force, session.now)?;
    let written = file::replace(&options.swift, &bytes);
    written
        .map_err(|error| VerbError::Usage(format!("cannot write {}: {error}", options.swift.display())))?;
    let text = format!(
        "{}: written for Swift's tool (version {}). From now on change this ring with one tool only.",
        options.swift.display(),
        builder.version()
    );
    let json = json!({"builder": files.builder, "to": options.swift, "version": builder.version()});
    Ok(Report::done(text, json))
}
