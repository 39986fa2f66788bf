//! MD5 and BLAKE3 of a body as it passes.
//!
//! MD5 runs at half a gigabyte a second, slower than anything else on the way:
//! above [`INLINE`] bytes both digests run on the blocking pool, one piece at
//! a time, while the piece before is sent and the next one arrives.
use bytes::Bytes;
use md5::{Digest as _, Md5};
use tokio::task::JoinHandle;

/// Bodies up to this many bytes are hashed where they stand.
pub(super) const INLINE: usize = 64 * 1024;

/// What a body hashes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digests {
    /// Hex MD5.
    pub(super) etag: String,
    /// BLAKE3.
    pub(super) blake3: [u8; 32],
}

/// The hashing thread ended without an answer (the process is shutting down).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// Digests of a body that comes in pieces.
pub(super) struct Digester {
    md5: Option<Md5>,
    blake3: Option<Box<blake3::Hasher>>,
    md5_job: Option<JoinHandle<Md5>>,
    blake3_job: Option<JoinHandle<Box<blake3::Hasher>>>,
}

impl Digester {
    pub(super) fn new() -> Self {
        Self {
            md5: Some(Md5::new()),
            blake3: Some(Box::new(blake3::Hasher::new())),
            md5_job: None,
            blake3_job: None,
        }
    }

    /// Hashes a small body at once.
    pub(super) fn whole(body: &[u8]) -> Digests {
        Digests {
            etag: hex::encode(Md5::digest(body)),
            blake3: *blake3::hash(body).as_bytes(),
        }
    }

    async fn states(&mut self) -> Result<(Md5, Box<blake3::Hasher>), Gone> {
        let md5 = match self.md5_job.take() {
            Some(job) => job.await.map_err(|_| Gone)?,
            None => self.md5.take().ok_or(Gone)?,
        };
        let blake3 = match self.blake3_job.take() {
            Some(job) => job.await.map_err(|_| Gone)?,
            None => self.blake3.take().ok_or(Gone)?,
        };
        Ok((md5, blake3))
    }

    /// Adds a piece. Returns when the piece before has been hashed.
    pub(super) async fn feed(&mut self, piece: Bytes) -> Result<(), Gone> {
        let (mut md5, mut blake3) = self.states().await?;
        if piece.len() <= INLINE {
            md5.update(&piece);
            blake3.update(&piece);
            (self.md5, self.blake3) = (Some(md5), Some(blake3));
            return Ok(());
        }
        let same = piece.clone();
        self.md5_job = Some(tokio::task::spawn_blocking(move || {
            md5.update(&piece);
            md5
        }));
        self.blake3_job = Some(tokio::task::spawn_blocking(move || {
            blake3.update(&same);
            blake3
        }));
        Ok(())
    }

    /// The digests of all pieces.
    pub(super) async fn finish(mut self) -> Result<Digests, Gone> {
        let (md5, blake3) = self.states().await?;
        Ok(Digests {
            etag: hex::encode(md5.finalize()),
            blake3: *blake3.finalize().as_bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_hash_to_the_same_as_the_whole() {
        let body: Vec<u8> = (0..INLINE * 3 + 17).map(|i| (i * 31 % 251) as u8).collect();
        let mut digester = Digester::new();
        for piece in [&body[..5], &body[5..INLINE * 2], &body[INLINE * 2..]] {
            digester.feed(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        assert_eq!(digester.finish().await.unwrap(), Digester::whole(&body));
        assert_eq!(Digester::whole(b"").etag, "d41d8cd98f00b204e9800998ecf8427e");
    }
}
