//! Bodies in chunks for the fuzz targets: see [`crate::fuzzed`].
use bytes::Bytes;

use super::chunked::{Announced, Decoder};
use super::{Trailing, verify};
use crate::checksum::Algorithm;
use crate::fuzzed::code;

/// What a body in chunks is announced to be.
#[derive(Clone, Copy, Debug)]
pub struct Chunks {
    /// Bytes of all chunks.
    pub length: u64,
    /// Whether each is signed.
    pub signed: bool,
    /// Whether a CRC-32 stands behind them.
    pub checksum: bool,
    /// Whether what stands behind them is signed.
    pub signed_trailer: bool,
}

/// An object, and the checksum behind it if there is one.
pub type Decoded = (Vec<u8>, Option<String>);
/// The code of what is wrong with a body, and what was passed on before.
pub type Broken = (String, Vec<u8>);

/// The object in a body that arrives in pieces of `step` bytes, and the checksum
/// behind it.
///
/// # Errors
/// The code of what is wrong, and what was passed on before that was seen.
pub fn chunked(chunks: Chunks, body: &[u8], step: usize) -> Result<Decoded, Broken> {
    let announced = Announced {
        length: chunks.length,
        chain: chunks.signed.then(verify::example::chain),
        signed_trailer: chunks.signed_trailer,
        checksum: chunks.checksum.then_some(Algorithm::Crc32),
    };
    let trailing = Trailing::default();
    let mut decoder = Decoder::new(announced, trailing.clone());
    let mut all = Vec::new();
    for piece in body.chunks(step.max(1)) {
        let mut arrived = Bytes::copy_from_slice(piece);
        loop {
            match decoder.next(&mut arrived) {
                Ok(Some(bytes)) => all.extend_from_slice(&bytes),
                Ok(None) => break,
                Err(error) => return Err((code(error), all)),
            }
        }
    }
    match decoder.finish() {
        Ok(()) => Ok((all, trailing.value().map(str::to_owned))),
        Err(error) => Err((code(error), all)),
    }
}

/// The signatures that chunks must have, one after the other.
pub fn signatures(chunks: &[&[u8]]) -> Vec<String> {
    let mut chain = verify::example::chain();
    let mut all = Vec::new();
    for chunk in chunks {
        let signature = verify::example::sign(&chain, chunk);
        // It is good: the chain goes on from it.
        if chain.chunk(&verify::sha256(chunk), &signature).is_ok() {
            all.push(signature);
        }
    }
    all
}
