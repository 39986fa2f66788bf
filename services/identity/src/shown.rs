//! Answers about tokens, remembered while nothing they were made of has changed.
//!
//! Services ask about the same tokens over and over, and each answer costs
//! several queries. An answer stands on records, on keys, on revocations and on
//! time: [`App::stamp`] grows with every change of the first three that this
//! process makes or hears of, and [`LIFETIME`] bounds for how long another
//! process can have changed them unnoticed.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use virga_identity_api::payload::Payload;
use virga_identity_api::recent::Recent;
use virga_node::clock::Micros;
use virga_state::StateError;

use crate::app::App;
use crate::auth::tokens::{Backing, Standing};
use crate::model::group;

/// Answers remembered at most, in each of two halves, with and without catalog.
const REMEMBERED: usize = 2048;
/// How long an answer is believed.
const LIFETIME: Duration = Duration::from_secs(5);

/// A token as it was shown.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// What the token says.
    pub(crate) payload: Arc<Payload>,
    /// The body of the answer.
    pub(crate) body: Bytes,
}

#[derive(Clone, Debug)]
struct Kept {
    shown: Shown,
    stamp: u64,
    until: Micros,
}

/// What was answered lately.
#[derive(Debug)]
pub(crate) struct ShownTokens {
    with_catalog: Mutex<Recent<String, Kept>>,
    without: Mutex<Recent<String, Kept>>,
}

impl Default for ShownTokens {
    fn default() -> Self {
        let none = || Mutex::new(Recent::new(REMEMBERED));
        Self {
            with_catalog: none(),
            without: none(),
        }
    }
}

impl ShownTokens {
    fn of(&self, catalog: bool) -> &Mutex<Recent<String, Kept>> {
        match catalog {
            true => &self.with_catalog,
            false => &self.without,
        }
    }
}

impl App {
    /// Grows with every change of what tokens stand for. To be taken before
    /// anything is read.
    fn stamp(&self) -> u64 {
        self.state.changed() + self.verifier.generation()
    }

    /// What was answered about `token`, with or without catalog, if that still
    /// holds.
    pub(crate) fn shown(&self, token: &str, catalog: bool) -> Option<Shown> {
        let kept = {
            let mut recent = self
                .shown
                .of(catalog)
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            recent.get(token)?
        };
        (kept.stamp == self.stamp() && kept.until > self.clock.now()).then_some(kept.shown)
    }

    /// Begins an answer about `token`, before anything is read for it.
    pub(crate) fn showing<'a>(&'a self, token: &'a str, catalog: bool) -> Showing<'a> {
        Showing {
            app: self,
            token,
            catalog,
            stamp: self.stamp(),
        }
    }
}

/// An answer under way.
pub(crate) struct Showing<'a> {
    app: &'a App,
    token: &'a str,
    catalog: bool,
    stamp: u64,
}

impl Showing<'_> {
    /// Remembers the answer, if it can be said how long it holds.
    pub(crate) async fn remember(self, standing: &Standing, body: &Bytes) -> Result<(), StateError> {
        // Those stand on memberships of others, which may end at any time.
        if matches!(standing.backing, Backing::Trust(_)) {
            return Ok(());
        }
        let app = self.app;
        let now = app.clock.now();
        let end = group::next_end(&mut app.state.recalling(), &standing.user.id, now).await?;
        let until = now.plus(LIFETIME).min(standing.payload.expires_at);
        let kept = Kept {
            shown: Shown {
                payload: Arc::new(standing.payload.clone()),
                body: body.clone(),
            },
            stamp: self.stamp,
            until: end.map_or(until, |end| until.min(end)),
        };
        let mut recent = app
            .shown
            .of(self.catalog)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        recent.put(self.token.to_owned(), kept);
        Ok(())
    }
}
