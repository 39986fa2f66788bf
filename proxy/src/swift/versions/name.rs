//! Names of versions: the container that holds them, each version's own name,
//! and the id that clients know it by.
//!
//! Names that begin with NUL cannot be written in a path, so nobody reaches
//! what lies under them but through here.
use std::fmt;

use virga_node::clock::{COUNTER_BITS, Version};
use virga_object_wire::listing::ListRequest;

use crate::core::{AccountName, ContainerName, ObjectName};

/// What hidden names begin with and their parts are separated by.
const NUL: char = '\0';
/// What the names of containers of versions begin with.
const VERSIONS: &str = "\0versions\0";
/// Just past all hidden names, and before all others.
const PAST_HIDDEN: &str = "\0\u{10ffff}";
/// Digits that the inverted id takes in a version's name.
const DIGITS: usize = 20;

/// The id of a version: when it was written. Shown as Swift shows it, with the
/// logical counter behind the time where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VersionId(pub Version);

impl VersionId {
    /// Reads what a client sent; `None` for what is no id.
    pub fn parse(text: &str) -> Option<Self> {
        let (time, counter) = text.split_once('_').unwrap_or((text, "0"));
        let hexadecimal = !counter.is_empty() && counter.bytes().all(|b| b.is_ascii_hexdigit());
        let counter = u64::from_str_radix(counter, 16).ok().filter(|_| hexadecimal)?;
        let version = Version::from_timestamp(time)?;
        (counter < 1 << COUNTER_BITS).then_some(Self(Version(version.0 | counter)))
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counter = self.0.0 & ((1 << COUNTER_BITS) - 1);
        f.write_str(&self.0.to_timestamp())?;
        match counter {
            0 => Ok(()),
            counter => write!(f, "_{counter:016x}"),
        }
    }
}

/// Whether a name is hidden from clients.
pub fn is_hidden(name: &str) -> bool {
    name.starts_with(NUL)
}

/// The container that holds the versions of the objects of `name`.
pub fn container_of(name: &ContainerName) -> ContainerName {
    let hidden = format!("{VERSIONS}{}", name.container());
    // Neither empty nor with a slash, as `name` is not.
    ContainerName::new(name.account(), &hidden).unwrap_or_else(|_| name.clone())
}

/// What the container of versions belongs to, by its name in the account's rows.
pub fn parent(hidden: &str) -> Option<&str> {
    hidden.strip_prefix(VERSIONS)
}

/// Name in its container of one version of `object`. Newer ones come first.
pub fn row_of(object: &str, id: VersionId) -> String {
    format!("{}{:0DIGITS$}", rows_of(object), !id.0.0)
}

/// What the names of all versions of `object` begin with.
pub fn rows_of(object: &str) -> String {
    format!("{NUL}{object}{NUL}")
}

/// Where the version `id` of an object lies.
pub fn object_of(name: &ObjectName, id: VersionId) -> ObjectName {
    let hidden = container_of(&name.container_name());
    let row = row_of(name.object(), id);
    // Never empty: it begins with NUL.
    hidden.object(&row).unwrap_or_else(|_| name.clone())
}

/// Object and id of a version, from its name in its container.
pub fn split(row: &str) -> Option<(&str, VersionId)> {
    let (object, digits) = row.strip_prefix(NUL)?.rsplit_once(NUL)?;
    let inverted: u64 = digits
        .parse()
        .ok()
        .filter(|_| digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit()))?;
    Some((object, VersionId(Version(!inverted))))
}

/// The same part of an account's listing without hidden containers.
pub fn visible(mut list: ListRequest) -> ListRequest {
    let bound = match list.reverse {
        true => &mut list.end_marker,
        false => &mut list.marker,
    };
    if bound.as_str() < PAST_HIDDEN {
        *bound = PAST_HIDDEN.to_owned();
    }
    list
}

/// The part of an account's listing with the containers of versions that belong
/// to those of `list`.
pub fn hidden_part(list: &ListRequest) -> ListRequest {
    let of = |name: &str| match name {
        "" => String::new(),
        name => format!("{VERSIONS}{name}"),
    };
    ListRequest {
        prefix: format!("{VERSIONS}{}", list.prefix),
        delimiter: String::new(),
        marker: of(&list.marker),
        end_marker: of(&list.end_marker),
        ..list.clone()
    }
}

/// The container whose versions a hidden container of `account` holds.
pub fn owner(account: &str, hidden: &str) -> Option<ContainerName> {
    AccountName::new(account).ok()?.container(parent(hidden)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_reads_as_swifts_and_carries_the_counter() {
        let id = VersionId(Version::from_timestamp("1763823600.12345").unwrap());
        assert_eq!(id.to_string(), "1763823600.12345");
        let second = VersionId(Version(id.0.0 + 1));
        assert_eq!(second.to_string(), "1763823600.12345_0000000000000001");
        for bad in ["", "null", "bad", "1_", "1_x", "1_+1", "1_1000", "-1", "1.2.3"] {
            assert_eq!(VersionId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_listing_shows_no_hidden_container_whatever_is_asked() {
        let shown = |list: ListRequest| {
            let list = visible(list);
            ["\0versions\0c", "\u{1}", "c"]
                .into_iter()
                .filter(|name| match list.reverse {
                    false => *name > list.marker.as_str(),
                    true => *name > list.end_marker.as_str(),
                })
                .collect::<Vec<_>>()
        };
        for reverse in [false, true] {
            for bound in ["", "\0", "\0versions\0b"] {
                let list = ListRequest {
                    marker: bound.into(),
                    end_marker: bound.into(),
                    reverse,
                    ..ListRequest::default()
                };
                assert_eq!(shown(list), ["\u{1}", "c"], "{reverse} {bound:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn names_and_ids_come_back(object in "[a-z/\u{fc}\0]{1,12}", raw in any::<u64>()) {
            let id = VersionId(Version(raw));
            let row = row_of(&object, id);
            prop_assert_eq!(split(&row), Some((object.as_str(), id)));
            let name = ObjectName::new("a", "c", "o").unwrap();
            let lies = object_of(&name, id);
            prop_assert_eq!(parent(lies.container()), Some("c"));
            // Times beyond 9999999999.99999 cannot be written.
            if raw >> COUNTER_BITS < 1_000_000_000_000_000 {
                prop_assert_eq!(VersionId::parse(&id.to_string()), Some(id));
            }
        }

        #[test]
        fn newer_versions_come_first(a in any::<u64>(), b in any::<u64>()) {
            let row = |raw| row_of("o", VersionId(Version(raw)));
            prop_assert_eq!(row(a) < row(b), a > b);
        }

        #[test]
        fn whatever_an_id_says_it_is_read_or_refused(text in "[0-9._a-f]{0,30}") {
            if let Some(id) = VersionId::parse(&text) {
                prop_assert_eq!(VersionId::parse(&id.to_string()), Some(id));
            }
        }
    }
}
