//! Segment files that are gone, or shorter than they were, on real files: past the end
//! of one nothing can be read, not even a page that begins before it.

use std::sync::Arc;

use super::{HOT, open, segments_on, submit_each};
use crate::io::Disk;
use crate::io::file::FileDisk;
use crate::log::{LogOptions, Start};

#[test]
fn a_file_that_was_cut_short_anywhere_keeps_what_lies_before_the_cut() {
    let folder = tempfile::tempdir().unwrap();
    let disk = |folder: &std::path::Path| -> Arc<dyn Disk> { Arc::new(FileDisk::open(folder).unwrap()) };
    let original = folder.path().join("whole");
    let segments = segments_on(disk(&original));
    let (log, _, _) = open(&segments, HOT);
    // More than one segment: what is missing is damage, not the end of the stream.
    submit_each(&log, 0..30, 60_000);
    drop((log, segments));
    let name = Disk::list(&*disk(&original)).unwrap().into_iter().min().unwrap();
    for cut in [4096, 4097, 8192, 60_000, 65_536, 131_073, 300_000, 1_000_001] {
        let copy = folder.path().join(cut.to_string());
        std::fs::create_dir(&copy).unwrap();
        for file in std::fs::read_dir(&original).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
        }
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(copy.join(&name))
            .unwrap();
        file.set_len(cut).unwrap();
        let (_log, index, _) = open(&segments_on(disk(&copy)), HOT);
        let (found, whole) = (index.versions(), (cut - 4096) / 61_440);
        let (before, after): (Vec<u64>, Vec<u64>) = found.iter().partition(|number| **number < whole);
        assert_eq!(before, (0..whole).collect::<Vec<_>>(), "cut at {cut}");
        assert!(
            after.contains(&29) && !found.contains(&whole),
            "cut at {cut}: {found:?}"
        );
    }
}

#[test]
fn batches_whose_segment_is_gone_are_noticed() {
    // Two batches fit a segment and leave a rest; one fills it to the last page.
    for (len, each, missing, damaged) in [(400_000, 2, 0, 1), (1_044_000, 1, 1, 0)] {
        let folder = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(folder.path()).unwrap());
        let segments = segments_on(Arc::clone(&disk));
        let (log, index, _) = open(&segments, HOT);
        submit_each(&log, 0..each, len);
        let applied = index.0.lock().unwrap().upto.unwrap();
        submit_each(&log, each..3 * each, len);
        drop((log, segments));
        let mut names = disk.list().unwrap();
        names.sort();
        assert_eq!((names.len(), applied.segment), (3, 1));
        disk.remove(&names[1]).unwrap();

        let start = Start::After(applied);
        let (_, index, recovered) = open(&segments_on(Arc::clone(&disk)), LogOptions { start, ..HOT });
        assert_eq!((recovered.missing, recovered.damaged), (missing, damaged));
        assert_eq!(index.versions(), (2 * each..3 * each).collect::<Vec<_>>());
        // From the beginning, all that was in it may have died.
        let (_, index, recovered) = open(&segments_on(disk), HOT);
        let all = (0..each).chain(2 * each..3 * each);
        assert_eq!((recovered.missing, index.versions()), (0, all.collect()));
    }
}
