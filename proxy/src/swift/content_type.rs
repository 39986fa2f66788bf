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

#[cfg(test)]
mod tests {
    use super::guess;

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
