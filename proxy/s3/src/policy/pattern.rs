//! Texts of a policy that may hold wildcards (`*`, `?`) and variables
//! (`${aws:userid}`): what they match.

/// Finds the value of a variable.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Char(char),
    /// One character, whichever.
    One,
    /// Any number of characters.
    Any,
    /// The value of this key, none of whose characters is a wildcard.
    Variable(String),
}

/// A text to compare with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Piece>);

impl Pattern {
    /// One that matches everything.
    pub(super) fn any() -> Self {
        Self(vec![Piece::Any])
    }

    /// Reads a text. Without `wild` its stars are stars, without `variables`
    /// its dollars are dollars.
    ///
    /// # Errors
    /// The variable that does not end.
    pub(super) fn read(text: &str, wild: bool, variables: bool) -> Result<Self, String> {
        let (mut pieces, mut rest) = (Vec::with_capacity(text.len()), text);
        while let Some(first) = rest.chars().next() {
            if variables && let Some(after) = rest.strip_prefix("${") {
                let Some((name, left)) = after.split_once('}') else {
                    return Err(format!("The policy variable in {text:?} has no end"));
                };
                pieces.push(match name {
                    "*" => Piece::Char('*'),
                    "?" => Piece::Char('?'),
                    "$" => Piece::Char('$'),
                    name => Piece::Variable(name.to_owned()),
                });
                rest = left;
                continue;
            }
            let piece = match first {
                '*' if wild => Piece::Any,
                '?' if wild => Piece::One,
                other => Piece::Char(other),
            };
            // Stars in a row are one, so that matching stays quick.
            if piece != Piece::Any || pieces.last() != Some(&Piece::Any) {
                pieces.push(piece);
            }
            rest = &rest[first.len_utf8()..];
        }
        Ok(Self(pieces))
    }

    /// Whether it matches one text only, whoever asks.
    pub(super) fn is_fixed(&self) -> bool {
        self.0.iter().all(|piece| matches!(piece, Piece::Char(_)))
    }

    /// Names of its variables.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Variable(name) => Some(name.as_str()),
            Piece::Char(_) | Piece::One | Piece::Any => None,
        })
    }

    /// Whether it matches. A variable without a value matches nothing.
    pub(super) fn matches(&self, text: &str, lookup: Lookup<'_>) -> bool {
        let expanded;
        let pieces = if self.variables().next().is_some() {
            let Some(pieces) = self.expanded(lookup) else {
                return false;
            };
            expanded = pieces;
            &expanded
        } else {
            &self.0
        };
        glob(pieces, text)
    }

    /// The same without regard to the case of ASCII letters.
    pub(super) fn matches_any_case(&self, text: &str, lookup: Lookup<'_>) -> bool {
        let Some(mut pieces) = self.expanded(lookup) else {
            return false;
        };
        for piece in &mut pieces {
            if let Piece::Char(letter) = piece {
                *letter = letter.to_ascii_lowercase();
            }
        }
        glob(&pieces, &text.to_ascii_lowercase())
    }

    fn expanded(&self, lookup: Lookup<'_>) -> Option<Vec<Piece>> {
        let mut pieces = Vec::with_capacity(self.0.len());
        for piece in &self.0 {
            match piece {
                Piece::Variable(name) => pieces.extend(lookup(name)?.chars().map(Piece::Char)),
                other => pieces.push(other.clone()),
            }
        }
        Some(pieces)
    }
}

/// Whether `pieces` match all of `text`: on a mismatch the last star takes one
/// character more.
fn glob(pieces: &[Piece], text: &str) -> bool {
    let (mut piece, mut rest) = (0, text);
    let mut star: Option<(usize, &str)> = None;
    loop {
        match (pieces.get(piece), rest.chars().next()) {
            (None, None) => return true,
            (Some(Piece::Any), _) => {
                piece += 1;
                star = Some((piece, rest));
                continue;
            }
            (Some(Piece::One), Some(first)) => {
                piece += 1;
                rest = &rest[first.len_utf8()..];
                continue;
            }
            (Some(Piece::Char(wanted)), Some(first)) if *wanted == first => {
                piece += 1;
                rest = &rest[first.len_utf8()..];
                continue;
            }
            _ => {}
        }
        let Some((after, from)) = star else { return false };
        let Some(skipped) = from.chars().next() else {
            return false;
        };
        rest = &from[skipped.len_utf8()..];
        (piece, star) = (after, Some((after, rest)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wild(pattern: &str, text: &str) -> bool {
        Pattern::read(pattern, true, false)
            .unwrap()
            .matches(text, &|_| None)
    }

    /// What a pattern means, by its definition and slowly.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|n| naive(rest, &text[n..])),
            Some(('?', rest)) => text.split_first().is_some_and(|(_, text)| naive(rest, text)),
            Some((first, rest)) => text
                .split_first()
                .is_some_and(|(t, text)| t == first && naive(rest, text)),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_its_definition_says(
            pattern in "[ab*?\u{fc}]{0,8}",
            text in "[ab*\u{fc}]{0,8}",
        ) {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(wild(&pattern, &text), naive(&chars(&pattern), &chars(&text)));
        }
    }

    #[test]
    fn variables_stand_for_values_whose_stars_are_stars() {
        let lookup = |name: &str| (name == "aws:userid").then(|| "u*".to_owned());
        let read = |text: &str| Pattern::read(text, true, true).unwrap();
        assert!(read("home/${aws:userid}/*").matches("home/u*/x", &lookup));
        assert!(!read("home/${aws:userid}/*").matches("home/ux/x", &lookup));
        assert!(!read("${aws:other}").matches("", &lookup));
        assert!(read("a${*}").matches("a*", &lookup) && !read("a${*}").matches("ab", &lookup));
        assert!(read("A${?}?").matches_any_case("a?B", &lookup));
        assert!(Pattern::read("${aws:userid", true, true).is_err());
        assert!(Pattern::read("${aws:userid", true, false).unwrap().is_fixed());
    }

    #[test]
    fn many_stars_take_no_longer_than_one() {
        let pattern = "*a".repeat(200);
        assert!(!wild(&pattern, &"a".repeat(199)));
        assert!(!wild(&(pattern + "b"), &"a".repeat(5000)));
    }
}
