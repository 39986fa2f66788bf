//! Any bytes as a proof about a range of an object, the same bytes under a head and a checksum that are right, and
//! any numbers as an object's length and a range.

use virga_proxy::proof::{MAX_LEN, Proof, Shape, VERSION};

/// Panics if the decoder does, or if what it read does not hold together.
pub fn chew(data: &[u8]) {
    whole(data);
    if data.len() >= 36 {
        let mut data = data.to_vec();
        data[..4].copy_from_slice(b"VRPF");
        data[4..6].copy_from_slice(&VERSION.to_le_bytes());
        let end = data.len() - 4;
        let crc = crc32fast::hash(&data[..end]);
        data[end..].copy_from_slice(&crc.to_le_bytes());
        whole(&data);
    }
    made(data);
}

fn whole(data: &[u8]) {
    let Ok(proof) = Proof::decode(data) else {
        return;
    };
    assert!(data.len() <= MAX_LEN);
    assert_eq!(proof.encode(), data, "a proof has one form");
    holds_together(&proof);
}

/// A proof of whatever object and range the numbers say, of bytes that are not the object's.
fn made(data: &[u8]) {
    let Some((numbers, filling)) = data.split_first_chunk::<24>() else {
        return;
    };
    let number = |at: usize| u64::from_le_bytes(numbers[at..at + 8].try_into().expect("eight bytes"));
    let Ok(shape) = Shape::new(number(0), number(8)..number(16)) else {
        return;
    };
    let mut filling = filling.iter().copied().cycle();
    let mut next = move || filling.next().unwrap_or(7);
    let bytes = |number| (0..shape.chunk_len(number)).map(|at| at as u8).collect();
    let built = Proof::build(
        shape.clone(),
        |number| Some(bytes(number)),
        |_| Some(std::array::from_fn(|_| next())),
    );
    let proof = built.expect("everything is there");
    assert_eq!(Proof::decode(&proof.encode()).as_ref(), Ok(&proof));
    holds_together(&proof);
}

fn holds_together(proof: &Proof) {
    assert_eq!(proof.root(), proof.root());
    let range = proof.shape().range();
    let mut at = range.start;
    for part in proof.parts() {
        assert_eq!(part.bytes.start, at, "parts follow each other");
        assert!(part.bytes.end > at);
        at = part.bytes.end;
    }
    assert_eq!(at, range.end, "parts cover the range");
}
