//! MD5 and BLAKE3 of a body as it passes, and its encryption where it is sealed.
//!
//! MD5 runs at half a gigabyte a second, slower than anything else on the way:
//! above [`Settings::hash_inline`](super::Settings) bytes all of it runs on the blocking pool, MD5 of one
//! piece while that piece is sent and the next one arrives, and beside pieces of other
//! uploads where there are any ([`lanes`]). Every byte is
//! BLAKE3-hashed once in a process: what comes out is sealed together with its
//! hash, which nodes of the same process take as it is. A body goes through MD5
//! once too, but for one that a client's key hides and whose MD5 was announced.
mod four;
mod lanes;
mod md5;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use virga_object_wire::checked::{Checked, Hashed};
use virga_object_wire::tree;

use super::sealing::{Pad, Work};

pub(super) use self::lanes::Md5Lanes;
use self::md5::Md5;

/// What a body hashes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digests {
    /// Hex MD5: of the plain bytes, unless a client's key hides them.
    pub(super) etag: String,
    /// That of the plain bytes, where it is another and was announced.
    pub(super) plain: Option<String>,
    /// BLAKE3 of what is stored.
    pub(super) blake3: [u8; 32],
}

/// The hashing thread ended without an answer (the process is shutting down).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// The MD5s of a body so far.
#[derive(Clone, Default)]
struct Md5s {
    etag: Md5,
    plain: Option<Md5>,
}

/// MD5s that are being added to.
struct Adding {
    etag: oneshot::Receiver<Md5>,
    plain: Option<oneshot::Receiver<Md5>>,
}

/// Where bodies are hashed.
#[derive(Clone)]
pub(super) struct Hashing {
    /// Pieces up to this many bytes are hashed where they stand.
    inline: usize,
    lanes: Md5Lanes,
}

impl Hashing {
    /// See [`Settings::hash_inline`](super::Settings).
    pub(super) fn new(inline: usize) -> Self {
        Self {
            inline,
            lanes: Md5Lanes::default(),
        }
    }
}

/// Does the work here, or on the pool.
async fn done<T: Send + 'static>(here: bool, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Gone> {
    match here {
        true => Ok(work()),
        false => spawn_blocking(work).await.map_err(|_| Gone),
    }
}

/// Hashes a body that is here as a whole, and seals it.
pub(super) async fn whole(
    body: Bytes,
    hashing: &Hashing,
    work: Option<Work>,
) -> Result<(Digests, Checked), Gone> {
    let mut all = Extents::new(hashing, work);
    let hash = |stored: &Bytes| *blake3::hash(stored).as_bytes();
    let (stored, blake3) = all.pass(body, hash).await?;
    let digests = all.digests(blake3).await?;
    Ok((digests, Checked::seal_hashed(stored, Hashed::Object(blake3))))
}

/// Digests of a body that comes as several extents.
pub(super) struct Extents {
    md5s: Option<Md5s>,
    adding: Option<Adding>,
    pad: Option<Pad>,
    /// Whether the ETag is that of the stored bytes, though they are not the
    /// body's.
    hides: bool,
    values: Vec<[u8; 32]>,
    hashing: Hashing,
}

impl Extents {
    /// A body of which nothing has come yet.
    pub(super) fn new(hashing: &Hashing, work: Option<Work>) -> Self {
        let hides = work.as_ref().is_some_and(|work| !work.shown);
        let announced = work.as_ref().is_some_and(|work| work.announced);
        let md5s = Md5s {
            plain: (hides && announced).then(Md5::default),
            ..Md5s::default()
        };
        Self {
            md5s: Some(md5s),
            adding: None,
            pad: work.map(|work| work.pad),
            hides,
            values: Vec::new(),
            hashing: hashing.clone(),
        }
    }

    async fn md5s(&mut self) -> Result<Md5s, Gone> {
        let Some(adding) = self.adding.take() else {
            return self.md5s.take().ok_or(Gone);
        };
        let etag = adding.etag.await.map_err(|_| Gone)?;
        let plain = match adding.plain {
            Some(plain) => Some(plain.await.map_err(|_| Gone)?),
            None => None,
        };
        Ok(Md5s { etag, plain })
    }

    /// Adds bytes to the MD5s, here or meanwhile.
    fn add(&mut self, mut md5s: Md5s, here: bool, of_etag: Bytes, plain: Bytes) {
        if here {
            md5s.etag.update(&of_etag);
            if let Some(md5) = &mut md5s.plain {
                md5.update(&plain);
            }
            self.md5s = Some(md5s);
            return;
        }
        let lanes = &self.hashing.lanes;
        self.adding = Some(Adding {
            etag: lanes.add(md5s.etag, of_etag),
            plain: md5s.plain.map(|md5| lanes.add(md5, plain)),
        });
    }

    /// What is stored of the bytes, and what that hashes to.
    async fn stored(
        &mut self,
        plain: Bytes,
        here: bool,
        hash: impl FnOnce(&Bytes) -> [u8; 32] + Send + 'static,
    ) -> Result<(Bytes, [u8; 32]), Gone> {
        let mut pad = self.pad.take();
        let work = move || {
            let stored = match &mut pad {
                Some(pad) => pad.apply(plain),
                None => plain,
            };
            let value = hash(&stored);
            (pad, stored, value)
        };
        let (pad, stored, value) = done(here, work).await?;
        self.pad = pad;
        Ok((stored, value))
    }

    /// The next bytes as they are stored, and what they hash to. Returns when
    /// the MD5s of those before are known, so that at most two pieces are held.
    async fn pass(
        &mut self,
        plain: Bytes,
        hash: impl FnOnce(&Bytes) -> [u8; 32] + Send + 'static,
    ) -> Result<(Bytes, [u8; 32]), Gone> {
        let md5s = self.md5s().await?;
        let here = plain.len() <= self.hashing.inline;
        if self.hides {
            let (stored, value) = self.stored(plain.clone(), here, hash).await?;
            self.add(md5s, here, stored.clone(), plain);
            return Ok((stored, value));
        }
        self.add(md5s, here, plain.clone(), Bytes::new());
        self.stored(plain, here, hash).await
    }

    /// Adds an extent and seals it with its subtree value.
    pub(super) async fn seal(&mut self, extent: Bytes) -> Result<Checked, Gone> {
        let index = self.values.len() as u64;
        let hash = move |stored: &Bytes| tree::extent(index, std::slice::from_ref(stored));
        let (stored, value) = self.pass(extent, hash).await?;
        self.values.push(value);
        Ok(Checked::seal_hashed(stored, Hashed::Extent { index, value }))
    }

    async fn digests(mut self, blake3: [u8; 32]) -> Result<Digests, Gone> {
        let Md5s { etag, plain } = self.md5s().await?;
        Ok(Digests {
            etag: etag.hex(),
            plain: plain.map(Md5::hex),
            blake3,
        })
    }

    /// The digests of all extents, of which there are at least two.
    pub(super) async fn finish(self) -> Result<Digests, Gone> {
        let root = tree::root(&self.values).ok_or(Gone)?;
        self.digests(root).await
    }
}

#[cfg(test)]
mod tests {
    use ::md5::{Digest as _, Md5};
    use virga_object_wire::checked::EXTENT;

    use super::*;

    const INLINE: usize = 64 * 1024;

    fn body(len: usize) -> Bytes {
        (0..len).map(|i| (i * 31 % 251) as u8).collect()
    }

    #[tokio::test]
    async fn a_body_is_hashed_and_sealed_with_what_it_hashes_to() {
        for len in [0, 1, INLINE, INLINE + 1, EXTENT] {
            let (digests, sealed) = whole(body(len), &Hashing::new(INLINE), None).await.unwrap();
            assert_eq!(digests.etag, hex::encode(Md5::digest(body(len))));
            assert_eq!(digests.blake3, *blake3::hash(&body(len)).as_bytes());
            assert_eq!(sealed.hashed(), Some(Hashed::Object(digests.blake3)));
            assert_eq!((sealed.verify(), sealed.data()), (Ok(()), &body(len)));
        }
    }

    #[tokio::test]
    async fn extents_hash_to_the_same_as_the_whole() {
        for len in [EXTENT + 1, 2 * EXTENT, 3 * EXTENT + INLINE + 7] {
            let (body, mut extents) = (body(len), Extents::new(&Hashing::new(INLINE), None));
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
