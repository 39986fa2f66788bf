//! The rule language of oslo.policy, and a set of rules to ask.
//!
//! A service brings its rules with their upstream names and defaults
//! ([`RuleDefault`]), an operator's `policy.yaml` or `policy.json` overrides
//! some of them, a handler asks [`Rules::allows`], a person [`Rules::explain`].
//! Both are answered by the same evaluator. The engine knows nothing of
//! any service: what it compares are two JSON objects, the credentials of the
//! caller and the target of the operation.
mod check;
mod file;
mod parse;
mod rules;
mod trace;

pub use check::Check;
pub use parse::{ParseError, parse_text, parse_value};
pub use rules::{Decision, Explanation, ListedRule, PolicyError, RuleDefault, RuleSource, Rules, ScopeKind};
pub use trace::{Joint, Trace};
