//! What an evaluation looked at, part by part: what `virga policy explain`
//! shows and what the audit record of a change keeps.
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::check::{Check, Facts, Outcome, Template, as_text};

/// How the parts of a rule hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Joint {
    /// All parts must hold.
    And,
    /// One part must hold.
    Or,
    /// The part must not hold.
    Not,
    /// The part is another rule's text.
    Rule,
    /// There are no parts: a comparison.
    Check,
}

/// One part of a rule and how it came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The part as the rule language writes it.
    pub check: String,
    /// What joins its own parts.
    pub joint: Joint,
    /// Whether it holds.
    pub holds: bool,
    /// What was compared with what; empty where the parts say it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Its parts, all of them asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Trace>,
}

impl Trace {
    /// The comparisons that made it hold, in order and each once.
    pub fn reasons(&self) -> Vec<&str> {
        let mut out = Vec::new();
        self.collect(&mut out);
        out
    }

    fn collect<'t>(&'t self, out: &mut Vec<&'t str>) {
        if !self.holds {
            return;
        }
        match self.joint {
            // What does not hold inside is the reason, as it is written.
            Joint::Check | Joint::Not if !out.contains(&self.check.as_str()) => out.push(&self.check),
            Joint::Check | Joint::Not => {}
            Joint::And | Joint::Rule => self.parts.iter().for_each(|part| part.collect(out)),
            // The first is enough, and it is the one a request is let in by.
            Joint::Or => {
                if let Some(part) = self.parts.iter().find(|part| part.holds) {
                    part.collect(out);
                }
            }
        }
    }
}

/// All values at a path of the credentials, as text.
fn values_at(value: &Value, path: &[String], out: &mut Vec<String>) {
    match (path.split_first(), value) {
        (_, Value::Array(items)) => items.iter().for_each(|item| values_at(item, path, out)),
        (None, one) => out.push(as_text(one)),
        (Some((first, rest)), one) => {
            if let Some(inner) = one.get(first) {
                values_at(inner, rest, out);
            }
        }
    }
}

fn compared(facts: &Facts<'_>, name: &str, have: &[String], wanted: &Template) -> String {
    let have = match have {
        [] => "not there".to_owned(),
        [one] => one.clone(),
        many => many.join(", "),
    };
    match wanted.fill(facts.target) {
        Ok(wanted) => format!("{name}: {have}; wanted: {wanted}"),
        Err(missing) => format!("{name}: {have}; wanted: {missing} of the target, which is not there"),
    }
}

impl Outcome for Trace {
    const THOROUGH: bool = true;

    fn of(check: &Check, holds: bool, parts: Vec<Self>, facts: &Facts<'_>) -> Self {
        let mut values = Vec::new();
        let (joint, note) = match check {
            Check::And(_) => (Joint::And, String::new()),
            Check::Or(_) => (Joint::Or, String::new()),
            Check::Not(_) => (Joint::Not, String::new()),
            Check::Rule(_) => (Joint::Rule, String::new()),
            Check::True => (Joint::Check, "always".to_owned()),
            Check::False => (Joint::Check, "never".to_owned()),
            Check::Role(wanted) => {
                values_at(facts.credentials, &["roles".to_owned()], &mut values);
                (Joint::Check, compared(facts, "roles", &values, wanted))
            }
            Check::Literal(text, wanted) => (
                Joint::Check,
                compared(facts, "text", std::slice::from_ref(text), wanted),
            ),
            Check::Attribute(path, wanted) => {
                values_at(facts.credentials, path, &mut values);
                (Joint::Check, compared(facts, &path.join("."), &values, wanted))
            }
        };
        Self {
            check: check.to_string(),
            joint,
            holds,
            note,
            parts,
        }
    }

    fn holds(&self) -> bool {
        self.holds
    }
}
