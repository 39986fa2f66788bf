//! Whom a statement is about. An account of AWS is a project here, a user is a
//! user, both by their ids.

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Someone<'a> {
    /// Id of the project that the key is for.
    pub(crate) project: &'a str,
    /// Id of the user.
    pub(crate) user: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Principal {
    /// Everyone, with a key or without.
    Everyone,
    /// All users of a project.
    Project(String),
    User {
        project: String,
        user: String,
    },
}

impl Principal {
    /// Reads an entry of `AWS`.
    fn aws(text: &str) -> Result<Self, String> {
        let invalid = || {
            format!(
                "Invalid principal in policy: {text:?} is neither \"*\", a project's id, \"arn:aws:iam::PROJECT:root\" nor \"arn:aws:iam::PROJECT:user/USER\""
            )
        };
        let good = |id: &str| !id.is_empty() && !id.contains(['*', '?', ':', '/', '$']);
        if text == "*" {
            return Ok(Self::Everyone);
        }
        if good(text) {
            return Ok(Self::Project(text.to_owned()));
        }
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            ["arn", "aws", "iam", "", project, "root"] if good(project) => {
                Ok(Self::Project((*project).to_owned()))
            }
            ["arn", "aws", "iam", "", project, name] if good(project) => {
                let user = name.strip_prefix("user/").filter(|user| good(user));
                Ok(Self::User {
                    project: (*project).to_owned(),
                    user: user.ok_or_else(invalid)?.to_owned(),
                })
            }
            _ => Err(invalid()),
        }
    }

    fn is(&self, who: Option<Someone<'_>>) -> bool {
        match (self, who) {
            (Self::Everyone, _) => true,
            (Self::Project(project), Some(who)) => who.project == project,
            (Self::User { project, user }, Some(who)) => who.project == project && who.user == user,
            (Self::Project(_) | Self::User { .. }, None) => false,
        }
    }
}

/// The principals of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Principals(Vec<Principal>);

impl Principals {
    /// Everyone.
    pub(super) fn all() -> Self {
        Self(vec![Principal::Everyone])
    }

    /// Reads `"Principal": "*"`.
    pub(super) fn everyone(text: &str) -> Result<Self, String> {
        match text {
            "*" => Ok(Self::all()),
            other => Err(format!("Invalid principal in policy: {other:?}")),
        }
    }

    /// Reads `"Principal": {"AWS": ...}`.
    pub(super) fn of_kinds(kinds: impl Iterator<Item = (String, Vec<String>)>) -> Result<Self, String> {
        let mut all = Vec::new();
        for (kind, list) in kinds {
            for text in list {
                all.push(match kind.as_str() {
                    "AWS" => Principal::aws(&text)?,
                    "CanonicalUser" if !text.contains('*') => Principal::Project(text),
                    "CanonicalUser" => return Err(format!("Invalid principal in policy: {text:?}")),
                    other => return Err(format!("Principals of the kind {other:?} are not supported")),
                });
            }
        }
        match all.is_empty() {
            true => Err("Policy has no principal".to_owned()),
            false => Ok(Self(all)),
        }
    }

    /// Whether someone, or nobody known, is among them.
    pub(super) fn hold(&self, who: Option<Someone<'_>>) -> bool {
        self.0.iter().any(|principal| principal.is(who))
    }

    /// Whether everyone is among them.
    pub(super) fn hold_everyone(&self) -> bool {
        self.0.contains(&Principal::Everyone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_and_users_are_told_by_their_ids() {
        let (a, b) = (
            Someone {
                project: "p",
                user: "a",
            },
            Someone {
                project: "p",
                user: "b",
            },
        );
        let other = Someone {
            project: "q",
            user: "a",
        };
        for (text, who, expected) in [
            ("*", None, true),
            ("*", Some(a), true),
            ("p", Some(a), true),
            ("p", Some(other), false),
            ("p", None, false),
            ("arn:aws:iam::p:root", Some(b), true),
            ("arn:aws:iam::p:user/a", Some(a), true),
            ("arn:aws:iam::p:user/a", Some(b), false),
            ("arn:aws:iam::p:user/a", Some(other), false),
        ] {
            assert_eq!(Principal::aws(text).unwrap().is(who), expected, "{text} {who:?}");
        }
        for bad in [
            "",
            "p*",
            "arn:aws:iam::p:user/*",
            "arn:aws:iam::p:group/x",
            "arn:aws:s3:::b",
        ] {
            assert!(Principal::aws(bad).is_err(), "{bad}");
        }
        let service = [("Service".to_owned(), vec!["x".to_owned()])];
        let error = Principals::of_kinds(service.into_iter()).unwrap_err();
        assert!(error.contains("Service"));
    }
}
