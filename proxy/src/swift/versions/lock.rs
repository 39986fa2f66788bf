//! What keeps a version from being deleted for good: a retention until a
//! moment, and a legal hold, as S3's object lock has them.
//!
//! S3 sets them; both dialects ask [`guard`] before a version goes. What an
//! object was stored with stands in its system metadata, which no POST
//! touches: a compliance retention from there is a floor that nothing lowers.
//! What is set later stands beside the tags of S3, and the newest of it counts.
use virga_object_wire::listing::ContainerInfo;
use virga_object_wire::object::{Header, ObjectStat};

use super::write::{WriteError, head};
use crate::core::{Core, ObjectName};
use crate::swift::{meta_value, sysmeta};

/// Container metadata: that versions in it can be locked, and what new ones get
/// unless they say otherwise (see [`Rule`]).
pub const BUCKET: &str = "x-container-sysmeta-s3-object-lock";
/// Container metadata: it holds the parts of locked objects; only S3 changes them.
pub const PARTS: &str = "x-container-sysmeta-s3-locked-parts";
/// The retention that an object was stored with.
const STORED: &str = "x-object-sysmeta-s3-retention";
/// The retention that was set later; empty for one that was lifted.
const SET: &str = "x-object-transient-sysmeta-s3-retention";
/// "ON" where there is a legal hold.
const HOLD: &str = "x-object-transient-sysmeta-s3-legal-hold";
/// Seconds of a day and days of a year, as S3 counts default retentions.
const DAY: u64 = 86_400;
const YEAR: u64 = 365;

/// Who can lift a retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Who owns the bucket and says so.
    Governance,
    /// Nobody; it can only be made longer.
    Compliance,
}

impl Mode {
    /// As S3 spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }

    /// Reads S3's spelling.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Governance, Self::Compliance]
            .into_iter()
            .find(|mode| mode.name() == name)
    }
}

/// A version must stay until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Who can lift it.
    pub mode: Mode,
    /// Seconds since the epoch.
    pub until: u64,
}

impl Retention {
    fn written(self) -> String {
        format!("{} {}", self.mode.name(), self.until)
    }

    fn read(text: &str) -> Option<Self> {
        let (mode, until) = text.split_once(' ')?;
        Some(Self {
            mode: Mode::named(mode)?,
            until: until.parse().ok()?,
        })
    }

    /// System metadata of an object that is stored with it.
    pub fn stored(self) -> Header {
        (STORED.to_owned(), self.written())
    }

    /// Metadata of an object that it is set on later; `None` lifts it.
    pub fn set(retention: Option<Self>) -> Header {
        let value = retention.map_or_else(|| "NONE".to_owned(), Self::written);
        (SET.to_owned(), value)
    }
}

/// Metadata of an object with a legal hold, or without one any more.
pub fn hold(on: bool) -> Header {
    let value = if on { "ON" } else { "OFF" };
    (HOLD.to_owned(), value.to_owned())
}

/// Whether a stored header says something of locks: copies do not take it along.
pub fn is_stored(name: &str) -> bool {
    name == SET || name == HOLD
}

/// What keeps a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// Until a moment.
    pub retention: Option<Retention>,
    /// Until it is taken off; `None` where none was ever set.
    pub hold: Option<bool>,
}

impl Lock {
    /// What is stored with an object.
    pub fn of(stat: &ObjectStat) -> Self {
        let value = |wanted: &str| {
            let found = stat.meta.headers.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        let stored = sysmeta(stat, STORED).and_then(Retention::read);
        let set = value(SET).map(Retention::read);
        let floor = stored.filter(|stored| stored.mode == Mode::Compliance);
        let retention = match (set, floor) {
            (None, _) => stored,
            (Some(Some(set)), Some(floor)) if set.mode == Mode::Compliance => Some(Retention {
                until: set.until.max(floor.until),
                ..set
            }),
            (Some(_), Some(floor)) => Some(floor),
            (Some(set), None) => set,
        };
        Self {
            retention,
            hold: value(HOLD).map(|value| value == "ON"),
        }
    }

    /// Whether the version must stay. `bypass`: whoever may lift governance
    /// retentions says that it is to go all the same.
    pub fn keeps(&self, now: u64, bypass: bool) -> bool {
        let retained = self.retention.is_some_and(|retention| {
            retention.until > now && !(bypass && retention.mode == Mode::Governance)
        });
        retained || self.hold == Some(true)
    }
}

/// How long new versions of a container are kept unless they say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Who can lift it.
    pub mode: Mode,
    /// Days, or years of 365 days.
    pub period: Period,
}

/// A length of time, in the unit that it was given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Of 24 hours.
    Days(u32),
    /// Of 365 days.
    Years(u32),
}

impl Rule {
    /// The retention of a version that is stored at `now` (seconds).
    pub fn retention(self, now: u64) -> Retention {
        let days = match self.period {
            Period::Days(days) => u64::from(days),
            Period::Years(years) => u64::from(years) * YEAR,
        };
        Retention {
            mode: self.mode,
            until: now.saturating_add(days.saturating_mul(DAY)),
        }
    }
}

/// The value of [`BUCKET`] for a container with this rule, or without one.
pub fn bucket_value(rule: Option<Rule>) -> String {
    match rule {
        None => "on".to_owned(),
        Some(Rule { mode, period }) => match period {
            Period::Days(days) => format!("on {} days {days}", mode.name()),
            Period::Years(years) => format!("on {} years {years}", mode.name()),
        },
    }
}

/// Whether versions of a container can be locked; the rule inside, if it has one.
pub fn of_container(info: &ContainerInfo) -> Option<Option<Rule>> {
    let mut words = meta_value(&info.meta, BUCKET)?.split(' ').skip(1);
    let mut rule = || {
        let mode = Mode::named(words.next()?)?;
        let unit = words.next()?;
        let count = words.next()?.parse().ok()?;
        let period = match unit {
            "days" => Period::Days(count),
            _ => Period::Years(count),
        };
        Some(Rule { mode, period })
    };
    Some(rule())
}

/// Whether clients of Swift must leave what is in a container alone: locked
/// objects are made of it.
pub fn holds_parts(info: &ContainerInfo) -> bool {
    meta_value(&info.meta, PARTS).is_some()
}

/// Lets go on who may delete what is stored under `at` for good, an object of
/// the container with this info or one of its versions.
///
/// # Errors
/// [`WriteError::Locked`] if it must stay, or if that cannot be known.
pub async fn guard(
    core: &Core,
    info: &ContainerInfo,
    at: &ObjectName,
    bypass: bool,
) -> Result<(), WriteError> {
    if of_container(info).is_none() {
        return Ok(());
    }
    let now = core.hlc().clock().now().as_secs();
    match head(core, at).await? {
        Some(stat) if Lock::of(&stat).keeps(now, bypass) => Err(WriteError::Locked),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virga_node::clock::Version;
    use virga_object_wire::listing::MetaItem;
    use virga_object_wire::object::ObjectMeta;

    fn stat(sysmeta: Vec<Header>, headers: Vec<Header>) -> ObjectStat {
        ObjectStat {
            version: Version(1),
            meta_version: Version(1),
            type_version: Version(1),
            size: 0,
            blake3: [0; 32],
            meta: ObjectMeta {
                sysmeta,
                headers,
                ..ObjectMeta::default()
            },
        }
    }

    fn retention(mode: Mode, until: u64) -> Retention {
        Retention { mode, until }
    }

    #[test]
    fn a_version_stays_until_its_time_or_hold_is_over() {
        let governed = retention(Mode::Governance, 100);
        let complied = retention(Mode::Compliance, 100);
        for (stored, set, held, at, bypass, stays) in [
            (None, None, None, 50, false, false),
            (Some(governed), None, None, 50, false, true),
            (Some(governed), None, None, 50, true, false),
            (Some(governed), None, None, 100, false, false),
            (Some(governed), Some(None), None, 50, false, false),
            (Some(complied), None, None, 50, true, true),
            // Nothing set later lowers what it was stored with.
            (Some(complied), Some(None), None, 50, true, true),
            (Some(complied), Some(Some(governed)), None, 50, true, true),
            (
                Some(complied),
                Some(Some(retention(Mode::Compliance, 10))),
                None,
                50,
                true,
                true,
            ),
            (
                Some(complied),
                Some(Some(retention(Mode::Compliance, 200))),
                None,
                150,
                true,
                true,
            ),
            (None, Some(Some(complied)), None, 50, true, true),
            (None, None, Some(true), 50, true, true),
            (None, None, Some(false), 50, false, false),
        ] {
            let headers = set.map(Retention::set).into_iter().chain(held.map(hold));
            let sysmeta = stored.map(Retention::stored).into_iter();
            let lock = Lock::of(&stat(sysmeta.collect(), headers.collect()));
            assert_eq!(
                lock.keeps(at, bypass),
                stays,
                "{stored:?} {set:?} {held:?} {at} {bypass}"
            );
        }
    }

    #[test]
    fn a_rule_comes_back_from_a_containers_metadata() {
        let rules = [
            None,
            Some(Rule {
                mode: Mode::Governance,
                period: Period::Days(3),
            }),
            Some(Rule {
                mode: Mode::Compliance,
                period: Period::Years(2),
            }),
        ];
        for rule in rules {
            let item = MetaItem {
                name: BUCKET.into(),
                value: bucket_value(rule),
                version: Version(1),
            };
            let info = ContainerInfo {
                meta: vec![item],
                ..ContainerInfo::default()
            };
            assert_eq!(of_container(&info), Some(rule));
        }
        assert_eq!(of_container(&ContainerInfo::default()), None);
        let rule = Rule {
            mode: Mode::Compliance,
            period: Period::Years(1),
        };
        assert_eq!(rule.retention(5).until, 5 + 365 * 86_400);
    }
}
