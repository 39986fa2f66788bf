//! Forms for the fuzz targets: see [`crate::fuzzed`].
use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use s3s::S3Error;
use virga_proxy::core::BodyError;
use virga_proxy::swift::formpost::multipart::Multipart;

use super::document::Document;
use super::fields::{Fields, broken};
use crate::fuzzed::code;

/// Names and values.
pub type Pairs = Vec<(String, String)>;

/// The fields of a form whose parts `boundary` divides and which comes in pieces
/// of so many bytes, and the bytes of its file.
///
/// # Errors
/// What is wrong with it.
pub fn fields(boundary: &str, body: &[u8], piece: usize) -> Result<(Pairs, Vec<u8>), String> {
    let pieces = body
        .chunks(piece.max(1))
        .map(|piece| Ok::<_, BodyError>(Bytes::copy_from_slice(piece)));
    let pieces: Vec<_> = pieces.collect();
    let mut parts = Multipart::new(stream::iter(pieces), boundary);
    let work = async {
        let (fields, _) = Fields::read(&mut parts).await?;
        let mut file = Vec::new();
        while let Some(piece) = parts.data().await.map_err(broken)? {
            file.extend_from_slice(&piece);
        }
        let all = fields
            .all()
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let pairs: Pairs = all.collect();
        Ok::<_, S3Error>((pairs, file))
    };
    let done = work.now_or_never();
    done.ok_or("it waits for what is there")?.map_err(code)
}

/// Whether the policy of a form lets these fields pass at a time, and how long
/// the file may be.
///
/// # Errors
/// What is wrong with it.
pub fn form_policy(
    encoded: &str,
    now_ms: i64,
    fields: &[(String, String)],
) -> Result<(bool, (u64, u64)), String> {
    let document = Document::read(encoded).map_err(code)?;
    let get = |name: &str| {
        let found = fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    };
    let names = fields.iter().map(|(name, _)| name.as_str());
    let passes = document.check(now_ms, names, get).is_ok();
    Ok((passes, document.length()))
}
