//! Rate limits, as Swift's `ratelimit` has them: writes of containers by
//! account, writes of objects and listings by container. Requests that come too
//! fast wait; those that would have to wait too long get 498.
//!
//! Asked before a request is done, and for each item of a request for several.
//! Each proxy counts for itself: with several, clients get so much of each. Both
//! dialects count together: the other one asks [`Limiter::pass`] by itself.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use virga_node::clock::Micros;

use super::access::Who;
use super::fault::Fault;
use super::target::Target;
use super::{Ctx, Swift};
use crate::core::{AccountName, ContainerName, Core, Unavailable};

/// Accounts and containers that are counted at once.
const MOST_COUNTED: usize = 100_000;
/// Requests that wait at once.
const MOST_WAITING: usize = 1000;
/// How long those wait who are on the black list.
const BLACK: Duration = Duration::from_secs(1);
/// Longest a request may be made to wait: the client's patience.
const LONGEST_WAIT: f64 = 300.0;

/// Settings. Nothing is limited unless it is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    /// PUT and DELETE of containers in a second, for each account; 0 for no limit.
    pub account_ratelimit: f64,
    /// Writes of objects in a second, for each container, by how many objects it
    /// has. Between two sizes the rate follows a straight line.
    pub container_ratelimits: Vec<SizedRate>,
    /// Listings in a second, for each container, in the same way.
    pub container_listing_ratelimits: Vec<SizedRate>,
    /// Seconds that a request may be made to wait before it is refused.
    pub max_sleep_time_seconds: f64,
    /// Seconds of which what was not used may be used later.
    pub rate_buffer_seconds: f64,
    /// Accounts that nothing limits.
    pub account_whitelist: Vec<String>,
    /// Accounts that get 497 to whatever is limited.
    pub account_blacklist: Vec<String>,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            account_ratelimit: 0.0,
            container_ratelimits: Vec::new(),
            container_listing_ratelimits: Vec::new(),
            max_sleep_time_seconds: 60.0,
            rate_buffer_seconds: 5.0,
            account_whitelist: Vec::new(),
            account_blacklist: Vec::new(),
        }
    }
}

/// A rate from a size on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizedRate {
    /// Objects in the container.
    pub objects: u64,
    /// Requests in a second.
    pub rate: f64,
}

impl RateLimits {
    /// Whether anything is limited.
    pub fn any(&self) -> bool {
        self.account_ratelimit > 0.0
            || !self.container_ratelimits.is_empty()
            || !self.container_listing_ratelimits.is_empty()
            || !self.account_blacklist.is_empty()
    }

    /// Whether the settings can be worked with; says what is wrong if not.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn check(&self) -> Result<(), String> {
        if !self.account_ratelimit.is_finite() || self.account_ratelimit < 0.0 {
            return Err("ratelimit.account_ratelimit must be 0 (no limit) or a rate above it".into());
        }
        for (name, rates) in [
            ("container_ratelimits", &self.container_ratelimits),
            ("container_listing_ratelimits", &self.container_listing_ratelimits),
        ] {
            if !rates
                .iter()
                .all(|sized| sized.rate.is_finite() && sized.rate > 0.0)
            {
                return Err(format!("ratelimit.{name}: a rate must be above 0"));
            }
            if !rates.is_sorted_by(|a, b| a.objects < b.objects) {
                return Err(format!("ratelimit.{name}: sizes must be in order, each once"));
            }
        }
        for (name, seconds) in [
            ("max_sleep_time_seconds", self.max_sleep_time_seconds),
            ("rate_buffer_seconds", self.rate_buffer_seconds),
        ] {
            if !(0.0..=LONGEST_WAIT).contains(&seconds) {
                return Err(format!("ratelimit.{name} must be from 0 to {LONGEST_WAIT}"));
            }
        }
        Ok(())
    }

    /// What `/info` says of it.
    pub fn info(&self) -> Value {
        let pairs = |rates: &[SizedRate]| -> Vec<Value> {
            let pair = |sized: &SizedRate| json!([sized.objects, sized.rate]);
            rates.iter().map(pair).collect()
        };
        json!({
            "account_ratelimit": self.account_ratelimit,
            "max_sleep_time_seconds": self.max_sleep_time_seconds,
            "container_ratelimits": pairs(&self.container_ratelimits),
            "container_listing_ratelimits": pairs(&self.container_listing_ratelimits),
        })
    }
}

/// The rate for a container of this many objects, if it has one.
fn rate_for(rates: &[SizedRate], objects: u64) -> Option<f64> {
    let next = rates.partition_point(|sized| sized.objects <= objects);
    let from = rates.get(next.checked_sub(1)?)?;
    let Some(to) = rates.get(next) else {
        return Some(from.rate);
    };
    let way = (objects - from.objects) as f64 / (to.objects - from.objects) as f64;
    Some(from.rate + (to.rate - from.rate) * way)
}

/// A request came too fast and would have to wait for too long.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests")]
struct TooFast;

/// When the next request of each key is due.
#[derive(Debug, Default)]
struct Counted {
    due: HashMap<String, u64>,
    swept: u64,
}

impl Counted {
    /// Makes room for one more key: those that owe nothing are forgotten. They
    /// begin anew, with nothing saved up. `false` if all owe.
    fn make_room(&mut self, now: u64, most: usize) -> bool {
        if self.due.len() < most {
            return true;
        }
        // Looked through at most once in 100 ms, as that takes its time.
        if now.saturating_sub(self.swept) >= 100_000 {
            self.swept = now;
            self.due.retain(|_, due| *due > now);
        }
        self.due.len() < most
    }
}

/// Counts requests. One for all connections.
#[derive(Debug)]
pub struct Limiter {
    counted: Mutex<Counted>,
    waiting: Semaphore,
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            counted: Mutex::default(),
            waiting: Semaphore::new(MOST_WAITING),
        }
    }
}

/// Seconds as microseconds.
fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

impl Limiter {
    /// How long a request has to wait that comes now, of `rate` in a second.
    fn take(&self, limits: &RateLimits, key: &str, rate: f64, now: Micros) -> Result<Duration, TooFast> {
        let Micros(now) = now;
        let (each, most) = (micros(1.0 / rate), micros(limits.max_sleep_time_seconds));
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if !counted.due.contains_key(key) && !counted.make_room(now, MOST_COUNTED) {
            return Err(TooFast);
        }
        let due = counted.due.entry(key.to_owned()).or_default();
        if now.saturating_sub(due.saturating_add(each)) > micros(limits.rate_buffer_seconds) {
            *due = now.saturating_add(each);
            return Ok(Duration::ZERO);
        }
        let wait = due.saturating_sub(now);
        if wait > 0 && wait >= most {
            return Err(TooFast);
        }
        *due = due.saturating_add(each);
        Ok(Duration::from_micros(wait))
    }

    /// Waits, if not too many do so already.
    async fn wait(&self, time: Duration) -> Result<(), TooFast> {
        if time.is_zero() {
            return Ok(());
        }
        let _place = self.waiting.try_acquire().map_err(|_| TooFast)?;
        tokio::time::sleep(time).await;
        Ok(())
    }
}

/// Why a request does not go on.
#[derive(Debug, thiserror::Error)]
pub enum Held {
    /// It came too fast and would have to wait for too long.
    #[error("too many requests")]
    TooFast,
    /// Its account is on the black list.
    #[error("the account is on the black list")]
    Blacklisted,
    /// How large its container is, by which rates are set, is not known now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<TooFast> for Held {
    fn from(TooFast: TooFast) -> Self {
        Self::TooFast
    }
}

/// What a request counts towards.
pub enum Kind {
    /// Making and deleting containers.
    Containers,
    /// Writing objects of a container.
    Objects(ContainerName),
    /// Listing a container.
    Listing(ContainerName),
}

fn kind(method: &Method, target: &Target) -> Option<Kind> {
    match (target, method.as_str()) {
        (Target::Container(_), "PUT" | "DELETE") => Some(Kind::Containers),
        (Target::Container(name), "GET") => Some(Kind::Listing(name.clone())),
        (Target::Object(name), "PUT" | "POST" | "DELETE" | "COPY") => {
            Some(Kind::Objects(name.container_name()))
        }
        _ => None,
    }
}

/// Lets a request go on, perhaps after a while.
///
/// # Errors
/// 498 for one that came too fast, 497 for an account on the black list.
pub(super) async fn admit(ctx: &Ctx, target: &Target) -> Result<(), Fault> {
    let limits = &ctx.config().ratelimit;
    if !limits.any() {
        return Ok(());
    }
    let Some(kind) = kind(&ctx.method, target) else {
        return Ok(());
    };
    // Strangers write nothing, and must not use up what others may.
    if matches!(ctx.who, Who::Anonymous) && ctx.method != Method::GET {
        return Ok(());
    }
    let (core, now) = (ctx.core(), ctx.swift.0.clock.now());
    let passed = ctx.swift.1.pass(limits, core, &target.account(), kind, now).await;
    passed.map_err(|held| match held {
        Held::TooFast => too_fast(),
        Held::Blacklisted => blacklisted(),
        Held::Unavailable(error) => error.into(),
    })
}

impl Swift {
    /// Who counts requests, for the dialect beside this one; nobody, if nothing is limited.
    pub(crate) fn limiter(&self) -> Option<Arc<Limiter>> {
        self.0.config.ratelimit.any().then(|| Arc::clone(&self.1))
    }
}

impl Limiter {
    /// Lets a request go on that counts towards something of an account, perhaps
    /// after a while.
    ///
    /// # Errors
    /// [`Held`].
    pub async fn pass(
        &self,
        limits: &RateLimits,
        core: &Core,
        account: &AccountName,
        kind: Kind,
        now: Micros,
    ) -> Result<(), Held> {
        let is_in = |list: &[String]| list.iter().any(|listed| listed == account.as_str());
        if is_in(&limits.account_whitelist) {
            return Ok(());
        }
        if is_in(&limits.account_blacklist) {
            // With no room for it to wait it is told at once.
            let _ = self.wait(BLACK).await;
            return Err(Held::Blacklisted);
        }
        let (rate, key) = match kind {
            Kind::Containers => {
                let rate = Some(limits.account_ratelimit).filter(|rate| *rate > 0.0);
                (rate, account.as_str().to_owned())
            }
            Kind::Objects(name) => {
                let rate = of_container(core, &limits.container_ratelimits, &name).await?;
                (rate, name.path().to_owned())
            }
            Kind::Listing(name) => {
                let rate = of_container(core, &limits.container_listing_ratelimits, &name).await?;
                (rate, format!("{}/", name.path()))
            }
        };
        let Some(rate) = rate else {
            return Ok(());
        };
        let wait = self.take(limits, &key, rate, now)?;
        Ok(self.wait(wait).await?)
    }
}

async fn of_container(
    core: &Core,
    rates: &[SizedRate],
    name: &ContainerName,
) -> Result<Option<f64>, Unavailable> {
    if rates.is_empty() {
        return Ok(None);
    }
    let info = core.container_info(name).await?;
    Ok(info.and_then(|info| rate_for(rates, info.objects)))
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::TOO_MANY_REQUESTS)
}

fn too_fast() -> Fault {
    Fault::plain(status(498), "Slow down")
}

fn blacklisted() -> Fault {
    Fault::plain(status(497), "Your account has been blacklisted")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(wait: f64) -> RateLimits {
        RateLimits {
            max_sleep_time_seconds: wait,
            ..RateLimits::default()
        }
    }

    const START: u64 = 1_800_000_000_000_000;

    fn at(ms: u64) -> Micros {
        Micros(START + ms * 1000)
    }

    #[test]
    fn requests_wait_for_their_turn_and_are_refused_when_that_is_far_off() {
        let (limiter, limits) = (Limiter::default(), limits(1.0));
        let wait = |ms| {
            limiter
                .take(&limits, "a", 2.0, at(ms))
                .map(|wait| wait.as_millis())
        };
        assert_eq!(wait(0), Ok(0));
        assert_eq!(wait(0), Ok(500));
        assert_eq!(wait(0), Err(TooFast));
        // What was refused does not count.
        assert_eq!(wait(200), Ok(800));
        assert_eq!(limiter.take(&limits, "b", 2.0, at(200)), Ok(Duration::ZERO));
        assert_eq!(wait(1500), Ok(0));
    }

    #[test]
    fn what_was_not_used_for_a_while_may_be_used_later() {
        let (limiter, limits) = (Limiter::default(), limits(0.0));
        let wait = |ms| limiter.take(&limits, "a", 1.0, at(ms)).is_ok();
        assert!(wait(0));
        assert!(!wait(500));
        // Three seconds later three are free, ten seconds later one.
        let free = |ms| (0..20).filter(|_| wait(ms)).count();
        assert_eq!(free(3_000), 3);
        assert_eq!(free(20_000), 1);
    }

    #[test]
    fn rates_follow_a_line_between_sizes() {
        let sized = |objects, rate| SizedRate { objects, rate };
        let rates = [sized(100, 100.0), sized(200, 50.0)];
        for (objects, rate) in [
            (0, None),
            (99, None),
            (100, Some(100.0)),
            (150, Some(75.0)),
            (200, Some(50.0)),
            (u64::MAX, Some(50.0)),
        ] {
            assert_eq!(rate_for(&rates, objects), rate, "{objects}");
        }
        assert_eq!(rate_for(&[], 5), None);
    }

    #[test]
    fn who_owes_nothing_is_forgotten_when_there_is_no_room() {
        let mut counted = Counted::default();
        counted.due.insert("idle".into(), START);
        counted.due.insert("busy".into(), START + 2_000_000);
        assert!(counted.make_room(START + 1_000_000, 2));
        assert_eq!(counted.due.keys().collect::<Vec<_>>(), ["busy"]);
        counted.due.insert("other".into(), START + 2_000_000);
        assert!(!counted.make_room(START + 1_500_000, 2));
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let sized = |objects, rate| SizedRate { objects, rate };
        let wrong = [
            RateLimits {
                account_ratelimit: -1.0,
                ..limits(1.0)
            },
            RateLimits {
                account_ratelimit: f64::NAN,
                ..limits(1.0)
            },
            RateLimits {
                container_ratelimits: vec![sized(1, 0.0)],
                ..limits(1.0)
            },
            RateLimits {
                container_ratelimits: vec![sized(2, 1.0), sized(1, 1.0)],
                ..limits(1.0)
            },
            RateLimits {
                container_listing_ratelimits: vec![sized(1, 1.0), sized(1, 2.0)],
                ..limits(1.0)
            },
            limits(-1.0),
            limits(1e9),
        ];
        for limits in wrong {
            assert!(limits.check().is_err(), "{limits:?}");
        }
        assert_eq!(RateLimits::default().check(), Ok(()));
    }
}
