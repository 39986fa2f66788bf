//! Access rules: what a token of an application credential may call.
//!
//! A rule names a service type, a method and a path. In the path `*` and
//! `{name}` stand for one segment (or a part of one), `**` for anything. A
//! token with rules may call what at least one of them names and nothing else;
//! every service asks [`Caller::may_call`](crate::caller::Caller::may_call).
use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

/// One call that is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AccessRule {
    /// Type of the service, as in the catalog: "object-store".
    pub service: String,
    /// HTTP method in capitals.
    pub method: String,
    /// Path with wildcards: "/v1/AUTH_*/photos/**".
    pub path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// This very byte.
    Byte(u8),
    /// At least one byte that is no slash.
    Segment,
    /// Anything, also nothing.
    Rest,
}

fn parts(pattern: &str) -> Vec<Part> {
    let mut out = Vec::with_capacity(pattern.len());
    let mut rest = pattern.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let (part, after) = match first {
            b'*' if tail.first() == Some(&b'*') => (Part::Rest, &tail[1..]),
            b'*' => (Part::Segment, tail),
            b'{' => match tail.iter().position(|b| *b == b'}') {
                Some(end) => (Part::Segment, &tail[end + 1..]),
                None => (Part::Byte(b'{'), tail),
            },
            byte => (Part::Byte(*byte), tail),
        };
        out.push(part);
        rest = after;
    }
    out
}

/// Whether `path` is what `pattern` describes. Works on sets of positions, so
/// that no pattern makes it slow: the work is length times length at most.
fn fits(pattern: &str, path: &[u8]) -> bool {
    // Places in the path up to which what came of the pattern fits.
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for part in parts(pattern) {
        let mut next = vec![false; path.len() + 1];
        for at in 0..=path.len() {
            match part {
                Part::Byte(byte) => {
                    if reached[at] && path.get(at) == Some(&byte) {
                        next[at + 1] = true;
                    }
                }
                Part::Segment => {
                    let grows = reached[at] || next[at];
                    if grows && path.get(at).is_some_and(|b| *b != b'/') {
                        next[at + 1] = true;
                    }
                }
                Part::Rest => {
                    if reached[at] || (at > 0 && next[at - 1]) {
                        next[at] = true;
                    }
                }
            }
        }
        reached = next;
    }
    reached.last() == Some(&true)
}

impl AccessRule {
    /// Whether the rule names this call. The path is taken as the service will
    /// read it, without percent encoding: an encoded slash is a slash.
    pub fn allows(&self, service: &str, method: &str, path: &str) -> bool {
        let path: Cow<'_, [u8]> = percent_decode_str(path).into();
        self.service == service && self.method.eq_ignore_ascii_case(method) && fits(&self.path, &path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stay_within_a_segment_unless_doubled() {
        for (pattern, path, wanted) in [
            ("/v3/users", "/v3/users", true),
            ("/v3/users", "/v3/users/1", false),
            ("/v3/users/1", "/v3/users", false),
            ("/v3/users/*", "/v3/users/1", true),
            ("/v3/users/*", "/v3/users/1/x", false),
            ("/v3/users/*", "/v3/users/", false),
            ("/v3/users/{user_id}/x", "/v3/users/1/x", true),
            ("/v1/AUTH_*/**", "/v1/AUTH_p/c/o", true),
            ("/v1/AUTH_*/**", "/v1/AUTH_p", false),
            ("/v1/**", "/v1/", true),
            ("**", "", true),
            ("**", "/any/thing", true),
            ("/a/{open", "/a/{open", true),
            ("", "/", false),
        ] {
            assert_eq!(fits(pattern, path.as_bytes()), wanted, "{pattern} {path}");
        }
    }

    fn rule(path: &str) -> AccessRule {
        AccessRule {
            service: "object-store".into(),
            method: "GET".into(),
            path: path.into(),
        }
    }

    #[test]
    fn all_three_parts_must_fit() {
        let rule = rule("/v1/**");
        assert!(rule.allows("object-store", "GET", "/v1/a"));
        assert!(!rule.allows("identity", "GET", "/v1/a"));
        assert!(!rule.allows("object-store", "PUT", "/v1/a"));
        assert!(!rule.allows("object-store", "GET", "/v2/a"));
    }

    #[test]
    fn an_encoded_slash_is_no_way_around_a_rule() {
        let rule = rule("/v1/AUTH_p/*");
        assert!(rule.allows("object-store", "GET", "/v1/AUTH_p/c%20d"));
        assert!(!rule.allows("object-store", "GET", "/v1/AUTH_p/c%2Fsecret"));
    }

    #[test]
    fn hostile_patterns_end_soon() {
        assert!(!fits(&"**a".repeat(80), "b".repeat(1500).as_bytes()));
    }
}
