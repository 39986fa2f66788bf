//! The query of a request, as Swift reads it.
use super::fault::Fault;

/// Names and values, decoded to bytes; the last of a name counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(Vec<u8>, Vec<u8>)>);

/// Decodes `%XX` and `+`.
fn decode(text: &str) -> Vec<u8> {
    let spaced: Vec<u8> = text.bytes().map(|b| if b == b'+' { b' ' } else { b }).collect();
    super::target::percent_decode(&spaced)
}

impl Query {
    /// Reads what stands after the question mark.
    pub fn parse(text: Option<&str>) -> Self {
        let pairs = text
            .unwrap_or_default()
            .split('&')
            .filter(|part| !part.is_empty());
        Self(
            pairs
                .map(|part| {
                    let (name, value) = part.split_once('=').unwrap_or((part, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    /// The same query without anything but `names`.
    pub fn only(mut self, names: &[&str]) -> Self {
        self.0
            .retain(|(name, _)| names.iter().any(|kept| kept.as_bytes() == name));
        self
    }

    /// The same query with one more value.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.into(), value.into()));
        self
    }

    /// The raw value of `name`, the last one if there are several.
    pub fn raw(&self, name: &str) -> Option<&[u8]> {
        self.0
            .iter()
            .rev()
            .find(|(n, _)| n == name.as_bytes())
            .map(|(_, v)| v.as_slice())
    }

    /// The first raw value of `name`.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|(n, _)| n == name.as_bytes())
            .map(|(_, v)| v.as_slice())
    }

    /// The value of `name` as text.
    ///
    /// # Errors
    /// 400 if it is not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Fault> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        match std::str::from_utf8(raw) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Fault::bad(format!("\"{name}\" parameter not valid UTF-8"))),
        }
    }

    /// Whether `name` is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// Whether `name` has exactly this value.
    pub fn is(&self, name: &str, value: &str) -> bool {
        self.raw(name) == Some(value.as_bytes())
    }

    /// Whether the value of `name` means yes.
    pub fn truthy(&self, name: &str) -> bool {
        self.raw(name)
            .is_some_and(|raw| std::str::from_utf8(raw).is_ok_and(is_true))
    }

    /// Whether nothing was asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What Swift takes for yes.
pub fn is_true(text: &str) -> bool {
    ["true", "1", "yes", "on", "t", "y"]
        .iter()
        .any(|yes| yes.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_the_last_of_a_name_counts() {
        let query = Query::parse(Some("a=1&b=x+y%2Bz&a=2&c&&d=%ff&e=yes"));
        assert_eq!(query.text("a").unwrap(), Some("2"));
        assert_eq!(query.first("a"), Some(&b"1"[..]));
        assert_eq!(query.text("b").unwrap(), Some("x y+z"));
        assert!(query.has("c") && query.is("c", "") && !query.has("f"));
        assert_eq!(query.text("d").unwrap_err().status(), 400);
        assert!(query.truthy("e") && !query.truthy("a") && !query.truthy("d"));
        assert!(Query::parse(None).is_empty());
    }
}
