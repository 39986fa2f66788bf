//! A set of named rules: defaults, overrides, and the question.
use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::check::{Check, Facts};
use super::file::overrides;
use super::parse::{ParseError, parse_text};
use super::trace::Trace;

/// Kinds of scope that a rule accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScopeKind {
    /// The whole cloud.
    System,
    /// One domain.
    Domain,
    /// One project.
    Project,
}

/// A rule as the service brings it.
#[derive(Clone, Copy, Debug)]
pub struct RuleDefault {
    /// Upstream's name: "identity:create_user".
    pub name: &'static str,
    /// The rule text.
    pub check: &'static str,
    /// Scopes that the operation makes sense for; empty for all. A caller with
    /// another scope is refused before the rule is asked.
    pub scopes: &'static [ScopeKind],
    /// Names that upstream knew it by. A file that names one of them and not
    /// the new name sets this rule.
    pub deprecated: &'static [&'static str],
}

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The rule holds.
    Allowed,
    /// The rule does not hold.
    Denied,
    /// The token is scoped to something the operation is not for.
    WrongScope,
}

fn at(line: Option<u64>) -> String {
    line.map_or_else(String::new, |line| format!("line {line}: "))
}

/// Why a set of rules is not accepted. Lines are those of the operator's file;
/// a default has none.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A rule cannot be read.
    #[error("{}policy rule {name:?}: {source}", at(*.line))]
    Rule {
        /// Which rule.
        name: String,
        /// Line in the file.
        line: Option<u64>,
        /// Where in the rule, and what.
        source: ParseError,
    },
    /// A rule asks one that is not there.
    #[error("{}policy rule {name:?} refers to {missing:?}, which is not defined", at(*.line))]
    Unknown {
        /// The rule that asks.
        name: String,
        /// Line in the file.
        line: Option<u64>,
        /// The rule that is missing.
        missing: String,
    },
    /// Rules ask each other in a circle.
    #[error("{}policy rule {name:?} refers to itself, directly or through others", at(*.line))]
    Cycle {
        /// A rule of the circle.
        name: String,
        /// Line in the file.
        line: Option<u64>,
    },
    /// The file is not a mapping of names to rules.
    #[error("{}the policy file is not a mapping of rule names to rules: {what}", at(*.line))]
    File {
        /// Line in the file, if it is known.
        line: Option<u64>,
        /// What the reader says.
        what: String,
    },
}

/// Where a rule comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleSource {
    /// The service itself.
    Default,
    /// The operator's file, at this line.
    File(u64),
}

#[derive(Clone, Debug)]
struct Rule {
    check: Check,
    scopes: &'static [ScopeKind],
    source: RuleSource,
    /// The default, where the file says something else.
    replaced: Option<&'static str>,
    deprecated: &'static [&'static str],
}

/// A rule as `virga policy list` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedRule {
    /// Its name.
    pub name: String,
    /// The rule in effect.
    pub check: String,
    /// The same with the rules that it asks put in their places.
    pub expanded: String,
    /// Scopes it is for; empty for all.
    pub scopes: Vec<ScopeKind>,
    /// Where it comes from.
    pub source: RuleSource,
    /// The default, where the file says something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
    /// Older names that the file may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deprecated: Vec<String>,
}

/// Why a rule lets somebody do something, or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The answer that a request gets.
    pub decision: Decision,
    /// Scopes that the operation is for; empty for all.
    pub scopes: Vec<ScopeKind>,
    /// The rule, part by part; `None` if there is no rule of that name.
    pub trace: Option<Trace>,
}

/// A set of rules, checked to be complete and free of cycles.
#[derive(Clone, Debug)]
pub struct Rules {
    rules: HashMap<String, Rule>,
    /// Names in the file that no rule of the service has.
    added: BTreeSet<String>,
    /// Attributes of credentials that rules look at, as paths with dots.
    attributes: BTreeSet<String>,
}

/// Longest accepted chain of rules asking rules.
const MAX_CHAIN: usize = 32;
/// The rule that is asked where there is none of the name, if a file has it.
const FALLBACK: &str = "default";

impl Rules {
    /// The defaults with the overrides of `file` (YAML or JSON text) on top.
    pub fn new(defaults: &[RuleDefault], file: Option<&str>) -> Result<Self, PolicyError> {
        let mut rules = HashMap::new();
        let mut found = overrides(file.unwrap_or_default())?;
        for default in defaults {
            let check = parse_text(default.check).map_err(|source| PolicyError::Rule {
                name: default.name.to_owned(),
                line: None,
                source,
            })?;
            let mut rule = Rule {
                check,
                scopes: default.scopes,
                source: RuleSource::Default,
                replaced: None,
                deprecated: default.deprecated,
            };
            let mut names = std::iter::once(&default.name).chain(default.deprecated);
            let theirs = names.find_map(|name| found.remove(*name));
            if let Some(theirs) = theirs {
                rule.replaced = (theirs.check != rule.check).then_some(default.check);
                rule.check = theirs.check;
                rule.source = RuleSource::File(theirs.line);
            }
            rules.insert(default.name.to_owned(), rule);
        }
        let added = found.keys().cloned().collect();
        rules.extend(found.into_iter().map(|(name, theirs)| {
            let rule = Rule {
                check: theirs.check,
                scopes: &[],
                source: RuleSource::File(theirs.line),
                replaced: None,
                deprecated: &[],
            };
            (name, rule)
        }));
        let mut set = Self {
            rules,
            added,
            attributes: BTreeSet::new(),
        };
        set.check_references()?;
        set.attributes = set.attributes();
        Ok(set)
    }

    /// Rules that no file sets: those of a service that judges by itself, and
    /// says with them how.
    ///
    /// # Errors
    /// A rule cannot be read, or refers to one that is not there.
    pub fn fixed(
        rules: impl IntoIterator<Item = (String, String)>,
        scopes: &'static [ScopeKind],
    ) -> Result<Self, PolicyError> {
        let mut set = Self {
            rules: HashMap::new(),
            added: BTreeSet::new(),
            attributes: BTreeSet::new(),
        };
        for (name, text) in rules {
            let check = parse_text(&text).map_err(|source| PolicyError::Rule {
                name: name.clone(),
                line: None,
                source,
            })?;
            let rule = Rule {
                check,
                scopes,
                source: RuleSource::Default,
                replaced: None,
                deprecated: &[],
            };
            set.rules.insert(name, rule);
        }
        set.check_references()?;
        set.attributes = set.attributes();
        Ok(set)
    }

    fn attributes(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for rule in self.rules.values() {
            rule.check.walk(&mut |check| {
                if let Check::Attribute(path, _) = check {
                    found.insert(path.join("."));
                }
            });
        }
        found
    }

    fn check_references(&self) -> Result<(), PolicyError> {
        // In order, so that the same file is always told off for the same rule.
        let names: BTreeSet<&String> = self.rules.keys().collect();
        names.into_iter().try_for_each(|name| self.follow(name, name, 0))
    }

    fn line_of(&self, name: &str) -> Option<u64> {
        match self.rules.get(name)?.source {
            RuleSource::File(line) => Some(line),
            RuleSource::Default => None,
        }
    }

    fn follow(&self, start: &str, name: &str, depth: usize) -> Result<(), PolicyError> {
        let circle = || PolicyError::Cycle {
            name: start.to_owned(),
            line: self.line_of(start),
        };
        if depth > MAX_CHAIN {
            return Err(circle());
        }
        let Some(rule) = self.rules.get(name) else {
            return Ok(());
        };
        for other in rule.check.references() {
            if !self.rules.contains_key(other) {
                return Err(PolicyError::Unknown {
                    name: name.to_owned(),
                    line: self.line_of(name),
                    missing: other.to_owned(),
                });
            }
            if other == start {
                return Err(circle());
            }
            self.follow(start, other, depth + 1)?;
        }
        Ok(())
    }

    fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules.get(name).or_else(|| self.rules.get(FALLBACK))
    }

    fn check(&self, name: &str) -> Option<&Check> {
        self.rules.get(name).map(|r| &r.check)
    }

    /// Whether a caller with `credentials` may do `name` to `target`. `scope`
    /// is the kind of the caller's scope (`None`: unscoped). A rule that does
    /// not exist is the file's rule `default`, and without one denies.
    pub fn allows(
        &self,
        name: &str,
        scope: Option<ScopeKind>,
        credentials: &Value,
        target: &Value,
    ) -> Decision {
        let Some(rule) = self.rule(name) else {
            return Decision::Denied;
        };
        let holds = rule
            .check
            .holds(credentials, target, &|name: &str| self.check(name));
        rule.decide(scope, holds)
    }

    /// The same question, answered with the outcome of every part.
    pub fn explain(
        &self,
        name: &str,
        scope: Option<ScopeKind>,
        credentials: &Value,
        target: &Value,
    ) -> Explanation {
        let Some(rule) = self.rule(name) else {
            return Explanation {
                decision: Decision::Denied,
                scopes: Vec::new(),
                trace: None,
            };
        };
        let facts = Facts { credentials, target };
        let trace: Trace = rule.check.judge(&facts, &|name: &str| self.check(name));
        Explanation {
            decision: rule.decide(scope, trace.holds),
            scopes: rule.scopes.to_vec(),
            trace: Some(trace),
        }
    }

    /// Every check of a rule and of those that it asks.
    fn walk_all<'r>(&'r self, name: &str, visit: &mut dyn FnMut(&'r Check)) {
        let Some(rule) = self.rule(name) else { return };
        let mut asked = Vec::new();
        rule.check.walk(&mut |check| {
            visit(check);
            if let Check::Rule(other) = check {
                asked.push(other.as_str());
            }
        });
        asked.into_iter().for_each(|other| self.walk_all(other, visit));
    }

    /// Names of the roles that a rule asks for, of those that the target does
    /// not leave open.
    pub fn roles_asked(&self, name: &str, target: &Value) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        self.walk_all(name, &mut |check| {
            if let Check::Role(role) = check {
                found.extend(role.fill(target));
            }
        });
        found
    }

    /// Names that a rule takes from the target.
    pub fn target_asked(&self, name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        self.walk_all(name, &mut |check| {
            if let Check::Role(t) | Check::Literal(_, t) | Check::Attribute(_, t) = check {
                found.extend(t.names().map(str::to_owned));
            }
        });
        found
    }

    /// Whether a rule looks at the credentials' attribute `path` (with dots), or
    /// at something in it.
    pub fn looks_at(&self, path: &str) -> bool {
        let inside = |found: &String| found.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
        self.attributes.contains(path) || self.attributes.iter().any(inside)
    }

    /// All rules, by name.
    pub fn list(&self) -> Vec<ListedRule> {
        let mut all: Vec<ListedRule> = self
            .rules
            .iter()
            .map(|(name, rule)| ListedRule {
                name: name.clone(),
                check: rule.check.to_string(),
                expanded: self.expanded(&rule.check).to_string(),
                scopes: rule.scopes.to_vec(),
                source: rule.source.clone(),
                replaced: rule.replaced.map(str::to_owned),
                deprecated: rule.deprecated.iter().map(|d| (*d).to_owned()).collect(),
            })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// A check with the rules that it asks put in their places.
    fn expanded(&self, check: &Check) -> Check {
        let each = |parts: &[Check]| parts.iter().map(|c| self.expanded(c)).collect();
        match check {
            Check::Rule(name) => self.check(name).map_or(Check::False, |c| self.expanded(c)),
            Check::Not(inner) => Check::Not(Box::new(self.expanded(inner))),
            Check::And(parts) => Check::And(each(parts)),
            Check::Or(parts) => Check::Or(each(parts)),
            leaf => leaf.clone(),
        }
    }

    /// Names in the file that the service has no rule for, and that no rule
    /// asks: most likely written wrongly.
    pub fn unused(&self) -> Vec<&str> {
        let asked: BTreeSet<&str> = self
            .rules
            .values()
            .flat_map(|rule| rule.check.references())
            .collect();
        let unused = self.added.iter().map(String::as_str);
        unused
            .filter(|name| *name != FALLBACK && !asked.contains(name))
            .collect()
    }

    /// Whether a rule of this name exists.
    pub fn contains(&self, name: &str) -> bool {
        self.rules.contains_key(name)
    }
}

impl Rule {
    fn decide(&self, scope: Option<ScopeKind>, holds: bool) -> Decision {
        match scope {
            Some(scope) if !self.scopes.is_empty() && !self.scopes.contains(&scope) => Decision::WrongScope,
            _ if holds => Decision::Allowed,
            _ => Decision::Denied,
        }
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
