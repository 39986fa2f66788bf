//! ListMultipartUploads: what is under way in a bucket.
use std::collections::BTreeSet;

use s3s::dto::{ListMultipartUploadsInput, ListMultipartUploadsOutput, MultipartUpload, StorageClass};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use virga_object_wire::listing::{Entry, ListRequest, ObjectRow};
use virga_proxy::core::{ContainerName, ListError};

use super::{hidden, initiator, is_id};
use crate::fault::IntoFault;
use crate::listing::Opening;
use crate::{Backend, dates};

/// What the names of all markers start with.
pub(crate) const MARKERS: &str = "uploads/";
/// Markers read at once.
const PAGE: u32 = 1000;

/// One upload under way.
pub(crate) struct Marker {
    pub(crate) key: String,
    pub(crate) id: String,
    pub(crate) row: ObjectRow,
}

/// Reads a row of the hidden container; `None` for what marks no upload.
pub(crate) fn marker(row: ObjectRow) -> Option<Marker> {
    let (key, id) = row.name.strip_prefix(MARKERS)?.rsplit_once('/')?;
    let (key, id) = (key.to_owned(), id.to_owned());
    is_id(&id).then_some(Marker { key, id, row })
}

/// What is asked for.
struct Wish<'a> {
    prefix: &'a str,
    delimiter: &'a str,
    key_marker: &'a str,
    id_marker: &'a str,
    most: usize,
}

#[derive(Default)]
struct Found {
    uploads: Vec<Marker>,
    prefixes: BTreeSet<String>,
    truncated: bool,
    /// Key and id of the last entry.
    last: (String, String),
}

/// Takes a marker, or says that there is no room for it.
fn take(found: &mut Found, wish: &Wish<'_>, marker: Marker) -> bool {
    let rest = marker.key.get(wish.prefix.len()..).unwrap_or_default();
    let rolled = match wish.delimiter {
        "" => None,
        delimiter => rest
            .find(delimiter)
            .map(|at| wish.prefix.len() + at + delimiter.len()),
    };
    let rolled = rolled.and_then(|end| marker.key.get(..end)).map(str::to_owned);
    if rolled
        .as_ref()
        .is_some_and(|p| found.prefixes.contains(p) || p == wish.key_marker)
    {
        return true;
    }
    if found.uploads.len() + found.prefixes.len() == wish.most {
        found.truncated = true;
        return false;
    }
    match rolled {
        Some(prefix) => {
            found.last = (prefix.clone(), String::new());
            found.prefixes.insert(prefix);
        }
        None => {
            found.last = (marker.key.clone(), marker.id.clone());
            found.uploads.push(marker);
        }
    }
    true
}

async fn search(backend: &Backend, container: &ContainerName, wish: &Wish<'_>) -> S3Result<Found> {
    let mut found = Found::default();
    let mut list = ListRequest {
        prefix: format!("{MARKERS}{}", wish.prefix),
        // Ids are hexadecimal: the next byte after '/' is behind all of a key's uploads.
        marker: match (wish.key_marker, wish.id_marker) {
            ("", _) => String::new(),
            (key, "") => format!("{MARKERS}{key}/g"),
            (key, id) => format!("{MARKERS}{key}/{id}"),
        },
        limit: PAGE,
        ..ListRequest::default()
    };
    loop {
        let page = match backend.core().list_container(container, list.clone()).await {
            Ok(page) => page,
            Err(ListError::NotFound) => return Ok(found),
            Err(error) => return Err(error.into_fault()),
        };
        for entry in page.entries {
            let Entry::Row(row) = entry else { continue };
            list.marker.clone_from(&row.name);
            if let Some(marker) = marker(row)
                && !take(&mut found, wish, marker)
            {
                return Ok(found);
            }
        }
        if !page.more {
            return Ok(found);
        }
    }
}

/// `ListMultipartUploads`.
pub(crate) async fn uploads(
    backend: &Backend,
    req: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let asker = backend.asker(&req).await?;
    let input = req.input;
    let kind = input.encoding_type.as_ref();
    let opening = backend.opening(&asker, &input.bucket, kind, input.max_uploads);
    let Opening {
        container: bucket,
        encoding,
        most,
    } = opening.await?;
    let container = bucket.account_name().container(&hidden(&input.bucket));
    let container = container.map_err(|_| s3_error!(InvalidBucketName))?;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (prefix, delimiter) = (text(&input.prefix), text(&input.delimiter));
    let (key_marker, id_marker) = (text(&input.key_marker), text(&input.upload_id_marker));
    let wish = Wish {
        prefix: &prefix,
        delimiter: &delimiter,
        key_marker: &key_marker,
        id_marker: &id_marker,
        most,
    };
    let found = match most {
        0 => Found::default(),
        _ => search(backend, &container, &wish).await?,
    };
    let upload = |marker: Marker| MultipartUpload {
        initiated: Some(dates::timestamp(marker.row.version)),
        initiator: Some(initiator(&asker)),
        key: Some(encoding.name(&marker.key).into_owned()),
        owner: Some(asker.owner()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        upload_id: Some(marker.id),
        ..MultipartUpload::default()
    };
    let (last_key, last_id) = found.last;
    Ok(S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        common_prefixes: encoding.prefixes(found.prefixes),
        delimiter: input
            .delimiter
            .map(|delimiter| encoding.name(&delimiter).into_owned()),
        encoding_type: input.encoding_type,
        is_truncated: Some(found.truncated),
        key_marker: Some(encoding.name(&key_marker).into_owned()),
        max_uploads: i32::try_from(most).ok(),
        next_key_marker: Some(encoding.name(&last_key).into_owned()),
        next_upload_id_marker: Some(last_id),
        prefix: input.prefix.map(|prefix| encoding.name(&prefix).into_owned()),
        upload_id_marker: Some(id_marker),
        uploads: Some(found.uploads.into_iter().map(upload).collect()),
        ..ListMultipartUploadsOutput::default()
    }))
}
