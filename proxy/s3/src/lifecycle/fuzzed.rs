//! Life cycles for the fuzz targets: see [`crate::fuzzed`].
use s3s::dto::BucketLifecycleConfiguration;

use super::rules::{self, Rule};
use crate::fuzzed::{code, document, written};

/// A life cycle that is read, and written again.
///
/// # Errors
/// What is wrong with it.
pub fn lifecycle(xml: &[u8]) -> Result<Vec<u8>, String> {
    let asked = document::<BucketLifecycleConfiguration>(xml)?;
    let rules = rules::read(asked.rules).map_err(code)?;
    let rules = rules.into_iter().map(Rule::document).collect();
    written(&BucketLifecycleConfiguration { rules })
}
