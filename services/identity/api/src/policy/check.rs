//! A parsed rule and its evaluation.
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
    /// The text with the target's values; `None` if one is missing.
    fn fill(&self, target: &Value) -> Option<String> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Target(name) => out.push_str(&as_text(look_up(target, name)?)),
            }
        }
        Some(out)
    }
}

/// The value at `name`: the key itself, else the path with dots.
fn look_up<'v>(target: &'v Value, name: &str) -> Option<&'v Value> {
    if let Some(found) = target.get(name) {
        return Some(found);
    }
    let (first, rest) = name.split_once('.')?;
    look_up(target.get(first)?, rest)
}

/// As Python's `str` shows it, because that is what rules compare with:
/// `None:%(domain_id)s`, `True:%(user.enabled)s`.
fn as_text(value: &Value) -> String {
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

impl Check {
    /// Whether the condition holds. `rule` looks other rules up by name; it is
    /// only ever asked for names without a cycle between them.
    pub fn holds<'r>(
        &'r self,
        credentials: &Value,
        target: &Value,
        rule: &impl Fn(&str) -> Option<&'r Check>,
    ) -> bool {
        match self {
            Self::True => true,
            Self::False => false,
            Self::Not(inner) => !inner.holds(credentials, target, rule),
            Self::And(all) => all.iter().all(|c| c.holds(credentials, target, rule)),
            Self::Or(any) => any.iter().any(|c| c.holds(credentials, target, rule)),
            Self::Rule(name) => rule(name).is_some_and(|c| c.holds(credentials, target, rule)),
            Self::Role(name) => name.fill(target).is_some_and(|wanted| {
                let roles = credentials.get("roles").and_then(Value::as_array);
                let mut held = roles.into_iter().flatten().filter_map(Value::as_str);
                held.any(|role| role.eq_ignore_ascii_case(&wanted))
            }),
            Self::Literal(text, wanted) => wanted.fill(target).is_some_and(|wanted| wanted == *text),
            Self::Attribute(path, wanted) => wanted
                .fill(target)
                .is_some_and(|wanted| any_at(credentials, path, &wanted)),
        }
    }

    /// Names of the rules that this one asks directly.
    pub(super) fn references<'c>(&'c self, out: &mut Vec<&'c str>) {
        match self {
            Self::Rule(name) => out.push(name),
            Self::Not(inner) => inner.references(out),
            Self::And(all) | Self::Or(all) => all.iter().for_each(|c| c.references(out)),
            _ => {}
        }
    }
}
