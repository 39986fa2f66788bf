//! Bodies that say which write they come from, so that every read can be told
//! from what any other write left, to the byte.
use crate::chance::Chance;

/// The body of the write `number` of `key`: about `len` bytes, never fewer
/// than the line at its beginning takes.
pub fn of(key: &str, number: u64, len: usize) -> Vec<u8> {
    let mut body = format!("virga {key} {number} {len}\n").into_bytes();
    let more = len.saturating_sub(body.len());
    body.extend(Chance::replay(seed(key, number)).bytes(more));
    body
}

/// Which write of `key` a body comes from.
///
/// # Errors
/// What is wrong with it, when it is not the body of any write of this key.
pub fn number(key: &str, body: &[u8]) -> Result<u64, String> {
    let line = body.iter().take(300).position(|byte| *byte == b'\n');
    let line = line.and_then(|end| std::str::from_utf8(&body[..end]).ok());
    let words = line.map(|line| line.split(' ').collect::<Vec<_>>());
    let Some(["virga", whose, number, len]) = words.as_deref() else {
        let start = String::from_utf8_lossy(&body[..body.len().min(40)]);
        return Err(format!(
            "{} bytes that nobody wrote, from {start:?} on",
            body.len()
        ));
    };
    let (Ok(number), Ok(len)) = (number.parse(), len.parse()) else {
        return Err(format!("a first line that nobody wrote: {line:?}"));
    };
    if *whose != key {
        return Err(format!("the body of {whose}"));
    }
    let whole = of(key, number, len);
    if whole == body {
        return Ok(number);
    }
    let same = whole.iter().zip(body).take_while(|(a, b)| a == b).count();
    Err(format!(
        "write {number} has {} bytes, these are {}, other ones from byte {same} on",
        whole.len(),
        body.len()
    ))
}

/// FNV-1a of the key and the number.
fn seed(key: &str, number: u64) -> u64 {
    let bytes = key.bytes().chain(number.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_tells_its_write_and_whatever_else_is_seen() {
        let body = of("box/a", 7, 5000);
        assert_eq!(body.len(), 5000);
        assert_eq!(number("box/a", &body), Ok(7));
        assert_eq!(number("box/a", &of("box/a", 3, 0)), Ok(3));
        assert!(number("box/b", &body).is_err());
        assert!(number("box/a", &body[..4999]).is_err());
        assert!(number("box/a", b"").is_err());
        let mut torn = body;
        torn[4000..].copy_from_slice(&of("box/a", 8, 5000)[4000..]);
        let why = number("box/a", &torn).expect_err("torn");
        assert!(
            why.contains("from byte 4000") || why.contains("from byte 400"),
            "{why}"
        );
    }
}
