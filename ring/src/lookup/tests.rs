//! The flat table against what it was made from, whatever its shape.
use super::*;

fn ids(slots: Slots<'_>) -> Vec<u32> {
    (0..slots.len()).filter_map(|at| slots.get(at)).collect()
}

#[test]
fn it_holds_what_the_builders_table_holds_in_either_width() {
    for (parts, count) in [(8, 21), (8, 24), (1, 20), (4, 66), (16, 16), (2, 3)] {
        for devices in [1000, 70_000] {
            let numbers: Vec<u32> = (0..count).map(|n| n * 37 % 1000).collect();
            let table = Table::from_row_major(parts, &numbers).unwrap();
            let made = LookupTable::of(&table, devices).unwrap();
            assert_eq!(matches!(made.cells, Width::Narrow(_)), devices == 1000);
            for part in 0..parts {
                assert_eq!(ids(made.slots(part)), table.of(part));
            }
            assert!(ids(made.slots(parts)).is_empty());
            assert_eq!(made.to_table(), table);
            assert_eq!(made.slot_count(), table.slots());
            assert_eq!(made.replica_count(), table.replica_count());
        }
    }
}

#[test]
fn rows_are_written_and_read_back_in_every_encoding() {
    let numbers: Vec<u32> = (0..21).collect();
    let table = Table::from_row_major(8, &numbers).unwrap();
    for devices in [21, 70_000] {
        let made = LookupTable::of(&table, devices).unwrap();
        for encoding in [Encoding::Little2, Encoding::Big2, Encoding::Big4] {
            let mut bytes = Vec::new();
            made.write_rows(&mut bytes, encoding).unwrap();
            let back = LookupTable::from_rows(8, &bytes, encoding, devices).unwrap();
            assert_eq!(back.to_table(), table);
            let cut = LookupTable::from_rows(8, &bytes[1..], encoding, devices);
            assert!(cut.is_none());
        }
    }
    assert!(LookupTable::from_rows(0, &[1, 2], Encoding::Big2, 1).is_none());
    assert!(LookupTable::from_rows(1 << 27, &[1, 2], Encoding::Big2, 1).is_none());
}

#[test]
fn unassigned_slots_and_numbers_too_large_never_become_a_device() {
    let made = LookupTable::from_rows(2, &[0xff, 0xff, 1, 0], Encoding::Little2, 70_000).unwrap();
    assert_eq!(ids(made.slots(0)), [NONE]);
    let made = LookupTable::from_rows(1, &[0, 1, 0, 0], Encoding::Big4, 2).unwrap();
    assert_eq!(made.slots(0).get(0), Some(NONE));
    assert_eq!(made.write_rows(&mut Vec::new(), Encoding::Big2), Err(NONE));
}

#[test]
fn a_look_at_every_slot_finds_owners_repeats_and_strangers() {
    for rows in 1..=6 {
        for devices in [20, 70_000] {
            // Rows that differ, the last one short.
            let slots = rows * 8 - 3;
            let mut numbers: Vec<u32> = (0..slots as u32).map(|n| n / 8 * 3 + n % 3).collect();
            let listed: Vec<bool> = (0..devices).map(|n| n < 18).collect();
            let scan = |numbers: &[u32]| {
                let table = Table::from_row_major(8, numbers);
                LookupTable::of(&table.unwrap_or_default(), devices)
                    .unwrap()
                    .scan(&listed)
            };
            if rows > 1 {
                let found = scan(&numbers).unwrap();
                assert!(!found.repeats);
                let owners = found.used.iter().filter(|used| **used).count();
                assert_eq!(owners, rows * 3);
                numbers[8] = numbers[0];
                assert!(scan(&numbers).unwrap().repeats);
            }
            for stranger in [18, 19] {
                for at in 0..slots.max(8) {
                    let mut bad: Vec<u32> =
                        numbers.iter().copied().chain([0; 3]).take(slots.max(8)).collect();
                    bad[at] = stranger;
                    assert_eq!(scan(&bad).unwrap_err(), (at % 8, stranger));
                }
            }
        }
    }
}

#[test]
fn a_partition_never_straddles_a_cache_line() {
    for rows in [1, 2, 3, 5, 7, 14, 16] {
        let made = LookupTable::new(64, rows, 64, 10).unwrap();
        let Width::Narrow(cells) = &made.cells else {
            panic!("ten devices need two bytes")
        };
        assert_eq!(cells.all().as_ptr().align_offset(LINE), 0);
        let bytes = made.stride * 2;
        assert!(LINE.is_multiple_of(bytes) && made.stride >= rows);
    }
}
