//! Names of headers as Swift writes them: `X-Object-Meta-Color`.
//!
//! hyper writes names in small letters or all of a connection's in this way. S3's
//! clients tell metadata by the letters that came, in small ones; Swift's look for
//! capitals. So [`super::wire`] changes the heads of Swift's answers on their way
//! out: lengths stay, values and bodies are not touched.

/// Place of the first digit of the status in a head.
const STATUS: u8 = 9;

/// Where in a head the next byte stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    /// Behind the head, or in none.
    #[default]
    Outside,
    /// The line of the status, so many bytes in, up to the status.
    Status(u8),
    /// First byte of a line.
    Line,
    /// First byte of a word of a name.
    Word,
    /// Further bytes of a word.
    Name,
    /// Behind the colon.
    Value,
    /// The line feed that ends the head.
    End,
}

/// Follows a head through the pieces in which it is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TitleCase {
    at: At,
    /// Whether the head says "go on" (1xx): the answer's own follows it.
    informational: bool,
}

impl TitleCase {
    /// Before the first byte of a head.
    pub fn head() -> Self {
        Self {
            at: At::Status(0),
            informational: false,
        }
    }

    /// Whether there is more of the head to come.
    pub fn is_inside(&self) -> bool {
        self.at != At::Outside
    }

    /// Writes the names in `piece`, which is what comes next, as Swift does. What
    /// is behind the head stays as it is.
    pub fn apply(&mut self, piece: &mut [u8]) {
        for byte in piece {
            match (self.at, *byte) {
                (At::Outside, _) => return,
                (At::Status(_) | At::Value, b'\n') => self.at = At::Line,
                (At::Status(STATUS), digit) => {
                    self.informational = digit == b'1';
                    self.at = At::Value;
                }
                (At::Status(before), _) => self.at = At::Status(before + 1),
                (At::Line, b'\r') => self.at = At::End,
                (At::Line | At::Word | At::Name, b':') => self.at = At::Value,
                (At::Line | At::Word | At::Name, b'-') => self.at = At::Word,
                (At::Line | At::Word, _) => {
                    byte.make_ascii_uppercase();
                    self.at = At::Name;
                }
                (At::Name | At::Value, _) => {}
                (At::End, _) if self.informational => *self = Self::head(),
                (At::End, _) => self.at = At::Outside,
            }
        }
    }

    /// The same head after `written` more bytes.
    #[must_use]
    pub fn after(mut self, written: &[u8]) -> Self {
        self.apply(&mut written.to_vec());
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BEFORE: &str = "HTTP/1.1 200 ok-then\r\nx-object-meta-two-words: stay-small: x-y\r\netag: a\r\n\r\n\
                          http/1.1 200\r\nx-body: x";
    const AFTER: &str = "HTTP/1.1 200 ok-then\r\nX-Object-Meta-Two-Words: stay-small: x-y\r\nEtag: a\r\n\r\n\
                         http/1.1 200\r\nx-body: x";

    proptest! {
        #[test]
        fn names_get_capitals_however_the_head_is_cut(go_on in any::<bool>(), cuts in prop::collection::vec(1..40_usize, 0..12)) {
            let hesitant = if go_on { "HTTP/1.1 100 Continue\r\n\r\n" } else { "" };
            let (before, after) = (format!("{hesitant}{BEFORE}"), format!("{hesitant}{AFTER}"));
            let (mut case, mut written) = (TitleCase::head(), Vec::new());
            let mut rest = before.as_bytes();
            for cut in cuts.into_iter().chain([before.len()]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                let mut piece = now.to_vec();
                let told = case.after(&piece);
                case.apply(&mut piece);
                prop_assert_eq!(case, told);
                written.extend(piece);
                rest = later;
            }
            prop_assert_eq!(String::from_utf8_lossy(&written), after);
            prop_assert!(!case.is_inside());
        }
    }
}
