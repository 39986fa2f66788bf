//! A JSON object of a request body, taken apart field by field.
use serde_json::{Map, Value};
use virga_node::clock::Micros;

use crate::fault::Fault;
use crate::model::Object;

/// Names with more characters are refused (projects, domains and groups have
/// 64 in Keystone, users and roles 255).
pub(crate) const NAME: usize = 255;
/// Longest of the shorter names.
pub(crate) const SHORT_NAME: usize = 64;
/// Longest text of any other field.
pub(crate) const TEXT: usize = 64 * 1024;

/// The fields of an object that were not taken yet.
#[derive(Debug)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    kind: &'static str,
}

fn wrong(field: &str, why: &str) -> Fault {
    Fault::BadRequest(format!("Invalid input for field '{field}': {why}."))
}

/// As a message shows a value: short, without its content if it is long.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= 64 {
        text
    } else {
        "the value".to_owned()
    }
}

impl Fields {
    /// An object that is not under a key of its own.
    pub(crate) fn of_object(map: Object, kind: &'static str) -> Self {
        Self { map, kind }
    }

    /// The object under `kind` of a body.
    pub(crate) fn of_body(body: Value, kind: &'static str) -> Result<Self, Fault> {
        let Value::Object(mut body) = body else {
            return Err(Fault::BadRequest(
                "Invalid input: the body is not of type 'object'.".into(),
            ));
        };
        match body.remove(kind) {
            Some(Value::Object(map)) => Ok(Self { map, kind }),
            Some(_) => Err(wrong(kind, "it is not of type 'object'")),
            None => Err(Fault::expecting(kind, "the request body")),
        }
    }

    /// A name that must be there: text with something to see in it.
    pub(crate) fn name(&mut self, max: usize) -> Result<String, Fault> {
        match self.maybe_name(max)? {
            Some(name) => Ok(name),
            None => Err(wrong("name", "'name' is a required property")),
        }
    }

    /// A name that may be left out, but not be null.
    pub(crate) fn maybe_name(&mut self, max: usize) -> Result<Option<String>, Fault> {
        let Some(value) = self.map.remove("name") else {
            return Ok(None);
        };
        let Value::String(name) = &value else {
            return Err(wrong(
                "name",
                &format!("{} is not of type 'string'", shown(&value)),
            ));
        };
        if name.trim().is_empty() {
            return Err(wrong(
                "name",
                &format!("{} does not match '[\\S]+'", shown(&value)),
            ));
        }
        if name.chars().count() > max {
            return Err(wrong("name", &format!("it is longer than {max} characters")));
        }
        if name.contains('\0') {
            return Err(wrong("name", "it holds a NUL character"));
        }
        Ok(Some(name.clone()))
    }

    /// A text that may be left out or null; the outer option says whether it
    /// was given.
    pub(crate) fn text(&mut self, field: &str) -> Result<Option<Option<String>>, Fault> {
        match self.map.remove(field) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(Value::String(text)) if text.len() > TEXT => Err(wrong(field, "it is too long")),
            Some(Value::String(text)) if text.contains('\0') => Err(wrong(field, "it holds a NUL character")),
            Some(Value::String(text)) => Ok(Some(Some(text))),
            Some(other) => Err(wrong(
                field,
                &format!("{} is not of type 'string', 'null'", shown(&other)),
            )),
        }
    }

    /// 400 if there is no field at all.
    pub(crate) fn not_empty(&self) -> Result<(), Fault> {
        match self.map.is_empty() {
            true => Err(wrong(self.kind, "{} should be non-empty")),
            false => Ok(()),
        }
    }

    /// 400 if one of these is null: they may be left out only.
    pub(crate) fn not_null(&self, fields: &[&str]) -> Result<(), Fault> {
        let null = fields.iter().find(|name| self.is_null(name));
        null.map_or(Ok(()), |name| Err(wrong(name, "it must not be null")))
    }

    /// 400 if the field is there and neither a text nor null; it stays.
    pub(crate) fn text_at_most(&self, field: &str) -> Result<(), Fault> {
        match self.map.get(field) {
            None | Some(Value::Null | Value::String(_)) => Ok(()),
            Some(other) => Err(wrong(
                field,
                &format!("{} is not of type 'string', 'null'", shown(other)),
            )),
        }
    }

    /// An id that may be left out or null, but not be empty; the outer option
    /// says whether it was given.
    pub(crate) fn id(&mut self, field: &str) -> Result<Option<Option<String>>, Fault> {
        match self.text(field)? {
            Some(Some(id)) if id.is_empty() => Err(wrong(field, "'' should be non-empty")),
            given => Ok(given),
        }
    }

    /// As [`Fields::text`], of so many characters at most.
    pub(crate) fn short_text(&mut self, field: &str, max: usize) -> Result<Option<Option<String>>, Fault> {
        match self.text(field)? {
            Some(Some(text)) if text.chars().count() > max => {
                Err(wrong(field, &format!("it is longer than {max} characters")))
            }
            given => Ok(given),
        }
    }

    /// A text that must be there.
    pub(crate) fn required(&mut self, field: &str) -> Result<String, Fault> {
        match self.text(field)? {
            Some(Some(text)) => Ok(text),
            Some(None) => Err(wrong(field, "None is not of type 'string'")),
            None => Err(wrong(field, &format!("'{field}' is a required property"))),
        }
    }

    /// A truth value that may be left out.
    pub(crate) fn bool(&mut self, field: &str) -> Result<Option<bool>, Fault> {
        match self.map.remove(field) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(wrong(
                field,
                &format!("{} is not of type 'boolean'", shown(&other)),
            )),
        }
    }

    /// A list of texts that may be left out.
    pub(crate) fn texts(&mut self, field: &str) -> Result<Option<Vec<String>>, Fault> {
        match self.map.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(items)) => {
                let texts = items.into_iter().map(|item| match item {
                    Value::String(text) => Ok(text),
                    other => Err(wrong(
                        field,
                        &format!("{} is not of type 'string'", shown(&other)),
                    )),
                });
                texts.collect::<Result<_, _>>().map(Some)
            }
            Some(other) => Err(wrong(field, &format!("{} is not of type 'array'", shown(&other)))),
        }
    }

    /// Resource options. Each of `known` is a truth value or null (null takes
    /// the option away); others are refused.
    pub(crate) fn options(&mut self, known: &[&str], lists: &[&str]) -> Result<Object, Fault> {
        let options = match self.map.remove("options") {
            None => return Ok(Object::new()),
            Some(Value::Object(options)) => options,
            Some(other) => {
                return Err(wrong(
                    "options",
                    &format!("{} is not of type 'object'", shown(&other)),
                ));
            }
        };
        for (name, value) in &options {
            let fits = match value {
                Value::Null => known.contains(&name.as_str()) || lists.contains(&name.as_str()),
                Value::Bool(_) => known.contains(&name.as_str()),
                Value::Array(_) => lists.contains(&name.as_str()),
                _ => false,
            };
            if !fits {
                return Err(wrong(
                    "options",
                    &format!("'{name}' is not an option, or has a wrong value"),
                ));
            }
        }
        Ok(options)
    }

    /// A whole number that may be left out or null; the outer option says
    /// whether it was given.
    pub(crate) fn int(&mut self, field: &str, least: i64) -> Result<Option<Option<i64>>, Fault> {
        match self.map.remove(field) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(value) => match value.as_i64().filter(|n| i32::try_from(*n).is_ok()) {
                Some(n) if n >= least => Ok(Some(Some(n))),
                Some(n) => Err(wrong(field, &format!("{n} is less than the minimum of {least}"))),
                None => Err(wrong(
                    field,
                    &format!("{} is not of type 'integer', 'null'", shown(&value)),
                )),
            },
        }
    }

    /// A time to come that may be left out or null.
    pub(crate) fn time_to_come(&mut self, field: &str, now: Micros) -> Result<Option<Micros>, Fault> {
        let Some(text) = self.text(field)?.flatten() else {
            return Ok(None);
        };
        match parse_time(&text) {
            Some(at) if at > now => Ok(Some(at)),
            Some(_) => Err(Fault::BadRequest(format!(
                "The '{field}' must not be before now. The server could not comply with the request since it is \
                 either malformed or otherwise incorrect. The client is assumed to be in error."
            ))),
            None => Err(wrong(field, &format!("{text:?} is not a 'date-time'"))),
        }
    }

    /// Whether the field was given as null and not taken yet.
    pub(crate) fn is_null(&self, field: &str) -> bool {
        self.map.get(field) == Some(&Value::Null)
    }

    /// Whether the field was given and not taken yet.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.map.contains_key(field)
    }

    /// A field as it came.
    pub(crate) fn take(&mut self, field: &str) -> Option<Value> {
        self.map.remove(field)
    }

    /// 400 if any field is left that nobody knows.
    pub(crate) fn nothing_else(&self) -> Result<(), Fault> {
        match self.map.keys().find(|name| name.as_str() != "links") {
            None => Ok(()),
            Some(name) => Err(Fault::BadRequest(format!(
                "Additional properties are not allowed ('{name}' was unexpected)"
            ))),
        }
    }

    /// Takes a field away unseen.
    pub(crate) fn drop(&mut self, field: &str) {
        self.map.remove(field);
    }

    /// The id of an object cannot be set or changed: it must be the one of the
    /// path, if it is given.
    pub(crate) fn same_id(&mut self, id: &str) -> Result<(), Fault> {
        match self.map.remove("id") {
            None => Ok(()),
            Some(Value::String(given)) if given == id => Ok(()),
            Some(_) => Err(Fault::BadRequest(format!("Cannot change {} ID.", self.kind))),
        }
    }

    /// What is left: stored and returned as it came.
    pub(crate) fn rest(mut self) -> Object {
        for field in ["id", "links"] {
            self.map.remove(field);
        }
        self.map
    }
}

/// Reads ISO 8601; a time without a zone is UTC.
pub(crate) fn parse_time(text: &str) -> Option<Micros> {
    let stamp = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        civil
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp())
    })?;
    u64::try_from(stamp.as_microsecond()).ok().map(Micros)
}

/// Merges changed options: null takes one away.
pub(crate) fn merge_options(into: &mut Object, changed: Object) {
    for (name, value) in changed {
        if value.is_null() {
            into.remove(&name);
        } else {
            into.insert(name, value);
        }
    }
}
