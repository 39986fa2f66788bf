use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use virga_tests::chance::Chance;
use virga_tests::cloud::Cloud;
use virga_tests::swift::Swift;

/// Every segment file of one device.
fn segments(cloud: &Cloud, device: &str) -> Vec<PathBuf> {
    let folder = cloud.data().join("devices").join(device).join("seg");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    files.map(|file| file.expect("an entry").path()).collect()
}

#[test]
fn flipped_bits_on_one_device_are_never_served_and_another_replica_answers() {
    let cloud = Cloud::start();
    let swift = Swift::connect(&cloud);
    let mut chance = Chance::announced("bit flips");
    swift.put("box", b"");
    let bodies: Vec<Vec<u8>> = (0..120)
        .map(|n| chance.bytes(if n % 10 == 0 { 1_300_000 } else { 3_000 + n * 100 }))
        .collect();
    for (n, body) in bodies.iter().enumerate() {
        swift.put(&format!("box/{n}"), body);
    }
    let mut flipped = 0;
    for round in 0..4 {
        for file in segments(&cloud, "d2") {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .open(file)
                .expect("a segment");
            // Only where something is written: the rest of a segment is zeros.
            let mut page = vec![0u8; 4096];
            for at in (0..file.metadata().expect("its length").len()).step_by(4096) {
                let read = file.read_at(&mut page, at).expect("a read");
                if page[..read].iter().any(|b| *b != 0) && chance.below(3) == 0 {
                    let spot = chance.below(read as u64);
                    file.write_all_at(&[page[spot as usize] ^ (1 << chance.below(8))], at + spot)
                        .expect("a write");
                    flipped += 1;
                }
            }
        }
        for (n, body) in bodies.iter().enumerate() {
            let answer = swift.get(&format!("box/{n}"));
            assert_eq!(answer.status, 200, "round {round}, object {n}");
            assert!(
                answer.body == *body,
                "round {round}, object {n}: wrong bytes were served"
            );
        }
        // Load goes on while the device rots.
        swift.put(&format!("box/during-{round}"), &chance.bytes(10_000));
    }
    assert!(flipped > 50, "only {flipped} bits were flipped");
    println!("{flipped} bits flipped");
}
