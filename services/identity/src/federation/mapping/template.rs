//! Texts of `local` parts with `{0}`, `{1}`, ... in them.
use serde_json::{Map, Value};

/// Why a text cannot be filled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FillError {
    /// It names a part that found nothing, or is not there.
    NoSuchPart,
    /// Its braces are not as they should be.
    Malformed,
}

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Part(usize),
}

fn pieces(text: &str) -> Result<Vec<Piece>, FillError> {
    let mut out = Vec::new();
    let mut plain = String::new();
    let mut next = 0;
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix(&rest[at..=at]) {
            // Doubled: the brace itself.
            plain.push_str(&rest[at..=at]);
            rest = after;
            continue;
        }
        let (inner, after) = tail.split_once('}').ok_or(FillError::Malformed)?;
        if rest.as_bytes()[at] == b'}' {
            return Err(FillError::Malformed);
        }
        let number = if inner.is_empty() {
            next += 1;
            next - 1
        } else {
            inner.parse().map_err(|_| FillError::Malformed)?
        };
        if !plain.is_empty() {
            out.push(Piece::Text(std::mem::take(&mut plain)));
        }
        out.push(Piece::Part(number));
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        out.push(Piece::Text(plain));
    }
    Ok(out)
}

/// The text filled. A text that is nothing but one part which found several
/// values (or none is left of them) becomes the list of them; within a longer
/// text they are joined by a comma.
pub(super) fn fill(text: &str, found: &[Vec<String>]) -> Result<Value, FillError> {
    let pieces = pieces(text)?;
    let part = |number: usize| found.get(number).ok_or(FillError::NoSuchPart);
    if let [Piece::Part(number)] = pieces.as_slice() {
        let values = part(*number)?;
        return Ok(match values.as_slice() {
            [one] => Value::String(one.clone()),
            many => Value::Array(many.iter().cloned().map(Value::String).collect()),
        });
    }
    let mut out = String::new();
    for piece in &pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Part(number) => out.push_str(&part(*number)?.join(",")),
        }
    }
    Ok(Value::String(out))
}

/// Whether the text has parts to be filled.
pub(super) fn has_parts(text: &str) -> bool {
    pieces(text).is_ok_and(|p| p.iter().any(|piece| matches!(piece, Piece::Part(_))))
}

/// An object with all of its texts filled.
pub(super) fn fill_object(
    object: &Map<String, Value>,
    found: &[Vec<String>],
) -> Result<Map<String, Value>, FillError> {
    let filled = object
        .iter()
        .map(|(name, value)| Ok((name.clone(), fill_value(value, found)?)));
    filled.collect()
}

fn fill_value(value: &Value, found: &[Vec<String>]) -> Result<Value, FillError> {
    Ok(match value {
        Value::String(text) => fill(text, found)?,
        Value::Object(object) => Value::Object(fill_object(object, found)?),
        Value::Array(items) => {
            let items = items.iter().map(|item| fill_value(item, found));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found() -> Vec<Vec<String>> {
        vec![vec!["bob".into()], vec!["x".into(), "y".into()], vec![]]
    }

    #[test]
    fn parts_are_replaced_by_what_was_found() {
        let fill = |text| fill(text, &found()).unwrap();
        assert_eq!(fill("{0}"), json!("bob"));
        assert_eq!(fill("{}"), json!("bob"));
        assert_eq!(fill("<{0}>{{0}}"), json!("<bob>{0}"));
        assert_eq!(fill("{1}"), json!(["x", "y"]));
        assert_eq!(fill("{2}"), json!([]));
        assert_eq!(fill("{0}-{1}"), json!("bob-x,y"));
        assert_eq!(fill("plain"), json!("plain"));
        assert_eq!(fill("{}{}"), json!("bobx,y"));
    }

    #[test]
    fn a_part_that_is_not_there_or_malformed_braces_are_errors() {
        let fill = |text| fill(text, &found()).unwrap_err();
        assert_eq!(fill("{3}"), FillError::NoSuchPart);
        for text in ["{", "}", "{0", "{x}", "{0.a}", "{-1}", "{0}}", "a}b", "{ 0 }"] {
            assert_eq!(fill(text), FillError::Malformed, "{text}");
        }
    }
}
