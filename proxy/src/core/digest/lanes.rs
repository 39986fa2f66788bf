//! Pieces of many uploads that wait to be hashed, taken four at a time.
//!
//! A piece waits for as long as every core hashes already: by then others have
//! come that go with it ([`update_together`]), and the busier the proxy is the less
//! each of them costs. Alone, a piece is hashed at once. There is at most one
//! piece of each upload here, and uploads are bounded where requests are
//! admitted.
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::four::LANES;
use super::md5::{Md5, update_together};

/// The queue, and those who work it off.
#[derive(Clone)]
pub(in crate::core) struct Md5Lanes {
    state: Arc<Mutex<State>>,
    /// Threads that hash at the same time: as many as there are cores.
    most: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Piece>,
    working: usize,
}

struct Piece {
    md5: Md5,
    bytes: Bytes,
    done: oneshot::Sender<Md5>,
}

impl Default for Md5Lanes {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            most: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        }
    }
}

impl Md5Lanes {
    /// Adds bytes to a hash, which comes back by the channel; the channel breaks
    /// when the process is shutting down.
    pub(super) fn add(&self, md5: Md5, bytes: Bytes) -> oneshot::Receiver<Md5> {
        let (done, hashed) = oneshot::channel();
        let mut state = self.state();
        state.waiting.push_back(Piece { md5, bytes, done });
        if state.working < self.most {
            state.working += 1;
            drop(state);
            let worker = Worker {
                lanes: self.clone(),
                counts: true,
            };
            spawn_blocking(move || worker.work());
        }
        hashed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of those who hash. It counts until it finds nothing to do, or is dropped
/// before: a panic or the end of the process.
struct Worker {
    lanes: Md5Lanes,
    counts: bool,
}

impl Worker {
    fn work(mut self) {
        while let Some(pieces) = self.take() {
            let (mut streams, waiting): (Vec<_>, Vec<_>) = pieces
                .into_iter()
                .map(|piece| ((piece.md5, piece.bytes), piece.done))
                .unzip();
            update_together(&mut streams);
            for ((md5, _), done) in streams.into_iter().zip(waiting) {
                // An upload that was given up waits no more.
                drop(done.send(md5));
            }
        }
    }

    /// What is to be hashed next. When there is nothing the worker stops counting under
    /// the same lock, so that no piece comes between.
    fn take(&mut self) -> Option<Vec<Piece>> {
        let mut state = self.lanes.state();
        let many = state.waiting.len().min(LANES);
        if many > 0 {
            return Some(state.waiting.drain(..many).collect());
        }
        state.working -= 1;
        self.counts = false;
        None
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.counts {
            return;
        }
        let mut state = self.lanes.state();
        state.working -= 1;
        if state.working == 0 {
            // Nobody would come for them: their channels break.
            state.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex_of(bytes: &Bytes) -> String {
        use md5::Digest as _;
        hex::encode(md5::Md5::digest(bytes))
    }

    #[tokio::test]
    async fn every_piece_comes_back_hashed_however_many_wait() {
        let lanes = Md5Lanes::default();
        let pieces: Vec<Bytes> = (0..200_usize)
            .map(|n| (0..n * 37).map(|i| (i ^ n) as u8).collect())
            .collect();
        let waiting: Vec<_> = pieces
            .iter()
            .map(|piece| lanes.add(Md5::default(), piece.clone()))
            .collect();
        for (piece, hashed) in pieces.iter().zip(waiting) {
            assert_eq!(hashed.await.unwrap().hex(), hex_of(piece));
        }
        // Whoever found nothing to do has gone, or will: the next is hashed all the same.
        let piece = Bytes::from_static(b"one more");
        let hashed = lanes.add(Md5::default(), piece.clone()).await.unwrap();
        assert_eq!(hashed.hex(), hex_of(&piece));
    }

    #[tokio::test]
    async fn an_upload_that_was_given_up_holds_nobody_up() {
        let lanes = Md5Lanes::default();
        for _ in 0..20 {
            drop(lanes.add(Md5::default(), Bytes::from(vec![7; 1 << 16])));
        }
        let piece = Bytes::from_static(b"still here");
        let hashed = lanes.add(Md5::default(), piece.clone()).await.unwrap();
        assert_eq!(hashed.hex(), hex_of(&piece));
    }

    #[test]
    fn pieces_that_nobody_comes_for_break_their_channels() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let lanes = Md5Lanes::default();
        // The pool is gone: what is handed to it is dropped.
        let hashed = {
            let handle = runtime.handle().clone();
            runtime.shutdown_background();
            let _entered = handle.enter();
            lanes.add(Md5::default(), Bytes::from_static(b"too late"))
        };
        assert!(hashed.blocking_recv().is_err());
    }
}
