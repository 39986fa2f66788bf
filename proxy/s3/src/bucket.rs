//! Buckets: made, looked at, listed, removed.
use s3s::dto::{
    Bucket, BucketLocationConstraint, CreateBucketInput, CreateBucketOutput, DeleteBucketInput,
    DeleteBucketOutput, GetBucketLocationInput, GetBucketLocationOutput, HeadBucketInput, HeadBucketOutput,
    ListBucketsInput, ListBucketsOutput,
};
use s3s::path::check_bucket_name;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use virga_object_wire::listing::{ContainerRow, Entry, ListRequest};
use virga_proxy::core::{AccountName, ContainerName, ListError};
use virga_proxy::swift::versions::{ENABLED, container, lock};

use super::access::Action;
use super::fault::{IntoFault, OrFault};
use super::request::Signed;
use super::{Backend, acl, dates, multipart};

/// The region that buckets are in unless they say otherwise.
const USUAL: &str = "us-east-1";
/// Containers looked at in one go.
const PAGE: u32 = 10_000;

impl Backend {
    /// The region to tell clients. They check its form, so one that is not of
    /// AWS's form is not told.
    fn region(&self) -> Option<&str> {
        let own = self.0.region.as_str();
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (own != USUAL && !own.is_empty() && own.bytes().all(good)).then_some(own)
    }
}

/// `CreateBucket`.
pub(crate) async fn create(
    backend: &Backend,
    req: S3Request<CreateBucketInput>,
) -> S3Result<S3Response<CreateBucketOutput>> {
    let asker = backend.asker(&req).await?;
    let name = asker
        .account
        .container(&req.input.bucket)
        .map_err(|_| s3_error!(InvalidBucketName))?;
    let asked = req.input.create_bucket_configuration.as_ref();
    if let Some(asked) = asked.and_then(|asked| asked.location_constraint.as_ref()) {
        let signed = req
            .extensions
            .get::<Signed>()
            .and_then(|signed| signed.region.as_deref());
        let (asked, own) = (asked.as_str(), backend.0.region.as_str());
        if !asked.is_empty() && asked != own && Some(asked) != signed {
            return Err(s3_error!(InvalidLocationConstraint));
        }
    }
    let mut meta = acl::of_new_bucket(&asker, &req.headers)?;
    let locks = req.input.object_lock_enabled_for_bucket == Some(true);
    if locks {
        meta.push((ENABLED.to_owned(), "true".to_owned()));
        meta.push((lock::BUCKET.to_owned(), lock::bucket_value(None)));
    }
    match backend.core().head_container(&name).await {
        Ok(_) => return Err(s3_error!(BucketAlreadyOwnedByYou)),
        Err(ListError::NotFound) => {}
        Err(error) => return Err(error.into_fault()),
    }
    let made = backend.core().put_container(&name, None, meta).await.or_fault()?;
    if !made.created {
        return Err(s3_error!(BucketAlreadyOwnedByYou));
    }
    if locks {
        container::make_sure_of(backend.core(), &name).await.or_fault()?;
    }
    Ok(S3Response::new(CreateBucketOutput {
        location: Some(format!("/{}", req.input.bucket)),
    }))
}

/// `DeleteBucket`.
pub(crate) async fn delete(
    backend: &Backend,
    req: S3Request<DeleteBucketInput>,
) -> S3Result<S3Response<DeleteBucketOutput>> {
    let asker = backend.asker(&req).await?;
    let (name, _) = backend.bucket(&asker, Action::Own, &req.input.bucket).await?;
    let began = backend.core().hlc().next();
    container::delete(backend.core(), &name).await.or_fault()?;
    let hidden = asker.account.container(&multipart::hidden(&req.input.bucket));
    if let Ok(hidden) = hidden {
        empty(backend, &hidden, began).await;
    }
    Ok(S3Response::new(DeleteBucketOutput::default()))
}

/// Removes the parts of uploads that were never finished, with their
/// container. What came after the bucket was removed belongs to a new one.
async fn empty(backend: &Backend, hidden: &ContainerName, before: virga_node::clock::Version) {
    let mut list = ListRequest {
        limit: PAGE,
        ..ListRequest::default()
    };
    loop {
        let page = match backend.core().list_container(hidden, list.clone()).await {
            Ok(page) => page,
            Err(ListError::NotFound) => return,
            Err(error) => {
                tracing::warn!(%error, container = hidden.path(), "parts of a removed bucket are left");
                return;
            }
        };
        let names: Vec<String> = page
            .entries
            .into_iter()
            .filter_map(|entry| match entry {
                Entry::Row(row) => Some(row),
                Entry::Subdir(_) => None,
            })
            .inspect(|row| list.marker.clone_from(&row.name))
            .filter(|row| row.version < before)
            .map(|row| row.name)
            .collect();
        backend.delete_hidden(hidden, names).await;
        if !page.more {
            break;
        }
    }
    // Not empty: somebody made the bucket anew and uploads into it.
    let _ = backend.core().delete_container(hidden).await;
}

/// `HeadBucket`.
pub(crate) async fn head(
    backend: &Backend,
    req: S3Request<HeadBucketInput>,
) -> S3Result<S3Response<HeadBucketOutput>> {
    let asker = backend.asker(&req).await?;
    backend.bucket(&asker, Action::List, &req.input.bucket).await?;
    Ok(S3Response::new(HeadBucketOutput {
        bucket_region: Some(backend.region().unwrap_or(USUAL).to_owned()),
        ..HeadBucketOutput::default()
    }))
}

/// `GetBucketLocation`.
pub(crate) async fn location(
    backend: &Backend,
    req: S3Request<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    let asker = backend.asker(&req).await?;
    backend.bucket(&asker, Action::List, &req.input.bucket).await?;
    let region = backend.region();
    Ok(S3Response::new(GetBucketLocationOutput {
        location_constraint: region.map(|region| BucketLocationConstraint::from(region.to_owned())),
    }))
}

/// At most so many containers whose names a bucket can have; the last of them,
/// if more follow.
async fn all(
    backend: &Backend,
    account: &AccountName,
    mut list: ListRequest,
    most: usize,
) -> S3Result<(Vec<ContainerRow>, Option<String>)> {
    let mut rows: Vec<ContainerRow> = Vec::new();
    loop {
        let page = match backend.core().list_account(account, list.clone()).await {
            Ok(page) => page,
            Err(ListError::NotFound) => return Ok((rows, None)),
            Err(error) => return Err(error.into_fault()),
        };
        for entry in page.entries {
            let Entry::Row(row) = entry else { continue };
            list.marker.clone_from(&row.name);
            if !check_bucket_name(&row.name) {
                continue;
            }
            if rows.len() == most {
                let last = rows.last().map(|row| row.name.clone());
                return Ok((rows, last));
            }
            rows.push(row);
        }
        if !page.more {
            return Ok((rows, None));
        }
    }
}

/// `ListBuckets`. Containers whose names no bucket can have are left out; who
/// has no role in the project sees none.
pub(crate) async fn list(
    backend: &Backend,
    req: S3Request<ListBucketsInput>,
) -> S3Result<S3Response<ListBucketsOutput>> {
    let asker = backend.asker(&req).await?;
    let input = req.input;
    let most = match input.max_buckets {
        None => usize::MAX,
        Some(most) if (1..=10_000).contains(&most) => usize::try_from(most).unwrap_or(1),
        Some(_) => {
            return Err(s3_error!(
                InvalidArgument,
                "MaxBuckets must be between 1 and 10000."
            ));
        }
    };
    let list = ListRequest {
        prefix: input.prefix.clone().unwrap_or_default(),
        marker: input.continuation_token.unwrap_or_default(),
        limit: PAGE,
        ..ListRequest::default()
    };
    let (rows, next) = match backend.by_role(&asker, "s3:ListAllMyBuckets").granted() {
        true => all(backend, &asker.account, list, most).await?,
        false => (Vec::new(), None),
    };
    let region = |_| backend.region().unwrap_or(USUAL).to_owned();
    let buckets = rows.into_iter().map(|row| Bucket {
        bucket_region: input.max_buckets.map(region),
        creation_date: Some(dates::timestamp(row.put)),
        name: Some(row.name),
    });
    let buckets: Vec<Bucket> = buckets.collect();
    Ok(S3Response::new(ListBucketsOutput {
        buckets: Some(buckets),
        continuation_token: next,
        owner: Some(asker.owner()),
        prefix: input.prefix,
    }))
}
