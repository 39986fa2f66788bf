//! Rate limits: those of the other dialect, which counts together with this one
//! (`virga_proxy::swift::ratelimit`). Asked by [`super::access`] for whoever may do
//! what they ask for; a request for several deletions counts each.
use http::Method;
use s3s::{S3Error, S3Result, s3_error};
use virga_proxy::core::ContainerName;
use virga_proxy::swift::ratelimit::{Held, Kind};

use super::Backend;
use super::access::{Asker, Place};
use super::fault::IntoFault;
use super::rules::{self, Need};

/// What a request counts towards: buckets made and deleted, listings, writes of
/// objects. `name` is the bucket's, where there is one already.
pub(crate) fn kind(
    method: &Method,
    action: &str,
    place: &Place,
    name: Option<&ContainerName>,
) -> Option<Kind> {
    let looks = method == Method::GET || method == Method::HEAD;
    match (place, name) {
        (Place::New(_), _) => Some(Kind::Containers),
        (Place::Bucket(_), _) if action == "s3:DeleteBucket" => Some(Kind::Containers),
        (Place::Bucket(_), Some(name)) if method == Method::GET && rules::need(action) == Need::List => {
            Some(Kind::Listing(name.clone()))
        }
        (Place::Object(..), Some(name)) if !looks => Some(Kind::Objects(name.clone())),
        (Place::Account | Place::Bucket(_) | Place::Batch(_) | Place::Object(..), _) => None,
    }
}

fn fault(held: Held) -> S3Error {
    match held {
        Held::TooFast => s3_error!(SlowDown),
        Held::Blacklisted => s3_error!(AccessDenied, "The account has been blacklisted."),
        Held::Unavailable(error) => error.into_fault(),
    }
}

impl Backend {
    /// Lets a request go on, perhaps after a while.
    ///
    /// # Errors
    /// `SlowDown` for one that came too fast, `AccessDenied` for an account on the
    /// black list.
    pub(crate) async fn pace(&self, asker: &Asker, kind: Option<Kind>) -> S3Result<()> {
        let (Some(limiter), Some(kind)) = (&asker.limiter, kind) else {
            return Ok(());
        };
        let (limits, now) = (&self.config().ratelimit, self.0.clock.now());
        let passed = limiter.pass(limits, self.core(), &asker.account, kind, now).await;
        passed.map_err(fault)
    }
}
