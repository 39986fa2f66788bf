//! The machine's own limits, measured with the shapes that the store uses:
//! an appended 4 KiB page with fdatasync, loopback round trips, checksums.
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use md5::Digest;
use serde_json::json;

/// How long each figure is measured.
const EACH: Duration = Duration::from_secs(2);

/// Measures and prints one JSON line.
pub fn run(dir: &Path) -> Result<(), String> {
    let (fdatasync, p50) = fdatasync(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let (disk_write, disk_read) = disk_streams(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let loopback = loopback().map_err(|e| format!("loopback: {e}"))?;
    let block = vec![0xA5u8; 1024 * 1024];
    let line = json!({
        "label": "limits",
        "fdatasync_4k_per_second": fdatasync,
        "fdatasync_4k_p50_ms": p50,
        "disk_write_mib_per_second": disk_write,
        "disk_read_mib_per_second": disk_read,
        "loopback_round_trips_per_second": loopback,
        "md5_mib_per_second": rate(|| { std::hint::black_box(md5::Md5::digest(&block)); }),
        "blake3_mib_per_second": rate(|| { std::hint::black_box(blake3::hash(&block)); }),
        "crc32_mib_per_second": rate(|| { std::hint::black_box(crc32fast::hash(&block)); }),
    });
    println!("{line}");
    Ok(())
}

/// Pages of 4 KiB overwritten in a file that is already allocated, each synced.
fn fdatasync(dir: &Path) -> std::io::Result<(f64, f64)> {
    const PAGES: u64 = 16 * 1024;
    let path = dir.join(format!("virga-bench-{}", std::process::id()));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    for megabyte in 0..PAGES / 256 {
        file.write_all_at(&vec![0; 1024 * 1024], megabyte * 1024 * 1024)?;
    }
    file.sync_all()?;
    let (begun, page) = (Instant::now(), [7u8; 4096]);
    let mut times = Vec::new();
    while begun.elapsed() < EACH {
        let one = Instant::now();
        file.write_all_at(&page, (times.len() as u64 % PAGES) * 4096)?;
        file.sync_data()?;
        times.push(one.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok((
        times.len() as f64 / begun.elapsed().as_secs_f64(),
        times[times.len() / 2],
    ))
}

/// MiB a second of one file written from end to end, its sync included, and of
/// the same file read once nothing of it is in memory any more.
fn disk_streams(dir: &Path) -> std::io::Result<(f64, f64)> {
    const MOST: u64 = 2048;
    let path = dir.join(format!("virga-bench-{}", std::process::id()));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    let (begun, mut block) = (Instant::now(), vec![7u8; 1024 * 1024]);
    let mut written = 0;
    while begun.elapsed() < EACH && written < MOST {
        file.write_all(&block)?;
        written += 1;
    }
    file.sync_data()?;
    let write = written as f64 / begun.elapsed().as_secs_f64();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    let (begun, mut read) = (Instant::now(), 0_u64);
    while begun.elapsed() < EACH && read < written {
        file.read_exact_at(&mut block, read << 20)?;
        read += 1;
    }
    Ok((write, read as f64 / begun.elapsed().as_secs_f64()))
}

/// One byte there and one back, one connection.
fn loopback() -> std::io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut here = TcpStream::connect(listener.local_addr()?)?;
    let (mut there, _) = listener.accept()?;
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    let echo = std::thread::spawn(move || {
        let mut byte = [0];
        while there.read_exact(&mut byte).is_ok() && there.write_all(&byte).is_ok() {}
    });
    let (begun, mut trips, mut byte) = (Instant::now(), 0u64, [1]);
    while begun.elapsed() < EACH {
        here.write_all(&byte)?;
        here.read_exact(&mut byte)?;
        trips += 1;
    }
    let rate = trips as f64 / begun.elapsed().as_secs_f64();
    drop(here);
    echo.join()
        .map_err(|_| std::io::Error::other("the echo thread panicked"))?;
    Ok(rate)
}

/// MiB a second of a function that takes one MiB.
fn rate(mut one: impl FnMut()) -> f64 {
    let (begun, mut count) = (Instant::now(), 0u32);
    while begun.elapsed() < EACH {
        one();
        count += 1;
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}
