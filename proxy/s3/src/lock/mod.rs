//! Object lock: versions that stay until a moment, or until a hold is taken off.
//!
//! What it means is in [`virga_proxy::swift::versions::lock`], which both
//! dialects ask before a version goes. Here S3 sets it: for a bucket
//! ([`bucket`]), with a new object, or for a version that is stored already
//! ([`version`]).
pub(crate) mod bucket;
pub(crate) mod version;

use http::HeaderMap;
use s3s::dto::{Timestamp, TimestampFormat};
use s3s::{S3Error, S3Result, s3_error};
use virga_object_wire::listing::ContainerInfo;
use virga_object_wire::object::ObjectStat;
use virga_proxy::core::{MetaChange, NewObject, ObjectName};
use virga_proxy::swift::versions::lock::{self, Lock, Mode, Retention};

use super::fault::OrFault;
use super::{Backend, dates, metadata};

pub(crate) use virga_proxy::swift::versions::lock::is_stored;

const MODE: &str = "x-amz-object-lock-mode";
const UNTIL: &str = "x-amz-object-lock-retain-until-date";
const HOLD: &str = "x-amz-object-lock-legal-hold";

/// The error for a bucket whose versions cannot be locked.
fn missing() -> S3Error {
    s3_error!(InvalidRequest, "Bucket is missing Object Lock Configuration")
}

/// Shows what keeps an object.
pub(crate) fn show(stat: &ObjectStat, into: &mut HeaderMap) {
    let lock = Lock::of(stat);
    if let Some(Retention { mode, until }) = lock.retention {
        metadata::set(into, MODE, mode.name());
        metadata::set(into, UNTIL, &dates::iso(until));
    }
    if let Some(hold) = lock.hold {
        metadata::set(into, HOLD, if hold { "ON" } else { "OFF" });
    }
}

/// Metadata of the container that holds the parts of a bucket's objects.
pub(crate) fn of_parts(bucket: &ContainerInfo) -> Option<MetaChange> {
    lock::of_container(bucket).map(|_| (lock::PARTS.to_owned(), "yes".to_owned()))
}

/// What a request wants its object to be locked with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wanted {
    retention: Option<Retention>,
    hold: Option<bool>,
}

fn mode_of(name: &str) -> S3Result<Mode> {
    Mode::named(name).ok_or_else(|| s3_error!(InvalidArgument, "Unknown wormMode directive."))
}

/// A moment until which something is to stay.
///
/// # Errors
/// `InvalidArgument` for one that is over.
fn future(until: u64, now: u64) -> S3Result<u64> {
    match until > now {
        true => Ok(until),
        false => Err(s3_error!(
            InvalidArgument,
            "The retain until date must be in the future!"
        )),
    }
}

impl Wanted {
    /// Reads the headers of a write.
    ///
    /// # Errors
    /// `InvalidArgument`.
    fn of(headers: &HeaderMap, now: u64) -> S3Result<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let retention = match (text(MODE), text(UNTIL)) {
            (None, None) => None,
            (Some(mode), Some(until)) => {
                let mode = mode_of(mode)?;
                let until = Timestamp::parse(TimestampFormat::DateTime, until).ok();
                let until = until.as_ref().and_then(dates::seconds_of).ok_or_else(|| {
                    s3_error!(
                        InvalidArgument,
                        "The retain until date must be provided in ISO 8601 format"
                    )
                })?;
                let until = future(until, now)?;
                Some(Retention { mode, until })
            }
            _ => {
                return Err(s3_error!(
                    InvalidArgument,
                    "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied"
                ));
            }
        };
        let hold = match text(HOLD) {
            None => None,
            Some("ON") => Some(true),
            Some("OFF") => Some(false),
            Some(_) => {
                return Err(s3_error!(
                    InvalidArgument,
                    "Legal Hold must be either of 'ON' or 'OFF'"
                ));
            }
        };
        Ok(Self { retention, hold })
    }

    fn is_any(self) -> bool {
        self != Self::default()
    }

    fn store(self, new: &mut NewObject) {
        new.sysmeta.extend(self.retention.map(Retention::stored));
        new.headers.extend(self.hold.map(lock::hold));
    }
}

/// Refuses a write that asks for a lock and has nothing its bytes could be
/// compared with.
///
/// # Errors
/// `InvalidRequest`.
pub(crate) fn refuse_unchecked(headers: &HeaderMap) -> S3Result<()> {
    match [MODE, UNTIL, HOLD].iter().any(|name| headers.contains_key(*name)) {
        true => Err(s3_error!(
            InvalidRequest,
            "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters"
        )),
        false => Ok(()),
    }
}

impl Backend {
    fn now(&self) -> u64 {
        self.0.clock.now().as_secs()
    }

    /// Locks an object that is going to be stored as the request or else the
    /// bucket wants it.
    ///
    /// # Errors
    /// `InvalidRequest` where nothing can be locked, `InvalidArgument`.
    pub(crate) async fn lock_new(
        &self,
        name: &ObjectName,
        headers: &HeaderMap,
        new: &mut NewObject,
    ) -> S3Result<()> {
        let info = self.core().container_info(&name.container_name()).await;
        let Some(info) = info.or_fault()? else {
            return Err(s3_error!(NoSuchBucket));
        };
        let mut wanted = Wanted::of(headers, self.now())?;
        match lock::of_container(&info) {
            None if wanted.is_any() => return Err(missing()),
            None => {}
            Some(rule) => {
                let usual = rule.map(|rule| rule.retention(self.now()));
                wanted.retention = wanted.retention.or(usual);
            }
        }
        wanted.store(new);
        Ok(())
    }

    /// Notes with an upload in parts how its object is to be locked.
    ///
    /// # Errors
    /// As [`Backend::lock_new`].
    pub(crate) fn lock_upload(
        &self,
        bucket: &ContainerInfo,
        headers: &HeaderMap,
        new: &mut NewObject,
    ) -> S3Result<()> {
        let wanted = Wanted::of(headers, self.now())?;
        if wanted.is_any() && lock::of_container(bucket).is_none() {
            return Err(missing());
        }
        wanted.store(new);
        Ok(())
    }

    /// Locks the object that an upload becomes. Its legal hold is among the
    /// metadata that it takes from `upload`.
    ///
    /// # Errors
    /// When the bucket cannot be looked at.
    pub(crate) async fn lock_uploaded(
        &self,
        name: &ObjectName,
        upload: &ObjectStat,
        new: &mut NewObject,
    ) -> S3Result<()> {
        let info = self.core().container_info(&name.container_name()).await;
        let rule = info
            .or_fault()?
            .and_then(|info| lock::of_container(&info))
            .flatten();
        let usual = rule.map(|rule| rule.retention(self.now()));
        let retention = Lock::of(upload).retention.or(usual);
        new.sysmeta.extend(retention.map(Retention::stored));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_write_says_mode_and_date_together_and_in_the_future() {
        let read = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            Wanted::of(&headers, 1_000)
        };
        assert!(!read(&[]).unwrap().is_any());
        let wanted = read(&[
            (MODE, "COMPLIANCE"),
            (UNTIL, "2027-01-01T00:00:00Z"),
            (HOLD, "ON"),
        ])
        .unwrap();
        let retention = Retention {
            mode: Mode::Compliance,
            until: 1_798_761_600,
        };
        assert_eq!((wanted.retention, wanted.hold), (Some(retention), Some(true)));
        for bad in [
            &[(MODE, "COMPLIANCE")][..],
            &[(UNTIL, "2027-01-01T00:00:00Z")],
            &[(MODE, "NEVER"), (UNTIL, "2027-01-01T00:00:00Z")],
            &[(MODE, "GOVERNANCE"), (UNTIL, "1970-01-01T00:00:01Z")],
            &[(MODE, "GOVERNANCE"), (UNTIL, "tomorrow")],
            &[(HOLD, "MAYBE")],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
