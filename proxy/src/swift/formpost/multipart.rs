//! The parts of a `multipart/form-data` body, one after another, as they come.
//!
//! Holds one frame of the body and never more than a bound between two parts:
//! files of any size pass through.
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use crate::core::BodyError;

/// Bytes of a boundary, as RFC 2046 has it.
const LONGEST_BOUNDARY: usize = 70;
/// Bytes of the headers of one part.
const LONGEST_HEAD: usize = 8 * 1024;

/// Why a body has no further part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// The bytes did not come.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body ends before its last boundary.
    #[error("the form ends early")]
    Early,
    /// What follows a boundary is no part.
    #[error("invalid part")]
    Malformed,
}

/// A body in parts.
pub struct Multipart<S> {
    body: S,
    buffer: BytesMut,
    /// "\r\n--" and the boundary.
    delimiter: Vec<u8>,
    ended: bool,
}

/// The head of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Name of the field.
    pub name: String,
    /// Name of the file; `None` if it is none.
    pub filename: Option<String>,
    /// MIME type of a file.
    pub content_type: Option<String>,
    /// How a file is packed.
    pub content_encoding: Option<String>,
}

/// The boundary that a `Content-Type` names, if it is that of a form.
pub fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("boundary")
            .then_some(value.trim())
    })?;
    let value = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap_or(value);
    (1..=LONGEST_BOUNDARY).contains(&value.len()).then_some(value)
}

impl<S: Stream<Item = Result<Bytes, BodyError>> + Unpin> Multipart<S> {
    /// Parts of `body`, which `boundary` divides.
    pub fn new(body: S, boundary: &str) -> Self {
        Self {
            body,
            // As if the body began with a line of its own.
            buffer: BytesMut::from(&b"\r\n"[..]),
            delimiter: [b"\r\n--", boundary.as_bytes()].concat(),
            ended: false,
        }
    }

    /// Gets more of the body; false at its end.
    async fn fill(&mut self) -> Result<bool, PartError> {
        loop {
            match self.body.next().await.transpose()? {
                Some(piece) if piece.is_empty() => {}
                Some(piece) => {
                    self.buffer.extend_from_slice(&piece);
                    return Ok(true);
                }
                None => return Ok(false),
            }
        }
    }

    /// The next bytes of this part; `None` at its end.
    ///
    /// # Errors
    /// [`PartError`].
    pub async fn data(&mut self) -> Result<Option<Bytes>, PartError> {
        if self.ended {
            return Ok(None);
        }
        loop {
            match find(&self.buffer, &self.delimiter) {
                Some(0) => return Ok(None),
                Some(at) => return Ok(Some(self.buffer.split_to(at).freeze())),
                None => {}
            }
            // The delimiter may have begun at the end of what is here.
            let safe = (self.buffer.len() + 1).saturating_sub(self.delimiter.len());
            if safe > 0 {
                return Ok(Some(self.buffer.split_to(safe).freeze()));
            }
            if !self.fill().await? {
                return Err(PartError::Early);
            }
        }
    }

    /// Goes on to the next part; what is left of this one is skipped. `None`
    /// after the last one.
    ///
    /// # Errors
    /// [`PartError`].
    pub async fn next(&mut self) -> Result<Option<Part>, PartError> {
        while self.data().await?.is_some() {}
        if self.ended {
            return Ok(None);
        }
        let start = self.delimiter.len();
        while self.buffer.len() < start + 2 {
            if !self.fill().await? {
                return Err(PartError::Early);
            }
        }
        if &self.buffer[start..start + 2] == b"--" {
            self.ended = true;
            return Ok(None);
        }
        loop {
            let head = &self.buffer[start..];
            if let Some(end) = find(head, b"\r\n\r\n") {
                if end > LONGEST_HEAD {
                    return Err(PartError::Malformed);
                }
                let part = read_head(&head[..end]).ok_or(PartError::Malformed)?;
                let _ = self.buffer.split_to(start + end + 4);
                return Ok(Some(part));
            }
            if head.len() > LONGEST_HEAD {
                return Err(PartError::Malformed);
            }
            if !self.fill().await? {
                return Err(PartError::Early);
            }
        }
    }
}

/// Where `wanted`, which begins with a carriage return, is in `bytes`.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|b| *b == b'\r') {
        if bytes[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// Reads the headers of a part; the rest of the boundary's line is in front.
fn read_head(head: &[u8]) -> Option<Part> {
    let text = String::from_utf8(head.to_vec()).ok()?;
    let (line, headers) = text.split_once("\r\n")?;
    if !line.trim().is_empty() {
        return None;
    }
    let mut part = Part::default();
    let mut named = false;
    for header in headers.split("\r\n") {
        let (name, value) = header.split_once(':')?;
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "content-disposition" => {
                let (name, filename) = read_disposition(value)?;
                (part.name, part.filename, named) = (name, filename, true);
            }
            "content-type" => part.content_type = Some(value.to_owned()),
            "content-encoding" => part.content_encoding = Some(value.to_owned()),
            _ => {}
        }
    }
    named.then_some(part)
}

/// Name and file name of `form-data; name="a"; filename="b"`.
fn read_disposition(value: &str) -> Option<(String, Option<String>)> {
    let (kind, mut rest) = value.split_once(';').unwrap_or((value, ""));
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return None;
    }
    let (mut name, mut filename) = (None, None);
    while !rest.trim().is_empty() {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = read_value(after)?;
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => name = Some(value),
            "filename" => filename = Some(value),
            _ => {}
        }
        rest = after.trim_start().strip_prefix(';').unwrap_or(after);
        if rest == after && !rest.trim().is_empty() {
            return None;
        }
    }
    Some((name?, filename))
}

/// A value, in quotes or not, and what follows it.
fn read_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.trim_start().strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return Some((text[..end].trim().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            // Only what needs it is escaped: paths of other systems are left alone.
            '\\' if quoted[at + 1..].starts_with(['"', '\\']) => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use proptest::prelude::*;

    type Parts = Vec<(String, Option<String>, Vec<u8>)>;

    async fn read(body: &[u8], piece: usize) -> Result<Parts, PartError> {
        let pieces: Vec<_> = body
            .chunks(piece.max(1))
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let mut parts = Multipart::new(stream::iter(pieces), "b0");
        let mut all = Vec::new();
        while let Some(part) = parts.next().await? {
            let mut data = Vec::new();
            while let Some(piece) = parts.data().await? {
                data.extend_from_slice(&piece);
            }
            all.push((part.name, part.filename, data));
        }
        Ok(all)
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(work)
    }

    fn written(parts: &Parts) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, filename, data) in parts {
            body.extend_from_slice(b"--b0\r\n");
            let file = filename
                .as_ref()
                .map_or_else(String::new, |f| format!("; filename=\"{f}\""));
            body.extend_from_slice(
                format!("Content-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").as_bytes(),
            );
            body.extend_from_slice(data);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--b0--\r\n");
        body
    }

    #[test]
    fn boundaries_are_found_in_the_content_type() {
        for (kind, expected) in [
            ("multipart/form-data; boundary=b0", Some("b0")),
            ("Multipart/Form-Data; charset=x; Boundary=\"b 0\"", Some("b 0")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("text/plain; boundary=b0", None),
        ] {
            assert_eq!(boundary(kind), expected, "{kind}");
        }
        assert_eq!(
            boundary(&format!("multipart/form-data; boundary={}", "x".repeat(71))),
            None
        );
    }

    #[test]
    fn names_are_read_as_browsers_write_them() {
        for (value, expected) in [
            ("form-data; name=\"a\"", Some(("a", None))),
            ("form-data; name=a; filename=b.c", Some(("a", Some("b.c")))),
            (
                "form-data; name=\"a\"; filename=\"C:\\x\\\"y;z\"",
                Some(("a", Some("C:\\x\"y;z"))),
            ),
            ("form-data; name=\"a\"; filename=\"\"", Some(("a", Some("")))),
            ("form-data", None),
            ("form-data; name=\"a", None),
            ("form-data; name=\"a\"x; filename=b", None),
            ("attachment; name=a", None),
        ] {
            let read = read_disposition(value);
            let expected =
                expected.map(|(name, file): (&str, Option<&str>)| (name.to_owned(), file.map(str::to_owned)));
            assert_eq!(read, expected, "{value}");
        }
    }

    #[test]
    fn broken_forms_are_refused() {
        let head = "--b0\r\nContent-Disposition: form-data; name=a\r\n\r\n";
        for (body, expected) in [
            (String::new(), PartError::Early),
            ("--b1--\r\n".into(), PartError::Early),
            (format!("{head}data"), PartError::Early),
            (format!("{head}data\r\n--b0"), PartError::Early),
            ("--b0 x\r\nA: b\r\n\r\n\r\n--b0--".into(), PartError::Malformed),
            ("--b0\r\nno header\r\n\r\n\r\n--b0--".into(), PartError::Malformed),
            ("--b0\r\nA: b\r\n\r\n\r\n--b0--".into(), PartError::Malformed),
            (
                format!("--b0\r\nA: {}\r\n\r\n", "x".repeat(9000)),
                PartError::Malformed,
            ),
            (format!("--b0\r\nA: {}", "x".repeat(9000)), PartError::Malformed),
        ] {
            assert_eq!(
                block_on(read(body.as_bytes(), 1000)).unwrap_err(),
                expected,
                "{body:.60}"
            );
        }
    }

    proptest! {
        #[test]
        fn parts_come_back_however_they_are_cut(
            parts in prop::collection::vec(("[a-z]{1,5}", prop::option::of("[a-z.]{0,5}"), "(\r|\n|-|b|0|--b|\r\n--b|[a-z]){0,12}"), 0..4),
            piece in 1usize..40,
        ) {
            let parts: Parts = parts.into_iter().map(|(n, f, d)| (n, f, d.into_bytes())).collect();
            let clean = parts.iter().all(|(_, _, data)| find(&[&data[..], b"\r\n"].concat(), b"\r\n--b0").is_none());
            prop_assume!(clean);
            prop_assert_eq!(block_on(read(&written(&parts), piece)), Ok(parts));
        }

        #[test]
        fn whatever_comes_is_read_or_refused(noise in "(--b0|\r\n|Content-Disposition: form-data; name=|\"|a|;|=|--|:){0,40}", piece in 1usize..9) {
            let _ = block_on(read(noise.as_bytes(), piece));
        }
    }
}
