//! What is asked of passwords and of those who show them: shape, age, history,
//! lockout after wrong ones, inactivity. All of it is off unless configured.
use std::time::Duration;

use regex::Regex;
use serde_json::json;
use virga_node::clock::Micros;
use virga_state::{StateError, Transaction, transact};

use super::AuthError;
use crate::app::App;
use crate::config::SecurityConfig;
use crate::fault::Fault;
use crate::model::old_password;
use crate::model::user::{self, User};

const DAY: u64 = 24 * 3600;

fn days(n: u32) -> Duration {
    Duration::from_secs(u64::from(n) * DAY)
}

/// The configured rules, with the pattern compiled.
#[derive(Debug)]
pub(crate) struct PasswordRules {
    pub(crate) config: SecurityConfig,
    shape: Option<Regex>,
}

impl PasswordRules {
    /// Checks the configuration.
    pub(crate) fn new(config: &SecurityConfig) -> Result<Self, String> {
        let pattern = config.password_regex.as_deref();
        let shape = pattern
            // As Python's `match` does: from the beginning.
            .map(|p| Regex::new(&format!("^(?:{p})")))
            .transpose()
            .map_err(|e| format!("security.password_regex: {e}"))?;
        Ok(Self {
            config: config.clone(),
            shape,
        })
    }

    fn has(user: &User, option: &str) -> bool {
        user.options.get(option) == Some(&json!(true))
    }

    /// 400 if the password does not have the wanted shape.
    pub(crate) fn check_shape(&self, password: &str) -> Result<(), Fault> {
        match &self.shape {
            Some(shape) if !shape.is_match(password) => {
                let why = self.config.password_regex_description.as_deref();
                Err(Fault::BadRequest(format!(
                    "The password does not match the requirements: {}.",
                    why.unwrap_or("it does not match the configured pattern")
                )))
            }
            _ => Ok(()),
        }
    }

    /// Notes in the record that the password was set now: by the user, or by
    /// an administrator.
    pub(crate) fn note_set(&self, user: &mut User, now: Micros, by_user: bool) {
        user.password_set_at = Some(now);
        let forced = self.config.change_password_upon_first_use
            && !by_user
            && !Self::has(user, "ignore_change_password_upon_first_use");
        let lasts = self.config.password_expires_days.map(days);
        user.password_expires_at = if forced {
            Some(now)
        } else {
            lasts
                .filter(|_| !Self::has(user, "ignore_password_expiry"))
                .map(|d| now.plus(d))
        };
        user.failed_count = 0;
        user.failed_at = None;
    }

    /// Whether the time of the user's password is over.
    pub(crate) fn is_expired(&self, user: &User, now: Micros) -> bool {
        user.password_expires_at.is_some_and(|at| at <= now) && !Self::has(user, "ignore_password_expiry")
    }

    /// Whether wrong passwords have locked the user out for now.
    pub(crate) fn is_locked(&self, user: &User, now: Micros) -> bool {
        let Some(attempts) = self.config.lockout_failure_attempts else {
            return false;
        };
        let lasts = Duration::from_secs(self.config.lockout_duration);
        user.failed_count >= i64::from(attempts)
            && user.failed_at.is_some_and(|at| at.plus(lasts) > now)
            && !Self::has(user, "ignore_lockout_failure_attempts")
    }

    /// Whether the user was away for so long that the account is closed.
    pub(crate) fn is_inactive(&self, user: &User, now: Micros) -> bool {
        let Some(allowed) = self.config.disable_user_account_days_inactive else {
            return false;
        };
        user.active_at.is_some_and(|at| at.plus(days(allowed)) <= now)
            && !Self::has(user, "ignore_user_inactivity")
    }

    /// 400 if the user may not change the password yet. Not asked when it has
    /// expired: then it must be changed.
    pub(crate) fn check_age(&self, user: &User, now: Micros) -> Result<(), Fault> {
        let (least, set) = (self.config.minimum_password_age, user.password_set_at);
        if self.is_expired(user, now) || set.is_none_or(|at| at.plus(days(least)) <= now) {
            return Ok(());
        }
        Err(Fault::BadRequest(format!(
            "Cannot change password before minimum age {least} days is met."
        )))
    }

    fn history(&self) -> i64 {
        i64::from(self.config.unique_last_password_count)
    }
}

impl App {
    /// 400 if the new password is one of the user's last ones.
    pub(crate) async fn check_history(&self, user: &User, password: &str) -> Result<(), Fault> {
        let count = self.password_rules.history();
        if count == 0 {
            return Ok(());
        }
        let mut known = old_password::last(&mut self.state.reader(), &user.id, count - 1).await?;
        known.extend(user.password_hash.clone());
        for hash in known {
            // Not under the user's id: an old password must not be remembered
            // as one that was good.
            if self.passwords.verify("", password, Some(&hash)).await? {
                return Err(Fault::BadRequest(format!(
                    "The new password cannot be identical to a previous password. The total number which includes \
                     the new password must be unique is {count}."
                )));
            }
        }
        Ok(())
    }

    /// Keeps the hash that the user's record has now, before another takes its
    /// place.
    pub(crate) async fn remember_password(
        &self,
        tx: &mut Transaction,
        user: &User,
    ) -> Result<(), StateError> {
        let keep = self.password_rules.history() - 1;
        match &user.password_hash {
            Some(hash) if keep > 0 => {
                let now = self.clock.now();
                old_password::remember(tx, &user.id, hash, now, keep).await
            }
            _ => Ok(()),
        }
    }

    /// Counts a wrong password against the user.
    pub(crate) async fn note_failure(&self, user: &User) -> Result<(), AuthError> {
        if self.password_rules.config.lockout_failure_attempts.is_none() {
            return Ok(());
        }
        let now = self.clock.now();
        let lasts = Duration::from_secs(self.password_rules.config.lockout_duration);
        transact!(self.state, |tx| -> Result<(), AuthError> {
            // Read again: two wrong passwords at once are two.
            if let Some(mut u) = user::get(tx, &user.id).await? {
                let stale = u.failed_at.is_none_or(|at| at.plus(lasts) <= now);
                u.failed_count = if stale { 1 } else { u.failed_count + 1 };
                u.failed_at = Some(now);
                user::note_attempt(tx, &u).await?;
            }
            Ok(())
        })
    }

    /// Notes that the user signed in.
    pub(crate) async fn note_success(&self, user: &User) -> Result<(), AuthError> {
        let now = self.clock.now();
        let watched = self
            .password_rules
            .config
            .disable_user_account_days_inactive
            .is_some();
        let same_day = user
            .active_at
            .is_some_and(|at| at.as_secs() / DAY == now.as_secs() / DAY);
        if user.failed_count == 0 && (!watched || same_day) {
            return Ok(());
        }
        transact!(self.state, |tx| -> Result<(), AuthError> {
            if let Some(mut u) = user::get(tx, &user.id).await? {
                u.failed_count = 0;
                u.failed_at = None;
                if watched {
                    u.active_at = Some(now);
                }
                user::note_attempt(tx, &u).await?;
            }
            Ok(())
        })
    }
}
