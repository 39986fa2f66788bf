//! Policies as they are written: JSON in AWS's language, and what is wrong with
//! those that are refused.
use serde::Deserialize;
use serde::de::{self, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::condition::Condition;
use super::facts::Facts;
use super::pattern::Pattern;
use super::principal::Principals;
use super::{Effect, Policy, Statement};
use crate::rules;

/// Bytes of a policy, as AWS allows.
const MOST: usize = 20 * 1024;

/// The bucket that a policy is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// Id of the project it belongs to.
    pub(crate) project: &'a str,
    /// Its name.
    pub(crate) bucket: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "Version")]
    version: Option<String>,
    /// A name that nobody looks at.
    #[serde(rename = "Id")]
    _id: Option<String>,
    #[serde(rename = "Statement")]
    statement: OneOrMany<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// A name that nobody looks at.
    #[serde(rename = "Sid")]
    _sid: Option<String>,
    #[serde(rename = "Effect")]
    effect: String,
    #[serde(rename = "Principal")]
    principal: Option<WrittenPrincipal>,
    #[serde(rename = "NotPrincipal")]
    not_principal: Option<WrittenPrincipal>,
    #[serde(rename = "Action")]
    action: Option<OneOrMany<String>>,
    #[serde(rename = "NotAction")]
    not_action: Option<OneOrMany<String>>,
    #[serde(rename = "Resource")]
    resource: Option<OneOrMany<String>>,
    #[serde(rename = "NotResource")]
    not_resource: Option<OneOrMany<String>>,
    #[serde(rename = "Condition")]
    condition: Option<Pairs<Pairs<OneOrMany<Scalar>>>>,
}

/// One value, or a list of them.
struct OneOrMany<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value or a list of values")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = seq.next_element()? {
                    all.push(one);
                }
                Ok(OneOrMany(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let one = T::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(OneOrMany(vec![one]))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(OneOrMany(vec![T::deserialize(text.into_deserializer())?]))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
                Ok(OneOrMany(vec![T::deserialize(value.into_deserializer())?]))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
                Ok(OneOrMany(vec![T::deserialize(value.into_deserializer())?]))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
                Ok(OneOrMany(vec![T::deserialize(value.into_deserializer())?]))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
                Ok(OneOrMany(vec![T::deserialize(value.into_deserializer())?]))
            }
        }

        deserializer.deserialize_any(Either(std::marker::PhantomData))
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "\"*\" or an object of principals")]
enum WrittenPrincipal {
    Everyone(String),
    ByKind(Pairs<OneOrMany<String>>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a text, number or boolean")]
enum Scalar {
    Text(String),
    Bool(bool),
    Number(serde_json::Number),
}

impl Scalar {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Bool(value) => value.to_string(),
            Self::Number(number) => number.to_string(),
        }
    }
}

/// An object none of whose members is lost: of two with the same name a map
/// would keep one.
struct Pairs<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Pairs<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<T>, A::Error> {
                let mut pairs: Vec<(String, T)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, T>()? {
                    if pairs.iter().any(|(other, _)| *other == key) {
                        return Err(A::Error::custom(format!("{key:?} stands there twice")));
                    }
                    pairs.push((key, value));
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Members(std::marker::PhantomData))
    }
}

/// The one of two elements that exclude each other, and whether it is the
/// second.
fn either<T>(one: Option<T>, not: Option<T>, name: &str) -> Result<(T, bool), String> {
    match (one, not) {
        (Some(one), None) => Ok((one, false)),
        (None, Some(not)) => Ok((not, true)),
        (None, None) => Err(format!("Missing required field {name}")),
        (Some(_), Some(_)) => Err(format!("{name} and Not{name} exclude each other")),
    }
}

fn actions(list: Vec<String>) -> Result<Vec<Pattern>, String> {
    if list.is_empty() {
        return Err("Policy has no action".to_owned());
    }
    let one = |text: String| {
        let pattern = Pattern::read(&text.to_ascii_lowercase(), true, false)?;
        let mut known = rules::ACTIONS.iter();
        let named = known.any(|action| pattern.matches(&action.to_ascii_lowercase(), &|_| None));
        named
            .then_some(pattern)
            .ok_or_else(|| format!("Policy has invalid action {text:?}"))
    };
    list.into_iter().map(one).collect()
}

/// Reads a resource as `bucket` or `bucket/key`.
fn resource(text: &str, place: Place<'_>, variables: bool) -> Result<Pattern, String> {
    let invalid = || format!("Policy has invalid resource {text:?}");
    if text == "*" {
        return Pattern::read(text, true, variables);
    }
    let rest = text.strip_prefix("arn:").ok_or_else(invalid)?;
    let mut parts = rest.splitn(5, ':');
    let (Some(_partition), Some("s3"), Some(_region), Some(owner), Some(path)) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return Err(invalid());
    };
    if !owner.is_empty() && owner != place.project {
        return Err(invalid());
    }
    let bucket = path.split('/').next().unwrap_or_default();
    let about = Pattern::read(bucket, true, false)?;
    match about.matches(place.bucket, &|_| None) {
        true => Pattern::read(path, true, variables),
        false => Err(invalid()),
    }
}

fn statement(written: Written, place: Place<'_>, variables: bool) -> Result<Statement, String> {
    let effect = match written.effect.as_str() {
        "Allow" => Effect::Allow,
        "Deny" => Effect::Deny,
        other => return Err(format!("Invalid effect {other:?}: it is Allow or Deny")),
    };
    let (principals, not_principal) = either(written.principal, written.not_principal, "Principal")?;
    let (action, not_action) = either(written.action, written.not_action, "Action")?;
    let (resources, not_resource) = either(written.resource, written.not_resource, "Resource")?;
    let resources = resources.0;
    if resources.is_empty() {
        return Err("Policy has no resource".to_owned());
    }
    let mut conditions = Vec::new();
    for (operator, lines) in written.condition.map_or_else(Vec::new, |block| block.0) {
        for (key, values) in lines.0 {
            let values: Vec<String> = values.0.into_iter().map(Scalar::text).collect();
            conditions.push(Condition::read(&operator, &key, &values, variables)?);
        }
    }
    let resources = resources.iter().map(|text| resource(text, place, variables));
    let statement = Statement {
        effect,
        principals: match principals {
            WrittenPrincipal::Everyone(text) => Principals::everyone(&text)?,
            WrittenPrincipal::ByKind(kinds) => {
                let kinds = kinds.0.into_iter().map(|(kind, list)| (kind, list.0));
                Principals::of_kinds(kinds)?
            }
        },
        not_principal,
        actions: actions(action.0)?,
        not_action,
        resources: resources.collect::<Result<_, _>>()?,
        not_resource,
        conditions,
    };
    for name in statement.variables() {
        if Facts::key(name).is_none() {
            return Err(format!("The policy variable {name:?} is not supported"));
        }
    }
    Ok(statement)
}

impl Policy {
    /// Reads a policy of a bucket.
    ///
    /// # Errors
    /// What is wrong with it, or what of it is not supported here.
    pub(crate) fn read(text: &str, place: Place<'_>) -> Result<Self, String> {
        if text.len() > MOST {
            return Err("Policy exceeds the maximum allowed document size.".to_owned());
        }
        let document: Document = serde_json::from_str(text).map_err(|error| match error.is_data() {
            true => format!("Policy has invalid syntax: {error}"),
            false => "Policies must be valid JSON and the first byte must be '{'".to_owned(),
        })?;
        let variables = match document.version.as_deref() {
            Some("2012-10-17") => true,
            Some("2008-10-17") | None => false,
            Some(other) => return Err(format!("The policy version {other:?} does not exist")),
        };
        let statements = document.statement.0;
        if statements.is_empty() {
            return Err("Policy has no statement".to_owned());
        }
        let read = |written| statement(written, place, variables);
        let statements = statements.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { statements })
    }
}
