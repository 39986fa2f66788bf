//! The gzip shell of ring files.
//!
//! Reading is bounded and stops after the first member, as Swift's does.
//! Writing is by hand around raw deflate, because format 2 needs to know where
//! each section starts and to be able to inflate it alone.
use std::io::{self, Read};

use flate2::bufread::GzDecoder;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::{DecodeRingError, MAX_CONTENT};

/// Swift's fixed time stamp, so that equal rings are equal files.
const MTIME: u32 = 1_300_507_380;
/// Device numbers have few repeats to find: level 6 takes six times as long as
/// 1 and saves 3.5 % (2^20 partitions on 1,000 devices: 38 ms, 3.81 MB).
const LEVEL: u32 = 1;

/// Unzips a ring file piece by piece.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    /// Most bytes that are likely to come: what is made room for at once.
    likely: usize,
    zip: io::Take<GzDecoder<&'a [u8]>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        // What gzip's last four bytes say, if that much can be in there: one
        // byte of deflate gives at most 1032.
        let said = bytes.last_chunk().map_or(0, |last| u32::from_le_bytes(*last));
        let most = bytes.len().saturating_mul(1032).min(MAX_CONTENT as usize);
        Self {
            likely: most.min(said as usize),
            zip: GzDecoder::new(bytes).take(MAX_CONTENT + 1),
        }
    }

    /// Fills `into` or says that `part` is cut off.
    pub(super) fn fill(&mut self, into: &mut [u8], part: &'static str) -> Result<(), DecodeRingError> {
        self.zip.read_exact(into).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => DecodeRingError::Truncated(part),
            _ => DecodeRingError::Unzip(error),
        })
    }

    /// Exactly `len` bytes; memory grows only as bytes really come.
    pub(super) fn take(&mut self, len: u64, part: &'static str) -> Result<Vec<u8>, DecodeRingError> {
        let mut out = Vec::new();
        let got = (&mut self.zip)
            .take(len)
            .read_to_end(&mut out)
            .map_err(DecodeRingError::Unzip)?;
        if (got as u64) < len {
            Err(DecodeRingError::Truncated(part))
        } else {
            Ok(out)
        }
    }

    /// Everything that is left, after `head`.
    pub(super) fn rest(mut self, head: Vec<u8>) -> Result<Vec<u8>, DecodeRingError> {
        let mut out = head;
        // One more: that the end is reached shows when a byte more is asked for.
        out.reserve(self.likely + 1);
        self.zip.read_to_end(&mut out).map_err(DecodeRingError::Unzip)?;
        if self.zip.limit() == 0 {
            Err(DecodeRingError::TooLarge(MAX_CONTENT))
        } else {
            Ok(out)
        }
    }
}

/// Zips a ring file section by section.
#[derive(Debug)]
pub(super) struct Writer {
    out: Vec<u8>,
    crc: Crc,
}

impl Writer {
    /// Starts a member named `name` (a trailing `.gz` is left out).
    pub(super) fn new(name: &str) -> Self {
        let mut out = vec![0x1f, 0x8b, 8, 8];
        out.extend_from_slice(&MTIME.to_le_bytes());
        out.extend_from_slice(&[2, 0xff]);
        let name = name.strip_suffix(".gz").unwrap_or(name);
        // gzip wants Latin-1 without NUL here; other characters say nothing
        // to any reader, so they are replaced.
        out.extend(
            name.chars()
                .map(|c| u8::try_from(c).ok().filter(|&b| b != 0).unwrap_or(b'_')),
        );
        out.push(0);
        Self { out, crc: Crc::new() }
    }

    /// Where the next byte goes in the file.
    pub(super) fn compressed_at(&self) -> u64 {
        self.out.len() as u64
    }

    /// Where the next byte goes in the content.
    pub(super) fn content_at(&self) -> u64 {
        self.crc.amount().into()
    }

    /// Adds at most 65535 bytes uncompressed, then a full flush.
    pub(super) fn stored(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= usize::from(u16::MAX));
        self.crc.update(bytes);
        self.stored_block(bytes);
        self.stored_block(&[]);
    }

    fn stored_block(&mut self, bytes: &[u8]) {
        let len = bytes.len() as u16;
        self.out.push(0);
        self.out.extend_from_slice(&len.to_le_bytes());
        self.out.extend_from_slice(&(!len).to_le_bytes());
        self.out.extend_from_slice(bytes);
    }

    /// Adds bytes compressed on their own (nothing before them is referred
    /// to), ending on a byte border.
    pub(super) fn section(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        // A fresh compressor has an empty window: the section inflates alone.
        let mut zip = Compress::new(Compression::new(LEVEL), false);
        loop {
            let done = zip.total_in() as usize;
            let before = self.out.len();
            self.out.reserve((bytes.len() - done) / 2 + 1024);
            let status = zip.compress_vec(&bytes[done..], &mut self.out, FlushCompress::Full)?;
            let room = self.out.capacity() - self.out.len();
            if zip.total_in() as usize == bytes.len() && room > 0 {
                return Ok(());
            }
            if status == Status::BufError && self.out.len() == before && room > 0 {
                return Err(io::Error::other("the compressor makes no progress"));
            }
        }
    }

    /// Ends the member: an empty last block, checksum and length.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
        self.out.extend_from_slice(&self.crc.sum().to_le_bytes());
        self.out.extend_from_slice(&self.crc.amount().to_le_bytes());
        self.out
    }
}
