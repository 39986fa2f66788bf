//! Chains by what shows when somebody changes them.
use proptest::prelude::*;

use super::*;

fn entry(sequence: i64, id: &str) -> FeedEntry {
    FeedEntry {
        sequence,
        at: 1_766_400_000_000_000 + sequence,
        service: "identity".into(),
        kind: "user".into(),
        id: id.into(),
        action: "created".into(),
        actor: (sequence % 2 == 0).then(|| "someone".to_owned()),
        detail: json!({"who": {"user_id": "someone"}, "after": {"name": id, "age": 1.5}}).to_string(),
        hash: String::new(),
    }
}

fn chain(anchor: &Link, length: i64) -> (Vec<FeedEntry>, Link) {
    let mut at = anchor.clone();
    let mut entries = Vec::new();
    for step in 1..=length {
        let mut new = entry(anchor.sequence + step, &format!("u{step}"));
        new.hash = hash(&at.hash, &new);
        at = Link {
            sequence: new.sequence,
            hash: new.hash.clone(),
        };
        entries.push(new);
    }
    (entries, at)
}

fn judged(anchor: &Link, entries: &[FeedEntry], head: &Link, expected: Option<Link>) -> Verdict {
    let mut check = Check::new(anchor.clone()).expect(expected);
    for entry in entries {
        if let Err(broken) = check.see(entry) {
            return check.broken(head, broken);
        }
    }
    check.finish(head)
}

fn file(anchor: &Link, entries: &[FeedEntry], head: &Link) -> String {
    let mut out = Vec::new();
    write_line(&mut out, &file_begin(anchor, 1_766_400_000_000_000)).unwrap();
    for entry in entries {
        write_line(&mut out, &shown(entry).to_string()).unwrap();
    }
    write_line(&mut out, &file_end(head, entries.len() as u64)).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_good_chain_is_intact_and_so_is_its_end_after_old_entries_went() {
    let (entries, head) = chain(&Link::default(), 9);
    let verdict = judged(&Link::default(), &entries, &head, None);
    assert!(verdict.is_intact() && verdict.entries == 9, "{verdict:?}");
    let anchor = Link {
        sequence: 4,
        hash: entries[3].hash.clone(),
    };
    assert!(judged(&anchor, &entries[4..], &head, None).is_intact());
}

#[test]
fn every_edit_shows() {
    let start = Link::default();
    let (entries, head) = chain(&start, 5);
    let broken = |entries: &[FeedEntry]| judged(&start, entries, &head, None).broken;
    let mut hole = entries.clone();
    hole.remove(2);
    assert_eq!(broken(&hole), Some(Broken::Hole { after: 2, found: 4 }));
    assert_eq!(broken(&entries[..4]), Some(Broken::End { found: 4, wanted: 5 }));
    let mut swapped = entries.clone();
    swapped.swap(1, 2);
    assert!(matches!(broken(&swapped), Some(Broken::Hole { .. })));
    let edits: [fn(&mut FeedEntry); 8] = [
        |e| e.at += 1,
        |e| e.service.push('x'),
        |e| e.kind = "role".into(),
        |e| e.id.clear(),
        |e| e.action = "deleted".into(),
        |e| e.actor = None,
        |e| e.actor = Some("other".into()),
        |e| e.detail.push(' '),
    ];
    for edit in edits {
        let mut edited = entries.clone();
        // The second entry is somebody's, the third nobody's: one of them changes.
        edit(&mut edited[1]);
        edit(&mut edited[2]);
        assert!(matches!(broken(&edited), Some(Broken::Changed { .. })));
    }
}

#[test]
fn texts_that_only_move_between_fields_give_another_hash() {
    let (mut a, mut b) = (entry(1, "x"), entry(1, "x"));
    (a.kind, a.id) = ("ab".into(), "c".into());
    (b.kind, b.id) = ("a".into(), "bc".into());
    assert_ne!(hash("", &a), hash("", &b));
    (a.actor, b.actor) = (None, Some(String::new()));
    assert_ne!(hash("", &a), hash("", &b));
}

#[test]
fn a_noted_head_tells_a_chain_that_was_made_anew() {
    let start = Link::default();
    let (entries, head) = chain(&start, 5);
    let noted: Link = format!("3:{}", entries[2].hash).parse().unwrap();
    assert!(judged(&start, &entries, &head, Some(noted.clone())).is_intact());
    // All of it made anew with another first entry: whole in itself.
    let mut anew = entries.clone();
    anew[0].id = "evil".into();
    let mut before = String::new();
    for entry in &mut anew {
        entry.hash = hash(&before, entry);
        before.clone_from(&entry.hash);
    }
    let end = Link {
        sequence: 5,
        hash: before,
    };
    assert!(judged(&start, &anew, &end, None).is_intact());
    assert_eq!(
        judged(&start, &anew, &end, Some(noted)).broken,
        Some(Broken::NotExpected { sequence: 3 })
    );
    let later: Link = format!("9:{}", "0".repeat(64)).parse().unwrap();
    assert!(matches!(
        judged(&start, &entries, &head, Some(later)).broken,
        Some(Broken::NotThere { sequence: 9, .. })
    ));
    assert!("3:abc".parse::<Link>().is_err() && "x".parse::<Link>().is_err());
}

#[test]
fn a_file_is_verified_without_the_cloud() {
    let (entries, head) = chain(&Link::default(), 6);
    let good = file(&Link::default(), &entries, &head);
    let verdict = verify_file(good.as_bytes(), Some(head.clone())).unwrap();
    assert!(verdict.is_intact() && verdict.entries == 6, "{verdict:?}");
    let edited = good.replace("\"u3\"", "\"u4\"");
    assert_eq!(
        verify_file(edited.as_bytes(), None).unwrap().broken,
        Some(Broken::Changed { sequence: 3 })
    );
    let lines: Vec<&str> = good.lines().collect();
    let cut = lines[..5].join("\n");
    let said = verify_file(cut.as_bytes(), None).unwrap_err().to_string();
    assert!(said.contains("line 6") && said.contains("cut off"), "{said}");
    for (text, says) in [
        (String::new(), "empty"),
        ("{\"a\": 1}\n".to_owned(), "not a file of"),
        ("{\"virga-audit\": 9}\n".to_owned(), "version 9"),
        (format!("{}\nrubbish\n", lines[0]), "line 2: not JSON"),
        (format!("{}\n{{\"x\":1}}\n", lines[0]), "not an entry"),
        (format!("{good}{{}}\n"), "more after the end"),
        ("x".repeat(2 << 20), "longer than"),
    ] {
        let said = verify_file(text.as_bytes(), None).unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
    }
}

/// The file of version 1 as it was first written: later releases read it.
const GOLDEN: &str = include_str!("../golden/audit-1.jsonl");

#[test]
fn the_golden_file_is_read_and_written_the_same() {
    let (entries, head) = chain(&Link::default(), 3);
    assert_eq!(file(&Link::default(), &entries, &head), GOLDEN);
    assert!(verify_file(GOLDEN.as_bytes(), None).unwrap().is_intact());
}

proptest! {
    #[test]
    fn no_file_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = verify_file(bytes.as_slice(), None);
    }

    #[test]
    fn a_flipped_byte_of_a_file_never_goes_unseen_in_an_entry(at in 0usize..10_000, bit in 0u8..8) {
        let (entries, head) = chain(&Link::default(), 3);
        let good = file(&Link::default(), &entries, &head);
        let first = good.find('\n').unwrap() + 1;
        let last = good.trim_end().rfind('\n').unwrap();
        let mut bytes = good.into_bytes();
        let at = first + at % (last - first);
        bytes[at] ^= 1 << bit;
        let verdict = verify_file(bytes.as_slice(), Some(head));
        // White space between values says nothing, and is the only thing that may change.
        prop_assert!(!verdict.is_ok_and(|v| v.is_intact()), "byte {at} bit {bit}");
    }
}
