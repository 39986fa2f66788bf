//! `x-amz-expiration`: when an object will go, and by which rule.
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use virga_node::clock::Version;
use virga_object_wire::object::Header;
use virga_proxy::core::ObjectName;

use super::rules::Rule;
use super::when;
use crate::{Backend, dates, metadata, tagging};

/// What is not sent as it is of a rule's id.
const UNPLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// The last moment that a date of HTTP can name, seconds since the epoch.
const LAST: u64 = 253_402_300_799;

/// What rules look at of an object beside its name.
pub(crate) struct Seen<'a> {
    /// What is stored with it, tags among the rest.
    pub(crate) headers: &'a [Header],
    pub(crate) size: u64,
    /// When it was written.
    pub(crate) written: Version,
    /// When it goes by itself, as a client of either dialect asked: seconds
    /// since the epoch.
    pub(crate) delete_at: Option<u64>,
}

/// What an object's own end is called among the rules, as Swift's S3 calls it.
const OWN_END: &str = "swift-object-expiration";

/// The rule that ends an object first, by its id, and when: seconds since the
/// epoch.
fn first<'a>(rules: &'a [Rule], key: &str, seen: &Seen<'_>) -> Option<(u64, &'a str)> {
    let (written, tags) = (dates::seconds(seen.written), tagging::among(seen.headers));
    let about = rules.iter().filter(|rule| {
        rule.filter.fits(key, seen.size) && rule.filter.tags.iter().all(|tag| tags.contains(tag))
    });
    about
        .filter_map(|rule| Some((when::expires(rule, written)?, rule.id.as_str())))
        .chain(seen.delete_at.map(|at| (at, OWN_END)))
        .min_by_key(|(at, _)| *at)
}

fn header(rules: &[Rule], key: &str, seen: &Seen<'_>) -> Option<String> {
    let (at, id) = first(rules, key, seen)?;
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(at.min(LAST)));
    let id = utf8_percent_encode(id, UNPLAIN);
    Some(format!("expiry-date=\"{date}\", rule-id=\"{id}\""))
}

impl Backend {
    /// Shows when the rules of its bucket end an object that is current, unless
    /// that cannot be told now.
    pub(crate) async fn show_expiry(&self, name: &ObjectName, seen: Seen<'_>, into: &mut HeaderMap) {
        let bucket = name.container_name();
        let Ok(Some(info)) = self.core().container_info(&bucket).await else {
            return;
        };
        let header = match self.rules_of(&bucket, &info).await {
            Ok(rules) => header(&rules, name.object(), &seen),
            Err(error) => {
                tracing::debug!(%error, bucket = bucket.path(), "the rules of a bucket cannot be read now");
                None
            }
        };
        if let Some(header) = header {
            metadata::set(into, "x-amz-expiration", &header);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::{Expiration, Filter};
    use super::*;
    use virga_node::clock::Micros;

    #[test]
    fn the_rule_that_comes_first_is_named_if_it_is_about_the_object() {
        let rule = |id: &str, expiration| Rule {
            id: id.into(),
            enabled: true,
            filter: Filter::default(),
            expiration: Some(expiration),
            noncurrent: None,
            abort: None,
        };
        let mut tagged = rule("tagged one", Expiration::Days(1));
        tagged.filter.tags = vec![("a".into(), "b".into())];
        let rules = [rule("later", Expiration::Days(9)), tagged];
        let said = |tags: Option<&str>, delete_at| {
            let headers: Vec<Header> = tagging::of_header(tags).unwrap().into_iter().collect();
            let seen = Seen {
                headers: &headers,
                size: 1,
                written: Version::at(Micros(when::DAY * 1_000_000)),
                delete_at,
            };
            header(&rules, "k", &seen)
        };
        assert_eq!(
            said(None, None).unwrap(),
            "expiry-date=\"Sun, 11 Jan 1970 00:00:00 GMT\", rule-id=\"later\""
        );
        assert_eq!(
            said(Some("a=b&c=d"), None).unwrap(),
            "expiry-date=\"Sat, 03 Jan 1970 00:00:00 GMT\", rule-id=\"tagged%20one\""
        );
        assert_eq!(
            said(None, Some(86_400)).unwrap(),
            "expiry-date=\"Fri, 02 Jan 1970 00:00:00 GMT\", rule-id=\"swift-object-expiration\""
        );
        let untagged = Seen {
            headers: &[],
            size: 1,
            written: Version(0),
            delete_at: None,
        };
        assert_eq!(header(&rules[1..], "k", &untagged), None);
    }
}
