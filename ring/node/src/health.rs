//! Health: what each part of a daemon says of itself.
//!
//! A part registers once and reports as its state changes; `/healthcheck`
//! and `virga status` read the board. Nothing here decides what to do about
//! an unhealthy part.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// How a part is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "lowercase")]
pub enum State {
    /// Not serving yet.
    Starting,
    /// Serving.
    Ready,
    /// Serving, but somebody should look; says why.
    Degraded(String),
    /// Not serving; says why.
    Failed(String),
}

/// The board on which all parts of a process report.
#[derive(Clone, Debug, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<String, State>>>,
}

/// One part's line on the board.
#[derive(Clone, Debug)]
pub struct Reporter {
    name: String,
    board: Health,
}

impl Health {
    /// An empty board.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part, as [`State::Starting`].
    pub fn register(&self, name: &str) -> Reporter {
        let reporter = Reporter {
            name: name.to_owned(),
            board: self.clone(),
        };
        reporter.report(State::Starting);
        reporter
    }

    /// Every part and its state, by name.
    pub fn snapshot(&self) -> BTreeMap<String, State> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether every part serves (degraded ones do).
    pub fn serving(&self) -> bool {
        self.snapshot()
            .values()
            .all(|state| matches!(state, State::Ready | State::Degraded(_)))
    }
}

impl Reporter {
    /// Replaces the part's state.
    pub fn report(&self, state: State) {
        let mut parts = self.board.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert(self.name.clone(), state);
    }

    /// Says that the part serves.
    pub fn ready(&self) {
        self.report(State::Ready);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_serves_once_every_part_does() {
        let health = Health::new();
        let proxy = health.register("proxy");
        let store = health.register("object-server");
        proxy.ready();
        assert!(!health.serving());
        store.report(State::Degraded("d2 is full".into()));
        assert!(health.serving());
        store.report(State::Failed("no devices".into()));
        assert!(!health.serving());
        assert_eq!(health.snapshot()["proxy"], State::Ready);
    }
}
