//! Rules of a bucket's life cycle: as they are kept, read from what a client
//! sends and checked in AWS's words, and written as a document again.
use std::time::{Duration, UNIX_EPOCH};

use s3s::dto::{
    AbortIncompleteMultipartUpload, ExpirationStatus, LifecycleExpiration, LifecycleRule,
    LifecycleRuleAndOperator, LifecycleRuleFilter, NoncurrentVersionExpiration, Tag, Timestamp,
    TimestampFormat,
};
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::when::DAY;

/// Rules of one bucket, as AWS allows.
const MOST: usize = 1000;
/// Characters of a rule's name.
const MOST_ID: usize = 255;
/// Bytes of a prefix.
const MOST_PREFIX: usize = 1024;
/// Most of `NewerNoncurrentVersions`.
const MOST_KEPT: u32 = 100;

/// When current objects go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Expiration {
    /// So many days after they were written.
    Days(u32),
    /// From this moment on, seconds since the epoch.
    Date(u64),
    /// Never; but marks of deletions that hide nothing any more go, or do not.
    Markers(bool),
}

/// When versions go that are not the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noncurrent {
    /// So many days after they were replaced.
    pub(super) days: u32,
    /// So many of the newest stay whatever their age.
    pub(super) keep: Option<u32>,
}

/// How a filter was written, to be shown like that again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Form {
    /// `Prefix` in the rule itself, as it was before there were filters.
    Bare,
    /// One condition, or none.
    #[default]
    One,
    /// Several.
    And,
}

/// Which objects a rule is about: all conditions hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    form: Form,
    /// `None` where none was written; the same as an empty one.
    prefix: Option<String>,
    pub(super) tags: Vec<(String, String)>,
    pub(super) larger: Option<u64>,
    pub(super) smaller: Option<u64>,
}

impl Filter {
    /// What the names of its objects begin with.
    pub(super) fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn with_prefix(prefix: &str) -> Self {
        Self {
            prefix: Some(prefix.to_owned()),
            ..Self::default()
        }
    }

    /// Whether a name and a size fit; tags are looked at elsewhere.
    pub(super) fn fits(&self, key: &str, size: u64) -> bool {
        key.starts_with(self.prefix())
            && self.larger.is_none_or(|least| size > least)
            && self.smaller.is_none_or(|most| size < most)
    }
}

/// A rule as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) enabled: bool,
    pub(super) filter: Filter,
    pub(super) expiration: Option<Expiration>,
    pub(super) noncurrent: Option<Noncurrent>,
    /// Days after which uploads in parts are given up.
    pub(super) abort: Option<u32>,
}

/// A count of days or of versions, which begins with one.
fn positive(value: Option<i32>, field: &str, action: &str) -> S3Result<u32> {
    let value = value.ok_or_else(|| s3_error!(MalformedXML))?;
    let value = u32::try_from(value).ok().filter(|value| *value > 0);
    value.ok_or_else(|| {
        s3_error!(
            InvalidArgument,
            "'{field}' for {action} action must be a positive integer"
        )
    })
}

fn seconds(at: &Timestamp) -> S3Result<u64> {
    let mut text = Vec::new();
    at.format(TimestampFormat::EpochSeconds, &mut text)
        .map_err(s3s::S3Error::internal_error)?;
    let text = String::from_utf8_lossy(&text);
    let whole = text.split('.').next().unwrap_or_default();
    whole
        .parse()
        .map_err(|_| s3_error!(InvalidArgument, "'Date' must not be before 1970"))
}

fn expiration(asked: LifecycleExpiration) -> S3Result<Expiration> {
    match (asked.days, asked.date, asked.expired_object_delete_marker) {
        (Some(_), None, None) => positive(asked.days, "Days", "Expiration").map(Expiration::Days),
        (None, Some(date), None) => match seconds(&date)? {
            at if at % DAY == 0 => Ok(Expiration::Date(at)),
            _ => Err(s3_error!(InvalidArgument, "'Date' must be at midnight GMT")),
        },
        (None, None, Some(remove)) => Ok(Expiration::Markers(remove)),
        _ => Err(s3_error!(MalformedXML)),
    }
}

fn noncurrent(asked: &NoncurrentVersionExpiration) -> S3Result<Noncurrent> {
    let action = "NoncurrentVersionExpiration";
    let days = positive(asked.noncurrent_days, "NoncurrentDays", action)?;
    let keep = match asked.newer_noncurrent_versions {
        None => None,
        some => Some(positive(some, "NewerNoncurrentVersions", action)?),
    };
    match keep.is_some_and(|keep| keep > MOST_KEPT) {
        true => Err(s3_error!(
            InvalidArgument,
            "'NewerNoncurrentVersions' for {action} action must be between 1 and {MOST_KEPT}"
        )),
        false => Ok(Noncurrent { days, keep }),
    }
}

fn size(value: Option<i64>, field: &str) -> S3Result<Option<u64>> {
    let size = value.map(u64::try_from).transpose();
    size.map_err(|_| s3_error!(InvalidArgument, "'{field}' must not be negative"))
}

fn tag(tag: Tag) -> S3Result<(String, String)> {
    tag.key.zip(tag.value).ok_or_else(|| s3_error!(MalformedXML))
}

fn of_filter(asked: LifecycleRuleFilter) -> S3Result<Filter> {
    let single = [
        asked.prefix.is_some(),
        asked.tag.is_some(),
        asked.object_size_greater_than.is_some(),
        asked.object_size_less_than.is_some(),
        asked.and.is_some(),
    ];
    if single.into_iter().filter(|there| *there).count() > 1 {
        return Err(s3_error!(MalformedXML));
    }
    let (form, all) = match asked.and {
        Some(and) => (Form::And, and),
        None => {
            let all = LifecycleRuleAndOperator {
                object_size_greater_than: asked.object_size_greater_than,
                object_size_less_than: asked.object_size_less_than,
                prefix: asked.prefix,
                tags: asked.tag.map(|tag| vec![tag]),
            };
            (Form::One, all)
        }
    };
    let tags = all.tags.unwrap_or_default().into_iter().map(tag);
    Ok(Filter {
        form,
        prefix: all.prefix,
        tags: tags.collect::<S3Result<_>>()?,
        larger: size(all.object_size_greater_than, "ObjectSizeGreaterThan")?,
        smaller: size(all.object_size_less_than, "ObjectSizeLessThan")?,
    })
}

fn filter(prefix: Option<String>, asked: Option<LifecycleRuleFilter>) -> S3Result<Filter> {
    let filter = match (prefix, asked) {
        (None, Some(asked)) => of_filter(asked)?,
        (Some(prefix), None) => Filter {
            form: Form::Bare,
            prefix: Some(prefix),
            ..Filter::default()
        },
        _ => return Err(s3_error!(MalformedXML)),
    };
    if filter.prefix().len() > MOST_PREFIX {
        return Err(s3_error!(
            InvalidRequest,
            "The maximum size of a prefix is {MOST_PREFIX}."
        ));
    }
    let mut keys: Vec<&str> = filter.tags.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    if keys.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(s3_error!(InvalidRequest, "Duplicate Tag Keys are not allowed."));
    }
    if let (Some(larger), Some(smaller)) = (filter.larger, filter.smaller)
        && larger >= smaller
    {
        return Err(s3_error!(
            InvalidRequest,
            "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'."
        ));
    }
    Ok(filter)
}

impl Rule {
    /// Reads and checks a rule.
    fn of(rule: LifecycleRule) -> S3Result<Self> {
        let id = match rule.id.filter(|id| !id.is_empty()) {
            Some(id) if id.chars().count() > MOST_ID => {
                return Err(s3_error!(
                    InvalidArgument,
                    "ID length should not exceed allowed limit of {MOST_ID}"
                ));
            }
            Some(id) => id,
            None => uuid::Uuid::new_v4().simple().to_string(),
        };
        let enabled = match rule.status.as_str() {
            ExpirationStatus::ENABLED => true,
            ExpirationStatus::DISABLED => false,
            _ => return Err(s3_error!(MalformedXML)),
        };
        if rule.transitions.is_some_and(|all| !all.is_empty())
            || rule
                .noncurrent_version_transitions
                .is_some_and(|all| !all.is_empty())
        {
            return Err(s3_error!(
                NotImplemented,
                "There is one storage class here, STANDARD: objects cannot be moved to another by a Transition or NoncurrentVersionTransition."
            ));
        }
        let abort = rule.abort_incomplete_multipart_upload;
        let abort = abort.map(|abort| {
            let days = abort.days_after_initiation;
            positive(days, "DaysAfterInitiation", "AbortIncompleteMultipartUpload")
        });
        let rule = Self {
            id,
            enabled,
            filter: filter(rule.prefix, rule.filter)?,
            expiration: rule.expiration.map(expiration).transpose()?,
            noncurrent: rule
                .noncurrent_version_expiration
                .as_ref()
                .map(noncurrent)
                .transpose()?,
            abort: abort.transpose()?,
        };
        rule.check()?;
        Ok(rule)
    }

    /// What must not stand together.
    fn check(&self) -> S3Result<()> {
        if self.expiration.is_none() && self.noncurrent.is_none() && self.abort.is_none() {
            return Err(s3_error!(
                InvalidRequest,
                "At least one action needs to be specified in a rule."
            ));
        }
        let sized = self.filter.larger.is_some() || self.filter.smaller.is_some();
        let what = match (self.filter.tags.is_empty(), sized) {
            (false, _) => "Tags",
            (true, true) => "Object Size",
            (true, false) => return Ok(()),
        };
        if self.abort.is_some() {
            return Err(s3_error!(
                InvalidRequest,
                "AbortIncompleteMultipartUpload cannot be specified with {what}."
            ));
        }
        match self.expiration {
            Some(Expiration::Markers(_)) => Err(s3_error!(
                InvalidRequest,
                "ExpiredObjectDeleteMarker cannot be specified with {what}."
            )),
            _ => Ok(()),
        }
    }

    /// The rule as clients read it.
    pub(super) fn document(self) -> LifecycleRule {
        let count = |value: u32| i32::try_from(value).ok();
        let (prefix, filter) = self.filter.document();
        let status = match self.enabled {
            true => ExpirationStatus::ENABLED,
            false => ExpirationStatus::DISABLED,
        };
        let expiration = self.expiration.map(|expiration| match expiration {
            Expiration::Days(days) => LifecycleExpiration {
                days: count(days),
                ..LifecycleExpiration::default()
            },
            Expiration::Date(at) => LifecycleExpiration {
                date: Some(Timestamp::from(UNIX_EPOCH + Duration::from_secs(at))),
                ..LifecycleExpiration::default()
            },
            Expiration::Markers(remove) => LifecycleExpiration {
                expired_object_delete_marker: Some(remove),
                ..LifecycleExpiration::default()
            },
        });
        LifecycleRule {
            abort_incomplete_multipart_upload: self.abort.map(|days| AbortIncompleteMultipartUpload {
                days_after_initiation: count(days),
            }),
            expiration,
            filter,
            id: Some(self.id),
            noncurrent_version_expiration: self.noncurrent.map(|noncurrent| NoncurrentVersionExpiration {
                newer_noncurrent_versions: noncurrent.keep.and_then(count),
                noncurrent_days: count(noncurrent.days),
            }),
            noncurrent_version_transitions: None,
            prefix,
            status: ExpirationStatus::from_static(status),
            transitions: None,
        }
    }
}

impl Filter {
    fn document(self) -> (Option<String>, Option<LifecycleRuleFilter>) {
        let size = |size: Option<u64>| size.and_then(|size| i64::try_from(size).ok());
        let mut tags = self.tags.into_iter().map(|(key, value)| Tag {
            key: Some(key),
            value: Some(value),
        });
        let filter = match self.form {
            Form::Bare => return (self.prefix, None),
            Form::One => LifecycleRuleFilter {
                and: None,
                object_size_greater_than: size(self.larger),
                object_size_less_than: size(self.smaller),
                // An empty filter is written as an empty prefix, as AWS does.
                prefix: self.prefix,
                tag: tags.next(),
            },
            Form::And => LifecycleRuleFilter {
                and: Some(LifecycleRuleAndOperator {
                    object_size_greater_than: size(self.larger),
                    object_size_less_than: size(self.smaller),
                    prefix: self.prefix,
                    tags: Some(tags.collect::<Vec<_>>()).filter(|tags| !tags.is_empty()),
                }),
                ..LifecycleRuleFilter::default()
            },
        };
        (None, Some(filter))
    }
}

/// Reads and checks the rules that a client sends.
///
/// # Errors
/// `MalformedXML`, `InvalidArgument`, `InvalidRequest`, `NotImplemented`.
pub(super) fn read(rules: Vec<LifecycleRule>) -> S3Result<Vec<Rule>> {
    if rules.is_empty() || rules.len() > MOST {
        return Err(s3_error!(MalformedXML));
    }
    let rules: Vec<Rule> = rules.into_iter().map(Rule::of).collect::<S3Result<_>>()?;
    let mut ids: Vec<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(_) => Err(s3_error!(
            InvalidArgument,
            "Rule ID must be unique. Found same ID for more than one rule"
        )),
        None => Ok(rules),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An enabled rule about everything that does nothing yet.
    pub(in super::super) fn rule(id: &str) -> LifecycleRule {
        LifecycleRule {
            abort_incomplete_multipart_upload: None,
            expiration: None,
            filter: Some(LifecycleRuleFilter::default()),
            id: Some(id.into()),
            noncurrent_version_expiration: None,
            noncurrent_version_transitions: None,
            prefix: None,
            status: ExpirationStatus::from_static(ExpirationStatus::ENABLED),
            transitions: None,
        }
    }

    fn days(days: i32) -> Option<LifecycleExpiration> {
        Some(LifecycleExpiration {
            days: Some(days),
            ..LifecycleExpiration::default()
        })
    }

    fn at(text: &str) -> Option<LifecycleExpiration> {
        Some(LifecycleExpiration {
            date: Some(Timestamp::parse(TimestampFormat::DateTime, text).unwrap()),
            ..LifecycleExpiration::default()
        })
    }

    fn tagged(key: &str) -> Tag {
        Tag {
            key: Some(key.into()),
            value: Some("v".into()),
        }
    }

    #[test]
    fn rules_come_back_in_the_form_they_were_sent() {
        let and = LifecycleRuleAndOperator {
            object_size_greater_than: Some(5),
            object_size_less_than: Some(10),
            prefix: Some("logs/".into()),
            tags: Some(vec![tagged("a"), tagged("b")]),
        };
        let all = vec![
            LifecycleRule {
                expiration: days(3),
                ..rule("days")
            },
            LifecycleRule {
                expiration: at("2030-01-02T00:00:00.000Z"),
                filter: Some(LifecycleRuleFilter {
                    and: Some(and),
                    ..LifecycleRuleFilter::default()
                }),
                ..rule("date")
            },
            LifecycleRule {
                filter: None,
                prefix: Some("old".into()),
                noncurrent_version_expiration: Some(NoncurrentVersionExpiration {
                    newer_noncurrent_versions: Some(2),
                    noncurrent_days: Some(7),
                }),
                abort_incomplete_multipart_upload: Some(AbortIncompleteMultipartUpload {
                    days_after_initiation: Some(1),
                }),
                ..rule("old")
            },
            LifecycleRule {
                expiration: days(1),
                filter: Some(LifecycleRuleFilter {
                    tag: Some(tagged("t")),
                    ..LifecycleRuleFilter::default()
                }),
                ..rule("tag")
            },
        ];
        let kept = read(all.clone()).unwrap();
        let json = serde_json::to_string(&kept).unwrap();
        let again: Vec<Rule> = serde_json::from_str(&json).unwrap();
        assert_eq!(again, kept);
        let shown: Vec<_> = again.into_iter().map(Rule::document).collect();
        assert_eq!(shown, all);
    }

    #[test]
    fn what_makes_no_sense_is_refused_as_aws_refuses_it() {
        let with = |change: &dyn Fn(&mut LifecycleRule)| {
            let mut rule = LifecycleRule {
                expiration: days(1),
                ..rule("x")
            };
            change(&mut rule);
            read(vec![rule]).map_err(|error| error.code().as_str().to_owned())
        };
        let one =
            |filter: LifecycleRuleFilter| move |rule: &mut LifecycleRule| rule.filter = Some(filter.clone());
        assert!(with(&|_| {}).is_ok());
        for (why, code, got) in [
            ("no days", "InvalidArgument", with(&|r| r.expiration = days(0))),
            ("fewer", "InvalidArgument", with(&|r| r.expiration = days(-1))),
            (
                "noon",
                "InvalidArgument",
                with(&|r| r.expiration = at("2030-01-02T12:00:00.000Z")),
            ),
            ("nothing to do", "InvalidRequest", with(&|r| r.expiration = None)),
            (
                "empty action",
                "MalformedXML",
                with(&|r| r.expiration = Some(LifecycleExpiration::default())),
            ),
            (
                "long name",
                "InvalidArgument",
                with(&|r| r.id = Some("i".repeat(256))),
            ),
            (
                "status",
                "MalformedXML",
                with(&|r| r.status = ExpirationStatus::from_static("enabled")),
            ),
            ("no filter", "MalformedXML", with(&|r| r.filter = None)),
            ("both", "MalformedXML", with(&|r| r.prefix = Some("p".into()))),
            (
                "transition",
                "NotImplemented",
                with(&|r| r.transitions = Some(vec![s3s::dto::Transition::default()])),
            ),
            (
                "two conditions without And",
                "MalformedXML",
                with(&one(LifecycleRuleFilter {
                    prefix: Some("p".into()),
                    tag: Some(tagged("t")),
                    ..LifecycleRuleFilter::default()
                })),
            ),
            (
                "a tag twice",
                "InvalidRequest",
                with(&one(LifecycleRuleFilter {
                    and: Some(LifecycleRuleAndOperator {
                        tags: Some(vec![tagged("t"), tagged("t")]),
                        ..LifecycleRuleAndOperator::default()
                    }),
                    ..LifecycleRuleFilter::default()
                })),
            ),
            (
                "uploads have no tags",
                "InvalidRequest",
                with(&|r| {
                    r.filter = Some(LifecycleRuleFilter {
                        tag: Some(tagged("t")),
                        ..LifecycleRuleFilter::default()
                    });
                    r.abort_incomplete_multipart_upload = Some(AbortIncompleteMultipartUpload {
                        days_after_initiation: Some(1),
                    });
                }),
            ),
        ] {
            assert_eq!(got, Err(code.to_owned()), "{why}");
        }
        let many = |count: usize| (0..count).map(|n| with_days(&n.to_string())).collect::<Vec<_>>();
        assert!(read(many(1000)).is_ok());
        assert!(read(many(1001)).is_err() && read(vec![]).is_err());
        assert!(read(vec![with_days("same"), with_days("same")]).is_err());
        let unnamed = |_| LifecycleRule {
            id: None,
            ..with_days("")
        };
        let named = read((0..2).map(unnamed).collect()).unwrap();
        assert_ne!(named[0].id, named[1].id);
    }

    fn with_days(id: &str) -> LifecycleRule {
        LifecycleRule {
            expiration: days(1),
            ..rule(id)
        }
    }
}
