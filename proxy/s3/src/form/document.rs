//! The policy of a form: until when it may be sent, and with which fields.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use serde::Deserialize;
use serde_json::Value;

/// Fields that no condition needs to name.
const FREE: [&str; 6] = [
    "awsaccesskeyid",
    "file",
    "policy",
    "signature",
    "submit",
    "x-amz-signature",
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Equals { field: String, value: String },
    StartsWith { field: String, start: String },
    Length { least: u64, most: u64 },
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Document {
    /// Milliseconds since the epoch.
    ends: i64,
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Written {
    expiration: Option<String>,
    conditions: Option<Vec<Value>>,
}

fn invalid(why: impl std::fmt::Display) -> S3Error {
    S3Error::with_message(
        S3ErrorCode::InvalidPolicyDocument,
        format!("Invalid Policy: {why}"),
    )
}

fn refused(why: impl std::fmt::Display) -> S3Error {
    S3Error::with_message(
        S3ErrorCode::AccessDenied,
        format!("Invalid according to Policy: {why}"),
    )
}

/// The field that "$Name" names.
fn field(text: &str) -> S3Result<String> {
    let bare = text
        .strip_prefix('$')
        .ok_or_else(|| invalid(format!("{text:?} names no field: it has no $")))?;
    Ok(bare.to_ascii_lowercase())
}

fn condition(value: &Value) -> S3Result<Vec<Condition>> {
    let bad = || invalid(format!("Invalid condition {value}"));
    if let Value::Object(members) = value {
        let one = |(name, value): (&String, &Value)| {
            let value = value.as_str().ok_or_else(bad)?;
            Ok(Condition::Equals {
                field: name.to_ascii_lowercase(),
                value: value.to_owned(),
            })
        };
        return members.iter().map(one).collect();
    }
    let items = value.as_array().ok_or_else(bad)?;
    let [kind, first, second] = items.as_slice() else {
        return Err(bad());
    };
    let number = |value: &Value| {
        let text = value.as_str().and_then(|text| text.parse().ok());
        value.as_u64().or(text).ok_or_else(bad)
    };
    let texts = || first.as_str().zip(second.as_str()).ok_or_else(bad);
    let one = match kind.as_str().map(str::to_ascii_lowercase).as_deref() {
        Some("eq") => {
            let (name, value) = texts()?;
            Condition::Equals {
                field: field(name)?,
                value: value.to_owned(),
            }
        }
        Some("starts-with") => {
            let (name, start) = texts()?;
            Condition::StartsWith {
                field: field(name)?,
                start: start.to_owned(),
            }
        }
        Some("content-length-range") => Condition::Length {
            least: number(first)?,
            most: number(second)?,
        },
        _ => return Err(bad()),
    };
    Ok(vec![one])
}

impl Document {
    /// Reads the field `policy`.
    ///
    /// # Errors
    /// `InvalidPolicyDocument`, with what is wrong.
    pub(super) fn read(encoded: &str) -> Result<Self, S3Error> {
        let bytes = STANDARD
            .decode(encoded.trim())
            .map_err(|_| invalid("Invalid base64."))?;
        let written: Written = serde_json::from_slice(&bytes).map_err(|_| invalid("Invalid JSON."))?;
        let ends = written
            .expiration
            .ok_or_else(|| invalid("Policy missing expiration."))?;
        let ends: jiff::Timestamp = ends
            .parse()
            .map_err(|_| invalid(format!("Invalid 'expiration' value: '{ends}'")))?;
        let conditions = written
            .conditions
            .ok_or_else(|| invalid("Policy missing conditions."))?;
        let mut read = Vec::with_capacity(conditions.len());
        for value in &conditions {
            read.extend(condition(value)?);
        }
        Ok(Self {
            ends: ends.as_millisecond(),
            conditions: read,
        })
    }

    /// Bytes that the file must and may have.
    pub(super) fn length(&self) -> (u64, u64) {
        let mut range = (0, u64::MAX);
        for condition in &self.conditions {
            if let Condition::Length { least, most } = condition {
                range = (range.0.max(*least), range.1.min(*most));
            }
        }
        range
    }

    /// Whether a form with these fields may be sent now. `get` finds the value
    /// of a field by its name in small letters.
    ///
    /// # Errors
    /// `AccessDenied`, with the condition that is not met.
    pub(super) fn check<'a>(
        &self,
        now_ms: i64,
        names: impl Iterator<Item = &'a str>,
        get: impl Fn(&str) -> Option<String>,
    ) -> S3Result<()> {
        if self.ends <= now_ms {
            return Err(refused("Policy expired."));
        }
        for condition in &self.conditions {
            match condition {
                Condition::Equals { field, value } => {
                    if get(field).unwrap_or_default() != *value {
                        return Err(refused(format!(
                            "Policy Condition failed: [\"eq\", \"${field}\", \"{value}\"]"
                        )));
                    }
                }
                Condition::StartsWith { field, start } => {
                    let value = get(field).unwrap_or_default();
                    let mut parts: Box<dyn Iterator<Item = &str>> = match field.as_str() {
                        // Several types stand in one field.
                        "content-type" => Box::new(value.split(',').map(str::trim)),
                        _ => Box::new(std::iter::once(value.as_str())),
                    };
                    if !parts.all(|part| part.starts_with(start.as_str())) {
                        return Err(refused(format!(
                            "Policy Condition failed: [\"starts-with\", \"${field}\", \"{start}\"]"
                        )));
                    }
                }
                Condition::Length { .. } => {}
            }
        }
        let named = |name: &str| {
            self.conditions.iter().any(|condition| match condition {
                Condition::Equals { field, .. } | Condition::StartsWith { field, .. } => field == name,
                Condition::Length { .. } => false,
            })
        };
        for name in names {
            if !FREE.contains(&name) && !name.starts_with("x-ignore-") && !named(name) {
                return Err(refused(format!("Extra input fields: {name}")));
            }
        }
        Ok(())
    }
}

/// The error for a policy whose signature is missing.
pub(super) fn unsigned() -> S3Error {
    s3_error!(
        InvalidArgument,
        "Bucket POST must contain a field named 'x-amz-signature', or 'signature' with 'AWSAccessKeyId', where it has a policy."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> S3Result<Document> {
        Document::read(&STANDARD.encode(json))
    }

    fn check(json: &str, fields: &[(&str, &str)]) -> Result<(), String> {
        let document = read(json).unwrap();
        let get = |name: &str| {
            let found = fields.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let done = document.check(1_000, fields.iter().map(|(name, _)| *name), get);
        done.map_err(|error| error.message().unwrap_or_default().to_owned())
    }

    #[test]
    fn a_form_must_be_in_time_and_have_the_fields_it_says() {
        let json = r#"{"expiration": "1970-01-01T00:00:02.000Z", "conditions": [{"bucket": "b"}, ["starts-with", "$key", "user/"],
            ["eq", "$acl", "private"], ["starts-with", "$Content-Type", "image/"], ["content-length-range", 1, "10"]]}"#;
        let good = [
            ("bucket", "b"),
            ("key", "user/x"),
            ("acl", "private"),
            ("content-type", "image/a, image/b"),
        ];
        assert_eq!(check(json, &good), Ok(()));
        assert_eq!(read(json).unwrap().length(), (1, 10));
        for (name, value, says) in [
            ("bucket", "c", "\"eq\", \"$bucket\", \"b\""),
            ("key", "users/x", "starts-with"),
            ("acl", "public-read", "$acl"),
            ("content-type", "image/a,text/b", "$content-type"),
        ] {
            let mut fields = good;
            for field in &mut fields {
                if field.0 == name {
                    field.1 = value;
                }
            }
            let error = check(json, &fields).unwrap_err();
            assert!(error.contains(says), "{name}: {error}");
        }
        let more = [good.as_slice(), &[("x-amz-meta-a", "1")]].concat();
        assert!(
            check(json, &more)
                .unwrap_err()
                .contains("Extra input fields: x-amz-meta-a")
        );
        let free = [
            good.as_slice(),
            &[("policy", "x"), ("x-ignore-me", "1"), ("file", "f")],
        ]
        .concat();
        assert_eq!(check(json, &free), Ok(()));
        let late = json.replace("00:02", "00:01");
        assert!(check(&late, &good).unwrap_err().contains("expired"));
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for bad in [
            "{",
            "[]",
            "{}",
            r#"{"expiration": "tomorrow", "conditions": []}"#,
            r#"{"expiration": "2030-01-01T00:00:00Z"}"#,
            r#"{"expiration": "2030-01-01T00:00:00Z", "conditions": [["eq", "key", "x"]]}"#,
            r#"{"expiration": "2030-01-01T00:00:00Z", "conditions": [["like", "$key", "x"]]}"#,
            r#"{"expiration": "2030-01-01T00:00:00Z", "conditions": [["eq", "$key"]]}"#,
            r#"{"expiration": "2030-01-01T00:00:00Z", "conditions": [{"key": 1}]}"#,
            r#"{"expiration": "2030-01-01T00:00:00Z", "conditions": [["content-length-range", -1, 1]]}"#,
        ] {
            let error = read(bad).unwrap_err();
            assert_eq!(error.code().as_str(), "InvalidPolicyDocument", "{bad}");
        }
        assert!(Document::read("%").is_err());
    }
}
