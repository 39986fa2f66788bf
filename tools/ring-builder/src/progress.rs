//! A sign of life on the terminal while something takes longer than a second.
//!
//! Results and errors go elsewhere; this writes to the error stream only when
//! that is a terminal, and wipes what it wrote.
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Work shorter than this shows nothing.
const QUIET: Duration = Duration::from_secs(1);
/// Between two pictures.
const FRAME: Duration = Duration::from_millis(120);
/// Cells of the bar.
const CELLS: u64 = 30;

/// How far the work is; given to the work, read by the picture.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: AtomicU64,
    /// 0: unknown.
    total: AtomicU64,
}

impl Steps {
    /// Says how far it is.
    pub(crate) fn at(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }
}

/// Does `work`; if `show`, draws `what`, the time and a bar on the error stream after a second.
pub(crate) fn during<T>(show: bool, what: &str, work: impl FnOnce(&Steps) -> T) -> T {
    let steps = Steps::default();
    if !show {
        return work(&steps);
    }
    let (stop, stopped) = sync_channel::<()>(1);
    std::thread::scope(|scope| {
        let steps = &steps;
        scope.spawn(move || {
            let begin = Instant::now();
            let mut wait = QUIET;
            let mut drawn = false;
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
                wait = FRAME;
                drawn = true;
                // Nobody is lost without the picture.
                let _ = write!(
                    std::io::stderr(),
                    "\r{}\x1b[K",
                    picture(what, begin.elapsed(), steps)
                );
            }
            if drawn {
                let _ = write!(std::io::stderr(), "\r\x1b[K");
            }
        });
        let result = work(steps);
        drop(stop);
        result
    })
}

fn picture(what: &str, elapsed: Duration, steps: &Steps) -> String {
    let (done, total) = (
        steps.done.load(Ordering::Relaxed),
        steps.total.load(Ordering::Relaxed),
    );
    let seconds = elapsed.as_secs_f64();
    if total == 0 {
        let wheel = ['|', '/', '-', '\\'][(elapsed.as_millis() / FRAME.as_millis()) as usize % 4];
        return format!("{wheel} {what} ... {seconds:.0} s");
    }
    let full = (done.min(total) * CELLS / total) as usize;
    let bar = "#".repeat(full) + &".".repeat(CELLS as usize - full);
    format!("[{bar}] {what} {done}/{total}, {seconds:.0} s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_how_far_the_work_is() {
        let steps = Steps::default();
        let elapsed = Duration::from_secs(2);
        assert!(picture("placing", elapsed, &steps).ends_with("placing ... 2 s"));
        steps.at(5, 10);
        let drawn = picture("rounds", elapsed, &steps);
        assert!(
            drawn.contains("###...") && drawn.contains("rounds 5/10"),
            "{drawn}"
        );
    }

    #[test]
    fn the_result_of_the_work_comes_back_at_once() {
        assert_eq!(during(false, "x", |_| 7), 7);
        assert_eq!(
            during(true, "x", |steps| {
                steps.at(1, 2);
                8
            }),
            8
        );
    }
}
