//! The instructions of pickles that [`super::machine`] knows, and their names.
//!
//! Numbers and names are those of Python's documentation of the format
//! (module `pickletools`), so that a message can be looked up there.
use std::fmt;

/// One instruction byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opcode(pub u8);

macro_rules! opcodes {
    ($($name:ident = $byte:expr),* $(,)?) => {
        $(pub(super) const $name: u8 = $byte;)*

        impl Opcode {
            fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($name => Some(stringify!($name)),)*
                    // Known to Python, never obeyed here.
                    b'0' => Some("POP"),
                    b'1' => Some("POP_MARK"),
                    b'2' => Some("DUP"),
                    b'P' => Some("PERSID"),
                    b'Q' => Some("BINPERSID"),
                    b'b' => Some("BUILD"),
                    b'i' => Some("INST"),
                    b'o' => Some("OBJ"),
                    0x81 => Some("NEWOBJ"),
                    0x82..=0x84 => Some("EXT"),
                    0x8f => Some("EMPTY_SET"),
                    0x90 => Some("ADDITEMS"),
                    0x91 => Some("FROZENSET"),
                    0x92 => Some("NEWOBJ_EX"),
                    0x96 => Some("BYTEARRAY8"),
                    0x97 => Some("NEXT_BUFFER"),
                    0x98 => Some("READONLY_BUFFER"),
                    _ => None,
                }
            }
        }
    };
}

opcodes! {
    MARK = b'(',
    STOP = b'.',
    PROTO = 0x80,
    FRAME = 0x95,
    // numbers and constants
    NONE = b'N',
    NEWTRUE = 0x88,
    NEWFALSE = 0x89,
    INT = b'I',
    BININT = b'J',
    BININT1 = b'K',
    BININT2 = b'M',
    LONG = b'L',
    LONG1 = 0x8a,
    LONG4 = 0x8b,
    FLOAT = b'F',
    BINFLOAT = b'G',
    // texts and bytes
    STRING = b'S',
    BINSTRING = b'T',
    SHORT_BINSTRING = b'U',
    UNICODE = b'V',
    BINUNICODE = b'X',
    SHORT_BINUNICODE = 0x8c,
    BINUNICODE8 = 0x8d,
    BINBYTES = b'B',
    SHORT_BINBYTES = b'C',
    BINBYTES8 = 0x8e,
    // containers
    EMPTY_LIST = b']',
    LIST = b'l',
    APPEND = b'a',
    APPENDS = b'e',
    EMPTY_DICT = b'}',
    DICT = b'd',
    SETITEM = b's',
    SETITEMS = b'u',
    EMPTY_TUPLE = b')',
    TUPLE = b't',
    TUPLE1 = 0x85,
    TUPLE2 = 0x86,
    TUPLE3 = 0x87,
    // the memo
    GET = b'g',
    BINGET = b'h',
    LONG_BINGET = b'j',
    PUT = b'p',
    BINPUT = b'q',
    LONG_BINPUT = b'r',
    MEMOIZE = 0x94,
    // calls
    GLOBAL = b'c',
    STACK_GLOBAL = 0x93,
    REDUCE = b'R',
}

impl Opcode {
    pub(super) fn is_number(self) -> bool {
        matches!(
            self.0,
            INT | BININT | BININT1 | BININT2 | LONG | LONG1 | LONG4 | FLOAT | BINFLOAT
        )
    }

    pub(super) fn is_text(self) -> bool {
        matches!(
            self.0,
            STRING
                | BINSTRING
                | SHORT_BINSTRING
                | UNICODE
                | BINUNICODE
                | SHORT_BINUNICODE
                | BINUNICODE8
                | BINBYTES
                | SHORT_BINBYTES
                | BINBYTES8
        )
    }

    pub(super) fn is_memo(self) -> bool {
        matches!(
            self.0,
            GET | BINGET | LONG_BINGET | PUT | BINPUT | LONG_BINPUT | MEMOIZE
        )
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "0x{:02x} ({name})", self.0),
            None => write!(f, "0x{:02x} (unknown)", self.0),
        }
    }
}
