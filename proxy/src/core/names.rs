//! Names of accounts, containers and objects, parsed once at the door.
//!
//! A dialect makes them from a request's path; behind it nobody checks again.
//! Only what would break the path "account/container/object" is refused here:
//! limits of length and alphabet belong to the dialect.
use std::fmt;
use std::sync::Arc;

/// Why a text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// A part of the name is empty.
    #[error("a name must not be empty")]
    Empty,
    /// An account or container name holds a slash.
    #[error("the name of an account or container must not hold a slash")]
    Slash,
}

fn check_part(part: &str) -> Result<(), BadName> {
    match part {
        "" => Err(BadName::Empty),
        part if part.contains('/') => Err(BadName::Slash),
        _ => Ok(()),
    }
}

/// Name of an account ("AUTH_1a2b").
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName(Arc<str>);

impl AccountName {
    /// Takes a name: not empty, no slash.
    ///
    /// # Errors
    /// [`BadName`].
    pub fn new(account: &str) -> Result<Self, BadName> {
        check_part(account)?;
        Ok(Self(account.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A container of this account.
    ///
    /// # Errors
    /// [`BadName`].
    pub fn container(&self, container: &str) -> Result<ContainerName, BadName> {
        ContainerName::new(self.as_str(), container)
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a container with its account, kept as the path "account/container".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerName {
    path: Arc<str>,
    account: usize,
}

impl ContainerName {
    /// Takes both parts: neither empty, no slash in them.
    ///
    /// # Errors
    /// [`BadName`].
    pub fn new(account: &str, container: &str) -> Result<Self, BadName> {
        check_part(account)?;
        check_part(container)?;
        Ok(Self {
            path: format!("{account}/{container}").into(),
            account: account.len(),
        })
    }

    /// Name of the account.
    pub fn account(&self) -> &str {
        &self.path[..self.account]
    }

    /// Name of the container, without the account.
    pub fn container(&self) -> &str {
        &self.path[self.account + 1..]
    }

    /// The account as a name of its own.
    pub fn account_name(&self) -> AccountName {
        AccountName(self.account().into())
    }

    /// An object of this container: any text but the empty one.
    ///
    /// # Errors
    /// [`BadName`].
    pub fn object(&self, object: &str) -> Result<ObjectName, BadName> {
        if object.is_empty() {
            return Err(BadName::Empty);
        }
        Ok(ObjectName {
            path: format!("{}/{object}", self.path).into(),
            account: self.account,
            container: self.path.len(),
        })
    }

    /// "account/container".
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// Name of an object with its container and account, kept as the path
/// "account/container/object". Object names may hold slashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    path: Arc<str>,
    /// Length of "account".
    account: usize,
    /// Length of "account/container".
    container: usize,
}

impl ObjectName {
    /// Takes the three parts.
    ///
    /// # Errors
    /// [`BadName`].
    pub fn new(account: &str, container: &str, object: &str) -> Result<Self, BadName> {
        ContainerName::new(account, container)?.object(object)
    }

    /// Name of the account.
    pub fn account(&self) -> &str {
        &self.path[..self.account]
    }

    /// Name of the container, without the account.
    pub fn container(&self) -> &str {
        &self.path[self.account + 1..self.container]
    }

    /// Name of the object, without account and container.
    pub fn object(&self) -> &str {
        &self.path[self.container + 1..]
    }

    /// The container as a name of its own.
    pub fn container_name(&self) -> ContainerName {
        ContainerName {
            path: self.path[..self.container].into(),
            account: self.account,
        }
    }

    /// "account/container".
    pub(crate) fn container_path(&self) -> &str {
        &self.path[..self.container]
    }

    /// "account/container/object".
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_its_parts_back() {
        let name = ObjectName::new("AUTH_a", "c", "x/y z").unwrap();
        assert_eq!(
            (name.account(), name.container(), name.object()),
            ("AUTH_a", "c", "x/y z")
        );
        assert_eq!(name.path(), "AUTH_a/c/x/y z");
        let container = name.container_name();
        assert_eq!((container.account(), container.container()), ("AUTH_a", "c"));
        assert_eq!(container, ContainerName::new("AUTH_a", "c").unwrap());
        assert_eq!(container.object("x/y z").unwrap(), name);
    }

    #[test]
    fn empty_parts_and_slashes_are_refused() {
        assert_eq!(AccountName::new("").unwrap_err(), BadName::Empty);
        assert_eq!(AccountName::new("a/b").unwrap_err(), BadName::Slash);
        assert_eq!(ContainerName::new("a", "").unwrap_err(), BadName::Empty);
        assert_eq!(ContainerName::new("a", "c/d").unwrap_err(), BadName::Slash);
        assert_eq!(ObjectName::new("a", "c", "").unwrap_err(), BadName::Empty);
        assert!(ObjectName::new("a", "c", "/").is_ok());
    }
}
