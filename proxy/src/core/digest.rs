//! MD5 and BLAKE3 of a body as it passes.
//!
//! MD5 runs at half a gigabyte a second, slower than anything else on the way:
//! above [`Settings::hash_inline`](super::Settings) bytes both digests run on the blocking pool, MD5 of one
//! piece while that piece is sent and the next one arrives. Every byte is
//! BLAKE3-hashed once in a process: what comes out is sealed together with its
//! hash, which nodes of the same process take as it is.
use bytes::Bytes;
use md5::{Digest as _, Md5};
use tokio::task::{JoinHandle, spawn_blocking};
use virga_object_wire::checked::{Checked, Hashed};
use virga_object_wire::tree;

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

/// Hashes and seals a body that is here as a whole; up to `inline` bytes where
/// it stands.
pub(super) async fn whole(body: Bytes, inline: usize) -> Result<(Digests, Checked), Gone> {
    let (etag, blake3) = if body.len() <= inline {
        (Md5::digest(&body), *blake3::hash(&body).as_bytes())
    } else {
        let same = body.clone();
        let md5 = spawn_blocking(move || Md5::digest(&same));
        let blake3 = on_pool(&body, |body| *blake3::hash(body).as_bytes()).await?;
        (md5.await.map_err(|_| Gone)?, blake3)
    };
    let digests = Digests {
        etag: hex::encode(etag),
        blake3,
    };
    Ok((digests, Checked::seal_hashed(body, Hashed::Object(blake3))))
}

async fn on_pool<T: Send + 'static>(bytes: &Bytes, hash: fn(&Bytes) -> T) -> Result<T, Gone> {
    let bytes = bytes.clone();
    spawn_blocking(move || hash(&bytes)).await.map_err(|_| Gone)
}

/// Digests of a body that comes as several extents.
pub(super) struct Extents {
    md5: Option<Md5>,
    md5_job: Option<JoinHandle<Md5>>,
    values: Vec<[u8; 32]>,
    inline: usize,
}

impl Extents {
    /// Extents up to `inline` bytes are hashed where they stand.
    pub(super) fn new(inline: usize) -> Self {
        Self {
            md5: Some(Md5::new()),
            md5_job: None,
            values: Vec::new(),
            inline,
        }
    }

    async fn md5(&mut self) -> Result<Md5, Gone> {
        match self.md5_job.take() {
            Some(job) => job.await.map_err(|_| Gone),
            None => self.md5.take().ok_or(Gone),
        }
    }

    /// Adds an extent and seals it with its subtree value. Returns when the MD5
    /// of the one before is known, so that at most two are held.
    pub(super) async fn seal(&mut self, extent: Bytes) -> Result<Checked, Gone> {
        let mut md5 = self.md5().await?;
        let index = self.values.len() as u64;
        let value = if extent.len() <= self.inline {
            md5.update(&extent);
            self.md5 = Some(md5);
            tree::extent(index, std::slice::from_ref(&extent))
        } else {
            let same = extent.clone();
            self.md5_job = Some(spawn_blocking(move || {
                md5.update(&same);
                md5
            }));
            let same = extent.clone();
            let value = spawn_blocking(move || tree::extent(index, &[same]));
            value.await.map_err(|_| Gone)?
        };
        self.values.push(value);
        Ok(Checked::seal_hashed(extent, Hashed::Extent { index, value }))
    }

    /// The digests of all extents, of which there are at least two.
    pub(super) async fn finish(mut self) -> Result<Digests, Gone> {
        Ok(Digests {
            etag: hex::encode(self.md5().await?.finalize()),
            blake3: tree::root(&self.values).ok_or(Gone)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use virga_object_wire::checked::EXTENT;

    use super::*;

    const INLINE: usize = 64 * 1024;

    fn body(len: usize) -> Bytes {
        (0..len).map(|i| (i * 31 % 251) as u8).collect()
    }

    #[tokio::test]
    async fn a_body_is_hashed_and_sealed_with_what_it_hashes_to() {
        for len in [0, 1, INLINE, INLINE + 1, EXTENT] {
            let (digests, sealed) = whole(body(len), INLINE).await.unwrap();
            assert_eq!(digests.etag, hex::encode(Md5::digest(body(len))));
            assert_eq!(digests.blake3, *blake3::hash(&body(len)).as_bytes());
            assert_eq!(sealed.hashed(), Some(Hashed::Object(digests.blake3)));
            assert_eq!((sealed.verify(), sealed.data()), (Ok(()), &body(len)));
        }
    }

    #[tokio::test]
    async fn extents_hash_to_the_same_as_the_whole() {
        for len in [EXTENT + 1, 2 * EXTENT, 3 * EXTENT + INLINE + 7] {
            let (body, mut extents) = (body(len), Extents::new(INLINE));
            for (index, at) in (0..len).step_by(EXTENT).enumerate() {
                let piece = body.slice(at..len.min(at + EXTENT));
                let value = tree::extent(index as u64, std::slice::from_ref(&piece));
                let sealed = extents.seal(piece).await.unwrap();
                let index = index as u64;
                assert_eq!(sealed.hashed(), Some(Hashed::Extent { index, value }));
            }
            let digests = extents.finish().await.unwrap();
            assert_eq!(digests.etag, hex::encode(Md5::digest(&body)), "{len}");
            assert_eq!(digests.blake3, *blake3::hash(&body).as_bytes(), "{len}");
        }
    }
}
