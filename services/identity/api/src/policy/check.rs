//! A parsed rule and its evaluation.
//!
//! There is one evaluator, [`Check::judge`]: a request asks it for yes or no,
//! an explanation for a [`Trace`](super::Trace) of every part.
use std::fmt;

use serde_json::Value;

/// A condition over credentials and target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// `@` or the empty rule: always.
    True,
    /// `!`: never.
    False,
    /// `not x`.
    Not(Box<Check>),
    /// `x and y ...`.
    And(Vec<Check>),
    /// `x or y ...`.
    Or(Vec<Check>),
    /// `rule:name`: another rule of the set.
    Rule(String),
    /// `role:name`: the caller holds the role (case does not matter).
    Role(Template),
    /// `'literal':match` or `True:match`: the text equals the match.
    Literal(String, Template),
    /// `attribute:match`: an attribute of the credentials equals the match. The
    /// attribute is a path with dots; lists on the way match if any element does.
    Attribute(Vec<String>, Template),
}

/// Text with `%(name)s` parts that are taken from the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub(super) Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Target(String),
}

impl Template {
    /// The text with the target's values; the name of the first that is
    /// missing otherwise.
    pub(super) fn fill<'t>(&'t self, target: &Value) -> Result<String, &'t str> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Target(name) => out.push_str(&as_text(look_up(target, name).ok_or(name.as_str())?)),
            }
        }
        Ok(out)
    }

    /// Names that are taken from the target.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Target(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(&text.replace('%', "%%")),
            Part::Target(name) => write!(f, "%({name})s"),
        })
    }
}

/// The value at `name`: the key itself, else the path with dots.
pub(super) fn look_up<'v>(target: &'v Value, name: &str) -> Option<&'v Value> {
    if let Some(found) = target.get(name) {
        return Some(found);
    }
    let (first, rest) = name.split_once('.')?;
    look_up(target.get(first)?, rest)
}

/// As Python's `str` shows it, because that is what rules compare with:
/// `None:%(domain_id)s`, `True:%(user.enabled)s`.
pub(super) fn as_text(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn any_at(credentials: &Value, path: &[String], wanted: &str) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return as_text(credentials) == wanted;
    };
    match credentials.get(first) {
        None => false,
        Some(Value::Array(items)) => items.iter().any(|item| any_at(item, rest, wanted)),
        Some(one) => any_at(one, rest, wanted),
    }
}

/// What a rule is asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'f> {
    /// The caller.
    pub(super) credentials: &'f Value,
    /// What is to be done to.
    pub(super) target: &'f Value,
}

/// What an evaluation brings: yes or no, or everything that led to it.
pub(super) trait Outcome: Sized {
    /// Whether parts are asked too that can no longer change the outcome.
    const THOROUGH: bool;
    /// The outcome of `check` from those of its parts (all of them only if
    /// thorough).
    fn of(check: &Check, holds: bool, parts: Vec<Self>, facts: &Facts<'_>) -> Self;
    /// Whether it is yes.
    fn holds(&self) -> bool;
}

impl Outcome for bool {
    const THOROUGH: bool = false;
    fn of(_: &Check, holds: bool, _: Vec<Self>, _: &Facts<'_>) -> Self {
        holds
    }
    fn holds(&self) -> bool {
        *self
    }
}

impl Check {
    /// Whether the condition holds. `rule` looks other rules up by name; it is
    /// only ever asked for names without a cycle between them.
    pub fn holds<'r>(
        &'r self,
        credentials: &Value,
        target: &Value,
        rule: &impl Fn(&str) -> Option<&'r Check>,
    ) -> bool {
        self.judge(&Facts { credentials, target }, rule)
    }

    /// The evaluator.
    pub(super) fn judge<'r, O: Outcome>(
        &'r self,
        facts: &Facts<'_>,
        rule: &impl Fn(&str) -> Option<&'r Check>,
    ) -> O {
        let mut parts = Vec::new();
        let mut part = |check: &'r Check| {
            let outcome: O = check.judge(facts, rule);
            let holds = outcome.holds();
            if O::THOROUGH {
                parts.push(outcome);
            }
            holds
        };
        // `&` and `|` ask every part, `all` and `any` stop early.
        let holds = match self {
            Self::Not(inner) => !part(inner),
            Self::And(all) if O::THOROUGH => all.iter().fold(true, |holds, c| part(c) & holds),
            Self::And(all) => all.iter().all(&mut part),
            Self::Or(any) if O::THOROUGH => any.iter().fold(false, |holds, c| part(c) | holds),
            Self::Or(any) => any.iter().any(&mut part),
            Self::Rule(name) => rule(name).is_some_and(&mut part),
            leaf => leaf.leaf_holds(facts),
        };
        O::of(self, holds, parts, facts)
    }

    fn leaf_holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::True => true,
            Self::Role(name) => name.fill(facts.target).is_ok_and(|wanted| {
                let roles = facts.credentials.get("roles").and_then(Value::as_array);
                let mut held = roles.into_iter().flatten().filter_map(Value::as_str);
                held.any(|role| role.eq_ignore_ascii_case(&wanted))
            }),
            Self::Literal(text, wanted) => wanted.fill(facts.target).is_ok_and(|wanted| wanted == *text),
            Self::Attribute(path, wanted) => wanted
                .fill(facts.target)
                .is_ok_and(|wanted| any_at(facts.credentials, path, &wanted)),
            _ => false,
        }
    }

    /// The checks that this one is made of, itself included; rules that it asks
    /// are not followed.
    pub(super) fn walk<'c>(&'c self, visit: &mut impl FnMut(&'c Check)) {
        visit(self);
        match self {
            Self::Not(inner) => inner.walk(visit),
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|c| c.walk(visit)),
            _ => {}
        }
    }

    /// Names of the rules that this one asks directly.
    pub(super) fn references(&self) -> Vec<&str> {
        let mut out = Vec::new();
        self.walk(&mut |check| {
            if let Self::Rule(name) = check {
                out.push(name.as_str());
            }
        });
        out.sort_unstable();
        out.dedup();
        out
    }

    /// How tightly it binds: what binds less than its surroundings is put into
    /// parentheses.
    fn binding(&self) -> u8 {
        match self {
            Self::Or(_) => 0,
            Self::And(_) => 1,
            Self::Not(_) => 2,
            _ => 3,
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, least: u8) -> fmt::Result {
        if self.binding() < least {
            f.write_str("(")?;
            self.write(f, 0)?;
            return f.write_str(")");
        }
        let joined = |f: &mut fmt::Formatter<'_>, parts: &[Self], word: &str, least: u8| {
            parts.iter().enumerate().try_for_each(|(i, part)| {
                if i > 0 {
                    f.write_str(word)?;
                }
                part.write(f, least)
            })
        };
        match self {
            Self::True => f.write_str("@"),
            Self::False => f.write_str("!"),
            Self::Not(inner) => {
                f.write_str("not ")?;
                inner.write(f, 2)
            }
            Self::And(parts) => joined(f, parts, " and ", 2),
            Self::Or(parts) => joined(f, parts, " or ", 1),
            Self::Rule(name) => write!(f, "rule:{name}"),
            Self::Role(name) => write!(f, "role:{name}"),
            Self::Literal(text, wanted) => match text.as_str() {
                "None" | "True" | "False" => write!(f, "{text}:{wanted}"),
                number if number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty() => {
                    write!(f, "{number}:{wanted}")
                }
                text if text.contains('\'') => write!(f, "\"{text}\":{wanted}"),
                text => write!(f, "'{text}':{wanted}"),
            },
            Self::Attribute(path, wanted) => write!(f, "{}:{wanted}", path.join(".")),
        }
    }
}

/// As the rule language writes it.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}
