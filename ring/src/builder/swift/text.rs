//! The literals of pickles that are not plain bytes: long integers and the
//! escaped lines of protocol 0.
use std::borrow::Cow;

/// A two's complement little-endian integer; `None` above 64 bits.
pub(super) fn long(bytes: &[u8]) -> Option<i64> {
    let Some(&last) = bytes.last() else {
        return Some(0);
    };
    let filler = if last >= 0x80 { 0xff } else { 0 };
    // Longer forms are fine as long as the value is not.
    let (head, tail) = bytes.split_at(bytes.len().min(8));
    let mut word = [filler; 8];
    word[..head.len()].copy_from_slice(head);
    let number = i64::from_le_bytes(word);
    let fits = tail.iter().all(|&byte| byte == filler) && (number < 0) == (filler == 0xff);
    fits.then_some(number)
}

/// A line of UNICODE: Latin-1 with `\uXXXX` and `\UXXXXXXXX`.
pub(super) fn unicode_line(line: &[u8]) -> Option<Cow<'_, str>> {
    if line.is_ascii() && !line.contains(&b'\\') {
        return std::str::from_utf8(line).ok().map(Cow::Borrowed);
    }
    let mut out = String::new();
    let mut rest = line;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let digits = match (byte, rest.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                out.push(char::from(byte));
                continue;
            }
        };
        out.push(char::from_u32(hex(rest.get(1..=digits)?)?)?);
        rest = &rest[1 + digits..];
    }
    Some(Cow::Owned(out))
}

/// A line of STRING: a Python literal in single or double quotes.
pub(super) fn quoted_line(line: &[u8]) -> Option<Cow<'_, [u8]>> {
    let line = line.trim_ascii();
    let quote = *line.first().filter(|byte| matches!(byte, b'\'' | b'"'))?;
    let inside = line.get(1..)?.strip_suffix(&[quote])?;
    if !inside.contains(&b'\\') {
        return Some(Cow::Borrowed(inside));
    }
    let mut out = Vec::new();
    let mut rest = inside;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let (&escape, tail) = rest.split_first()?;
        rest = tail;
        out.push(match escape {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'\\' | b'\'' | b'"' => escape,
            b'x' => {
                let value = hex(rest.get(..2)?)?;
                rest = &rest[2..];
                u8::try_from(value).ok()?
            }
            _ => return None,
        });
    }
    Some(Cow::Owned(out))
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |value, &digit| {
        Some(value << 4 | char::from(digit).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_integers_are_twos_complement_of_any_width() {
        for (bytes, number) in [
            (&[][..], Some(0)),
            (&[0xff], Some(-1)),
            (&[0xff, 0], Some(255)),
            (&[0, 0, 0, 0, 0, 0, 0, 0x80], Some(i64::MIN)),
            (&[0, 0, 0, 0, 0, 0, 0, 0x80, 0], None),
            (&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0], Some(1)),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 1], None),
        ] {
            assert_eq!(long(bytes), number, "{bytes:?}");
        }
    }

    #[test]
    fn lines_of_protocol_0_are_unescaped() {
        assert_eq!(unicode_line(b"a\\u00e9\\U0001f600\xe9\\n").unwrap(), "aé😀é\\n");
        assert_eq!(unicode_line(b"plain").unwrap(), "plain");
        assert_eq!(quoted_line(b"'it\\'s \\x41\\n'").unwrap().as_ref(), b"it's A\n");
        for bad in [&b"\\u12"[..], b"\\ud800", b"\\uzzzz"] {
            assert_eq!(unicode_line(bad), None);
        }
        for bad in [&b"'a"[..], b"a'", b"'", b"", b"'\\'", b"'\\x4'", b"'\\q'"] {
            assert_eq!(quoted_line(bad), None, "{bad:?}");
        }
    }
}
