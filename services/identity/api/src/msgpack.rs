//! The part of msgpack that token payloads use.
//!
//! Reads from hostile bytes: every length is checked against what is there,
//! nesting and element counts are bounded.
use rmp::Marker;
use rmp::encode;

/// Deeper nesting than any payload has.
const MAX_DEPTH: usize = 4;
/// More elements than any array of a payload has.
const MAX_ITEMS: usize = 64;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Nil,
    Bool(bool),
    Int(u64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Value>),
}

impl Value {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        // Writing to a Vec cannot fail.
        let _ = match self {
            Self::Nil => encode::write_nil(out),
            Self::Bool(v) => encode::write_bool(out, *v),
            Self::Int(v) => encode::write_uint(out, *v)
                .map(drop)
                .map_err(std::io::Error::from),
            Self::Float(v) => encode::write_f64(out, *v).map_err(std::io::Error::from),
            Self::Text(v) => encode::write_str(out, v).map_err(std::io::Error::from),
            Self::Bytes(v) => encode::write_bin(out, v).map_err(std::io::Error::from),
            Self::Array(items) => {
                let _ = encode::write_array_len(out, u32::try_from(items.len()).unwrap_or(u32::MAX));
                for item in items {
                    item.encode(out);
                }
                Ok(())
            }
        };
    }

    /// Reads one value that fills `bytes` to the end.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let value = read(&mut rest, 0)?;
        rest.is_empty().then_some(value)
    }
}

fn take<'b>(rest: &mut &'b [u8], n: usize) -> Option<&'b [u8]> {
    let (head, tail) = rest.split_at_checked(n)?;
    *rest = tail;
    Some(head)
}

fn number(rest: &mut &[u8], width: usize) -> Option<u64> {
    Some(
        take(rest, width)?
            .iter()
            .fold(0, |all, byte| all << 8 | u64::from(*byte)),
    )
}

fn length(rest: &mut &[u8], width: usize) -> Option<usize> {
    usize::try_from(number(rest, width)?).ok()
}

fn read(rest: &mut &[u8], depth: usize) -> Option<Value> {
    let marker = Marker::from_u8(take(rest, 1)?[0]);
    Some(match marker {
        Marker::Null => Value::Nil,
        Marker::True => Value::Bool(true),
        Marker::False => Value::Bool(false),
        Marker::FixPos(v) => Value::Int(u64::from(v)),
        Marker::U8 => Value::Int(number(rest, 1)?),
        Marker::U16 => Value::Int(number(rest, 2)?),
        Marker::U32 => Value::Int(number(rest, 4)?),
        Marker::U64 => Value::Int(number(rest, 8)?),
        Marker::F64 => Value::Float(f64::from_bits(number(rest, 8)?)),
        Marker::FixStr(n) => text(rest, usize::from(n))?,
        Marker::Str8 => length(rest, 1).and_then(|n| text(rest, n))?,
        Marker::Str16 => length(rest, 2).and_then(|n| text(rest, n))?,
        Marker::Bin8 => length(rest, 1)
            .and_then(|n| take(rest, n))
            .map(|b| Value::Bytes(b.to_vec()))?,
        Marker::Bin16 => length(rest, 2)
            .and_then(|n| take(rest, n))
            .map(|b| Value::Bytes(b.to_vec()))?,
        Marker::FixArray(n) => array(rest, usize::from(n), depth)?,
        Marker::Array16 => length(rest, 2).and_then(|n| array(rest, n, depth))?,
        _ => return None,
    })
}

fn text(rest: &mut &[u8], n: usize) -> Option<Value> {
    let bytes = take(rest, n)?;
    // Old writers put bytes into strings.
    Some(match std::str::from_utf8(bytes) {
        Ok(text) => Value::Text(text.to_owned()),
        Err(_) => Value::Bytes(bytes.to_vec()),
    })
}

fn array(rest: &mut &[u8], n: usize, depth: usize) -> Option<Value> {
    if depth >= MAX_DEPTH || n > MAX_ITEMS {
        return None;
    }
    (0..n)
        .map(|_| read(rest, depth + 1))
        .collect::<Option<_>>()
        .map(Value::Array)
}
