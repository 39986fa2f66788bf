//! `virga verify`: whether a file, or a range of it, is an object's bytes, by
//! the object's BLAKE3 root.
//!
//! The whole file is hashed here and held against the root. For a range the
//! server makes a [`Proof`], which is checked up to the root first and the file
//! against the proof then: so both answers, equal and different, are proven.
//! What is left to trust is where the root comes from: `--root`, or the server.
mod http;
mod local;
mod token;
mod verdict;

use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;

use virga_proxy::proof::{MAX_LEN, Proof, Says};

use crate::cli;
use http::{Answer, Client};
use local::Local;
use verdict::{Bytes, Verdict};

/// The header in which the server names the root.
const ROOT: &str = "x-object-blake3";

/// A reason why it cannot be told.
type Unknown = String;

/// Whether the bytes are those of the object.
enum Found {
    Equal,
    /// They are not; the bytes of the object where they first differ, as
    /// closely as could be found out.
    Differs(Option<Range<u64>>, String),
}

/// Verifies and prints the verdict.
pub fn run(flags: &cli::Verify) -> ExitCode {
    let mut verdict = Verdict::about(flags);
    if let Err(reason) = verify(flags, &mut verdict) {
        verdict.cannot_tell(reason);
    }
    verdict.print(flags.json)
}

fn verify(flags: &cli::Verify, verdict: &mut Verdict) -> Result<(), Unknown> {
    check_usage(flags)?;
    let given = flags.root.as_deref().map(parse_root).transpose()?;
    let wanted = flags.range.as_deref().map(parse_range).transpose()?;
    let mut file = Local::open(&flags.file)?;
    let mut client = flags
        .url
        .as_deref()
        .map(|url| Client::new(url, flags.token.clone(), flags.cacert.as_deref()))
        .transpose()?;
    let named = client.as_mut().map(ask_root).transpose()?;
    if let (Some(given), Some(named)) = (given, named)
        && given != named
    {
        verdict.trust(given, true);
        verdict.differs(
            None,
            format!(
                "the object there is another one: its root is {}",
                hex::encode(named)
            ),
        );
        return Ok(());
    }
    let root = given.or(named).ok_or("there is no root to hold it against")?;
    verdict.trust(root, given.is_some());
    let found = match wanted {
        None => whole(&mut file, root, client.as_mut(), verdict)?,
        Some(wanted) => {
            let proof = match (&flags.proof, client.as_mut()) {
                (Some(path), _) => read_proof(path)?,
                (None, Some(client)) => ask_proof(client, &wanted.query(), root)?,
                (None, None) => return Err("a range needs a URL, or a proof".into()),
            };
            let range = checked(&proof, &wanted, root)?;
            verdict.object(proof.shape().size());
            verdict.range(&range);
            part(&mut file, &proof, client.as_mut(), root)?
        }
    };
    match found {
        Found::Equal => verdict.equal(),
        Found::Differs(at, why) => verdict.differs(at, why),
    }
    Ok(())
}

fn check_usage(flags: &cli::Verify) -> Result<(), Unknown> {
    match (&flags.url, &flags.root, &flags.range, &flags.proof) {
        (None, None, _, _) => {
            Err("give the object's URL, or the root you noted (--root HEX), or both".into())
        }
        (None, _, Some(_), None) => {
            Err("a range is verified with a proof: give the object's URL, or --proof FILE".into())
        }
        (_, _, None, Some(_)) => Err("a proof is about a range: say which (--range A-B)".into()),
        _ => Ok(()),
    }
}

/// Bytes of an object, as they were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    From(u64),
    Span(u64, u64),
    Last(u64),
}

impl Wanted {
    /// As the server reads it.
    fn query(self) -> String {
        match self {
            Self::From(first) => format!("{first}-"),
            Self::Span(first, end) => format!("{first}-{}", end - 1),
            Self::Last(count) => format!("-{count}"),
        }
    }

    /// What it means in an object of `size` bytes.
    fn within(self, size: u64) -> Range<u64> {
        match self {
            Self::From(first) => first.min(size)..size,
            Self::Span(first, end) => first.min(size)..end.min(size),
            Self::Last(count) => size.saturating_sub(count)..size,
        }
    }
}

fn parse_range(text: &str) -> Result<Wanted, Unknown> {
    let bad = || format!("--range {text}: a range is FIRST-LAST, FIRST- or -COUNT, as in 0-1023");
    let (first, last) = text.split_once('-').ok_or_else(bad)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
    match (first, last) {
        ("", count) => Some(Wanted::Last(number(count)?)).filter(|wanted| *wanted != Wanted::Last(0)),
        (first, "") => Some(Wanted::From(number(first)?)),
        (first, last) => {
            let (first, end) = (number(first)?, number(last)?.checked_add(1).ok_or_else(bad)?);
            (first < end).then_some(Wanted::Span(first, end))
        }
    }
    .ok_or_else(bad)
}

fn parse_root(text: &str) -> Result<[u8; 32], Unknown> {
    let mut root = [0; 32];
    hex::decode_to_slice(text.trim(), &mut root)
        .map_err(|_| format!("{text}: a root is 64 hexadecimal digits"))?;
    Ok(root)
}

/// The root that the server names.
fn ask_root(client: &mut Client) -> Result<[u8; 32], Unknown> {
    let answer = client.head()?;
    if let Some(root) = answer.header(ROOT) {
        return parse_root(root);
    }
    let is = |name| answer.header(name).is_some();
    Err(match is("x-static-large-object") || is("x-object-manifest") {
        true => "it is a large object, made of segments: verify those, each has a root of its own".into(),
        false => format!(
            "the server does not name the root of the object ({ROOT}): is it Virga, and the URL that of an object?"
        ),
    })
}

fn read_proof(path: &Path) -> Result<Proof, Unknown> {
    let shown = path.display();
    let bytes = local::read_bounded(path, MAX_LEN + 1)?;
    Proof::decode(&bytes).map_err(|why| format!("{shown}: {why}"))
}

/// A proof that holds against the root.
fn ask_proof(client: &mut Client, range: &str, root: [u8; 32]) -> Result<Proof, Unknown> {
    let answer: Answer = client.get_proof(range)?;
    let same = answer
        .header(ROOT)
        .is_none_or(|named| parse_root(named) == Ok(root));
    if !same {
        return Err("the object was replaced while it was being verified: try again".into());
    }
    let proof =
        Proof::decode(&answer.body).map_err(|why| format!("the server's proof cannot be read: {why}"))?;
    match proof.root() == root {
        true => Ok(proof),
        false => Err(format!(
            "the server's proof does not hold: it gives the root {}",
            hex::encode(proof.root())
        )),
    }
}

/// The range of a proof, if it is the wanted one and holds.
fn checked(proof: &Proof, wanted: &Wanted, root: [u8; 32]) -> Result<Range<u64>, Unknown> {
    if proof.root() != root {
        return Err(format!(
            "the proof is of another object, or broken: it gives the root {}",
            hex::encode(proof.root())
        ));
    }
    let range = proof.shape().range();
    if wanted.within(proof.shape().size()) != range {
        return Err(format!("the proof is about other bytes: {}", Bytes::from(&range)));
    }
    Ok(range)
}

/// The whole file against the root.
fn whole(
    file: &mut Local,
    root: [u8; 32],
    client: Option<&mut Client>,
    verdict: &mut Verdict,
) -> Result<Found, Unknown> {
    if file.root()? == root {
        verdict.object(file.len());
        return Ok(Found::Equal);
    }
    let Some(client) = client else {
        return Ok(Found::Differs(None, "its root is another".into()));
    };
    let size = match client
        .head()?
        .header("content-length")
        .and_then(|n| n.parse().ok())
    {
        Some(size) if size == file.len() && size > 0 => size,
        Some(size) => {
            let why = format!("it has {} bytes, the object {size}", file.len());
            return Ok(Found::Differs(None, why));
        }
        None => return Ok(Found::Differs(None, "its root is another".into())),
    };
    // Certain already; where is for the reader, and may stay open.
    let at = first_difference(file, client, 0..size, root).unwrap_or_default();
    Ok(Found::Differs(at, "its root is another".into()))
}

/// The range of a proof that holds, which the file has alone or with all
/// before it.
fn part(
    file: &mut Local,
    proof: &Proof,
    client: Option<&mut Client>,
    root: [u8; 32],
) -> Result<Found, Unknown> {
    let range = proof.shape().range();
    let length = range.end - range.start;
    if file.len() == length {
        file.begins_at(range.start);
    } else if file.len() < range.end {
        let why = format!("it has {} bytes, and ends before the range does", file.len());
        return Ok(Found::Differs(None, why));
    }
    let Some(differing) = compare(file, proof)? else {
        return Ok(Found::Equal);
    };
    let at = match client {
        Some(client) => narrowed(file, client, differing.clone(), root).unwrap_or(differing),
        None => differing,
    };
    Ok(Found::Differs(Some(at), "the bytes are others".into()))
}

/// The first bytes that differ from what a proof says, as closely as it does.
fn compare(file: &mut Local, proof: &Proof) -> Result<Option<Range<u64>>, Unknown> {
    for part in proof.parts() {
        match part.says {
            Says::Bytes(bytes) => {
                let here = file.bytes(&part.bytes)?;
                if let Some(at) = here.iter().zip(bytes).position(|(a, b)| a != b) {
                    let at = part.bytes.start + at as u64;
                    return Ok(Some(at..at + 1));
                }
            }
            Says::Value(value) => {
                if file.value(&part.bytes)? != value {
                    return Ok(Some(part.bytes));
                }
            }
        }
    }
    Ok(None)
}

fn first_difference(
    file: &mut Local,
    client: &mut Client,
    range: Range<u64>,
    root: [u8; 32],
) -> Result<Option<Range<u64>>, Unknown> {
    let proof = ask_proof(client, &Wanted::Span(range.start, range.end).query(), root)?;
    match compare(file, &proof)? {
        Some(differing) => narrowed(file, client, differing, root).map(Some),
        None => Ok(None),
    }
}

/// From a subtree that differs to the first byte that does, by proofs of ever
/// smaller halves: each is a few kilobytes.
fn narrowed(
    file: &mut Local,
    client: &mut Client,
    mut differing: Range<u64>,
    root: [u8; 32],
) -> Result<Range<u64>, Unknown> {
    while differing.end - differing.start > 1 {
        let length = differing.end - differing.start;
        // Of one chunk, all but the last byte: a chunk that a range cuts comes as bytes.
        let first = match length > virga_proxy::proof::CHUNK {
            true => length / 2,
            false => length - 1,
        };
        let middle = differing.start + first;
        let proof = ask_proof(client, &Wanted::Span(differing.start, middle).query(), root)?;
        if proof.shape().range() != (differing.start..middle) {
            return Ok(differing);
        }
        differing = compare(file, &proof)?.unwrap_or(middle..differing.end);
    }
    Ok(differing)
}

#[cfg(test)]
mod tests {
    use virga_proxy::proof::{CHUNK, Shape, tree};

    use super::*;

    /// An object, and a proof of a range of it in a file.
    fn proven(folder: &Path, object: &[u8], range: Range<u64>) -> std::path::PathBuf {
        let at = |chunk: u64| ((chunk * CHUNK) as usize).min(object.len());
        let shape = Shape::new(object.len() as u64, range).unwrap();
        let proof = Proof::build(
            shape,
            |chunk| Some(object[at(chunk)..at(chunk + 1)].to_vec()),
            |chunks| {
                Some(tree::value(
                    chunks.start * CHUNK,
                    &object[at(chunks.start)..at(chunks.end)],
                ))
            },
        );
        let path = folder.join("proof");
        std::fs::write(&path, proof.unwrap().encode()).unwrap();
        path
    }

    /// The exit code and the verdict as JSON, of a file with these bytes.
    fn verdict_on(bytes: &[u8], root: &str, range: Option<&str>, proof: Option<&Path>) -> (u8, String) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let flags = cli::Verify {
            file: file.path().to_owned(),
            url: None,
            range: range.map(str::to_owned),
            root: Some(root.to_owned()),
            proof: proof.map(Path::to_owned),
            cacert: None,
            token: None,
            json: true,
        };
        let mut verdict = Verdict::about(&flags);
        if let Err(reason) = verify(&flags, &mut verdict) {
            verdict.cannot_tell(reason);
        }
        (verdict.code(), serde_json::to_string(&verdict).unwrap())
    }

    #[test]
    fn a_file_is_held_against_a_root_that_was_noted() {
        let object: Vec<u8> = (0..3_000_000).map(|n| (n / 777) as u8).collect();
        let root = hex::encode(tree::whole(&object));
        assert_eq!(verdict_on(&object, &root, None, None).0, 0);
        let mut other = object.clone();
        other[2_000_000] ^= 1;
        assert_eq!(verdict_on(&other, &root, None, None).0, 1);
        assert_eq!(verdict_on(&object[1..], &root, None, None).0, 1);
        for (root, range) in [
            ("xx", None),
            (root.as_str(), Some("0-1")),
            (root.as_str(), Some("x")),
        ] {
            assert_eq!(verdict_on(&object, root, range, None).0, 2, "{range:?}");
        }
    }

    #[test]
    fn a_range_is_held_against_a_proof_that_was_fetched() {
        let folder = tempfile::tempdir().unwrap();
        let object: Vec<u8> = (0..3_000_000).map(|n| (n / 777) as u8).collect();
        let root = hex::encode(tree::whole(&object));
        let proof = proven(folder.path(), &object, 1000..2_500_000);
        let (asked, proof) = (Some("1000-2499999"), Some(proof.as_path()));
        let piece = &object[1000..2_500_000];
        for file in [piece, &object, &object[..2_500_001]] {
            let (code, verdict) = verdict_on(file, &root, asked, proof);
            assert_eq!(code, 0, "{verdict}");
            assert!(verdict.contains("\"object_bytes\":3000000"), "{verdict}");
        }
        let mut other = piece.to_vec();
        other[10] ^= 1;
        let (code, verdict) = verdict_on(&other, &root, asked, proof);
        assert_eq!(code, 1);
        assert!(verdict.contains("{\"first\":1010,\"last\":1010}"), "{verdict}");
        assert_eq!(verdict_on(&piece[..100], &root, asked, proof).0, 1, "too short");
        // Nothing is said by a proof of other bytes, of another object, or of none.
        assert_eq!(verdict_on(piece, &root, Some("1000-2499998"), proof).0, 2);
        assert_eq!(verdict_on(piece, &"0".repeat(64), asked, proof).0, 2);
        let broken = folder.path().join("broken");
        std::fs::write(&broken, b"VRPF").unwrap();
        assert_eq!(verdict_on(piece, &root, asked, Some(&broken)).0, 2);
    }

    #[test]
    fn ranges_are_read_as_servers_read_them() {
        for (text, expected) in [
            ("0-0", Some(Wanted::Span(0, 1))),
            ("5-9", Some(Wanted::Span(5, 10))),
            ("5-", Some(Wanted::From(5))),
            ("-5", Some(Wanted::Last(5))),
            ("9-5", None),
            ("-0", None),
            ("-", None),
            ("5", None),
            ("a-b", None),
            ("0-18446744073709551615", None),
        ] {
            assert_eq!(parse_range(text).ok(), expected, "{text}");
            if let Some(wanted) = expected {
                assert_eq!(wanted.query(), text);
            }
        }
        assert_eq!(Wanted::Last(5).within(3), 0..3);
        assert_eq!(Wanted::From(5).within(3), 3..3);
        assert_eq!(Wanted::Span(1, 9).within(3), 1..3);
    }

    #[test]
    fn a_root_is_64_hexadecimal_digits() {
        assert!(parse_root(&"aB".repeat(32)).is_ok());
        for bad in ["", "ab", &"g".repeat(64), &"a".repeat(66)] {
            assert!(parse_root(bad).unwrap_err().contains("64"), "{bad}");
        }
    }
}
