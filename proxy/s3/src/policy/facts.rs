//! What is known of a request: the values that conditions and variables look at.
use std::collections::BTreeMap;

use virga_node::clock::Micros;

/// Keys that have values here.
const KEYS: [&str; 17] = [
    "aws:currenttime",
    "aws:epochtime",
    "aws:principalaccount",
    "aws:principaltype",
    "aws:referer",
    "aws:securetransport",
    "aws:sourceip",
    "aws:useragent",
    "aws:userid",
    "aws:username",
    "s3:authtype",
    "s3:delimiter",
    "s3:max-keys",
    "s3:prefix",
    "s3:requestobjecttagkeys",
    "s3:signatureversion",
    "s3:versionid",
];
/// Keys that go on with the name of a tag, which has a case.
const OF_TAGS: [&str; 2] = ["s3:existingobjecttag", "s3:requestobjecttag"];
/// Keys that go on with the name of a header.
const OF_HEADERS: &str = "s3:x-amz-";

/// Tags that the object has already.
pub(crate) const EXISTING_TAG: &str = "s3:ExistingObjectTag/";

/// Values by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts(BTreeMap<String, Vec<String>>);

impl Facts {
    /// The one form of a key, whose case does not matter; `None` for a key
    /// that never has a value here.
    pub(super) fn key(text: &str) -> Option<String> {
        if let Some((family, tag)) = text.split_once('/') {
            let family = family.to_ascii_lowercase();
            let known = OF_TAGS.contains(&family.as_str()) && !tag.is_empty();
            return known.then(|| format!("{family}/{tag}"));
        }
        let key = text.to_ascii_lowercase();
        (KEYS.contains(&key.as_str()) || key.starts_with(OF_HEADERS)).then_some(key)
    }

    /// Adds a value. One of a key that no policy can name is left out.
    pub(crate) fn add(&mut self, key: &str, value: &str) {
        if let Some(key) = Self::key(key) {
            self.0.entry(key).or_default().push(value.to_owned());
        }
    }

    /// Adds what time it is.
    pub(crate) fn add_time(&mut self, now: Micros) {
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if let Ok(time) = jiff::Timestamp::from_second(seconds) {
            self.add("aws:CurrentTime", &time.to_string());
            self.add("aws:EpochTime", &seconds.to_string());
        }
    }

    /// Values of a key in the one form; none if it is absent.
    pub(super) fn get(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// The value of a key that has just one.
    pub(super) fn single(&self, key: &str) -> Option<String> {
        match self.get(&Self::key(key)?) {
            [one] => Some(one.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_no_case_but_tags_have() {
        let mut facts = Facts::default();
        facts.add("aws:SourceIp", "10.0.0.1");
        facts.add("s3:ExistingObjectTag/Owner", "a");
        facts.add_time(Micros(1_795_413_600_000_000));
        assert_eq!(facts.single("AWS:sourceip").as_deref(), Some("10.0.0.1"));
        assert_eq!(facts.single("S3:existingobjecttag/Owner").as_deref(), Some("a"));
        assert_eq!(facts.single("s3:ExistingObjectTag/owner"), None);
        assert_eq!(
            facts.single("aws:CurrentTime").as_deref(),
            Some("2026-11-23T06:00:00Z")
        );
        assert_eq!(Facts::key("s3:X-Amz-Acl").as_deref(), Some("s3:x-amz-acl"));
        assert_eq!(
            (Facts::key("aws:SourceVpc"), Facts::key("s3:ExistingObjectTag/")),
            (None, None)
        );
    }
}
