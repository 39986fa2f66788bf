//! How often one address and one account may ask, and fail to sign in.
//!
//! Sign-ins are counted when they fail: who knows the password may come as often
//! as hashing allows, who guesses soon waits (429). Accounts are counted by what
//! the client calls them, whether they are there or not, so the answer tells
//! nobody which are. Unlike the lockout of Keystone's security options, which
//! needs a user and refuses good passwords too, this also stops one password
//! being tried on all users.
use std::time::Duration;

use serde::{Deserialize, Serialize};
use virga_http::limits::{Buckets, Rate};
use virga_http::peer::{Network, Source};
use virga_node::clock::Micros;

use crate::app::App;
use crate::audit::journal::TurnedAway;
use crate::auth::AuthError;

/// Limits, as configured. A rate of 0 a minute is no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimits {
    /// Proxies whose `X-Forwarded-For` is believed: addresses, or networks such
    /// as "10.0.0.0/8".
    pub trusted_proxies: Vec<Network>,
    /// Requests from one address.
    pub requests_per_source: Rate,
    /// Requests with tokens of one user.
    pub requests_per_account: Rate,
    /// Failed sign-ins from one address.
    pub failures_per_source: Rate,
    /// Failed sign-ins to one account.
    pub failures_per_account: Rate,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            requests_per_source: Rate::UNLIMITED,
            requests_per_account: Rate::UNLIMITED,
            failures_per_source: Rate {
                per_minute: 120,
                burst: 240,
            },
            failures_per_account: Rate {
                per_minute: 30,
                burst: 60,
            },
        }
    }
}

/// The buckets of a running service.
#[derive(Debug)]
pub(crate) struct Meters {
    requests_per_account: Buckets,
    failures_per_source: Buckets,
    failures_per_account: Buckets,
}

impl Meters {
    pub(crate) fn new(limits: &RateLimits) -> Self {
        Self {
            requests_per_account: Buckets::new(limits.requests_per_account),
            failures_per_source: Buckets::new(limits.failures_per_source),
            failures_per_account: Buckets::new(limits.failures_per_account),
        }
    }

    /// Counts a request of a user; how long to wait, if there were too many.
    pub(crate) fn request(&self, user_id: &str, now: Micros) -> Result<(), Duration> {
        self.requests_per_account.take(&user_id, now)
    }
}

/// A sign-in under way. Whoever may fail once more may sign in any number of
/// times at once, so as many guesses as hashes may wait can be too many; the
/// next ones wait for those.
pub(crate) struct Attempt<'a> {
    app: &'a App,
    source: Option<Source>,
    accounts: Vec<String>,
}

impl App {
    /// Begins a sign-in to what the client calls `accounts`.
    pub(crate) fn attempt(
        &self,
        source: Option<Source>,
        accounts: Vec<String>,
    ) -> Result<Attempt<'_>, AuthError> {
        let (meters, now) = (&self.meters, self.clock.now());
        let too_many = |wait| {
            self.journal.turned_away(source.map(|s| s.0), TurnedAway::TooMany);
            AuthError::TooMany(wait)
        };
        if let Some(source) = source {
            let taken = meters.failures_per_source.look(&source.whole(), now);
            taken.map_err(too_many)?;
        }
        for account in &accounts {
            let taken = meters.failures_per_account.look(account, now);
            taken.map_err(too_many)?;
        }
        Ok(Attempt {
            app: self,
            source,
            accounts,
        })
    }
}

impl Attempt<'_> {
    /// Ends the attempt: only a refusal counts against address and account.
    pub(crate) fn settle<T>(self, outcome: Result<T, AuthError>) -> Result<T, AuthError> {
        if matches!(outcome, Err(AuthError::Refused(_) | AuthError::BadToken)) {
            let (meters, now) = (&self.app.meters, self.app.clock.now());
            // An empty bucket stays empty.
            if let Some(source) = self.source {
                let _ = meters.failures_per_source.take(&source.whole(), now);
            }
            for account in &self.accounts {
                let _ = meters.failures_per_account.take(account, now);
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use http::header::RETRY_AFTER;

    use super::*;
    use crate::fault::Fault;

    #[test]
    fn a_full_queue_of_hashes_and_a_spent_bucket_say_when_to_come_back() {
        for (error, status, wait) in [
            (AuthError::Overloaded, 503, "1"),
            (AuthError::TooMany(Duration::from_millis(1500)), 429, "2"),
        ] {
            let response = Fault::from(error).into_response();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers()[RETRY_AFTER], wait);
        }
    }
}
