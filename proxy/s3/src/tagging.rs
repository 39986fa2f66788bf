//! Tags of objects and of buckets.
//!
//! Those of an object are kept with what a POST replaces, under a name that no
//! client can send and the other dialect does not show; those of a bucket with
//! its container's metadata.
use s3s::dto::{
    DeleteBucketTaggingInput, DeleteBucketTaggingOutput, DeleteObjectTaggingInput, DeleteObjectTaggingOutput,
    GetBucketTaggingInput, GetBucketTaggingOutput, GetObjectTaggingInput, GetObjectTaggingOutput,
    PutBucketTaggingInput, PutBucketTaggingOutput, PutObjectTaggingInput, PutObjectTaggingOutput, Tag,
    Tagging,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use virga_object_wire::object::{Header, ObjectStat};
use virga_proxy::core::ObjectName;

use super::Backend;
use super::access::{Action, meta};
use super::fault::{OrFault, bad_request};
use super::object::find::{Asked, Found};

/// Where an object's tags are kept.
const STORED: &str = "x-object-transient-sysmeta-s3-tagging";
/// Where a bucket's tags are kept.
const STORED_OF_BUCKET: &str = "x-container-sysmeta-s3-tagging";
/// Tags of one object, and of one bucket, as AWS allows.
const MOST: usize = 10;
const MOST_OF_BUCKET: usize = 50;
/// What keys of AWS's own tags begin with: nobody sets those.
const OF_AWS: &str = "aws:";
/// Characters of a key and of a value.
const KEY: usize = 128;
const VALUE: usize = 256;

/// Whether a stored header holds tags.
pub(crate) fn is_stored(name: &str) -> bool {
    name == STORED
}

fn decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Reads "key=value&key=value".
pub(crate) fn parse(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(key)?, decoded(value)?))
        })
        .collect()
}

fn check(tags: &[(String, String)], most: usize) -> S3Result<()> {
    if tags.len() > most {
        return Err(match most {
            MOST => bad_request("Object tags cannot be greater than 10"),
            _ => bad_request("Bucket tag count cannot be greater than 50"),
        });
    }
    for (index, (key, value)) in tags.iter().enumerate() {
        if key.is_empty() || key.chars().count() > KEY {
            return Err(s3_error!(InvalidTag, "The TagKey you have provided is invalid"));
        }
        if key.starts_with(OF_AWS) {
            return Err(s3_error!(
                InvalidTag,
                "System tags cannot be added/updated by requester"
            ));
        }
        if value.chars().count() > VALUE {
            return Err(s3_error!(InvalidTag, "The TagValue you have provided is invalid"));
        }
        if tags[..index].iter().any(|(other, _)| other == key) {
            return Err(s3_error!(
                InvalidTag,
                "Cannot provide multiple Tags with the same key"
            ));
        }
    }
    Ok(())
}

/// Writes "key=value&key=value".
pub(crate) fn written(tags: &[(String, String)]) -> String {
    let pairs = tags
        .iter()
        .map(|(key, value)| format!("{}={}", encoded(key), encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn of_document(tagging: Tagging, most: usize) -> S3Result<Vec<(String, String)>> {
    let tags = tagging
        .tag_set
        .into_iter()
        .map(|tag| tag.key.zip(tag.value).ok_or_else(|| s3_error!(MalformedXML)));
    let tags: Vec<(String, String)> = tags.collect::<S3Result<_>>()?;
    check(&tags, most)?;
    Ok(tags)
}

fn document(stored: &str) -> Vec<Tag> {
    let tags = parse(stored).unwrap_or_default().into_iter();
    tags.map(|(key, value)| Tag {
        key: Some(key),
        value: Some(value),
    })
    .collect()
}

/// What `x-amz-tagging` stores with an object.
///
/// # Errors
/// `InvalidArgument` for what cannot be read, `InvalidTag` for what cannot be kept.
pub(crate) fn of_header(value: Option<&str>) -> S3Result<Option<Header>> {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let bad = || {
        s3_error!(
            InvalidArgument,
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates."
        )
    };
    let tags = parse(value).ok_or_else(bad)?;
    check(&tags, MOST)?;
    Ok(Some((STORED.to_owned(), written(&tags))))
}

fn stored(stat: &ObjectStat) -> Option<&str> {
    let found = stat.meta.headers.iter().find(|(name, _)| is_stored(name));
    found.map(|(_, value)| value.as_str())
}

/// The tags of an object.
pub(crate) fn of(stat: &ObjectStat) -> Vec<(String, String)> {
    among(&stat.meta.headers)
}

/// The tags among what is stored with an object.
pub(crate) fn among(headers: &[Header]) -> Vec<(String, String)> {
    let found = headers.iter().find(|(name, _)| is_stored(name));
    found.and_then(|(_, tags)| parse(tags)).unwrap_or_default()
}

/// How many tags an object has.
pub(crate) fn count(stat: &ObjectStat) -> usize {
    stored(stat).map_or(0, |tags| tags.split('&').filter(|pair| !pair.is_empty()).count())
}

/// Replaces the tags of what was found and nothing else of it; the version to
/// tell clients.
async fn replace(
    backend: &Backend,
    name: &ObjectName,
    asked: Asked,
    tags: &[(String, String)],
) -> S3Result<Option<String>> {
    // Others who read metadata to write it back wait.
    let _held = backend.hold(name).await?;
    let Found {
        at, stat, version, ..
    } = backend.find(name, asked, None).await?;
    let header = (!tags.is_empty()).then(|| (STORED.to_owned(), written(tags)));
    backend.replace_header(&at, stat, is_stored, header).await?;
    Ok(version)
}

/// The version that a request is about: bucket, key and version id of it.
async fn aim<T>(
    backend: &Backend,
    req: &S3Request<T>,
    action: Action,
    (bucket, key, version): (&str, &str, Option<&str>),
) -> S3Result<(ObjectName, Asked)> {
    let asker = backend.asker(req).await?;
    let name = backend.object(&asker, action, bucket, key).await?;
    Ok((name, Asked::of(version)?))
}

/// `GetObjectTagging`.
pub(crate) async fn get(
    backend: &Backend,
    req: S3Request<GetObjectTaggingInput>,
) -> S3Result<S3Response<GetObjectTaggingOutput>> {
    let input = &req.input;
    let at = (&*input.bucket, &*input.key, input.version_id.as_deref());
    let (name, asked) = aim(backend, &req, Action::Read, at).await?;
    let found = backend.find(&name, asked, None).await?;
    Ok(S3Response::new(GetObjectTaggingOutput {
        tag_set: document(stored(&found.stat).unwrap_or_default()),
        version_id: found.version,
    }))
}

/// `PutObjectTagging`.
pub(crate) async fn put(
    backend: &Backend,
    req: S3Request<PutObjectTaggingInput>,
) -> S3Result<S3Response<PutObjectTaggingOutput>> {
    let input = &req.input;
    let at = (&*input.bucket, &*input.key, input.version_id.as_deref());
    let (name, asked) = aim(backend, &req, Action::Write, at).await?;
    let tags = of_document(req.input.tagging, MOST)?;
    let version_id = replace(backend, &name, asked, &tags).await?;
    Ok(S3Response::new(PutObjectTaggingOutput { version_id }))
}

/// `DeleteObjectTagging`.
pub(crate) async fn delete(
    backend: &Backend,
    req: S3Request<DeleteObjectTaggingInput>,
) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
    let input = &req.input;
    let at = (&*input.bucket, &*input.key, input.version_id.as_deref());
    let (name, asked) = aim(backend, &req, Action::Write, at).await?;
    let version_id = replace(backend, &name, asked, &[]).await?;
    Ok(S3Response::new(DeleteObjectTaggingOutput { version_id }))
}

/// `GetBucketTagging`.
pub(crate) async fn get_of_bucket(
    backend: &Backend,
    req: S3Request<GetBucketTaggingInput>,
) -> S3Result<S3Response<GetBucketTaggingOutput>> {
    let asker = backend.asker(&req).await?;
    let (_, info) = backend.bucket(&asker, Action::Own, &req.input.bucket).await?;
    let tags = meta(&info.meta, STORED_OF_BUCKET).ok_or_else(|| s3_error!(NoSuchTagSet))?;
    Ok(S3Response::new(GetBucketTaggingOutput {
        tag_set: document(tags),
    }))
}

/// `PutBucketTagging`.
pub(crate) async fn put_of_bucket(
    backend: &Backend,
    req: S3Request<PutBucketTaggingInput>,
) -> S3Result<S3Response<PutBucketTaggingOutput>> {
    let asker = backend.asker(&req).await?;
    let input = req.input;
    let (name, _) = backend.bucket(&asker, Action::Own, &input.bucket).await?;
    let tags = of_document(input.tagging, MOST_OF_BUCKET)?;
    let change = vec![(STORED_OF_BUCKET.to_owned(), written(&tags))];
    backend.core().post_container(&name, change).await.or_fault()?;
    Ok(S3Response::new(PutBucketTaggingOutput::default()))
}

/// `DeleteBucketTagging`.
pub(crate) async fn delete_of_bucket(
    backend: &Backend,
    req: S3Request<DeleteBucketTaggingInput>,
) -> S3Result<S3Response<DeleteBucketTaggingOutput>> {
    let asker = backend.asker(&req).await?;
    let (name, _) = backend.bucket(&asker, Action::Own, &req.input.bucket).await?;
    let change = vec![(STORED_OF_BUCKET.to_owned(), String::new())];
    backend.core().post_container(&name, change).await.or_fault()?;
    Ok(S3Response::new(DeleteBucketTaggingOutput::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_come_back_as_they_were_sent_and_bad_ones_are_refused() {
        let (_, stored) = of_header(Some("a=b&c+d=%C3%BC%26&e")).unwrap().unwrap();
        let shown: Vec<_> = document(&stored)
            .into_iter()
            .map(|tag| (tag.key, tag.value))
            .collect();
        let pair = |key: &str, value: &str| (Some(key.to_owned()), Some(value.to_owned()));
        assert_eq!(shown, [pair("a", "b"), pair("c d", "\u{fc}&"), pair("e", "")]);
        let many: Vec<String> = (0..11).map(|n| format!("k{n}=v")).collect();
        for bad in [
            "a=1&a=2",
            "=x",
            "a=%ff",
            &many.join("&"),
            &format!("{}=x", "k".repeat(129)),
        ] {
            assert!(of_header(Some(bad)).is_err(), "{bad}");
        }
        assert_eq!(of_header(Some("")).unwrap(), None);
    }
}
