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

/// Opens the database `index` of a device's folder, with one plain family.
fn open_index(device: &Path, wal: Wal) -> Result<Kv, KvError> {
    let options = KvOptions::new(wal, KvCache::new(1 << 20));
    Kv::open(&device.join("index"), &options, &[FamilyOptions::plain("row")])
}

#[test]
fn a_derived_database_that_was_condemned_is_damaged_at_its_next_opening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index");
    let kv = open_index(dir.path(), Wal::Off).unwrap();
    assert_eq!((kv.path(), kv.is_damaged()), (path.as_path(), false));
    kv.condemn();
    assert!(kv.is_damaged());
    drop(kv);
    let refused = open_index(dir.path(), Wal::Off);
    assert!(matches!(refused, Err(KvError::Damaged(_))), "{:?}", refused.err());
    // Another one in its place starts sound; of what was put aside the last one stays.
    for _ in 0..2 {
        let aside = Kv::set_aside(&path).unwrap();
        assert_eq!(aside, dir.path().join("index.damaged"));
        assert!(aside.is_dir() && !path.exists());
        let kv = open_index(dir.path(), Wal::Off).unwrap();
        assert!(!kv.is_damaged());
    }
    assert!(!dir.path().join("index.damaged/DAMAGED").exists());
}

#[test]
fn a_database_with_its_own_log_is_not_marked_for_what_was_met_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let kv = open_index(dir.path(), Wal::On).unwrap();
    kv.condemn();
    assert!(kv.is_damaged());
    drop(kv);
    assert!(!open_index(dir.path(), Wal::On).unwrap().is_damaged());
}

#[test]
fn tables_that_make_no_sense_or_are_gone_are_damage() {
    for gone in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let kv = open_index(dir.path(), Wal::Off).unwrap();
        let mut batch = kv.batch();
        batch.put(ROW, b"a", &[7; 30_000]);
        kv.write(batch, Durability::Buffered).unwrap();
        kv.flush().unwrap();
        drop(kv);
        let files = std::fs::read_dir(dir.path().join("index")).unwrap();
        let tables: Vec<PathBuf> = files
            .map(|file| file.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "sst"))
            .collect();
        assert!(!tables.is_empty());
        for table in tables {
            match gone {
                true => std::fs::remove_file(table).unwrap(),
                false => {
                    let len = std::fs::metadata(&table).unwrap().len();
                    std::fs::write(&table, vec![0x55; len as usize]).unwrap();
                }
            }
        }
        let read = open_index(dir.path(), Wal::Off).and_then(|kv| {
            let read = kv.get(ROW, b"a");
            assert_eq!(kv.is_damaged(), read.is_err());
            read
        });
        assert!(matches!(read, Err(KvError::Damaged(_))), "gone {gone}: {read:?}");
    }
}

#[test]
fn a_database_begun_anew_has_nothing_of_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let kv = open_index(dir.path(), Wal::On).unwrap();
    let mut batch = kv.batch();
    assert!(batch.is_empty());
    batch.put(ROW, b"a", b"1");
    assert!(!batch.is_empty());
    kv.write(batch, Durability::Synced).unwrap();
    drop(kv);
    let options = KvOptions::new(Wal::On, KvCache::new(1 << 20));
    let families = [FamilyOptions::plain("row").often_missed()];
    let kv = Kv::open_anew(&dir.path().join("index"), &options, &families).unwrap();
    assert_eq!(kv.get(ROW, b"a").unwrap(), None);
}

#[test]
fn what_a_database_takes_of_memory_and_disk_is_told_in_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let cache = KvCache::new(8 << 20);
    let options = KvOptions::new(Wal::Off, cache.clone());
    let families = [FamilyOptions::plain("row"), FamilyOptions::plain("other")];
    let kv = Kv::open(&dir.path().join("index"), &options, &families).unwrap();
    let empty = kv.sizes().unwrap();
    // Noise, which no compression makes small.
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..300_000)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    for family in [ROW, Family("other")] {
        let mut batch = kv.batch();
        batch.put(family, b"a", &noise);
        kv.write(batch, Durability::Buffered).unwrap();
    }
    let written = kv.sizes().unwrap();
    assert!(written.memtables >= empty.memtables + 600_000, "{written:?}");
    assert_eq!((empty.tables, written.tables), (0, 0));
    kv.flush().unwrap();
    let flushed = kv.sizes().unwrap();
    assert!((600_000..700_000).contains(&flushed.tables), "{flushed:?}");
    assert!(flushed.memtables < written.memtables, "{flushed:?}");
    assert_eq!(kv.get(ROW, b"a").unwrap().unwrap(), noise);
    assert!(cache.used() >= 300_000, "{}", cache.used());
}

#[test]
fn room_is_kept_beside_a_database_and_given_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ballast");
    let index = dir.path().join("index");
    drop(open_index(dir.path(), Wal::Off).unwrap());
    let laid = std::fs::metadata(&file).unwrap();
    assert_eq!(laid.len(), 8 << 20);
    let blocks = std::os::unix::fs::MetadataExt::blocks(&laid);
    assert!(blocks * 512 >= 8 << 20, "{blocks} blocks are no room");
    assert!(ballast::give(&index));
    assert!(!file.exists() && !ballast::give(&index));
    drop(open_index(dir.path(), Wal::Off).unwrap());
    assert!(file.exists(), "it is laid again when there is room");
}

#[test]
fn a_shadow_links_the_tables_and_copies_the_rest_but_locks_and_logs() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("000012.sst", "table"),
        ("CURRENT", "current"),
        ("LOCK", ""),
        ("LOG", "log"),
        ("LOG.old.1", "log"),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    let shadow = Shadow::of(dir.path()).unwrap();
    let (path, other) = (
        shadow.path().to_owned(),
        Shadow::of(&dir.path().join("nothing")).unwrap(),
    );
    assert_ne!(path, other.path());
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
    let mut names: Vec<_> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["000012.sst", "CURRENT"]);
    let kind = |name| std::fs::symlink_metadata(path.join(name)).unwrap().file_type();
    assert!(kind("000012.sst").is_symlink() && kind("CURRENT").is_file());
    assert_eq!(std::fs::read(path.join("000012.sst")).unwrap(), b"table");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    drop(shadow);
    assert!(!path.exists() && dir.path().join("CURRENT").exists());
}
