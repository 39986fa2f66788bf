//! Any bytes as a browser's form with its parts, and as the policy in one of its fields.

use super::fuzzed;

/// Panics if a reader does, if the fields depend on how the form was cut, or if a policy that has ended lets
/// anything pass.
pub fn chew(data: &[u8]) {
    let Some((piece, body)) = data.split_first() else {
        return;
    };
    let whole = fuzzed::fields("b0", body, body.len());
    assert_eq!(fuzzed::fields("b0", body, usize::from(*piece) % 9 + 1), whole);
    // The same behind fields that are sound, so that more of it is reached.
    let mut form = b"--b0\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--b0\r\n".to_vec();
    form.extend_from_slice(body);
    let whole = fuzzed::fields("b0", &form, form.len());
    assert_eq!(fuzzed::fields("b0", &form, usize::from(*piece) % 9 + 1), whole);
    policy(body);
}

fn policy(json: &[u8]) {
    let encoded = base64(json);
    let fields = [
        ("bucket", "b"),
        ("key", "user/a"),
        ("content-type", "image/png, text/plain"),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for now in [i64::MIN, 0, 1_795_413_600_000] {
        let read = fuzzed::form_policy(&encoded, now, &fields);
        assert_eq!(read, fuzzed::form_policy(&encoded, now, &fields));
    }
    if let Ok((passes, _)) = fuzzed::form_policy(&encoded, i64::MAX, &fields) {
        assert!(!passes, "at the end of time");
    }
    // As it is, which is rarely base64.
    let _ = fuzzed::form_policy(&String::from_utf8_lossy(json), 0, &fields);
}

/// As clients encode a policy.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits =
            three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= three.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}
