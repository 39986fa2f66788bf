//! What the object store and the container store rely on.

use super::*;

const ROW: Family = Family("row");
const SUM: Family = Family("sum");

fn add(value: Option<&[u8]>, operands: &mut dyn Iterator<Item = &[u8]>) -> Option<Vec<u8>> {
    let number = |bytes: &[u8]| Some(u64::from_le_bytes(bytes.try_into().ok()?));
    let mut sum = value.map_or(Some(0), number)?;
    for operand in operands {
        sum = sum.wrapping_add(number(operand)?);
    }
    Some(sum.to_le_bytes().to_vec())
}

fn open(path: &Path, wal: Wal) -> Kv {
    let options = KvOptions {
        write_buffer: 1 << 20,
        ..KvOptions::new(wal, KvCache::new(8 << 20))
    };
    Kv::open(
        path,
        &options,
        &[
            FamilyOptions::plain("row"),
            FamilyOptions::merging("sum", "add-u64", add),
        ],
    )
    .unwrap()
}

fn keys(kv: &Kv, bounds: Bounds) -> Vec<Vec<u8>> {
    let mut cursor = kv.cursor(ROW, bounds).unwrap();
    let mut keys = Vec::new();
    cursor.first();
    while let Some((key, _)) = cursor.current().unwrap() {
        keys.push(key.to_vec());
        cursor.step();
    }
    keys
}

#[test]
fn a_batch_is_seen_whole_and_merges_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let kv = open(dir.path(), Wal::Off);
    for round in 0..3_u64 {
        let mut batch = kv.batch();
        batch.put(ROW, &[b'k', u8::try_from(round).unwrap()], b"value");
        batch.merge(SUM, b"total", &(round + 1).to_le_bytes());
        kv.write(batch, Durability::Buffered).unwrap();
        kv.flush().unwrap();
    }
    assert_eq!(kv.get(SUM, b"total").unwrap().unwrap(), 6_u64.to_le_bytes());
    assert_eq!(kv.get_with(ROW, b"k\x01", <[u8]>::len).unwrap(), Some(5));
    let many = kv.multi_get(ROW, [&b"k\x02"[..], b"nothing", b"k\x00"]).unwrap();
    assert_eq!(many, [Some(b"value".to_vec()), None, Some(b"value".to_vec())]);
    let mut batch = kv.batch();
    batch.delete(ROW, b"k\x00");
    batch.delete_range(ROW, b"k\x01", b"k\x02");
    assert_eq!(batch.len(), 2);
    kv.write(batch, Durability::Buffered).unwrap();
    assert_eq!(keys(&kv, Bounds::all()), [b"k\x02"]);
    assert!(kv.sizes().unwrap().tables > 0);
}

#[test]
fn an_unknown_family_and_a_synced_write_without_a_log_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let kv = open(dir.path(), Wal::Off);
    let mut batch = kv.batch();
    batch.put(Family("other"), b"a", b"b");
    assert!(matches!(
        kv.write(batch, Durability::Buffered),
        Err(KvError::NoFamily("other"))
    ));
    let mut batch = kv.batch();
    batch.put(ROW, b"a", b"b");
    assert!(kv.write(batch, Durability::Synced).is_err());
    assert!(kv.get(ROW, b"a").unwrap().is_none());
}

#[test]
fn a_cursor_keeps_its_bounds_in_both_directions() {
    let dir = tempfile::tempdir().unwrap();
    let kv = open(dir.path(), Wal::On);
    let mut batch = kv.batch();
    for key in ["a", "b/1", "b/2", "b0", "c"] {
        batch.put(ROW, key.as_bytes(), b"");
    }
    kv.write(batch, Durability::Synced).unwrap();
    assert_eq!(keys(&kv, Bounds::prefix("b/")), [b"b/1", b"b/2"]);
    assert_eq!(keys(&kv, Bounds::range("b/2", "c")), [&b"b/2"[..], b"b0"]);
    let mut cursor = kv.cursor(ROW, Bounds::range("b", "c")).unwrap();
    assert!(cursor.current().unwrap().is_none());
    cursor.last();
    assert_eq!(cursor.current().unwrap().unwrap().0, b"b0");
    cursor.seek_back(b"b/9");
    assert_eq!(cursor.current().unwrap().unwrap().0, b"b/2");
    cursor.step_back();
    cursor.step_back();
    assert!(cursor.current().unwrap().is_none());
    cursor.step_back();
    cursor.seek(b"b/11");
    assert_eq!(cursor.current().unwrap().unwrap().0, b"b/2");
    assert_eq!(cursor::prefix_end(b"a\xff\xff").unwrap(), b"b");
    assert_eq!(cursor::prefix_end(b"\xff"), None);
}

#[test]
fn with_its_log_a_synced_write_is_there_after_reopening_and_a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let kv = open(dir.path(), Wal::On);
    let mut batch = kv.batch();
    batch.put(ROW, b"a", b"1");
    kv.write(batch, Durability::Synced).unwrap();
    let options = KvOptions::new(Wal::On, KvCache::new(1 << 20));
    let second = Kv::open(dir.path(), &options, &[FamilyOptions::plain("row")]);
    assert!(matches!(second, Err(KvError::Locked(_))), "{:?}", second.err());
    drop(kv);
    let kv = open(dir.path(), Wal::On);
    assert_eq!(kv.get(ROW, b"a").unwrap().unwrap(), b"1");
    drop(kv);
    Kv::destroy(dir.path()).unwrap();
    Kv::destroy(dir.path()).unwrap();
    assert!(!dir.path().exists());
}
