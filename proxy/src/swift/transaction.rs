//! Transaction ids: one a request, in every answer and every log line.
use std::fmt::Write as _;

use virga_node::clock::Micros;

/// Most bytes a client may add by `X-Trans-Id-Extra`.
const EXTRA: usize = 32;

/// A new id: "tx", 21 hexadecimal digits, a dash, the time in ten, a suffix.
pub fn new_id(now: Micros, suffix: &str, extra: Option<&str>) -> String {
    let mut id = String::with_capacity(40);
    let random = uuid::Uuid::new_v4().as_u128();
    let _ = write!(id, "tx{:021x}-{:010x}{suffix}", random >> 44, now.as_secs());
    if let Some(extra) = extra {
        id.push('-');
        id.extend(extra.chars().filter(char::is_ascii_graphic).take(EXTRA));
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_swifts_shape_and_carries_what_the_client_adds() {
        let id = new_id(Micros(0x65_4321 * 1_000_000), "-east", Some("mine\n\u{e9}"));
        assert!(
            id.starts_with("tx") && id[2..23].bytes().all(|b| b.is_ascii_hexdigit()),
            "{id}"
        );
        assert_eq!(&id[23..], "-0000654321-east-mine");
        assert_ne!(new_id(Micros(0), "", None), new_id(Micros(0), "", None));
    }
}
