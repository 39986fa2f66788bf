//! One line of a `Condition` block: an operator, a key and what its values are
//! compared with.
use std::net::IpAddr;

use super::facts::Facts;
use super::pattern::Pattern;

/// How many of a key's values must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantity {
    /// As for keys with one value.
    Plain,
    Any,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    start: IpAddr,
    bits: u8,
}

impl Network {
    fn read(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let start: IpAddr = address.trim().parse().ok()?;
        let most = if start.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { start, bits })
    }

    fn holds(self, address: IpAddr) -> bool {
        let alike = |left: u128, right: u128, width: u32| {
            let skipped = width - u32::from(self.bits);
            skipped >= width || left >> skipped == right >> skipped
        };
        match (self.start, address.to_canonical()) {
            (IpAddr::V4(start), IpAddr::V4(address)) => {
                alike(u128::from(start.to_bits()), u128::from(address.to_bits()), 32)
            }
            (IpAddr::V6(start), IpAddr::V6(address)) => alike(start.to_bits(), address.to_bits(), 128),
            _ => false,
        }
    }

    /// Whether it is so large that it holds the public.
    fn is_broad(self) -> bool {
        self.bits < if self.start.is_ipv4() { 8 } else { 32 }
    }
}

/// What a value is compared with: one of these must match.
#[derive(Clone, Debug)]
enum Test {
    Text {
        any_case: bool,
        patterns: Vec<Pattern>,
    },
    Number(Order, Vec<f64>),
    /// Seconds since the epoch.
    Date(Order, Vec<f64>),
    Bool(Vec<bool>),
    Address(Vec<Network>),
    /// Whether the key must be absent.
    Null(bool),
}

/// One condition.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    quantity: Quantity,
    test: Test,
    negated: bool,
    if_exists: bool,
    key: String,
}

/// A time as policies write it, in seconds: ISO 8601, a day, or seconds.
fn seconds(text: &str) -> Option<f64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then_some(seconds);
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_duration().as_secs_f64());
    }
    let day: jiff::civil::Date = text.parse().ok()?;
    let start = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(start.timestamp().as_duration().as_secs_f64())
}

fn all<T>(operator: &str, values: &[String], read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    let read =
        |value: &String| read(value).ok_or_else(|| format!("{operator} cannot compare with {value:?}"));
    values.iter().map(read).collect()
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// From the name of an operator without prefix, suffix and `Not` to its test.
fn test(operator: &str, values: &[String], variables: bool) -> Result<Option<(Test, bool)>, String> {
    let text = |any_case, wild| {
        let patterns = values.iter().map(|value| Pattern::read(value, wild, variables));
        let patterns = patterns.collect::<Result<_, _>>()?;
        Ok::<_, String>(Test::Text { any_case, patterns })
    };
    let order = |rest: &str| {
        Some(match rest {
            "Equals" => (Order::Equal, false),
            "NotEquals" => (Order::Equal, true),
            "LessThan" => (Order::Less, false),
            "LessThanEquals" => (Order::LessOrEqual, false),
            "GreaterThan" => (Order::Greater, false),
            "GreaterThanEquals" => (Order::GreaterOrEqual, false),
            _ => return None,
        })
    };
    if let Some((order, negated)) = operator.strip_prefix("Numeric").and_then(order) {
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
        return Ok(Some((
            Test::Number(order, all(operator, values, number)?),
            negated,
        )));
    }
    if let Some((order, negated)) = operator.strip_prefix("Date").and_then(order) {
        return Ok(Some((
            Test::Date(order, all(operator, values, seconds)?),
            negated,
        )));
    }
    Ok(Some(match operator {
        "StringEquals" => (text(false, false)?, false),
        "StringNotEquals" => (text(false, false)?, true),
        "StringEqualsIgnoreCase" => (text(true, false)?, false),
        "StringNotEqualsIgnoreCase" => (text(true, false)?, true),
        "StringLike" | "ArnLike" | "ArnEquals" => (text(false, true)?, false),
        "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => (text(false, true)?, true),
        "Bool" => (Test::Bool(all(operator, values, boolean)?), false),
        "IpAddress" => (Test::Address(all(operator, values, Network::read)?), false),
        "NotIpAddress" => (Test::Address(all(operator, values, Network::read)?), true),
        "Null" => match all(operator, values, boolean)?.as_slice() {
            [absent] => (Test::Null(*absent), false),
            _ => return Err("Null takes \"true\" or \"false\"".to_owned()),
        },
        _ => return Ok(None),
    }))
}

impl Condition {
    /// Reads one condition; `variables` says whether values may hold any.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(
        operator: &str,
        key: &str,
        values: &[String],
        variables: bool,
    ) -> Result<Self, String> {
        let unknown = || format!("The condition operator {operator:?} is not supported");
        let (quantity, bare) = match operator.split_once(':') {
            Some(("ForAnyValue", rest)) => (Quantity::Any, rest),
            Some(("ForAllValues", rest)) => (Quantity::All, rest),
            Some(_) => return Err(unknown()),
            None => (Quantity::Plain, operator),
        };
        let (bare, if_exists) = match bare.strip_suffix("IfExists") {
            Some(bare) => (bare, true),
            None => (bare, false),
        };
        let key = Facts::key(key).ok_or_else(|| format!("The condition key {key:?} is not supported"))?;
        if values.is_empty() {
            return Err(format!("The condition on {key:?} has no value"));
        }
        let (test, negated) = test(bare, values, variables)?.ok_or_else(unknown)?;
        if matches!(test, Test::Null(_)) && (if_exists || quantity != Quantity::Plain) {
            return Err(unknown());
        }
        Ok(Self {
            quantity,
            test,
            negated,
            if_exists,
            key,
        })
    }

    /// The key, in the form that facts have.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Keys of the variables in its values.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        let patterns = match &self.test {
            Test::Text { patterns, .. } => patterns.as_slice(),
            _ => &[],
        };
        patterns.iter().flat_map(Pattern::variables)
    }

    /// Whether it holds for a request.
    pub(super) fn holds(&self, facts: &Facts) -> bool {
        let values = facts.get(&self.key);
        if let Test::Null(absent) = &self.test {
            return values.is_empty() == *absent;
        }
        if values.is_empty() {
            return self.if_exists
                || match self.quantity {
                    Quantity::Plain => self.negated,
                    Quantity::Any => false,
                    Quantity::All => true,
                };
        }
        let one = |value: &String| self.matches(value, facts);
        match self.quantity {
            // None of several may match what must not be matched.
            Quantity::Plain => values.iter().any(one) != self.negated,
            Quantity::Any => values.iter().any(|value| one(value) != self.negated),
            Quantity::All => values.iter().all(|value| one(value) != self.negated),
        }
    }

    fn matches(&self, value: &str, facts: &Facts) -> bool {
        let lookup = |name: &str| facts.single(name);
        match &self.test {
            Test::Text { any_case, patterns } => patterns.iter().any(|pattern| match any_case {
                true => pattern.matches_any_case(value, &lookup),
                false => pattern.matches(value, &lookup),
            }),
            Test::Number(order, wanted) => value
                .parse::<f64>()
                .is_ok_and(|value| wanted.iter().any(|wanted| order.holds(&value, wanted))),
            Test::Date(order, wanted) => {
                seconds(value).is_some_and(|value| wanted.iter().any(|wanted| order.holds(&value, wanted)))
            }
            Test::Bool(wanted) => boolean(value).is_some_and(|value| wanted.contains(&value)),
            Test::Address(wanted) => value
                .parse()
                .is_ok_and(|value| wanted.iter().any(|network| network.holds(value))),
            Test::Null(_) => false,
        }
    }

    /// Whether it keeps the public out: it pins where a request comes from, or
    /// whose it is, to fixed values.
    pub(super) fn pins(&self) -> bool {
        if self.negated || self.if_exists || self.quantity == Quantity::All {
            return false;
        }
        match &self.test {
            Test::Address(networks) => {
                self.key == "aws:sourceip" && !networks.iter().any(|network| network.is_broad())
            }
            Test::Text { patterns, .. } => {
                matches!(
                    self.key.as_str(),
                    "aws:userid" | "aws:username" | "aws:principalaccount"
                ) && patterns.iter().all(Pattern::is_fixed)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(pairs: &[(&str, &str)]) -> Facts {
        let mut facts = Facts::default();
        for (key, value) in pairs {
            facts.add(key, value);
        }
        facts
    }

    fn holds(operator: &str, key: &str, value: &str, pairs: &[(&str, &str)]) -> bool {
        let condition = Condition::read(operator, key, &[value.to_owned()], true).unwrap();
        condition.holds(&facts(pairs))
    }

    #[test]
    fn each_operator_compares_as_it_is_named() {
        let agent = [("aws:UserAgent", "curl/8")];
        let now = [("aws:CurrentTime", "2026-11-23T06:00:00Z")];
        let most = [("s3:max-keys", "10")];
        let from = [("aws:SourceIp", "10.1.2.3")];
        for (operator, key, value, pairs, expected) in [
            ("StringEquals", "aws:UserAgent", "curl/8", &agent, true),
            ("StringEquals", "aws:useragent", "CURL/8", &agent, false),
            ("StringEqualsIgnoreCase", "aws:UserAgent", "CURL/8", &agent, true),
            (
                "StringNotEqualsIgnoreCase",
                "aws:UserAgent",
                "CURL/8",
                &agent,
                false,
            ),
            ("StringEquals", "aws:UserAgent", "curl/*", &agent, false),
            ("StringLike", "aws:UserAgent", "curl/*", &agent, true),
            ("StringNotLike", "aws:UserAgent", "curl/*", &agent, false),
            ("ArnLike", "aws:UserAgent", "c???/8", &agent, true),
            ("NumericLessThanEquals", "s3:max-keys", "10", &most, true),
            ("NumericLessThan", "s3:max-keys", "10", &most, false),
            ("NumericGreaterThan", "s3:max-keys", "9.5", &most, true),
            ("NumericNotEquals", "s3:max-keys", "10", &most, false),
            ("NumericEquals", "aws:UserAgent", "8", &agent, false),
            ("DateGreaterThan", "aws:CurrentTime", "2026-11-22", &now, true),
            (
                "DateLessThan",
                "aws:CurrentTime",
                "2026-11-23T05:59:59Z",
                &now,
                false,
            ),
            ("DateEquals", "aws:CurrentTime", "1795413600", &now, true),
            ("IpAddress", "aws:SourceIp", "10.0.0.0/8", &from, true),
            ("IpAddress", "aws:SourceIp", "10.1.2.3", &from, true),
            ("IpAddress", "aws:SourceIp", "10.1.2.0/31", &from, false),
            ("NotIpAddress", "aws:SourceIp", "0.0.0.0/0", &from, false),
            ("NotIpAddress", "aws:SourceIp", "fd00::/8", &from, true),
            ("Null", "aws:SourceIp", "false", &from, true),
            ("Null", "aws:Referer", "true", &from, true),
        ] {
            assert_eq!(
                holds(operator, key, value, pairs),
                expected,
                "{operator} {key} {value}"
            );
        }
        let secure = [("aws:SecureTransport", "false")];
        assert!(holds("Bool", "aws:SecureTransport", "false", &secure));
        assert!(!holds("Bool", "aws:SecureTransport", "true", &secure));
        let mapped = [("aws:SourceIp", "::ffff:10.1.2.3")];
        assert!(holds("IpAddress", "aws:SourceIp", "10.0.0.0/8", &mapped));
    }

    #[test]
    fn what_is_absent_matches_only_what_it_must_not_be() {
        for (operator, expected) in [
            ("StringEquals", false),
            ("StringNotEquals", true),
            ("StringEqualsIfExists", true),
            ("StringNotEqualsIfExists", true),
            ("ForAnyValue:StringEquals", false),
            ("ForAnyValue:StringNotEquals", false),
            ("ForAnyValue:StringEqualsIfExists", true),
            ("ForAllValues:StringEquals", true),
        ] {
            assert_eq!(holds(operator, "s3:prefix", "x", &[]), expected, "{operator}");
        }
        assert!(!holds("Bool", "aws:SecureTransport", "false", &[]));
        assert!(holds("NotIpAddress", "aws:SourceIp", "10.0.0.0/8", &[]));
    }

    #[test]
    fn of_several_values_any_or_all_must_match() {
        let tags = [("s3:RequestObjectTagKeys", "a"), ("s3:RequestObjectTagKeys", "b")];
        let key = "s3:RequestObjectTagKeys";
        for (operator, value, expected) in [
            ("ForAnyValue:StringEquals", "a", true),
            ("ForAnyValue:StringEquals", "c", false),
            ("ForAnyValue:StringNotEquals", "a", true),
            ("ForAllValues:StringEquals", "a", false),
            ("ForAllValues:StringLike", "?", true),
            ("ForAllValues:StringNotEquals", "c", true),
            ("ForAllValues:StringNotEquals", "a", false),
            ("StringNotEquals", "a", false),
        ] {
            assert_eq!(holds(operator, key, value, &tags), expected, "{operator} {value}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_refused_with_its_name() {
        for (operator, key, value, says) in [
            ("BinaryEquals", "s3:prefix", "x", "BinaryEquals"),
            ("ForSomeValues:StringEquals", "s3:prefix", "x", "ForSomeValues"),
            ("NullIfExists", "s3:prefix", "true", "NullIfExists"),
            ("StringEquals", "aws:SourceVpc", "x", "aws:SourceVpc"),
            ("NumericEquals", "s3:max-keys", "ten", "ten"),
            ("DateEquals", "aws:CurrentTime", "today", "today"),
            ("Bool", "aws:SecureTransport", "yes", "yes"),
            ("IpAddress", "aws:SourceIp", "10.0.0.0/33", "10.0.0.0/33"),
            ("StringEquals", "s3:prefix", "${aws:userid", "no end"),
        ] {
            let error = Condition::read(operator, key, &[value.to_owned()], true).unwrap_err();
            assert!(error.contains(says), "{operator} {value}: {error}");
        }
    }
}
