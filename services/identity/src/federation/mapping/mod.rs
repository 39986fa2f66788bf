//! Mappings: rules that make users, groups and projects here out of what an
//! identity provider says.
//!
//! A rule applies if all of its `remote` parts find something in the assertion;
//! then its `local` parts count, with `{0}`, `{1}`, ... replaced by what the
//! parts found ([`template`]). [`schema`] checks rules when they are stored,
//! [`apply`] puts what they yield together. The language is Keystone's, in its
//! versions 1.0, 2.0 (domains of projects) and 3.0 (`projects_json`, and
//! assignments follow the provider).
//!
//! Unlike Keystone's, texts of the provider are never evaluated: a claim that
//! looks like a list, or holds a semicolon, stays one text.
pub(crate) mod apply;
pub(crate) mod schema;
mod template;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

/// What an identity provider says of a user: texts by name.
pub(crate) type Assertion = BTreeMap<String, Vec<String>>;

/// Version of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    One,
    Two,
    Three,
}

impl Version {
    /// The version of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "1.0" => Some(Self::One),
            "2.0" => Some(Self::Two),
            "3.0" => Some(Self::Three),
            _ => None,
        }
    }
}

/// What a text is compared with.
#[derive(Debug)]
enum Wanted {
    Texts(Vec<String>),
    Patterns(Vec<Regex>),
}

impl Wanted {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Texts(texts) => texts.iter().any(|t| t == text),
            // Found anywhere in it, as in Keystone.
            Self::Patterns(patterns) => patterns.iter().any(|p| p.is_match(text)),
        }
    }
}

/// How a remote part chooses.
#[derive(Debug)]
enum Test {
    Any,
    AnyOneOf(Wanted),
    NotAnyOf(Wanted),
    Blacklist(Wanted),
    Whitelist(Wanted),
}

/// One part of `remote`.
#[derive(Debug)]
struct Requirement {
    name: String,
    test: Test,
}

/// A rule.
#[derive(Debug)]
struct Rule {
    local: Vec<Map<String, Value>>,
    remote: Vec<Requirement>,
}

/// The rules of a mapping, checked.
#[derive(Debug)]
pub(crate) struct Rules {
    version: Version,
    rules: Vec<Rule>,
}

impl Rule {
    /// What the parts find, in their order; `None` if the rule does not apply.
    fn matches(&self, assertion: &Assertion) -> Option<Vec<Vec<String>>> {
        let mut found = Vec::new();
        for part in &self.remote {
            let values = assertion.get(&part.name).filter(|values| !values.is_empty())?;
            let fits = |wanted: &Wanted| values.iter().any(|v| wanted.fits(v));
            let kept = |keep: &dyn Fn(&str) -> bool| -> Vec<String> {
                values.iter().filter(|v| keep(v)).cloned().collect()
            };
            match &part.test {
                Test::Any => found.push(values.clone()),
                // These two decide, and bring nothing.
                Test::AnyOneOf(wanted) if fits(wanted) => {}
                Test::NotAnyOf(wanted) if !fits(wanted) => {}
                Test::AnyOneOf(_) | Test::NotAnyOf(_) => return None,
                Test::Blacklist(wanted) => found.push(kept(&|v| !wanted.fits(v))),
                Test::Whitelist(wanted) => found.push(kept(&|v| wanted.fits(v))),
            }
        }
        Some(found)
    }
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
