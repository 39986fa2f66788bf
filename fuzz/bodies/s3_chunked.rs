//! Any bytes as a body in chunks, signed and not; and sound bodies, whole and with one byte changed.

use super::fuzzed::{self, Chunks};

/// Bytes that each chunk but the last has at least.
const LEAST: usize = 8192;

/// Panics if the reader does, if the result depends on how a body was cut, or if a signed body passes as whole with
/// other bytes than were signed.
pub fn chew(data: &[u8]) {
    let Some((&[how, step], body)) = data.split_first_chunk::<2>() else {
        return;
    };
    let bit = |n: u8| how >> n & 1 == 1;
    let chunks = Chunks {
        length: u64::from(how >> 4),
        signed: bit(0),
        checksum: bit(1),
        signed_trailer: bit(2) && bit(0),
    };
    whatever(chunks, body, usize::from(step) + 1);
    made(body, bit(3), usize::from(step) + 1);
}

fn whatever(chunks: Chunks, body: &[u8], step: usize) {
    let (whole, cut) = (
        fuzzed::chunked(chunks, body, body.len()),
        fuzzed::chunked(chunks, body, step),
    );
    for read in [&whole, &cut] {
        match read {
            Ok((bytes, _)) => assert_eq!(bytes.len() as u64, chunks.length),
            Err((_, bytes)) => assert!(bytes.len() as u64 <= chunks.length),
        }
    }
    // What was passed on before a fault was seen does depend on it.
    assert_eq!(cut.map_err(|(code, _)| code), whole.map_err(|(code, _)| code));
}

/// Two chunks that a client has signed; the last byte of `filling` says which byte of them is changed.
fn made(filling: &[u8], signed: bool, step: usize) {
    let Some((at, small)) = filling.split_last() else {
        return;
    };
    let large: Vec<u8> = small.iter().copied().cycle().take(LEAST).collect();
    let parts: Vec<&[u8]> = match large.is_empty() || small.is_empty() {
        true => vec![b"x", b""],
        false => vec![&large, small, b""],
    };
    let signatures = fuzzed::signatures(&parts);
    assert_eq!(signatures.len(), parts.len());
    let mut body = Vec::new();
    for (part, signature) in parts.iter().zip(&signatures) {
        let head = match signed {
            true => format!("{:x};chunk-signature={signature}\r\n", part.len()),
            false => format!("{:x}\r\n", part.len()),
        };
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(part);
        body.extend_from_slice(b"\r\n");
    }
    let sent = parts.concat();
    let chunks = Chunks {
        length: sent.len() as u64,
        signed,
        checksum: false,
        signed_trailer: false,
    };
    assert_eq!(fuzzed::chunked(chunks, &body, step), Ok((sent.clone(), None)));
    let at = usize::from(*at) * body.len() / 256;
    body[at] ^= 1 << (at % 8);
    if let Ok((bytes, _)) = fuzzed::chunked(chunks, &body, step) {
        assert!(!signed || bytes == sent, "changed at {at}");
    }
}
