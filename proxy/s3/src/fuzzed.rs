//! The readers of what S3's clients send, for the fuzz targets (`fuzz/bodies`),
//! which lie outside the crate. Only in tests, and with the feature `fuzzing`.
use s3s::S3Error;
use s3s::dto::AccessControlPolicy;
use s3s::xml::{Deserialize, Deserializer, Serialize, Serializer};

use crate::acl::{Acl, owner};
use crate::policy::{Facts, Place, Policy, Question, Ruling, Someone};

pub use crate::form::fuzzed::{fields, form_policy};
pub use crate::lifecycle::fuzzed::lifecycle;
pub use crate::request::fuzzed::{Chunks, chunked, signatures};

/// What is wrong, as its code.
pub(crate) fn code(error: S3Error) -> String {
    error.code().as_str().to_owned()
}

/// A document as the protocol layer reads it.
pub(crate) fn document<T: for<'xml> Deserialize<'xml>>(xml: &[u8]) -> Result<T, String> {
    let mut reader = Deserializer::new(xml);
    let read = T::deserialize(&mut reader).map_err(|error| error.to_string())?;
    reader.expect_eof().map_err(|error| error.to_string())?;
    Ok(read)
}

/// A document as the protocol layer writes it.
pub(crate) fn written(document: &impl Serialize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut writer = Serializer::new(&mut out);
    document
        .serialize(&mut writer)
        .map_err(|error| error.to_string())?;
    Ok(out)
}

/// An access list that is read, and written again.
///
/// # Errors
/// What is wrong with it.
pub fn acl(xml: &[u8]) -> Result<Vec<u8>, String> {
    let read = Acl::of_document(&document::<AccessControlPolicy>(xml)?).map_err(code)?;
    written(&AccessControlPolicy {
        grants: Some(read.document()),
        owner: Some(owner("own")),
    })
}

/// Whether a policy allows (`Some(true)`) or denies a few requests.
///
/// # Errors
/// What is wrong with it.
pub fn policy(text: &str) -> Result<Vec<Option<bool>>, String> {
    let place = Place {
        project: "own",
        bucket: "b",
    };
    let policy = Policy::read(text, place)?;
    let mut facts = Facts::default();
    for (key, value) in [
        ("aws:SourceIp", "10.1.2.3"),
        ("aws:SecureTransport", "false"),
        ("aws:username", "someone"),
        ("s3:prefix", "a/"),
        ("s3:max-keys", "7"),
        ("s3:ExistingObjectTag/a", "b"),
        ("s3:RequestObjectTagKeys", "a"),
        ("s3:RequestObjectTagKeys", "b"),
    ] {
        facts.add(key, value);
    }
    facts.add_time(virga_node::clock::Micros(1_795_413_600_000_000));
    let (own, other) = (("own", "u"), ("other", "u"));
    let mut ruled = Vec::new();
    for who in [None, Some(own), Some(other)] {
        for (action, resource) in [
            ("s3:GetObject", "b/a/k"),
            ("s3:ListBucket", "b"),
            ("s3:PutObject", "b/\u{fc}*"),
        ] {
            let ruling = policy.rule(&Question {
                who: who.map(|(project, user)| Someone { project, user }),
                action,
                resource,
                facts: &facts,
            });
            ruled.push(match ruling {
                Ruling::Allowed => Some(true),
                Ruling::Denied => Some(false),
                Ruling::Silent => None,
            });
        }
    }
    // What the door looks at beside requests must hold together with it.
    let denied = ruled.contains(&Some(false));
    match denied && !policy.denies() {
        true => Err("a policy denies something and says that it denies nothing".to_owned()),
        false => Ok(ruled),
    }
}
