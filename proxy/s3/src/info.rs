//! What `/info` of the other dialect says of this one: its limits, under the
//! names that Swift's own S3 door has for them.
use serde_json::{Value, json};

use super::{Backend, listing, multipart, object};

impl Backend {
    /// The limits of this dialect.
    pub(crate) fn info(&self) -> Value {
        json!({
            "max_bucket_listing": listing::MOST,
            "max_parts_listing": listing::MOST,
            "max_upload_part_num": multipart::MOST_PARTS,
            "max_multi_delete_objects": object::delete::MOST,
            "allow_multipart_uploads": true,
            "min_segment_size": multipart::complete::LEAST_BYTES,
            // Owners are projects, not users with buckets of their own.
            "s3_acl": false,
            "location": self.0.region,
        })
    }
}
