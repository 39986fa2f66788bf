//! JSON as Swift writes it into ring files: ASCII, sorted keys, ", " and ": ".
use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Python's default separators, everything outside ASCII escaped.
struct Ascii;

impl Formatter for Ascii {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        let mut units = [0; 2];
        text.chars().try_for_each(|c| match c {
            ' '..='~' => out.write_all(&[c as u8]),
            _ => c
                .encode_utf16(&mut units)
                .iter()
                .try_for_each(|unit| write!(out, "\\u{unit:04x}")),
        })
    }
}

/// `value` as one line of ASCII JSON with sorted keys.
pub(crate) fn to_ascii(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    // Through a `Value`, whose maps are sorted.
    let value = serde_json::to_value(value)?;
    let mut out = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut out, Ascii))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    #[test]
    fn text_is_escaped_and_spaced_as_python_does() {
        let value = serde_json::json!({"b": [1, 2.0], "a": "é😀\"\n\u{7f}"});
        let text = String::from_utf8(super::to_ascii(&value).unwrap()).unwrap();
        assert_eq!(text, r#"{"a": "\u00e9\ud83d\ude00\"\n\u007f", "b": [1, 2.0]}"#);
    }
}
