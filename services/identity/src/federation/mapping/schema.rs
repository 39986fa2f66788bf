//! Checks the rules of a mapping, and reads them. What is wrong is said with
//! where it stands.
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::{Requirement, Rule, Rules, Test, Version, Wanted};

/// Largest compiled pattern, in bytes.
const MAX_PATTERN: usize = 256 * 1024;

type Checked<T> = Result<T, String>;

fn object<'v>(value: &'v Value, at: &str) -> Checked<&'v Map<String, Value>> {
    value
        .as_object()
        .ok_or_else(|| format!("{at} is not of type 'object'"))
}

fn array<'v>(value: &'v Value, at: &str) -> Checked<&'v Vec<Value>> {
    value
        .as_array()
        .ok_or_else(|| format!("{at} is not of type 'array'"))
}

fn text<'v>(value: &'v Value, at: &str) -> Checked<&'v str> {
    value
        .as_str()
        .ok_or_else(|| format!("{at} is not of type 'string'"))
}

fn required<'v>(map: &'v Map<String, Value>, name: &str, at: &str) -> Checked<&'v Value> {
    map.get(name)
        .ok_or_else(|| format!("'{name}' is a required property of {at}"))
}

fn only(map: &Map<String, Value>, names: &[&str], at: &str) -> Checked<()> {
    match map.keys().find(|key| !names.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(format!(
            "Additional properties are not allowed ('{key}' was unexpected in {at})"
        )),
    }
}

fn domain(value: &Value, at: &str) -> Checked<()> {
    let map = object(value, at)?;
    only(map, &["id", "name"], at)?;
    for (name, value) in map {
        text(value, &format!("{at}.{name}"))?;
    }
    Ok(())
}

fn user(value: &Value, at: &str) -> Checked<()> {
    let map = object(value, at)?;
    only(map, &["id", "name", "email", "domain", "type"], at)?;
    for (name, value) in map {
        let at = format!("{at}.{name}");
        if name == "domain" {
            domain(value, &at)?;
        } else {
            text(value, &at)?;
        }
    }
    match map.get("type").and_then(Value::as_str) {
        None | Some("ephemeral" | "local") => Ok(()),
        Some(other) => Err(format!(
            "'{other}' is not one of ['ephemeral', 'local'] ({at}.type)"
        )),
    }
}

fn group(value: &Value, at: &str) -> Checked<()> {
    let map = object(value, at)?;
    if let Some(id) = map.get("id") {
        only(map, &["id"], at)?;
        text(id, &format!("{at}.id"))?;
        return Ok(());
    }
    only(map, &["name", "domain"], at)?;
    text(required(map, "name", at)?, &format!("{at}.name"))?;
    domain(required(map, "domain", at)?, &format!("{at}.domain"))
}

/// Projects with the roles on them; also what a provider says in JSON.
pub(super) fn projects(value: &Value, with_domain: bool, at: &str) -> Checked<()> {
    for (n, project) in array(value, at)?.iter().enumerate() {
        let at = format!("{at}[{n}]");
        let map = object(project, &at)?;
        let names: &[&str] = if with_domain {
            &["name", "roles", "domain"]
        } else {
            &["name", "roles"]
        };
        only(map, names, &at)?;
        text(required(map, "name", &at)?, &format!("{at}.name"))?;
        if let Some(value) = map.get("domain") {
            domain(value, &format!("{at}.domain"))?;
        }
        for (n, role) in array(required(map, "roles", &at)?, &format!("{at}.roles"))?
            .iter()
            .enumerate()
        {
            let at = format!("{at}.roles[{n}]");
            let map = object(role, &at)?;
            only(map, &["name"], &at)?;
            text(required(map, "name", &at)?, &format!("{at}.name"))?;
        }
    }
    Ok(())
}

fn local(value: &Value, version: Version, at: &str) -> Checked<Map<String, Value>> {
    let map = object(value, at)?;
    for (name, value) in map {
        let at = format!("{at}.{name}");
        match name.as_str() {
            "user" => user(value, &at)?,
            "group" => group(value, &at)?,
            "domain" => domain(value, &at)?,
            "groups" | "group_ids" => drop(text(value, &at)?),
            "projects" => projects(value, version >= Version::Two, &at)?,
            "projects_json" if version >= Version::Three => drop(text(value, &at)?),
            _ => {
                return Err(format!(
                    "Additional properties are not allowed ('{name}' was unexpected in {at})"
                ));
            }
        }
    }
    Ok(map.clone())
}

fn pattern(text: &str, at: &str) -> Checked<Regex> {
    RegexBuilder::new(text)
        .size_limit(MAX_PATTERN)
        .build()
        .map_err(|e| format!("{at}: {text:?} is not a regular expression: {e}"))
}

fn wanted(value: &Value, regex: bool, at: &str) -> Checked<Wanted> {
    // Anything but a text is never equal to one.
    let texts = array(value, at)?.iter().filter_map(Value::as_str);
    Ok(if regex {
        Wanted::Patterns(texts.map(|t| pattern(t, at)).collect::<Checked<_>>()?)
    } else {
        Wanted::Texts(texts.map(str::to_owned).collect())
    })
}

fn remote(value: &Value, at: &str) -> Checked<Requirement> {
    const TESTS: [&str; 4] = ["any_one_of", "not_any_of", "blacklist", "whitelist"];
    let map = object(value, at)?;
    only(
        map,
        &["type", "regex", TESTS[0], TESTS[1], TESTS[2], TESTS[3]],
        at,
    )?;
    let name = text(required(map, "type", at)?, &format!("{at}.type"))?.to_owned();
    let regex = match map.get("regex") {
        None => false,
        Some(Value::Bool(regex)) => *regex,
        Some(_) => return Err(format!("{at}.regex is not of type 'boolean'")),
    };
    let named: Vec<&str> = TESTS.into_iter().filter(|t| map.contains_key(*t)).collect();
    let test = match named.as_slice() {
        [] if map.contains_key("regex") => {
            return Err(format!("{at}: 'regex' says nothing without one of {TESTS:?}"));
        }
        [] => Test::Any,
        [one] => {
            let wanted = wanted(&map[*one], regex, &format!("{at}.{one}"))?;
            match *one {
                "any_one_of" => Test::AnyOneOf(wanted),
                "not_any_of" => Test::NotAnyOf(wanted),
                "blacklist" => Test::Blacklist(wanted),
                _ => Test::Whitelist(wanted),
            }
        }
        _ => {
            return Err(format!(
                "{at} is not valid: exactly one of {TESTS:?} may be there"
            ));
        }
    };
    Ok(Requirement { name, test })
}

impl Rules {
    /// Reads the rules of a mapping.
    ///
    /// # Errors
    /// What is wrong with them, and where.
    pub(crate) fn read(rules: &Value, version: Version) -> Result<Self, String> {
        let rules = array(rules, "rules")?;
        if rules.is_empty() {
            return Err("[] should be non-empty ('rules')".into());
        }
        let rule = |(n, rule): (usize, &Value)| -> Checked<Rule> {
            let at = format!("rules[{n}]");
            let map = object(rule, &at)?;
            only(map, &["local", "remote"], &at)?;
            let part = |name: &str| -> Checked<&Vec<Value>> {
                array(required(map, name, &at)?, &format!("{at}.{name}"))
            };
            let (locals, remotes) = (part("local")?, part("remote")?);
            if remotes.is_empty() {
                return Err(format!("[] should be non-empty ({at}.remote)"));
            }
            let locals = locals.iter().enumerate();
            let remotes = remotes.iter().enumerate();
            Ok(Rule {
                local: locals
                    .map(|(n, v)| local(v, version, &format!("{at}.local[{n}]")))
                    .collect::<Checked<_>>()?,
                remote: remotes
                    .map(|(n, v)| remote(v, &format!("{at}.remote[{n}]")))
                    .collect::<Checked<_>>()?,
            })
        };
        Ok(Self {
            version,
            rules: rules.iter().enumerate().map(rule).collect::<Checked<_>>()?,
        })
    }
}
