//! Listings of a bucket's objects: version 1 and version 2. Versions are listed
//! by [`super::versioning`].
pub(crate) mod document;
#[cfg(test)]
pub(crate) mod tests;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::dto::{
    CommonPrefix, EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output,
    ObjectStorageClass, Owner,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use virga_object_wire::listing::{Entry, ListRequest, ObjectRow};
use virga_proxy::core::ContainerName;

use super::Backend;
use super::access::{Action, Asker};
use super::fault::OrFault;
use super::object::view::Listed;
use document::{Document, Written};

/// Entries of one page, as AWS has it.
pub(crate) const MOST: i32 = 1000;

/// Which part of a bucket is asked for.
#[derive(Debug, Default)]
struct Wish {
    prefix: Option<String>,
    delimiter: Option<String>,
    after: String,
    most: usize,
}

/// A page of a bucket.
#[derive(Debug)]
struct Page {
    rows: Vec<ObjectRow>,
    prefixes: Vec<String>,
    /// The last entry, if more follows it.
    next: Option<String>,
}

/// How many entries are wanted at most.
///
/// # Errors
/// `InvalidArgument` for less than none.
pub(crate) fn limit(most: Option<i32>) -> S3Result<usize> {
    let most = most.unwrap_or(MOST);
    let most = usize::try_from(most.min(MOST));
    most.map_err(|_| {
        s3_error!(
            InvalidArgument,
            "Argument maxKeys must be an integer between 0 and 2147483647"
        )
    })
}

/// Encodes names in documents, if the client asked for it.
pub(crate) struct Encoding(bool);

/// What stays as it is in an encoded name.
const PLAIN: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'*');

impl Encoding {
    /// Reads the parameter.
    ///
    /// # Errors
    /// `InvalidArgument` for anything but `url`.
    pub(crate) fn of(asked: Option<&EncodingType>) -> S3Result<Self> {
        match asked.map(EncodingType::as_str) {
            None | Some("") => Ok(Self(false)),
            Some(EncodingType::URL) => Ok(Self(true)),
            Some(_) => Err(s3_error!(
                InvalidArgument,
                "Invalid Encoding Method specified in Request"
            )),
        }
    }

    pub(crate) fn name<'a>(&self, name: &'a str) -> Cow<'a, str> {
        if !self.0 {
            return Cow::Borrowed(name);
        }
        match Cow::from(percent_encoding::utf8_percent_encode(name, PLAIN)) {
            // A form's encoding: a space is a plus.
            Cow::Owned(encoded) if encoded.contains("%20") => Cow::Owned(encoded.replace("%20", "+")),
            encoded => encoded,
        }
    }

    /// What a document of listings says of it.
    pub(crate) fn shown(&self) -> Option<&'static str> {
        self.0.then_some(EncodingType::URL)
    }

    /// Names rolled up at the delimiter; no element where there are none.
    pub(crate) fn prefixes(&self, prefixes: impl IntoIterator<Item = String>) -> Option<Vec<CommonPrefix>> {
        let all: Vec<CommonPrefix> = prefixes
            .into_iter()
            .map(|prefix| CommonPrefix {
                prefix: Some(self.name(&prefix).into_owned()),
            })
            .collect();
        (!all.is_empty()).then_some(all)
    }
}

/// What all listings of a bucket begin with.
pub(crate) struct Opening {
    pub(crate) container: ContainerName,
    pub(crate) encoding: Encoding,
    /// Entries of the page at most.
    pub(crate) most: usize,
}

impl Backend {
    /// The bucket to list, if the asker may, and how its listing is to look.
    ///
    /// # Errors
    /// As [`Encoding::of`] and [`limit`].
    pub(crate) async fn opening(
        &self,
        asker: &Asker,
        bucket: &str,
        encoding: Option<&EncodingType>,
        most: Option<i32>,
    ) -> S3Result<Opening> {
        let (container, _) = self.bucket(asker, Action::List, bucket).await?;
        Ok(Opening {
            container,
            encoding: Encoding::of(encoding)?,
            most: limit(most)?,
        })
    }

    async fn page(&self, container: &ContainerName, wish: &Wish) -> S3Result<Page> {
        let list = ListRequest {
            prefix: wish.prefix.clone().unwrap_or_default(),
            delimiter: wish.delimiter.clone().unwrap_or_default(),
            marker: wish.after.clone(),
            limit: u32::try_from(wish.most + 1).unwrap_or(u32::MAX),
            ..ListRequest::default()
        };
        let page = self.core().list_container(container, list).await.or_fault()?;
        let mut entries = page.entries;
        let more = entries.len() > wish.most;
        entries.truncate(wish.most);
        let next = entries.last().filter(|_| more).map(|last| match last {
            Entry::Row(row) => row.name.clone(),
            Entry::Subdir(prefix) => prefix.clone(),
        });
        let (mut rows, mut prefixes) = (Vec::with_capacity(entries.len()), Vec::new());
        for entry in entries {
            match entry {
                Entry::Row(row) => rows.push(row),
                Entry::Subdir(prefix) => prefixes.push(prefix),
            }
        }
        Ok(Page { rows, prefixes, next })
    }
}

/// What both versions of a listing end with: how the page is cut, and its entries.
fn entries(
    mut into: Document,
    wish: &Wish,
    page: &Page,
    (encoding, owner): (&Encoding, Option<&Owner>),
) -> Written {
    into.plain("MaxKeys", wish.most);
    if let Some(delimiter) = &wish.delimiter {
        into.text("Delimiter", &encoding.name(delimiter));
    }
    into.some("EncodingType", encoding.shown());
    into.plain("IsTruncated", page.next.is_some());
    for row in &page.rows {
        let shown = Listed::of(row);
        into.element("Contents", |into| {
            into.text("Key", &encoding.name(&row.name));
            into.modified(shown.modified);
            into.etag(&shown.etag);
            into.plain("Size", shown.size);
            if let Some(owner) = owner {
                into.owner(owner);
            }
            into.text("StorageClass", ObjectStorageClass::STANDARD);
        });
    }
    into.prefixes(&page.prefixes, encoding);
    into.end()
}

/// An empty parameter is as good as none.
fn some(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// `ListObjects`.
pub(crate) async fn first(
    backend: &Backend,
    req: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let asker = backend.asker(&req).await?;
    let input = req.input;
    let kind = input.encoding_type.as_ref();
    let opening = backend.opening(&asker, &input.bucket, kind, input.max_keys);
    let Opening {
        container,
        encoding,
        most,
    } = opening.await?;
    let wish = Wish {
        prefix: some(input.prefix.clone()),
        delimiter: some(input.delimiter.clone()),
        after: input.marker.clone().unwrap_or_default(),
        most,
    };
    let page = backend.page(&container, &wish).await?;
    Ok(first_document(&input, &wish, &page, (&encoding, &asker.owner())).answer())
}

fn first_document(
    input: &ListObjectsInput,
    wish: &Wish,
    page: &Page,
    (encoding, owner): (&Encoding, &Owner),
) -> Written {
    let mut document = Document::new("ListBucketResult", page.rows.len() + page.prefixes.len());
    document.text("Name", &input.bucket);
    document.text(
        "Prefix",
        &encoding.name(input.prefix.as_deref().unwrap_or_default()),
    );
    document.text("Marker", &encoding.name(&wish.after));
    if let Some(next) = page.next.as_ref().filter(|_| wish.delimiter.is_some()) {
        document.text("NextMarker", &encoding.name(next));
    }
    entries(document, wish, page, (encoding, Some(owner)))
}

fn read_token(token: &str) -> S3Result<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let name = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    name.filter(|name| !name.is_empty())
        .ok_or_else(|| s3_error!(InvalidArgument, "The continuation token provided is incorrect"))
}

/// `ListObjectsV2`.
pub(crate) async fn second(
    backend: &Backend,
    req: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let asker = backend.asker(&req).await?;
    let input = req.input;
    let kind = input.encoding_type.as_ref();
    let opening = backend.opening(&asker, &input.bucket, kind, input.max_keys);
    let Opening {
        container,
        encoding,
        most,
    } = opening.await?;
    let after = match &some(input.continuation_token.clone()) {
        Some(token) => read_token(token)?,
        None => input.start_after.clone().unwrap_or_default(),
    };
    let wish = Wish {
        prefix: some(input.prefix.clone()),
        delimiter: some(input.delimiter.clone()),
        after,
        most,
    };
    let page = backend.page(&container, &wish).await?;
    Ok(second_document(&input, &wish, &page, (&encoding, &asker.owner())).answer())
}

fn second_document(
    input: &ListObjectsV2Input,
    wish: &Wish,
    page: &Page,
    (encoding, owner): (&Encoding, &Owner),
) -> Written {
    let count = page.rows.len() + page.prefixes.len();
    let mut document = Document::new("ListBucketResult", count);
    document.text("Name", &input.bucket);
    document.text(
        "Prefix",
        &encoding.name(input.prefix.as_deref().unwrap_or_default()),
    );
    if let Some(next) = &page.next {
        document.plain("NextContinuationToken", URL_SAFE_NO_PAD.encode(next));
    }
    document.some("ContinuationToken", input.continuation_token.as_deref());
    if let Some(after) = &input.start_after {
        document.text("StartAfter", &encoding.name(after));
    }
    document.plain("KeyCount", count);
    let owner = (input.fetch_owner == Some(true)).then_some(owner);
    entries(document, wish, page, (encoding, owner))
}
