//! The readers of what Swift's clients send, for the fuzz targets (`fuzz/bodies`),
//! which lie outside the crate. Only in tests, and with the feature `fuzzing`.
use std::net::{IpAddr, Ipv4Addr};

use http::{Method, StatusCode};

use super::body::{Answer, empty};
use super::config::Digest;
use super::query::Query;
use super::slo::manifest::{self, Assembly, Entry, SegmentHead};
use super::target::Target;
use super::tempurl::{self, Key, TempUrl};
use crate::core::{AccountName, BadName, ObjectName};

pub use super::staticweb::fuzzed_listing as web_listing;

/// Bytes of every segment that a manifest names.
const SEGMENT: u64 = 5;

fn own() -> Result<ObjectName, BadName> {
    AccountName::new("a")?.container("c")?.object("o")
}

/// How many entries a manifest has, and what is stored for it if all its segments
/// are there, in the form in which it could be sent again.
///
/// # Errors
/// What is wrong with it.
pub fn manifest(body: &[u8]) -> Result<(usize, Option<Vec<u8>>), String> {
    let own = own().map_err(|error| error.to_string())?;
    let entries = manifest::parse(body, &own).map_err(|fault| fault.text())?;
    let mut assembly = Assembly::default();
    for (index, entry) in entries.iter().enumerate() {
        let last = index + 1 == entries.len();
        match entry {
            Entry::Inline(data) => assembly.add_inline(data),
            Entry::Object(object) => {
                let head: Result<_, StatusCode> = Ok(SegmentHead {
                    size: SEGMENT,
                    etag: object.etag.clone().unwrap_or_default(),
                    content_type: "text/plain".into(),
                    last_modified: String::new(),
                    is_slo: false,
                    is_link: false,
                });
                assembly.add(object, &head, last);
            }
        }
    }
    let fine = assembly.problems.is_empty();
    let (stored, _) = assembly.finish();
    Ok((entries.len(), manifest::to_raw(&stored).filter(|_| fine)))
}

/// What the query of a request says as a temporary URL: whether it is one that a
/// key made of `key` has signed for a GET, and the query that its links get.
///
/// # Errors
/// The answer to one that is none.
pub fn temp_url(query: &str, key: &str) -> Result<(bool, Option<String>), String> {
    let query = Query::parse(Some(query));
    let digests = [Digest::Sha1, Digest::Sha256, Digest::Sha512];
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let url = tempurl::parse(&query, &digests, 0, peer).map_err(|fault| fault.text())?;
    let own = own().map_err(|error| error.to_string())?;
    let keys = [Key {
        secret: key.to_owned(),
        scope: super::access::TempScope {
            account: "a".into(),
            container: None,
        },
    }];
    let target = Target::Object(own);
    let signed = url.verify(&Method::GET, &target, &keys).is_ok();
    let mut answer = Answer::new(empty());
    url.dress(&Method::GET, &target, &mut answer);
    Ok((signed, TempUrl::shared(&query).map(|shared| shared.query)))
}
