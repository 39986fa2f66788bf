//! `aws-chunked`: a body in chunks, each with its length and perhaps a
//! signature in front of it, and perhaps a checksum behind the last one. Bytes
//! are passed on as they come; a bad signature is found at the end of its
//! chunk, and ends the body before any operation can take it for whole.
use bytes::Bytes;
use http::StatusCode;
use s3s::{S3Error, S3Result, s3_error};
use sha2::{Digest, Sha256};

use super::Trailing;
use super::verify::Chain;
use crate::checksum::Algorithm;
use crate::detail::Detailed;
use crate::fault::named;

/// Every chunk but the last has at least so many bytes.
const LEAST: u64 = 8192;
/// Longest line in front of a chunk or behind all, in bytes.
const LONGEST: usize = 1024;
/// Most lines behind all chunks.
const MOST_LINES: usize = 16;
/// Its line stands behind the others.
const SIGNATURE: &str = "x-amz-trailer-signature";

/// A body that ends before it should.
fn ended() -> S3Error {
    s3_error!(IncompleteBody, "The request body terminated unexpectedly")
}

/// A body of another length than announced.
pub(super) fn wrong_length(expected: u64, provided: u64) -> S3Error {
    s3_error!(
        IncompleteBody,
        "You did not provide the number of bytes specified by the Content-Length HTTP header"
    )
    .detail("NumberBytesExpected", &expected.to_string())
    .detail("NumberBytesProvided", &provided.to_string())
}

/// What is behind the body is not what was announced.
pub(crate) fn malformed_trailer() -> S3Error {
    named(
        StatusCode::BAD_REQUEST,
        "MalformedTrailerError",
        "The request contained trailing data that was not well-formed or did not conform to our published schema.",
    )
}

/// What of a body has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The line in front of a chunk.
    Head,
    /// A chunk, of which so many bytes are left.
    Chunk(u64),
    /// The line end behind a chunk.
    Tail,
    /// Lines behind the last chunk.
    Trailer,
    /// What is not looked at.
    Rest,
}

/// What a body is announced to be.
pub(super) struct Announced {
    /// Bytes of all chunks.
    pub(super) length: u64,
    /// Who checks the signatures of chunks, if they have any.
    pub(super) chain: Option<Chain>,
    /// Whether what stands behind them is signed.
    pub(super) signed_trailer: bool,
    /// The checksum that stands behind them.
    pub(super) checksum: Option<Algorithm>,
}

/// Reads chunks.
pub(super) struct Decoder {
    announced: Announced,
    trailing: Trailing,
    at: At,
    line: Vec<u8>,
    given: u64,
    number: u32,
    before: Option<u64>,
    digest: Sha256,
    signature: String,
    lines: usize,
    checksum: Option<String>,
    trailer_signature: Option<String>,
}

impl Decoder {
    /// A reader that tells the checksum behind the body to `trailing`.
    pub(super) fn new(announced: Announced, trailing: Trailing) -> Self {
        Self {
            announced,
            trailing,
            at: At::Head,
            line: Vec::new(),
            given: 0,
            number: 0,
            before: None,
            digest: Sha256::new(),
            signature: String::new(),
            lines: 0,
            checksum: None,
            trailer_signature: None,
        }
    }

    /// The next bytes of the object in what has arrived; `None` when all of
    /// that is used up.
    ///
    /// # Errors
    /// What is wrong with the chunks.
    pub(super) fn next(&mut self, arrived: &mut Bytes) -> S3Result<Option<Bytes>> {
        while !arrived.is_empty() {
            match self.at {
                At::Head => {
                    if let Some(line) = self.line_of(arrived)? {
                        self.head(&line)?;
                    }
                }
                At::Chunk(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(arrived.len());
                    let bytes = arrived.split_to(taken);
                    self.given += bytes.len() as u64;
                    if self.announced.chain.is_some() {
                        self.digest.update(&bytes);
                    }
                    self.at = At::Chunk(left - bytes.len() as u64);
                    if self.at == At::Chunk(0) {
                        self.chunk_ends()?;
                        self.at = At::Tail;
                    }
                    return Ok(Some(bytes));
                }
                At::Tail => {
                    self.line.push(arrived.split_to(1)[0]);
                    match self.line.as_slice() {
                        b"\r" => {}
                        b"\r\n" => {
                            self.line.clear();
                            self.at = At::Head;
                        }
                        _ => return Err(ended()),
                    }
                }
                At::Trailer => {
                    if let Some(line) = self.line_of(arrived)? {
                        self.trailer(&line)?;
                    }
                }
                At::Rest => arrived.clear(),
            }
        }
        Ok(None)
    }

    /// A line without its end, once all of it is there.
    fn line_of(&mut self, arrived: &mut Bytes) -> S3Result<Option<Vec<u8>>> {
        let end = arrived.iter().position(|byte| *byte == b'\n');
        let taken = arrived.split_to(end.map_or(arrived.len(), |end| end + 1));
        if self.line.len() + taken.len() > LONGEST {
            return Err(ended());
        }
        self.line.extend_from_slice(&taken);
        if end.is_none() {
            return Ok(None);
        }
        let line = std::mem::take(&mut self.line);
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(Some(line.to_vec())),
            None => Err(ended()),
        }
    }

    fn head(&mut self, line: &[u8]) -> S3Result<()> {
        let line = std::str::from_utf8(line).map_err(|_| ended())?;
        let (size, parameters) = line.split_once(';').map_or((line, None), |(s, p)| (s, Some(p)));
        let size = size.trim();
        let hex = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = u64::from_str_radix(size, 16)
            .ok()
            .filter(|_| hex)
            .ok_or_else(ended)?;
        self.number += 1;
        if let Some(before) = self.before.filter(|before| *before < LEAST && size != 0) {
            return Err(named(
                StatusCode::FORBIDDEN,
                "InvalidChunkSizeError",
                "Only the last chunk is allowed to have a size less than 8192 bytes",
            )
            .detail("Chunk", &self.number.to_string())
            .detail("BadChunkSize", &before.to_string()));
        }
        self.before = Some(size);
        if size > self.announced.length - self.given {
            let provided = self.given.saturating_add(size);
            return Err(wrong_length(self.announced.length, provided));
        }
        if self.announced.chain.is_some() {
            self.signature = self.signature_of(parameters)?;
        }
        self.at = At::Chunk(size);
        if size == 0 {
            self.chunk_ends()?;
            self.at = At::Trailer;
        }
        Ok(())
    }

    fn signature_of(&mut self, parameters: Option<&str>) -> S3Result<String> {
        let (name, value) = match parameters {
            Some(parameters) if !parameters.is_empty() => {
                parameters.split_once('=').unwrap_or((parameters, ""))
            }
            Some(_) | None => return Err(ended()),
        };
        if name.trim() != "chunk-signature" {
            // No signature is that of this chunk.
            let empty = super::verify::sha256(b"");
            let chain = self.announced.chain.as_mut();
            chain.map_or(Ok(()), |chain| chain.chunk(&empty, ""))?;
        }
        let value = value.trim();
        match value.is_empty() || value.contains(';') {
            true => Err(ended()),
            false => Ok(value.to_owned()),
        }
    }

    fn chunk_ends(&mut self) -> S3Result<()> {
        let Some(chain) = &mut self.announced.chain else {
            return Ok(());
        };
        let digest = hex::encode(self.digest.finalize_reset());
        chain.chunk(&digest, &self.signature)
    }

    /// Whether anything is announced to stand behind the chunks.
    fn trails(&self) -> bool {
        self.announced.signed_trailer || self.announced.checksum.is_some()
    }

    fn trailer(&mut self, line: &[u8]) -> S3Result<()> {
        if line.is_empty() {
            self.at = At::Rest;
            return Ok(());
        }
        if !self.trails() {
            return Err(ended());
        }
        self.lines += 1;
        let line = std::str::from_utf8(line)
            .ok()
            .filter(|_| self.lines <= MOST_LINES);
        let (name, value) = line
            .and_then(|line| line.split_once(':'))
            .ok_or_else(malformed_trailer)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
        if self.announced.signed_trailer && name == SIGNATURE {
            self.trailer_signature = Some(value);
        } else if self
            .announced
            .checksum
            .is_some_and(|checksum| checksum.header() == name)
        {
            // Of several the last counts.
            self.checksum = Some(value);
        } else {
            return Err(malformed_trailer());
        }
        Ok(())
    }

    /// The body has ended.
    ///
    /// # Errors
    /// If it should not have, or what stands behind it is not what was announced.
    pub(super) fn finish(&mut self) -> S3Result<()> {
        if !self.line.is_empty() || !matches!(self.at, At::Trailer | At::Rest) {
            return Err(ended());
        }
        if self.announced.signed_trailer && self.trailer_signature.is_none() {
            return Err(ended());
        }
        if self.announced.checksum.is_some() && self.checksum.is_none() {
            return Err(malformed_trailer());
        }
        if let (Some(chain), Some(signature)) = (&mut self.announced.chain, &self.trailer_signature) {
            let line = self.announced.checksum.zip(self.checksum.as_ref());
            let line = line.map(|(checksum, value)| format!("{}:{value}\n", checksum.header()));
            chain.trailer(&line.unwrap_or_default(), signature)?;
            if self.announced.checksum.is_none() {
                return Err(ended());
            }
        }
        if self.given != self.announced.length {
            return Err(wrong_length(self.announced.length, self.given));
        }
        if let Some((algorithm, value)) = self.announced.checksum.zip(self.checksum.take()) {
            if !algorithm.is_value(&value) {
                let name = algorithm.header();
                return Err(s3_error!(
                    InvalidRequest,
                    "Value for {name} trailing header is invalid."
                ));
            }
            self.trailing.set(value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::verify::example::{chain, sign};
    use super::*;

    /// All of a body that arrives in pieces of `step` bytes, or the code and
    /// message of what is wrong with it.
    fn read(announced: Announced, body: &[u8], step: usize) -> Result<(Vec<u8>, Option<String>), String> {
        let trailing = Trailing::default();
        let mut decoder = Decoder::new(announced, trailing.clone());
        let mut all = Vec::new();
        let said = |error: S3Error| {
            let mut headers = error.headers().cloned().unwrap_or_default();
            let details = crate::detail::take(&mut headers);
            let message = error.message().unwrap_or_default();
            format!("{}: {message} {details}", error.code().as_str())
        };
        for piece in body.chunks(step) {
            let mut arrived = Bytes::copy_from_slice(piece);
            while let Some(bytes) = decoder.next(&mut arrived).map_err(said)? {
                all.extend_from_slice(&bytes);
            }
        }
        decoder.finish().map_err(said)?;
        Ok((all, trailing.value().map(str::to_owned)))
    }

    fn unsigned(length: u64, checksum: Option<Algorithm>) -> Announced {
        Announced {
            length,
            chain: None,
            signed_trailer: false,
            checksum,
        }
    }

    #[test]
    fn chunks_are_read_however_they_are_cut() {
        let crc = Some(Algorithm::Crc32);
        let behind = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32: AAAA\r\nX-Amz-Checksum-Crc32:y/Q5Jg==\r\n\r\nrest\u{ff}";
        for step in 1..behind.len() {
            for whole in ["5\r\nhello\r\n0\r\n\r\n", "5 ;x=y\r\nhello\r\n0\r\n"] {
                let read = read(unsigned(5, None), whole.as_bytes(), step);
                assert_eq!(read, Ok((b"hello".to_vec(), None)), "{whole:?} by {step}");
            }
            let read = read(unsigned(5, crc), behind.as_bytes(), step);
            assert_eq!(
                read,
                Ok((b"hello".to_vec(), Some("y/Q5Jg==".to_owned()))),
                "by {step}"
            );
        }
    }

    #[test]
    fn what_is_wrong_with_chunks_is_said_as_aws_says_it() {
        let ended = "IncompleteBody: The request body terminated unexpectedly ";
        let crc = Some(Algorithm::Crc32);
        let length = |provided: u64| {
            format!(
                "IncompleteBody: You did not provide the number of bytes specified by the Content-Length HTTP header \
                 <NumberBytesExpected>5</NumberBytesExpected><NumberBytesProvided>{provided}</NumberBytesProvided>"
            )
        };
        let malformed = "MalformedTrailerError: ";
        for (body, checksum, error) in [
            ("", None, ended),
            ("5\r\nhello", None, ended),
            ("5\r\nhello\r\n", None, ended),
            ("5\nhello\n0\n\n", None, ended),
            ("-5\r\nhello\r\n0\r\n\r\n", None, ended),
            ("5\r\nhello\r\n0\r\n\r", None, ended),
            ("5\r\nhello\r\n0\r\na: b\r\n", None, ended),
            ("5\r\nhelloX\r\n0\r\n\r\n", None, ended),
            (&"1".repeat(LONGEST + 1), None, ended),
            ("a\r\nhellohello\r\n0\r\n\r\n", None, &length(10)),
            ("ffffffffffffffff\r\nhello", None, &length(u64::MAX)),
            ("4\r\nhell\r\n0\r\n\r\n1\r\no\r\n0\r\n\r\n", None, &length(4)),
            (
                "4\r\nhell\r\n1\r\no\r\n0\r\n\r\n",
                None,
                "InvalidChunkSizeError: ",
            ),
            ("5\r\nhello\r\n0\r\n\r\n", crc, malformed),
            ("5\r\nhello\r\n0\r\na: b\r\n", crc, malformed),
            ("5\r\nhello\r\n0\r\nx-amz-checksum-crc32: AAAA", crc, ended),
            (
                "5\r\nhello\r\n0\r\nx-amz-checksum-crc32: AAAA\r\n",
                crc,
                "InvalidRequest: Value for x-amz-checksum-crc32 trailing",
            ),
        ] {
            let said = read(unsigned(5, checksum), body.as_bytes(), 3).unwrap_err();
            assert!(said.starts_with(error), "{body:?}: {said}");
        }
    }

    #[test]
    fn signed_chunks_go_on_from_each_other() {
        let announced = |chain| Announced {
            length: 5,
            chain: Some(chain),
            signed_trailer: false,
            checksum: None,
        };
        let mut links = chain();
        let first = sign(&links, b"hello");
        links
            .chunk(&super::super::verify::sha256(b"hello"), &first)
            .unwrap();
        let last = sign(&links, b"");
        let body = |first: &str, data: &str, last: &str| {
            format!("5;{first}\r\n{data}\r\n0;chunk-signature={last}\r\n\r\n")
        };
        for good in [
            format!("chunk-signature={first}"),
            format!(" chunk-signature = {first} "),
        ] {
            let read = read(announced(chain()), body(&good, "hello", &last).as_bytes(), 7);
            assert_eq!(read.unwrap().0, b"hello");
        }
        let good = format!("chunk-signature={first}");
        let mismatch = "SignatureDoesNotMatch:";
        for (body, code) in [
            (body(&good, "hellO", &last), mismatch),
            (body(&good, "hello", &first), mismatch),
            (body("chunk-signature=x", "hello", &last), mismatch),
            (body(&format!("a=b;{good}"), "hello", &last), mismatch),
            (body(&format!("{good};a=b"), "hello", &last), "IncompleteBody:"),
            (body("chunk-signature=", "hello", &last), "IncompleteBody:"),
            (body("", "hello", &last), "IncompleteBody:"),
        ] {
            let said = read(announced(chain()), body.as_bytes(), 7).unwrap_err();
            assert!(said.starts_with(code), "{body:?}: {said}");
        }
    }
}
