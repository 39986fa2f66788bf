//! Access lists as values: who is given what, as requests and documents say it
//! and as it is kept.
use http::HeaderMap;
use s3s::dto::{AccessControlPolicy, Grant, Grantee, Owner, Permission as Word, Type};
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};

/// Grants of one list, as AWS allows.
const MOST: usize = 100;
const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const AUTHENTICATED: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
/// Headers that grant.
const HEADERS: [(&str, Permission); 5] = [
    ("x-amz-grant-full-control", Permission::FullControl),
    ("x-amz-grant-read", Permission::Read),
    ("x-amz-grant-write", Permission::Write),
    ("x-amz-grant-read-acp", Permission::ReadAcp),
    ("x-amz-grant-write-acp", Permission::WriteAcp),
];

/// Who asks, as lists see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guest<'a> {
    /// Nobody known.
    Nobody,
    /// A user of the project that the bucket belongs to: what that project may
    /// do its roles say.
    Member,
    /// A user of this other project.
    Of(&'a str),
}

/// Whom a grant is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Whom {
    /// Everyone, with a key or without.
    #[serde(rename = "everyone")]
    Everyone,
    /// Everyone with a key.
    #[serde(rename = "authenticated")]
    Authenticated,
    /// All users of a project: what AWS calls a canonical user.
    #[serde(rename = "project")]
    Project(String),
}

impl Whom {
    /// Whether it lets in people who cannot be told beforehand.
    pub(crate) fn is_public(&self) -> bool {
        !matches!(self, Self::Project(_))
    }

    /// Whether someone is meant.
    fn is(&self, who: Guest<'_>) -> bool {
        match (self, who) {
            (Self::Everyone, _) | (Self::Authenticated, Guest::Member | Guest::Of(_)) => true,
            (Self::Project(id), Guest::Of(project)) => id == project,
            (Self::Authenticated | Self::Project(_), _) => false,
        }
    }

    fn project(id: &str) -> S3Result<Self> {
        match id.is_empty() || id.contains([':', ',', '/', '*']) {
            true => Err(s3_error!(InvalidArgument, "Invalid id")),
            false => Ok(Self::Project(id.to_owned())),
        }
    }

    fn group(uri: &str) -> S3Result<Self> {
        match uri {
            ALL_USERS => Ok(Self::Everyone),
            AUTHENTICATED => Ok(Self::Authenticated),
            _ => Err(s3_error!(
                NotImplemented,
                "There are no groups here but AllUsers and AuthenticatedUsers."
            )),
        }
    }

    fn email() -> s3s::S3Error {
        s3_error!(
            UnresolvableGrantByEmailAddress,
            "Projects have no email addresses: name a grantee by the id of its project."
        )
    }

    /// Reads `id="..."` or `uri="..."`.
    fn of_header(text: &str) -> S3Result<Self> {
        let bad = || s3_error!(InvalidArgument, "Argument format not recognized");
        let (key, value) = text.trim().split_once('=').ok_or_else(bad)?;
        let value = value.trim().trim_matches('"');
        match key.trim() {
            "id" => Self::project(value),
            "uri" => Self::group(value),
            "emailAddress" => Err(Self::email()),
            _ => Err(bad()),
        }
    }

    fn of_document(grantee: &Grantee) -> S3Result<Self> {
        match (grantee.type_.as_str(), &grantee.id, &grantee.uri) {
            (Type::CANONICAL_USER, Some(id), _) => Self::project(id),
            (Type::GROUP, _, Some(uri)) => Self::group(uri),
            (Type::AMAZON_CUSTOMER_BY_EMAIL, ..) => Err(Self::email()),
            _ => Err(s3_error!(MalformedACLError)),
        }
    }

    fn document(&self) -> Grantee {
        let (kind, id, uri) = match self {
            Self::Everyone => (Type::GROUP, None, Some(ALL_USERS)),
            Self::Authenticated => (Type::GROUP, None, Some(AUTHENTICATED)),
            Self::Project(id) => (Type::CANONICAL_USER, Some(id), None),
        };
        Grantee {
            display_name: id.cloned(),
            email_address: None,
            id: id.cloned(),
            type_: Type::from_static(kind),
            uri: uri.map(str::to_owned),
        }
    }
}

/// What is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Permission {
    /// All others together.
    #[serde(rename = "FULL_CONTROL")]
    FullControl,
    /// A bucket is listed, an object read.
    #[serde(rename = "READ")]
    Read,
    /// Objects are written to a bucket.
    #[serde(rename = "WRITE")]
    Write,
    /// The list itself is read.
    #[serde(rename = "READ_ACP")]
    ReadAcp,
    /// The list itself is changed.
    #[serde(rename = "WRITE_ACP")]
    WriteAcp,
}

impl Permission {
    /// All but the one that stands for all.
    pub(crate) const SINGLE: [Self; 4] = [Self::Read, Self::Write, Self::ReadAcp, Self::WriteAcp];

    fn word(self) -> &'static str {
        match self {
            Self::FullControl => Word::FULL_CONTROL,
            Self::Read => Word::READ,
            Self::Write => Word::WRITE,
            Self::ReadAcp => Word::READ_ACP,
            Self::WriteAcp => Word::WRITE_ACP,
        }
    }

    fn of_word(word: &str) -> S3Result<Self> {
        let all = [Self::FullControl].into_iter().chain(Self::SINGLE);
        let mut found = all.filter(|permission| permission.word() == word);
        found.next().ok_or_else(|| s3_error!(MalformedACLError))
    }

    /// Whether who has it has `wanted` too.
    pub(crate) fn covers(self, wanted: Self) -> bool {
        self == wanted || self == Self::FullControl
    }
}

/// Projects that lists are about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owners<'a> {
    /// Whose the thing itself is.
    pub(crate) own: &'a str,
    /// Whose the bucket is.
    pub(crate) bucket: &'a str,
}

/// An access list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acl(pub(crate) Vec<(Whom, Permission)>);

impl Acl {
    /// The list of what nobody but its owner may touch.
    pub(crate) fn private(own: &str) -> Self {
        Self(vec![(Whom::Project(own.to_owned()), Permission::FullControl)])
    }

    /// A list by its name.
    pub(crate) fn canned(name: &str, owners: Owners<'_>) -> S3Result<Self> {
        let bucket_owner = || Whom::Project(owners.bucket.to_owned());
        let others: Vec<(Whom, Permission)> = match name {
            "private" => Vec::new(),
            "public-read" => vec![(Whom::Everyone, Permission::Read)],
            "public-read-write" => vec![
                (Whom::Everyone, Permission::Read),
                (Whom::Everyone, Permission::Write),
            ],
            "authenticated-read" => vec![(Whom::Authenticated, Permission::Read)],
            "bucket-owner-read" => vec![(bucket_owner(), Permission::Read)],
            "bucket-owner-full-control" => vec![(bucket_owner(), Permission::FullControl)],
            "aws-exec-read" | "log-delivery-write" => {
                return Err(s3_error!(
                    NotImplemented,
                    "There is nobody here that {name} is for."
                ));
            }
            _ => return Err(s3_error!(InvalidArgument, "There is no access list {name:?}.")),
        };
        let mut list = Self::private(owners.own);
        let more = others.into_iter();
        list.0
            .extend(more.filter(|(whom, _)| *whom != Whom::Project(owners.own.to_owned())));
        Ok(list)
    }

    /// Whether a request says a list in headers.
    pub(crate) fn is_in(headers: &HeaderMap) -> bool {
        headers.contains_key("x-amz-acl") || HEADERS.iter().any(|(name, _)| headers.contains_key(*name))
    }

    /// What a request says in headers; `None` if nothing.
    pub(crate) fn of_headers(headers: &HeaderMap, owners: Owners<'_>) -> S3Result<Option<Self>> {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let granted = HEADERS
            .iter()
            .filter_map(|(name, permission)| Some((text(name)?, *permission)));
        let granted: Vec<(&str, Permission)> = granted.collect();
        match text("x-amz-acl") {
            Some(_) if !granted.is_empty() => Err(s3_error!(
                InvalidRequest,
                "Specifying both Canned ACLs and Header Grants is not allowed"
            )),
            Some(name) => Self::canned(name, owners).map(Some),
            None if granted.is_empty() => Ok(None),
            None => {
                let mut list = Self::default();
                for (grantees, permission) in granted {
                    for grantee in grantees.split(',') {
                        list.0.push((Whom::of_header(grantee)?, permission));
                    }
                }
                list.checked().map(Some)
            }
        }
    }

    /// What a document says.
    pub(crate) fn of_document(document: &AccessControlPolicy) -> S3Result<Self> {
        let mut list = Self::default();
        for grant in document.grants.iter().flatten() {
            let bad = || s3_error!(MalformedACLError);
            let whom = Whom::of_document(grant.grantee.as_ref().ok_or_else(bad)?)?;
            let word = grant.permission.as_ref().ok_or_else(bad)?;
            list.0.push((whom, Permission::of_word(word.as_str())?));
        }
        list.checked()
    }

    /// What a request for a list says, in headers or in its document.
    pub(crate) fn of_request(
        headers: &HeaderMap,
        document: Option<&AccessControlPolicy>,
        owners: Owners<'_>,
    ) -> S3Result<Self> {
        match (Self::of_headers(headers, owners)?, document) {
            (Some(_), Some(_)) => Err(s3_error!(
                UnexpectedContent,
                "This request does not support content"
            )),
            (Some(list), None) => Ok(list),
            (None, Some(document)) => {
                let named = document.owner.as_ref().and_then(|owner| owner.id.as_deref());
                match named {
                    Some(named) if named != owners.own => Err(s3_error!(
                        AccessDenied,
                        "The document names another owner than there is."
                    )),
                    _ => Self::of_document(document),
                }
            }
            (None, None) => Err(s3_error!(
                MissingSecurityHeader,
                "Your request was missing a required header"
            )),
        }
    }

    fn checked(self) -> S3Result<Self> {
        match self.0.len() > MOST {
            true => Err(s3_error!(MalformedACLError)),
            false => Ok(self),
        }
    }

    /// Whether someone is given this; by grants to the public only if those
    /// count.
    pub(crate) fn gives(&self, who: Guest<'_>, wanted: Permission, public: bool) -> bool {
        self.0.iter().any(|(whom, permission)| {
            whom.is(who) && permission.covers(wanted) && (public || !whom.is_public())
        })
    }

    /// Whether it gives the public anything.
    pub(crate) fn is_public(&self) -> bool {
        self.0.iter().any(|(whom, _)| whom.is_public())
    }

    /// Whether it gives anything to others than this project.
    pub(crate) fn is_more_than(&self, own: &str) -> bool {
        self.0
            .iter()
            .any(|(whom, _)| *whom != Whom::Project(own.to_owned()))
    }

    /// As documents have it.
    pub(crate) fn document(&self) -> Vec<Grant> {
        let grant = |(whom, permission): &(Whom, Permission)| Grant {
            grantee: Some(whom.document()),
            permission: Some(Word::from_static(permission.word())),
        };
        self.0.iter().map(grant).collect()
    }
}

/// An owner, as documents name one.
pub(crate) fn owner(project: &str) -> Owner {
    Owner {
        display_name: Some(project.to_owned()),
        id: Some(project.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNERS: Owners<'static> = Owners {
        own: "mine",
        bucket: "theirs",
    };

    fn of(pairs: &[(&'static str, &'static str)]) -> S3Result<Option<Acl>> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, http::HeaderValue::from_static(value));
        }
        Acl::of_headers(&headers, OWNERS)
    }

    #[test]
    fn headers_say_a_list_by_name_or_grant_by_grant() {
        assert_eq!(of(&[]).unwrap(), None);
        let mine = (Whom::Project("mine".into()), Permission::FullControl);
        for (name, others) in [
            ("private", vec![]),
            ("public-read", vec![(Whom::Everyone, Permission::Read)]),
            (
                "authenticated-read",
                vec![(Whom::Authenticated, Permission::Read)],
            ),
            (
                "bucket-owner-full-control",
                vec![(Whom::Project("theirs".into()), Permission::FullControl)],
            ),
        ] {
            let list = of(&[("x-amz-acl", name)]).unwrap().unwrap();
            assert_eq!(list.0.first(), Some(&mine), "{name}");
            assert_eq!(list.0[1..], others, "{name}");
        }
        let granted = of(&[
            (
                "x-amz-grant-read",
                "id=\"other\", uri=\"http://acs.amazonaws.com/groups/global/AllUsers\"",
            ),
            ("x-amz-grant-full-control", "id=mine"),
        ]);
        let expected = vec![
            mine,
            (Whom::Project("other".into()), Permission::Read),
            (Whom::Everyone, Permission::Read),
        ];
        assert_eq!(granted.unwrap(), Some(Acl(expected)));
        for bad in [
            &[("x-amz-acl", "cake")][..],
            &[("x-amz-acl", "log-delivery-write")],
            &[("x-amz-acl", "private"), ("x-amz-grant-read", "id=a")],
            &[("x-amz-grant-read", "emailAddress=a@b")],
            &[("x-amz-grant-read", "uri=http://example.org")],
            &[("x-amz-grant-read", "id=a:b")],
            &[("x-amz-grant-read", "id=")],
            &[("x-amz-grant-read", "other")],
        ] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_list_gives_what_it_covers_to_whom_it_names() {
        let list = Acl(vec![
            (Whom::Project("a".into()), Permission::FullControl),
            (Whom::Authenticated, Permission::Read),
            (Whom::Everyone, Permission::ReadAcp),
        ]);
        for (who, wanted, public, expected) in [
            (Guest::Of("a"), Permission::WriteAcp, true, true),
            (Guest::Of("b"), Permission::Read, true, true),
            (Guest::Of("b"), Permission::Read, false, false),
            (Guest::Of("b"), Permission::Write, true, false),
            (Guest::Member, Permission::Read, true, true),
            (Guest::Member, Permission::Write, true, false),
            (Guest::Nobody, Permission::Read, true, false),
            (Guest::Nobody, Permission::ReadAcp, true, true),
            (Guest::Nobody, Permission::ReadAcp, false, false),
        ] {
            assert_eq!(
                list.gives(who, wanted, public),
                expected,
                "{who:?} {wanted:?} {public}"
            );
        }
        assert!(list.is_public() && list.is_more_than("a") && !Acl::private("a").is_more_than("a"));
        let kept = serde_json::to_string(&list).unwrap();
        assert_eq!(serde_json::from_str::<Acl>(&kept).unwrap(), list);
    }
}
