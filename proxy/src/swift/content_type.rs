//! What type an object has when its client does not say.

/// Types that clients of Swift expect and that differ from the table's.
const EXPECTED: &[(&str, &str)] = &[
    ("wav", "audio/x-wav"),
    ("tar", "application/x-tar"),
    ("tgz", "application/x-tar"),
    ("rtf", "application/rtf"),
    ("py", "text/x-python"),
    ("xml", "text/xml"),
    ("js", "text/javascript"),
    ("mjs", "text/javascript"),
    ("woff", "font/woff"),
    ("aif", "audio/x-aiff"),
    ("aiff", "audio/x-aiff"),
    ("avi", "video/x-msvideo"),
    ("bmp", "image/bmp"),
    ("csv", "text/csv"),
    ("ico", "image/vnd.microsoft.icon"),
];

/// Endings that say how the bytes are packed, not what they are.
const PACKED: &[&str] = &["gz", "bz2", "xz", "Z", "br"];

/// The MIME type for an object of this name.
pub fn guess(name: &str) -> &'static str {
    let last = name.rsplit('/').next().unwrap_or(name);
    let base = match last.rsplit_once('.') {
        Some((stem, ending)) if PACKED.contains(&ending) => stem,
        _ => last,
    };
    let Some((_, ending)) = base.rsplit_once('.') else {
        return "application/octet-stream";
    };
    let ending = ending.to_ascii_lowercase();
    if let Some((_, expected)) = EXPECTED.iter().find(|(e, _)| *e == ending) {
        return expected;
    }
    mime_guess::from_ext(&ending)
        .first_raw()
        .unwrap_or("application/octet-stream")
}

/// A type without the parameter `swift_bytes`, which Swift's servers keep sizes in
/// and never show.
pub fn without_swift_bytes(kind: &str) -> String {
    let mut parts = kind.split(';');
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let name = part.split('=').next().unwrap_or_default().trim();
        if !name.eq_ignore_ascii_case("swift_bytes") {
            kept.push(';');
            kept.push_str(part);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::{guess, without_swift_bytes};

    #[test]
    fn sizes_are_taken_out_of_types_and_other_parameters_stay() {
        for (kind, kept) in [
            ("a/b", "a/b"),
            ("a/b;swift_bytes=9", "a/b"),
            ("a/b; charset=x;Swift_Bytes =9; q=1", "a/b; charset=x; q=1"),
        ] {
            assert_eq!(without_swift_bytes(kind), kept, "{kind}");
        }
    }

    #[test]
    fn an_ending_says_the_type_and_packing_is_looked_through() {
        for (name, kind) in [
            ("a.wav", "audio/x-wav"),
            ("dir.txt/b.TXT", "text/plain"),
            ("a.zip", "application/zip"),
            ("a.tar.gz", "application/x-tar"),
            ("noending", "application/octet-stream"),
            ("dir.txt/noending", "application/octet-stream"),
            ("a.whoknows", "application/octet-stream"),
        ] {
            assert_eq!(guess(name), kind, "{name}");
        }
    }
}
