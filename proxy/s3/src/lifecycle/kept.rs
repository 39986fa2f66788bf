//! Where rules are kept, so that who runs them finds the buckets that have some
//! without looking at all others.
//!
//! A hidden account holds one container, and in it an object for each bucket
//! with rules: `rules/<account>/<bucket>`. Metadata of the bucket's own
//! container says that there are rules: it is written last and removed first,
//! and goes with the container, so rules of a bucket that is gone are not run.
//! What a write leaves that failed half way is removed by who runs the rules
//! ([`Backend::sweep_rules`]).
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream;
use s3s::{S3Result, s3_error};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use virga_node::clock::Version;
use virga_object_wire::listing::{ContainerInfo, Entry, ListRequest, ObjectRow};
use virga_proxy::core::{
    BodyError, ContainerName, DeleteObjectError, GetOptions, ListError, NewObject, ObjectName,
    PutObjectError, ReadObjectError,
};

use super::rules::Rule;
use crate::Backend;
use crate::access::meta;
use crate::fault::{IntoFault, OrFault};

/// The hidden account. Names that begin with NUL cannot be written in a path.
const ACCOUNT: &str = "\0s3";
/// Its container.
const SHELF: &str = "lifecycle";
/// What the names of kept rules begin with.
const RULES: &str = "rules/";
/// Metadata of a bucket that has rules; another value whenever they change.
const MARK: &str = "x-container-sysmeta-s3-lifecycle";
/// Largest document: a thousand of the longest rules.
const MOST_BYTES: usize = 16 << 20;
/// Buckets whose rules are held in memory.
const MOST_HELD: usize = 1024;

/// The rules of one bucket.
#[derive(Serialize, Deserialize)]
struct Document {
    rules: Vec<Rule>,
}

/// Rules with the mark they were read under, by path of the bucket.
type ByBucket = HashMap<String, (String, Arc<[Rule]>)>;

/// Rules of buckets that were asked for lately.
#[derive(Default)]
pub(crate) struct Held(Mutex<ByBucket>);

impl Held {
    fn get(&self, bucket: &ContainerName, mark: &str) -> Option<Arc<[Rule]>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (under, rules) = held.get(bucket.path())?;
        (under == mark).then(|| Arc::clone(rules))
    }

    fn put(&self, bucket: &ContainerName, mark: &str, rules: &Arc<[Rule]>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST_HELD && !held.contains_key(bucket.path()) {
            held.clear();
        }
        held.insert(bucket.path().to_owned(), (mark.to_owned(), Arc::clone(rules)));
    }
}

/// The container of all that is kept here.
fn shelf() -> S3Result<ContainerName> {
    ContainerName::new(ACCOUNT, SHELF).map_err(s3s::S3Error::internal_error)
}

/// A name on the shelf about a bucket.
fn about(what: &str, bucket: &ContainerName) -> S3Result<ObjectName> {
    let name = format!("{what}{}", bucket.path());
    shelf()?.object(&name).map_err(s3s::S3Error::internal_error)
}

/// The mark of a bucket's rules, if it has some.
pub(super) fn mark(info: &ContainerInfo) -> Option<&str> {
    meta(&info.meta, MARK)
}

/// A bucket that has rules, or had some.
pub(super) struct Row {
    pub(super) bucket: ContainerName,
    /// When they were written.
    pub(super) version: Version,
}

fn row_of(row: &ObjectRow) -> Option<Row> {
    let (account, bucket) = row.name.strip_prefix(RULES)?.split_once('/')?;
    Some(Row {
        bucket: ContainerName::new(account, bucket).ok()?,
        version: row.version,
    })
}

impl Backend {
    /// Writes a document about a bucket onto the shelf, which is made if it is
    /// not there yet.
    pub(super) async fn shelve(
        &self,
        what: &str,
        bucket: &ContainerName,
        document: &impl Serialize,
    ) -> S3Result<()> {
        let json = serde_json::to_vec(document).map_err(s3s::S3Error::internal_error)?;
        let (name, json) = (about(what, bucket)?, Bytes::from(json));
        for made in [false, true] {
            let body = stream::iter([Ok::<_, BodyError>(json.clone())]);
            match self
                .core()
                .put_object(&name, NewObject::new("application/json"), body)
                .await
            {
                Err(PutObjectError::NoContainer) if !made => {
                    let made = self.core().put_container(&shelf()?, None, Vec::new()).await;
                    made.or_fault()?;
                }
                stored => return stored.map(drop).or_fault(),
            }
        }
        Ok(())
    }

    /// Reads a document about a bucket from the shelf; `None` if there is none.
    pub(super) async fn shelved<T: DeserializeOwned>(
        &self,
        what: &str,
        bucket: &ContainerName,
    ) -> S3Result<Option<T>> {
        let name = about(what, bucket)?;
        let got = match self.core().get_object(&name, GetOptions::default()).await {
            Ok(got) => got,
            Err(ReadObjectError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into_fault()),
        };
        let json = got.body.collect(MOST_BYTES).await.or_fault()?;
        let document = serde_json::from_slice(&json);
        document
            .map(Some)
            .map_err(|error| s3_error!(error, InternalError, "A document about this bucket is damaged."))
    }

    /// Takes a document about a bucket off the shelf. `seen`: only if it is not
    /// newer than that.
    pub(super) async fn unshelve(
        &self,
        what: &str,
        bucket: &ContainerName,
        seen: Option<Version>,
    ) -> S3Result<()> {
        let past = seen.map(|seen| Version(seen.0.saturating_add(1)));
        match self.core().delete_object(&about(what, bucket)?, past).await {
            Ok(_) | Err(DeleteObjectError::NoContainer | DeleteObjectError::Newer(_)) => Ok(()),
            Err(error) => Err(error.into_fault()),
        }
    }

    /// Replaces the rules of a bucket.
    pub(super) async fn keep_rules(&self, bucket: &ContainerName, rules: Vec<Rule>) -> S3Result<()> {
        self.shelve(RULES, bucket, &Document { rules }).await?;
        let mark = uuid::Uuid::now_v7().simple().to_string();
        let change = vec![(MARK.to_owned(), mark)];
        self.core().post_container(bucket, change).await.or_fault()
    }

    /// Removes the rules of a bucket, if it has some.
    pub(super) async fn drop_rules(&self, bucket: &ContainerName) -> S3Result<()> {
        let change = vec![(MARK.to_owned(), String::new())];
        self.core().post_container(bucket, change).await.or_fault()?;
        self.unshelve(RULES, bucket, None).await
    }

    /// The rules of a bucket; none if it has none.
    pub(super) async fn rules_of(
        &self,
        bucket: &ContainerName,
        info: &ContainerInfo,
    ) -> S3Result<Arc<[Rule]>> {
        let Some(mark) = mark(info) else {
            return Ok(Arc::default());
        };
        if let Some(held) = self.0.lifecycle.get(bucket, mark) {
            return Ok(held);
        }
        let document: Option<Document> = self.shelved(RULES, bucket).await?;
        let rules: Arc<[Rule]> = document.map(|document| document.rules).unwrap_or_default().into();
        self.0.lifecycle.put(bucket, mark, &rules);
        Ok(rules)
    }

    /// Removes rules whose bucket is gone or knows nothing of them; not newer
    /// ones than were seen.
    pub(super) async fn sweep_rules(&self, row: &Row) -> S3Result<()> {
        self.unshelve(RULES, &row.bucket, Some(row.version)).await
    }

    /// A page of the buckets that have rules, behind `after`, and whether more
    /// follow it.
    pub(super) async fn buckets_with_rules(
        &self,
        after: Option<&ContainerName>,
        limit: u32,
    ) -> S3Result<(Vec<Row>, bool)> {
        let list = ListRequest {
            prefix: RULES.to_owned(),
            marker: after.map_or_else(String::new, |after| format!("{RULES}{}", after.path())),
            limit,
            ..ListRequest::default()
        };
        let page = match self.core().list_container(&shelf()?, list).await {
            Ok(page) => page,
            Err(ListError::NotFound) => return Ok((Vec::new(), false)),
            Err(error) => return Err(error.into_fault()),
        };
        let rows = page.entries.iter().filter_map(|entry| match entry {
            Entry::Row(row) => row_of(row),
            Entry::Subdir(_) => None,
        });
        Ok((rows.collect(), page.more))
    }
}
