//! The rule language of oslo.policy, and a set of rules to ask.
//!
//! A service brings its rules with their upstream names and defaults
//! ([`RuleDefault`]), an operator's `policy.yaml` or `policy.json` overrides
//! some of them, a handler asks [`Rules::allows`]. The engine knows nothing of
//! any service: what it compares are two JSON objects, the credentials of the
//! caller and the target of the operation.
mod check;
mod parse;
mod rules;

pub use check::Check;
pub use parse::{ParseError, parse_text, parse_value};
pub use rules::{Decision, PolicyError, RuleDefault, Rules, ScopeKind};
