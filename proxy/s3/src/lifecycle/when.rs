//! When rules apply: days and dates, in whole days of UTC as AWS counts them.
use super::rules::{Expiration, Noncurrent, Rule};

/// Seconds of a day.
pub(super) const DAY: u64 = 24 * 3600;

/// The midnight at which so many days after a moment are over: the first one
/// that is not before. All in seconds since the epoch.
pub(super) fn days_after(moment: u64, days: u32) -> u64 {
    moment
        .saturating_add(u64::from(days) * DAY)
        .div_ceil(DAY)
        .saturating_mul(DAY)
}

/// When a rule ends the life of what was written at `written`; `None` for one
/// that does not.
pub(super) fn expires(rule: &Rule, written: u64) -> Option<u64> {
    match rule.expiration.filter(|_| rule.enabled)? {
        Expiration::Days(days) => Some(days_after(written, days)),
        // What is written later than that goes at once.
        Expiration::Date(at) => Some(at),
        Expiration::Markers(_) => None,
    }
}

/// Whether a rule removes the mark of a deletion that hides nothing any more.
pub(super) fn removes_marker(rule: &Rule, marked: u64, now: u64) -> bool {
    match rule.expiration.filter(|_| rule.enabled) {
        Some(Expiration::Markers(remove)) => remove,
        Some(Expiration::Days(days)) => days_after(marked, days) <= now,
        Some(Expiration::Date(_)) | None => false,
    }
}

/// Whether a version goes that was replaced at `replaced`, with `newer` others
/// between it and the current one.
pub(super) fn ends_version(rule: &Noncurrent, replaced: u64, newer: u32, now: u64) -> bool {
    rule.keep.is_none_or(|keep| newer >= keep) && days_after(replaced, rule.days) <= now
}

#[cfg(test)]
mod tests {
    use super::super::rules::Filter;
    use super::*;

    fn rule(expiration: Expiration) -> Rule {
        Rule {
            id: "r".into(),
            enabled: true,
            filter: Filter::default(),
            expiration: Some(expiration),
            noncurrent: None,
            abort: None,
        }
    }

    #[test]
    fn days_end_at_the_next_midnight() {
        let noon = 10 * DAY + DAY / 2;
        assert_eq!(days_after(noon, 3), 14 * DAY);
        assert_eq!(days_after(10 * DAY, 1), 11 * DAY);
        assert_eq!(days_after(10 * DAY + 1, 1), 12 * DAY);
        assert!(
            days_after(u64::MAX, u32::MAX) > u64::MAX - DAY,
            "as late as can be said"
        );
    }

    #[test]
    fn dates_hold_for_everything_and_disabled_rules_for_nothing() {
        let mut rule = rule(Expiration::Date(5 * DAY));
        assert_eq!(expires(&rule, 9 * DAY), Some(5 * DAY));
        assert!(!removes_marker(&rule, 0, 9 * DAY));
        rule.enabled = false;
        assert_eq!(expires(&rule, 9 * DAY), None);
    }

    #[test]
    fn marks_go_by_order_or_when_they_are_as_old_as_objects_may_be() {
        assert!(removes_marker(&rule(Expiration::Markers(true)), 10, 10));
        assert!(!removes_marker(&rule(Expiration::Markers(false)), 10, u64::MAX));
        let days = rule(Expiration::Days(1));
        assert!(!removes_marker(&days, 1, DAY));
        assert!(removes_marker(&days, 1, 2 * DAY));
    }

    #[test]
    fn the_newest_replaced_versions_stay_whatever_their_age() {
        let keep = Noncurrent {
            days: 1,
            keep: Some(2),
        };
        for (newer, ends) in [(0, false), (1, false), (2, true), (3, true)] {
            assert_eq!(ends_version(&keep, 1, newer, 5 * DAY), ends, "{newer}");
        }
        assert!(!ends_version(&keep, 5 * DAY, 9, 5 * DAY));
        let none = Noncurrent { days: 1, keep: None };
        assert!(ends_version(&none, 1, 0, 2 * DAY) && !ends_version(&none, 1, 0, 2 * DAY - 1));
    }
}
