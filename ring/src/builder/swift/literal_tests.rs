//! Every way in which a pickle can say the same thing, and what is not said right.
use super::machine::{self, PickleFault};
use super::pickle::{Array, List, Node, Value};

/// The value that a pickle stands for, as far as it needs no node.
fn value(bytes: &[u8]) -> Value {
    machine::read(bytes).unwrap().root
}

/// The container or text that a pickle stands for.
fn node(bytes: &[u8]) -> Node<'_> {
    let pickle = machine::read(bytes).unwrap();
    pickle.node(pickle.root).unwrap().clone()
}

fn fault(bytes: &[u8]) -> PickleFault {
    machine::read(bytes).unwrap_err().fault
}

#[test]
fn a_number_is_the_same_however_it_is_written() {
    for (bytes, number) in [
        (&b"K\x07."[..], 7),
        (b"M\x07\x01.", 263),
        (b"J\xf9\xff\xff\xff.", -7),
        (b"\x8a\x02\x07\x01.", 263),
        (b"\x8a\x00.", 0),
        (b"\x8b\x02\0\0\0\x07\x01.", 263),
        (b"I263\n.", 263),
        (b"I263\r\n.", 263),
        (b"I1\n.", 1),
        (b"L-7L\n.", -7),
        (b"L-7\n.", -7),
    ] {
        assert_eq!(value(bytes), Value::Int(number), "{bytes:?}");
    }
    for (bytes, want) in [
        (&b"I00\n."[..], Value::Bool(false)),
        (b"I01\n.", Value::Bool(true)),
        (b"\x88.", Value::Bool(true)),
        (b"\x89.", Value::Bool(false)),
        (b"N.", Value::None),
        (b"F2.5\n.", Value::Float(2.5)),
        (b"G\x40\x04\0\0\0\0\0\0.", Value::Float(2.5)),
    ] {
        assert_eq!(value(bytes), want, "{bytes:?}");
    }
    for wrong in [
        &b"Ix\n."[..],
        b"F--\n.",
        b"L7LL\n.",
        b"\x8b\x09\0\0\0\0\0\0\0\0\0\0\0\x01.",
    ] {
        assert!(matches!(fault(wrong), PickleFault::Value(_)), "{wrong:?}");
    }
    let long = |len| [b"I".as_slice(), &vec![b'0'; len], b"\n."].concat();
    assert_eq!(value(&long(255)), Value::Int(0));
    assert!(matches!(
        fault(&long(256)),
        PickleFault::TooMany { limit: 256, .. }
    ));
}

#[test]
fn a_text_is_the_same_however_it_is_written() {
    for bytes in [
        &b"X\x02\0\0\0\xc3\xa9."[..],
        b"\x8c\x02\xc3\xa9.",
        b"\x8d\x02\0\0\0\0\0\0\0\xc3\xa9.",
        b"V\\u00e9\n.",
    ] {
        assert_eq!(node(bytes), Node::Text("é".into()), "{bytes:?}");
    }
    for bytes in [
        &b"U\x02ab."[..],
        b"T\x02\0\0\0ab.",
        b"C\x02ab.",
        b"B\x02\0\0\0ab.",
        b"\x8e\x02\0\0\0\0\0\0\0ab.",
        b"S'ab'\n.",
    ] {
        assert_eq!(node(bytes), Node::Bytes(b"ab"[..].into()), "{bytes:?}");
    }
    for wrong in [&b"X\x01\0\0\0\xff."[..], b"\x8c\x01\xff.", b"S'a\n.", b"V\\u\n."] {
        assert!(matches!(fault(wrong), PickleFault::Value(_)), "{wrong:?}");
    }
    assert_eq!(fault(b"\x8d\x01\0\0\0\0\0\0\0"), PickleFault::Truncated);
}

#[test]
fn what_was_stored_comes_back_under_its_number() {
    let seven = Node::Tuple(vec![Value::Int(7); 2]);
    for put in [&b"p5\n"[..], b"q\x05", b"r\x05\0\0\0"] {
        for get in [&b"g5\n"[..], b"h\x05", b"j\x05\0\0\0"] {
            let bytes = [b"K\x07", put, get, b"\x86."].concat();
            assert_eq!(node(&bytes), seven, "{bytes:?}");
        }
    }
    // Without a number it gets the next one.
    assert_eq!(node(b"K\x07\x94h\x00\x86."), seven);
    let two = [9, 7, 7].map(Value::Int).to_vec();
    assert_eq!(node(b"K\x09\x94K\x07\x94h\x01\x87."), Node::Tuple(two));
    assert_eq!(fault(b"K\x07q\x05h\x06\x86."), PickleFault::Memo(6));
    assert!(matches!(fault(b"q\x05"), PickleFault::Stack(_)));
}

#[test]
fn containers_are_the_same_however_they_are_filled() {
    for bytes in [
        &b"(K\x01K\x02l."[..],
        b"]K\x01aK\x02a.",
        b"](K\x01K\x02e.",
        b"](K\x01eK\x02a.",
    ] {
        assert_eq!(node(bytes), Node::List(List::Numbers(vec![1, 2])), "{bytes:?}");
    }
    let mixed = vec![Value::Int(1), Value::Int(-1), Value::Int(2)];
    assert_eq!(
        node(b"](K\x01J\xff\xff\xff\xffK\x02e."),
        Node::List(List::Mixed(mixed))
    );
    for bytes in [&b"(K\x01K\x02d."[..], b"}K\x01K\x02s.", b"}(K\x01K\x02u."] {
        let entries = vec![(Value::Int(1), Value::Int(2))];
        assert_eq!(node(bytes), Node::Dict(entries), "{bytes:?}");
    }
    for (bytes, len) in [
        (&b")."[..], 0),
        (b"(t.", 0),
        (b"K\x01\x85.", 1),
        (b"K\x01K\x02\x86.", 2),
        (b"K\x01K\x02K\x03\x87.", 3),
        (b"(K\x01K\x02K\x03t.", 3),
    ] {
        assert_eq!(
            node(bytes),
            Node::Tuple((1..=len).map(Value::Int).collect()),
            "{bytes:?}"
        );
    }
    for wrong in [
        &b"(K\x01d."[..],
        b"}(K\x01u.",
        b"K\x01(a.",
        b"](K\x01a.",
        b"K\x01K\x02a.",
        b"K\x01K\x02K\x03s.",
        b"l.",
        b"NN.",
        b"N(.",
        b"\x85.",
        b".",
    ] {
        assert!(matches!(fault(wrong), PickleFault::Stack(_)), "{wrong:?}");
    }
    assert_eq!(fault(b"N.x"), PickleFault::Trailing(1));
    assert_eq!(value(b"\x80\x05N."), Value::None);
    assert_eq!(fault(b"\x80\x06N."), PickleFault::Protocol(6));
    assert_eq!(value(b"\x95\x02\0\0\0\0\0\0\0N."), Value::None);
    assert_eq!(fault(b"\x95\x03\0\0\0\0\0\0\0N."), PickleFault::Truncated);
}

#[test]
fn arrays_hold_numbers_that_fit_them() {
    let of_list = |code: u8, number: u32| {
        let number = i64::from(number).to_le_bytes();
        [
            b"carray\narray\nU\x01",
            &[code][..],
            b"](K\x01\x8a\x08",
            &number,
            b"e\x86R.",
        ]
        .concat()
    };
    for (code, width, most) in [
        (b'B', 1, 255),
        (b'H', 2, 65_535),
        (b'I', 4, u32::MAX),
        (b'L', 4, 7),
    ] {
        let numbers = vec![1, most];
        assert_eq!(node(&of_list(code, most)), Node::Array(Array { width, numbers }));
    }
    for wrong in [of_list(b'B', 256), of_list(b'H', 65_536), of_list(b'd', 1)] {
        assert_eq!(fault(&wrong), PickleFault::Call);
    }
    let made_again = |layout: u8, bytes: &[u8]| {
        [
            &b"carray\n_array_reconstructor\n(carray\narray\nX\x01\0\0\0HK"[..],
            &[layout],
            b"C",
            &[bytes.len() as u8],
            bytes,
            b"tR.",
        ]
        .concat()
    };
    for (layout, width, numbers) in [
        (0, 1, vec![0, 1, 2, 3]),
        (2, 2, vec![0x0100, 0x0302]),
        (3, 2, vec![0x0001, 0x0203]),
        (6, 4, vec![0x0302_0100]),
        (7, 4, vec![0x0001_0203]),
    ] {
        let bytes = made_again(layout, &[0, 1, 2, 3]);
        assert_eq!(
            node(&bytes),
            Node::Array(Array { width, numbers }),
            "layout {layout}"
        );
    }
    for wrong in [
        made_again(1, &[0, 1]),
        made_again(2, &[0, 1, 2]),
        made_again(6, &[0; 6]),
    ] {
        assert_eq!(fault(&wrong), PickleFault::Call);
    }
}
