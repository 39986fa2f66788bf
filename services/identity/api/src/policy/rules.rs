//! A set of named rules: defaults, overrides, and the question.
use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::check::Check;
use super::parse::{ParseError, parse_text, parse_value};

/// Kinds of scope that a rule accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The rule holds.
    Allowed,
    /// The rule does not hold.
    Denied,
    /// The token is scoped to something the operation is not for.
    WrongScope,
}

/// Why a set of rules is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A rule cannot be read.
    #[error("policy rule {name:?}: {source}")]
    Rule {
        /// Which rule.
        name: String,
        /// Where and what.
        source: ParseError,
    },
    /// A rule asks one that is not there.
    #[error("policy rule {name:?} refers to {missing:?}, which is not defined")]
    Unknown {
        /// The rule that asks.
        name: String,
        /// The rule that is missing.
        missing: String,
    },
    /// Rules ask each other in a circle.
    #[error("policy rule {0:?} refers to itself, directly or through others")]
    Cycle(String),
    /// The file is not a mapping of names to rules.
    #[error("the policy file is not a mapping of rule names to rules: {0}")]
    File(String),
}

#[derive(Clone, Debug)]
struct Rule {
    check: Check,
    scopes: &'static [ScopeKind],
}

/// A set of rules, checked to be complete and free of cycles.
#[derive(Clone, Debug)]
pub struct Rules {
    rules: HashMap<String, Rule>,
}

/// Longest accepted chain of rules asking rules.
const MAX_CHAIN: usize = 32;

impl Rules {
    /// The defaults with the overrides of `file` (YAML or JSON text) on top.
    pub fn new(defaults: &[RuleDefault], file: Option<&str>) -> Result<Self, PolicyError> {
        let mut rules = HashMap::new();
        for default in defaults {
            let failed = |source| PolicyError::Rule {
                name: default.name.to_owned(),
                source,
            };
            let check = parse_text(default.check).map_err(failed)?;
            rules.insert(
                default.name.to_owned(),
                Rule {
                    check,
                    scopes: default.scopes,
                },
            );
        }
        let overrides: BTreeMap<String, Value> = match file {
            Some(text) if !text.trim().is_empty() => {
                serde_saphyr::from_str(text).map_err(|e| PolicyError::File(e.to_string()))?
            }
            _ => BTreeMap::new(),
        };
        for (name, value) in overrides {
            let check = parse_value(&value).map_err(|source| PolicyError::Rule {
                name: name.clone(),
                source,
            })?;
            let scopes = rules.get(&name).map_or(&[][..], |rule: &Rule| rule.scopes);
            rules.insert(name, Rule { check, scopes });
        }
        let set = Self { rules };
        set.check_references()?;
        Ok(set)
    }

    fn check_references(&self) -> Result<(), PolicyError> {
        for name in self.rules.keys() {
            self.follow(name, name, 0)?;
        }
        Ok(())
    }

    fn follow(&self, start: &str, name: &str, depth: usize) -> Result<(), PolicyError> {
        if depth > MAX_CHAIN {
            return Err(PolicyError::Cycle(start.to_owned()));
        }
        let Some(rule) = self.rules.get(name) else {
            return Ok(());
        };
        let mut asked = Vec::new();
        rule.check.references(&mut asked);
        asked.sort_unstable();
        asked.dedup();
        for other in asked {
            if !self.rules.contains_key(other) {
                return Err(PolicyError::Unknown {
                    name: name.to_owned(),
                    missing: other.to_owned(),
                });
            }
            if other == start {
                return Err(PolicyError::Cycle(start.to_owned()));
            }
            self.follow(start, other, depth + 1)?;
        }
        Ok(())
    }

    /// Whether a caller with `credentials` may do `name` to `target`. `scope`
    /// is the kind of the caller's scope (`None`: unscoped). A rule that does
    /// not exist denies.
    pub fn allows(
        &self,
        name: &str,
        scope: Option<ScopeKind>,
        credentials: &Value,
        target: &Value,
    ) -> Decision {
        let Some(rule) = self.rules.get(name) else {
            return Decision::Denied;
        };
        if let Some(scope) = scope
            && !rule.scopes.is_empty()
            && !rule.scopes.contains(&scope)
        {
            return Decision::WrongScope;
        }
        let find = |name: &str| self.rules.get(name).map(|r| &r.check);
        if rule.check.holds(credentials, target, &find) {
            Decision::Allowed
        } else {
            Decision::Denied
        }
    }

    /// Whether a rule of this name exists.
    pub fn contains(&self, name: &str) -> bool {
        self.rules.contains_key(name)
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
