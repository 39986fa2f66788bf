//! Listings of a bucket's objects: version 1 and version 2. Versions are listed
//! by [`super::versioning`].
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::dto::{
    CommonPrefix, ETag, EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
    ListObjectsV2Output, Object, ObjectStorageClass,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use virga_object_wire::listing::{Entry, ListRequest, ObjectRow};
use virga_proxy::core::ContainerName;

use super::access::{Action, Asker};
use super::fault::OrFault;
use super::object::view::Listed;
use super::{Backend, dates};

/// Entries of one page, as AWS has it.
pub(crate) const MOST: i32 = 1000;

/// Which part of a bucket is asked for.
#[derive(Default)]
struct Wish {
    prefix: Option<String>,
    delimiter: Option<String>,
    after: String,
    most: usize,
}

/// A page of a bucket.
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

    pub(crate) fn name(&self, name: &str) -> String {
        match self.0 {
            // A form's encoding: a space is a plus.
            true => percent_encoding::utf8_percent_encode(name, PLAIN)
                .to_string()
                .replace("%20", "+"),
            false => name.to_owned(),
        }
    }

    fn maybe(&self, name: Option<String>) -> Option<String> {
        name.map(|name| self.name(&name))
    }

    /// Names rolled up at the delimiter; no element where there are none.
    pub(crate) fn prefixes(&self, prefixes: impl IntoIterator<Item = String>) -> Option<Vec<CommonPrefix>> {
        let all: Vec<CommonPrefix> = prefixes
            .into_iter()
            .map(|prefix| CommonPrefix {
                prefix: Some(self.name(&prefix)),
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
        let (mut rows, mut prefixes, mut last) = (Vec::new(), Vec::new(), None);
        let more = page.entries.len() > wish.most;
        for entry in page.entries.into_iter().take(wish.most) {
            match entry {
                Entry::Row(row) => {
                    last = Some(row.name.clone());
                    rows.push(row);
                }
                Entry::Subdir(prefix) => {
                    last = Some(prefix.clone());
                    prefixes.push(prefix);
                }
            }
        }
        Ok(Page {
            rows,
            prefixes,
            next: last.filter(|_| more),
        })
    }
}

fn object(row: ObjectRow, encoding: &Encoding, owner: Option<&s3s::dto::Owner>) -> Object {
    let shown = Listed::of(&row);
    Object {
        e_tag: Some(ETag::Strong(shown.etag)),
        key: Some(encoding.name(&row.name)),
        last_modified: Some(dates::timestamp(shown.modified)),
        owner: owner.cloned(),
        size: i64::try_from(shown.size).ok(),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        ..Object::default()
    }
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
    let owner = asker.owner();
    let contents = page
        .rows
        .into_iter()
        .map(|row| object(row, &encoding, Some(&owner)));
    Ok(S3Response::new(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(encoding.name(&input.prefix.unwrap_or_default())),
        marker: Some(encoding.name(&wish.after)),
        max_keys: i32::try_from(most).ok(),
        is_truncated: Some(page.next.is_some()),
        contents: Some(contents.collect()),
        common_prefixes: encoding.prefixes(page.prefixes),
        next_marker: encoding.maybe(page.next.filter(|_| wish.delimiter.is_some())),
        delimiter: encoding.maybe(wish.delimiter),
        encoding_type: input.encoding_type,
        ..ListObjectsOutput::default()
    }))
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
    let owner = asker.owner();
    let owner = (input.fetch_owner == Some(true)).then_some(&owner);
    let count = page.rows.len() + page.prefixes.len();
    let contents = page.rows.into_iter().map(|row| object(row, &encoding, owner));
    Ok(S3Response::new(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(encoding.name(&input.prefix.unwrap_or_default())),
        max_keys: i32::try_from(most).ok(),
        key_count: i32::try_from(count).ok(),
        continuation_token: input.continuation_token,
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.map(|name| URL_SAFE_NO_PAD.encode(name)),
        contents: Some(contents.collect()),
        common_prefixes: encoding.prefixes(page.prefixes),
        delimiter: encoding.maybe(wish.delimiter),
        encoding_type: input.encoding_type,
        start_after: encoding.maybe(input.start_after),
        ..ListObjectsV2Output::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_back_and_others_are_refused() {
        let token = URL_SAFE_NO_PAD.encode("dir/a b");
        assert_eq!(read_token(&token).unwrap(), "dir/a b");
        for bad in ["", "!", "_w"] {
            assert!(read_token(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_encoded_as_forms_are() {
        let url = EncodingType::from_static(EncodingType::URL);
        let encoding = Encoding::of(Some(&url)).unwrap();
        assert_eq!(encoding.name("a b/\u{fc}+\n"), "a+b/%C3%BC%2B%0A");
        assert_eq!(Encoding::of(None).unwrap().name("a b"), "a b");
        assert!(Encoding::of(Some(&EncodingType::from_static("xml"))).is_err());
        assert_eq!((limit(None).unwrap(), limit(Some(5000)).unwrap()), (1000, 1000));
        assert!(limit(Some(-1)).is_err());
    }
}
