//! From the bytes of an archive to the files in it, one after another.
//!
//! Reading an archive means waiting for bytes, so it is done on a thread of its
//! own that takes no more than it is asked for: what a small archive unpacks to
//! never lies in memory as a whole.
use std::io::{self, Read};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::core::BodyError;

/// Bytes of a file handed on at once.
const PIECE: usize = 64 * 1024;
/// Pieces that wait to be stored.
const WAITING: usize = 4;
/// Bytes of the blocks that name a file or describe it: many times the longest name.
const LONGEST_EXTENSION: u64 = 64 * 1024;

/// How an archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    None,
    /// By gzip.
    Gzip,
    /// By bzip2.
    Bzip2,
}

impl Packing {
    /// What `?extract-archive=` says.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "tar" => Some(Self::None),
            "tar.gz" => Some(Self::Gzip),
            "tar.bz2" => Some(Self::Bzip2),
            _ => None,
        }
    }
}

/// A file in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path, as the archive has it.
    pub path: Vec<u8>,
    /// Bytes.
    pub size: u64,
    /// Metadata for the object, from the file's extended attributes.
    pub headers: Vec<(String, String)>,
}

/// What comes out of an archive.
#[derive(Debug)]
pub enum Unpacked {
    /// A file begins.
    File(File),
    /// Bytes of it.
    Data(Bytes),
    /// It is no archive, or broken; or the client went away.
    Broken(Broken),
}

/// Why an archive was not read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The bytes did not come.
    Body(BodyError),
    /// They are no archive.
    Archive(String),
}

/// Begins to unpack `body`; what comes out must be taken out. Stops when
/// nobody wants more.
pub fn start<S>(body: S, packing: Packing) -> mpsc::Receiver<Unpacked>
where
    S: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin + 'static,
{
    let (to, from) = mpsc::channel(WAITING);
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut source = Source {
            body,
            handle,
            left: Bytes::new(),
            failed: None,
        };
        let done = match packing {
            Packing::None => unpack(&mut source, &to),
            Packing::Gzip => unpack(flate2::read::MultiGzDecoder::new(&mut source), &to),
            Packing::Bzip2 => unpack(bzip2::read::MultiBzDecoder::new(&mut source), &to),
        };
        if let Err(error) = done {
            let broken = match source.failed {
                Some(error) => Broken::Body(error),
                None => Broken::Archive(error.to_string()),
            };
            // If nobody listens any more, nobody needs to know.
            let _ = to.blocking_send(Unpacked::Broken(broken));
        }
    });
    from
}

/// A body as something to read from.
struct Source<S> {
    body: S,
    handle: Handle,
    left: Bytes,
    failed: Option<BodyError>,
}

impl<S: Stream<Item = Result<Bytes, BodyError>> + Unpin> Read for Source<S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.left.is_empty() {
            match self.handle.block_on(self.body.next()) {
                Some(Ok(piece)) => self.left = piece,
                Some(Err(error)) => {
                    self.failed = Some(error.clone());
                    return Err(io::Error::other(error));
                }
                None => return Ok(0),
            }
        }
        let taken = self.left.split_to(self.left.len().min(into.len()));
        into[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

fn unpack(source: impl Read, to: &mpsc::Sender<Unpacked>) -> io::Result<()> {
    let mut archive = tar::Archive::new(source);
    let mut path = None;
    let mut headers = Vec::new();
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() {
            let mut long = extension(&mut entry)?;
            long.truncate(long.iter().position(|b| *b == 0).unwrap_or(long.len()));
            path = Some(long);
            continue;
        }
        if kind.is_pax_local_extensions() {
            let described = extension(&mut entry)?;
            read_pax(&described, &mut path, &mut headers)?;
            continue;
        }
        let named = path.take();
        let described = std::mem::take(&mut headers);
        if !(kind.is_file() || kind.is_contiguous()) {
            // Directories, links and devices are no objects.
            continue;
        }
        let file = File {
            path: named.unwrap_or_else(|| entry.path_bytes().into_owned()),
            size: entry.header().entry_size()?,
            headers: described,
        };
        if to.blocking_send(Unpacked::File(file)).is_err() {
            return Ok(());
        }
        let mut buffer = vec![0; PIECE];
        loop {
            let read = entry.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            let piece = Bytes::copy_from_slice(&buffer[..read]);
            if to.blocking_send(Unpacked::Data(piece)).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A block that describes the entry after it.
fn extension(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    entry.take(LONGEST_EXTENSION + 1).read_to_end(&mut all)?;
    match all.len() as u64 > LONGEST_EXTENSION {
        true => Err(io::Error::other("an extended header is too long")),
        false => Ok(all),
    }
}

/// What a file says of the object it is to become, in its extended attributes.
fn read_pax(
    described: &[u8],
    path: &mut Option<Vec<u8>>,
    headers: &mut Vec<(String, String)>,
) -> io::Result<()> {
    for pair in tar::PaxExtensions::new(described) {
        let pair = pair?;
        let Ok(key) = pair.key() else { continue };
        let attribute = key
            .strip_prefix("SCHILY.xattr.user.")
            .or_else(|| key.strip_prefix("LIBARCHIVE.xattr.user."));
        match (key, attribute) {
            ("path", _) => *path = Some(pair.value_bytes().to_vec()),
            ("size", _) => {
                return Err(io::Error::other("files beyond 8 GiB are not unpacked"));
            }
            (_, Some(attribute)) => {
                let Ok(value) = pair.value() else { continue };
                let header = match attribute.strip_prefix("meta.") {
                    _ if attribute == "mime_type" => "content-type".to_owned(),
                    Some(name) => format!("x-object-meta-{}", name.to_ascii_lowercase()),
                    None => continue,
                };
                headers.push((header, value.to_owned()));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use proptest::prelude::*;

    async fn all(bytes: Vec<u8>, packing: Packing) -> (Vec<(String, Vec<u8>)>, Option<Broken>) {
        let pieces: Vec<_> = bytes.chunks(700).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        let mut from = start(stream::iter(pieces), packing);
        let mut files: Vec<(String, Vec<u8>)> = Vec::new();
        let mut broken = None;
        while let Some(unpacked) = from.recv().await {
            match unpacked {
                Unpacked::File(file) => {
                    files.push((String::from_utf8_lossy(&file.path).into_owned(), Vec::new()));
                }
                Unpacked::Data(data) => files.last_mut().unwrap().1.extend_from_slice(&data),
                Unpacked::Broken(why) => broken = Some(why),
            }
        }
        (files, broken)
    }

    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, data) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_entry_type(tar::EntryType::Regular);
            builder.append_data(&mut header, path, *data).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[tokio::test]
    async fn files_come_out_as_they_were_put_in_however_they_are_packed() {
        let long = "d/".repeat(150) + "end";
        let big = vec![7u8; 200_000];
        let files: [(&str, &[u8]); 3] = [("c/a", b"one"), (&long, b""), ("c/b", &big)];
        let tar = packed(&files);
        let gz = {
            use std::io::Write as _;
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gz.write_all(&tar).unwrap();
            gz.finish().unwrap()
        };
        let bz = {
            use std::io::Write as _;
            let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            bz.write_all(&tar).unwrap();
            bz.finish().unwrap()
        };
        let expected: Vec<(String, Vec<u8>)> = files
            .iter()
            .map(|(path, data)| ((*path).to_owned(), data.to_vec()))
            .collect();
        for (bytes, packing) in [(tar, Packing::None), (gz, Packing::Gzip), (bz, Packing::Bzip2)] {
            let (found, broken) = all(bytes, packing).await;
            assert_eq!((found == expected, broken), (true, None), "{packing:?}");
        }
    }

    #[tokio::test]
    async fn a_description_without_end_is_refused_before_it_fills_memory() {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::XHeader);
        header.set_size(1 << 30);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.resize(200_000, b'x');
        let (files, broken) = all(bytes, Packing::None).await;
        assert!(files.is_empty());
        assert!(matches!(broken, Some(Broken::Archive(why)) if why.contains("too long")));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn whatever_comes_is_unpacked_or_refused(
            noise in prop::collection::vec(any::<u8>(), 0..3000),
            at in 0usize..2000,
            packing in prop::sample::select(vec![Packing::None, Packing::Gzip, Packing::Bzip2]),
        ) {
            let mut bytes = packed(&[("c/a", &[1; 600]), ("c/b", b"two")]);
            let at = at.min(bytes.len());
            let end = (at + noise.len() / 8).min(bytes.len());
            bytes[at..end].copy_from_slice(&noise[..end - at]);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(all(bytes, packing));
            runtime.block_on(all(noise, packing));
        }
    }
}
